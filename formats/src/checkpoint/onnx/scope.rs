//! A graph with what its names mean: values that are constants, and who reads which.

use std::collections::HashMap;

use super::OnnxProblem;
use super::constant::{self, Constant};
use super::graph::{Graph, Node};
use super::tensor::Tensor;

/// A graph inside others, whose values it sees.
pub(super) struct Scope<'s, 'a> {
    pub(super) graph: &'s Graph<'a>,
    outer: Option<&'s Scope<'s, 'a>>,
    constants: HashMap<&'a str, Constant<'a>>,
    /// The node that makes a value.
    producers: HashMap<&'a str, usize>,
    /// The first node that reads a value.
    readers: HashMap<&'a str, usize>,
}

impl<'s, 'a> Scope<'s, 'a> {
    /// Follows constants through the nodes, which stand in the order in which they are run.
    pub(super) fn new(
        graph: &'s Graph<'a>,
        outer: Option<&'s Scope<'s, 'a>>,
        tensors: &[Tensor],
    ) -> Result<Self, OnnxProblem> {
        let mut scope = Self {
            graph,
            outer,
            constants: HashMap::new(),
            producers: HashMap::new(),
            readers: HashMap::new(),
        };
        for &(name, data) in &graph.tensors {
            if scope.constants.insert(name, Constant::stored(name, data)).is_some() {
                return Err(OnnxProblem::Duplicate { tensor: name.into() });
            }
        }
        for (i, node) in graph.nodes.iter().enumerate() {
            for &input in &node.inputs {
                scope.readers.entry(input).or_insert(i);
            }
            for &output in &node.outputs {
                scope.producers.insert(output, i);
            }
            let value = constant::fold(node, |i| scope.constant(node.input(i)?).copied(), tensors)?;
            if let Some(value) = value {
                scope.constants.insert(node.output(), value);
            }
        }
        Ok(scope)
    }

    /// The constant of this name here or around.
    pub(super) fn constant(&self, name: &str) -> Option<&Constant<'a>> {
        let mut scope = Some(self);
        while let Some(Scope { constants, outer, .. }) = scope {
            if let Some(constant) = constants.get(name) {
                return Some(constant);
            }
            scope = *outer;
        }
        None
    }

    /// The tensor that input number `i` of a node is, as it is stored.
    pub(super) fn stored(&self, node: &Node<'a>, i: usize) -> Option<usize> {
        let constant = self.constant(node.input(i)?)?;
        constant.is_stored().then_some(constant.data)
    }

    /// The node of this graph that reads a value, the first if there are several.
    pub(super) fn reader(&self, value: &str) -> Option<&'s Node<'a>> {
        self.readers.get(value).map(|&node| &self.graph.nodes[node])
    }

    /// The node of this graph that makes a value.
    pub(super) fn producer(&self, value: &str) -> Option<&'s Node<'a>> {
        self.producers.get(value).map(|&node| &self.graph.nodes[node])
    }

    /// The scale of weights whose product with integers a value is: it is made a float, and
    /// multiplied by the scale, or by that and the scale of the other factor.
    pub(super) fn scale_after(&self, value: &str) -> Option<usize> {
        let mut reader = self.reader(value)?;
        let mut value = value;
        if reader.op == "Cast" {
            value = reader.output();
            reader = self.reader(value)?;
        }
        if reader.op != "Mul" {
            return None;
        }
        let other = usize::from(reader.input(0) == Some(value));
        self.stored(reader, other).or_else(|| {
            let both = self.producer(reader.input(other)?).filter(|node| node.op == "Mul")?;
            self.stored(both, 1).or_else(|| self.stored(both, 0))
        })
    }

    /// The constant that is added to a value, after it is made a float and scaled.
    pub(super) fn bias_after(&self, value: &str) -> Option<&Constant<'a>> {
        let mut value = value;
        for _ in 0..3 {
            let reader = self.reader(value)?;
            match reader.op {
                "Cast" | "Mul" => value = reader.output(),
                "Add" => {
                    let other = usize::from(reader.input(0) == Some(value));
                    return self.constant(reader.input(other)?);
                }
                _ => return None,
            }
        }
        None
    }
}
