//! Operators that multiply with weights or look something up in them.

use super::super::Quoted;
use super::OnnxProblem;
use super::constant::Constant;
use super::graph::Node;
use super::scope::Scope;
use super::tensor::Tensor;

/// Operators that move elements and leave their values.
const MOVES: [&str; 4] = ["Transpose", "Reshape", "Squeeze", "Unsqueeze"];

/// A weight that a node uses.
pub(super) struct Product<'a> {
    pub(super) constant: Constant<'a>,
    pub(super) form: Form,
    pub(super) bias: Option<Constant<'a>>,
}

/// How a weight lies in the graph.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// `[inputs, outputs]`: models have it the other way round.
    InputsOutputs,
    /// As models have it.
    Same,
}

/// Where an operator has its weight, and what belongs to it.
struct Operator {
    weight: usize,
    form: Form,
    quantization: Quantization,
    bias: Option<usize>,
}

/// How the weight of an operator is quantized, if it is.
enum Quantization {
    /// Its inputs are floats.
    None,
    /// The scale and the zero point are these inputs.
    Inputs { scale: usize, zero: usize },
    /// The zero point is this input, and the scale follows later.
    After { zero: usize },
}

fn operator(node: &Node<'_>) -> Result<Option<Operator>, OnnxProblem> {
    use Form::{InputsOutputs, Same};
    let turned = |name| Ok::<_, OnnxProblem>(node.int(name)?.is_some_and(|turned| turned != 0));
    let inputs = |scale, zero| Quantization::Inputs { scale, zero };
    let (weight, form, quantization, bias) = match node.op {
        "MatMul" => (1, InputsOutputs, Quantization::None, None),
        "Gemm" | "FusedMatMul" | "FusedGemm" => {
            let form = if turned("transB")? { Same } else { InputsOutputs };
            (1, form, Quantization::None, Some(2).filter(|_| node.op != "FusedMatMul"))
        }
        "Conv" | "FusedConv" => (1, Same, Quantization::None, Some(2)),
        "Gather" => (0, Same, Quantization::None, None),
        "MatMulInteger" => (1, InputsOutputs, Quantization::After { zero: 3 }, None),
        "ConvInteger" => (1, Same, Quantization::After { zero: 3 }, None),
        "DynamicQuantizeMatMul" => (1, InputsOutputs, inputs(2, 3), Some(4)),
        "MatMulIntegerToFloat" => (1, InputsOutputs, inputs(3, 5), Some(6)),
        "QLinearMatMul" => (3, InputsOutputs, inputs(4, 5), None),
        "QLinearConv" => (3, Same, inputs(4, 5), None),
        _ => return Ok(None),
    };
    Ok(Some(Operator { weight, form, quantization, bias }))
}

/// The weight that `node` uses, if it uses one.
pub(super) fn read<'a>(
    node: &Node<'a>,
    scope: &Scope<'_, 'a>,
    tensors: &[Tensor],
) -> Result<Option<Product<'a>>, OnnxProblem> {
    let Some(operator) = operator(node)? else {
        return refuse_unknown(node, scope, tensors).map(|()| None);
    };
    let constant = node.input(operator.weight).and_then(|name| scope.constant(name));
    let Some(constant) = constant.copied() else { return Ok(None) };
    let element = tensors[constant.data].element;
    let rank = tensors[constant.data].dims.len();
    let constant = match operator.quantization {
        _ if node.op == "Gather" => match table(node, scope, constant, tensors)? {
            Some(table) => table,
            None => return Ok(None),
        },
        // Scores with a vector of constants, such as frequencies of positions.
        Quantization::None if rank != 2 && node.op != "Conv" && node.op != "FusedConv" => {
            let wide = tensors[constant.data].dims.iter().filter(|&&dim| dim > 1).count();
            return match wide {
                0 | 1 => Ok(None),
                _ => Err(node.problem("it multiplies with a constant that is no matrix")),
            };
        }
        Quantization::None if constant.is_weight(tensors) => constant,
        // Integers as floats, whose product is scaled afterwards.
        Quantization::None if constant.is_cast && element.is_quantized() => {
            let scale = scope.scale_after(node.output());
            let scale = scale.and_then(|scale| constant.broadcast(scale, tensors));
            let scale = scale.filter(|scale| tensors[scale.tensor].element.is_float());
            Constant { scale: Some(scale.ok_or_else(|| no_scale(node))?), ..constant }
        }
        Quantization::None => {
            return Err(OnnxProblem::UnsupportedType {
                tensor: constant.name.into(),
                element: element.to_string(),
            });
        }
        Quantization::Inputs { scale, zero } => {
            let scale = scope.stored(node, scale).ok_or_else(|| no_scale(node))?;
            quantized(node, scope, constant, scale, zero, operator.form, tensors)?
        }
        Quantization::After { zero } => {
            let scale = scope.scale_after(node.output()).ok_or_else(|| no_scale(node))?;
            quantized(node, scope, constant, scale, zero, operator.form, tensors)?
        }
    };
    for name in ["alpha", "beta"] {
        if node.float(name)?.is_some_and(|factor| factor != 1.0) {
            return Err(node.problem(format!("its factor {name} is not 1")));
        }
    }
    let bias = operator.bias.and_then(|bias| scope.constant(node.input(bias)?)).copied();
    let bias = bias.filter(|bias| bias.is_weight(tensors));
    Ok(Some(Product { constant, form: operator.form, bias }))
}

