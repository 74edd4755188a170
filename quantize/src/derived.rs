//! Tensors that a checkpoint does not store but implies: tables of positions that have passed
//! through the projections of each layer.
//!
//! A model with disentangled positions (arXiv:2006.03654) norms its one table of distances and
//! projects it with every layer's matrices for queries and keys. None of that depends on a text, so it
//! is done once, here.

use std::sync::Arc;

use kinglet_formats::checkpoint::{Checkpoint, CheckpointError, DType, TensorInfo};

use crate::QuantizeError;
use crate::made;
use crate::mapping::{Mapping, Names, PositionProducts};
use crate::overlay::{Make, Overlay, read_all, required};

/// The table, normed.
struct Table {
    /// `[rows][hidden]`.
    values: Vec<f32>,
    hidden: usize,
}

/// A projection of the table.
struct Projection {
    table: Arc<Table>,
    weight: usize,
    bias: usize,
    head_dim: usize,
}

/// A checkpoint with what the mapping says that it implies, if that is something.
///
/// # Errors
/// If a tensor is missing or has the wrong shape.
pub(crate) fn derived<'a>(
    mapping: &Mapping,
    inner: &'a dyn Checkpoint,
) -> Result<Option<Overlay<'a>>, QuantizeError> {
    if !mapping.transforms.made.is_empty() {
        return made::made(inner, &mapping.transforms.made).map(Some);
    }
    let (Some(products), Some(names)) =
        (&mapping.transforms.position_products, mapping.names.first())
    else {
        return Ok(None);
    };
    projected(inner, products, names).map(Some)
}

/// The projected tables in place of the table itself, in a checkpoint whose stack has this prefix and
/// layers.
fn projected<'a>(
    inner: &'a dyn Checkpoint,
    products: &PositionProducts,
    names: &Names,
) -> Result<Overlay<'a>, QuantizeError> {
    let Names { stack, prefix, layers, .. } = names;
    let info = |index: usize| &inner.tensors()[index];
    let table =
        required(inner, "a table of distances", format!("{prefix}{}.weight", products.table))?;
    let hidden = match info(table).dims[..] {
        [rows, hidden @ (1..)] if rows >= products.rows => hidden,
        _ => {
            let expected = vec![products.rows, info(table).row_len()];
            return Err(QuantizeError::shape(info(table), expected));
        }
    };
    let mut used = vec![table];
    let mut values = vec![0.0; products.rows * hidden];
    inner.read_rows(table, 0, &mut values)?;
    if let Some((norm, eps)) = products.norm {
        let mut vector = |part: &str| -> Result<Vec<f32>, QuantizeError> {
            let name = format!("{prefix}{norm}.{part}");
            let index = required(inner, "the norm of distances", name)?;
            used.push(index);
            if info(index).dims != [hidden] {
                return Err(QuantizeError::shape(info(index), vec![hidden]));
            }
            Ok(read_all(inner, index)?)
        };
        let (weight, bias) = (vector("weight")?, vector("bias")?);
        values.chunks_exact_mut(hidden).for_each(|row| layer_norm(row, &weight, &bias, eps));
    }
    let table = Arc::new(Table { values, hidden });
    let mut made: Vec<(TensorInfo, Box<dyn Make>)> = Vec::new();
    for layer in 0..products.n_layers {
        for (module, ours) in products.projections.iter().zip(["position_q", "position_k"]) {
            let at = format!("{prefix}{layers}{layer}.{module}");
            let name = format!("{stack}.layers.{layer}.{ours}.weight");
            let find = |part: &str| required(inner, &name, format!("{at}.{part}"));
            let (weight, bias) = (find("weight")?, find("bias")?);
            let width = match info(weight).dims[..] {
                [width @ (1..), k] if k == hidden && width.is_multiple_of(products.n_heads) => {
                    width
                }
                _ => return Err(QuantizeError::shape(info(weight), vec![hidden, hidden])),
            };
            if info(bias).dims != [width] {
                return Err(QuantizeError::shape(info(bias), vec![width]));
            }
            let head_dim = width / products.n_heads;
            let dims = vec![products.n_heads * products.rows, head_dim];
            let projection = Projection { table: Arc::clone(&table), weight, bias, head_dim };
            made.push((TensorInfo { name, dims, dtype: DType::F32 }, Box::new(projection)));
        }
    }
    Ok(Overlay::new(Box::new(inner), |index, _| !used.contains(&index), made))
}

