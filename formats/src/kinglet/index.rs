//! The index: one record of 256 bytes per tensor.

use std::collections::HashMap;
use std::ops::Range;

use super::ALIGNMENT;
use super::error::{KingletError, TensorProblem};
use super::limits::NAME_BYTES;
use crate::layout::{Form, Layout, MAX_RANK, Planes, plane_lengths};

/// Bytes of a record.
pub(super) const RECORD: usize = 256;

/// Most planes a record can describe.
const MAX_PLANES: usize = 3;

/// What a tensor is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Role {
    /// Multiplied with activations.
    Matrix,
    /// Looked up by row, and multiplied with activations where output weights are tied to it.
    Embedding,
    /// Weight or bias of a norm.
    Norm,
    /// Added to the output of a matrix.
    Bias,
    /// Anything else.
    Other,
}

impl Role {
    /// The role with this id in a file.
    pub(super) fn from_id(id: u16) -> Option<Self> {
        [Self::Matrix, Self::Embedding, Self::Norm, Self::Bias, Self::Other]
            .into_iter()
            .find(|role| role.id() == id)
    }

    /// The role's id in a file.
    pub(super) fn id(self) -> u16 {
        match self {
            Self::Matrix => 1,
            Self::Embedding => 2,
            Self::Norm => 3,
            Self::Bias => 4,
            Self::Other => 5,
        }
    }
}

/// A tensor of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Canonical name, see [`crate::spec`].
    pub name: String,
    /// What it is used for.
    pub role: Role,
    /// How its numbers are stored.
    pub layout: Layout,
    /// Dimensions, outermost first: 1 to 4, none of them zero.
    pub dims: Vec<usize>,
    /// Columns that share a scale, 0 for a whole row or for layouts without scales.
    pub group: u32,
    /// RMS of the quantization error over RMS of the tensor, 0 when nothing was lost.
    pub relative_error: f32,
    /// BLAKE3 of its planes, without the padding between them.
    pub(super) hash: [u8; 32],
    /// Its planes' places in the data section.
    pub(super) planes: Vec<Range<usize>>,
}

impl Tensor {
    /// Number of columns: the last dim.
    pub fn cols(&self) -> usize {
        self.dims.last().copied().unwrap_or(1)
    }

    /// Number of rows: the product of all dims but the last.
    pub fn rows(&self) -> usize {
        // Cannot overflow: the planes hold at least a byte per row.
        self.dims.iter().rev().skip(1).product()
    }

    /// Bytes of its planes.
    pub fn n_bytes(&self) -> usize {
        self.planes.iter().map(ExactSizeIterator::len).sum()
    }

    /// Dims, layout and group, for messages.
    pub fn form(&self) -> Form {
        let dims = self.dims.iter().map(|&d| d as u64).collect();
        Form { dims, layout: self.layout, group: self.group }
    }
}

/// The tensors of a file, all checked, with their names.
pub(super) struct Index {
    pub(super) tensors: Vec<Tensor>,
    pub(super) by_name: HashMap<String, usize>,
}

impl Index {
    /// Reads and checks the index of a data section of `data_len` bytes, all of them in memory.
    pub(super) fn parse(section: &[u8], data_len: u64) -> Result<Self, KingletError> {
        let (records, rest) = section.as_chunks::<RECORD>();
        if !rest.is_empty() {
            return Err(KingletError::IndexLength { length: section.len() as u64 });
        }
        let mut tensors = Vec::with_capacity(records.len());
        let mut by_name = HashMap::with_capacity(records.len());
        let mut end = 0;
        for (i, record) in records.iter().enumerate() {
            let name = name(record)
                .map_err(|problem| KingletError::Name { record: i, problem })?
                .to_owned();
            if by_name.insert(name.clone(), i).is_some() {
                return Err(KingletError::Tensor { name, problem: TensorProblem::Duplicate });
            }
            let tensor = match tensor(record, name.clone(), end, data_len) {
                Ok((tensor, tensor_end)) => {
                    end = tensor_end;
                    tensor
                }
                Err(problem) => return Err(KingletError::Tensor { name, problem }),
            };
            tensors.push(tensor);
        }
        if end != data_len {
            return Err(KingletError::DataLength { expected: end, found: data_len });
        }
        Ok(Self { tensors, by_name })
    }
}

/// Length of a plane with the padding after it.
pub(super) fn padded(length: u64) -> Option<u64> {
    length.checked_next_multiple_of(ALIGNMENT as u64)
}

/// Checks a name: not empty, no control characters.
pub(super) fn check_name(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("the name is empty".to_owned());
    }
    if name.chars().any(char::is_control) {
        return Err(format!("the name {name:?} holds control characters"));
    }
    Ok(())
}

fn name(record: &[u8; RECORD]) -> Result<&str, String> {
    let field = &record[..NAME_BYTES];
    let length = field.iter().position(|&b| b == 0).unwrap_or(NAME_BYTES);
    if field[length..].iter().any(|&b| b != 0) {
        return Err("the name is not padded with zeros".to_owned());
    }
    let name = str::from_utf8(&field[..length]).map_err(|e| format!("the name: {e}"))?;
    check_name(name)?;
    Ok(name)
}

