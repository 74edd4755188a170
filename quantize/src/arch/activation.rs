//! Names of activation functions in configurations.

use kinglet_formats::spec::Activation;

use crate::QuantizeError;
use crate::fields::Fields;

/// The activation that `key` names.
pub(super) fn from_config(
    fields: &Fields<'_>,
    key: &str,
    default: Activation,
) -> Result<Activation, QuantizeError> {
    let Some(name) = fields.opt_text(key)? else { return Ok(default) };
    Ok(match name {
        "silu" | "swish" => Activation::Silu,
        "gelu" | "gelu_python" => Activation::Gelu,
        "gelu_new" | "gelu_fast" | "gelu_pytorch_tanh" => Activation::GeluTanh,
        "quick_gelu" => Activation::QuickGelu,
        "relu" => Activation::Relu,
        _ => {
            let supported = "silu, swish, gelu, gelu_python, gelu_new, gelu_fast, gelu_pytorch_tanh, \
                             quick_gelu, relu";
            return Err(fields.unsupported(key, name, supported));
        }
    })
}
