//! Activations of whole rows (the last axis) besides softmax: its logarithm, and sparsemax as Keras defines it.

use super::softmax::softmax;
use crate::array::Array;

fn width(x: &Array) -> usize {
    x.shape().last().copied().unwrap_or(1).max(1)
}

/// Computes `x - ln(sum(exp(x)))` of each row.
pub(super) fn log_softmax(x: &Array) -> Array {
    let mut y = x.clone();
    let width = width(x);
    for row in y.data_mut().chunks_mut(width) {
        let greatest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = row.iter().map(|x| (x - greatest).exp()).sum();
        row.iter_mut().for_each(|x| *x = *x - greatest - sum.ln());
    }
    y
}

/// Computes the gradient with respect to `x`, `dy - softmax(x) * sum(dy)` of each row.
pub(super) fn log_softmax_backward(x: &Array, dy: &Array) -> Array {
    let (probabilities, mut dx) = (softmax(x), dy.clone());
    let width = width(x);
    for (dx, probabilities) in dx.data_mut().chunks_mut(width).zip(probabilities.data().chunks(width)) {
        let sum: f64 = dx.iter().sum();
        dx.iter_mut().zip(probabilities).for_each(|(dx, p)| *dx -= p * sum);
    }
    dx
}

/// The slope of the threshold with respect to each value, and the threshold of a row.
///
/// The threshold is `(c_1 + … + c_k - 1) / k`, where `c_i` is the sum of the `i` largest values, and `k` counts the values that
/// exceed `(c_i - 1) / i`.
fn threshold(row: &[f64]) -> (Vec<f64>, f64) {
    let mut order: Vec<usize> = (0..row.len()).collect();
    order.sort_by(|&a, &b| row[b].total_cmp(&row[a]));
    let sum_of_largest = |count: usize| order[..count].iter().map(|&at| row[at]).sum::<f64>();
    let exceeds = |rank: &usize| row[order[*rank]] > (sum_of_largest(rank + 1) - 1.0) / (rank + 1) as f64;
    let k = (0..row.len()).filter(exceeds).count();
    let mut slopes = vec![0.0; row.len()];
    (0..k).for_each(|rank| slopes[order[rank]] = (k - rank) as f64 / k as f64);
    let sums: f64 = (1..=k).map(sum_of_largest).sum();
    (slopes, (sums - 1.0) / k as f64)
}

/// Computes `max(x - threshold, 0)` of each row.
pub(super) fn sparsemax(x: &Array) -> Array {
    let mut y = x.clone();
    let width = width(x);
    for row in y.data_mut().chunks_mut(width) {
        let (_, threshold) = threshold(row);
        row.iter_mut().for_each(|x| *x = (*x - threshold).max(0.0));
    }
    y
}

/// Computes the gradient with respect to `x`, directly and through the threshold.
pub(super) fn sparsemax_backward(x: &Array, dy: &Array) -> Array {
    let mut dx = dy.clone();
    let width = width(x);
    for (dx, x) in dx.data_mut().chunks_mut(width).zip(x.data().chunks(width)) {
        let (slopes, threshold) = threshold(x);
        dx.iter_mut().zip(x).for_each(|(dx, x)| *dx = if *x >= threshold { *dx } else { 0.0 });
        let sum: f64 = dx.iter().sum();
        dx.iter_mut().zip(slopes).for_each(|(dx, slope)| *dx -= slope * sum);
    }
    dx
}

#[cfg(test)]
mod tests {
    use engraft_ir::Op;

    use super::*;
    use crate::testing::check_gradients;

    #[test]
    fn gradients_go_through_sum_and_threshold() {
        check_gradients(&Op::LogSoftmax, &[&[2, 3, 4]], &[], &[2, 3, 4]);
        check_gradients(&Op::Sparsemax, &[&[2, 3, 4]], &[], &[2, 3, 4]);
    }

    #[test]
    fn known_values() {
        // Keras 3.15: two values exceed their thresholds, so the threshold is (2 + 3.5 - 1) / 2.
        assert_eq!(sparsemax(&Array::new([1, 3], vec![2.0, 1.5, -1.0])).data(), [0.0; 3]);
        assert_eq!(sparsemax(&Array::new([1, 3], vec![3.0, 1.5, -1.0])).data(), [1.0, 0.0, 0.0]);
        assert_eq!(log_softmax(&Array::new([1, 2], vec![1e3, 0.0])).data(), [0.0, -1e3]);
    }
}
