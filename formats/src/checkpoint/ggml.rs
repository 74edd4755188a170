//! Reader of whisper.cpp's models (`ggml-tiny.en.bin`): GGML's format from before GGUF.
//!
//! A file is a magic number, eleven sizes, the mel filters, the pieces of the vocabulary, and up to its
//! end tensors: rank, length of the name, type, dimensions from the innermost on, name, values. Nothing
//! is aligned.

use std::ops::Range;
use std::path::Path;

use thiserror::Error;

use super::error::{CheckpointError, Quoted};
use super::stored::{Claim, Stored, byte_len};
use super::{Checkpoint, DType, TensorInfo, gguf};
use crate::map::Bytes;

/// How a file begins: 0x67676d6c.
const MAGIC: &[u8; 4] = b"lmgg";
/// Least bytes of a piece: its length.
const MIN_PIECE: usize = 4;
/// Most dimensions of a tensor, and bytes of its name.
const MAX_RANK: u32 = 4;
const MAX_NAME: u32 = 256;
/// What types of files are multiplied with the version of their quantization by, and its present version.
const VERSION_FACTOR: u32 = 1000;
const VERSION: u32 = 2;

/// A model of whisper.cpp.
pub struct Ggml {
    stored: Stored,
    bytes: Bytes,
    sizes: GgmlSizes,
    /// Where the pieces lie in the file.
    pieces: Vec<Range<usize>>,
}

/// The sizes of a network, as a file says them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // as whisper.cpp calls them
pub struct GgmlSizes {
    pub n_vocab: u32,
    pub n_audio_ctx: u32,
    pub n_audio_state: u32,
    pub n_audio_head: u32,
    pub n_audio_layer: u32,
    pub n_text_ctx: u32,
    pub n_text_state: u32,
    pub n_text_head: u32,
    pub n_text_layer: u32,
    pub n_mels: u32,
}

/// What is wrong with such a file as a whole.
#[derive(Debug, Error, PartialEq)]
#[non_exhaustive]
#[allow(missing_docs)] // each variant's message says what its fields are
pub enum GgmlProblem {
    #[error("it does not begin as a model of whisper.cpp")]
    Magic,
    #[error(
        "{what} takes {wanted} bytes from {at}, but {available} are left; the file was probably not \
         downloaded completely"
    )]
    Truncated { what: &'static str, at: usize, wanted: usize, available: usize },
    #[error("version {version} of GGML's quantization is not read, {VERSION} is; quantize it anew")]
    Version { version: u32 },
    #[error("{count} {what} are claimed, but no more than {max} fit the file")]
    TooMany { what: &'static str, count: u64, max: usize },
    #[error(
        "a tensor at byte {at} has {rank} dimensions and a name of {len} bytes, at most {MAX_RANK} and {MAX_NAME} are read"
    )]
    OddTensor { at: usize, rank: u32, len: u32 },
    #[error("the name of a tensor at byte {at} is not UTF-8")]
    NotAName { at: usize },
    #[error("tensor {tensor} has type {kind}, which is not read")]
    UnknownType { tensor: Quoted, kind: String },
}

/// Whether bytes begin as a model of whisper.cpp. Other programs' models of that time do so too.
pub fn is_ggml(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC)
}

impl Ggml {
    /// Maps and checks the file at `path`.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, CheckpointError> {
        let path = path.as_ref();
        Self::parse(Bytes::map(path)?, path)
    }

    /// Checks `bytes`; `file` is the name to use in errors.
    pub fn parse(bytes: Bytes, file: impl AsRef<Path>) -> Result<Self, CheckpointError> {
        let file = file.as_ref();
        let refuse = |problem| CheckpointError::Ggml { file: file.to_owned(), problem };
        let mut cursor = Cursor { bytes: &bytes, at: 0 };
        let sizes = head(&mut cursor).map_err(refuse)?;
        filters(&mut cursor).map_err(refuse)?;
        let pieces = pieces(&mut cursor).map_err(refuse)?;
        let mut claims = Vec::new();
        while cursor.at < bytes.len() {
            let info = tensor(&mut cursor).map_err(refuse)?;
            let of_tensor = |problem| CheckpointError::Tensor {
                file: file.to_owned(),
                tensor: info.name.as_str().into(),
                problem,
            };
            let len = byte_len(&info.dims, info.dtype).map_err(of_tensor)?;
            let start = cursor.at as u64;
            cursor.take(len, "a tensor").map_err(refuse)?;
            claims.push(Claim { info, start });
        }
        let stored = Stored::check(file.to_owned(), bytes.clone(), claims)?;
        Ok(Self { stored, bytes, sizes, pieces })
    }

    /// The sizes that the file says its network has.
    pub fn sizes(&self) -> &GgmlSizes {
        &self.sizes
    }

    /// The pieces of the vocabulary in the order of their ids: any bytes.
    pub fn pieces(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.pieces.iter().map(|place| &self.bytes[place.clone()])
    }
}

