//! From a graph to the parameters of the model that it was exported from.

use std::collections::BTreeMap;

use super::super::Quoted;
use super::constant::Constant;
use super::graph::{Graph, Node};
use super::naming;
use super::products::{self, Form, Product};
use super::scope::Scope;
use super::tensor::Tensor;
use super::weight::{Memory, Weight};
use super::{OnnxProblem, packed, positions};

/// How often all tensors may be compared.
const MAX_COMPARISONS: usize = 4;
/// Rows that are compared at a time: those of a matrix that is turned lie far from each other.
const COMPARED_ROWS: usize = 64;

/// The parameters found so far.
pub(super) struct Recovery<'r> {
    memory: Memory<'r>,
    found: BTreeMap<String, Weight>,
    /// For each tensor whether it is a part of a parameter of another name.
    is_part: Vec<bool>,
    /// Numbers that may still be compared.
    comparisons: usize,
}

/// The parameters in a graph, by their names.
pub(super) fn parameters(
    graph: &Graph<'_>,
    memory: Memory<'_>,
) -> Result<BTreeMap<String, Weight>, OnnxProblem> {
    let is_part = vec![false; memory.tensors.len()];
    let comparisons = memory.tensors.iter().map(Tensor::len).fold(0, usize::saturating_add);
    let comparisons = comparisons.saturating_mul(MAX_COMPARISONS);
    let mut recovery = Recovery { memory, found: BTreeMap::new(), is_part, comparisons };
    recovery.graph(graph, None)?;
    recovery.named(graph)?;
    Ok(recovery.found)
}

