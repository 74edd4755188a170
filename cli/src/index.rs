//! The vectors of a folder's images, in a file among them, so that each image is read once.
//!
//! The file is a line of JSON, which says what it is of, and then the vectors, f32 in little-endian order, one
//! for each image. It is only ever a saving of time: one that is damaged, or of another model, counts as none.

use std::collections::HashMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

use crate::failure::Failure;
use crate::images;

/// What the file is called.
const NAME: &str = ".kinglet-images";
const VERSION: u32 = 1;
/// Most images of a folder.
const MOST: usize = 1 << 20;
/// Most folders within one another.
const DEPTH: usize = 32;

/// An image as it was when it was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// Within the folder.
    pub(crate) path: String,
    bytes: u64,
    /// When it was last changed, in nanoseconds; 0 where nobody knows.
    modified: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Head {
    kinglet_images: u32,
    /// The hash of the model's file.
    model: String,
    width: usize,
    images: Vec<Entry>,
}

/// The vectors of images.
#[derive(Debug, Default)]
pub(crate) struct Index {
    pub(crate) images: Vec<Entry>,
    /// `[images][width]`
    vectors: Vec<f32>,
    width: usize,
}

impl Index {
    /// That of a folder and a model, or an empty one.
    pub(crate) fn open(folder: &Path, model: &str) -> Self {
        let read = || {
            let bytes = fs::read(folder.join(NAME)).ok()?;
            let end = bytes.iter().position(|&byte| byte == b'\n')?;
            let head: Head = serde_json::from_slice(&bytes[..end]).ok()?;
            let (values, rest) = bytes[end + 1..].as_chunks::<4>();
            let len = head.images.len().checked_mul(head.width)?;
            let is_ours = head.kinglet_images == VERSION && head.model == model;
            if !is_ours || !rest.is_empty() || values.len() != len {
                return None;
            }
            let vectors = values.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
            Some(Self { images: head.images, vectors, width: head.width })
        };
        read().unwrap_or_default()
    }

    /// Writes it in place of the one that is there.
    pub(crate) fn save(&self, folder: &Path, model: &str) -> Result<(), Failure> {
        let head = Head {
            kinglet_images: VERSION,
            model: model.to_owned(),
            width: self.width,
            images: self.images.clone(),
        };
        let mut bytes = serde_json::to_vec(&head)?;
        bytes.push(b'\n');
        bytes.extend(self.vectors.iter().flat_map(|value| value.to_le_bytes()));
        let named = |error: std::io::Error| Failure::from(error).during(folder.display());
        let mut file = tempfile::NamedTempFile::new_in(folder).map_err(named)?;
        file.write_all(&bytes).map_err(named)?;
        file.persist(folder.join(NAME)).map_err(|error| named(error.error))?;
        Ok(())
    }

    /// Adds an image.
    pub(crate) fn push(&mut self, image: Entry, vector: &[f32]) {
        self.width = vector.len();
        self.vectors.extend_from_slice(vector);
        self.images.push(image);
    }

    /// Of `there` those that it has unchanged, with their vectors, and the others.
    pub(crate) fn divided(&self, there: Vec<Entry>) -> (Self, Vec<Entry>) {
        let known: HashMap<&str, usize> =
            self.images.iter().enumerate().map(|(i, image)| (image.path.as_str(), i)).collect();
        let (mut kept, mut others) = (Self::default(), Vec::new());
        for image in there {
            match known.get(image.path.as_str()) {
                Some(&i) if self.images[i] == image => kept.push(image, self.vector(i)),
                _ => others.push(image),
            }
        }
        (kept, others)
    }

    fn vector(&self, i: usize) -> &[f32] {
        &self.vectors[i * self.width..][..self.width]
    }

    /// The images whose vectors point most nearly where `query` does, with the cosines, the best first.
    pub(crate) fn nearest(&self, query: &[f32], most: usize) -> Vec<(&Entry, f32)> {
        let dot = |a: &[f32], b: &[f32]| -> f32 { a.iter().zip(b).map(|(a, b)| a * b).sum() };
        let length = |a: &[f32]| dot(a, a).sqrt().max(1e-12);
        let of_query = length(query);
        let score = |(i, image)| {
            let vector = self.vector(i);
            (image, dot(vector, query) / (length(vector) * of_query))
        };
        let mut all: Vec<(&Entry, f32)> = self.images.iter().enumerate().map(score).collect();
        all.sort_by(|a, b| b.1.total_cmp(&a.1));
        all.truncate(most);
        all
    }
}

