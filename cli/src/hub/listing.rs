//! The names of a repository's files at one commit, which never change.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::Error;
use super::name::is_path;
use super::store::{is_commit, write_whole};
use super::url::Url;

/// Most files of a repository.
const MAX_FILES: usize = 100_000;

/// What the hub says about a repository at a revision.
#[derive(Deserialize)]
pub(super) struct Info {
    sha: String,
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
    size: Option<u64>,
}

/// The files of a repository, sorted by name.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Listing {
    files: Vec<(String, Option<u64>)>,
}

impl Info {
    /// Commit and files, if nothing in them leads out of a folder.
    pub(super) fn checked(self, url: &Url) -> Result<(String, Listing), Error> {
        if !is_commit(&self.sha) {
            return Err(Error::answer(url, format!("`{:.60}` is no commit", self.sha)));
        }
        if self.siblings.len() > MAX_FILES {
            let reason = format!("it lists {} files; at most {MAX_FILES}", self.siblings.len());
            return Err(Error::answer(url, reason));
        }
        if let Some(file) = self.siblings.iter().find(|file| !is_path(&file.rfilename)) {
            let name = file.rfilename.escape_debug();
            let reason =
                format!("it lists a file called `{name:.200}`, which can stand in no folder");
            return Err(Error::answer(url, reason));
        }
        let files = self.siblings.into_iter().map(|file| (file.rfilename, file.size));
        Ok((self.sha, Listing::of(files.collect())))
    }
}

impl Listing {
    fn of(mut files: Vec<(String, Option<u64>)>) -> Self {
        files.sort();
        files.dedup_by(|a, b| a.0 == b.0);
        Self { files }
    }

    /// Files of which nothing but their names is known.
    pub(super) fn of_names(names: impl IntoIterator<Item = String>) -> Self {
        Self::of(names.into_iter().map(|name| (name, None)).collect())
    }

    /// The one that was kept at `path`.
    pub(super) fn read(path: &Path) -> Option<Self> {
        let listing: Self = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
        Some(listing).filter(|listing| listing.names().all(is_path))
    }

    /// Keeps it at `path`.
    pub(super) fn write(&self, path: &Path) -> Result<(), Error> {
        write_whole(path, &serde_json::to_vec(self).unwrap_or_default())
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(|(name, _)| name.as_str())
    }

    pub(super) fn has(&self, file: &str) -> bool {
        self.find(file).is_some()
    }

    /// Bytes of a file, where they are known.
    pub(super) fn bytes(&self, file: &str) -> Option<u64> {
        self.files[self.find(file)?].1
    }

    fn find(&self, file: &str) -> Option<usize> {
        self.files.binary_search_by(|(name, _)| name.as_str().cmp(file)).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(sha: &str, files: &[&str]) -> Result<(String, Listing), Error> {
        let siblings =
            files.iter().map(|file| Sibling { rfilename: (*file).to_owned(), size: Some(1) });
        let url = Url::parse("https://a.b/").unwrap();
        Info { sha: sha.to_owned(), siblings: siblings.collect() }.checked(&url)
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        let commit = "0".repeat(40);
        let (_, listing) = info(&commit, &["b/c.json", "a.json"]).unwrap();
        assert_eq!(listing.names().collect::<Vec<_>>(), ["a.json", "b/c.json"]);
        assert_eq!((listing.bytes("a.json"), listing.bytes("c")), (Some(1), None));
        for file in
            ["../a", "a/../b", "/etc/passwd", "a//b", "C:\\a", "a\\b", "", ".", "a\n", "a/."]
        {
            let error = info(&commit, &["a.json", file]).unwrap_err().to_string();
            assert!(error.contains("can stand in no folder"), "{file}: {error}");
        }
        for sha in ["main", "../../x", ""] {
            assert!(info(sha, &["a.json"]).is_err());
        }
    }

    #[test]
    fn it_is_kept_on_disk() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x/listing.json");
        Listing::of_names(["b".to_owned(), "a".to_owned()]).write(&path).unwrap();
        assert_eq!(Listing::read(&path).unwrap().names().collect::<Vec<_>>(), ["a", "b"]);
        fs::write(&path, r#"{"files":[["../a",null]]}"#).unwrap();
        assert!(Listing::read(&path).is_none());
    }
}
