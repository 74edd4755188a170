//! One file from an address to the disk: resumed where it was cut, checked when it is whole.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::Error;
use super::client::{Answer, Client};
use super::name::Repository;
use super::patience::pause;
use super::url::Url;
use crate::units::hex;

/// Bytes moved at a time.
const PIECE: usize = 256 << 10;

/// A file to fetch.
pub(super) struct Item<'a> {
    pub(super) url: &'a Url,
    /// The repository that it belongs to.
    pub(super) of: Option<&'a Repository>,
    /// Its length, where it is known before.
    pub(super) bytes: Option<u64>,
    /// SHA-256 in hexadecimal, where it is known.
    pub(super) sha256: Option<&'a str>,
    /// The tag of what has arrived already: of another one, everything is fetched again.
    pub(super) tag: Option<&'a str>,
    /// The variable that moves the folder where it goes.
    pub(super) variable: &'static str,
}

impl Item<'_> {
    /// Fetches it to `path`, where a part may lie already; what is there afterwards is whole. Calls
    /// `progress` with the bytes that are there and those there will be.
    pub(super) fn fetch(
        &self,
        client: &Client,
        path: &Path,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<(), Error> {
        let mut part = Part::open(path, self.sha256.is_some())?;
        loop {
            let resumed = part.at > 0;
            self.complete(client, &mut part, progress)?;
            part.file.sync_all().map_err(|error| Error::file(path, error))?;
            let Some(expected) = self.sha256 else { return Ok(()) };
            let found = part.digest();
            if found == expected {
                return Ok(());
            }
            if resumed {
                // What lay there may have been of another time.
                part.restart()?;
                continue;
            }
            fs::remove_file(path).map_err(|error| Error::file(path, error))?;
            let (file, expected) = (self.url.to_string(), expected.to_owned());
            return Err(Error::WrongHash { file, expected, found });
        }
    }

    /// Fetches what is missing, over as many connections as it takes.
    fn complete(
        &self,
        client: &Client,
        part: &mut Part,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<(), Error> {
        let mut tries = 0;
        loop {
            let before = part.at;
            let Err(error) = self.receive(client, part, progress) else { return Ok(()) };
            if part.at > before {
                tries = 0;
            }
            pause(error, tries)?;
            tries += 1;
        }
    }

    /// Fetches what one connection brings.
    fn receive(
        &self,
        client: &Client,
        part: &mut Part,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<(), Error> {
        if self.bytes.is_some_and(|bytes| bytes < part.at) {
            part.restart()?;
        }
        if self.bytes == Some(part.at) {
            return Ok(());
        }
        let answer = client.get(self.url, part.at, self.tag)?;
        if answer.status == 416 && part.at > 0 {
            part.restart()?;
            let reason = "the file is shorter than what has arrived".to_owned();
            return Err(Error::Cut { url: self.url.to_string(), reason });
        }
        let mut answer = client.accepted(answer, self.of)?;
        let total = self.begin(&answer, part)?;
        let mut body = answer.body.as_reader();
        let mut buffer = vec![0; PIECE];
        progress(part.at, total);
        loop {
            let ended = |why: &str| Error::Cut {
                url: self.url.to_string(),
                reason: format!("{why} after {} of {total} bytes", part.at),
            };
            let n = body.read(&mut buffer).map_err(|error| ended(&error.to_string()))?;
            if n == 0 && part.at < total {
                return Err(ended("it ended"));
            }
            if n == 0 {
                return Ok(());
            }
            if part.at + n as u64 > total {
                part.restart()?;
                let reason = format!("it sends more than the {total} bytes it should have");
                return Err(Error::answer(self.url, reason));
            }
            part.write(&buffer[..n]).map_err(|error| self.unwritten(error, part, total))?;
            progress(part.at, total);
        }
    }

    /// The length of the whole file, if what comes now is what comes next of it.
    fn begin(&self, answer: &Answer, part: &mut Part) -> Result<u64, Error> {
        let refused = |reason: String| Error::answer(self.url, reason);
        let total = if answer.status == 206 {
            let range = answer.text("content-range").unwrap_or_default();
            let (start, total) = content_range(range)
                .ok_or_else(|| refused(format!("it answers with the range `{range:.100}`")))?;
            if start != part.at {
                let at = part.at;
                return Err(refused(format!(
                    "asked for what follows byte {at}, it sends {range:.100}"
                )));
            }
            total
        } else {
            // The server does not know ranges, or the file has changed.
            part.restart()?;
            answer.number("content-length")
        };
        match (self.bytes, total) {
            (Some(expected), Some(found)) if expected != found => {
                Err(refused(format!("it has {found} bytes, and the hub says {expected}")))
            }
            (Some(total), _) | (None, Some(total)) => Ok(total),
            (None, None) => Err(refused(format!(
                "it does not say how long it is, so that nobody knows when it is whole; fetch it \
                 (`curl -LO {}`) and name the file",
                self.url
            ))),
        }
    }

    fn unwritten(&self, error: io::Error, part: &Part, total: u64) -> Error {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Error::DiskFull {
                bytes: total - part.at,
                folder: part.path.parent().unwrap_or(&part.path).to_owned(),
                variable: self.variable,
            },
            _ => Error::file(&part.path, error),
        }
    }
}

/// Start and whole length of `bytes 5-9/10`.
fn content_range(text: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let start = range.split_once('-')?.0.parse().ok()?;
    Some((start, if total == "*" { None } else { Some(total.parse().ok()?) }))
}

/// What has arrived of a file.
struct Part {
    path: PathBuf,
    file: File,
    at: u64,
    hasher: Option<Sha256>,
}

impl Part {
    fn open(path: &Path, hashed: bool) -> Result<Self, Error> {
        let failed = |error| Error::file(path, error);
        let mut options = File::options();
        let file = options.create(true).truncate(false).read(true).write(true).open(path);
        let mut part = Self {
            path: path.to_owned(),
            file: file.map_err(failed)?,
            at: 0,
            hasher: hashed.then(Sha256::new),
        };
        if let Some(hasher) = &mut part.hasher {
            let mut buffer = vec![0; PIECE];
            loop {
                let n = part.file.read(&mut buffer).map_err(failed)?;
                if n == 0 {
                    break;
                }
                hasher.update(&buffer[..n]);
            }
        }
        part.at = part.file.seek(SeekFrom::End(0)).map_err(failed)?;
        Ok(part)
    }

    fn restart(&mut self) -> Result<(), Error> {
        let failed = |error| Error::file(&self.path, error);
        self.file.set_len(0).map_err(failed)?;
        self.file.rewind().map_err(failed)?;
        self.at = 0;
        self.hasher = self.hasher.is_some().then(Sha256::new);
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(bytes);
        }
        self.at += bytes.len() as u64;
        Ok(())
    }

    /// The hash of what is there.
    fn digest(&self) -> String {
        hex(&self.hasher.clone().unwrap_or_default().finalize())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read() {
        assert_eq!(content_range("bytes 5-9/10"), Some((5, Some(10))));
        assert_eq!(content_range("bytes 5-9/*"), Some((5, None)));
        for text in ["", "bytes */10", "bytes 5/10", "bytes x-9/10", "bytes 5-9/x"] {
            assert_eq!(content_range(text), None, "{text}");
        }
    }

    #[test]
    fn a_part_goes_on_where_it_ended() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("part");
        fs::write(&path, "hel").unwrap();
        let mut part = Part::open(&path, true).unwrap();
        assert_eq!(part.at, 3);
        part.write(b"lo").unwrap();
        let hello = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
        assert_eq!(part.digest(), hello);
        part.restart().unwrap();
        part.write(b"hello").unwrap();
        assert_eq!((part.digest().as_str(), fs::read(&path).unwrap()), (hello, b"hello".to_vec()));
    }

    #[test]
    fn a_full_disk_says_how_much_is_missing() {
        let folder = tempfile::tempdir().unwrap();
        let url = Url::parse("https://a.b/c").unwrap();
        let item =
            Item { url: &url, of: None, bytes: None, sha256: None, tag: None, variable: "HF_HOME" };
        let mut part = Part::open(&folder.path().join("part"), false).unwrap();
        part.write(&[0; 100]).unwrap();
        let full = io::Error::from(io::ErrorKind::StorageFull);
        let message = item.unwritten(full, &part, 5_100).to_string();
        assert!(message.contains("5.0 kB more") && message.contains("HF_HOME"), "{message}");
    }
}
