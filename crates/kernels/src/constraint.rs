//! Norms of groups of a weight's values, for constraints on weights.

/// Keras' `backend.epsilon()`, which keeps quotients by a norm finite.
const EPSILON: f64 = 1e-7;

/// Scales the values of a weight in place, so that each norm along `axes` becomes `to(norm)`.
///
/// The values of a group differ in their positions along `axes` alone. As in Keras, the factor of a group is
/// `to(norm) / (norm + 1e-7)`. Sums are f64, in the order of the values.
///
/// ```
/// // Two columns with the norms 5 and 1, of which only the first is too long.
/// let mut values = [3.0, 1.0, 4.0, 0.0];
/// engraft_kernels::rescale_norms(&mut values, &[2, 2], &[0], |norm| norm.min(2.5));
/// let expected = [1.5, 1.0, 2.0, 0.0];
/// assert!(values.iter().zip(expected).all(|(value, expected)| (value - expected).abs() < 1e-6));
/// ```
///
/// # Panics
/// The number of values is not that of the shape.
pub fn rescale_norms(values: &mut [f32], shape: &[usize], axes: &[usize], to: impl Fn(f64) -> f64) {
    assert_eq!(values.len(), shape.iter().product(), "one value for each position");
    let mut groups = 1;
    let mut strides = vec![0; shape.len()];
    for axis in (0..shape.len()).rev().filter(|axis| !axes.contains(axis)) {
        strides[axis] = groups;
        groups *= shape[axis];
    }
    let mut squares = vec![0.0; groups];
    visit_groups(shape, &strides, |position, group| squares[group] += f64::from(values[position]).powi(2));
    let factors: Vec<f64> = squares
        .into_iter()
        .map(|square: f64| {
            let norm = square.sqrt();
            to(norm) / (norm + EPSILON)
        })
        .collect();
    visit_groups(shape, &strides, |position, group| {
        values[position] = (f64::from(values[position]) * factors[group]) as f32;
    });
}

/// Calls `visit` with each position and its group. `strides` has, for each axis, the distance of neighbours in the groups.
fn visit_groups(shape: &[usize], strides: &[usize], mut visit: impl FnMut(usize, usize)) {
    let (mut index, mut group) = (vec![0; shape.len()], 0);
    for position in 0..shape.iter().product() {
        visit(position, group);
        for axis in (0..shape.len()).rev() {
            index[axis] += 1;
            group += strides[axis];
            if index[axis] < shape[axis] {
                break;
            }
            group -= strides[axis] * shape[axis];
            index[axis] = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_along_any_axes() {
        let shape = [2, 3, 4];
        for axes in [vec![], vec![0], vec![1], vec![2], vec![0, 2], vec![0, 1], vec![2, 1, 0]] {
            let mut values: Vec<f32> = (0..24).map(|i| (i as f32 * 0.7).sin() + 0.1).collect();
            rescale_norms(&mut values, &shape, &axes, |_| 1.0);
            let key = |i: usize| {
                [i / 12, i / 4 % 3, i % 4]
                    .into_iter()
                    .enumerate()
                    .map(|(axis, at)| if axes.contains(&axis) { 0 } else { at })
            };
            for first in 0..24 {
                let group = (0..24).filter(|&other| key(other).eq(key(first)));
                let norm = group.map(|i| f64::from(values[i]).powi(2)).sum::<f64>().sqrt();
                assert!((norm - 1.0).abs() < 1e-5, "{axes:?} {first}: {norm}");
            }
        }
    }
}
