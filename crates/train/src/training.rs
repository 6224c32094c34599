//! What a callback may do with the training under way.

use engraft_nn::{Model, Result};
use engraft_plan::Session;

/// The training under way, as a callback sees it: it may read and change the model, set the learning rate and ask to stop.
pub struct Training<'a> {
    model: &'a Model,
    session: &'a mut dyn Session,
    stopping: &'a mut bool,
}

impl<'a> Training<'a> {
    pub(crate) fn new(model: &'a Model, session: &'a mut dyn Session, stopping: &'a mut bool) -> Self {
        Self { model, session, stopping }
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
        let Some(mut compiled) = self.model.compiled() else { return Ok(()) };
        compiled.optimizer.set_learning_rate(rate);
        compiled.optimizer.check()?;
        self.model.set_compiled(Some(compiled));
        Ok(())
    }

    /// Asks to end training before the next step, as Keras' `model.stop_training = True` does. What has been learned stays in the
    /// model.
    pub fn stop(&mut self) {
        *self.stopping = true;
    }

    /// Whether a callback has asked to stop.
    pub fn is_stopping(&self) -> bool {
        *self.stopping
    }
}
