//! Reader of Marian's binary models, as Firefox Translations has them: int8 weights with one step for
//! each matrix, and floats.
//!
//! All numbers are little-endian: `u64` version 1 and number of items; for each item four `u64`, the
//! bytes of its name, its type, rank and the bytes of its data; then all names, each ended by a zero;
//! all shapes, `i32` each; a `u64` and that many bytes of padding; all data. The data of an int8
//! matrix is its values, then an `f32` by which they were multiplied, and padding. A matrix `[k, n]`
//! is stored as its `n` columns, except for the embeddings, which are stored as they are named.

mod problem;
mod shortlist;
#[cfg(test)]
mod tests;

use std::path::Path;

pub use problem::MarianProblem;
pub use shortlist::{Shortlist, is_shortlist};

use super::error::{CheckpointError, TensorProblem};
use super::stored::{ByName, byte_len, decode, tensor};
use super::{Checkpoint, DType, TensorInfo};
use crate::map::Bytes;

const VERSION: u64 = 1;
/// Bytes of the numbers that describe an item.
const ITEM: usize = 32;
/// Most items of a model.
const MAX_ITEMS: u64 = 1 << 16;
const MAX_RANK: u64 = 4;
const MAX_NAME: u64 = 1 << 10;

const FLOAT: u64 = 0x404;
const INT8: u64 = 0x4101;
const BYTES: u64 = 0x101;

/// The item with the configuration.
const CONFIG: &str = "special:model.yml";
/// Matrices that are not stored as their columns.
const AS_NAMED: &str = "Wemb";
/// Activations' multipliers, which belong to an engine that rounds activations to 8 bits.
const ACTIVATIONS: &str = "_QuantMultA";

/// A Marian model.
pub struct Marian {
    bytes: Bytes,
    infos: Vec<TensorInfo>,
    /// First byte of each tensor.
    starts: Vec<usize>,
    /// Steps of those that are int8.
    steps: Vec<Option<f32>>,
    by_name: ByName,
    config: String,
}

/// Whether a file that begins so is a Marian model.
pub fn is_marian(start: &[u8]) -> bool {
    let number = |at: usize| start.get(at..at + 8)?.try_into().ok().map(u64::from_le_bytes);
    number(0) == Some(VERSION) && number(8).is_some_and(|n| (1..=MAX_ITEMS).contains(&n))
}

/// The description of an item.
struct Item {
    kind: u64,
    rank: u64,
    bytes: u64,
    name: String,
}

impl Marian {
    /// Maps and checks the file at `path`.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, CheckpointError> {
        let path = path.as_ref();
        Self::parse(Bytes::map(path)?, path)
    }

    /// Checks `bytes`; `file` is the name to use in errors.
    pub fn parse(bytes: Bytes, file: impl AsRef<Path>) -> Result<Self, CheckpointError> {
        let file = file.as_ref();
        let refuse = |problem| CheckpointError::Marian { file: file.to_owned(), problem };
        let mut reader = Reader { bytes: &bytes, at: 0 };
        let items = reader.items().map_err(refuse)?;
        let dims: Vec<Vec<usize>> =
            items.iter().map(|item| reader.dims(item)).collect::<Result<_, _>>().map_err(refuse)?;
        let padding = reader.u64("the padding's length").map_err(refuse)?;
        reader.take(padding, "padding").map_err(refuse)?;

        let (mut infos, mut starts, mut steps) = (Vec::new(), Vec::new(), Vec::new());
        let mut config = None;
        for (item, dims) in items.into_iter().zip(dims) {
            let start = reader.at;
            let data = reader.take(item.bytes, "data").map_err(refuse)?;
            if item.name == CONFIG {
                let text = data.split(|&byte| byte == 0).next().unwrap_or_default();
                let text = std::str::from_utf8(text);
                config = Some(text.map_err(|_| refuse(MarianProblem::Config))?.to_owned());
            }
            let of_tensor = |problem| CheckpointError::Tensor {
                file: file.to_owned(),
                tensor: item.name.as_str().into(),
                problem,
            };
            let (dtype, step_bytes) = match item.kind {
                FLOAT => (DType::F32, 0),
                INT8 => (DType::I8, size_of::<f32>()),
                BYTES => continue,
                kind => {
                    let tensor = item.name.as_str().into();
                    return Err(refuse(MarianProblem::UnsupportedType { tensor, kind }));
                }
            };
            if item.name.ends_with(ACTIVATIONS) {
                continue;
            }
            let expected = byte_len(&dims, dtype).map_err(of_tensor)?;
            if expected.saturating_add(step_bytes) > data.len() {
                let found = data.len() as u64;
                return Err(of_tensor(TensorProblem::WrongSize { dims, dtype, expected, found }));
            }
            let step = (dtype == DType::I8).then(|| {
                let mut multiplier = [0; 4];
                multiplier.copy_from_slice(&data[expected..expected + 4]);
                1.0 / f32::from_le_bytes(multiplier)
            });
            if let Some(step) = step.filter(|step| !(step.is_finite() && *step > 0.0)) {
                let tensor = item.name.as_str().into();
                return Err(refuse(MarianProblem::Multiplier { tensor, step }));
            }
            let mut dims = dims;
            if step.is_some() && !item.name.ends_with(AS_NAMED) {
                dims.reverse();
            }
            infos.push(TensorInfo { name: item.name, dims, dtype: DType::F32 });
            starts.push(start);
            steps.push(step);
        }
        let by_name = ByName::new(&infos).map_err(|twice| CheckpointError::Tensor {
            file: file.to_owned(),
            tensor: infos[twice].name.as_str().into(),
            problem: TensorProblem::Duplicate,
        })?;
        let config = config.ok_or_else(|| refuse(MarianProblem::NoConfig))?;
        Ok(Self { bytes, infos, starts, steps, by_name, config })
    }

    /// The model's configuration, YAML.
    pub fn config(&self) -> &str {
        &self.config
    }
}

