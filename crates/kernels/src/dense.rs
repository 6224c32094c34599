//! Dense layers, `y = activation(x w + bias)`, and their gradients. All are matrix products.

use std::ops::Range;

use crate::Activation;
use crate::chunks::{check_len, column_sums, count_rows};
use crate::gemm::{Matrix, apply_epilogue, gemm, gemm_then, gemm_tile};
use crate::output_tiles::Tile;

/// Forward pass of a Dense layer: `y = activation(x w + bias)`.
///
/// Shapes: `x` `[batch, inputs]`, `w` `[inputs, units]`, `bias` `[units]`, `y` `[batch, units]`.
///
/// ```
/// use engraft_kernels::{Activation, dense};
/// let mut y = [0.0; 2];
/// dense(1, 2, 2, &[1.0, 2.0], &[3.0, -4.0, 5.0, 0.0], Some(&[0.5, 0.5]), Activation::Relu, &mut y);
/// assert_eq!(y, [13.5, 0.0]);
/// ```
#[expect(clippy::too_many_arguments, reason = "the parameters of the layer")]
pub fn dense(
    batch: usize,
    inputs: usize,
    units: usize,
    x: &[f32],
    w: &[f32],
    bias: Option<&[f32]>,
    activation: Activation,
    y: &mut [f32],
) {
    check_dense(batch, inputs, units, x, w, y);
    if let Some(bias) = bias {
        check_len("bias", bias, units);
    }
    let (a, b) = (Matrix::row_major(x, inputs), Matrix::row_major(w, units));
    gemm_then(batch, inputs, units, a, b, false, y, |tile| apply_epilogue(bias, activation, tile));
}

/// Gradient of [`dense`] with respect to the input: `dx = dy wᵀ`, `[batch, inputs]`.
///
/// `dy` is the gradient with respect to the output before bias and activation.
///
/// ```
/// let (w, mut dx) = ([3.0, -4.0, 5.0, 0.0], [0.0; 2]);
/// engraft_kernels::dense_input_gradient(1, 2, 2, &[1.0, 10.0], &w, &mut dx);
/// assert_eq!(dx, [-37.0, 5.0]);
/// ```
pub fn dense_input_gradient(batch: usize, inputs: usize, units: usize, dy: &[f32], w: &[f32], dx: &mut [f32]) {
    check_dense(batch, inputs, units, dx, w, dy);
    gemm(batch, units, inputs, Matrix::row_major(dy, units), Matrix::transposed(w, units), false, dx);
}

/// Gradient of [`dense`] with respect to the kernel: `dw = xᵀ dy`, `[inputs, units]`.
///
/// ```
/// let mut dw = [0.0; 4];
/// engraft_kernels::dense_kernel_gradient(1, 2, 2, &[1.0, 2.0], &[1.0, 10.0], &mut dw);
/// assert_eq!(dw, [1.0, 10.0, 2.0, 20.0]);
/// ```
pub fn dense_kernel_gradient(batch: usize, inputs: usize, units: usize, x: &[f32], dy: &[f32], dw: &mut [f32]) {
    check_dense(batch, inputs, units, x, dw, dy);
    gemm(inputs, batch, units, Matrix::transposed(x, inputs), Matrix::row_major(dy, units), false, dw);
}

/// Some rows of [`dense_kernel_gradient`], `[rows.len(), units]`, computed on the calling thread.
///
/// A caller can use a few rows while they are in the cache, so that the whole gradient never exists in memory.
///
/// ```
/// let mut second = [0.0; 2];
/// engraft_kernels::dense_kernel_gradient_rows(1, 2, 2, &[1.0, 2.0], &[1.0, 10.0], 1..2, &mut second);
/// assert_eq!(second, [2.0, 20.0]);
/// ```
pub fn dense_kernel_gradient_rows(
    batch: usize,
    inputs: usize,
    units: usize,
    x: &[f32],
    dy: &[f32],
    rows: Range<usize>,
    dw_rows: &mut [f32],
) {
    check_len("x", x, batch * inputs);
    check_len("dy", dy, batch * units);
    assert!(rows.start <= rows.end && rows.end <= inputs, "rows {rows:?} lie outside the kernel's {inputs}");
    let a = Matrix::transposed(x, inputs).skip(rows.start, 0);
    gemm_tile(batch, a, Matrix::row_major(dy, units), false, &mut Tile::covering(rows.len(), units, dw_rows));
}

