//! Elementwise operations: `Add`, `Multiply` with broadcasting, `ScaleShift` per channel, and `Dropout`.

use engraft_ir::random::{finalize, uniform_at};

use super::{Call, OpGradients};
use crate::array::{Array, positions_of};

pub(super) fn add(call: &Call<'_>) -> Array {
    let mut sum = call.x[0].clone();
    call.x[1..].iter().for_each(|x| sum.add(x));
    sum
}

pub(super) fn add_backward(call: &Call<'_>, dy: &Array) -> OpGradients {
    OpGradients { inputs: vec![dy.clone(); call.x.len()], weights: Vec::new() }
}

pub(super) fn multiply(call: &Call<'_>) -> Array {
    let (a, b) = (call.x[0], call.x[1]);
    let mut y = a.clone();
    positions_of(a.shape()).for_each(|at| y[at.as_slice()] *= b[broadcast_position(&at, b).as_slice()]);
    y
}

pub(super) fn multiply_backward(call: &Call<'_>, dy: &Array) -> OpGradients {
    let (a, b) = (call.x[0], call.x[1]);
    let [mut da, mut db] = [a, b].map(|factor| Array::zeros(factor.shape()));
    for at in positions_of(a.shape()) {
        let (at, b_at) = (at.as_slice(), broadcast_position(&at, b));
        da[at] = dy[at] * b[b_at.as_slice()];
        db[b_at.as_slice()] += dy[at] * a[at];
    }
    OpGradients { inputs: vec![da, db], weights: Vec::new() }
}

/// The position of the element of `b` that multiplies the element `at` of the first factor. `b` is broadcast along its axes of
/// size 1.
fn broadcast_position(at: &[usize], b: &Array) -> Vec<usize> {
    at.iter().zip(b.shape()).map(|(&at, &size)| if size == 1 { 0 } else { at }).collect()
}

pub(super) fn scale_shift(call: &Call<'_>, scale: &[f32], shift: &[f32]) -> Array {
    by_channel(call.x[0], |x, channel| x * f64::from(scale[channel]) + f64::from(shift[channel]))
}

pub(super) fn scale_shift_backward(scale: &[f32], dy: &Array) -> Array {
    by_channel(dy, |dy, channel| dy * f64::from(scale[channel]))
}

/// Applies `function` to each value and the index of its channel, which is its index along the last axis.
fn by_channel(x: &Array, function: impl Fn(f64, usize) -> f64) -> Array {
    let channels = x.shape().last().copied().unwrap_or(1);
    let mut y = x.clone();
    y.data_mut().iter_mut().enumerate().for_each(|(i, value)| *value = function(*value, i % channels));
    y
}

/// Inverted dropout: sets random values of `x` to 0, and scales the others by `1 / (1 - rate)` to preserve the mean.
///
/// The positions depend on seeds alone, so the backward pass applies it to the gradient with respect to the output.
pub(super) fn dropout(call: &Call<'_>, rate: f32, layer_seed: u64, x: &Array) -> Array {
    let scale = 1.0 / (1.0 - f64::from(rate));
    let size: usize = x.shape()[1..].iter().product();
    let mut y = x.clone();
    for (sample, values) in y.data_mut().chunks_mut(size.max(1)).enumerate() {
        let key = finalize(call.rng_key.seed(layer_seed, sample));
        for (index, value) in values.iter_mut().enumerate() {
            *value = if uniform_at(key, index as u64) < rate { 0.0 } else { *value * scale };
        }
    }
    y
}

#[cfg(test)]
mod tests {
    use engraft_ir::Op;

    use super::super::RngKey;
    use super::*;
    use crate::testing::check_gradients;

    #[test]
    fn gradients() {
        check_gradients(&Op::Add, &[&[2, 3], &[2, 3], &[2, 3]], &[], &[2, 3]);
        check_gradients(&Op::Multiply, &[&[2, 3, 2], &[2, 3, 2]], &[], &[2, 3, 2]);
        check_gradients(&Op::Multiply, &[&[2, 3, 2, 4], &[2, 1, 1, 4]], &[], &[2, 3, 2, 4]);
        let op = Op::ScaleShift { scale: vec![0.5, -2.0], shift: vec![1.0, 3.0] };
        check_gradients(&op, &[&[2, 3, 2]], &[], &[2, 3, 2]);
        check_gradients(&Op::Dropout { rate: 0.4, seed: 5 }, &[&[3, 20]], &[], &[3, 20]);
    }

    fn dropped(rate: f32, rng_key: RngKey, samples: usize) -> Vec<f64> {
        let x = Array::new([samples, 10_000], vec![1.0; samples * 10_000]);
        let op = Op::Dropout { rate, seed: 9 };
        let call = Call { op: &op, x: vec![&x], weights: vec![], output: vec![], rng_key, statistics: None };
        dropout(&call, rate, 9, &x).data().to_vec()
    }

    #[test]
    fn the_expected_share_is_dropped_and_the_mean_stays() {
        for rate in [0.1, 0.5, 0.9] {
            let y = dropped(rate, RngKey::default(), 10);
            let share = y.iter().filter(|&&y| y == 0.0).count() as f32 / 1e5;
            // The tolerance is five standard deviations, of at most 0.0016.
            assert!((share - rate).abs() < 0.008, "rate {rate}: dropped {share}");
            assert!(y.iter().all(|&y| y == 0.0 || y == 1.0 / (1.0 - f64::from(rate))));
        }
        assert!(dropped(1.0, RngKey::default(), 1).iter().all(|&y| y == 0.0));
    }

    #[test]
    fn a_sample_draws_by_its_place_in_the_global_batch() {
        let key = |iteration, first_sample| RngKey { iteration, first_sample };
        let full_batch = dropped(0.5, key(3, 0), 2);
        assert_eq!(full_batch[10_000..], dropped(0.5, key(3, 1), 1));
        assert_ne!(full_batch[..10_000], dropped(0.5, key(4, 0), 1));
    }
}
