//! [`ExponentialDecay`], a learning rate schedule.

use serde::{Deserialize, Serialize};

use super::{check_non_negative, steps};
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
    /// Learning rate of the first step.
    pub initial_learning_rate: f64,
    /// Number of steps over which the rate is multiplied by `decay_rate` once.
    #[serde(deserialize_with = "steps::deserialize")]
    pub decay_steps: u64,
    /// Factor of the rate every `decay_steps` steps; above 1 the rate grows.
    pub decay_rate: f64,
    /// Whether the rate changes only every `decay_steps` steps.
    #[serde(default)]
    pub staircase: bool,
    /// Name of the TensorFlow operation, which Keras' config contains.
    #[serde(default = "default_name")]
    pub name: String,
}

fn default_name() -> String {
    "ExponentialDecay".into()
}

impl ExponentialDecay {
    /// A schedule that changes the rate at every step.
    pub fn new(initial_learning_rate: f64, decay_steps: u64, decay_rate: f64) -> Self {
        Self { initial_learning_rate, decay_steps, decay_rate, staircase: false, name: default_name() }
    }

    /// Whether the rate changes only every `decay_steps` steps; false by default: it changes at every step.
    #[must_use]
    pub fn staircase(mut self, staircase: bool) -> Self {
        self.staircase = staircase;
        self
    }

    /// The learning rate of the step after `iteration` steps.
    pub fn at(&self, iteration: u64) -> f64 {
        let decays = steps::decays(iteration, self.decay_steps, self.staircase);
        self.initial_learning_rate * self.decay_rate.powf(decays)
    }

    pub(super) fn check(&self) -> Result<()> {
        steps::check("decay_steps", self.decay_steps)?;
        check_non_negative("initial_learning_rate", self.initial_learning_rate)?;
        check_non_negative("decay_rate", self.decay_rate)
    }
}