impl Checkpoint for Ggml {
    fn tensors(&self) -> &[TensorInfo] {
        self.stored.tensors()
    }

    fn read_rows(
        &self,
        index: usize,
        first_row: usize,
        out: &mut [f32],
    ) -> Result<(), CheckpointError> {
        self.stored.read_rows(index, first_row, out)
    }

    fn raw(&self, index: usize) -> Result<&[u8], CheckpointError> {
        self.stored.raw(index)
    }

    fn find(&self, name: &str) -> Option<usize> {
        self.stored.find(name)
    }
}

fn head(cursor: &mut Cursor<'_>) -> Result<GgmlSizes, GgmlProblem> {
    if cursor.take(4, "the beginning").ok() != Some(MAGIC) {
        return Err(GgmlProblem::Magic);
    }
    let mut size = || cursor.u32("the sizes");
    let sizes = GgmlSizes {
        n_vocab: size()?,
        n_audio_ctx: size()?,
        n_audio_state: size()?,
        n_audio_head: size()?,
        n_audio_layer: size()?,
        n_text_ctx: size()?,
        n_text_state: size()?,
        n_text_head: size()?,
        n_text_layer: size()?,
        n_mels: size()?,
    };
    // Plain files have none.
    match size()? / VERSION_FACTOR {
        0 | VERSION => Ok(sizes),
        version => Err(GgmlProblem::Version { version }),
    }
}

/// Passes over the filters, which follow from the number of bands.
fn filters(cursor: &mut Cursor<'_>) -> Result<(), GgmlProblem> {
    const WHAT: &str = "numbers of the mel filters";
    let (n_mels, n_bins) = (cursor.u32(WHAT)?, cursor.u32(WHAT)?);
    let count = u64::from(n_mels) * u64::from(n_bins);
    let max = cursor.left() / 4;
    if count > max as u64 {
        return Err(GgmlProblem::TooMany { what: WHAT, count, max });
    }
    cursor.take(count as usize * 4, WHAT).map(drop)
}

fn pieces(cursor: &mut Cursor<'_>) -> Result<Vec<Range<usize>>, GgmlProblem> {
    let count = cursor.u32("the number of pieces")?;
    let max = cursor.left() / MIN_PIECE;
    if count as usize > max {
        return Err(GgmlProblem::TooMany { what: "pieces", count: count.into(), max });
    }
    let piece = |cursor: &mut Cursor<'_>| {
        let len = cursor.u32("the length of a piece")? as usize;
        let start = cursor.at;
        cursor.take(len, "a piece")?;
        Ok(start..start + len)
    };
    (0..count).map(|_| piece(cursor)).collect()
}

/// What a tensor is; its values follow.
fn tensor(cursor: &mut Cursor<'_>) -> Result<TensorInfo, GgmlProblem> {
    let at = cursor.at;
    let (rank, len) = (cursor.u32("the rank of a tensor")?, cursor.u32("the length of a name")?);
    let id = cursor.u32("the type of a tensor")?;
    if rank > MAX_RANK || len > MAX_NAME {
        return Err(GgmlProblem::OddTensor { at, rank, len });
    }
    let dims = (0..rank).map(|_| cursor.u32("a dimension").map(|dim| dim as usize));
    let mut dims = dims.collect::<Result<Vec<_>, _>>()?;
    dims.reverse();
    // Biases of convolutions are columns.
    if dims.len() == 2 && dims[1] == 1 {
        dims.pop();
    }
    let name = cursor.take(len as usize, "the name of a tensor")?;
    let name = std::str::from_utf8(name).map_err(|_| GgmlProblem::NotAName { at })?;
    let dtype: DType =
        gguf::dtype(id).map_err(|kind| GgmlProblem::UnknownType { tensor: name.into(), kind })?;
    Ok(TensorInfo { name: name.to_owned(), dims, dtype })
}