fn no_scale(node: &Node<'_>) -> OnnxProblem {
    node.problem("its weights are integers, and their scale is not found")
}

/// Integers of which the outputs have scales and zero points of their own.
fn quantized<'a>(
    node: &Node<'a>,
    scope: &Scope<'_, 'a>,
    constant: Constant<'a>,
    scale: usize,
    zero: usize,
    form: Form,
    tensors: &[Tensor],
) -> Result<Constant<'a>, OnnxProblem> {
    let misfit = "its scale or zero point does not fit its weights";
    let zero = match node.input(zero) {
        Some(_) => Some(scope.stored(node, zero).ok_or_else(|| node.problem(misfit))?),
        None => None,
    };
    // A kernel has its outputs first.
    let axis = if form == Form::InputsOutputs { -1 } else { 0 };
    let weight = constant.dequantized(scale, zero, axis, 0, tensors);
    weight.ok_or_else(|| node.problem(misfit))
}

/// The table that rows are taken from: of floats, or of integers that become floats later.
fn table<'a>(
    node: &Node<'a>,
    scope: &Scope<'_, 'a>,
    constant: Constant<'a>,
    tensors: &[Tensor],
) -> Result<Option<Constant<'a>>, OnnxProblem> {
    if !tensors[constant.data].is_matrix() || node.int("axis")?.unwrap_or(0) != 0 {
        return Ok(None);
    }
    if constant.is_weight(tensors) {
        return Ok(Some(constant));
    }
    let Some(first) = scope.reader(node.output()) else { return Ok(None) };
    let is_moved = MOVES.contains(&first.op);
    let reader = if is_moved { scope.reader(first.output()) } else { Some(first) };
    let Some(reader) = reader else { return Ok(None) };
    match reader.op {
        "DequantizeLinear" => {
            let scale = scope.stored(reader, 1).ok_or_else(|| no_scale(node))?;
            // Of several scales, each must belong to a column.
            let is_by_row = is_moved || reader.int("axis")?.unwrap_or(1) == 0;
            if tensors[scale].len() > 1 && is_by_row {
                return Err(no_scale(node));
            }
            quantized(reader, scope, constant, scale, 2, Form::InputsOutputs, tensors).map(Some)
        }
        "Cast" => match scope.scale_after(node.output()) {
            Some(scale) => {
                let scale = constant.broadcast(scale, tensors);
                let scale = scale.filter(|scale| tensors[scale.tensor].element.is_float());
                Ok(scale.map(|scale| Constant { scale: Some(scale), ..constant }))
            }
            None => Ok(None),
        },
        _ => Ok(None),
    }
}

/// Operators that are not of ONNX itself hide weights in forms of their own.
fn refuse_unknown(
    node: &Node<'_>,
    scope: &Scope<'_, '_>,
    tensors: &[Tensor],
) -> Result<(), OnnxProblem> {
    let is_weightless = node.domain.is_empty()
        || node.domain == "ai.onnx"
        || ["RotaryEmbedding", "GroupQueryAttention"].contains(&node.op);
    let is_recurrent = ["LSTM", "GRU", "RNN", "Einsum"].contains(&node.op);
    if is_weightless && !is_recurrent {
        return Ok(());
    }
    let is_matrix = |name: &&&str| {
        scope.constant(name).is_some_and(|constant| {
            let is_kept = super::naming::label(constant.name, true).is_some();
            tensors[constant.data].is_matrix() && !is_kept
        })
    };
    match node.inputs.iter().find(is_matrix) {
        Some(&matrix) => Err(node.problem(format!(
            "it has the weight {} in a form of its own; export the model without \
             optimizing its graph",
            Quoted::from(matrix)
        ))),
        None => Ok(()),
    }
}
