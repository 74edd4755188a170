//! Opens a file: everything but the data section is checked, the data is borrowed untouched.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use half::f16;

use super::error::{KingletError, Section};
use super::header::{Header, Places, head_hash};
use super::index::{Index, Tensor};
use super::meta::Meta;
use super::{ALIGNMENT, CHUNK};
use crate::layout::{Layout, f16_r8k1, i4_r8k16, i8_r8k8};
use crate::map::Bytes;

/// An open `.kinglet` file. Clones share it.
///
/// ```no_run
/// use kinglet_formats::kinglet::{KingletFile, View};
///
/// let file = KingletFile::open("model.kinglet".as_ref())?;
/// let index = file.find("decoder.final_norm.weight").expect("a decoder has a final norm");
/// println!("{} {}", file.meta().general.name, file.tensors()[index].form());
/// if let View::F32 { data, .. } = file.view(index) {
///     println!("{data:?}");
/// }
/// # Ok::<(), kinglet_formats::kinglet::KingletError>(())
/// ```
#[derive(Clone)]
pub struct KingletFile(Arc<Inner>);

struct Inner {
    bytes: Bytes,
    places: [Range<usize>; 5],
    minor: u16,
    hash: [u8; 32],
    meta: Meta,
    index: Index,
}

/// The numbers of a tensor, borrowed from the file.
#[derive(Clone, Copy, Debug)]
pub enum View<'a> {
    /// Panels of 8-bit integers with scales.
    I8(i8_r8k8::Matrix<'a>),
    /// Panels of 4-bit integers with scales and minima.
    I4(i4_r8k16::Matrix<'a>),
    /// Panels of `f16`.
    F16(f16_r8k1::Matrix<'a>),
    /// Rows of `f32`.
    F32 {
        /// Dimensions, outermost first.
        dims: &'a [usize],
        /// The values, row after row.
        data: &'a [f32],
    },
    /// Rows of `u32`.
    U32 {
        /// The numbers, row after row.
        data: &'a [u32],
    },
}

impl KingletFile {
    /// Maps and opens the file at `path`. Nothing else may write to it while it is open.
    pub fn open(path: &Path) -> Result<Self, KingletError> {
        Self::from_bytes(Bytes::map(path)?)
    }

    /// Opens a file that is in memory.
    pub fn from_bytes(bytes: Bytes) -> Result<Self, KingletError> {
        if cfg!(target_endian = "big") {
            return Err(KingletError::BigEndian);
        }
        let Header { minor, places, hash } = Header::parse(&bytes, bytes.len() as u64)?;
        let places = in_memory(&places);
        let [meta, tokenizer, index, chunk_table, data] = places.clone();

        let head = &bytes[..data.start];
        if head_hash(head) != hash {
            return Err(KingletError::HeadHash);
        }
        let sections = [&meta, &tokenizer, &index, &chunk_table, &data];
        for (i, pair) in sections.windows(2).enumerate() {
            if bytes[pair[0].end..pair[1].start].iter().any(|&b| b != 0) {
                return Err(KingletError::SectionPadding { section: Section::ALL[i + 1] });
            }
        }
        let expected = data.len().div_ceil(CHUNK) * blake3::OUT_LEN;
        if chunk_table.len() != expected {
            return Err(KingletError::ChunkTableLength {
                data: data.len() as u64,
                expected: expected as u64,
                found: chunk_table.len() as u64,
            });
        }
        let index = Index::parse(&bytes[index], data.len() as u64)?;
        let meta = Meta::parse(&bytes[meta], minor)?;
        // `Bytes` begins at a multiple of the alignment, and so does the data section in it: every
        // view below is then aligned.
        debug_assert_eq!(bytes.as_ptr().align_offset(ALIGNMENT), 0);
        Ok(Self(Arc::new(Inner { bytes, places, minor, hash, meta, index })))
    }

    /// Format version of the file.
    pub fn version(&self) -> (u16, u16) {
        (super::VERSION.0, self.0.minor)
    }

    /// BLAKE3 of everything before the data and of the data's own hashes: one for each model.
    pub fn hash(&self) -> &[u8; 32] {
        &self.0.hash
    }

    /// What the model is.
    pub fn meta(&self) -> &Meta {
        &self.0.meta
    }

    /// The compiled tokenizer; empty where there is none.
    pub fn tokenizer(&self) -> &[u8] {
        self.section(Section::Tokenizer)
    }

    /// All tensors, in the order of their data.
    pub fn tensors(&self) -> &[Tensor] {
        &self.0.index.tensors
    }

    /// Index of the tensor called `name`.
    pub fn find(&self, name: &str) -> Option<usize> {
        self.0.index.by_name.get(name).copied()
    }

    /// The numbers of tensor number `index`. This is cheap: nothing is copied or touched.
    ///
    /// # Panics
    /// If there is no such tensor.
    pub fn view(&self, index: usize) -> View<'_> {
        let tensor = &self.tensors()[index];
        let plane = |i: usize| self.plane(tensor, i);
        let (rows, cols) = (tensor.rows(), tensor.cols());
        match tensor.layout {
            Layout::I8R8K8 => {
                let (data, scales) = (bytemuck::cast_slice(plane(0)), plane(1));
                let scales: &[f16] = bytemuck::cast_slice(scales);
                // A panel has `padded_k` columns of 8 bytes.
                let padded_k = data.len() / rows.next_multiple_of(8);
                let group = if tensor.group == 0 { padded_k } else { tensor.group as usize };
                View::I8(i8_r8k8::Matrix { rows, cols, padded_k, group, data, scales })
            }
            Layout::I4R8K16 => {
                let (data, scales) = (plane(0), bytemuck::cast_slice(plane(1)));
                // A panel has `padded_k` columns of 8 half bytes.
                let padded_k = 2 * (data.len() / rows.next_multiple_of(8));
                let group = tensor.group as usize;
                View::I4(i4_r8k16::Matrix { rows, cols, padded_k, group, data, scales })
            }
            Layout::F16R8K1 => {
                View::F16(f16_r8k1::Matrix { rows, cols, data: bytemuck::cast_slice(plane(0)) })
            }
            Layout::F32Rows => {
                View::F32 { dims: &tensor.dims, data: bytemuck::cast_slice(plane(0)) }
            }
            Layout::U32Rows => View::U32 { data: bytemuck::cast_slice(plane(0)) },
        }
    }

    /// The bytes of tensor number `index`, plane after plane, as [`Writer`](super::Writer) takes them.
    ///
    /// # Panics
    /// If there is no such tensor.
    pub fn planes(&self, index: usize) -> impl Iterator<Item = &[u8]> {
        let tensor = &self.tensors()[index];
        (0..tensor.planes.len()).map(|plane| self.plane(tensor, plane))
    }

    /// Length of the file in bytes.
    pub fn file_len(&self) -> u64 {
        self.0.bytes.len() as u64
    }

    /// Length of the data section in bytes.
    pub fn data_len(&self) -> u64 {
        self.section(Section::Data).len() as u64
    }

    /// The bytes of the whole file.
    pub fn bytes(&self) -> &Bytes {
        &self.0.bytes
    }

    pub(super) fn section(&self, section: Section) -> &[u8] {
        &self.0.bytes[self.0.places[section as usize].clone()]
    }

    pub(super) fn plane(&self, tensor: &Tensor, plane: usize) -> &[u8] {
        &self.section(Section::Data)[tensor.planes[plane].clone()]
    }
}

impl std::fmt::Debug for KingletFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KingletFile")
            .field("name", &self.meta().general.name)
            .field("tensors", &self.tensors().len())
            .field("file_len", &self.file_len())
            .finish()
    }
}

/// Places as indices: the file is in memory, so they fit.
pub(super) fn in_memory(places: &Places) -> [Range<usize>; 5] {
    places.sections.clone().map(|s| s.start as usize..s.end as usize)
}