impl<'r> Recovery<'r> {
    fn tensors(&self) -> &'r [Tensor] {
        self.memory.tensors
    }

    /// Parameters that nodes use or make.
    fn graph<'a>(
        &mut self,
        graph: &Graph<'a>,
        outer: Option<&Scope<'_, 'a>>,
    ) -> Result<(), OnnxProblem> {
        let scope = Scope::new(graph, outer, self.tensors())?;
        for node in &graph.nodes {
            if let Some(weight) = packed::read(node, &scope, self.tensors())? {
                let name = self.name(node, &scope, node.input(weight.input), true)?;
                self.take(name, weight.weight, node)?;
            } else if let Some((name, table)) = positions::read(node, &scope, self.tensors())? {
                self.take(name, table, node)?;
            } else if let Some(product) = products::read(node, &scope, self.tensors())? {
                self.product(node, &scope, &product)?;
            } else if let Some(value) = scope.constant(node.output()) {
                self.value(node, value)?;
            }
            for branch in &node.branches {
                self.graph(branch, Some(&scope))?;
            }
        }
        Ok(())
    }

    /// A weight that something is multiplied with or looked up in.
    fn product(
        &mut self,
        node: &Node<'_>,
        scope: &Scope<'_, '_>,
        product: &Product<'_>,
    ) -> Result<(), OnnxProblem> {
        let Product { constant, form, bias } = product;
        let is_quantized = constant.scale.is_some();
        let label = naming::label(constant.name, is_quantized);
        if let Some(label) = &label {
            // What keeps its name and its numbers is found by it.
            if is_quantized || label.is_turned {
                let weight = self.weight(node, constant, label.is_turned)?;
                self.take(label.name.to_owned(), weight, node)?;
            }
            if node.op == "Gather" {
                self.tied(node, constant, label.name)?;
            }
        } else {
            let is_transposed = constant.is_transposed != (*form == Form::InputsOutputs);
            let weight = self.weight(node, constant, is_transposed)?;
            let name = self.name(node, scope, None, is_quantized)?;
            // A module that is used again is counted.
            let name = match naming::uncounted(&name) {
                Some(first) if self.is_same(&first, &weight) == Some(true) => first,
                _ => name,
            };
            self.take(name, weight, node)?;
        }
        if let Some(bias) = bias
            && naming::label(bias.name, bias.scale.is_some()).is_none()
        {
            let name = self.name(node, scope, None, false)?;
            let name = name.strip_suffix("weight").unwrap_or(&name).to_owned() + "bias";
            let bias = self.weight(node, bias, false)?;
            self.take(name, bias, node)?;
        }
        Ok(())
    }

    /// A table that keeps the name of another module, whose matrix it is, too: also that of its own.
    fn tied(
        &mut self,
        node: &Node<'_>,
        constant: &Constant<'_>,
        name: &str,
    ) -> Result<(), OnnxProblem> {
        let module = node.note(naming::SCOPES)?.and_then(naming::noted_module);
        let own = module.map(|module| format!("{module}.weight"));
        match own.filter(|own| own != name) {
            Some(own) => self.add(own, self.weight(node, constant, false)?, node),
            None => Ok(()),
        }
    }

    /// A constant that a node makes, under the name of its own or of what it is made of.
    fn value(&mut self, node: &Node<'_>, value: &Constant<'_>) -> Result<(), OnnxProblem> {
        if !value.is_weight(self.tensors()) {
            return Ok(());
        }
        let is_quantized = value.scale.is_some();
        let of_output = naming::label(node.output(), is_quantized);
        let of_tensor = naming::label(value.name, true).filter(|_| is_quantized);
        if let Some(label) =
            of_output.or(of_tensor).filter(|label| label.name != naming::unmerged(value.name))
        {
            // The name of what is made is that of its form, the tensor's of the stored one.
            let is_value = naming::label(node.output(), is_quantized).is_some();
            let is_transposed = label.is_turned != (is_value && value.is_transposed);
            let weight = self.weight(node, value, is_transposed)?;
            match is_quantized {
                true => self.take(label.name.to_owned(), weight, node)?,
                // Another name for a parameter that has its own.
                false => self.add(label.name.to_owned(), weight, node)?,
            }
        }
        Ok(())
    }

    /// Parameters that are tensors of the file under their own name.
    fn named(&mut self, graph: &Graph<'_>) -> Result<(), OnnxProblem> {
        for &(stored, data) in &graph.tensors {
            let name = naming::unmerged(stored);
            let tensor = &self.tensors()[data];
            let is_root =
                || naming::is_plain(name) && tensor.element.is_float() && tensor.len() > 1;
            let is_dotted = naming::label(name, false).is_some_and(|label| label.name == name);
            if self.is_part[data] || !(is_dotted || is_root()) {
                continue;
            }
            let weight = Weight::new(&Constant::stored(stored, data), self.tensors());
            let weight = weight.ok_or_else(|| OnnxProblem::UnsupportedType {
                tensor: name.into(),
                element: tensor.element.to_string(),
            })?;
            self.compare(name, &weight)?;
            self.found.insert(name.to_owned(), weight);
        }
        for branch in graph.nodes.iter().flat_map(|node| &node.branches) {
            self.named(branch)?;
        }
        Ok(())
    }

    /// The value of a constant that a node uses, turned if its columns are the rows.
    fn weight(
        &self,
        node: &Node<'_>,
        constant: &Constant<'_>,
        is_transposed: bool,
    ) -> Result<Weight, OnnxProblem> {
        let rank = self.tensors()[constant.data].dims.len();
        if is_transposed && rank > 2 {
            return Err(node.problem("it multiplies with a constant that is no matrix"));
        }
        let weight = Weight::new(constant, self.tensors());
        let weight = weight.map(|weight| Weight { is_transposed, ..weight });
        weight.ok_or_else(|| {
            let element = self.tensors()[constant.data].element;
            match element.bits() {
                None => OnnxProblem::UnsupportedType {
                    tensor: constant.name.into(),
                    element: element.to_string(),
                },
                Some(_) => node.problem("its scale or zero point does not fit its weights"),
            }
        })
    }

    /// The name of the weight of a node: kept in that of the tensor, or that of the node's module.
    fn name(
        &self,
        node: &Node<'_>,
        scope: &Scope<'_, '_>,
        tensor: Option<&str>,
        is_quantized: bool,
    ) -> Result<String, OnnxProblem> {
        if let Some(label) = tensor.and_then(|name| naming::label(name, is_quantized)) {
            return Ok(label.name.to_owned());
        }
        if let Some(module) = naming::module(node.name) {
            return Ok(format!("{module}.weight"));
        }
        if let Some(module) = node.note(naming::SCOPES)?.and_then(naming::noted_module) {
            return Ok(format!("{module}.weight"));
        }
        let bias = scope.bias_after(node.output()).and_then(|bias| {
            naming::label(bias.name, bias.scale.is_some())?.name.strip_suffix(".bias")
        });
        match bias {
            Some(module) => Ok(format!("{module}.weight")),
            None => Err(node.problem(
                "neither its own name, nor that of its weight, nor that of a bias tells which \
                 module of the model it is; export the model with torch.onnx or optimum, which \
                 keep the names of modules",
            )),
        }
    }

    fn add(&mut self, name: String, weight: Weight, node: &Node<'_>) -> Result<(), OnnxProblem> {
        // Layers that are used again, and branches of which one is run.
        self.compare(&name, &weight).map_err(|_| {
            let name = Quoted::from(name.as_str());
            node.problem(format!("it gives tensor {name} other numbers than another node"))
        })?;
        self.found.insert(name, weight);
        Ok(())
    }

    /// Adds a weight whose tensors are then no parameters under names of their own.
    fn take(&mut self, name: String, weight: Weight, node: &Node<'_>) -> Result<(), OnnxProblem> {
        for source in weight.sources() {
            self.is_part[source] = true;
        }
        self.add(name, weight, node)
    }

    /// Fails if the weight that was found under a name has other numbers.
    fn compare(&mut self, name: &str, weight: &Weight) -> Result<(), OnnxProblem> {
        match self.is_same(name, weight) {
            None | Some(true) => Ok(()),
            Some(false) => Err(OnnxProblem::Conflict { tensor: name.into() }),
        }
    }

    /// Whether the weight that was found under a name has the same numbers, however they are stored.
    fn is_same(&mut self, name: &str, weight: &Weight) -> Option<bool> {
        let known = self.found.get(name)?;
        if known == weight {
            return Some(true);
        }
        let (info, other) = (known.info(String::new()), weight.info(String::new()));
        let len = info.n_rows() * info.row_len();
        if len == 0 {
            // There may be any number of rows without numbers.
            return Some(info == other);
        }
        // Each tensor is compared a few times at most, so that no file takes long.
        let Some(left) = self.comparisons.checked_sub(len).filter(|_| info == other) else {
            return Some(false);
        };
        self.comparisons = left;
        let block = COMPARED_ROWS * info.row_len();
        let (mut a, mut b) = (vec![0.0; block.min(len)], vec![0.0; block.min(len)]);
        let same_rows = |first: usize| {
            let n = block.min(len - first * info.row_len());
            known.read_rows(&self.memory, first, &mut a[..n]);
            weight.read_rows(&self.memory, first, &mut b[..n]);
            a[..n].iter().zip(&b[..n]).all(|(a, b)| a.to_bits() == b.to_bits())
        };
        Some((0..info.n_rows()).step_by(COMPARED_ROWS).all(same_rows))
    }
}
