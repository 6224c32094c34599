//! [`EarlyStopping`]: stops training when a loss or metric no longer improves.

use engraft_nn::{Model, Result};

use super::Monitor;
use crate::{Callback, EpochEnd, TrainBegin, Training};

/// Stops training when a loss or metric has stopped improving (Keras' `EarlyStopping`).
///
/// ```
/// # use engraft_data::Arrays;
/// # use engraft_nn::prelude::*;
/// use engraft_train::callbacks::EarlyStopping;
/// use engraft_train::{Fit, Train};
/// # let model = Sequential::new().add(Input::new([2])).add(Dense::new(2).activation(Softmax)).build()?;
/// # model.compile(Sgd::new(0.1), Loss::categorical_crossentropy(), [])?;
/// # let y = Tensor::new([4, 2], vec![1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0])?;
/// // All samples are alike, but not their targets: training can't improve the loss.
/// let data = Arrays::new(Tensor::zeros([4, 2]), y)?;
/// let stopping = EarlyStopping::new("val_loss").patience(3).min_delta(0.001).restore_best_weights(true);
/// // The first epoch is a warm-up.
/// let mut stopping = stopping.start_from_epoch(1);
/// let history = model.fit(&data, Fit::new().epochs(100).validation(&data).callback(&mut stopping))?;
/// // Epoch 1 counts as the best; then follow three epochs without improvement.
/// assert_eq!((stopping.stopped_epoch(), history.epochs()), (Some(4), 5));
/// assert_eq!(stopping.best(), Some(history.get("val_loss")[1]));
/// # Ok::<(), engraft_nn::Error>(())
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
    /// Watches the loss or metric of this name. Defaults as in Keras: patience 0, `min_delta` 0, the last weights are kept.
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

    /// Sets the change that an improvement over the best value must exceed.
    #[must_use]
    pub fn min_delta(self, min_delta: f64) -> Self {
        Self { min_delta: min_delta.abs(), ..self }
    }

    /// Sets the number of epochs in a row without improvement after which training stops.
    #[must_use]
    pub fn patience(self, epochs: usize) -> Self {
        Self { patience: epochs, ..self }
    }

    /// Sets the first epoch to watch, counted from 0. Earlier epochs are ignored.
    #[must_use]
    pub fn start_from_epoch(self, epoch: usize) -> Self {
        Self { start_from_epoch: epoch, ..self }
    }

    /// Sets whether the model gets back the weights of its best epoch when training ends. A copy of them is kept in memory.
    #[must_use]
    pub fn restore_best_weights(self, restore: bool) -> Self {
        Self { restore_best_weights: restore, ..self }
    }

    /// The epoch, counted from 0, after which this callback stopped training; `None` if it didn't.
    pub fn stopped_epoch(&self) -> Option<usize> {
        self.stopped_epoch
    }

    /// The best value of the watched loss or metric so far; `None` before the first.
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
