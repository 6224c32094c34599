//! Activations of whole rows besides softmax: its logarithm, and sparsemax.

use rayon::prelude::*;

use crate::chunks::{check_len, count_rows, row_chunk, zip_chunks};
use crate::softmax::row_sum;

/// The logarithm of the softmax of each row of `classes` values, in place (`keras.activations.log_softmax`, last axis).
///
/// ```
/// let mut y = [0.0, 0.0, 0.0];
/// engraft_kernels::log_softmax(3, &mut y);
/// assert!(y.iter().all(|y| (y + 3.0f32.ln()).abs() < 1e-6));
/// ```
pub fn log_softmax(classes: usize, x: &mut [f32]) {
    map_rows(classes, x, |row| {
        let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        row.iter_mut().for_each(|x| *x -= max);
        let log = row_sum(row.iter().map(|x| x.exp())).ln();
        row.iter_mut().for_each(|x| *x -= log);
    });
}

/// The gradient of [`log_softmax`], in place: `dx = dy - exp(y) * sum(dy)` for each row.
///
/// `dy` holds the gradient with respect to the output `y` on entry, and with respect to the input on return.
///
/// ```
/// let (y, mut dy) = ([0.5f32.ln(); 2], [1.0, 0.0]);
/// engraft_kernels::log_softmax_gradient(2, &y, &mut dy);
/// assert_eq!(dy, [0.5, -0.5]);
/// ```
pub fn log_softmax_gradient(classes: usize, y: &[f32], dy: &mut [f32]) {
    map_pairs(classes, y, dy, |y, dy| {
        let sum = row_sum(dy.iter().copied());
        dy.iter_mut().zip(y).for_each(|(dy, y)| *dy -= y.exp() * sum);
    });
}

/// Sparsemax of each row of `classes` values, in place, as Keras defines it (`keras.activations.sparsemax`, last axis).
///
/// Each row is shifted by one threshold and cut off at 0. The threshold is `(c_1 + … + c_k - 1) / k`, where `c_i` is the sum of
/// the `i` largest values and `k` counts those that exceed `(c_i - 1) / i`. Martins and Astudillo (2016, arXiv:1602.02068) have
/// `(c_k - 1) / k` instead, so that rows sum to 1; both agree where `k` is 1.
///
/// ```
/// let mut y = [3.0, 1.5, -1.0];
/// engraft_kernels::sparsemax(3, &mut y);
/// assert_eq!(y, [1.0, 0.0, 0.0]);
/// ```
pub fn sparsemax(classes: usize, x: &mut [f32]) {
    map_rows(classes, x, |row| {
        let threshold = SparsemaxRow::of(row).threshold;
        // `f32::max` would turn NaN into zero.
        row.iter_mut().for_each(|x| *x = if *x - threshold < 0.0 { 0.0 } else { *x - threshold });
    });
}

/// The order of a row's values, and the threshold that is subtracted from them.
struct SparsemaxRow {
    /// Indices of the largest values, largest first.
    largest: Vec<usize>,
    threshold: f32,
}

impl SparsemaxRow {
    fn of(row: &[f32]) -> Self {
        let mut largest: Vec<usize> = (0..row.len()).collect();
        largest.sort_by(|&a, &b| row[b].total_cmp(&row[a]));
        let (mut sum, mut sums, mut count) = (0.0, 0.0, 0);
        for (index, &at) in largest.iter().enumerate() {
            sum += row[at];
            let exceeds = row[at] - (sum - 1.0) / (index + 1) as f32 > 0.0;
            if exceeds || sum.is_nan() {
                sums += sum;
                count += 1;
            }
        }
        largest.truncate(count);
        Self { largest, threshold: (sums - 1.0) / count as f32 }
    }
}

