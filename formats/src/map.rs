//! Bytes of a file, mapped or read into memory, at an address aligned to 64.

use std::fs::File;
use std::io::{self, Read};
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;

/// Alignment of the first byte of [`Bytes`]: one cache line, one panel line of the `.kinglet` layouts.
pub const ALIGNMENT: usize = 64;

/// How much [`Bytes::read`] commits at a time, so that a file that lies about its length costs no memory.
const READ_STEP: usize = 8 << 20;

/// Immutable bytes whose first byte lies at a multiple of [`ALIGNMENT`]. Cloning shares them.
#[derive(Clone)]
pub struct Bytes(Source);

#[derive(Clone)]
enum Source {
    #[cfg(not(target_family = "wasm"))]
    Mapped(Arc<memmap2::Mmap>),
    Held {
        lines: Arc<Vec<Line>>,
        len: usize,
    },
}

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(64))]
struct Line([u8; ALIGNMENT]);

impl Bytes {
    /// Maps the file at `path`. Nothing is read until it is touched, and the system may drop pages
    /// again, so a file larger than memory can be used. The file must not be changed meanwhile:
    /// a file cut short under a mapping ends the process; where that may happen use [`Bytes::read`].
    #[cfg(not(target_family = "wasm"))]
    pub fn map(path: impl AsRef<Path>) -> Result<Self, MapError> {
        let path = path.as_ref();
        let (file, _) = open(path)?;
        // SAFETY: the mapping is private to this type, read-only, and handed out only as `&[u8]` for
        // as long as it lives. Its contents stay unchanged as long as nobody writes to the file:
        // Kinglet's own writers never do (they write a temporary file and rename it over the old
        // name, which leaves the mapped one untouched), and the documentation above asks the same
        // of everyone else. No reader relies on two reads of a byte agreeing for memory safety.
        let map = unsafe { memmap2::Mmap::map(&file) }.map_err(|e| from_io(path, e))?;
        // A mapping begins on a page, and every page size is a multiple of a cache line.
        debug_assert_eq!(map.as_ptr().align_offset(ALIGNMENT), 0);
        Ok(Self(Source::Mapped(Arc::new(map))))
    }

    /// Reads the file at `path` into memory: this target has no mappings.
    #[cfg(target_family = "wasm")]
    pub fn map(path: impl AsRef<Path>) -> Result<Self, MapError> {
        Self::read(path)
    }

    /// Reads the whole file at `path` into memory of its own.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, MapError> {
        let path = path.as_ref();
        let (mut file, len) = open(path)?;
        let mut lines =
            reserve(len).map_err(|_| MapError::OutOfMemory { path: path.to_owned(), len })?;
        let mut filled = 0;
        while filled < len {
            let step = READ_STEP.min(len - filled);
            lines.resize((filled + step).div_ceil(ALIGNMENT), Line([0; ALIGNMENT]));
            let target = &mut bytemuck::cast_slice_mut::<Line, u8>(&mut lines)[filled..][..step];
            file.read_exact(target).map_err(|e| match e.kind() {
                io::ErrorKind::UnexpectedEof => MapError::Shrunk { path: path.to_owned(), len },
                _ => from_io(path, e),
            })?;
            filled += step;
        }
        Ok(Self::held(lines, len))
    }

    /// Copies `bytes` into aligned memory.
    pub fn copy_of(bytes: &[u8]) -> Self {
        let mut lines = vec![Line([0; ALIGNMENT]); bytes.len().div_ceil(ALIGNMENT)];
        bytemuck::cast_slice_mut::<Line, u8>(&mut lines)[..bytes.len()].copy_from_slice(bytes);
        Self::held(lines, bytes.len())
    }

    /// The bytes of `vec`, copied into aligned memory.
    pub fn from_vec(vec: Vec<u8>) -> Self {
        Self::copy_of(&vec)
    }

    /// Whether the bytes are a mapping of a file rather than memory of their own.
    pub fn is_mapped(&self) -> bool {
        !matches!(self.0, Source::Held { .. })
    }

    fn held(lines: Vec<Line>, len: usize) -> Self {
        Self(Source::Held { lines: Arc::new(lines), len })
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            #[cfg(not(target_family = "wasm"))]
            Source::Mapped(map) => map,
            Source::Held { lines, len } => &bytemuck::cast_slice(lines)[..*len],
        }
    }
}

impl AsRef<[u8]> for Bytes {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl std::fmt::Debug for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bytes")
            .field("len", &self.len())
            .field("is_mapped", &self.is_mapped())
            .finish()
    }
}

/// Bytes to be filled before they are shared, aligned like [`Bytes`].
pub struct BytesMut {
    lines: Vec<Line>,
    len: usize,
}

impl BytesMut {
    /// `len` zeros, or `None` where memory does not suffice.
    pub fn zeroed(len: usize) -> Option<Self> {
        let lines = bytemuck::allocation::try_zeroed_vec(len.div_ceil(ALIGNMENT)).ok()?;
        Some(Self { lines, len })
    }

    /// Makes them immutable, without a copy.
    pub fn freeze(self) -> Bytes {
        Bytes::held(self.lines, self.len)
    }
}

impl Deref for BytesMut {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.lines)[..self.len]
    }
}

impl DerefMut for BytesMut {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut bytemuck::cast_slice_mut(&mut self.lines)[..self.len]
    }
}

