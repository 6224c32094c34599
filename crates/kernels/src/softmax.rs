//! Softmax over the last axis, and its gradient.

use rayon::prelude::*;

use crate::chunks::{check_len, count_rows, row_chunk, zip_chunks};

/// Softmax of each row of `classes` values, in place (`keras.activations.softmax`, last axis).
///
/// ```
/// use engraft_kernels::{softmax, softmax_gradient};
/// let mut y = [0.0, 0.0];
/// softmax(2, &mut y);
/// assert_eq!(y, [0.5, 0.5]);
///
/// let mut gradient = [1.0, 0.0];
/// softmax_gradient(2, &y, &mut gradient);
/// assert_eq!(gradient, [0.25, -0.25]);
/// ```
pub fn softmax(classes: usize, x: &mut [f32]) {
    count_rows("x", x, classes);
    x.par_chunks_mut(row_chunk(classes)).for_each(|rows| rows.chunks_exact_mut(classes).for_each(softmax_row));
}

/// The gradient of [`softmax`], in place: `dx = y * (dy - sum(y * dy))` for each row.
///
/// `dy` holds the gradient with respect to the output `y` on entry, and with respect to the input on return.
pub fn softmax_gradient(classes: usize, y: &[f32], dy: &mut [f32]) {
    count_rows("y", y, classes);
    check_len("dy", dy, y.len());
    zip_chunks(y, dy, row_chunk(classes), |y, dy| {
        for (y, dy) in y.chunks_exact(classes).zip(dy.chunks_exact_mut(classes)) {
            let dot = row_sum(y.iter().zip(&*dy).map(|(y, dy)| y * dy));
            dy.iter_mut().zip(y).for_each(|(dy, y)| *dy = y * (*dy - dot));
        }
    });
}

fn softmax_row(row: &mut [f32]) {
    let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    row.iter_mut().for_each(|x| *x = (*x - max).exp());
    let sum = row_sum(row.iter().copied());
    row.iter_mut().for_each(|x| *x /= sum);
}

/// The sum of a row, added in f64: gradients of attention cancel only as far as rows sum to 1, and their gradients to 0.
pub(crate) fn row_sum(values: impl Iterator<Item = f32>) -> f32 {
    values.map(f64::from).sum::<f64>() as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, numeric_gradient, uniform};

    fn softmax_f64(x: &[f64]) -> Vec<f64> {
        let sum: f64 = x.iter().map(|x| x.exp()).sum();
        x.iter().map(|x| x.exp() / sum).collect()
    }

    #[test]
    fn rows_sum_to_one_even_where_exp_would_overflow() {
        let mut x = [1000.0, 1000.0, 0.0, -1000.0, -1000.0, f32::NEG_INFINITY];
        softmax(3, &mut x);
        assert_eq!(x, [0.5, 0.5, 0.0, 0.5, 0.5, 0.0]);
    }

    #[test]
    fn agrees_with_f64_over_many_rows() {
        // Rows of 7 values don't fill a chunk evenly.
        let x = uniform(7 * 5000, 1);
        let expected: Vec<f32> = x
            .chunks_exact(7)
            .flat_map(|row| softmax_f64(&row.iter().map(|&x| f64::from(x)).collect::<Vec<_>>()))
            .map(|y| y as f32)
            .collect();
        let mut y = x.clone();
        softmax(7, &mut y);
        assert_close(&y, &expected, 3e-7); // a few roundings of values below 1
    }

    #[test]
    fn long_rows_sum_to_one_and_their_gradients_to_zero() {
        let (mut y, mut dy) = (uniform(100_000, 1), uniform(100_000, 2));
        softmax(100_000, &mut y);
        softmax_gradient(100_000, &y, &mut dy);
        let [sum, gradients] = [&y, &dy].map(|values| values.iter().copied().map(f64::from).sum::<f64>());
        assert!((sum - 1.0).abs() < 1e-7, "{sum}"); // the rounding of one sum; added in f32, rows are off by 1e-5
        assert!(gradients.abs() < 1e-8, "{gradients}");
    }

    #[test]
    fn gradient_agrees_with_differences() {
        let (x, weights) = (uniform(6, 1), uniform(6, 2));
        let expected =
            numeric_gradient(&x, |x| softmax_f64(x).iter().zip(&weights).map(|(y, w)| y * f64::from(*w)).sum());
        let (mut y, mut dy) = (x, weights.clone());
        softmax(6, &mut y);
        softmax_gradient(6, &y, &mut dy);
        assert_close(&dy, &expected, 3e-7); // a few roundings of values below 1
    }
}
