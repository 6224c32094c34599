//! Axes of an array in another order.

/// The values of an array of `shape`, its axes reordered: axis `i` of the result is axis `order[i]`.
///
/// The size of the result is that of `values`, which must fill `shape`.
pub(crate) fn transpose(values: &[f32], shape: &[usize], order: &[usize]) -> Vec<f32> {
    let mut strides = vec![1; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis];
    }
    let (sizes, strides): (Vec<usize>, Vec<usize>) = order.iter().map(|&axis| (shape[axis], strides[axis])).unzip();
    let mut result = Vec::with_capacity(values.len());
    let mut index = vec![0; sizes.len()];
    let mut from = 0;
    while result.len() < values.len() {
        result.push(values[from]);
        // Counts up like a clock, the last axis fastest.
        for axis in (0..sizes.len()).rev() {
            index[axis] += 1;
            from += strides[axis];
            if index[axis] < sizes[axis] {
                break;
            }
            from -= strides[axis] * sizes[axis];
            index[axis] = 0;
        }
    }
    result
}

/// The order that undoes another.
pub(crate) fn inverse(order: &[usize]) -> Vec<usize> {
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
