//! [`CosineDecayRestarts`], a learning rate schedule.

use serde::{Deserialize, Serialize};

use super::cosine_decay::cosine;
use super::{check_non_negative, steps};
use crate::{Error, Result};

/// Decays the learning rate along half a cosine, again and again (SGDR, Loshchilov and Hutter 2016, arXiv 1608.03983; Keras'
/// `CosineDecayRestarts`).
///
/// Each period has `t_mul` times the steps of the previous one. Its first rate is `m_mul` times that of the previous period, if
/// both are measured from the lowest rate, `alpha * initial_learning_rate`.
///
/// ```
/// use engraft_nn::prelude::*;
/// let schedule = CosineDecayRestarts::new(0.1, 100).m_mul(0.5);
/// // The second period has 200 steps, the third 400.
/// assert_eq!((schedule.at(0), schedule.at(100), schedule.at(300)), (0.1, 0.05, 0.025));
/// let optimizer: Optimizer = Sgd::new(schedule).into();
/// assert!(optimizer.learning_rate().at(99) < 1e-4);
///
/// // Periods of equal length that never fall below a tenth of the initial rate.
/// let equal = CosineDecayRestarts::new(0.1, 100).t_mul(1.0).alpha(0.1);
/// assert_eq!((equal.at(100), equal.at(200)), (0.1, 0.1));
/// assert!(equal.at(199) > 0.01);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CosineDecayRestarts {
    /// Learning rate of the first step.
    pub initial_learning_rate: f64,
    /// Steps of the first period.
    #[serde(deserialize_with = "steps::deserialize")]
    pub first_decay_steps: u64,
    /// Ratio of a period's steps to those of the previous period.
    #[serde(default = "default_t_mul")]
    pub t_mul: f64,
    /// Ratio of a period's first rate to that of the previous period, both measured from the lowest rate.
    #[serde(default = "default_m_mul")]
    pub m_mul: f64,
    /// Lowest rate, as a fraction of the initial rate.
    #[serde(default)]
    pub alpha: f64,
    /// Name of the TensorFlow operation, which Keras' config contains.
    #[serde(default = "default_name")]
    pub name: String,
}

fn default_t_mul() -> f64 {
    2.0
}

fn default_m_mul() -> f64 {
    1.0
}

fn default_name() -> String {
    "SGDRDecay".into()
}

impl CosineDecayRestarts {
    /// Periods that decay from the initial rate to 0, each in twice the steps of the previous one.
    pub fn new(initial_learning_rate: f64, first_decay_steps: u64) -> Self {
        Self {
            initial_learning_rate,
            first_decay_steps,
            t_mul: default_t_mul(),
            m_mul: default_m_mul(),
            alpha: 0.0,
            name: default_name(),
        }
    }

    /// Ratio of a period's steps to those of the previous period; 2 by default.
    #[must_use]
    pub fn t_mul(mut self, factor: f64) -> Self {
        self.t_mul = factor;
        self
    }

    /// Ratio of a period's first rate to that of the previous period, both measured from the lowest rate; 1 by default.
    #[must_use]
    pub fn m_mul(mut self, factor: f64) -> Self {
        self.m_mul = factor;
        self
    }

    /// Lowest rate, as a fraction of the initial rate; 0 by default.
    #[must_use]
    pub fn alpha(mut self, alpha: f64) -> Self {
        self.alpha = alpha;
        self
    }

    /// The learning rate of the step after `iteration` steps.
    pub fn at(&self, iteration: u64) -> f64 {
        let (restarts, progress) = self.period(iteration as f64 / self.first_decay_steps as f64);
        let height = self.m_mul.powf(restarts);
        // `alpha` is a fraction of the initial rate, not of the period's first rate.
        self.initial_learning_rate * (height * cosine(progress, 0.0) * (1.0 - self.alpha) + self.alpha)
    }

    /// Number of restarts so far, and progress in the current period from 0 to 1. `elapsed` is in units of the first period.
    fn period(&self, elapsed: f64) -> (f64, f64) {
        let ratio = self.t_mul;
        if ratio == 1.0 {
            return (elapsed.floor(), elapsed.fract());
        }
        // Start of period n, the sum 1 + t + … + t^(n-1) of the lengths before it: (t^n - 1) / (t - 1).
        let start = |restart: f64| (ratio.powf(restart) - 1.0) / (ratio - 1.0);
        let estimate = (1.0 + elapsed * (ratio - 1.0)).ln() / ratio.ln();
        // Rounding may put the first step of a period just before its start; the tolerance prevents a restart one step late.
        let nearest = estimate.round();
        let restarts = if start(nearest) <= elapsed * (1.0 + 1e-12) { nearest } else { nearest - 1.0 };
        (restarts, (elapsed - start(restarts)) / ratio.powf(restarts))
    }

    pub(super) fn check(&self) -> Result<()> {
        steps::check("first_decay_steps", self.first_decay_steps)?;
        check_non_negative("initial_learning_rate", self.initial_learning_rate)?;
        check_non_negative("m_mul", self.m_mul)?;
        check_non_negative("alpha", self.alpha)?;
        if self.t_mul.is_finite() && self.t_mul >= 1.0 {
            return Ok(());
        }
        Err(Error::new("t_mul", "a finite number from 1 up", self.t_mul).hint(
            "below 1, all periods together last first_decay_steps / (1 - t_mul) steps, and later steps have no rate",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_restart_begins_at_its_iteration() {
        // Steps of the first period, and the ratio of periods as a fraction, so that every length is a whole number.
        for (first, above, below) in [(7, 1, 1), (7, 2, 1), (7, 3, 1), (7, 10, 1), (1024, 3, 2), (100_000, 11, 10)] {
            let ratio = above as f64 / below as f64;
            let schedule = CosineDecayRestarts::new(0.1, first).t_mul(ratio).m_mul(0.9);
            let (mut start, mut length) = (0, first);
            for restart in 0..6 {
                let expected = 0.1 * 0.9_f64.powi(restart);
                let rate = schedule.at(start);
                assert!((rate - expected).abs() < 1e-9, "t_mul {ratio}, restart {restart}: {rate}");
                assert!(schedule.at(start + length - 1) < expected * 0.1, "t_mul {ratio}, before restart {restart}");
                (start, length) = (start + length, length * above / below);
            }
        }
    }

    #[test]
    fn shrinking_periods_are_refused() {
        let error = CosineDecayRestarts::new(0.1, 7).t_mul(0.5).check().unwrap_err().to_string();
        assert!(
            error.starts_with("t_mul: expected a finite number from 1 up, received 0.5\nhint: below 1,"),
            "{error}"
        );
    }
}
