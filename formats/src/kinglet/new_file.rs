//! A file that appears under its name when it is complete.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::error::KingletError;
use crate::map::folder_of;

/// A file in the making: its bytes go to a temporary one beside the target. Dropping it removes
/// them.
#[derive(Debug)]
pub struct NewFile {
    path: PathBuf,
    file: NamedTempFile,
    /// Bytes that it will have, for messages.
    needed: u64,
}

impl NewFile {
    /// Starts a file of `needed` bytes that will be at `path`.
    pub(super) fn create(path: &Path, needed: u64) -> Result<Self, KingletError> {
        Ok(Self { path: path.to_owned(), file: temporary_file(path, needed)?, needed })
    }

    /// Brings everything to the disk and gives the file its name, in the place of one that was
    /// there.
    pub(super) fn persist(self) -> Result<(), KingletError> {
        let Self { path, file, needed } = self;
        let io_error = |e| write_error(&path, needed, e);
        file.as_file().sync_all().map_err(io_error)?;
        file.persist(&path).map_err(|e| io_error(e.error))?;
        sync_folder(folder_of(&path)).map_err(io_error)
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Seek for NewFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

/// A temporary file in the folder of `path`.
fn temporary_file(path: &Path, needed: u64) -> Result<NamedTempFile, KingletError> {
    let target = |problem| KingletError::Target { path: path.to_owned(), problem };
    let name = path.file_name().ok_or_else(|| target("it names no file"))?;
    if path.is_dir() {
        return Err(target("it is a folder; name a file in it"));
    }
    // Renaming would put a file in the place of a device such as /dev/null.
    if path.metadata().is_ok_and(|metadata| !metadata.is_file()) {
        return Err(target("it is a device, a pipe or a socket; name a file"));
    }
    if !folder_of(path).is_dir() {
        return Err(target("its folder does not exist; create it first"));
    }
    let mut prefix = std::ffi::OsString::from(".");
    prefix.push(name);
    prefix.push(".");
    let mut builder = tempfile::Builder::new();
    builder.prefix(&prefix).suffix(".partial");
    #[cfg(unix)]
    {
        // Temporary files are private by default; models get the usual permissions (less umask).
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    builder.tempfile_in(folder_of(path)).map_err(|e| write_error(path, needed, e))
}

/// Brings a new name to the disk.
fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

pub(super) fn write_error(path: &Path, needed: u64, source: io::Error) -> KingletError {
    let path = path.to_owned();
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            KingletError::DiskFull { path, needed }
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            let problem = "its folder may not be written to; choose another folder";
            KingletError::Target { path, problem }
        }
        _ => KingletError::Write { path, source },
    }
}
