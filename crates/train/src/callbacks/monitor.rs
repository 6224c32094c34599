//! [`Monitor`]: tracks the best value of a loss or metric. Callbacks that watch for improvement use it.

use engraft_nn::{Error, Result};

use crate::EpochEnd;

/// Tracks a loss or metric over epochs, and its best value so far.
///
/// As in Keras' mode `auto`, higher is better for accuracies, and lower is better for everything else.
///
/// ```
/// use engraft_train::EpochEnd;
/// use engraft_train::callbacks::Monitor;
/// let mut monitor = Monitor::new("val_accuracy");
/// let mut improved = Vec::new();
/// for (epoch, accuracy) in [0.5, 0.4, 0.6].into_iter().enumerate() {
///     let numbers = [("val_accuracy".to_owned(), accuracy)];
///     let end = EpochEnd { epoch, steps: 1, numbers: &numbers };
///     assert_eq!(monitor.value(&end)?, accuracy);
///     improved.push(monitor.improves(&end, 0.0)?);
/// }
/// assert_eq!(improved, [true, false, true]);
/// assert_eq!(monitor.best(), Some(0.6));
/// monitor.reset();
/// assert_eq!(monitor.best(), None);
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Monitor {
    name: String,
    higher_is_better: bool,
    best: Option<f64>,
}

impl Monitor {
    /// Tracks the loss or metric of this name, such as `val_loss`.
    pub fn new(name: impl Into<String>) -> Self {
        let name = name.into();
        let higher_is_better = name.ends_with("accuracy");
        Self { name, higher_is_better, best: None }
    }

    /// The best value so far; `None` before the first.
    pub fn best(&self) -> Option<f64> {
        self.best
    }

    /// Forgets the best value.
    pub fn reset(&mut self) {
        self.best = None;
    }

    /// The value of the loss or metric in an epoch.
    ///
    /// # Errors
    /// The epoch has no loss or metric of that name.
    pub fn value(&self, end: &EpochEnd<'_>) -> Result<f64> {
        end.get(&self.name).ok_or_else(|| {
            let names: Vec<&str> = end.numbers.iter().map(|(name, _)| name.as_str()).collect();
            Error::new("monitor", format_args!("one of {}", names.join(", ")), format_args!("`{}`", self.name))
                .hint("numbers of the validation set need validation data in fit")
        })
    }

    /// Whether an epoch's value is better than the best by more than `min_delta`. If so, it becomes the best.
    ///
    /// # Errors
    /// The epoch has no loss or metric of that name.
    pub fn improves(&mut self, end: &EpochEnd<'_>, min_delta: f64) -> Result<bool> {
        let value = self.value(end)?;
        let better = self.best.is_none_or(|best| match self.higher_is_better {
            true => value > best + min_delta,
            false => value < best - min_delta,
        });
        // NaN is never better, not even as the first value.
        let better = better && !value.is_nan();
        if better {
            self.best = Some(value);
        }
        Ok(better)
    }
}