/// Gradient with respect to a bias: `db[c]` is the sum of `dy[row, c]` over all rows.
///
/// ```
/// let mut db = [0.0; 2];
/// engraft_kernels::bias_gradient(2, &[1.0, 2.0, 3.0, 4.0], &mut db);
/// assert_eq!(db, [4.0, 6.0]);
/// ```
pub fn bias_gradient(channels: usize, dy: &[f32], db: &mut [f32]) {
    let rows = count_rows("dy", dy, channels);
    check_len("db", db, channels);
    let sums = column_sums(channels, rows, 1, |row, sums| {
        sums.iter_mut().zip(&dy[row * channels..][..channels]).for_each(|(sum, dy)| *sum += dy);
    });
    db.iter_mut().zip(sums).for_each(|(db, sum)| *db = sum as f32);
}

fn check_dense(batch: usize, inputs: usize, units: usize, x: &[f32], w: &[f32], y: &[f32]) {
    check_len("input", x, batch * inputs);
    check_len("kernel", w, inputs * units);
    check_len("output", y, batch * units);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference;
    use crate::testing::{assert_same_for_any_threads, integers, to_f32, uniform};

    const SIZES: [[usize; 3]; 4] = [[1, 1, 1], [3, 70, 5], [65, 20, 257], [130, 513, 9]];

    #[test]
    fn forward_adds_the_bias_and_applies_the_activation() {
        for [batch, inputs, units] in SIZES {
            let (x, w, bias) = (integers(batch * inputs, 1), integers(inputs * units, 2), integers(units, 3));
            let mut expected = to_f32(&reference::gemm(
                batch,
                inputs,
                units,
                Matrix::row_major(&x, inputs),
                Matrix::row_major(&w, units),
            ));
            expected.iter_mut().enumerate().for_each(|(i, y)| *y = (*y + bias[i % units]).max(0.0));
            let mut y = vec![f32::NAN; batch * units];
            dense(batch, inputs, units, &x, &w, Some(&bias), Activation::Relu, &mut y);
            assert_eq!(y, expected);
        }
    }

    #[test]
    fn gradients_are_products_with_transposes() {
        for [batch, inputs, units] in SIZES {
            let (x, w, dy) = (integers(batch * inputs, 1), integers(inputs * units, 2), integers(batch * units, 3));
            let (x_t, w_t) = (Matrix::transposed(&x, inputs), Matrix::transposed(&w, units));
            let dy_rows = Matrix::row_major(&dy, units);
            let mut dx = vec![f32::NAN; x.len()];
            dense_input_gradient(batch, inputs, units, &dy, &w, &mut dx);
            assert_eq!(dx, to_f32(&reference::gemm(batch, units, inputs, dy_rows, w_t)));
            let mut dw = vec![f32::NAN; w.len()];
            dense_kernel_gradient(batch, inputs, units, &x, &dy, &mut dw);
            assert_eq!(dw, to_f32(&reference::gemm(inputs, batch, units, x_t, dy_rows)));
        }
    }

    #[test]
    fn rows_of_the_kernel_gradient_have_the_bits_of_the_whole() {
        let [batch, inputs, units] = [5, 300, 33];
        let (x, dy) = (uniform(batch * inputs, 1), uniform(batch * units, 2));
        let (mut whole, mut parts) = (vec![0.0; inputs * units], vec![0.0; inputs * units]);
        dense_kernel_gradient(batch, inputs, units, &x, &dy, &mut whole);
        for (part, rows) in parts.chunks_mut(7 * units).enumerate() {
            let start = part * 7;
            let rows_here = start..start + rows.len() / units;
            dense_kernel_gradient_rows(batch, inputs, units, &x, &dy, rows_here, rows);
        }
        assert_eq!(parts, whole);
    }

    #[test]
    fn bias_gradient_sums_columns() {
        for (rows, channels) in [(0, 3), (1, 1), (5000, 7), (3, 20_000)] {
            let dy = integers(rows * channels, 1);
            let mut db = vec![f32::NAN; channels];
            bias_gradient(channels, &dy, &mut db);
            let sum = |c: usize| (0..rows).map(|row| dy[row * channels + c]).sum::<f32>();
            assert_eq!(db, (0..channels).map(sum).collect::<Vec<_>>());
        }
    }

    #[test]
    fn an_empty_batch_gives_zero_gradients() {
        let mut dw = [f32::NAN; 6];
        dense(0, 2, 3, &[], &[1.0; 6], None, Activation::Linear, &mut []);
        dense_kernel_gradient(0, 2, 3, &[], &[], &mut dw);
        assert_eq!(dw, [0.0; 6]);
    }

    #[test]
    fn bias_gradient_has_the_same_bits_for_any_number_of_threads() {
        let dy = uniform(100_000 * 3, 1);
        assert_same_for_any_threads(|| {
            let mut db = vec![0.0; 3];
            bias_gradient(3, &dy, &mut db);
            db
        });
    }
}
