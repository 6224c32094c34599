//! Softmax over the last axis.

use rayon::prelude::*;

use crate::chunks::{check_len, count_rows, row_chunk, zip_chunks};

/// Softmax of each row of `classes` values, in place (`keras.activations.softmax`, last axis).
pub fn softmax(classes: usize, x: &mut [f32]) {
    count_rows("x", x, classes);
    x.par_chunks_mut(row_chunk(classes)).for_each(|rows| rows.chunks_exact_mut(classes).for_each(softmax_row));
}

/// From each row's softmax `y` and the gradient `dy` with respect to it, the gradient with respect to its input, in place of
/// `dy`: `dx = y * (dy - sum(y * dy))`.
pub fn softmax_gradient(classes: usize, y: &[f32], dy: &mut [f32]) {
    count_rows("y", y, classes);
    check_len("dy", dy, y.len());
    zip_chunks(y, dy, row_chunk(classes), |y, dy| {
        for (y, dy) in y.chunks_exact(classes).zip(dy.chunks_exact_mut(classes)) {
            let dot: f32 = y.iter().zip(&*dy).map(|(y, dy)| y * dy).sum();
            dy.iter_mut().zip(y).for_each(|(dy, y)| *dy = y * (*dy - dot));
        }
    });
}

fn softmax_row(row: &mut [f32]) {
    let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    row.iter_mut().for_each(|x| *x = (*x - max).exp());
    let sum: f32 = row.iter().sum();
    row.iter_mut().for_each(|x| *x /= sum);
}
