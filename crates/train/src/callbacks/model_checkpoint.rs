//! Saves the model while it trains.

use engraft_nn::{Model, Result};

use super::Monitor;
use crate::{Callback, EpochEnd, TrainBegin, Training};

/// Saves the model after each epoch, or after each that is the best so far (Keras' `ModelCheckpoint`). How it is saved is the
/// caller's: to a file of any format, or to memory.
///
/// ```
/// use engraft_train::callbacks::ModelCheckpoint;
/// let mut best = ModelCheckpoint::best("val_loss", |epoch, _model| {
///     println!("epoch {epoch} is the best so far");
///     Ok(())
/// });
/// # let _ = &mut best;
/// ```
pub struct ModelCheckpoint<F> {
    save: F,
    best: Option<Monitor>,
}

impl<F: FnMut(usize, &Model) -> Result<()>> ModelCheckpoint<F> {
    /// Calls `save` with the epoch, from 0, and the model after each epoch.
    pub fn every_epoch(save: F) -> Self {
        Self { save, best: None }
    }

    /// Calls `save` after each epoch in which the number of this name is the best so far (Keras' `save_best_only`).
    pub fn best(monitor: impl Into<String>, save: F) -> Self {
        Self { save, best: Some(Monitor::new(monitor)) }
    }
}

impl<F: FnMut(usize, &Model) -> Result<()>> Callback for ModelCheckpoint<F> {
    fn on_train_begin(&mut self, _begin: &TrainBegin, _training: &mut Training<'_>) -> Result<()> {
        self.best.iter_mut().for_each(Monitor::reset);
        Ok(())
    }

    fn on_epoch_end(&mut self, end: &EpochEnd<'_>, training: &mut Training<'_>) -> Result<()> {
        let wanted = self.best.as_mut().map_or(Ok(true), |best| best.improves(end, 0.0))?;
        if wanted { (self.save)(end.epoch, training.model()?) } else { Ok(()) }
    }
}
