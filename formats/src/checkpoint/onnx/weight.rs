//! A recovered tensor: where its numbers lie, and how they are read.

use super::super::{DType, TensorInfo};
use super::constant::{Constant, Over, Spread};
use super::element::Element;
use super::tensor::{Place, Tensor};
use super::{MAX_SHARING, OnnxProblem};
use crate::map::Bytes;

/// A matrix, vector or kernel that is read row by row. All that a row needs is known to be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Weight {
    /// Number of the tensor with the stored numbers.
    pub(super) data: usize,
    /// How each of them is stored, which packed weights have in bytes.
    pub(super) element: Element,
    /// Dimensions as stored, outermost first.
    pub(super) dims: Vec<usize>,
    /// Elements from row to row: more than a row has, where its last block is filled up.
    pub(super) pitch: usize,
    pub(super) scale: Option<Values>,
    pub(super) zero: Zero,
    /// Values are rounded to the type of their scales, as the graph does.
    pub(super) rounds: bool,
    /// The recovered matrix has the stored columns as rows.
    pub(super) is_transposed: bool,
    /// What further rows are made of.
    pub(super) then: Option<Box<Weight>>,
}

/// What is subtracted from stored integers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Zero {
    /// The same for all.
    Is(i16),
    /// Numbers of another tensor.
    Of(Values),
}

/// Numbers that belong to the elements of a weight: number
/// `row / per % among * pitch + column / block` to the one at `[row, column]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Values {
    pub(super) tensor: usize,
    pub(super) element: Element,
    pub(super) per: usize,
    pub(super) among: usize,
    pub(super) pitch: usize,
    pub(super) block: usize,
}

impl Values {
    fn new(spread: Spread, dims: &[usize], tensors: &[Tensor]) -> Option<Self> {
        let whole = Self {
            tensor: spread.tensor,
            element: tensors[spread.tensor].element,
            per: 1,
            among: 1,
            pitch: 0,
            block: usize::MAX,
        };
        let last = dims.len().checked_sub(1);
        let row_len = dims.last().copied().unwrap_or(1);
        Some(match spread.over {
            Over::Whole => whole,
            Over::Axis(axis) if Some(axis) == last => Self { block: 1, ..whole },
            Over::Axis(axis) => {
                let per = dims[axis + 1..dims.len() - 1].iter().product::<usize>().max(1);
                Self { per, among: dims[axis].max(1), pitch: 1, ..whole }
            }
            Over::Blocks { axis, len } if Some(axis) == last => {
                Self { among: usize::MAX, pitch: row_len.div_ceil(len), block: len, ..whole }
            }
            Over::Blocks { axis: 0, len } if dims.len() == 2 => {
                Self { per: len, among: usize::MAX, pitch: row_len, block: 1, ..whole }
            }
            Over::Blocks { .. } => return None,
        })
    }

    /// Whether the tensor has a number for each element of `n_rows` rows.
    fn cover(&self, n_rows: usize, row_len: usize, tensors: &[Tensor]) -> bool {
        let (Some(row), Some(column)) = (n_rows.checked_sub(1), row_len.checked_sub(1)) else {
            return true;
        };
        let last = (row / self.per).min(self.among - 1).checked_mul(self.pitch);
        let last = last.and_then(|last| last.checked_add(column / self.block));
        let tensor = &tensors[self.tensor];
        // Packed numbers are counted in elements of theirs.
        let bits = tensor.element.bits().and_then(|bits| bits.checked_mul(tensor.len()));
        let available = bits.zip(self.element.bits()).map_or(0, |(bits, each)| bits / each);
        last.is_some_and(|last| last < available)
    }

    fn first(&self, row: usize) -> usize {
        row / self.per % self.among * self.pitch
    }
}

impl Weight {
    /// The value of a constant, in the order of the tensor it is made of.
    pub(super) fn new(constant: &Constant<'_>, tensors: &[Tensor]) -> Option<Self> {
        let tensor = &tensors[constant.data];
        let values = |spread: Spread| Values::new(spread, &tensor.dims, tensors);
        let scale = match constant.scale {
            Some(scale) => Some(values(scale)?),
            None => None,
        };
        let zero = match constant.zero {
            Some(zero) => Zero::Of(values(zero)?),
            None => Zero::Is(0),
        };
        let weight = Self {
            data: constant.data,
            element: tensor.element,
            dims: tensor.dims.clone(),
            pitch: tensor.dims.last().copied().unwrap_or(1),
            scale,
            zero,
            rounds: true,
            is_transposed: false,
            then: None,
        };
        weight.checked(tensors)
    }

    /// This weight, if the file has all of it.
    pub(super) fn checked(self, tensors: &[Tensor]) -> Option<Self> {
        let (n_rows, row_len) = (self.n_rows(), self.row_len());
        let tensor = &tensors[self.data];
        let bits = tensor.element.bits()?.checked_mul(tensor.len())?;
        let available = bits / self.element.bits()?;
        let needed = match n_rows.checked_sub(1) {
            Some(row) => row.checked_mul(self.pitch)?.checked_add(row_len)?,
            None => 0,
        };
        let covers = |values: &Values| {
            values.element.bits().is_some() && values.cover(n_rows, row_len, tensors)
        };
        let has_zeros = match &self.zero {
            Zero::Is(_) => true,
            Zero::Of(values) => covers(values),
        };
        let is_whole = needed <= available && self.scale.iter().all(covers) && has_zeros;
        is_whole.then_some(self)
    }

    fn row_len(&self) -> usize {
        self.dims.last().copied().unwrap_or(1)
    }

    fn n_rows(&self) -> usize {
        self.dims.iter().rev().skip(1).product()
    }

