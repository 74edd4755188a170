//! Operators of onnxruntime whose weights are packed: blocks of 4 or 8 bits with scales.

use super::super::DType;
use super::OnnxProblem;
use super::element::Element;
use super::graph::Node;
use super::scope::Scope;
use super::tensor::Tensor;
use super::weight::{Values, Weight, Zero};

/// A weight, and which input of its node has its numbers.
pub(super) struct Packed {
    pub(super) weight: Weight,
    pub(super) input: usize,
}

/// The packed weight that `node` uses, if it is of an operator that has one.
pub(super) fn read(
    node: &Node<'_>,
    scope: &Scope<'_, '_>,
    tensors: &[Tensor],
) -> Result<Option<Packed>, OnnxProblem> {
    let packed = match node.op {
        "MatMulNBits" => matrix(node, scope, tensors)?,
        "GatherBlockQuantized" => table(node, scope, tensors)?,
        _ => return Ok(None),
    };
    let input = packed.0;
    let weight = packed.1.checked(tensors);
    let weight =
        weight.ok_or_else(|| node.problem("it has fewer weights or scales than it says"))?;
    Ok(Some(Packed { weight, input }))
}

fn size(node: &Node<'_>, name: &str) -> Result<usize, OnnxProblem> {
    let size = node.int(name)?.and_then(|size| usize::try_from(size).ok());
    let size = size.filter(|&size| (1..=i32::MAX as usize).contains(&size));
    size.ok_or_else(|| node.problem(format!("its attribute {name} is missing or makes no sense")))
}

fn block_size(node: &Node<'_>) -> Result<usize, OnnxProblem> {
    let block = size(node, "block_size")?;
    match block.is_power_of_two() && block >= 16 {
        true => Ok(block),
        false => Err(node.problem("its block size is no power of two from 16 on")),
    }
}

/// Numbers with as many bits, without sign.
fn unsigned(node: &Node<'_>) -> Result<(Element, i16), OnnxProblem> {
    match node.int("bits")?.unwrap_or(4) {
        4 => Ok((Element::U4, 8)),
        8 => Ok((Element::Plain(DType::U8), 128)),
        bits => Err(node.problem(format!("its weights have {bits} bits; 4 and 8 are read"))),
    }
}

fn stored(node: &Node<'_>, scope: &Scope<'_, '_>, input: usize) -> Result<usize, OnnxProblem> {
    let stored = scope.stored(node, input);
    stored.ok_or_else(|| node.problem(format!("its input {input} is no tensor of the file")))
}

/// Where numbers in blocks lie.
struct Blocks {
    /// Number of the tensor.
    data: usize,
    element: Element,
    /// Their zero, where the node has none.
    middle: i16,
    rows: usize,
    cols: usize,
    /// Numbers from row to row.
    pitch: usize,
    /// Numbers in a block.
    len: usize,
}

impl Blocks {
    /// Their values, by the scales and zeros for each block of a row.
    fn weight(
        self,
        node: &Node<'_>,
        scope: &Scope<'_, '_>,
        tensors: &[Tensor],
    ) -> Result<Weight, OnnxProblem> {
        let Self { data, element, middle, rows, cols, pitch, len } = self;
        let n_blocks = cols.div_ceil(len);
        let values = |tensor, element, pitch| Values {
            tensor,
            element,
            per: 1,
            among: usize::MAX,
            pitch,
            block: len,
        };
        let scale = stored(node, scope, 2)?;
        let zero = match node.input(3) {
            None => Zero::Is(middle),
            Some(_) => {
                let zero = stored(node, scope, 3)?;
                // Packed as the weights are, in whole bytes for each row, or floats.
                Zero::Of(match tensors[zero].element {
                    Element::Plain(DType::U8) if element == Element::U4 => {
                        values(zero, Element::U4, n_blocks.next_multiple_of(2))
                    }
                    kind => values(zero, kind, n_blocks),
                })
            }
        };
        Ok(Weight {
            data,
            element,
            dims: vec![rows, cols],
            pitch,
            scale: Some(values(scale, tensors[scale].element, n_blocks)),
            zero,
            rounds: false,
            is_transposed: false,
            then: None,
        })
    }
}

/// `MatMulNBits`: weights `[N, blocks, block_size]`, of which a row has `K`; a scale and a zero for
/// each block of a row.
fn matrix(
    node: &Node<'_>,
    scope: &Scope<'_, '_>,
    tensors: &[Tensor],
) -> Result<(usize, Weight), OnnxProblem> {
    let (rows, cols, block) = (size(node, "N")?, size(node, "K")?, block_size(node)?);
    let (element, middle) = unsigned(node)?;
    if node.input(4).is_some() {
        return Err(node.problem("its columns are reordered, which is not read"));
    }
    let data = stored(node, scope, 1)?;
    let pitch = cols.div_ceil(block) * block;
    let blocks = Blocks { data, element, middle, rows, cols, pitch, len: block };
    Ok((1, blocks.weight(node, scope, tensors)?))
}

/// `GatherBlockQuantized`: a table of rows in blocks.
fn table(
    node: &Node<'_>,
    scope: &Scope<'_, '_>,
    tensors: &[Tensor],
) -> Result<(usize, Weight), OnnxProblem> {
    let block = block_size(node)?;
    let data = stored(node, scope, 0)?;
    let [rows, width] = tensors[data].dims[..] else {
        return Err(node.problem("its table is no matrix"));
    };
    let is_by_rows = node.int("gather_axis")?.unwrap_or(0) == 0
        && [1, -1].contains(&node.int("quantize_axis")?.unwrap_or(1));
    if !is_by_rows {
        return Err(node.problem("it does not take rows that are quantized along themselves"));
    }
    // Bytes may hold two numbers each, and their zero is then in the middle.
    let (element, middle) = match tensors[data].element {
        Element::Plain(DType::U8) => unsigned(node)?,
        kind => (kind, 0),
    };
    let is_packed = tensors[data].element == Element::Plain(DType::U8) && element == Element::U4;
    let cols = if is_packed { 2 * width } else { width };
    let blocks = Blocks { data, element, middle, rows, cols, pitch: cols, len: block };
    Ok((0, blocks.weight(node, scope, tensors)?))
}
