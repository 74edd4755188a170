//! The Walsh-Hadamard rotation, which spreads a vector's outliers over all its elements.

/// Rotates `x` by the normalised Walsh-Hadamard matrix of the largest power of two that divides
/// its length, block by block. Lengths and dot products stay as they are; done twice, so does `x`.
///
/// Keys of trained models have a few elements far larger than the others, and 8 bits must reach
/// from the largest to the smallest. Rotated, all are of one size. Queries rotated in the same way
/// have the same scores, and a weighted sum of rotated values rotates back.
pub(super) fn hadamard(x: &mut [f32]) {
    let block = 1 << x.len().trailing_zeros().min(31);
    let factor = 1.0 / (block as f32).sqrt();
    for x in x.chunks_exact_mut(block) {
        let mut half = block / 2;
        while half > 0 {
            for pair in x.chunks_exact_mut(2 * half) {
                let (first, second) = pair.split_at_mut(half);
                for (a, b) in first.iter_mut().zip(second) {
                    (*a, *b) = (*a + *b, *a - *b);
                }
            }
            half /= 2;
        }
        x.iter_mut().for_each(|x| *x *= factor);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_an_orthogonal_symmetric_rotation() {
        for len in [1, 2, 16, 64, 80, 96, 256] {
            let x: Vec<f32> = (0..len).map(|i| (i as f32 * 0.7).sin()).collect();
            let y: Vec<f32> = (0..len).map(|i| (i as f32 * 1.3).cos()).collect();
            let (mut hx, mut hy) = (x.clone(), y.clone());
            hadamard(&mut hx);
            hadamard(&mut hy);
            let dot = |x: &[f32], y: &[f32]| x.iter().zip(y).map(|(a, b)| a * b).sum::<f32>();
            // Some hundred roundings of numbers of size 1.
            assert!((dot(&x, &y) - dot(&hx, &hy)).abs() < 1e-4, "{len}");
            hadamard(&mut hx);
            assert!(hx.iter().zip(&x).all(|(a, b)| (a - b).abs() < 1e-5), "{len}");
        }
    }

    #[test]
    fn an_outlier_is_spread_over_its_block() {
        let mut x = [0.0; 64];
        x[17] = 8.0;
        hadamard(&mut x);
        assert!(x.iter().all(|x| x.abs() == 1.0));
        let mut x = [0.0; 80];
        x[17] = 4.0;
        hadamard(&mut x);
        assert!(x[16..32].iter().all(|x| x.abs() == 1.0));
        assert_eq!(x.iter().filter(|x| **x == 0.0).count(), 64);
    }
}
