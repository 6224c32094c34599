//! Axes of an array in another order.

use super::{offsets, row_major};

/// The values of an array of `shape`, its axes reordered: axis `i` of the result is axis `order[i]`.
///
/// The size of the result is that of `values`, which must fill `shape`.
///
/// ```
/// use engraft_nn::strided::transpose;
/// assert_eq!(transpose(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0], &[2, 3], &[1, 0]), [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
/// ```
///
/// # Panics
/// Where `order` isn't one of the axes of `shape`, or `values` don't fill it.
pub fn transpose(values: &[f32], shape: &[usize], order: &[usize]) -> Vec<f32> {
    if values.is_empty() {
        // The other sizes may be any, and their product too large for a number.
        return Vec::new();
    }
    let strides = row_major(shape);
    let (sizes, strides): (Vec<usize>, Vec<isize>) = order.iter().map(|&axis| (shape[axis], strides[axis])).unzip();
    offsets(&sizes, &strides, 0).map(|offset| values[offset]).collect()
}

/// The order that undoes another.
///
/// ```
/// use engraft_nn::strided::inverse;
/// assert_eq!(inverse(&[2, 0, 1]), [1, 2, 0]);
/// ```
///
/// # Panics
/// Where `order` names an axis that it doesn't have.
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
