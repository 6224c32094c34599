//! Transposition: the axes of an array in another order.

use super::{offsets, row_major};

/// Transposes an array of `shape`: axis `i` of the result is axis `order[i]` of `values`.
///
/// `order` must be a permutation of the axes, and `values` must have as many values as `shape`.
///
/// ```
/// use engraft_nn::strided::transpose;
/// assert_eq!(transpose(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0], &[2, 3], &[1, 0]), [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
/// ```
///
/// # Panics
/// If `order` contains an axis that `shape` doesn't have, or `values` has too few values.
pub fn transpose(values: &[f32], shape: &[usize], order: &[usize]) -> Vec<f32> {
    if values.is_empty() {
        // One size is 0: the product of the others may overflow, so no strides are computed.
        return Vec::new();
    }
    let strides = row_major(shape);
    let (sizes, strides): (Vec<usize>, Vec<isize>) = order.iter().map(|&axis| (shape[axis], strides[axis])).unzip();
    offsets(&sizes, &strides, 0).map(|offset| values[offset]).collect()
}

/// The inverse of a permutation: transposing by `order` and then by its inverse restores an array.
///
/// ```
/// use engraft_nn::strided::inverse;
/// assert_eq!(inverse(&[2, 0, 1]), [1, 2, 0]);
/// ```
///
/// # Panics
/// If a number in `order` is not below its length.
pub fn inverse(order: &[usize]) -> Vec<usize> {
    let mut inverse = vec![0; order.len()];
    order.iter().enumerate().for_each(|(to, &from)| inverse[from] = to);
    inverse
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_value_goes_to_its_place() {
        let (shape, order) = ([2, 3, 4], [2, 0, 1]);
        let values: Vec<f32> = (0..24).map(|value| value as f32).collect();
        let moved = transpose(&values, &shape, &order);
        for (a, b, c) in (0..2).flat_map(|a| (0..3).flat_map(move |b| (0..4).map(move |c| (a, b, c)))) {
            assert_eq!(moved[(c * 2 + a) * 3 + b], values[(a * 3 + b) * 4 + c]);
        }
        assert_eq!(transpose(&moved, &[4, 2, 3], &inverse(&order)), values);
        assert_eq!(transpose(&[5.0], &[], &[]), [5.0]);
        assert!(transpose(&[], &[0, 3], &[1, 0]).is_empty());
    }
}
