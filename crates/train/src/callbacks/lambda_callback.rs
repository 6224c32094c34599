//! [`LambdaCallback`]: a callback from a closure.

use engraft_nn::Result;

use crate::{Callback, EpochEnd, Training};

/// Calls a closure after each epoch (Keras' `LambdaCallback` with `on_epoch_end`).
///
/// ```
/// # use engraft_data::Arrays;
/// # use engraft_nn::prelude::*;
/// use engraft_train::callbacks::LambdaCallback;
/// use engraft_train::{Fit, Train};
/// # let model = Sequential::new().add(Input::new([2])).add(Dense::new(2).activation(Softmax)).build()?;
/// # model.compile(Sgd::new(0.1), Loss::categorical_crossentropy(), [])?;
/// # let x = Tensor::new([4, 2], vec![0.0, 1.0, 1.0, 0.0, 0.1, 0.9, 0.8, 0.0])?;
/// # let y = Tensor::new([4, 2], vec![1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0])?;
/// # let data = Arrays::new(x, y)?;
/// let mut losses = Vec::new();
/// let mut record = LambdaCallback::on_epoch_end(|end, _training| {
///     losses.extend(end.get("loss"));
///     Ok(())
/// });
/// let history = model.fit(&data, Fit::new().epochs(3).callback(&mut record))?;
/// assert_eq!(losses, history.get("loss"));
/// # Ok::<(), engraft_nn::Error>(())
/// ```
pub struct LambdaCallback<F>(F);

impl<F: FnMut(&EpochEnd<'_>, &mut Training<'_>) -> Result<()>> LambdaCallback<F> {
    /// Calls `function` after each epoch, with its loss and metrics.
    pub fn on_epoch_end(function: F) -> Self {
        Self(function)
    }
}

impl<F: FnMut(&EpochEnd<'_>, &mut Training<'_>) -> Result<()>> Callback for LambdaCallback<F> {
    fn on_epoch_end(&mut self, end: &EpochEnd<'_>, training: &mut Training<'_>) -> Result<()> {
        (self.0)(end, training)
    }
}
