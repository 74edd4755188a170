//! Values that follow from the tensors of a file alone: what nodes do to a weight before it is used.

use super::OnnxProblem;
use super::element::Element;
use super::graph::Node;
use super::tensor::Tensor;

/// A tensor of the file, turned or made numbers of.
#[derive(Clone, Copy)]
pub(super) struct Constant<'a> {
    /// Name of the tensor.
    pub(super) name: &'a str,
    /// Number of the tensor.
    pub(super) data: usize,
    /// A matrix whose rows are the tensor's columns.
    pub(super) is_transposed: bool,
    /// Integers, as floats.
    pub(super) is_cast: bool,
    /// What is subtracted from the stored integers.
    pub(super) zero: Option<Spread>,
    /// What they are multiplied by then.
    pub(super) scale: Option<Spread>,
}

/// A tensor of few numbers that belong to the elements of a larger one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Spread {
    /// Number of the tensor.
    pub(super) tensor: usize,
    pub(super) over: Over,
}

/// Which elements share a number. Axes are those of the tensor as it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Over {
    /// All.
    Whole,
    /// Those with the same index along this axis.
    Axis(usize),
    /// `len` with consecutive indices along this axis and the same along all others.
    Blocks { axis: usize, len: usize },
}

impl<'a> Constant<'a> {
    /// A tensor as it is stored.
    pub(super) fn stored(name: &'a str, data: usize) -> Self {
        Self { name, data, is_transposed: false, is_cast: false, zero: None, scale: None }
    }

    pub(super) fn is_stored(&self) -> bool {
        !self.is_transposed && !self.is_cast && self.zero.is_none() && self.scale.is_none()
    }

    /// Whether its values are numbers of the model: floats, or integers with a scale.
    pub(super) fn is_weight(&self, tensors: &[Tensor]) -> bool {
        self.scale.is_some() || tensors[self.data].element.is_float()
    }

    /// Dimensions of the value.
    pub(super) fn dims(&self, tensors: &[Tensor]) -> Vec<usize> {
        let mut dims = tensors[self.data].dims.clone();
        if self.is_transposed {
            dims.reverse();
        }
        dims
    }

    fn is_quantized(&self, tensors: &[Tensor]) -> bool {
        self.scale.is_none() && tensors[self.data].element.is_quantized()
    }

    /// The axis of the stored tensor that is `axis` of the value, which counts from the end where
    /// it is negative.
    fn stored_axis(&self, axis: i64, rank: usize) -> Option<usize> {
        let axis = if axis < 0 { axis.checked_add(rank as i64)? } else { axis };
        let axis = usize::try_from(axis).ok().filter(|&axis| axis < rank)?;
        Some(if self.is_transposed { rank - 1 - axis } else { axis })
    }

    /// How a tensor that is multiplied with or subtracted from this value is spread over it: a
    /// number, or one for each index along one axis.
    pub(super) fn broadcast(&self, other: usize, tensors: &[Tensor]) -> Option<Spread> {
        let (dims, theirs) = (self.dims(tensors), &tensors[other].dims);
        if tensors[other].len() == 1 {
            return Some(Spread { tensor: other, over: Over::Whole });
        }
        let offset = dims.len().checked_sub(theirs.len())?;
        let mut along = (0..theirs.len()).filter(|&i| theirs[i] != 1);
        let axis = along.next().filter(|_| along.next().is_none())?;
        if theirs[axis] != dims[offset + axis] {
            return None;
        }
        let axis = self.stored_axis((offset + axis) as i64, dims.len())?;
        Some(Spread { tensor: other, over: Over::Axis(axis) })
    }

    /// How scales or zeros are spread that belong to indices along `axis`, or to blocks along it.
    pub(super) fn along(
        &self,
        other: usize,
        axis: i64,
        block: usize,
        tensors: &[Tensor],
    ) -> Option<Spread> {
        let (dims, theirs) = (&tensors[self.data].dims, &tensors[other]);
        if theirs.len() == 1 {
            return Some(Spread { tensor: other, over: Over::Whole });
        }
        let axis = self.stored_axis(axis, dims.len())?;
        if block == 0 {
            let fits = theirs.len() == dims[axis];
            return fits.then_some(Spread { tensor: other, over: Over::Axis(axis) });
        }
        let mut expected = dims.clone();
        expected[axis] = dims[axis].div_ceil(block);
        let fits = !self.is_transposed && theirs.dims == expected;
        fits.then_some(Spread { tensor: other, over: Over::Blocks { axis, len: block } })
    }