/// Checks a record whose first plane must begin at `start`; also returns where the next tensor's
/// must begin.
fn tensor(
    record: &[u8; RECORD],
    name: String,
    start: u64,
    data_len: u64,
) -> Result<(Tensor, u64), TensorProblem> {
    let u16_at = |at: usize| u16::from_le_bytes([record[at], record[at + 1]]);
    let u64_at = |at: usize| {
        let mut number = [0; 8];
        number.copy_from_slice(&record[at..at + 8]);
        u64::from_le_bytes(number)
    };
    let u32_at = |at: usize| {
        let mut number = [0; 4];
        number.copy_from_slice(&record[at..at + 4]);
        u32::from_le_bytes(number)
    };

    let zeros = [118..120, 124..128, 212..224];
    if zeros.into_iter().any(|range| record[range].iter().any(|&b| b != 0)) {
        return Err(TensorProblem::Reserved);
    }
    let role = Role::from_id(u16_at(112)).ok_or(TensorProblem::Role { role: u16_at(112) })?;
    let layout = Layout::from_id(u16_at(114))?;
    let (rank, n_planes) = (usize::from(record[116]), usize::from(record[117]));
    let group = u32_at(120);

    let all_dims: [u64; MAX_RANK] = std::array::from_fn(|i| u64_at(128 + 8 * i));
    let dims = all_dims.get(..rank).ok_or(crate::layout::LayoutError::Rank { rank })?;
    if all_dims[rank..].iter().any(|&d| d != 0) {
        return Err(TensorProblem::UnusedDims { rank, dims: all_dims });
    }
    let lengths = plane_lengths(layout, dims, group)?;
    let form = || Form { dims: dims.to_vec(), layout, group };
    let expected = lengths.lengths().len();
    if n_planes != expected {
        return Err(TensorProblem::PlaneCount { form: form(), expected, found: n_planes });
    }

    let mut planes = Vec::with_capacity(expected);
    let mut end = start;
    for plane in 0..MAX_PLANES {
        let (offset, found) = (u64_at(160 + 16 * plane), u64_at(168 + 16 * plane));
        let Some(&expected) = lengths.lengths().get(plane) else {
            if offset != 0 || found != 0 {
                return Err(TensorProblem::Reserved);
            }
            continue;
        };
        if found != expected {
            return Err(TensorProblem::PlaneLength { form: form(), plane, expected, found });
        }
        if offset != end {
            return Err(TensorProblem::PlaneOffset { plane, expected: end, found: offset });
        }
        // The data section is in memory, so numbers up to its length fit `usize`.
        end = padded(found)
            .and_then(|n| offset.checked_add(n))
            .filter(|&end| end <= data_len)
            .ok_or(TensorProblem::BeyondData { plane, offset, length: found, data: data_len })?;
        planes.push(offset as usize..(offset + found) as usize);
    }

    let relative_error = f32::from_bits(u32_at(208));
    check_relative_error(relative_error)?;
    let mut hash = [0; 32];
    hash.copy_from_slice(&record[224..]);
    let dims = dims.iter().map(|&d| d as usize).collect();
    Ok((Tensor { name, role, layout, dims, group, relative_error, hash, planes }, end))
}

pub(super) fn check_relative_error(value: f32) -> Result<(), TensorProblem> {
    if value.is_finite() && value >= 0.0 && !value.is_sign_negative() {
        Ok(())
    } else {
        Err(TensorProblem::RelativeError { value })
    }
}

/// What a record says.
pub(super) struct Record<'a> {
    pub(super) name: &'a str,
    pub(super) role: Role,
    pub(super) form: &'a Form,
    pub(super) lengths: Planes,
    /// Offset of each plane.
    pub(super) offsets: &'a [u64],
    pub(super) relative_error: f32,
    pub(super) hash: [u8; 32],
}

impl Record<'_> {
    /// The record's bytes. Name, rank and number of planes must fit.
    pub(super) fn bytes(&self) -> [u8; RECORD] {
        let mut bytes = [0; RECORD];
        let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
        put(0, self.name.as_bytes());
        put(112, &self.role.id().to_le_bytes());
        put(114, &self.form.layout.id().to_le_bytes());
        put(116, &[self.form.dims.len() as u8, self.offsets.len() as u8]);
        put(120, &self.form.group.to_le_bytes());
        for (i, dim) in self.form.dims.iter().enumerate() {
            put(128 + 8 * i, &dim.to_le_bytes());
        }
        for (i, (offset, length)) in self.offsets.iter().zip(self.lengths.lengths()).enumerate() {
            put(160 + 16 * i, &offset.to_le_bytes());
            put(168 + 16 * i, &length.to_le_bytes());
        }
        put(208, &self.relative_error.to_le_bytes());
        put(224, &self.hash);
        bytes
    }
}
