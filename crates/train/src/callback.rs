//! Callbacks: what a program does while a model trains.

use engraft_nn::Result;
use engraft_plan::Memory;

use crate::history::Averages;
use crate::training::Training;

/// What is known when training begins.
///
/// ```
/// # use engraft_data::Arrays;
/// # use engraft_nn::prelude::*;
/// use engraft_nn::Result;
/// use engraft_train::{Callback, Fit, Train, TrainBegin, Training};
///
/// /// Counts the steps to come, for a progress bar.
/// struct Steps(usize);
///
/// impl Callback for Steps {
///     fn on_train_begin(&mut self, begin: &TrainBegin, _: &mut Training<'_>) -> Result<()> {
///         self.0 = (begin.epochs - begin.initial_epoch) * begin.steps;
///         Ok(())
///     }
/// }
/// # let model = Sequential::new().add(Input::new([2])).add(Dense::new(2).activation(Softmax)).build()?;
/// # model.compile(Adam::new(0.1), Loss::categorical_crossentropy(), [Metric::Accuracy])?;
/// # let x = Tensor::new([4, 2], vec![0.0, 1.0, 1.0, 0.0, 0.1, 0.9, 0.8, 0.0])?;
/// # let y = Tensor::new([4, 2], vec![1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0])?;
/// # let data = Arrays::new(x, y)?;
/// let mut steps = Steps(0);
/// // `data` holds 4 samples.
/// model.fit(&data, Fit::new().epochs(3).batch_size(2).callback(&mut steps))?;
/// assert_eq!(steps.0, 3 * 2);
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct TrainBegin {
    /// The first epoch, from 0.
    pub initial_epoch: usize,
    /// The epoch before which training ends: epochs in all, those before the first included.
    pub epochs: usize,
    /// Steps in each epoch.
    pub steps: usize,
    /// Training samples.
    pub samples: usize,
    /// What it takes.
    pub memory: Memory,
}

/// A step just made.
///
/// ```
/// # use engraft_data::Arrays;
/// # use engraft_nn::prelude::*;
/// use engraft_nn::Result;
/// use engraft_train::{BatchEnd, Callback, Fit, Train, Training};
///
/// /// A line for each step.
/// struct Lines(Vec<String>);
///
/// impl Callback for Lines {
///     fn on_batch_end(&mut self, end: &BatchEnd<'_>, _: &mut Training<'_>) -> Result<()> {
///         self.0.push(format!("step {}/{}", end.step + 1, end.steps));
///         Ok(())
///     }
/// }
/// # let model = Sequential::new().add(Input::new([2])).add(Dense::new(2).activation(Softmax)).build()?;
/// # model.compile(Adam::new(0.1), Loss::categorical_crossentropy(), [Metric::Accuracy])?;
/// # let x = Tensor::new([4, 2], vec![0.0, 1.0, 1.0, 0.0, 0.1, 0.9, 0.8, 0.0])?;
/// # let y = Tensor::new([4, 2], vec![1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0])?;
/// # let data = Arrays::new(x, y)?;
/// let mut lines = Lines(Vec::new());
/// // `data` holds 4 samples.
/// model.fit(&data, Fit::new().batch_size(2).callback(&mut lines))?;
/// assert_eq!(lines.0, ["step 1/2", "step 2/2"]);
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct BatchEnd<'a> {
    /// Epoch, from 0.
    pub epoch: usize,
    /// Step of the epoch, from 0.
    pub step: usize,
    /// Steps in the epoch.
    pub steps: usize,
    /// Means over the epoch so far.
    pub averages: &'a Averages,
}

/// An epoch just finished.
///
/// ```
/// use engraft_train::EpochEnd;
/// let numbers = [("loss".to_owned(), 0.4), ("val_loss".to_owned(), 0.6)];
/// let end = EpochEnd { epoch: 9, steps: 100, numbers: &numbers };
/// assert_eq!(end.get("val_loss"), Some(0.6));
/// assert_eq!(end.get("val_accuracy"), None);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct EpochEnd<'a> {
    /// Epoch, from 0.
    pub epoch: usize,
    /// Steps that it had.
    pub steps: usize,
    /// `loss`, metrics, and the same of the validation set under `val_…`.
    pub numbers: &'a [(String, f64)],
}

impl EpochEnd<'_> {
    /// The number of this name, such as `val_loss`.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.numbers.iter().find(|(number, _)| number == name).map(|(_, value)| *value)
    }
}

/// Called while a model trains, at the points where Keras calls its `Callback`. Every method has an empty default.
///
/// A callback may read and change the model, set the learning rate, ask to stop, and fail: an error ends training after
/// `on_train_end` was called, and what was learned before stays in the model.
///
/// ```
/// use engraft_nn::Result;
/// use engraft_train::{Callback, EpochEnd, Training};
///
/// /// Stops as soon as the loss is below a bound.
/// struct GoodEnough(f64);
///
/// impl Callback for GoodEnough {
///     fn on_epoch_end(&mut self, end: &EpochEnd<'_>, training: &mut Training<'_>) -> Result<()> {
///         if end.get("loss").is_some_and(|loss| loss < self.0) {
///             training.stop();
///         }
///         Ok(())
///     }
/// }
/// ```
#[expect(unused_variables, reason = "the defaults do nothing")]
pub trait Callback {
    /// Before the first step.
    ///
    /// # Errors
    /// What ends training.
    fn on_train_begin(&mut self, begin: &TrainBegin, training: &mut Training<'_>) -> Result<()> {
        Ok(())
    }

    /// Before an epoch's first step.
    ///
    /// # Errors
    /// What ends training.
    fn on_epoch_begin(&mut self, epoch: usize, training: &mut Training<'_>) -> Result<()> {
        Ok(())
    }

    /// Before a step, numbered from 0 in its epoch (Keras' `on_train_batch_begin`).
    ///
    /// # Errors
    /// What ends training.
    fn on_batch_begin(&mut self, step: usize, training: &mut Training<'_>) -> Result<()> {
        Ok(())
    }

    /// After a step (Keras' `on_train_batch_end`).
    ///
    /// # Errors
    /// What ends training.
    fn on_batch_end(&mut self, end: &BatchEnd<'_>, training: &mut Training<'_>) -> Result<()> {
        Ok(())
    }

    /// Before validation (Keras' `on_test_begin`).
    ///
    /// # Errors
    /// What ends training.
    fn on_validation_begin(&mut self, training: &mut Training<'_>) -> Result<()> {
        Ok(())
    }

    /// After validation (Keras' `on_test_end`).
    ///
    /// # Errors
    /// What ends training.
    fn on_validation_end(&mut self, training: &mut Training<'_>) -> Result<()> {
        Ok(())
    }

    /// After an epoch and its validation.
    ///
    /// # Errors
    /// What ends training.
    fn on_epoch_end(&mut self, end: &EpochEnd<'_>, training: &mut Training<'_>) -> Result<()> {
        Ok(())
    }

    /// After the last step, however training ended.
    ///
    /// # Errors
    /// What becomes the error of training, unless there is one.
    fn on_train_end(&mut self, training: &mut Training<'_>) -> Result<()> {
        Ok(())
    }
}