impl Make for Projection {
    /// Row `p` of head `h` is `W_h table[p] + b_h`.
    fn read_rows(
        &self,
        inner: &dyn Checkpoint,
        first_row: usize,
        out: &mut [f32],
    ) -> Result<(), CheckpointError> {
        let Self { ref table, weight, bias, head_dim } = *self;
        let hidden = table.hidden;
        let rows = table.values.len() / hidden;
        let all_biases = read_all(inner, bias)?;
        let mut matrix = vec![0.0; head_dim * hidden];
        let mut read = None;
        for (row, out) in (first_row..).zip(out.chunks_exact_mut(head_dim)) {
            let (head, position) = (row / rows, row % rows);
            if read != Some(head) {
                inner.read_rows(weight, head * head_dim, &mut matrix)?;
                read = Some(head);
            }
            let x = &table.values[position * hidden..][..hidden];
            let biases = all_biases.iter().skip(head * head_dim);
            for ((w, bias), out) in matrix.chunks_exact(hidden).zip(biases).zip(out) {
                *out = dot(w, x) + bias;
            }
        }
        Ok(())
    }
}

/// In eight sums, so that they are computed side by side.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let (a, a_rest) = a.as_chunks::<8>();
    let (b, b_rest) = b.as_chunks::<8>();
    let mut sums = [0.0; 8];
    for (a, b) in a.iter().zip(b) {
        sums.iter_mut().zip(a.iter().zip(b)).for_each(|(sum, (a, b))| *sum += a * b);
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f32>() + rest
}

/// In f64: the table passes through all layers.
fn layer_norm(row: &mut [f32], weight: &[f32], bias: &[f32], eps: f32) {
    let n = row.len() as f64;
    let mean = row.iter().map(|x| f64::from(*x)).sum::<f64>() / n;
    let variance = row.iter().map(|x| (f64::from(*x) - mean).powi(2)).sum::<f64>() / n;
    let scale = 1.0 / (variance + f64::from(eps)).sqrt();
    for (x, (weight, bias)) in row.iter_mut().zip(weight.iter().zip(bias)) {
        *x = ((f64::from(*x) - mean) * scale) as f32 * weight + bias;
    }
}

#[cfg(test)]
mod tests {
    use kinglet_formats::checkpoint::Safetensors;
    use kinglet_formats::map::Bytes;
    use serde_json::json;

    use super::*;

    /// Projections of a table of four rows by matrices of these dims, all of zeros.
    fn project(hidden: usize, width: usize) -> Result<(), QuantizeError> {
        let dims = [
            ("table.weight", vec![4, hidden]),
            ("norm.weight", vec![hidden]),
            ("norm.bias", vec![hidden]),
            ("layer.0.q.weight", vec![width, hidden]),
            ("layer.0.q.bias", vec![width]),
        ];
        let (mut header, mut at) = (serde_json::Map::new(), 0);
        for (name, dims) in dims {
            let end = at + 4 * dims.iter().product::<usize>();
            let entry = json!({"dtype": "F32", "shape": dims, "data_offsets": [at, end]});
            header.insert(name.to_owned(), entry);
            at = end;
        }
        let header = serde_json::to_vec(&header).unwrap();
        let bytes = [&(header.len() as u64).to_le_bytes()[..], &header, &vec![0; at]].concat();
        let inner = Safetensors::parse(Bytes::from_vec(bytes), "file").unwrap();
        let products = PositionProducts {
            table: "table",
            norm: Some(("norm", 1e-7)),
            projections: ["q", "q"],
            rows: 4,
            n_heads: 2,
            n_layers: 1,
        };
        let names = Names {
            stack: "encoder",
            prefix: String::new(),
            layers: "layer.",
            in_layer: &[],
            outside: &[],
            former_endings: &[],
        };
        let derived = projected(&inner, &products, &names)?;
        let made = derived.find("encoder.layers.0.position_q.weight").unwrap();
        assert_eq!(derived.tensors()[made].dims, [2 * 4, width / 2]);
        assert_eq!(read_all(&derived, made).unwrap(), vec![0.0; 4 * width]);
        assert!(derived.raw(made).is_err() && derived.raw(derived.tensors().len()).is_err());
        Ok(())
    }

    #[test]
    fn tables_and_projections_have_columns() {
        project(3, 6).unwrap();
        for (hidden, width, part) in [(0, 6, "table"), (3, 0, "q.weight"), (3, 5, "q.weight")] {
            let error = project(hidden, width).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
