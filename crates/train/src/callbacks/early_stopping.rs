//! Stops when a number has not become better for some epochs.

use engraft_nn::{Model, Result};

use super::Monitor;
use crate::{Callback, EpochEnd, TrainBegin, Training};

/// Stops training when a number has stopped improving (Keras' `EarlyStopping`).
///
/// ```
/// use engraft_train::callbacks::EarlyStopping;
/// let mut stopping = EarlyStopping::new("val_loss").patience(3).restore_best_weights(true);
/// # let _ = &mut stopping;
/// ```
#[derive(Clone, Debug)]
pub struct EarlyStopping {
    monitor: Monitor,
    min_delta: f64,
    patience: usize,
    start_from_epoch: usize,
    restore_best_weights: bool,
    waited: usize,
    best_weights: Option<Vec<Vec<f32>>>,
    stopped_epoch: Option<usize>,
}

impl EarlyStopping {
    /// Watches the number of this name; Keras' defaults: no patience, no smallest change, weights stay as they are.
    pub fn new(monitor: impl Into<String>) -> Self {
        Self {
            monitor: Monitor::new(monitor),
            min_delta: 0.0,
            patience: 0,
            start_from_epoch: 0,
            restore_best_weights: false,
            waited: 0,
            best_weights: None,
            stopped_epoch: None,
        }
    }

    /// A smaller change doesn't count as an improvement.
    #[must_use]
    pub fn min_delta(self, min_delta: f64) -> Self {
        Self { min_delta: min_delta.abs(), ..self }
    }

    /// Epochs without improvement after which training stops.
    #[must_use]
    pub fn patience(self, epochs: usize) -> Self {
        Self { patience: epochs, ..self }
    }

    /// Epochs before this one, from 0, are not watched.
    #[must_use]
    pub fn start_from_epoch(self, epoch: usize) -> Self {
        Self { start_from_epoch: epoch, ..self }
    }

    /// Whether the model ends with the weights of its best epoch. They are kept in memory.
    #[must_use]
    pub fn restore_best_weights(self, restore: bool) -> Self {
        Self { restore_best_weights: restore, ..self }
    }

    /// The epoch, from 0, after which it stopped training.
    pub fn stopped_epoch(&self) -> Option<usize> {
        self.stopped_epoch
    }

    /// The best number so far.
    pub fn best(&self) -> Option<f64> {
        self.monitor.best()
    }
}

impl Callback for EarlyStopping {
    fn on_train_begin(&mut self, _begin: &TrainBegin, _training: &mut Training<'_>) -> Result<()> {
        self.monitor.reset();
        (self.waited, self.best_weights, self.stopped_epoch) = (0, None, None);
        Ok(())
    }

    fn on_epoch_end(&mut self, end: &EpochEnd<'_>, training: &mut Training<'_>) -> Result<()> {
        if end.epoch < self.start_from_epoch {
            return Ok(());
        }
        if self.monitor.improves(end, self.min_delta)? {
            self.waited = 0;
            if self.restore_best_weights {
                self.best_weights = Some(weights(training.model()?));
            }
            return Ok(());
        }
        self.waited += 1;
        if self.waited >= self.patience && end.epoch > 0 {
            self.stopped_epoch = Some(end.epoch);
            training.stop();
        }
        Ok(())
    }

    fn on_train_end(&mut self, training: &mut Training<'_>) -> Result<()> {
        let Some(best) = self.best_weights.take() else { return Ok(()) };
        training.model()?.weights().iter().zip(best).try_for_each(|(weight, values)| weight.set(values))
    }
}

fn weights(model: &Model) -> Vec<Vec<f32>> {
    model.weights().iter().map(|weight| weight.values().clone()).collect()
}
