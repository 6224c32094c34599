//! Callbacks: what a program does while a model trains.

use std::ops::ControlFlow;

use engraft_nn::Model;
use engraft_nn::plan::Memory;

use crate::history::Averages;

/// Whether training goes on. After `Break` what has been learned so far stays in the model.
pub type Flow = ControlFlow<()>;

/// What is known when training begins.
#[derive(Clone, Copy, Debug)]
pub struct TrainBegin {
    /// Epochs to come.
    pub epochs: usize,
    /// Steps in each.
    pub steps: usize,
    /// Training samples.
    pub samples: usize,
    /// What it takes.
    pub memory: Memory,
}

/// A step just made.
#[derive(Clone, Copy, Debug)]
pub struct BatchEnd<'a> {
    /// Epoch, from 0.
    pub epoch: usize,
    /// Step of the epoch, from 0.
    pub step: usize,
    /// Steps in the epoch.
    pub steps: usize,
    /// Means over the epoch so far.
    pub averages: &'a Averages,
}

/// An epoch just finished.
#[derive(Clone, Copy, Debug)]
pub struct EpochEnd<'a> {
    /// Epoch, from 0.
    pub epoch: usize,
    /// `loss`, metrics, and the same of the validation set under `val_…`.
    pub numbers: &'a [(String, f64)],
    /// The model as it is now.
    pub model: &'a Model,
}

/// Called while a model trains (Keras' `Callback`). Every method has an empty default.
///
/// ```
/// use engraft_train::{Callback, EpochEnd, Flow};
///
/// /// Stops as soon as the loss is below a bound.
/// struct GoodEnough(f64);
///
/// impl Callback for GoodEnough {
///     fn on_epoch_end(&mut self, end: &EpochEnd<'_>) -> Flow {
///         match end.numbers.iter().any(|(name, value)| name == "loss" && *value < self.0) {
///             true => Flow::Break(()),
///             false => Flow::Continue(()),
///         }
///     }
/// }
/// ```
pub trait Callback {
    /// Before the first step.
    fn on_train_begin(&mut self, _begin: &TrainBegin) {}

    /// Before an epoch's first step.
    fn on_epoch_begin(&mut self, _epoch: usize) {}

    /// After each step.
    fn on_batch_end(&mut self, _end: &BatchEnd<'_>) -> Flow {
        Flow::Continue(())
    }

    /// After each epoch and its validation.
    fn on_epoch_end(&mut self, _end: &EpochEnd<'_>) -> Flow {
        Flow::Continue(())
    }

    /// After the last step, however training ended.
    fn on_train_end(&mut self) {}
}
