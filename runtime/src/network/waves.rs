//! Positions as sine and cosine waves (arXiv:1706.03762).

use crate::error::Error;
use crate::memory::Room;

/// Rows `[sin | cos]`, computed once.
pub(crate) struct Waves {
    width: usize,
    /// `[max_positions][width]`
    rows: Vec<f32>,
}

impl std::fmt::Debug for Waves {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Waves").field("width", &self.width).finish_non_exhaustive()
    }
}

impl Waves {
    /// Rows of positions `offset ..`; `closed` as in
    /// [`AbsolutePositions::Sinusoidal`](kinglet_formats::spec::AbsolutePositions).
    pub(crate) fn new(
        width: usize,
        max_positions: usize,
        offset: usize,
        closed: bool,
    ) -> Result<Self, Error> {
        let half = width / 2;
        let steps = if closed { half - 1 } else { half } as f64;
        let mut rows: Vec<f32> = Room::real().zeroed(max_positions.saturating_mul(width))?;
        for i in 0..half {
            // From one position to the next is a rotation: in f64, thousands of them cost no bit of f32.
            let frequency = 1e-4f64.powf(i as f64 / steps);
            let (step_sin, step_cos) = frequency.sin_cos();
            let (mut sin, mut cos) = (frequency * offset as f64).sin_cos();
            for row in rows.chunks_exact_mut(width) {
                (row[i], row[half + i]) = (sin as f32, cos as f32);
                (sin, cos) = (sin * step_cos + cos * step_sin, cos * step_cos - sin * step_sin);
            }
        }
        Ok(Self { width, rows })
    }

    /// The row of a position, below the number of rows.
    pub(crate) fn row(&self, position: usize) -> &[f32] {
        &self.rows[position * self.width..][..self.width]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rotations_are_the_waves() {
        for (offset, closed, last) in [(0, false, 1e-4f64.powf(7.0 / 8.0)), (2, true, 1e-4)] {
            let waves = Waves::new(16, 4000, offset, closed).unwrap();
            for position in [0, 1, 17, 1000, 3999] {
                let p = (position + offset) as f64;
                let row = waves.row(position);
                for (i, frequency) in [(0, 1.0), (7, last)] {
                    assert!((f64::from(row[i]) - (p * frequency).sin()).abs() < 1e-7);
                    assert!((f64::from(row[8 + i]) - (p * frequency).cos()).abs() < 1e-7);
                }
            }
        }
    }
}