/// The gradient of [`sparsemax`], in place.
///
/// The threshold's slope with respect to the `i`-th largest of `k` values is `(k - i + 1) / k`. `dy` holds the gradient with
/// respect to the output on entry, and with respect to the input `x` on return.
///
/// ```
/// let (x, mut dy) = ([3.0, 1.5, -1.0], [1.0, 7.0, 5.0]);
/// engraft_kernels::sparsemax_gradient(3, &x, &mut dy);
/// assert_eq!(dy, [0.0, 0.0, 0.0], "the output is 1 wherever one value exceeds the others by 1");
/// ```
pub fn sparsemax_gradient(classes: usize, x: &[f32], dy: &mut [f32]) {
    map_pairs(classes, x, dy, |x, dy| {
        let SparsemaxRow { largest, threshold } = SparsemaxRow::of(x);
        dy.iter_mut().zip(x).for_each(|(dy, x)| *dy = if x - threshold < 0.0 { 0.0 } else { *dy });
        let sum = row_sum(dy.iter().copied());
        let count = largest.len();
        for (index, at) in largest.into_iter().enumerate() {
            dy[at] -= sum * (count - index) as f32 / count as f32;
        }
    });
}

fn map_rows(classes: usize, x: &mut [f32], f: impl Fn(&mut [f32]) + Sync) {
    count_rows("x", x, classes);
    x.par_chunks_mut(row_chunk(classes)).for_each(|rows| rows.chunks_exact_mut(classes).for_each(&f));
}

fn map_pairs(classes: usize, y: &[f32], dy: &mut [f32], f: impl Fn(&[f32], &mut [f32]) + Sync) {
    count_rows("y", y, classes);
    check_len("dy", dy, y.len());
    zip_chunks(y, dy, row_chunk(classes), |y, dy| {
        y.chunks_exact(classes).zip(dy.chunks_exact_mut(classes)).for_each(|(y, dy)| f(y, dy));
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, numeric_gradient, uniform};

    fn log_softmax_f64(x: &[f64]) -> Vec<f64> {
        let sum: f64 = x.iter().map(|x| x.exp()).sum();
        x.iter().map(|x| x - sum.ln()).collect()
    }

    /// The largest values one after the other, each found by a search of the row.
    fn sparsemax_f64(x: &[f64]) -> Vec<f64> {
        let (mut rest, mut sum, mut sums, mut k) = (x.to_vec(), 0.0, 0.0, 0.0);
        while !rest.is_empty() {
            let largest = rest.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            rest.swap_remove(rest.iter().position(|x| *x == largest).unwrap());
            sum += largest;
            if largest > (sum - 1.0) / (x.len() - rest.len()) as f64 {
                (sums, k) = (sums + sum, k + 1.0);
            }
        }
        x.iter().map(|x| (x - (sums - 1.0) / k).max(0.0)).collect()
    }

    #[track_caller]
    fn check(
        value: fn(usize, &mut [f32]),
        gradient: fn(usize, &[f32], &mut [f32]),
        expected: fn(&[f64]) -> Vec<f64>,
        from_output: bool,
    ) {
        // 7000 rows of 7 values don't fill a chunk evenly.
        let x = uniform(7 * 7000, 1);
        let mut y = x.clone();
        value(7, &mut y);
        let rows = x.chunks_exact(7).flat_map(|row| expected(&row.iter().map(|&x| f64::from(x)).collect::<Vec<_>>()));
        assert_close(&y, &rows.map(|y| y as f32).collect::<Vec<_>>(), 1e-6);
        let (x, upstream) = (&x[..7], uniform(7, 2));
        let score = |x: &[f64]| expected(x).iter().zip(&upstream).map(|(y, dy)| y * f64::from(*dy)).sum();
        let mut dy = upstream.clone();
        gradient(7, if from_output { &y[..7] } else { x }, &mut dy);
        assert_close(&dy, &numeric_gradient(x, score), 1e-6);
    }

    #[test]
    fn values_and_gradients_are_those_of_the_definitions() {
        check(log_softmax, log_softmax_gradient, log_softmax_f64, true);
        check(sparsemax, sparsemax_gradient, sparsemax_f64, false);
    }

    #[test]
    fn far_from_zero_nothing_overflows() {
        let mut x = [1000.0, 0.0, -1000.0];
        log_softmax(3, &mut x);
        assert_eq!(x, [0.0, -1000.0, -2000.0]);
        let mut x = [f32::NAN, 0.0];
        sparsemax(2, &mut x);
        assert!(x[0].is_nan());
    }
}
