//! [`Training`]: access to the running training for callbacks.

use engraft_nn::{Compiled, Model, Result};
use engraft_plan::Session;

/// The running training, as an argument of callbacks. They may read and change the model, set the learning rate, and stop
/// training.
///
/// ```
/// # use engraft_data::Arrays;
/// # use engraft_nn::prelude::*;
/// use engraft_nn::Result;
/// use engraft_train::{BatchEnd, Callback, EpochEnd, Fit, Train, Training};
///
/// /// Halves the learning rate after each epoch, and stops after the third.
/// struct Halving;
///
/// impl Callback for Halving {
///     fn on_epoch_end(&mut self, end: &EpochEnd<'_>, training: &mut Training<'_>) -> Result<()> {
///         if end.epoch == 2 {
///             training.stop();
///         }
///         training.set_learning_rate(training.learning_rate() / 2.0)
///     }
/// }
/// # let model = Sequential::new().add(Input::new([2])).add(Dense::new(2).activation(Softmax)).build()?;
/// # model.compile(Adam::new(0.1), Loss::categorical_crossentropy(), [Metric::Accuracy])?;
/// # let x = Tensor::new([4, 2], vec![0.0, 1.0, 1.0, 0.0, 0.1, 0.9, 0.8, 0.0])?;
/// # let y = Tensor::new([4, 2], vec![1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0])?;
/// # let data = Arrays::new(x, y)?;
/// let history = model.fit(&data, Fit::new().epochs(10).callback(&mut Halving))?;
/// assert_eq!(history.epochs(), 3);
///
/// /// Ends training after a number of steps, in the middle of an epoch if need be.
/// struct MaxSteps(u64);
///
/// impl Callback for MaxSteps {
///     fn on_batch_end(&mut self, _: &BatchEnd<'_>, training: &mut Training<'_>) -> Result<()> {
///         if training.iterations() >= self.0 {
///             training.stop_at_once();
///             assert!(training.is_stopping());
///         }
///         Ok(())
///     }
/// }
/// // 3 steps so far, then 1 of the 4 in the first epoch. That epoch isn't reported.
/// let history = model.fit(&data, Fit::new().batch_size(1).callback(&mut MaxSteps(4)))?;
/// assert_eq!(history.epochs(), 0);
/// # Ok::<(), engraft_nn::Error>(())
/// ```
pub struct Training<'a> {
    model: &'a Model,
    session: &'a mut dyn Session,
    stop: &'a mut Stop,
}

/// Whether a callback has stopped training, and how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stop {
    #[default]
    No,
    /// Run no step after the current one, then validate and report the epoch.
    AfterEpochEnd,
    /// Run no further step, and neither validate nor report the epoch.
    AtOnce,
}

impl<'a> Training<'a> {
    pub(crate) fn new(model: &'a Model, session: &'a mut dyn Session, stop: &'a mut Stop) -> Self {
        Self { model, session, stop }
    }

    /// The model with its current weights. The executor first copies weights and optimizer state back to the model. The next step
    /// uses any changes that the callback makes.
    ///
    /// # Errors
    /// The executor can't copy them back.
    pub fn model(&mut self) -> Result<&'a Model> {
        if let Some(compiled) = self.model.compiled() {
            self.session.synchronize(&compiled.state)?;
        }
        Ok(self.model)
    }

    /// The number of steps of the optimizer, including earlier calls of `fit`.
    pub fn iterations(&self) -> u64 {
        self.model.compiled().map_or(0, |compiled| compiled.state.iterations())
    }

    /// The learning rate of the next step.
    pub fn learning_rate(&self) -> f64 {
        let Some(Compiled { optimizer: Some(optimizer), state, .. }) = self.model.compiled() else { return 0.0 };
        optimizer.learning_rate().at(state.iterations())
    }

    /// Sets the learning rate of all further steps, as Keras' `optimizer.learning_rate = rate` does. It replaces a schedule.
    ///
    /// # Errors
    /// A rate that is negative or not finite.
    pub fn set_learning_rate(&mut self, rate: f64) -> Result<()> {
        self.model.update_compiled(|compiled| {
            if let Some(optimizer) = &mut compiled.optimizer {
                optimizer.set_learning_rate(rate);
            }
        })
    }

    /// Stops training after the current step, as Keras' `model.stop_training = True` does. The epoch is still validated and
    /// reported. The model keeps its weights.
    ///
    /// In `on_epoch_begin` and `on_batch_begin`, the current step is the one that follows: it still runs, so that the epoch has
    /// samples to report. In `on_train_begin` and `on_epoch_end`, no step is current, so no further epoch begins.
    pub fn stop(&mut self) {
        *self.stop = Stop::AfterEpochEnd.max(*self.stop);
    }

    /// Stops training before the next step, without validating and reporting the current epoch. In `on_epoch_begin` and
    /// `on_batch_begin`, the step that follows doesn't run.
    pub fn stop_at_once(&mut self) {
        *self.stop = Stop::AtOnce;
    }

    /// Whether a callback has stopped training.
    pub fn is_stopping(&self) -> bool {
        *self.stop != Stop::No
    }
}
