//! The table of positions of models of images: to be fitted to images of any size, it is cut into the
//! row of the class token and those of the patches, and put together again in the graph.

use super::OnnxProblem;
use super::constant::Constant;
use super::graph::Node;
use super::naming;
use super::scope::Scope;
use super::tensor::Tensor;
use super::weight::Weight;

/// What fitting does to the rows of patches.
const FITTING: [&str; 5] = ["Cast", "Reshape", "Resize", "Slice", "Transpose"];
/// Most nodes that it takes.
const MAX_FITTING: usize = 12;
/// What the table is called in its module.
const NAME: &str = "position_embeddings";

/// The table that `node` puts together, if it is one, and its name: of nameless tensors `[1, rows, width]`
/// the first as it is and the second after it has been fitted.
pub(super) fn read<'a>(
    node: &Node<'a>,
    scope: &Scope<'_, 'a>,
    tensors: &[Tensor],
) -> Result<Option<(String, Weight)>, OnnxProblem> {
    let [first, second] = node.inputs[..] else { return Ok(None) };
    if node.op != "Concat" || node.int("axis")? != Some(1) {
        return Ok(None);
    }
    let part = |constant: Option<&Constant<'a>>| {
        let constant = constant.filter(|constant| constant.is_stored())?;
        let tensor = &tensors[constant.data];
        let is_part = matches!(tensor.dims[..], [1, _, _])
            && tensor.element.is_float()
            && naming::label(constant.name, false).is_none();
        is_part.then(|| Weight::new(constant, tensors)).flatten()
    };
    let Some(first) = part(scope.constant(first)) else { return Ok(None) };
    let mut value = second;
    for _ in 0..MAX_FITTING {
        let Some(maker) = scope.producer(value).filter(|maker| FITTING.contains(&maker.op)) else {
            return Ok(None);
        };
        let Some(input) = maker.input(0) else { return Ok(None) };
        value = input;
        if scope.constant(value).is_some() {
            break;
        }
    }
    let (Some(second), Some(module)) = (part(scope.constant(value)), naming::module(node.name))
    else {
        return Ok(None);
    };
    let same_width = first.dims[2] == second.dims[2] && first.element == second.element;
    let table = Weight { then: Some(Box::new(second)), ..first };
    Ok(same_width.then(|| (format!("{module}.{NAME}"), table)))
}
