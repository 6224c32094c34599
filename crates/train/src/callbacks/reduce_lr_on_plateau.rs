//! [`ReduceLROnPlateau`]: reduces the learning rate when a loss or metric no longer improves.

use engraft_nn::{Error, Result};

use super::Monitor;
use crate::{Callback, EpochEnd, TrainBegin, Training};

/// Reduces the learning rate when a loss or metric has stopped improving (Keras' `ReduceLROnPlateau`).
///
/// ```
/// # use engraft_data::Arrays;
/// # use engraft_nn::prelude::*;
/// use engraft_train::callbacks::ReduceLROnPlateau;
/// use engraft_train::{Fit, Train};
/// # let model = Sequential::new().add(Input::new([2])).add(Dense::new(2).activation(Softmax)).build()?;
/// # model.compile(Sgd::new(0.1), Loss::categorical_crossentropy(), [])?;
/// # let y = Tensor::new([4, 2], vec![1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0])?;
/// // All samples are alike, but not their targets: training can't improve the loss.
/// let data = Arrays::new(Tensor::zeros([4, 2]), y)?;
/// // `model` is compiled with a learning rate of 0.1.
/// let reduce = ReduceLROnPlateau::new("val_loss").factor(0.5).patience(3).min_delta(0.001);
/// let mut reduce = reduce.cooldown(1).min_lr(0.04);
/// let mut rate_after = |epochs| {
///     model.fit(&data, Fit::new().epochs(epochs).validation(&data).callback(&mut reduce))?;
///     Ok::<_, engraft_nn::Error>(model.compiled_or_error()?.optimizer_or_error()?.learning_rate().at(0))
/// };
/// // The first epoch counts as an improvement.
/// assert_eq!(rate_after(3)?, 0.1);
/// assert_eq!(rate_after(4)?, 0.05);
/// // Reduced again, but not below the minimum.
/// assert_eq!(rate_after(10)?, 0.04);
/// # Ok::<(), engraft_nn::Error>(())
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
    /// Watches the loss or metric of this name. Defaults as in Keras: factor 0.1, patience 10, `min_delta` 0.0001.
    pub fn new(monitor: impl Into<String>) -> Self {
        let monitor = Monitor::new(monitor);
        Self { monitor, factor: 0.1, patience: 10, min_delta: 1e-4, cooldown: 0, min_lr: 0.0, waited: 0, cooling: 0 }
    }

    /// Sets the factor, below 1, that the learning rate is multiplied by.
    #[must_use]
    pub fn factor(self, factor: f64) -> Self {
        Self { factor, ..self }
    }

    /// Sets the number of epochs in a row without improvement after which the learning rate is reduced.
    #[must_use]
    pub fn patience(self, epochs: usize) -> Self {
        Self { patience: epochs, ..self }
    }

    /// Sets the change that an improvement over the best value must exceed.
    #[must_use]
    pub fn min_delta(self, min_delta: f64) -> Self {
        Self { min_delta, ..self }
    }

    /// Sets the number of epochs after a reduction before epochs without improvement are counted again.
    #[must_use]
    pub fn cooldown(self, epochs: usize) -> Self {
        Self { cooldown: epochs, ..self }
    }

    /// Sets the lower limit of the learning rate.
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
