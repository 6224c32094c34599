//! Softmax along the last axis.

use crate::array::Array;

/// Computes `exp(x) / sum(exp(x))` of each row. The row's maximum is subtracted first, so that `exp` can't overflow.
pub(crate) fn softmax(x: &Array) -> Array {
    let mut y = x.clone();
    let width = x.shape().last().copied().unwrap_or(1).max(1);
    for row in y.data_mut().chunks_mut(width) {
        let greatest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = row.iter().map(|x| (x - greatest).exp()).sum();
        row.iter_mut().for_each(|x| *x = (*x - greatest).exp() / sum);
    }
    y
}

/// Computes the gradient with respect to `x`, `y * (dy - sum(y * dy))` of each row.
pub(super) fn backward(x: &Array, dy: &Array) -> Array {
    let y = softmax(x);
    let mut dx = dy.clone();
    let width = x.shape().last().copied().unwrap_or(1).max(1);
    for (dx, y) in dx.data_mut().chunks_mut(width).zip(y.data().chunks(width)) {
        let dot: f64 = dx.iter().zip(y).map(|(dy, y)| dy * y).sum();
        dx.iter_mut().zip(y).for_each(|(dx, y)| *dx = y * (*dx - dot));
    }
    dx
}

#[cfg(test)]
mod tests {
    use engraft_ir::Op;

    use super::*;
    use crate::testing::check_gradients;

    #[test]
    fn rows_sum_to_one_even_where_exp_would_overflow() {
        let x = Array::new([2, 3], vec![1000.0, 1000.0, 0.0, -1000.0, -1000.0, f64::NEG_INFINITY]);
        assert_eq!(softmax(&x).data(), [0.5, 0.5, 0.0, 0.5, 0.5, 0.0]);
    }

    #[test]
    fn gradients_go_through_the_sum() {
        check_gradients(&Op::Softmax, &[&[2, 3, 4]], &[], &[2, 3, 4]);
    }
}
