//! Element-wise kernels: sums, scaling and shifting by channel, dropout. Activations are in [`activation`](crate::activation).

use engraft_ir::random::{finalize, uniform_at};
use rayon::prelude::*;

use crate::chunks::{CHUNK, check_len, count_rows, row_chunk, zip_chunks};

/// `acc += x`, element by element.
///
/// ```
/// let mut acc = [1.0, 2.0];
/// engraft_kernels::add_assign(&mut acc, &[0.5, -2.0]);
/// assert_eq!(acc, [1.5, 0.0]);
/// ```
pub fn add_assign(acc: &mut [f32], x: &[f32]) {
    check_len("x", x, acc.len());
    zip_chunks(x, acc, CHUNK, |x, acc| acc.iter_mut().zip(x).for_each(|(acc, x)| *acc += x));
}

/// Adds a bias to each row: `y[row, c] += bias[c]`.
///
/// ```
/// let mut y = [1.0, 2.0, 3.0, 4.0];
/// engraft_kernels::add_bias(&[10.0, 0.5], &mut y);
/// assert_eq!(y, [11.0, 2.5, 13.0, 4.5]);
/// ```
pub fn add_bias(bias: &[f32], y: &mut [f32]) {
    count_rows("y", y, bias.len());
    y.par_chunks_mut(row_chunk(bias.len())).for_each(|rows| {
        for row in rows.chunks_exact_mut(bias.len()) {
            row.iter_mut().zip(bias).for_each(|(y, bias)| *y += bias);
        }
    });
}

/// Scales and shifts each channel: `y[row, c] = x[row, c] * scale[c] + shift[c]`.
///
/// ```
/// let mut y = [0.0; 4];
/// engraft_kernels::scale_shift(2, &[2.0, 10.0], &[0.0, -1.0], &[1.0, 2.0, 3.0, 4.0], &mut y);
/// assert_eq!(y, [2.0, 19.0, 6.0, 39.0]);
/// ```
pub fn scale_shift(channels: usize, scale: &[f32], shift: &[f32], x: &[f32], y: &mut [f32]) {
    count_rows("x", x, channels);
    check_len("scale", scale, channels);
    check_len("shift", shift, channels);
    check_len("y", y, x.len());
    let [scale, shift] = [scale, shift].map(repeat_row);
    zip_chunks(x, y, row_chunk(channels), |x, y| {
        for (x, y) in x.chunks(scale.len()).zip(y.chunks_mut(scale.len())) {
            for (((y, x), scale), shift) in y.iter_mut().zip(x).zip(&scale).zip(&shift) {
                *y = x * scale + shift;
            }
        }
    });
}

/// Repeats a row until it has at least 256 values. A loop over three colours is too short to be vectorized.
fn repeat_row(row: &[f32]) -> Vec<f32> {
    const WIDTH: usize = 256;
    row.repeat(WIDTH.div_ceil(row.len()))
}

/// The gradient of [`scale_shift`] with respect to `x`: `dx[row, c] = dy[row, c] * scale[c]`.
///
/// ```
/// let mut dx = [0.0; 2];
/// engraft_kernels::scale_gradient(2, &[2.0, 10.0], &[1.0, 0.5], &mut dx);
/// assert_eq!(dx, [2.0, 5.0]);
/// ```
pub fn scale_gradient(channels: usize, scale: &[f32], dy: &[f32], dx: &mut [f32]) {
    count_rows("dy", dy, channels);
    check_len("scale", scale, channels);
    check_len("dx", dx, dy.len());
    let scale = repeat_row(scale);
    zip_chunks(dy, dx, row_chunk(channels), |dy, dx| {
        for (dy, dx) in dy.chunks(scale.len()).zip(dx.chunks_mut(scale.len())) {
            dx.iter_mut().zip(dy).zip(&scale).for_each(|((dx, dy), scale)| *dx = dy * scale);
        }
    });
}

