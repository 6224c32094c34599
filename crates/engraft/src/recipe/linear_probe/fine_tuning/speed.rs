//! The speed of training steps on this machine.

use std::time::Instant;

use super::checkpoints::Pretrained;
use super::cost::{BATCH, Cost};
use crate::prelude::*;
use crate::runtime::Runtime;
use crate::train::{StepOptions, Train};
use crate::{Model, Result, Tensor};

/// Steps that are measured, after one that plans them.
const STEPS: usize = 4;

/// Multiply-accumulates of training steps in a second. The weights of `upper` are the same afterwards.
pub(super) fn macs_per_second(upper: &Model, classes: usize, cost: &Cost, runtime: &Runtime) -> Result<f64> {
    let before: Vec<Pretrained> = upper.trainable_weights().into_iter().map(Pretrained::new).collect();
    upper.compile(Adam::new(1e-6), Loss::categorical_crossentropy(), [])?;
    let x = Tensor::zeros([&[BATCH], upper.input_shape().as_slice()].concat());
    let mut y = Tensor::zeros([BATCH, classes]);
    y.data_mut().chunks_mut(classes).for_each(|row| row[0] = 1.0);
    let step = || upper.train_on_batch_with(&x, &y, StepOptions::new().runtime(runtime)).map(|_| ());
    let measured = step().and_then(|()| {
        let start = Instant::now();
        (0..STEPS).try_for_each(|_| step())?;
        Ok((STEPS * BATCH) as f64 * cost.step / start.elapsed().as_secs_f64().max(1e-6))
    });
    before.into_iter().try_for_each(|Pretrained { weight, values }| weight.set(values))?;
    measured
}
