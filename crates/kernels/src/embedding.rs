//! Rows of a table by index, and the gradient with respect to the table.

use crate::chunks::{check_len, count_rows};

/// Forward pass: `y[i]` is the row `indices[i]` of a table with rows of `width` values.
///
/// Indices are truncated to integers and clamped to the table; NaN is index 0.
///
/// ```
/// let mut y = [0.0; 4];
/// engraft_kernels::embedding(2, &[1.0, 7.0], &[1.0, 2.0, 3.0, 4.0], &mut y);
/// assert_eq!(y, [3.0, 4.0, 3.0, 4.0]);
/// ```
///
/// # Panics
/// If the table is empty, or a slice has another length than its shape.
pub fn embedding(width: usize, indices: &[f32], table: &[f32], y: &mut [f32]) {
    let rows = count_rows("table", table, width);
    check_len("output", y, indices.len() * width);
    for (&index, y) in indices.iter().zip(y.chunks_exact_mut(width)) {
        y.copy_from_slice(&table[row(index, rows) * width..][..width]);
    }
}

/// Overwrites `d_table` with the gradient with respect to the table: each row is the sum of `dy` where the row was read.
///
/// ```
/// let mut d_table = [0.0; 2];
/// engraft_kernels::embedding_gradient(1, &[1.0, 1.0], &[3.0, 4.0], &mut d_table);
/// assert_eq!(d_table, [0.0, 7.0]);
/// ```
///
/// # Panics
/// If the table is empty, or a slice has another length than its shape.
pub fn embedding_gradient(width: usize, indices: &[f32], dy: &[f32], d_table: &mut [f32]) {
    let rows = count_rows("table", d_table, width);
    check_len("output gradient", dy, indices.len() * width);
    d_table.fill(0.0);
    for (&index, dy) in indices.iter().zip(dy.chunks_exact(width)) {
        d_table[row(index, rows) * width..][..width].iter_mut().zip(dy).for_each(|(sum, dy)| *sum += dy);
    }
}

/// The row of a table with `rows` rows.
fn row(index: f32, rows: usize) -> usize {
    // The conversion saturates: negative numbers and NaN become 0.
    (index as usize).min(rows - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indices_beyond_the_table_are_clamped() {
        let table = [0.0, 1.0, 2.0];
        let mut y = [f32::NAN; 5];
        embedding(1, &[-1.0, 1.9, 3.0, f32::NAN, f32::INFINITY], &table, &mut y);
        assert_eq!(y, [0.0, 1.0, 2.0, 0.0, 2.0]);
    }
}