/// Reads from the front of the file.
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    fn take(&mut self, wanted: usize, what: &'static str) -> Result<&'a [u8], GgmlProblem> {
        let (at, available) = (self.at, self.left());
        let taken = self.bytes[at..].get(..wanted);
        let taken = taken.ok_or(GgmlProblem::Truncated { what, at, wanted, available })?;
        self.at += wanted;
        Ok(taken)
    }

    fn u32(&mut self, what: &'static str) -> Result<u32, GgmlProblem> {
        let mut number = [0; 4];
        number.copy_from_slice(self.take(4, what)?);
        Ok(u32::from_le_bytes(number))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    fn numbers(numbers: &[u32]) -> Vec<u8> {
        numbers.iter().flat_map(|n| n.to_le_bytes()).collect()
    }

    fn tensor(name: &str, dims: &[u32], id: u32, data: &[u8]) -> Vec<u8> {
        let inner_first: Vec<u32> = dims.iter().rev().copied().collect();
        let head = numbers(&[dims.len() as u32, name.len() as u32, id]);
        [head, numbers(&inner_first), name.into(), data.into()].concat()
    }

    fn file(version: u32, tensors: &[Vec<u8>]) -> Vec<u8> {
        let sizes = [3, 10, 4, 1, 1, 8, 4, 1, 1, 2, version * VERSION_FACTOR + 1];
        let filters = [numbers(&[2, 3]), vec![0; 24]].concat();
        let pieces = [numbers(&[2, 1]), b"a".to_vec(), numbers(&[2]), vec![0xff, 0]].concat();
        [MAGIC.to_vec(), numbers(&sizes), filters, pieces, tensors.concat()].concat()
    }

    pub(crate) fn small() -> Vec<u8> {
        let floats: Vec<u8> = [1.0f32, -2.5].iter().flat_map(|x| x.to_le_bytes()).collect();
        let mut block = vec![0, 0x3c];
        block.extend((0..32).map(|i: i8| i as u8));
        let tensors = [
            tensor("b", &[2, 1], 0, &floats),
            tensor("h", &[1, 2], 1, &[0, 0x3c, 0, 0xbc]),
            tensor("q", &[1, 32], 8, &block),
        ];
        file(VERSION, &tensors)
    }

    fn problem(file: &[u8]) -> GgmlProblem {
        match Ggml::parse(Bytes::copy_of(file), "ggml.bin") {
            Err(CheckpointError::Ggml { problem, .. }) => problem,
            Err(other) => panic!("{other}"),
            Ok(_) => panic!("accepted"),
        }
    }

    #[test]
    fn tensors_and_pieces_have_their_values() {
        let ggml = Ggml::parse(Bytes::copy_of(&small()), "ggml.bin").unwrap();
        assert!(is_ggml(&small()));
        let pieces: Vec<&[u8]> = ggml.pieces().collect();
        assert_eq!(pieces, [&b"a"[..], &[0xff, 0]]);
        assert_eq!((ggml.sizes().n_vocab, ggml.sizes().n_mels), (3, 2));
        let all = |name: &str, dims: &[usize]| {
            let index = ggml.find(name).unwrap();
            assert_eq!(ggml.tensors()[index].dims, dims);
            let mut out = vec![0.0; dims.iter().product()];
            ggml.read_rows(index, 0, &mut out).unwrap();
            out
        };
        assert_eq!(all("b", &[2]), [1.0, -2.5]);
        assert_eq!(all("h", &[1, 2]), [1.0, -1.0]);
        assert_eq!(all("q", &[1, 32])[..3], [0.0, 1.0, 2.0]);
    }

    #[test]
    fn each_lie_is_named() {
        assert_eq!(problem(b"GGUF"), GgmlProblem::Magic);
        assert_eq!(problem(&file(1, &[])), GgmlProblem::Version { version: 1 });
        let deep = tensor("t", &[1; 5], 0, &[]);
        assert!(matches!(problem(&file(2, &[deep])), GgmlProblem::OddTensor { rank: 5, .. }));
        let unknown = tensor("t", &[1], 4, &[]);
        assert!(matches!(problem(&file(0, &[unknown])), GgmlProblem::UnknownType { .. }));
        let short = tensor("t", &[2], 0, &[0; 4]);
        assert!(matches!(
            problem(&file(0, &[short])),
            GgmlProblem::Truncated { wanted: 8, available: 4, .. }
        ));
        let mut name = tensor("t", &[1], 0, &[0; 4]);
        name[16] = 0xff;
        assert!(matches!(problem(&file(0, &[name])), GgmlProblem::NotAName { .. }));
        let mut many = file(0, &[]);
        many[48..52].copy_from_slice(&[0xff; 4]);
        assert!(matches!(problem(&many), GgmlProblem::TooMany { count, .. } if count > 1 << 32));
        let twice = [tensor("t", &[1], 0, &[0; 4]), tensor("t", &[1], 0, &[0; 4])];
        let error = Ggml::parse(Bytes::copy_of(&file(0, &twice)), "ggml.bin");
        assert!(error.err().unwrap().to_string().contains("appears twice"));
    }
}
