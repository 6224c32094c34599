//! `CosineDecay`.

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

use super::{check_from_zero, steps};
use crate::Result;

/// Half a cosine from the initial learning rate to `alpha` times it, after an optional linear warmup (Keras' `CosineDecay`;
/// Loshchilov and Hutter 2016, arXiv 1608.03983; warmup: Goyal et al. 2017, arXiv 1706.02677).
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
    /// Rate of the first step.
    pub initial_learning_rate: f64,
    /// Steps of the decay, those of the warmup not counted.
    #[serde(deserialize_with = "steps::deserialize")]
    pub decay_steps: u64,
    /// Last rate, as a share of the rate at which the decay begins.
    #[serde(default)]
    pub alpha: f64,
    /// Keras' name of the operation.
    #[serde(default = "default_name")]
    pub name: String,
    /// Rate at the end of the warmup; without it there is no warmup.
    #[serde(default)]
    pub warmup_target: Option<f64>,
    /// Steps of the warmup; without effect where there is no target.
    #[serde(default, deserialize_with = "steps::deserialize")]
    pub warmup_steps: u64,
}

fn default_name() -> String {
    "CosineDecay".into()
}

impl CosineDecay {
    /// To a rate of 0, without warmup.
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

    /// Last rate, as a share of the rate at which the decay begins; 0 by default.
    #[must_use]
    pub fn alpha(mut self, alpha: f64) -> Self {
        self.alpha = alpha;
        self
    }

    /// Rate at the end of the warmup, from which the decay begins; none by default, which skips the warmup.
    #[must_use]
    pub fn warmup_target(mut self, rate: f64) -> Self {
        self.warmup_target = Some(rate);
        self
    }

    /// Steps from the initial rate to the warmup's target; 0 by default. Without a target they have no effect.
    #[must_use]
    pub fn warmup_steps(mut self, steps: u64) -> Self {
        self.warmup_steps = steps;
        self
    }

    /// The rate of the step that follows `iteration` others.
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

    /// The rate after `steps` steps of the decay from `rate`.
    fn decay(&self, rate: f64, steps: u64) -> f64 {
        let progress = steps.min(self.decay_steps) as f64 / self.decay_steps as f64;
        rate * cosine(progress, self.alpha)
    }

    pub(super) fn check(&self) -> Result<()> {
        steps::check("decay_steps", self.decay_steps)?;
        check_from_zero("initial_learning_rate", self.initial_learning_rate)?;
        check_from_zero("alpha", self.alpha)?;
        self.warmup_target.map_or(Ok(()), |target| check_from_zero("warmup_target", target))
    }
}

/// Half a cosine from 1 to `alpha`, at a progress from 0 to 1.
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
