//! [`PolynomialDecay`], a learning rate schedule.

use serde::{Deserialize, Serialize};

use super::{check_non_negative, steps};
use crate::Result;

/// Decays the learning rate to an end rate in `decay_steps` steps, along a power of the fraction of steps that remain (Keras'
/// `PolynomialDecay`): `(initial_learning_rate - end_learning_rate) * (1 - iteration / decay_steps) ^ power +
/// end_learning_rate`.
///
/// ```
/// use engraft_nn::prelude::*;
/// let linear = PolynomialDecay::new(0.5, 1000).end_learning_rate(0.25);
/// assert_eq!((linear.at(0), linear.at(500), linear.at(1000), linear.at(5000)), (0.5, 0.375, 0.25, 0.25));
/// let optimizer: Optimizer = Sgd::new(linear.clone().power(2.0)).into();
/// assert_eq!(optimizer.learning_rate().at(500), 0.3125);
/// // With `cycle`, the decay is stretched over twice the steps when the first 1000 are over.
/// assert_eq!(linear.cycle(true).at(1500), 0.3125);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolynomialDecay {
    /// Learning rate of the first step.
    pub initial_learning_rate: f64,
    /// Steps from the initial rate to the end rate.
    #[serde(deserialize_with = "steps::deserialize")]
    pub decay_steps: u64,
    /// Learning rate after `decay_steps` steps.
    #[serde(default = "default_end")]
    pub end_learning_rate: f64,
    /// Exponent of the decay; 1 is linear.
    #[serde(default = "default_power")]
    pub power: f64,
    /// Whether the rate jumps up again after its end: each time, the same curve is stretched over another `decay_steps` steps.
    #[serde(default)]
    pub cycle: bool,
    /// Name of the TensorFlow operation, which Keras' config contains.
    #[serde(default = "default_name")]
    pub name: String,
}

fn default_end() -> f64 {
    0.0001
}

fn default_power() -> f64 {
    1.0
}

fn default_name() -> String {
    "PolynomialDecay".into()
}

impl PolynomialDecay {
    /// A linear decay to a rate of 0.0001.
    pub fn new(initial_learning_rate: f64, decay_steps: u64) -> Self {
        Self {
            initial_learning_rate,
            decay_steps,
            end_learning_rate: default_end(),
            power: default_power(),
            cycle: false,
            name: default_name(),
        }
    }

    /// Learning rate after `decay_steps` steps; 0.0001 by default.
    #[must_use]
    pub fn end_learning_rate(mut self, rate: f64) -> Self {
        self.end_learning_rate = rate;
        self
    }

    /// Exponent of the decay; 1 by default, which is linear.
    #[must_use]
    pub fn power(mut self, power: f64) -> Self {
        self.power = power;
        self
    }

    /// Whether the rate jumps up again after its end: each time, the same curve is stretched over another `decay_steps` steps.
    /// False by default: the end rate stays.
    #[must_use]
    pub fn cycle(mut self, cycle: bool) -> Self {
        self.cycle = cycle;
        self
    }

    /// The learning rate of the step after `iteration` steps.
    pub fn at(&self, iteration: u64) -> f64 {
        let progress = iteration as f64 / self.decay_steps as f64;
        // The iteration at which a cycle ends still belongs to that cycle, hence `ceil`.
        let cycles = if self.cycle { progress.ceil().max(1.0) } else { 1.0 };
        let remaining = 1.0 - (progress / cycles).min(1.0);
        (self.initial_learning_rate - self.end_learning_rate) * remaining.powf(self.power) + self.end_learning_rate
    }

    pub(super) fn check(&self) -> Result<()> {
        steps::check("decay_steps", self.decay_steps)?;
        check_non_negative("initial_learning_rate", self.initial_learning_rate)?;
        check_non_negative("end_learning_rate", self.end_learning_rate)?;
        check_non_negative("power", self.power)
    }
}
