//! Element types of ONNX, and how their bytes become numbers.

use half::{bf16, f16};

use super::super::DType;
use super::super::plain;

/// The element type of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Element {
    /// A type that other checkpoints have, too.
    Plain(DType),
    /// Four bits with sign, two in a byte, the lower half first.
    I4,
    /// Four bits without sign.
    U4,
    /// A type that is not read, by its number in ONNX.
    Other(u64),
}

impl Element {
    /// The type with this number in ONNX.
    pub(super) fn of(code: u64) -> Self {
        Self::Plain(match code {
            1 => DType::F32,
            2 => DType::U8,
            3 => DType::I8,
            5 => DType::I16,
            6 => DType::I32,
            7 => DType::I64,
            9 => DType::Bool,
            10 => DType::F16,
            11 => DType::F64,
            16 => DType::BF16,
            21 => return Self::U4,
            22 => return Self::I4,
            other => return Self::Other(other),
        })
    }

    /// Bits of one element; none for a type that is not read.
    pub(super) fn bits(self) -> Option<usize> {
        match self {
            Self::Plain(dtype) => Some(8 * dtype.block_bytes()),
            Self::I4 | Self::U4 => Some(4),
            Self::Other(_) => None,
        }
    }

    /// Bytes of `n` elements, which follow each other without gaps.
    pub(super) fn bytes(self, n: usize) -> Option<usize> {
        Some(n.checked_mul(self.bits()?)?.div_ceil(8))
    }

    pub(super) fn is_float(self) -> bool {
        matches!(self, Self::Plain(DType::F64 | DType::F32 | DType::F16 | DType::BF16))
    }

    /// Whether weights are quantized to this type.
    pub(super) fn is_quantized(self) -> bool {
        matches!(self, Self::Plain(DType::I8 | DType::U8 | DType::I32) | Self::I4 | Self::U4)
    }

    /// Decodes elements `first..` of `stored`, which has them, as numbers.
    pub(super) fn decode(self, stored: &[u8], first: usize, out: &mut [f32]) {
        let nibble = |i: usize| (stored[i / 2] >> (4 * (i % 2))) & 0xf;
        match self {
            Self::Plain(dtype) => plain::decode(dtype, &stored[first * dtype.block_bytes()..], out),
            Self::U4 => {
                (first..).zip(out).for_each(|(i, x)| *x = f32::from(nibble(i)));
            }
            Self::I4 => {
                (first..).zip(out).for_each(|(i, x)| *x = f32::from((nibble(i) << 4) as i8 >> 4));
            }
            Self::Other(_) => debug_assert!(false, "a type that is not read"),
        }
    }

    /// The number of this type next to `x`.
    pub(super) fn round(self, x: f32) -> f32 {
        match self {
            Self::Plain(DType::F16) => f16::from_f32(x).to_f32(),
            Self::Plain(DType::BF16) => bf16::from_f32(x).to_f32(),
            _ => x,
        }
    }
}

impl std::fmt::Display for Element {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Plain(dtype) => write!(f, "{dtype}"),
            Self::I4 => f.write_str("I4"),
            Self::U4 => f.write_str("U4"),
            Self::Other(code) => {
                let name = match code {
                    0 => "undefined",
                    4 => "U16",
                    8 => "string",
                    12 => "U32",
                    13 => "U64",
                    14 | 15 => "complex",
                    17..=20 | 24 => "float8",
                    23 => "float4",
                    _ => return write!(f, "number {code}"),
                };
                f.write_str(name)
            }
        }
    }
}
