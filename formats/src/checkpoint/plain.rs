//! Decoding of plain element types to `f32`.

use half::f16;
use half::slice::HalfFloatSliceExt;

use super::DType;

/// Decodes `out.len()` little-endian elements from the beginning of `stored`.
/// Integers and `F64` are rounded to the nearest `f32`; a `BOOL` is 0 or 1.
pub(crate) fn decode(dtype: DType, stored: &[u8], out: &mut [f32]) {
    match dtype {
        DType::F64 => each(stored, out, |b| f64::from_le_bytes(b) as f32),
        DType::F32 => each(stored, out, f32::from_le_bytes),
        DType::F16 => halves(stored, out),
        DType::BF16 => {
            each(stored, out, |b| f32::from_bits(u32::from(u16::from_le_bytes(b)) << 16))
        }
        DType::F8_E4M3 => each(stored, out, |[b]: [u8; 1]| e4m3(b)),
        // The upper half of an F16.
        DType::F8_E5M2 => {
            each(stored, out, |[b]: [u8; 1]| f16::from_bits(u16::from(b) << 8).to_f32())
        }
        DType::I64 => each(stored, out, |b| i64::from_le_bytes(b) as f32),
        DType::I32 => each(stored, out, |b| i32::from_le_bytes(b) as f32),
        DType::I16 => each(stored, out, |b| f32::from(i16::from_le_bytes(b))),
        DType::I8 => each(stored, out, |b| f32::from(i8::from_le_bytes(b))),
        DType::U8 => each(stored, out, |[b]: [u8; 1]| f32::from(b)),
        DType::Bool => each(stored, out, |[b]: [u8; 1]| f32::from(u8::from(b != 0))),
        _ => debug_assert!(false, "{dtype} is a block type"),
    }
}

/// A sign, four bits of exponent (biased by 7) and three of mantissa; no infinities, and NaN only where
/// all bits are set.
fn e4m3(byte: u8) -> f32 {
    let (exponent, mantissa) = (i32::from(byte >> 3 & 0xf), f32::from(byte & 7));
    let power = |exponent: i32| f32::from_bits(((exponent + 127) as u32) << 23);
    let size = match (exponent, byte & 7) {
        (15, 7) => f32::NAN,
        (0, _) => mantissa * power(-9),
        _ => (8.0 + mantissa) * power(exponent - 10),
    };
    if byte & 0x80 == 0 { size } else { -size }
}

fn each<const N: usize>(stored: &[u8], out: &mut [f32], decode: impl Fn([u8; N]) -> f32) {
    for (value, element) in out.iter_mut().zip(stored.as_chunks::<N>().0) {
        *value = decode(*element);
    }
}

/// In pieces, because the conversion of a whole slice uses the processor's instructions for it.
fn halves(stored: &[u8], out: &mut [f32]) {
    let elements = stored.as_chunks::<2>().0;
    let mut piece = [f16::ZERO; 128];
    for (values, elements) in out.chunks_mut(128).zip(elements.chunks(128)) {
        let piece = &mut piece[..values.len()];
        for (half, element) in piece.iter_mut().zip(elements) {
            *half = f16::from_le_bytes(*element);
        }
        piece.convert_to_f32_slice(values);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(dtype: DType, stored: &[u8]) -> Vec<f32> {
        let mut out = vec![f32::NAN; stored.len() / dtype.block_bytes()];
        decode(dtype, stored, &mut out);
        out
    }

    #[test]
    fn every_type_decodes_to_its_value() {
        let f64s: Vec<u8> = [1.5f64, -1e300, 0.1].map(f64::to_le_bytes).concat();
        assert_eq!(decoded(DType::F64, &f64s), [1.5, f32::NEG_INFINITY, 0.1]);
        let f32s: Vec<u8> = [1e-40f32, -0.0].map(f32::to_le_bytes).concat();
        assert_eq!(
            decoded(DType::F32, &f32s).iter().map(|v| v.to_bits()).collect::<Vec<_>>(),
            [1e-40f32.to_bits(), (-0.0f32).to_bits()]
        );
        assert_eq!(decoded(DType::BF16, &[0x80, 0x3f, 0x00, 0xc0]), [1.0, -2.0]);
        assert_eq!(decoded(DType::F16, &[0x00, 0x3c, 0x01, 0x80]), [1.0, -5.9604645e-8]);
        assert_eq!(
            decoded(DType::F8_E4M3, &[0x38, 0xc1, 0x01, 0x7e]),
            [1.0, -2.25, 0.001953125, 448.0]
        );
        assert!(decoded(DType::F8_E4M3, &[0x7f, 0xff]).iter().all(|x| x.is_nan()));
        assert_eq!(decoded(DType::F8_E5M2, &[0x3c, 0xc1, 0x7b]), [1.0, -2.5, 57344.0]);
        assert_eq!(decoded(DType::I64, &i64::MIN.to_le_bytes()), [-9.223372e18]);
        assert_eq!(decoded(DType::I32, &(-7i32).to_le_bytes()), [-7.0]);
        assert_eq!(decoded(DType::I16, &(-300i16).to_le_bytes()), [-300.0]);
        assert_eq!(decoded(DType::I8, &[0x80, 0x7f]), [-128.0, 127.0]);
        assert_eq!(decoded(DType::U8, &[0x80, 0xff]), [128.0, 255.0]);
        assert_eq!(decoded(DType::Bool, &[0, 1, 2]), [0.0, 1.0, 1.0]);
    }

    #[test]
    fn all_halves_decode_whatever_their_number() {
        for len in [1usize, 127, 128, 129, 65536] {
            let stored: Vec<u8> = (0..len).flat_map(|i| (i as u16).to_le_bytes()).collect();
            for (i, value) in decoded(DType::F16, &stored).into_iter().enumerate() {
                let expected = f16::from_bits(i as u16).to_f32();
                assert!(
                    value.to_bits() == expected.to_bits() || value.is_nan() && expected.is_nan()
                );
            }
        }
    }
}