impl Checkpoint for Marian {
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
        let data = &self.bytes[self.starts[index]..];
        match self.steps[index] {
            None => decode(DType::F32, &data[4 * first..], out),
            Some(step) => {
                decode(DType::I8, &data[first..], out);
                out.iter_mut().for_each(|x| *x *= step);
            }
        }
        Ok(())
    }

    fn row_step(&self, index: usize, _row: usize) -> Option<f32> {
        *self.steps.get(index)?
    }

    /// Fails for int8 tensors.
    fn raw(&self, index: usize) -> Result<&[u8], CheckpointError> {
        let info = tensor(&self.infos, index)?;
        if self.steps[index].is_some() {
            return Err(CheckpointError::NotInOrder { tensor: info.name.as_str().into() });
        }
        let len = 4 * info.n_rows() * info.row_len();
        Ok(&self.bytes[self.starts[index]..][..len])
    }

    fn find(&self, name: &str) -> Option<usize> {
        self.by_name.find(&self.infos, name)
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// The next `len` bytes, or an error that says `what` they were to be.
    fn take(&mut self, len: u64, what: &'static str) -> Result<&'a [u8], MarianProblem> {
        let rest = &self.bytes[self.at..];
        let taken = usize::try_from(len).ok().and_then(|len| rest.get(..len));
        let available = rest.len();
        let taken =
            taken.ok_or(MarianProblem::Truncated { what, at: self.at, wanted: len, available })?;
        self.at += taken.len();
        Ok(taken)
    }

    fn u64(&mut self, what: &'static str) -> Result<u64, MarianProblem> {
        let mut number = [0; 8];
        number.copy_from_slice(self.take(8, what)?);
        Ok(u64::from_le_bytes(number))
    }

    /// The descriptions and names of all items.
    fn items(&mut self) -> Result<Vec<Item>, MarianProblem> {
        let version = self.u64("the version")?;
        if version != VERSION {
            return Err(MarianProblem::Version { found: version });
        }
        let n = self.u64("the number of items")?;
        let fit = ((self.bytes.len() - self.at) / ITEM) as u64;
        if n > fit.min(MAX_ITEMS) {
            return Err(MarianProblem::TooMany {
                what: "items",
                count: n,
                max: fit.min(MAX_ITEMS),
            });
        }
        let mut items = Vec::with_capacity(n as usize);
        let mut lens = Vec::with_capacity(n as usize);
        for _ in 0..n {
            let [name, kind, rank, bytes] = [
                self.u64("the length of a name")?,
                self.u64("a type")?,
                self.u64("a rank")?,
                self.u64("a length of data")?,
            ];
            for (what, count, max) in
                [("dimensions", rank, MAX_RANK), ("bytes of a name", name, MAX_NAME)]
            {
                if count > max {
                    return Err(MarianProblem::TooMany { what, count, max });
                }
            }
            lens.push(name);
            items.push(Item { kind, rank, bytes, name: String::new() });
        }
        for (item, len) in items.iter_mut().zip(lens) {
            let at = self.at;
            let name = self.take(len, "a name")?;
            let name = name.split(|&byte| byte == 0).next().unwrap_or_default();
            let name = std::str::from_utf8(name).map_err(|_| MarianProblem::Name { at })?;
            item.name = name.to_owned();
        }
        Ok(items)
    }

    fn dims(&mut self, item: &Item) -> Result<Vec<usize>, MarianProblem> {
        let stored = self.take(4 * item.rank, "a shape")?;
        let dims = stored.as_chunks().0.iter().map(|dim| i32::from_le_bytes(*dim));
        let dims: Option<Vec<usize>> = dims.map(|dim| usize::try_from(dim).ok()).collect();
        dims.ok_or_else(|| MarianProblem::Shape { tensor: item.name.as_str().into() })
    }
}
