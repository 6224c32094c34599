//! `ExponentialDecay`.

use serde::{Deserialize, Serialize};

use super::{check_from_zero, steps};
use crate::Result;

/// Multiplies the learning rate by `decay_rate` every `decay_steps` steps (Keras' `ExponentialDecay`):
/// `initial_learning_rate * decay_rate ^ (iteration / decay_steps)`.
///
/// ```
/// use engraft_nn::prelude::*;
/// let schedule = ExponentialDecay::new(0.1, 1000, 0.5);
/// assert_eq!((schedule.at(0), schedule.at(1000), schedule.at(2000)), (0.1, 0.05, 0.025));
/// let optimizer: Optimizer = Sgd::new(schedule.staircase(true)).into();
/// assert_eq!(optimizer.learning_rate().at(999), 0.1);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExponentialDecay {
    /// Rate of the first step.
    pub initial_learning_rate: f64,
    /// Steps from one factor of `decay_rate` to the next.
    #[serde(deserialize_with = "steps::deserialize")]
    pub decay_steps: u64,
    /// Factor; above 1 the rate grows.
    pub decay_rate: f64,
    /// Whether the rate changes every `decay_steps` steps, not every step.
    #[serde(default)]
    pub staircase: bool,
    /// Keras' name of the operation.
    #[serde(default = "default_name")]
    pub name: String,
}

fn default_name() -> String {
    "ExponentialDecay".into()
}

impl ExponentialDecay {
    /// Changes the rate at every step.
    pub fn new(initial_learning_rate: f64, decay_steps: u64, decay_rate: f64) -> Self {
        Self { initial_learning_rate, decay_steps, decay_rate, staircase: false, name: default_name() }
    }

    /// Whether the rate changes every `decay_steps` steps, not every step; false by default.
    #[must_use]
    pub fn staircase(mut self, staircase: bool) -> Self {
        self.staircase = staircase;
        self
    }

    /// The rate of the step that follows `iteration` others.
    pub fn at(&self, iteration: u64) -> f64 {
        let decays = iteration as f64 / self.decay_steps as f64;
        let decays = if self.staircase { decays.floor() } else { decays };
        self.initial_learning_rate * self.decay_rate.powf(decays)
    }

    pub(super) fn check(&self) -> Result<()> {
        steps::check("decay_steps", self.decay_steps)?;
        check_from_zero("initial_learning_rate", self.initial_learning_rate)?;
        check_from_zero("decay_rate", self.decay_rate)
    }
}