/// Dropout with `rate` in 0..=1: each value is zeroed with probability `rate`, the others are scaled by `1 / (1 - rate)`.
///
/// The mask depends on `seed` and the indices alone. So the gradient is the same call with `dy` for `x`.
///
/// ```
/// use engraft_kernels::dropout;
/// let (mut y, mut dx) = ([0.0; 100], [0.0; 100]);
/// dropout(&[1.0; 100], 0.5, 7, &mut y);
/// assert!(y.contains(&0.0) && y.contains(&2.0));
/// dropout(&[1.0; 100], 0.5, 7, &mut dx);
/// assert_eq!(dx, y);
/// ```
///
/// # Panics
/// `rate` lies outside 0..=1.
pub fn dropout(x: &[f32], rate: f32, seed: u64, y: &mut [f32]) {
    check_len("y", y, x.len());
    assert!((0.0..=1.0).contains(&rate), "`rate` must lie in 0..=1, is {rate}");
    if rate == 1.0 {
        return y.fill(0.0);
    }
    let (key, scale) = (finalize(seed), 1.0 / (1.0 - rate));
    y.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).enumerate().for_each(|(chunk, (y, x))| {
        for (i, (y, x)) in y.iter_mut().zip(x).enumerate() {
            // Scaled unconditionally, so that the compiler selects a value instead of branching. A branch on random numbers
            // would often be mispredicted.
            let scaled = x * scale;
            *y = if uniform_at(key, (chunk * CHUNK + i) as u64) >= rate { scaled } else { 0.0 };
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_same_for_any_threads, integers, uniform};

    #[test]
    fn add_assign_adds_across_chunks() {
        let mut acc: Vec<f32> = (0..CHUNK + 3).map(|i| i as f32).collect();
        add_assign(&mut acc, &vec![0.5; CHUNK + 3]);
        assert_eq!((acc[0], acc[CHUNK + 2]), (0.5, CHUNK as f32 + 2.5));
    }

    #[test]
    fn scale_shift_works_by_channel() {
        let mut y = [0.0; 6];
        scale_shift(3, &[1.0, 2.0, 0.0], &[0.0, -1.0, 5.0], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], &mut y);
        assert_eq!(y, [1.0, 3.0, 5.0, 4.0, 9.0, 5.0]);
        scale_gradient(3, &[1.0, 2.0, 0.0], &[1.0; 6], &mut y);
        assert_eq!(y, [1.0, 2.0, 0.0, 1.0, 2.0, 0.0]);
        // 200 rows: more than `repeat_row` repeats at once, and not a multiple of it.
        let (scale, shift, x) = (integers(3, 1), integers(3, 2), integers(3 * 200, 3));
        let mut y = vec![f32::NAN; x.len()];
        scale_shift(3, &scale, &shift, &x, &mut y);
        assert!(y.iter().enumerate().all(|(i, &y)| y == x[i] * scale[i % 3] + shift[i % 3]));
        scale_gradient(3, &scale, &x, &mut y);
        assert!(y.iter().enumerate().all(|(i, &y)| y == x[i] * scale[i % 3]));
    }

    #[test]
    fn dropout_keeps_the_expected_share_and_the_mean() {
        let mut y = vec![0.0; 100_000];
        for rate in [0.1, 0.5, 0.9] {
            dropout(&vec![1.0; 100_000], rate, 7, &mut y);
            let dropped = y.iter().filter(|&&y| y == 0.0).count() as f32 / 1e5;
            // The standard deviation of the dropped share is at most 0.0016; the tolerance is five times that.
            assert!((dropped - rate).abs() < 0.008, "rate {rate}: dropped {dropped}");
            assert!(y.iter().all(|&y| y == 0.0 || y == 1.0 / (1.0 - rate)));
        }
    }

    #[test]
    fn dropout_depends_on_the_seed_and_repeats() {
        let x = vec![1.0; 4096];
        let draw = |seed| {
            let mut y = vec![0.0; 4096];
            dropout(&x, 0.5, seed, &mut y);
            y
        };
        assert_eq!(draw(1), draw(1));
        let agreeing = draw(1).iter().zip(draw(2)).filter(|(a, b)| **a == *b).count();
        // Independent masks agree on 2048 of 4096 values on average, with a standard deviation of 32. The range is five times
        // that.
        assert!((1888..2208).contains(&agreeing), "masks of neighbouring seeds agree on {agreeing} of 4096");
    }

    #[test]
    fn dropout_at_the_ends_of_its_range() {
        let mut y = [0.0; 3];
        dropout(&[1.0, 2.0, 3.0], 0.0, 1, &mut y);
        assert_eq!(y, [1.0, 2.0, 3.0]);
        dropout(&[1.0, 2.0, 3.0], 1.0, 1, &mut y);
        assert_eq!(y, [0.0; 3]);
    }

    #[test]
    fn dropout_has_the_same_bits_for_any_number_of_threads() {
        let x = uniform(3 * CHUNK + 1, 1);
        assert_same_for_any_threads(|| {
            let mut y = vec![0.0; x.len()];
            dropout(&x, 0.3, 5, &mut y);
            y
        });
    }
}
