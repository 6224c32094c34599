//! [`CosineDecay`], a learning rate schedule.

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

use super::{check_non_negative, steps};
use crate::Result;

/// Decays the learning rate along half a cosine, after an optional linear warmup. The decay ends at `alpha` times the rate at
/// which it begins.
///
/// Keras' `CosineDecay`. Source of the decay: Loshchilov and Hutter 2016, arXiv 1608.03983; of the warmup: Goyal et al. 2017,
/// arXiv 1706.02677.
///
/// ```
/// use engraft_nn::prelude::*;
/// let decay = CosineDecay::new(0.1, 1000).alpha(0.5);
/// assert_eq!((decay.at(0), decay.at(1000), decay.at(5000)), (0.1, 0.05, 0.05));
///
/// // From 0 to 0.2 in 100 steps, and back to 0 in the 1000 steps after them.
/// let warmup = CosineDecay::new(0.0, 1000).warmup_target(0.2).warmup_steps(100);
/// assert_eq!((warmup.at(0), warmup.at(50), warmup.at(100), warmup.at(1100)), (0.0, 0.1, 0.2, 0.0));
/// let optimizer: Optimizer = Adam::new(warmup).into();
/// assert_eq!(optimizer.learning_rate().at(50), 0.1);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CosineDecay {
    /// Learning rate of the first step.
    pub initial_learning_rate: f64,
    /// Steps of the decay, without the warmup.
    #[serde(deserialize_with = "steps::deserialize")]
    pub decay_steps: u64,
    /// Final rate, as a fraction of the rate at which the decay begins.
    #[serde(default)]
    pub alpha: f64,
    /// Name of the TensorFlow operation, which Keras' config contains.
    #[serde(default = "default_name")]
    pub name: String,
    /// Learning rate at the end of the warmup; `None` for no warmup.
    #[serde(default)]
    pub warmup_target: Option<f64>,
    /// Steps of the warmup; unused if `warmup_target` is `None`.
    #[serde(default, deserialize_with = "steps::deserialize")]
    pub warmup_steps: u64,
}

fn default_name() -> String {
    "CosineDecay".into()
}

impl CosineDecay {
    /// A decay to a rate of 0, without warmup.
    pub fn new(initial_learning_rate: f64, decay_steps: u64) -> Self {
        Self {
            initial_learning_rate,
            decay_steps,
            alpha: 0.0,
            name: default_name(),
            warmup_target: None,
            warmup_steps: 0,
        }
    }

    /// Final rate, as a fraction of the rate at which the decay begins; 0 by default.
    #[must_use]
    pub fn alpha(mut self, alpha: f64) -> Self {
        self.alpha = alpha;
        self
    }

    /// Learning rate at the end of the warmup, where the decay begins. None by default: there is no warmup.
    #[must_use]
    pub fn warmup_target(mut self, rate: f64) -> Self {
        self.warmup_target = Some(rate);
        self
    }

    /// Steps of the warmup, from the initial rate to the target; 0 by default. Unused without a target.
    #[must_use]
    pub fn warmup_steps(mut self, steps: u64) -> Self {
        self.warmup_steps = steps;
        self
    }

    /// The learning rate of the step after `iteration` steps.
    pub fn at(&self, iteration: u64) -> f64 {
        let initial = self.initial_learning_rate;
        match self.warmup_target {
            None => self.decay(initial, iteration),
            Some(target) if iteration < self.warmup_steps => {
                (target - initial) * (iteration as f64 / self.warmup_steps as f64) + initial
            }
            Some(target) => self.decay(target, iteration - self.warmup_steps),
        }
    }

    /// The learning rate after `steps` steps of a decay from `rate`.
    fn decay(&self, rate: f64, steps: u64) -> f64 {
        let progress = steps.min(self.decay_steps) as f64 / self.decay_steps as f64;
        rate * cosine(progress, self.alpha)
    }

    pub(super) fn check(&self) -> Result<()> {
        steps::check("decay_steps", self.decay_steps)?;
        check_non_negative("initial_learning_rate", self.initial_learning_rate)?;
        check_non_negative("alpha", self.alpha)?;
        self.warmup_target.map_or(Ok(()), |target| check_non_negative("warmup_target", target))
    }
}

/// Half a cosine that falls from 1 to `alpha` while `progress` goes from 0 to 1.
pub(super) fn cosine(progress: f64, alpha: f64) -> f64 {
    (1.0 - alpha) * 0.5 * (1.0 + (PI * progress).cos()) + alpha
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warmup_and_decay_meet_at_the_target() {
        let schedule = CosineDecay::new(0.1, 10).warmup_target(0.5).warmup_steps(4).alpha(0.2);
        schedule.check().unwrap();
        let rates: Vec<f64> = (0..20).map(|iteration| schedule.at(iteration)).collect();
        assert_eq!(rates[4], 0.5);
        assert!(rates[..5].is_sorted_by(|one, next| one < next), "{rates:?}");
        assert!(rates[4..15].is_sorted_by(|one, next| one > next), "{rates:?}");
        assert!(rates[14..].iter().all(|rate| (rate - 0.1).abs() < 1e-15), "{rates:?}");
    }
}
