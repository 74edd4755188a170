//! The folder where fetched checkpoints and converted models are kept.
//!
//! | under the cache folder | what |
//! |---|---|
//! | `checkpoints/NAME/` | a catalog model's checkpoint, complete and checked |
//! | `models/NAME-TYPE-KEY.kinglet` | a conversion; the key follows from input, options and version |
//! | `hub/models--ORG--NAME/COMMIT.json` | the names of a repository's files |
//! | `locks/NAME` | held while one of them is being made |

use std::env;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use crate::failure::Failure;
use crate::output::say;

/// Environment variable that names the cache folder.
pub const VARIABLE: &str = "KINGLET_CACHE";

/// The cache folder.
#[derive(Clone, Debug)]
pub struct Cache {
    root: PathBuf,
}

/// A file or folder in the cache.
#[derive(Clone, Debug)]
pub struct CachedFile {
    /// Where it is.
    pub path: PathBuf,
    /// Bytes it takes.
    pub bytes: u64,
}

impl Cache {
    /// The folder that `KINGLET_CACHE` names, or the platform's own place for caches.
    ///
    /// # Errors
    /// If the environment names neither.
    pub fn locate() -> Result<Self, Failure> {
        let named = env::var_os(VARIABLE).filter(|value| !value.is_empty()).map(PathBuf::from);
        let root = match named {
            Some(folder) => std::path::absolute(folder)?,
            None => platform_folder()
                .ok_or_else(|| {
                    Failure::new(format!(
                        "no cache folder: the environment names no home folder; set {VARIABLE} \
                         to a folder with room for models"
                    ))
                })?
                .join("kinglet"),
        };
        Ok(Self { root })
    }

    /// The folder itself, which need not exist yet.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where checkpoints are.
    pub fn checkpoints(&self) -> PathBuf {
        self.root.join("checkpoints")
    }

    /// Where conversions are.
    pub fn models(&self) -> PathBuf {
        self.root.join("models")
    }

    /// Where lists of the hub's files are.
    pub(crate) fn listings(&self) -> PathBuf {
        self.root.join("hub")
    }

    /// Waits until no other process makes `name`, and keeps others waiting until it is dropped.
    pub(crate) fn lock(&self, name: &str) -> Result<File, Failure> {
        lock_file(&self.root.join("locks").join(name), name)
    }

    /// Checkpoints and conversions, sorted by path.
    ///
    /// # Errors
    /// If a folder cannot be read.
    pub fn entries(&self) -> Result<Vec<CachedFile>, Failure> {
        let mut entries = Vec::new();
        for folder in [self.checkpoints(), self.models()] {
            if !folder.is_dir() {
                continue;
            }
            for entry in fs::read_dir(&folder)? {
                let path = entry?.path();
                entries.push(CachedFile { bytes: size(&path), path });
            }
        }
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(entries)
    }
}

/// Waits until no other process holds the file at `path`, which stands for `name`, and holds it
/// until it is dropped.
pub(crate) fn lock_file(path: &Path, name: &str) -> Result<File, Failure> {
    create_folder(path.parent().unwrap_or(path))?;
    let failed = |error| Failure::from(error).during(path.display());
    let file = File::options().create(true).append(true).open(path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            say!("waiting for another program that prepares {name}");
            file.lock().map_err(failed)?;
        }
        Err(TryLockError::Error(error)) => return Err(failed(error)),
    }
    Ok(file)
}

/// Creates a folder and its parents.
pub(crate) fn create_folder(folder: &Path) -> Result<(), Failure> {
    fs::create_dir_all(folder).map_err(|error| {
        Failure::from(error).during(format_args!(
            "cannot create {} (set {VARIABLE} to a folder that can be written)",
            folder.display()
        ))
    })
}

/// Removes what a killed process left under names that begin with `prefix`; a lock must say that
/// none is at work.
pub(crate) fn remove_leftovers(folder: &Path, prefix: &str) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(prefix) {
            // Nothing but disk space depends on it.
            let path = entry.path();
            let _ = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        }
    }
}

/// Bytes of a file, or of all files in a folder. What vanishes meanwhile counts nothing.
pub(crate) fn size(path: &Path) -> u64 {
    let Ok(metadata) = fs::symlink_metadata(path) else { return 0 };
    if !metadata.is_dir() {
        return metadata.len();
    }
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries.map(|entry| size(&entry.path())).sum()
}

/// The folder for caches by the platform's convention.
fn platform_folder() -> Option<PathBuf> {
    let variable = |name: &str| env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute());
    if cfg!(windows) {
        variable("LOCALAPPDATA")
    } else if cfg!(target_os = "macos") {
        env::home_dir().map(|home| home.join("Library/Caches"))
    } else {
        variable("XDG_CACHE_HOME").or_else(|| env::home_dir().map(|home| home.join(".cache")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_counts_all_its_files() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("inner")).unwrap();
        fs::write(folder.path().join("a"), [0; 10]).unwrap();
        fs::write(folder.path().join("inner/b"), [0; 5]).unwrap();
        assert_eq!(size(folder.path()), 15);
        assert_eq!(size(&folder.path().join("missing")), 0);
    }

    #[test]
    fn leftovers_are_removed_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join(".m-1")).unwrap();
        for name in [".m-1/wheel", ".m-2", "m-3", ".n-4"] {
            fs::write(folder.path().join(name), "x").unwrap();
        }
        remove_leftovers(folder.path(), ".m-");
        let kept = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
        let mut kept: Vec<_> = kept.collect();
        kept.sort();
        assert_eq!(kept, [".n-4", "m-3"]);
    }

    #[test]
    fn a_lock_is_exclusive() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache { root: folder.path().to_owned() };
        let held = cache.lock("model").unwrap();
        let other = File::options().append(true).open(folder.path().join("locks/model")).unwrap();
        assert!(matches!(other.try_lock(), Err(TryLockError::WouldBlock)));
        drop(held);
        other.try_lock().unwrap();
    }
}