/// Why a file could not be mapped or read.
#[derive(Debug, Error)]
#[non_exhaustive]
#[allow(missing_docs)] // each variant's message says what its fields are
pub enum MapError {
    #[error("{}: there is no such file; check the path", .path.display())]
    Missing { path: PathBuf },
    #[error("{}: is a folder, and a file is needed here", .path.display())]
    Folder { path: PathBuf },
    #[error("{}: is a device, pipe or socket; copy it to a regular file first", .path.display())]
    NotAFile { path: PathBuf },
    #[error("{}: the file is empty; it was probably not downloaded or copied completely", .path.display())]
    Empty { path: PathBuf },
    #[error("{}: no permission to read it; check the owner and mode of the file and its folders", .path.display())]
    Permission { path: PathBuf },
    #[error("{}: {len} bytes cannot be addressed on this machine; use a 64-bit build", .path.display())]
    TooLarge { path: PathBuf, len: u64 },
    #[error("{}: not enough memory to read {len} bytes; map the file instead, or free some memory", .path.display())]
    OutOfMemory { path: PathBuf, len: usize },
    #[error("{}: the file was cut short while its {len} bytes were being read; try again when nothing writes to it", .path.display())]
    Shrunk { path: PathBuf, len: usize },
    #[error("{}: {source}", .path.display())]
    Io { path: PathBuf, source: io::Error },
}

/// Whether a path with slashes leads nowhere but into the folder it is seen from, on any system.
pub fn stays_inside(path: &str) -> bool {
    let forbidden = |c: char| matches!(c, '\\' | ':') || c.is_control();
    let is_name = |part: &str| !part.is_empty() && part != "." && part != "..";
    path.split('/').all(is_name) && !path.contains(forbidden)
}

/// The folder that holds `path`.
pub fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Opens a regular file; anything else is an error, at once.
pub fn open_regular(path: &Path) -> Result<File, MapError> {
    // Asked before opening: opening a pipe would wait for its writer.
    let metadata = std::fs::metadata(path).map_err(|e| from_io(path, e))?;
    if metadata.is_dir() {
        return Err(MapError::Folder { path: path.to_owned() });
    }
    if !metadata.is_file() {
        return Err(MapError::NotAFile { path: path.to_owned() });
    }
    File::open(path).map_err(|e| from_io(path, e))
}

/// Opens a regular file that is not empty; returns it with its length.
fn open(path: &Path) -> Result<(File, usize), MapError> {
    let owned = || path.to_owned();
    let file = open_regular(path)?;
    let len = file.metadata().map_err(|e| from_io(path, e))?.len();
    if len == 0 {
        return Err(MapError::Empty { path: owned() });
    }
    match usize::try_from(len) {
        Ok(n) if n <= isize::MAX as usize - ALIGNMENT => Ok((file, n)),
        _ => Err(MapError::TooLarge { path: owned(), len }),
    }
}

fn from_io(path: &Path, source: io::Error) -> MapError {
    let path = path.to_owned();
    match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => MapError::Missing { path },
        io::ErrorKind::PermissionDenied => MapError::Permission { path },
        io::ErrorKind::IsADirectory => MapError::Folder { path },
        _ => MapError::Io { path, source },
    }
}

/// Address space for `len` bytes; memory is committed as it is filled.
fn reserve(len: usize) -> Result<Vec<Line>, std::collections::TryReserveError> {
    let mut lines = Vec::new();
    lines.try_reserve_exact(len.div_ceil(ALIGNMENT))?;
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_send_sync<T: Send + Sync>() {}

    #[test]
    fn every_way_of_loading_gives_the_same_aligned_bytes() {
        assert_send_sync::<Bytes>();
        let folder = tempfile::tempdir().unwrap();
        for len in [1, 63, 64, 65, 4096, READ_STEP - 1, READ_STEP, READ_STEP + 65] {
            let content: Vec<u8> = (0..len).map(|i| (i * 31 % 251) as u8).collect();
            let path = folder.path().join(len.to_string());
            std::fs::write(&path, &content).unwrap();
            let mapped = Bytes::map(&path).unwrap();
            let read = Bytes::read(&path).unwrap();
            let copied = Bytes::copy_of(&content);
            assert!(mapped.is_mapped() && !read.is_mapped() && !copied.is_mapped());
            for bytes in [mapped, read, copied, Bytes::from_vec(content.clone())] {
                let shared = bytes.clone();
                assert_eq!(shared.as_ptr(), bytes.as_ptr());
                drop(bytes);
                assert!(*shared == *content, "{len}");
                assert_eq!(shared.as_ptr() as usize % ALIGNMENT, 0);
            }
        }
        assert!(Bytes::copy_of(&[]).is_empty());
    }

    #[test]
    fn only_names_inside_the_folder() {
        for name in ["model.onnx_data", "data/weights.bin", "a b", "..data"] {
            assert!(stays_inside(name), "{name}");
        }
        for name in
            ["", ".", "..", "../x", "a/../x", "/etc/x", "a//x", "a/", "C:x", "..\\x", "a\0", "./."]
        {
            assert!(!stays_inside(name), "{name}");
        }
    }

    #[test]
    fn bad_paths_are_named_with_their_cause() {
        let folder = tempfile::tempdir().unwrap();
        let empty = folder.path().join("empty");
        std::fs::write(&empty, b"").unwrap();
        type Load = fn(&Path) -> Result<Bytes, MapError>;
        let loads: [Load; 2] = [|p| Bytes::map(p), |p| Bytes::read(p)];
        for load in loads {
            let missing = folder.path().join("missing");
            let error = load(&missing).unwrap_err();
            assert!(matches!(&error, MapError::Missing { path } if *path == missing));
            assert!(error.to_string().contains("missing: there is no such file"));
            assert!(matches!(load(&empty), Err(MapError::Empty { .. })));
            assert!(matches!(load(folder.path()), Err(MapError::Folder { .. })));
            assert!(matches!(load(&empty.join("below")), Err(MapError::Missing { .. })));
            #[cfg(unix)]
            assert!(matches!(load(Path::new("/dev/null")), Err(MapError::NotAFile { .. })));
        }
    }
}
