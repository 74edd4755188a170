//! Checkpoints whose matrices are stored in few bits with scales beside them (GPTQ, AWQ, 8-bit floats),
//! seen as checkpoints of plain weights: each value is exactly the one that the scheme defines.

mod integers;
mod scaled;
#[cfg(test)]
mod tests;

use std::collections::HashSet;

use kinglet_formats::checkpoint::{Checkpoint, DType, TensorInfo};

use crate::QuantizeError;
use crate::fields::Fields;
use crate::overlay::{Make, Overlay};
use integers::{Integers, Scheme};
pub(super) use scaled::Scaled;

/// What is said to work where something does not.
const SUPPORTED: &str = "gptq and awq of 4 or 8 bits, fp8, compressed-tensors of 8 bits; of other checkpoints \
     take the original, or a GGUF file, or save what `model.dequantize()` of transformers gives";

/// Endings of tensors that only a packed checkpoint has: scales of activations and of caches.
const LEFT_OUT: [&str; 5] =
    [".input_scale", ".output_scale", ".k_scale", ".v_scale", ".activation_scale"];

/// The checkpoint with plain weights. `config` is what a configuration says about the scheme:
/// `quantization_config`, or a file of its own.
pub(super) fn unpacked(
    inner: Box<dyn Checkpoint>,
    config: Option<&Fields<'_>>,
) -> Result<Box<dyn Checkpoint>, QuantizeError> {
    let found = match config {
        Some(config) => match method(config)? {
            Method::Integers(scheme) => integers(inner.as_ref(), &scheme)?,
            Method::Scaled(block) => scaled(inner.as_ref(), block)?,
        },
        None => scaled(inner.as_ref(), None)?,
    };
    if found.is_empty() {
        return Ok(inner);
    }
    let used: HashSet<usize> = found.iter().flat_map(|(_, _, used)| used.iter().copied()).collect();
    let is_left_out = |info: &TensorInfo| LEFT_OUT.iter().any(|end| info.name.ends_with(end));
    let keeps = |index: usize, info: &TensorInfo| !used.contains(&index) && !is_left_out(info);
    let made = found.into_iter().map(|(info, make, _)| (info, make)).collect();
    Ok(Box::new(Overlay::new(inner, keeps, made)))
}

enum Method {
    Integers(Scheme),
    /// Rows and columns of a block that shares a scale, where the configuration says it.
    Scaled(Option<[usize; 2]>),
}

/// Reads which scheme a configuration names.
fn method(config: &Fields<'_>) -> Result<Method, QuantizeError> {
    // The files of older tools do not name it: theirs tell it by their keys.
    let old = if config.has("w_bit") { "awq" } else { "gptq" };
    let name = config.opt_text("quant_method")?.unwrap_or(old);
    match name {
        "gptq" | "awq" => Ok(Method::Integers(Scheme::read(name, config)?)),
        "fp8" | "fbgemm_fp8" | "modelopt" => {
            let block = config.opt_list("weight_block_size")?.map(|sizes| {
                let size = |at: usize| sizes.get(at).and_then(serde_json::Value::as_u64);
                match (size(0), size(1), sizes.len()) {
                    (Some(rows @ 1..), Some(columns @ 1..), 2) => {
                        Ok([rows as usize, columns as usize])
                    }
                    _ => Err(config.bad("weight_block_size", &"other", "two numbers above zero")),
                }
            });
            Ok(Method::Scaled(block.transpose()?))
        }
        "compressed-tensors" => {
            let format = config.opt_text("format")?.unwrap_or("float-quantized");
            match format {
                "float-quantized" | "int-quantized" | "naive-quantized" | "dense" => {
                    Ok(Method::Scaled(None))
                }
                other => Err(config.unsupported("format", other, SUPPORTED)),
            }
        }
        other => Err(config.unsupported("quant_method", other, SUPPORTED)),
    }
}

/// A tensor's new form and the numbers of the stored tensors that it is made of.
type Found = Vec<(TensorInfo, Box<dyn Make>, Vec<usize>)>;

/// The matrices that are stored as `X.qweight`.
fn integers(inner: &dyn Checkpoint, scheme: &Scheme) -> Result<Found, QuantizeError> {
    let mut found = Found::new();
    for (index, info) in inner.tensors().iter().enumerate() {
        let Some(module) = info.name.strip_suffix(".qweight") else { continue };
        let (part, used) = Integers::open(inner, index, module, scheme)?;
        let info = TensorInfo {
            name: format!("{module}.weight"),
            dims: part.dims().to_vec(),
            dtype: DType::F32,
        };
        found.push((info, Box::new(part), used));
    }
    Ok(found)
}

/// The matrices of 8 bits that have scales.
fn scaled(inner: &dyn Checkpoint, block: Option<[usize; 2]>) -> Result<Found, QuantizeError> {
    let mut found = Found::new();
    for (index, info) in inner.tensors().iter().enumerate() {
        let is_small = matches!(info.dtype, DType::F8_E4M3 | DType::F8_E5M2 | DType::I8);
        if let Some(module) = info.name.strip_suffix("weight").filter(|_| is_small)
            && let Some((part, used)) = Scaled::open(inner, index, module, block)?
        {
            let info = TensorInfo { dtype: DType::F32, ..info.clone() };
            found.push((info, Box::new(part), used));
        }
    }
    Ok(found)
}
