//! Lexical shortlists of Marian (`lex.*.bin`): for each word of a source, the words that its translations
//! are made of.
//!
//! All numbers are little-endian `u64` but for the last: a magic number, a checksum of all that follows,
//! how many of the most frequent words are always in, how many translations a word has at most, the number
//! of offsets and that of words in lists; the offsets, one more than words, from where to where the list of
//! each word goes; the lists, `u32`.

use std::path::Path;

use super::MarianProblem;
use crate::checkpoint::error::CheckpointError;
use crate::checkpoint::stored::tensor;
use crate::checkpoint::{Checkpoint, DType, TensorInfo};
use crate::map::Bytes;

const MAGIC: u64 = 0xf11a_48d5_0134_17f5;
/// Bytes before the offsets.
const HEADER: usize = 48;
/// Bytes that the checksum is not about.
const UNCHECKED: usize = 16;
/// More than these cannot be counted in an `f32`.
const MAX_WORDS: u64 = 1 << 24;

/// A lexical shortlist.
///
/// As a checkpoint it has two tensors: `shortlist.offsets` `[vocab_size + 1]` and `shortlist.words`
/// `[n_words]`.
pub struct Shortlist {
    bytes: Bytes,
    infos: [TensorInfo; 2],
    n_frequent: usize,
}

/// Whether a file that begins so is a shortlist.
pub fn is_shortlist(start: &[u8]) -> bool {
    start.starts_with(&MAGIC.to_le_bytes())
}

impl Shortlist {
    /// Checks `bytes`; `file` is the name to use in errors.
    ///
    /// # Errors
    /// If the file is none, is cut or damaged, or its lists do not follow one another.
    pub fn parse(bytes: Bytes, file: impl AsRef<Path>) -> Result<Self, CheckpointError> {
        let found = sizes(&bytes);
        let (n_frequent, n_offsets, n_words) = found.map_err(|problem| {
            CheckpointError::Marian { file: file.as_ref().to_owned(), problem }
        })?;
        let info = |part: &str, n| TensorInfo {
            name: format!("shortlist.{part}"),
            dims: vec![n],
            dtype: DType::F32,
        };
        Ok(Self { infos: [info("offsets", n_offsets), info("words", n_words)], bytes, n_frequent })
    }

    /// Words of the vocabulary that it is for.
    pub fn vocab_size(&self) -> usize {
        self.infos[0].dims[0] - 1
    }

    /// How many of the vocabulary's first words are always in.
    pub fn n_frequent(&self) -> usize {
        self.n_frequent
    }

    /// Words in all lists together.
    pub fn n_words(&self) -> usize {
        self.infos[1].dims[0]
    }
}

/// The checked numbers of frequent words, offsets and words.
fn sizes(bytes: &[u8]) -> Result<(usize, usize, usize), MarianProblem> {
    let damaged = |what| MarianProblem::Shortlist { what };
    let header = bytes.get(..HEADER).ok_or_else(|| damaged("it is cut before its lists"))?;
    let header = header.as_chunks::<8>().0;
    let [magic, checksum, n_frequent, _, n_offsets, n_words] =
        std::array::from_fn(|i| u64::from_le_bytes(header[i]));
    if magic != MAGIC {
        return Err(damaged("it does not begin as one"));
    }
    for (what, count, min) in [
        ("offsets of a shortlist", n_offsets, 2),
        ("words of a shortlist", n_words, 1),
        ("frequent words of a shortlist", n_frequent, 0),
    ] {
        if count > MAX_WORDS {
            return Err(MarianProblem::TooMany { what, count, max: MAX_WORDS });
        }
        if count < min {
            return Err(damaged("it is empty"));
        }
    }
    let (n_frequent, n_offsets, n_words) =
        (n_frequent as usize, n_offsets as usize, n_words as usize);
    // At most 192 MiB: nothing overflows.
    let lists = HEADER + 8 * n_offsets;
    if bytes.len() < lists + 4 * n_words {
        return Err(damaged("it was probably not downloaded completely"));
    }
    if checksum != sum(&bytes[UNCHECKED..]) {
        return Err(damaged("its checksum is wrong; fetch it again"));
    }
    let offsets = bytes[HEADER..lists].as_chunks().0;
    let mut previous = 0;
    for (i, offset) in offsets.iter().enumerate() {
        let offset = u64::from_le_bytes(*offset);
        if offset < previous || (i == 0 && offset != 0) {
            return Err(damaged("its lists do not follow one another"));
        }
        previous = offset;
    }
    if previous != n_words as u64 {
        return Err(damaged("its lists do not end where they should"));
    }
    let words = bytes[lists..lists + 4 * n_words].as_chunks().0;
    if words.iter().any(|word| u32::from_le_bytes(*word) as usize >= n_offsets - 1) {
        return Err(damaged("it names words beyond its vocabulary"));
    }
    Ok((n_frequent, n_offsets, n_words))
}

/// Marian's checksum of whole `u64`.
fn sum(bytes: &[u8]) -> u64 {
    bytes.as_chunks::<8>().0.iter().fold(0u64, |seed, number| {
        let mixed = u64::from_le_bytes(*number)
            .wrapping_add(0x9e37_79b9)
            .wrapping_add(seed << 6)
            .wrapping_add(seed >> 2);
        seed ^ mixed
    })
}

impl Checkpoint for Shortlist {
    fn tensors(&self) -> &[TensorInfo] {
        &self.infos
    }

    fn read_rows(
        &self,
        index: usize,
        first_row: usize,
        out: &mut [f32],
    ) -> Result<(), CheckpointError> {
        let info = tensor(&self.infos, index)?;
        info.check_rows(first_row, out.len())?;
        let first = first_row * info.row_len();
        let (offsets, lists) = self.bytes[HEADER..].split_at(8 * self.infos[0].dims[0]);
        if index == 0 {
            let numbers = offsets[8 * first..].as_chunks().0;
            out.iter_mut().zip(numbers).for_each(|(x, n)| *x = u64::from_le_bytes(*n) as f32);
        } else {
            let numbers = lists[4 * first..].as_chunks().0;
            out.iter_mut().zip(numbers).for_each(|(x, n)| *x = u32::from_le_bytes(*n) as f32);
        }
        Ok(())
    }

    /// Fails: there are integers.
    fn raw(&self, index: usize) -> Result<&[u8], CheckpointError> {
        let info = tensor(&self.infos, index)?;
        Err(CheckpointError::NotInOrder { tensor: info.name.as_str().into() })
    }
}
