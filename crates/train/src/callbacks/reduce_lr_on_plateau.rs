//! Makes smaller steps when a number has not become better for some epochs.

use engraft_nn::{Error, Result};

use super::Monitor;
use crate::{Callback, EpochEnd, TrainBegin, Training};

/// Reduces the learning rate when a number has stopped improving (Keras' `ReduceLROnPlateau`).
///
/// ```
/// use engraft_train::callbacks::ReduceLROnPlateau;
/// let mut reduce = ReduceLROnPlateau::new("val_loss").factor(0.5).patience(3).min_lr(1e-6);
/// # let _ = &mut reduce;
/// ```
#[derive(Clone, Debug)]
pub struct ReduceLROnPlateau {
    monitor: Monitor,
    factor: f64,
    patience: usize,
    min_delta: f64,
    cooldown: usize,
    min_lr: f64,
    waited: usize,
    cooling: usize,
}

impl ReduceLROnPlateau {
    /// Watches the number of this name; Keras' defaults: a tenth, after 10 epochs that improve by no more than 0.0001.
    pub fn new(monitor: impl Into<String>) -> Self {
        let monitor = Monitor::new(monitor);
        Self { monitor, factor: 0.1, patience: 10, min_delta: 1e-4, cooldown: 0, min_lr: 0.0, waited: 0, cooling: 0 }
    }

    /// The learning rate is multiplied by this, below 1.
    #[must_use]
    pub fn factor(self, factor: f64) -> Self {
        Self { factor, ..self }
    }

    /// Epochs without improvement after which it is reduced.
    #[must_use]
    pub fn patience(self, epochs: usize) -> Self {
        Self { patience: epochs, ..self }
    }

    /// A smaller change doesn't count as an improvement.
    #[must_use]
    pub fn min_delta(self, min_delta: f64) -> Self {
        Self { min_delta, ..self }
    }

    /// Epochs after a reduction in which nothing is counted.
    #[must_use]
    pub fn cooldown(self, epochs: usize) -> Self {
        Self { cooldown: epochs, ..self }
    }

    /// It is never reduced below this.
    #[must_use]
    pub fn min_lr(self, rate: f64) -> Self {
        Self { min_lr: rate, ..self }
    }
}

impl Callback for ReduceLROnPlateau {
    fn on_train_begin(&mut self, _begin: &TrainBegin, _training: &mut Training<'_>) -> Result<()> {
        if !(0.0..1.0).contains(&self.factor) {
            return Err(Error::new("ReduceLROnPlateau", "a factor from 0 to below 1", self.factor));
        }
        self.monitor.reset();
        (self.waited, self.cooling) = (0, 0);
        Ok(())
    }

    fn on_epoch_end(&mut self, end: &EpochEnd<'_>, training: &mut Training<'_>) -> Result<()> {
        if self.cooling > 0 {
            self.cooling -= 1;
            self.waited = 0;
        }
        if self.monitor.improves(end, self.min_delta)? {
            self.waited = 0;
        } else if self.cooling == 0 {
            self.waited += 1;
            let rate = training.learning_rate();
            if self.waited >= self.patience && rate > self.min_lr {
                training.set_learning_rate((rate * self.factor).max(self.min_lr))?;
                (self.waited, self.cooling) = (0, self.cooldown);
            }
        }
        Ok(())
    }
}