/// The images in a folder and those below it, by their endings, in the order of their paths. What is hidden,
/// and where links lead, is left out.
pub(crate) fn images_in(folder: &Path) -> Result<Vec<Entry>, Failure> {
    let mut found = Vec::new();
    let mut open: Vec<(PathBuf, usize)> = vec![(folder.to_owned(), 0)];
    while let Some((path, depth)) = open.pop() {
        let named = |error: std::io::Error| Failure::from(error).during(path.display());
        for entry in fs::read_dir(&path).map_err(named)? {
            let entry = entry.map_err(named)?;
            let (path, kind) = (entry.path(), entry.file_type().map_err(named)?);
            if entry.file_name().to_string_lossy().starts_with('.') {
                continue;
            }
            if kind.is_dir() && depth < DEPTH {
                open.push((path, depth + 1));
            } else if kind.is_file() && images::has_ending(&path) {
                let Ok(metadata) = entry.metadata() else { continue };
                let modified =
                    metadata.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
                let modified = modified.map_or(0, |since| since.as_nanos() as u64);
                let inside = path.strip_prefix(folder).unwrap_or(&path);
                // What is no text cannot be shown in a result.
                let Some(path) = inside.to_str() else { continue };
                found.push(Entry { path: path.to_owned(), bytes: metadata.len(), modified });
            }
            if found.len() > MOST {
                return Err(Failure::new(format!("{}: more than {MOST} images", folder.display())));
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(path: &str, bytes: u64) -> Entry {
        Entry { path: path.to_owned(), bytes, modified: 7 }
    }

    fn index() -> Index {
        let mut index = Index::default();
        index.push(entry("a.jpg", 1), &[1.0, 0.0]);
        index.push(entry("b/c.png", 2), &[3.0, 4.0]);
        index.push(entry("d.gif", 3), &[0.0, -2.0]);
        index
    }

    #[test]
    fn what_is_saved_is_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let index = index();
        index.save(folder.path(), "model").unwrap();
        let again = Index::open(folder.path(), "model");
        assert_eq!((&again.images, &again.vectors), (&index.images, &index.vectors));
        assert!(Index::open(folder.path(), "other").images.is_empty());
        // One that is damaged is none.
        let path = folder.path().join(NAME);
        let bytes = fs::read(&path).unwrap();
        for end in [0, 3, bytes.len() - 1] {
            fs::write(&path, &bytes[..end]).unwrap();
            assert!(Index::open(folder.path(), "model").images.is_empty());
        }
    }

    #[test]
    fn changed_images_are_read_again() {
        let there = vec![entry("a.jpg", 1), entry("b/c.png", 9), entry("e.bmp", 4)];
        let (kept, others) = index().divided(there);
        assert_eq!((kept.images, kept.vectors), (vec![entry("a.jpg", 1)], vec![1.0, 0.0]));
        assert_eq!(others, [entry("b/c.png", 9), entry("e.bmp", 4)]);
    }

    #[test]
    fn the_nearest_come_first() {
        let index = index();
        let found = index.nearest(&[0.0, 10.0], 2);
        assert_eq!(
            found.iter().map(|(image, _)| &*image.path).collect::<Vec<_>>(),
            ["b/c.png", "a.jpg"]
        );
        assert!((found[0].1 - 0.8).abs() < 1e-6 && found[1].1 == 0.0);
    }

    #[test]
    fn images_are_found_by_their_endings() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir_all(path("b/.hidden")).unwrap();
        for name in ["a.JPG", "b/c.webp", "b/notes.txt", ".d.png", "b/.hidden/e.png"] {
            fs::write(path(name), name).unwrap();
        }
        let found = images_in(folder.path()).unwrap();
        assert_eq!(
            found.iter().map(|image| &*image.path).collect::<Vec<_>>(),
            ["a.JPG", "b/c.webp"]
        );
    }
}
