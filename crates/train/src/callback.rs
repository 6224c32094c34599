//! Callbacks: what a program does while a model trains.

use engraft_nn::Result;
use engraft_plan::Memory;

use crate::history::Averages;
use crate::training::Training;

/// What is known when training begins.
#[derive(Clone, Copy, Debug)]
pub struct TrainBegin {
    /// The first epoch, from 0.
    pub initial_epoch: usize,
    /// The epoch before which training ends: epochs in all, those before the first included.
    pub epochs: usize,
    /// Steps in each epoch.
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
    /// Steps that it had.
    pub steps: usize,
    /// `loss`, metrics, and the same of the validation set under `val_…`.
    pub numbers: &'a [(String, f64)],
}

impl EpochEnd<'_> {
    /// The number of this name, such as `val_loss`.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.numbers.iter().find(|(number, _)| number == name).map(|(_, value)| *value)
    }
}

/// Called while a model trains, at the points where Keras calls its `Callback`. Every method has an empty default.
///
/// A callback may read and change the model, set the learning rate, ask to stop, and fail: an error ends training after
/// `on_train_end` was called, and what was learned before stays in the model.
///
/// ```
/// use engraft_nn::Result;
/// use engraft_train::{Callback, EpochEnd, Training};
///
/// /// Stops as soon as the loss is below a bound.
/// struct GoodEnough(f64);
///
/// impl Callback for GoodEnough {
///     fn on_epoch_end(&mut self, end: &EpochEnd<'_>, training: &mut Training<'_>) -> Result<()> {
///         if end.get("loss").is_some_and(|loss| loss < self.0) {
///             training.stop();
///         }
///         Ok(())
///     }
/// }
/// ```
#[expect(unused_variables, reason = "the defaults do nothing")]
pub trait Callback {
    /// Before the first step.
    ///
    /// # Errors
    /// What ends training.
    fn on_train_begin(&mut self, begin: &TrainBegin, training: &mut Training<'_>) -> Result<()> {
        Ok(())
    }

    /// Before an epoch's first step.
    ///
    /// # Errors
    /// What ends training.
    fn on_epoch_begin(&mut self, epoch: usize, training: &mut Training<'_>) -> Result<()> {
        Ok(())
    }

    /// Before a step, numbered from 0 in its epoch (Keras' `on_train_batch_begin`).
    ///
    /// # Errors
    /// What ends training.
    fn on_batch_begin(&mut self, step: usize, training: &mut Training<'_>) -> Result<()> {
        Ok(())
    }

    /// After a step (Keras' `on_train_batch_end`).
    ///
    /// # Errors
    /// What ends training.
    fn on_batch_end(&mut self, end: &BatchEnd<'_>, training: &mut Training<'_>) -> Result<()> {
        Ok(())
    }

    /// Before validation (Keras' `on_test_begin`).
    ///
    /// # Errors
    /// What ends training.
    fn on_validation_begin(&mut self, training: &mut Training<'_>) -> Result<()> {
        Ok(())
    }

    /// After validation (Keras' `on_test_end`).
    ///
    /// # Errors
    /// What ends training.
    fn on_validation_end(&mut self, training: &mut Training<'_>) -> Result<()> {
        Ok(())
    }

    /// After an epoch and its validation.
    ///
    /// # Errors
    /// What ends training.
    fn on_epoch_end(&mut self, end: &EpochEnd<'_>, training: &mut Training<'_>) -> Result<()> {
        Ok(())
    }

    /// After the last step, however training ended.
    ///
    /// # Errors
    /// What becomes the error of training, unless there is one.
    fn on_train_end(&mut self, training: &mut Training<'_>) -> Result<()> {
        Ok(())
    }
}
