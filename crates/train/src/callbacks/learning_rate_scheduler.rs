//! [`LearningRateScheduler`]: sets the learning rate at the start of each epoch.

use engraft_nn::Result;

use crate::{Callback, Training};

/// Sets the learning rate at the start of each epoch, by a function of the epoch and the current rate (Keras'
/// `LearningRateScheduler`).
///
/// ```
/// # use engraft_data::Arrays;
/// # use engraft_nn::prelude::*;
/// use engraft_train::callbacks::LearningRateScheduler;
/// use engraft_train::{Fit, Train};
/// # let model = Sequential::new().add(Input::new([2])).add(Dense::new(2).activation(Softmax)).build()?;
/// # model.compile(Sgd::new(0.1), Loss::categorical_crossentropy(), [])?;
/// # let x = Tensor::new([4, 2], vec![0.0, 1.0, 1.0, 0.0, 0.1, 0.9, 0.8, 0.0])?;
/// # let y = Tensor::new([4, 2], vec![1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0])?;
/// # let data = Arrays::new(x, y)?;
/// // `model` is compiled with a learning rate of 0.1.
/// let mut halve = LearningRateScheduler::new(|epoch, rate| if epoch < 2 { rate } else { rate / 2.0 });
/// model.fit(&data, Fit::new().epochs(4).callback(&mut halve))?;
/// // Halved in epochs 2 and 3.
/// assert_eq!(model.compiled_or_error()?.optimizer_or_error()?.learning_rate().at(0), 0.1 / 4.0);
/// # Ok::<(), engraft_nn::Error>(())
/// ```
pub struct LearningRateScheduler<F>(F);

impl<F: FnMut(usize, f64) -> f64> LearningRateScheduler<F> {
    /// Calls `schedule` with the epoch, counted from 0, and the current learning rate. It returns the new rate.
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
