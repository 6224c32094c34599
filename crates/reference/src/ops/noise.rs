//! Random noise that scales and shifts values.

use engraft_ir::Noise;
use engraft_ir::random::{finalize, mix};

use super::Call;
use crate::array::{Array, positions_of};

/// `x * scale + shift` for each value of `x`.
pub(super) fn forward(call: &Call<'_>, noise: Noise, shape: &[usize], across_samples: bool, seed: u64) -> Array {
    let mut y = call.x[0].clone();
    for at in positions_of(call.x[0].shape()) {
        let (scale, shift) = drawn(call, noise, shape, across_samples, seed, &at);
        y[at.as_slice()] = y[at.as_slice()] * scale + shift;
    }
    y
}

/// `dy * scale` for each value of `dy`.
pub(super) fn backward(
    call: &Call<'_>,
    noise: Noise,
    shape: &[usize],
    across_samples: bool,
    seed: u64,
    dy: &Array,
) -> Array {
    let mut dx = dy.clone();
    for at in positions_of(dy.shape()) {
        dx[at.as_slice()] *= drawn(call, noise, shape, across_samples, seed, &at).0;
    }
    dx
}

/// Scale and shift of the value at a position, whose first number is the sample.
fn drawn(call: &Call<'_>, noise: Noise, shape: &[usize], across_samples: bool, seed: u64, at: &[usize]) -> (f64, f64) {
    let key = match across_samples {
        true => mix(mix(seed, call.rng_key.iteration), u64::MAX),
        false => call.rng_key.seed(seed, at[0]),
    };
    let index = at[1..].iter().zip(shape).fold(0, |index, (&at, &size)| index * size + if size == 1 { 0 } else { at });
    let (scale, shift) = noise.at(finalize(key), index as u64);
    (scale.into(), shift.into())
}

#[cfg(test)]
mod tests {
    use engraft_ir::Op;

    use super::*;
    use crate::testing::check_gradients;

    #[test]
    fn gradients() {
        for noise in [
            Noise::Dropout { rate: 0.4 },
            Noise::AlphaDropout { rate: 0.4 },
            Noise::GaussianDropout { stddev: 0.5 },
            Noise::GaussianNoise { stddev: 0.5 },
        ] {
            for (shape, across_samples) in [(vec![3, 4, 2], false), (vec![1, 1, 2], false), (vec![3, 1, 2], true)] {
                let op = Op::Noise { noise, shape, across_samples, seed: 5 };
                check_gradients(&op, &[&[2, 3, 4, 2]], &[], &[2, 3, 4, 2]);
            }
        }
    }
}
