//! What a callback may do with the training under way.

use engraft_nn::{Model, Result};
use engraft_plan::Session;

/// The training under way, as a callback sees it: it may read and change the model, set the learning rate and ask to stop.
///
/// ```
/// # use engraft_data::Arrays;
/// # use engraft_nn::prelude::*;
/// use engraft_nn::Result;
/// use engraft_train::{Callback, EpochEnd, Fit, Train, Training};
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
/// # Ok::<(), engraft_nn::Error>(())
/// ```
pub struct Training<'a> {
    model: &'a Model,
    session: &'a mut dyn Session,
    stop: &'a mut Stop,
}

/// Whether training is to end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stop {
    #[default]
    No,
    /// After the step under way; the epoch is validated and reported as it is then.
    AfterEpochEnd,
    /// After the step under way; the epoch is not reported.
    AtOnce,
}

impl<'a> Training<'a> {
    pub(crate) fn new(model: &'a Model, session: &'a mut dyn Session, stop: &'a mut Stop) -> Self {
        Self { model, session, stop }
    }

    /// The model as it is now. Its weights and the optimizer's state are brought home first from where the executor keeps them;
    /// what a callback changes counts from the next step on.
    ///
    /// # Errors
    /// The executor can't bring them home.
    pub fn model(&mut self) -> Result<&'a Model> {
        if let Some(compiled) = self.model.compiled() {
            self.session.synchronize(&compiled.state)?;
        }
        Ok(self.model)
    }

    /// Steps that the optimizer has made, those of earlier calls of `fit` included.
    pub fn iterations(&self) -> u64 {
        self.model.compiled().map_or(0, |compiled| compiled.state.iterations())
    }

    /// The learning rate of the next step.
    pub fn learning_rate(&self) -> f64 {
        let compiled = self.model.compiled();
        compiled.map_or(0.0, |compiled| compiled.optimizer.learning_rate().at(compiled.state.iterations()))
    }

    /// Sets the learning rate of the steps to come, as Keras' `optimizer.learning_rate = rate` does; a schedule is given up.
    ///
    /// # Errors
    /// A rate that is negative or not finite.
    pub fn set_learning_rate(&mut self, rate: f64) -> Result<()> {
        self.model.update_compiled(|compiled| compiled.optimizer.set_learning_rate(rate))
    }

    /// Asks to end training before the next step, as Keras' `model.stop_training = True` does: the epoch is validated and reported
    /// as far as it has come. What has been learned stays in the model.
    pub fn stop(&mut self) {
        *self.stop = Stop::AfterEpochEnd.max(*self.stop);
    }

    /// Asks to end training before the next step, without validating and reporting the epoch under way.
    pub fn stop_at_once(&mut self) {
        *self.stop = Stop::AtOnce;
    }

    /// Whether a callback has asked to stop.
    pub fn is_stopping(&self) -> bool {
        *self.stop != Stop::No
    }
}
