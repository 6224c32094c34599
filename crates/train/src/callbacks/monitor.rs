//! Whether a number has become better.

use engraft_nn::{Error, Result};

use crate::EpochEnd;

/// A number of each epoch that is watched, and the best so far. Accuracies grow, everything else falls, as in Keras' mode `auto`.
///
/// ```
/// use engraft_train::EpochEnd;
/// use engraft_train::callbacks::Monitor;
/// let mut monitor = Monitor::new("val_accuracy");
/// let numbers = |accuracy| [("val_accuracy".to_owned(), accuracy)];
/// let mut see = |accuracy| monitor.improves(&EpochEnd { epoch: 0, steps: 1, numbers: &numbers(accuracy) }, 0.0);
/// assert_eq!([see(0.5)?, see(0.4)?, see(0.6)?], [true, false, true]);
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Monitor {
    name: String,
    grows: bool,
    best: Option<f64>,
}

impl Monitor {
    /// Watches the number of this name, such as `val_loss`.
    pub fn new(name: impl Into<String>) -> Self {
        let name = name.into();
        let grows = name.ends_with("accuracy");
        Self { name, grows, best: None }
    }

    /// The best so far.
    pub fn best(&self) -> Option<f64> {
        self.best
    }

    /// Forgets the best so far.
    pub fn reset(&mut self) {
        self.best = None;
    }

    /// The number in what an epoch reports.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn value(&self, end: &EpochEnd<'_>) -> Result<f64> {
        end.get(&self.name).ok_or_else(|| {
            let names: Vec<&str> = end.numbers.iter().map(|(name, _)| name.as_str()).collect();
            Error::new("monitor", format_args!("one of {}", names.join(", ")), format_args!("`{}`", self.name))
                .hint("numbers of the validation set need validation data in fit")
        })
    }

    /// Whether an epoch's number is better than the best so far by more than `min_delta`; it is the best then.
    ///
    /// # Errors
    /// The epoch has no such number.
    pub fn improves(&mut self, end: &EpochEnd<'_>, min_delta: f64) -> Result<bool> {
        let value = self.value(end)?;
        let better = self.best.is_none_or(|best| match self.grows {
            true => value > best + min_delta,
            false => value < best - min_delta,
        });
        // What is not a number is never better.
        let better = better && !value.is_nan();
        if better {
            self.best = Some(value);
        }
        Ok(better)
    }
}
