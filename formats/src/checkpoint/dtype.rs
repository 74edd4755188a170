//! Element types of checkpoints, and how many bytes they take.

/// Element type of a tensor in a checkpoint, under its name in the source format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, non_camel_case_types)]
pub enum DType {
    F64,
    F32,
    F16,
    BF16,
    F8_E4M3,
    F8_E5M2,
    I64,
    I32,
    I16,
    I8,
    U8,
    Bool,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q2_K,
    Q3_K,
    Q4_K,
    Q5_K,
    Q6_K,
    IQ4_NL,
    IQ4_XS,
    MXFP4,
    TQ1_0,
    TQ2_0,
}

impl DType {
    /// The step of which all values of a block are multiples, by integers from -127 to 127; `None` for
    /// other types. `block` has [`DType::block_bytes`].
    pub fn block_step(self, block: &[u8]) -> Option<f32> {
        match self {
            Self::Q5_0 | Self::IQ4_NL => {
                Some(half::f16::from_le_bytes([block[0], block[1]]).to_f32())
            }
            // A power of two, 127 being one; the smallest 4-bit float is a half.
            Self::MXFP4 => Some((f32::from(block[0]) - 128.0).exp2()),
            _ => None,
        }
    }

    /// Elements that are stored together: 1 for plain types, 32 or 256 for GGUF's block types.
    /// A row always holds a whole number of blocks.
    pub fn block_len(self) -> usize {
        match self {
            Self::Q4_0 | Self::Q4_1 | Self::Q5_0 | Self::Q5_1 | Self::Q8_0 => 32,
            Self::IQ4_NL | Self::MXFP4 => 32,
            Self::Q2_K | Self::Q3_K | Self::Q4_K | Self::Q5_K | Self::Q6_K => 256,
            Self::IQ4_XS | Self::TQ1_0 | Self::TQ2_0 => 256,
            _ => 1,
        }
    }

    /// Bytes of one block of [`block_len`](Self::block_len) elements.
    pub fn block_bytes(self) -> usize {
        match self {
            Self::F64 | Self::I64 => 8,
            Self::F32 | Self::I32 => 4,
            Self::F16 | Self::BF16 | Self::I16 => 2,
            Self::F8_E4M3 | Self::F8_E5M2 | Self::I8 | Self::U8 | Self::Bool => 1,
            Self::Q4_0 => 18,
            Self::Q4_1 => 20,
            Self::Q5_0 => 22,
            Self::Q5_1 => 24,
            Self::Q8_0 => 34,
            Self::Q2_K => 84,
            Self::Q3_K => 110,
            Self::Q4_K => 144,
            Self::Q5_K => 176,
            Self::Q6_K => 210,
            Self::IQ4_NL => 18,
            Self::IQ4_XS => 136,
            Self::MXFP4 => 17,
            Self::TQ1_0 => 54,
            Self::TQ2_0 => 66,
        }
    }
}

impl std::fmt::Display for DType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Bool => f.write_str("BOOL"),
            other => write!(f, "{other:?}"),
        }
    }
}
