//! The `f32` layout: plain rows, for norms, biases and small tables.

use super::EncodeError;

/// Bytes of rows of `k` values, as they are stored. The values are checked to be finite.
pub fn encode(rows: &[f32], k: usize) -> Result<&[u8], EncodeError> {
    match rows.iter().position(|v| !v.is_finite()) {
        None => Ok(bytemuck::cast_slice(rows)),
        Some(at) => {
            let k = k.max(1);
            Err(EncodeError::NonFinite { row: at / k, col: at % k, value: rows[at] })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_little_endian_values() {
        let bytes = encode(&[1.0, -2.5], 2).unwrap();
        assert_eq!(bytes, [1.0f32.to_le_bytes(), (-2.5f32).to_le_bytes()].concat());
    }

    #[test]
    fn a_nan_is_found() {
        let err = encode(&[0.0, 1.0, 2.0, f32::NAN, 4.0, 5.0], 3).unwrap_err();
        assert!(matches!(err, EncodeError::NonFinite { row: 1, col: 0, .. }), "{err}");
        let err = encode(&[f32::NEG_INFINITY], 1).unwrap_err();
        assert_eq!(err.to_string(), "the value at row 0, column 0 is -inf");
    }
}
