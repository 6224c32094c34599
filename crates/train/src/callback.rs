//! The [`Callback`] trait, and the arguments of its methods.

use engraft_nn::Result;
use engraft_plan::Memory;

use crate::history::Averages;
use crate::training::Training;

/// The argument of [`Callback::on_train_begin`]: epochs, steps, samples and memory.
///
/// ```
/// # use engraft_data::Arrays;
/// # use engraft_nn::prelude::*;
/// use engraft_nn::Result;
/// use engraft_train::{Callback, Fit, Train, TrainBegin, Training};
///
/// /// The total number of steps, for a progress bar.
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
    /// The first epoch to train, counted from 0.
    pub initial_epoch: usize,
    /// The total number of epochs, including the epochs before `initial_epoch`.
    pub epochs: usize,
    /// The number of steps per epoch.
    pub steps: usize,
    /// The number of training samples.
    pub samples: usize,
    /// The memory that training needs, including validation.
    pub memory: Memory,
}

/// The argument of [`Callback::on_batch_end`]: the step just finished.
///
/// ```
/// # use engraft_data::Arrays;
/// # use engraft_nn::prelude::*;
/// use engraft_nn::Result;
/// use engraft_train::{BatchEnd, Callback, Fit, Train, Training};
///
/// /// Collects a line of text for each step.
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
    /// The epoch, counted from 0.
    pub epoch: usize,
    /// The step in the epoch, counted from 0.
    pub step: usize,
    /// The number of steps per epoch.
    pub steps: usize,
    /// Mean loss and metrics over the epoch so far.
    pub averages: &'a Averages,
}

/// The argument of [`Callback::on_epoch_end`]: the epoch just finished, with its loss and metrics.
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
    /// The epoch, counted from 0.
    pub epoch: usize,
    /// The number of steps in the epoch.
    pub steps: usize,
    /// Loss and metrics by name, as in Keras' `logs`: `loss`, `accuracy`, and with a validation set `val_loss`, `val_accuracy`.
    pub numbers: &'a [(String, f64)],
}

impl EpochEnd<'_> {
    /// The loss or metric of this name, such as `val_loss`.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.numbers.iter().find(|(number, _)| number == name).map(|(_, value)| *value)
    }
}

