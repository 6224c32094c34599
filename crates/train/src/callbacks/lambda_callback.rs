//! A closure as a callback.

use engraft_nn::Result;

use crate::{Callback, EpochEnd, Training};

/// Calls a closure after each epoch (Keras' `LambdaCallback` with `on_epoch_end`).
///
/// ```
/// use engraft_train::callbacks::LambdaCallback;
/// let mut print = LambdaCallback::on_epoch_end(|end, _training| {
///     println!("epoch {}: loss {:?}", end.epoch + 1, end.get("loss"));
///     Ok(())
/// });
/// # let _ = &mut print;
/// ```
pub struct LambdaCallback<F>(F);

impl<F: FnMut(&EpochEnd<'_>, &mut Training<'_>) -> Result<()>> LambdaCallback<F> {
    /// Calls `act` after each epoch.
    pub fn on_epoch_end(act: F) -> Self {
        Self(act)
    }
}

impl<F: FnMut(&EpochEnd<'_>, &mut Training<'_>) -> Result<()>> Callback for LambdaCallback<F> {
    fn on_epoch_end(&mut self, end: &EpochEnd<'_>, training: &mut Training<'_>) -> Result<()> {
        (self.0)(end, training)
    }
}
