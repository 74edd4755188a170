//! The numbers under which GGUF names element types.

use crate::checkpoint::DType;

/// The type numbered `id`, or the name of one that is not read.
pub(in crate::checkpoint) fn dtype(id: u32) -> Result<DType, String> {
    let name = match id {
        0 => return Ok(DType::F32),
        1 => return Ok(DType::F16),
        2 => return Ok(DType::Q4_0),
        3 => return Ok(DType::Q4_1),
        6 => return Ok(DType::Q5_0),
        7 => return Ok(DType::Q5_1),
        8 => return Ok(DType::Q8_0),
        10 => return Ok(DType::Q2_K),
        11 => return Ok(DType::Q3_K),
        12 => return Ok(DType::Q4_K),
        13 => return Ok(DType::Q5_K),
        14 => return Ok(DType::Q6_K),
        24 => return Ok(DType::I8),
        25 => return Ok(DType::I16),
        26 => return Ok(DType::I32),
        27 => return Ok(DType::I64),
        28 => return Ok(DType::F64),
        30 => return Ok(DType::BF16),
        20 => return Ok(DType::IQ4_NL),
        23 => return Ok(DType::IQ4_XS),
        34 => return Ok(DType::TQ1_0),
        35 => return Ok(DType::TQ2_0),
        39 => return Ok(DType::MXFP4),
        4 => "Q4_2",
        5 => "Q4_3",
        9 => "Q8_1",
        15 => "Q8_K",
        16 => "IQ2_XXS",
        17 => "IQ2_XS",
        18 => "IQ3_XXS",
        19 => "IQ1_S",
        21 => "IQ3_S",
        22 => "IQ2_S",
        29 => "IQ1_M",
        31 => "Q4_0_4_4",
        32 => "Q4_0_4_8",
        33 => "Q4_0_8_8",
        36 => "IQ4_NL_4_4",
        37 => "IQ4_NL_4_8",
        38 => "IQ4_NL_8_8",
        40 => "NVFP4",
        _ => return Err(format!("number {id}, unknown to this version,")),
    };
    Err(name.to_owned())
}
