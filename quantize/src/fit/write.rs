//! A model file with a learned head: everything else is copied as it is.

use std::path::Path;

use half::f16;
use kinglet_formats::kinglet::{KingletFile, Role, TensorPlan, Writer};
use kinglet_formats::layout::{Layout, f16_r8k1};
use kinglet_formats::spec::{Activation, Dense, Head, ModelSpec, Output, Scores};

use super::Fitted;
use super::network::Layer;
use crate::QuantizeError;

/// Where the numbers of a tensor come from.
enum From<'a> {
    /// The file: number of the tensor.
    File(usize),
    Weight(&'a Layer),
    Bias(&'a Layer),
}

impl Fitted {
    /// Writes a copy of `file` to `out`, with a head that gives these labels beside those that it has.
    /// A head of labels that it had before is replaced. The vectors it was learned on are those of
    /// the model's first head of vectors, before they are scaled to length one.
    ///
    /// # Errors
    /// If the model has no such head or another width, or `out` cannot be written.
    pub fn write(&self, file: &KingletFile, out: &Path) -> Result<(), QuantizeError> {
        let mut meta = file.meta().clone();
        let head = self.add_head(&mut meta.spec)?;
        meta.labels.clone_from(&self.labels);
        let (mut plan, mut sources) = (Vec::new(), Vec::new());
        for tensor in meta.spec.tensors() {
            let name = &tensor.name;
            let from = self.source(file, &head, name).ok_or(QuantizeError::NotForFitting {
                reason: format!("the file has no tensor `{name}`"),
            })?;
            plan.push(match &from {
                From::File(index) => {
                    let kept = &file.tensors()[*index];
                    TensorPlan {
                        name: name.clone(),
                        role: kept.role,
                        layout: kept.layout,
                        dims: kept.dims.iter().map(|&d| d as u64).collect(),
                        group: kept.group,
                    }
                }
                From::Weight(layer) => TensorPlan {
                    name: name.clone(),
                    role: Role::Matrix,
                    layout: Layout::F16R8K1,
                    dims: vec![layer.rows as u64, layer.cols as u64],
                    group: 0,
                },
                From::Bias(layer) => TensorPlan {
                    name: name.clone(),
                    role: Role::Bias,
                    layout: Layout::F32Rows,
                    dims: vec![layer.rows as u64],
                    group: 0,
                },
            });
            sources.push(from);
        }
        let mut writer = Writer::create(out, &meta, file.tokenizer(), plan)?;
        for from in sources {
            let error = put(&mut writer, file, &from)?;
            writer.end_tensor(error)?;
        }
        Ok(writer.finish()?)
    }

    /// Adds the head to a network; its number, that of the head of vectors, and the length of that
    /// one's chain.
    fn add_head(&self, spec: &mut ModelSpec) -> Result<Places, QuantizeError> {
        let wrong = |reason: String| QuantizeError::NotForFitting { reason };
        let vectors =
            |head: &Head| matches!(head.output, Output::Vector { .. }) && head.pool.is_some();
        let base = spec.heads.iter().position(vectors).ok_or_else(|| {
            wrong("it makes no vectors of texts or images, on which labels could be learned".into())
        })?;
        let known = &spec.heads[base];
        let hidden = spec.stack_of(known).map_or(0, |(_, stack)| stack.hidden_size);
        let width = match known.chain_size() {
            0 => known.inputs(hidden),
            size => size,
        };
        let layers = &self.network.layers;
        if width != layers[0].cols {
            let found = layers[0].cols;
            return Err(wrong(format!(
                "its vectors have {width} numbers, those of the examples {found}"
            )));
        }
        let mut chain = known.chain.clone();
        let own = chain.len();
        chain.extend(layers.iter().enumerate().map(|(i, layer)| Dense {
            activation: (i + 1 < layers.len()).then_some(Activation::Tanh),
            ..Dense::plain(layer.rows)
        }));
        let head =
            Head { chain, output: Output::Labels { scores: Scores::Softmax }, ..known.clone() };
        let labels = |head: &Head| matches!(head.output, Output::Labels { .. });
        let number = match spec.heads.iter().position(labels) {
            Some(number) => {
                spec.heads[number] = head;
                number
            }
            None => {
                spec.heads.push(head);
                spec.heads.len() - 1
            }
        };
        Ok(Places { number, base, own })
    }

    fn source(&self, file: &KingletFile, places: &Places, name: &str) -> Option<From<'_>> {
        let Some(inside) = name.strip_prefix(&format!("heads.{}.", places.number)) else {
            return file.find(name).map(From::File);
        };
        for (i, layer) in self.network.layers.iter().enumerate() {
            match inside.strip_prefix(&format!("dense.{}.", places.own + i)) {
                Some("weight") => return Some(From::Weight(layer)),
                Some("bias") => return Some(From::Bias(layer)),
                _ => {}
            }
        }
        // The pooling and the layers that come before are those of the vectors.
        file.find(&format!("heads.{}.{inside}", places.base)).map(From::File)
    }
}

/// Numbers of the new head and of the one of vectors; where in the chain the new layers begin.
struct Places {
    number: usize,
    base: usize,
    own: usize,
}

/// Writes the numbers of a tensor; what was lost of them.
fn put(writer: &mut Writer, file: &KingletFile, from: &From<'_>) -> Result<f32, QuantizeError> {
    match from {
        From::File(index) => {
            file.planes(*index).try_for_each(|plane| writer.write(plane))?;
            Ok(file.tensors()[*index].relative_error)
        }
        From::Weight(layer) => {
            // Panels of eight rows.
            let mut data = vec![f16::ZERO; layer.rows.next_multiple_of(8) * layer.cols];
            let error = f16_r8k1::encode_panels(&layer.weight, layer.rows, layer.cols, &mut data);
            let error = error.map_err(|error| QuantizeError::NotForFitting {
                reason: format!("what was learned does not fit f16: {error}"),
            })?;
            writer.write(bytemuck::cast_slice(&data))?;
            Ok(error.relative())
        }
        From::Bias(layer) => {
            writer.write(bytemuck::cast_slice(&layer.bias))?;
            Ok(0.0)
        }
    }
}