    /// This value of integers as numbers, by scales and zeros along an axis.
    pub(super) fn dequantized(
        self,
        scale: usize,
        zero: Option<usize>,
        axis: i64,
        block: usize,
        tensors: &[Tensor],
    ) -> Option<Self> {
        let scale = self.along(scale, axis, block, tensors)?;
        let zero = match zero {
            Some(zero) => Some(self.along(zero, axis, block, tensors)?),
            None => None,
        };
        let is_sound = self.is_quantized(tensors) && tensors[scale.tensor].element.is_float();
        is_sound.then_some(Self { scale: Some(scale), zero, ..self })
    }
}

/// The value of a node whose inputs are constants, if it is one that the weights of a model go
/// through.
pub(super) fn fold<'a>(
    node: &Node<'a>,
    input: impl Fn(usize) -> Option<Constant<'a>>,
    tensors: &[Tensor],
) -> Result<Option<Constant<'a>>, OnnxProblem> {
    let Some(x) = input(0) else { return Ok(None) };
    let stored = |i: usize| input(i).filter(Constant::is_stored).map(|constant| constant.data);
    Ok(match node.op {
        "Identity" => Some(x),
        "Cast" => cast(x, Element::of(node.int("to")?.unwrap_or(0) as u64), tensors),
        "Transpose" => {
            let is_matrix = tensors[x.data].dims.len() == 2;
            let swaps = node.ints("perm")?.is_none_or(|perm| perm == [1, 0]);
            (is_matrix && swaps).then_some(Constant { is_transposed: !x.is_transposed, ..x })
        }
        "DequantizeLinear" => {
            let Some(scale) = stored(1) else { return Ok(None) };
            let zero = match node.input(2) {
                Some(_) if stored(2).is_none() => return Ok(None),
                Some(_) => stored(2),
                None => None,
            };
            let axis = node.int("axis")?.unwrap_or(1);
            let block = usize::try_from(node.int("block_size")?.unwrap_or(0)).unwrap_or(0);
            let weight = x.dequantized(scale, zero, axis, block, tensors);
            Some(weight.ok_or_else(|| {
                node.problem("its scale or zero point does not fit what it is applied to")
            })?)
        }
        "Sub" if x.is_cast && x.zero.is_none() && x.scale.is_none() => {
            // The zero may be an integer, made a float as the weight was.
            let zero = input(1)
                .filter(|zero| !zero.is_transposed && zero.zero.is_none() && zero.scale.is_none());
            let zero = zero.and_then(|zero| x.broadcast(zero.data, tensors));
            zero.map(|zero| Constant { zero: Some(zero), ..x })
        }
        "Mul" => {
            let scaled = |x: Constant<'a>, scale: Option<usize>| {
                let scale = scale.filter(|&scale| tensors[scale].element.is_float())?;
                let is_bare = x.is_cast && x.scale.is_none();
                let scale = is_bare.then(|| x.broadcast(scale, tensors)).flatten()?;
                Some(Constant { scale: Some(scale), ..x })
            };
            let other = input(1);
            scaled(x, stored(1)).or_else(|| scaled(other?, stored(0)))
        }
        _ => None,
    })
}

/// A value in another type, where that changes no number of it.
fn cast<'a>(x: Constant<'a>, to: Element, tensors: &[Tensor]) -> Option<Constant<'a>> {
    let from = tensors[x.data].element;
    if !to.is_float() {
        return None;
    }
    if x.is_quantized(tensors) {
        return Some(Constant { is_cast: true, ..x });
    }
    let from = x.scale.map_or(from, |scale| tensors[scale.tensor].element);
    (from.is_float() && to.bits() >= from.bits()).then_some(x)
}