/// Code that runs while a model trains, at the points where Keras calls its `Callback`. The default of every method does nothing.
///
/// A callback may read and change the model, set the learning rate, and stop training. If it returns an error, training calls
/// `on_train_end` and ends. The model keeps the weights trained so far.
///
/// ```
/// # use engraft_data::Arrays;
/// # use engraft_nn::prelude::*;
/// use engraft_nn::Result;
/// use engraft_train::{Callback, EpochEnd, Fit, Train, Training};
///
/// /// Stops as soon as the loss is below a threshold.
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
/// # let model = Sequential::new().add(Input::new([2])).add(Dense::new(2).activation(Softmax)).build()?;
/// # model.compile(Adam::new(0.1), Loss::categorical_crossentropy(), [Metric::Accuracy])?;
/// # let x = Tensor::new([4, 2], vec![0.0, 1.0, 1.0, 0.0, 0.1, 0.9, 0.8, 0.0])?;
/// # let y = Tensor::new([4, 2], vec![1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0])?;
/// # let data = Arrays::new(x, y)?;
/// let history = model.fit(&data, Fit::new().epochs(1000).callback(&mut GoodEnough(0.1)))?;
/// assert!(history.epochs() < 1000);
/// assert!(history.last("loss").is_some_and(|loss| loss < 0.1));
/// # Ok::<(), engraft_nn::Error>(())
/// ```
///
/// The methods are called in this order:
///
/// ```
/// # use engraft_data::Arrays;
/// # use engraft_nn::prelude::*;
/// use engraft_nn::Result;
/// use engraft_train::{BatchEnd, Callback, EpochEnd, Fit, Train, TrainBegin, Training};
///
/// /// Records the calls.
/// #[derive(Default)]
/// struct Calls(Vec<&'static str>);
///
/// impl Calls {
///     fn record(&mut self, call: &'static str) -> Result<()> {
///         self.0.push(call);
///         Ok(())
///     }
/// }
///
/// impl Callback for Calls {
///     fn on_train_begin(&mut self, _: &TrainBegin, _: &mut Training<'_>) -> Result<()> {
///         self.record("train begin")
///     }
///     fn on_epoch_begin(&mut self, _epoch: usize, _: &mut Training<'_>) -> Result<()> {
///         self.record("epoch begin")
///     }
///     fn on_batch_begin(&mut self, _step: usize, _: &mut Training<'_>) -> Result<()> {
///         self.record("batch begin")
///     }
///     fn on_batch_end(&mut self, _: &BatchEnd<'_>, _: &mut Training<'_>) -> Result<()> {
///         self.record("batch end")
///     }
///     fn on_validation_begin(&mut self, _: &mut Training<'_>) -> Result<()> {
///         self.record("validation begin")
///     }
///     fn on_validation_end(&mut self, _: &mut Training<'_>) -> Result<()> {
///         self.record("validation end")
///     }
///     fn on_epoch_end(&mut self, _: &EpochEnd<'_>, _: &mut Training<'_>) -> Result<()> {
///         self.record("epoch end")
///     }
///     fn on_train_end(&mut self, _: &mut Training<'_>) -> Result<()> {
///         self.record("train end")
///     }
/// }
/// # let model = Sequential::new().add(Input::new([2])).add(Dense::new(2).activation(Softmax)).build()?;
/// # model.compile(Adam::new(0.1), Loss::categorical_crossentropy(), [Metric::Accuracy])?;
/// # let x = Tensor::new([4, 2], vec![0.0, 1.0, 1.0, 0.0, 0.1, 0.9, 0.8, 0.0])?;
/// # let y = Tensor::new([4, 2], vec![1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0])?;
/// # let data = Arrays::new(x, y)?;
/// let mut calls = Calls::default();
/// model.fit(&data, Fit::new().validation(&data).callback(&mut calls))?;
/// let step = ["batch begin", "batch end"];
/// let validation = ["validation begin", "validation end"];
/// let expected = [&["train begin", "epoch begin"], &step[..], &validation, &["epoch end", "train end"]].concat();
/// assert_eq!(calls.0, expected);
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[expect(unused_variables, reason = "the defaults do nothing")]
pub trait Callback {
    /// Called before the first step.
    ///
    /// # Errors
    /// Any error ends training.
    fn on_train_begin(&mut self, begin: &TrainBegin, training: &mut Training<'_>) -> Result<()> {
        Ok(())
    }

    /// Called before the first step of an epoch. Epochs are counted from 0.
    ///
    /// # Errors
    /// Any error ends training.
    fn on_epoch_begin(&mut self, epoch: usize, training: &mut Training<'_>) -> Result<()> {
        Ok(())
    }

    /// Called before a step (Keras' `on_train_batch_begin`). Steps are counted from 0 in each epoch.
    ///
    /// # Errors
    /// Any error ends training.
    fn on_batch_begin(&mut self, step: usize, training: &mut Training<'_>) -> Result<()> {
        Ok(())
    }

    /// Called after a step (Keras' `on_train_batch_end`).
    ///
    /// # Errors
    /// Any error ends training.
    fn on_batch_end(&mut self, end: &BatchEnd<'_>, training: &mut Training<'_>) -> Result<()> {
        Ok(())
    }

    /// Called before validation (Keras' `on_test_begin`).
    ///
    /// # Errors
    /// Any error ends training.
    fn on_validation_begin(&mut self, training: &mut Training<'_>) -> Result<()> {
        Ok(())
    }

    /// Called after validation (Keras' `on_test_end`).
    ///
    /// # Errors
    /// Any error ends training.
    fn on_validation_end(&mut self, training: &mut Training<'_>) -> Result<()> {
        Ok(())
    }

    /// Called after an epoch and its validation.
    ///
    /// # Errors
    /// Any error ends training.
    fn on_epoch_end(&mut self, end: &EpochEnd<'_>, training: &mut Training<'_>) -> Result<()> {
        Ok(())
    }

    /// Called at the end of training, also after an error.
    ///
    /// # Errors
    /// Training returns this error, unless it has failed already.
    fn on_train_end(&mut self, training: &mut Training<'_>) -> Result<()> {
        Ok(())
    }
}
