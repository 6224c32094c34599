//! Dense layers: `y = activation(x w + bias)`.

use std::ops::Range;

use crate::Activation;
use crate::chunks::{check_len, column_sums, count_rows};
use crate::gemm::{Matrix, finish_tile, gemm, gemm_then, gemm_tile};
use crate::tiles::Tile;

/// `x` `[batch, inputs]`, `w` `[inputs, units]`, `bias` `[units]` -> `y` `[batch, units]`.
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
    gemm_then(batch, inputs, units, a, b, false, y, |tile| finish_tile(bias, activation, tile));
}

/// `dx = dy wᵀ`: the gradient with respect to the input, `[batch, inputs]`.
pub fn dense_input_gradient(batch: usize, inputs: usize, units: usize, dy: &[f32], w: &[f32], dx: &mut [f32]) {
    check_dense(batch, inputs, units, dx, w, dy);
    gemm(batch, units, inputs, Matrix::row_major(dy, units), Matrix::transposed(w, units), false, dx);
}

/// `dw = xᵀ dy`: the gradient with respect to the kernel, `[inputs, units]`.
pub fn dense_kernel_gradient(batch: usize, inputs: usize, units: usize, x: &[f32], dy: &[f32], dw: &mut [f32]) {
    check_dense(batch, inputs, units, x, dw, dy);
    gemm(inputs, batch, units, Matrix::transposed(x, inputs), Matrix::row_major(dy, units), false, dw);
}

/// `rows` of [`dense_kernel_gradient`], `[rows.len(), units]`, on the calling thread.
///
/// Lets a caller use a part of the gradient while it is in cache, without ever holding all of it.
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
    gemm_tile(batch, a, Matrix::row_major(dy, units), false, &mut Tile::whole(rows.len(), units, dw_rows));
}

/// The gradient with respect to a bias: `db[c]` is the sum of `dy` over all rows of `channels` values.
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
