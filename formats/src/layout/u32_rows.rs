//! The `u32` layout: plain rows of numbers that count or name something, as lists of tokens.

use super::EncodeError;

/// The first number that is not exact where numbers come as `f32`.
pub const LIMIT: u32 = 1 << 24;

/// Bytes of rows of `k` numbers, as they are stored: whole ones from 0 and below [`LIMIT`].
pub fn encode(rows: &[f32], k: usize) -> Result<Vec<u8>, EncodeError> {
    let is_sound = |value: f32| value.fract() == 0.0 && (0.0..LIMIT as f32).contains(&value);
    if let Some(at) = rows.iter().position(|&value| !is_sound(value)) {
        let k = k.max(1);
        return Err(EncodeError::NotWhole { row: at / k, col: at % k, value: rows[at] });
    }
    Ok(rows.iter().flat_map(|&value| (value as u32).to_le_bytes()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_only() {
        let bytes = encode(&[0.0, 7.0, 16_777_215.0], 3).unwrap();
        assert_eq!(bytes, [0u32, 7, 16_777_215].map(u32::to_le_bytes).concat());
        for odd in [-1.0, 0.5, f32::NAN, f32::INFINITY, 16_777_216.0] {
            let error = encode(&[1.0, 2.0, odd], 2).unwrap_err();
            assert!(matches!(error, EncodeError::NotWhole { row: 1, col: 0, .. }), "{error}");
        }
    }
}
