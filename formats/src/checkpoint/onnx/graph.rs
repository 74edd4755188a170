//! The parts of a model that matter here: tensors, nodes and what they read and write.

use super::external::Files;
use super::tensor::{self, Tensor};
use super::{MAX_DEPTH, MAX_NODES, OnnxProblem};
use crate::protobuf::{Span, Value};

/// A graph, or the branch of a node that has several.
pub(super) struct Graph<'a> {
    /// Name and number of each tensor: initializers, and the values of constant nodes.
    pub(super) tensors: Vec<(&'a str, usize)>,
    pub(super) nodes: Vec<Node<'a>>,
}

/// An operation.
pub(super) struct Node<'a> {
    message: Span<'a>,
    pub(super) name: &'a str,
    pub(super) op: &'a str,
    /// Empty for the operators of ONNX itself.
    pub(super) domain: &'a str,
    /// Names of values; empty where an optional one is left out.
    pub(super) inputs: Vec<&'a str>,
    pub(super) outputs: Vec<&'a str>,
    /// Graphs that may be run by the node.
    pub(super) branches: Vec<Graph<'a>>,
}

/// Reads the graph of the model in `file`, and adds its tensors to `tensors`.
pub(super) fn read<'a>(
    file: &'a [u8],
    files: &mut Files<'_>,
    tensors: &mut Vec<Tensor>,
) -> Result<Graph<'a>, OnnxProblem> {
    let mut graph = None;
    for field in Span::file(file).fields() {
        if let (7, Value::Bytes(span)) = field? {
            graph = Some(span);
        }
    }
    let mut reader = Reader { files, tensors, n_nodes: 0 };
    reader.graph(graph.ok_or(OnnxProblem::NoGraph)?, 0)
}

struct Reader<'r, 's> {
    files: &'r mut Files<'s>,
    tensors: &'r mut Vec<Tensor>,
    n_nodes: usize,
}

impl Reader<'_, '_> {
    fn graph<'a>(&mut self, message: Span<'a>, depth: usize) -> Result<Graph<'a>, OnnxProblem> {
        if depth == MAX_DEPTH {
            return Err(OnnxProblem::TooDeep { max: MAX_DEPTH });
        }
        let mut graph = Graph { tensors: Vec::new(), nodes: Vec::new() };
        for field in message.fields() {
            match field? {
                (1, Value::Bytes(message)) => {
                    let node = self.node(message, depth)?;
                    if node.op == "Constant"
                        && let (Some(value), [output, ..]) =
                            (node.message_attribute("value", 5)?, &node.outputs[..])
                    {
                        let (_, number) = self.tensor(value)?;
                        graph.tensors.push((output, number));
                    } else {
                        graph.nodes.push(node);
                    }
                }
                (5, Value::Bytes(message)) => graph.tensors.push(self.tensor(message)?),
                (15, Value::Bytes(_)) => return Err(OnnxProblem::Sparse),
                _ => {}
            }
        }
        Ok(graph)
    }

    fn tensor<'a>(&mut self, message: Span<'a>) -> Result<(&'a str, usize), OnnxProblem> {
        if self.tensors.len() == MAX_NODES {
            return Err(OnnxProblem::TooMany { what: "tensors", max: MAX_NODES });
        }
        let (name, tensor) = tensor::read(message, self.files)?;
        self.tensors.push(tensor);
        Ok((name, self.tensors.len() - 1))
    }

    fn node<'a>(&mut self, message: Span<'a>, depth: usize) -> Result<Node<'a>, OnnxProblem> {
        if self.n_nodes == MAX_NODES {
            return Err(OnnxProblem::TooMany { what: "nodes", max: MAX_NODES });
        }
        self.n_nodes += 1;
        let mut node = Node {
            message,
            name: "",
            op: "",
            domain: "",
            inputs: Vec::new(),
            outputs: Vec::new(),
            branches: Vec::new(),
        };
        for field in message.fields() {
            let (number, Value::Bytes(span)) = field? else { continue };
            match number {
                1 => node.inputs.push(span.text()?),
                2 => node.outputs.push(span.text()?),
                3 => node.name = span.text()?,
                4 => node.op = span.text()?,
                5 => {
                    for field in span.fields() {
                        // One graph, or several.
                        if let (6 | 11, Value::Bytes(branch)) = field? {
                            node.branches.push(self.graph(branch, depth + 1)?);
                        }
                    }
                }
                7 => node.domain = span.text()?,
                _ => {}
            }
        }
        Ok(node)
    }
}

impl<'a> Node<'a> {
    /// Name of input number `i`, if there is one.
    pub(super) fn input(&self, i: usize) -> Option<&'a str> {
        self.inputs.get(i).copied().filter(|name| !name.is_empty())
    }

    /// Name of the first output.
    pub(super) fn output(&self) -> &'a str {
        self.outputs.first().copied().unwrap_or_default()
    }

    /// An integer attribute.
    pub(super) fn int(&self, name: &str) -> Result<Option<i64>, OnnxProblem> {
        Ok(match self.attribute(name, 3)? {
            Some(Value::Varint(number)) => Some(number as i64),
            _ => None,
        })
    }

    /// A float attribute.
    pub(super) fn float(&self, name: &str) -> Result<Option<f32>, OnnxProblem> {
        Ok(match self.attribute(name, 2)? {
            Some(Value::Fixed32(bytes)) => Some(f32::from_le_bytes(bytes)),
            _ => None,
        })
    }

    /// An attribute that is a list of integers, packed or not.
    pub(super) fn ints(&self, name: &str) -> Result<Option<Vec<i64>>, OnnxProblem> {
        let Some(attribute) = self.find(name)? else { return Ok(None) };
        let mut ints = Vec::new();
        for field in attribute.fields() {
            match field? {
                (8, Value::Varint(number)) => ints.push(number as i64),
                (8, Value::Bytes(packed)) => {
                    for number in packed.varints() {
                        ints.push(number? as i64);
                    }
                }
                _ => {}
            }
        }
        Ok(Some(ints))
    }

    /// A text among what exporters note about the node.
    pub(super) fn note(&self, name: &str) -> Result<Option<&'a str>, OnnxProblem> {
        for field in self.message.fields() {
            if let (9, Value::Bytes(entry)) = field?
                && let (key, text) = tensor::key_value(entry)?
                && key == name
            {
                return Ok(Some(text));
            }
        }
        Ok(None)
    }

    fn message_attribute(&self, name: &str, field: u32) -> Result<Option<Span<'a>>, OnnxProblem> {
        Ok(match self.attribute(name, field)? {
            Some(Value::Bytes(span)) => Some(span),
            _ => None,
        })
    }

    /// The last field of this number in the attribute called `name`.
    fn attribute(&self, name: &str, number: u32) -> Result<Option<Value<'a>>, OnnxProblem> {
        let Some(attribute) = self.find(name)? else { return Ok(None) };
        let mut found = None;
        for field in attribute.fields() {
            match field? {
                (of, value) if of == number => found = Some(value),
                _ => {}
            }
        }
        Ok(found)
    }

    fn find(&self, name: &str) -> Result<Option<Span<'a>>, OnnxProblem> {
        for field in self.message.fields() {
            let (5, Value::Bytes(attribute)) = field? else {
                continue;
            };
            for field in attribute.fields() {
                if let (1, Value::Bytes(key)) = field?
                    && key.bytes == name.as_bytes()
                {
                    return Ok(Some(attribute));
                }
            }
        }
        Ok(None)
    }
}
