//! The names that a pickle may use, and what they stand for.

use super::DType;

/// A name that a pickle may use.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Global {
    OrderedDict,
    RebuildTensor,
    RebuildParameter,
    /// A class of storages with one type of elements, or bytes.
    Storage(Option<DType>),
    DType(DType),
    /// A class or type whose values are not needed.
    Other,
}

/// What a name stands for, `None` if no state dict needs it.
pub(super) fn global(module: &str, name: &str) -> Option<Global> {
    Some(match (module, name) {
        ("collections", "OrderedDict") => Global::OrderedDict,
        ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2" | "_rebuild_tensor_v3") => {
            Global::RebuildTensor
        }
        ("torch._utils", "_rebuild_parameter") => Global::RebuildParameter,
        ("torch" | "torch.storage", "UntypedStorage") => Global::Storage(None),
        ("torch", "Size" | "device")
        | ("builtins" | "__builtin__", "set" | "frozenset" | "complex" | "slice")
        | ("numpy", "dtype" | "ndarray")
        | ("numpy.core.multiarray" | "numpy._core.multiarray", "scalar" | "_reconstruct")
        | ("argparse", "Namespace")
        | ("_codecs", "encode") => Global::Other,
        // Types that no weights here have, but that may lie beside them.
        ("torch", name) if name.starts_with("Float8") || name.starts_with("float8") => {
            Global::Other
        }
        ("torch", name) => match name.strip_suffix("Storage") {
            Some(element) => Global::Storage(Some(storage_dtype(element)?)),
            None => Global::DType(dtype(name)?),
        },
        _ => return None,
    })
}

fn storage_dtype(name: &str) -> Option<DType> {
    Some(match name {
        "Double" => DType::F64,
        "Float" => DType::F32,
        "Half" => DType::F16,
        "BFloat16" => DType::BF16,
        "Long" => DType::I64,
        "Int" => DType::I32,
        "Short" => DType::I16,
        "Char" => DType::I8,
        "Byte" => DType::U8,
        "Bool" => DType::Bool,
        _ => return None,
    })
}

fn dtype(name: &str) -> Option<DType> {
    Some(match name {
        "float64" => DType::F64,
        "float32" => DType::F32,
        "float16" => DType::F16,
        "bfloat16" => DType::BF16,
        "int64" => DType::I64,
        "int32" => DType::I32,
        "int16" => DType::I16,
        "int8" => DType::I8,
        "uint8" => DType::U8,
        "bool" => DType::Bool,
        _ => return None,
    })
}
