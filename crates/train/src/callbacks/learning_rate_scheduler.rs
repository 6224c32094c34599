//! Sets the learning rate at the beginning of each epoch.

use engraft_nn::Result;

use crate::{Callback, Training};

/// Sets the learning rate before each epoch to what a function of epoch and present rate gives (Keras'
/// `LearningRateScheduler`).
///
/// ```
/// use engraft_train::callbacks::LearningRateScheduler;
/// let mut halved = LearningRateScheduler::new(|epoch, rate| if epoch < 10 { rate } else { rate / 2.0 });
/// # let _ = &mut halved;
/// ```
pub struct LearningRateScheduler<F>(F);

impl<F: FnMut(usize, f64) -> f64> LearningRateScheduler<F> {
    /// Calls `schedule` with the epoch, from 0, and the learning rate.
    pub fn new(schedule: F) -> Self {
        Self(schedule)
    }
}

impl<F: FnMut(usize, f64) -> f64> Callback for LearningRateScheduler<F> {
    fn on_epoch_begin(&mut self, epoch: usize, training: &mut Training<'_>) -> Result<()> {
        let rate = (self.0)(epoch, training.learning_rate());
        training.set_learning_rate(rate).map_err(|error| error.within("LearningRateScheduler"))
    }
}
