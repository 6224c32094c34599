//! [`ModelCheckpoint`]: saves the model while it trains.

use engraft_nn::{Model, Result};

use super::Monitor;
use crate::{Callback, EpochEnd, TrainBegin, Training};

/// Saves the model after each epoch, or only after the best epochs so far (Keras' `ModelCheckpoint`).
///
/// A function of the caller saves the model: to a file of any format, or to memory.
///
/// ```
/// # use engraft_data::Arrays;
/// # use engraft_nn::prelude::*;
/// use engraft_formats::keras::{load_model, save_model};
/// use engraft_train::callbacks::ModelCheckpoint;
/// use engraft_train::{Fit, Train};
/// # let model = Sequential::new().add(Input::new([2])).add(Dense::new(2).activation(Softmax)).build()?;
/// # model.compile(Sgd::new(0.1), Loss::categorical_crossentropy(), [])?;
/// # let x = Tensor::new([4, 2], vec![0.0, 1.0, 1.0, 0.0, 0.1, 0.9, 0.8, 0.0])?;
/// # let y = Tensor::new([4, 2], vec![1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0])?;
/// # let data = Arrays::new(x, y)?;
/// let folder = tempfile::tempdir()?;
/// let best = folder.path().join("best.keras");
/// let mut save_best = ModelCheckpoint::best("val_loss", |_epoch, model| save_model(model, &best));
/// let mut epochs = Vec::new();
/// let mut count = ModelCheckpoint::every_epoch(|epoch, _model| {
///     epochs.push(epoch);
///     Ok(())
/// });
/// let fit = Fit::new().epochs(3).validation(&data).callback(&mut save_best).callback(&mut count);
/// model.fit(&data, fit)?;
/// assert_eq!(load_model(&best)?.count_params(), model.count_params());
/// assert_eq!(epochs, [0, 1, 2]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct ModelCheckpoint<F> {
    save: F,
    best: Option<Monitor>,
}

impl<F: FnMut(usize, &Model) -> Result<()>> ModelCheckpoint<F> {
    /// Calls `save` after each epoch, with the epoch, counted from 0, and the model.
    pub fn every_epoch(save: F) -> Self {
        Self { save, best: None }
    }

    /// Calls `save` after an epoch only if the loss or metric of this name is the best so far (Keras' `save_best_only`).
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
        let saves = self.best.as_mut().map_or(Ok(true), |best| best.improves(end, 0.0))?;
        if saves { (self.save)(end.epoch, training.model()?) } else { Ok(()) }
    }
}