    /// The tensors that this one is made of.
    pub(super) fn sources(&self) -> Vec<usize> {
        let mut sources = Vec::new();
        self.clone().visit(&mut |tensor| sources.push(*tensor));
        sources
    }

    /// The same weight where its tensors have other numbers.
    pub(super) fn renumbered(mut self, by: usize) -> Self {
        self.visit(&mut |tensor| *tensor += by);
        self
    }

    /// Visits the numbers of all tensors that it is made of.
    fn visit(&mut self, tensor: &mut dyn FnMut(&mut usize)) {
        tensor(&mut self.data);
        self.scale.iter_mut().for_each(|scale| tensor(&mut scale.tensor));
        if let Zero::Of(values) = &mut self.zero {
            tensor(&mut values.tensor);
        }
        if let Some(then) = &mut self.then {
            then.visit(tensor);
        }
    }

    /// How the recovered tensor is called among tensors.
    pub(super) fn info(&self, name: String) -> TensorInfo {
        let mut dims = self.dims.clone();
        if self.is_transposed {
            dims.reverse();
        }
        if let (Some(then), [.., rows, _]) = (&self.then, &mut dims[..]) {
            *rows += then.n_rows();
        }
        let dtype = match self.element {
            Element::Plain(dtype) if self.scale.is_none() => dtype,
            _ => DType::F32,
        };
        TensorInfo { name, dims, dtype }
    }

    /// The bytes of the recovered tensor, if they lie in the file in its order.
    pub(super) fn raw<'a>(&self, memory: &Memory<'a>) -> Option<&'a [u8]> {
        let is_plain = self.scale.is_none() && !self.is_transposed && self.then.is_none();
        let len = self.element.bytes(self.dims.iter().product())?;
        (is_plain && self.pitch == self.row_len()).then(|| &memory.bytes(self.data)[..len])
    }

    /// Decodes rows of the recovered tensor, which has them.
    pub(super) fn read_rows(&self, memory: &Memory<'_>, first_row: usize, out: &mut [f32]) {
        if out.is_empty() {
            return;
        }
        let Some(then) = &self.then else { return self.read_own(memory, first_row, out) };
        let here = self.n_rows().saturating_sub(first_row).min(out.len() / self.row_len());
        let (own, further) = out.split_at_mut(here * self.row_len());
        // What others follow is not turned.
        self.read_own(memory, first_row, own);
        then.read_rows(memory, first_row.saturating_sub(self.n_rows()), further);
    }

    /// Decodes rows that are not those of what follows.
    fn read_own(&self, memory: &Memory<'_>, first_row: usize, out: &mut [f32]) {
        if !self.is_transposed {
            let rows = out.chunks_exact_mut(self.row_len());
            return (first_row..).zip(rows).for_each(|(row, out)| self.read(memory, row, 0, out));
        }
        let (n_rows, n) = (self.n_rows(), out.len() / self.n_rows());
        let mut part = vec![0.0; n];
        for row in 0..n_rows {
            self.read(memory, row, first_row, &mut part);
            let column = out[row..].iter_mut().step_by(n_rows);
            column.zip(&part).for_each(|(out, x)| *out = *x);
        }
    }

    /// Decodes elements of one stored row, from `column` on.
    fn read(&self, memory: &Memory<'_>, row: usize, column: usize, out: &mut [f32]) {
        self.element.decode(memory.bytes(self.data), row * self.pitch + column, out);
        let Some(scale) = &self.scale else { return };
        let zero_block = match &self.zero {
            Zero::Is(_) => usize::MAX,
            Zero::Of(values) => values.block,
        };
        let block = scale.block.min(zero_block);
        let mut at = 0;
        while at < out.len() {
            let left = block - (column + at) % block;
            let end = out.len().min(at.saturating_add(left));
            let number = |values: &Values| {
                let i = values.first(row) + (column + at) / values.block;
                let mut number = [0.0];
                values.element.decode(memory.bytes(values.tensor), i, &mut number);
                number[0]
            };
            let factor = number(scale);
            let zero = match &self.zero {
                Zero::Is(zero) => f32::from(*zero),
                Zero::Of(values) => number(values),
            };
            for x in &mut out[at..end] {
                *x = (*x - zero) * factor;
                if self.rounds {
                    *x = scale.element.round(*x);
                }
            }
            at = end;
        }
    }
}

/// The tensors of a file, and the bytes that they lie in.
pub(super) struct Memory<'a> {
    pub(super) tensors: &'a [Tensor],
    pub(super) files: &'a [Bytes],
}

impl<'a> Memory<'a> {
    /// Fails if tensors share so many bytes that reading all of them would take long.
    pub(super) fn check_sharing(&self) -> Result<(), OnnxProblem> {
        let in_files = |tensor: &&Tensor| matches!(tensor.place, Place::File { .. });
        let in_files = self.tensors.iter().filter(in_files);
        let sizes = in_files.map(|tensor| tensor.element.bytes(tensor.len()));
        let tensors = sizes.map(|bytes| bytes.unwrap_or(0) as u64).sum();
        let files = self.files.iter().map(|file| file.len() as u64).sum();
        match tensors > MAX_SHARING as u64 * files {
            true => Err(OnnxProblem::Shared { tensors, files }),
            false => Ok(()),
        }
    }

    /// All bytes of a tensor, and what may follow them.
    fn bytes(&self, tensor: usize) -> &'a [u8] {
        match &self.tensors[tensor].place {
            Place::File { file, start } => &self.files[*file][*start..],
            Place::Held(bytes) => bytes,
            Place::None => &[],
        }
    }
}
