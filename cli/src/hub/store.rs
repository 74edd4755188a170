//! Hugging Face's cache, whose layout other tools share.
//!
//! | under the cache folder | what |
//! |---|---|
//! | `models--org--name/refs/REVISION` | the commit that a branch or tag means |
//! | `models--org--name/blobs/TAG` | a file's bytes; with `.incomplete` behind it a part of them |
//! | `models--org--name/snapshots/COMMIT/FILE` | a link to the blob |
//! | `.locks/models--org--name/TAG.lock` | held while a blob is fetched |

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

#[cfg(unix)]
use std::os::unix::fs::symlink as link_file;
#[cfg(windows)]
use std::os::windows::fs::symlink_file as link_file;

use super::Error;
use super::name::{Repository, is_path};
use crate::cache;
use crate::failure::Failure;

/// Most files of a snapshot that are looked at, and folders one in another.
const MAX_FILES: usize = 10_000;
const MAX_DEPTH: usize = 8;

/// The files of one repository.
pub(super) struct Store {
    folder: PathBuf,
    locks: PathBuf,
}

impl Store {
    /// Of a repository, in the folder `cache`.
    pub(super) fn new(cache: &Path, repository: &Repository) -> Self {
        let folder = folder_name(repository);
        Self { locks: cache.join(".locks").join(&folder), folder: cache.join(folder) }
    }

    /// The commit that a revision means as far as this machine knows.
    pub(super) fn commit(&self, revision: &str) -> Option<String> {
        if is_commit(revision) {
            return Some(revision.to_owned());
        }
        let commit = fs::read_to_string(self.folder.join("refs").join(revision)).ok()?;
        Some(commit.trim().to_owned()).filter(|commit| is_commit(commit))
    }

    /// Remembers the commit that a revision means.
    pub(super) fn set_commit(&self, revision: &str, commit: &str) -> Result<(), Error> {
        if revision == commit || self.commit(revision).as_deref() == Some(commit) {
            return Ok(());
        }
        let path = self.folder.join("refs").join(revision);
        write_whole(&path, commit.as_bytes())
    }

    /// The folder of a commit's files.
    pub(super) fn snapshot(&self, commit: &str) -> PathBuf {
        self.folder.join("snapshots").join(commit)
    }

    /// Whether a file of a commit is there, and not only its link.
    pub(super) fn has(&self, commit: &str, file: &str) -> bool {
        self.snapshot(commit).join(file).is_file()
    }

    /// The files of a commit that are there.
    pub(super) fn files(&self, commit: &str) -> Vec<String> {
        let mut files = Vec::new();
        collect(&self.snapshot(commit), "", MAX_DEPTH, &mut files);
        files.sort();
        files
    }

    /// Where a blob is or will be.
    pub(super) fn blob(&self, tag: &str) -> PathBuf {
        self.folder.join("blobs").join(tag)
    }

    /// Keeps other processes from fetching a blob; theirs wait as this one does.
    pub(super) fn lock(&self, tag: &str, file: &str) -> Result<File, Failure> {
        fs::create_dir_all(&self.locks).map_err(|error| Error::file(&self.locks, error))?;
        cache::lock_file(&self.locks.join(format!("{tag}.lock")), file)
    }

    /// Puts a blob into a snapshot, all at once.
    pub(super) fn link(&self, commit: &str, file: &str, tag: &str) -> Result<(), Error> {
        let target = self.snapshot(commit).join(file);
        let failed = |error| Error::file(&target, error);
        let parent = target.parent().unwrap_or(&target);
        fs::create_dir_all(parent).map_err(failed)?;
        let up = "../".repeat(2 + file.matches('/').count());
        let staging = tempfile::tempdir_in(parent).map_err(failed)?;
        let link = staging.path().join("link");
        let relative = PathBuf::from(format!("{up}blobs/{tag}"));
        // Where links need permissions that nobody has, files have two names, or are copied.
        link_file(&relative, &link)
            .or_else(|_| fs::hard_link(self.blob(tag), &link))
            .or_else(|_| fs::copy(self.blob(tag), &link).map(drop))
            .and_then(|()| fs::rename(&link, &target))
            .map_err(failed)
    }
}

/// What a repository's folder is called.
pub(super) fn folder_name(repository: &Repository) -> String {
    format!("models--{}", repository.plain_name())
}

/// Whether a text is a commit's hash.
pub(super) fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// Writes a file under its final name only when it is whole.
pub(super) fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let write = || -> io::Result<()> {
        let parent = path.parent().unwrap_or(path);
        fs::create_dir_all(parent)?;
        let mut file = tempfile::NamedTempFile::new_in(parent)?;
        io::Write::write_all(&mut file, bytes)?;
        file.persist(path)?;
        Ok(())
    };
    write().map_err(|error| Error::file(path, error))
}

fn collect(folder: &Path, prefix: &str, depth: usize, files: &mut Vec<String>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        let path = entry.path();
        if files.len() >= MAX_FILES || !is_path(&name) {
            continue;
        }
        if path.is_file() {
            files.push(name);
        } else if depth > 0 && path.is_dir() {
            collect(&path, &format!("{name}/"), depth - 1, files);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    fn repository() -> Repository {
        let (name, revision) = ("org/name".to_owned(), "main".to_owned());
        Repository { name, revision, file: None, bare: false }
    }

    #[test]
    fn files_stand_where_other_tools_look_for_them() {
        let cache = tempfile::tempdir().unwrap();
        let store = Store::new(cache.path(), &repository());
        let blob = store.blob("tag");
        fs::create_dir_all(blob.parent().unwrap()).unwrap();
        fs::write(&blob, "bytes").unwrap();
        store.link(COMMIT, "config.json", "tag").unwrap();
        store.link(COMMIT, "a/b/c.json", "tag").unwrap();
        // Again, as a second process would.
        store.link(COMMIT, "config.json", "tag").unwrap();
        let folder = cache.path().join("models--org--name/snapshots").join(COMMIT);
        assert_eq!(fs::read(folder.join("a/b/c.json")).unwrap(), b"bytes");
        #[cfg(unix)]
        assert_eq!(
            fs::read_link(folder.join("config.json")).unwrap(),
            Path::new("../../blobs/tag")
        );
        assert_eq!(store.files(COMMIT), ["a/b/c.json", "config.json"]);
        assert!(store.has(COMMIT, "a/b/c.json") && !store.has(COMMIT, "a"));
        fs::remove_file(blob).unwrap();
        #[cfg(unix)]
        assert!(!store.has(COMMIT, "config.json"), "a link to nowhere");
    }

    #[test]
    fn revisions_are_remembered() {
        let cache = tempfile::tempdir().unwrap();
        let store = Store::new(cache.path(), &repository());
        assert_eq!(store.commit("main"), None);
        assert_eq!(store.commit(COMMIT).as_deref(), Some(COMMIT));
        for revision in ["main", "refs/pr/1"] {
            store.set_commit(revision, COMMIT).unwrap();
            assert_eq!(store.commit(revision).as_deref(), Some(COMMIT));
        }
        let path = cache.path().join("models--org--name/refs/main");
        assert_eq!(fs::read_to_string(&path).unwrap(), COMMIT);
        fs::write(&path, "../../x").unwrap();
        assert_eq!(store.commit("main"), None);
    }
}
