//! A small model and its data, for tests of `fit`.

use engraft_data::Arrays;
use engraft_nn::prelude::*;

/// A layer with a fixed seed, so that every model made here starts from the same weights, whatever thread makes it.
pub(crate) fn dense(units: usize, seed: u64) -> Dense {
    Dense::new(units).kernel_initializer(Initializer::RandomNormal { mean: 0.0, stddev: 0.5, seed: Some(seed) })
}

/// Samples `first..first + count` of 16, each of 3 numbers in one of two classes.
pub(crate) fn data(first: usize, count: usize) -> Arrays {
    let x = (3 * first..3 * (first + count)).map(|i| (i * 7 % 13) as f32 / 13.0 - 0.5).collect();
    let y = (first..first + count).flat_map(|i| if i % 3 == 0 { [1.0, 0.0] } else { [0.0, 1.0] }).collect();
    Arrays::new(Tensor::new([count, 3], x).unwrap(), Tensor::new([count, 2], y).unwrap()).unwrap()
}

/// The values of all weights.
pub(crate) fn weights(model: &Model) -> Vec<f32> {
    model.weights().iter().flat_map(|weight| weight.values().clone()).collect()
}
