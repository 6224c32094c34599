//! Learning rate schedules, with the arguments, defaults and formulas of Keras' `keras.optimizers.schedules`.
//!
//! Rates are computed in f64. Keras computes them in f32, so the two differ by rounding.

mod cosine_decay;
mod cosine_decay_restarts;
mod exponential_decay;
mod inverse_time_decay;
mod piecewise_constant_decay;
mod polynomial_decay;
mod steps;

pub use cosine_decay::CosineDecay;
pub use cosine_decay_restarts::CosineDecayRestarts;
pub use exponential_decay::ExponentialDecay;
pub use inverse_time_decay::InverseTimeDecay;
pub use piecewise_constant_decay::PiecewiseConstantDecay;
pub use polynomial_decay::PolynomialDecay;
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// A learning rate schedule with its options.
///
/// ```
/// use engraft_nn::LearningRateSchedule;
/// use engraft_nn::prelude::*;
/// let schedule = LearningRateSchedule::from(PiecewiseConstantDecay::new([100], [1e-3, 1e-4]));
/// assert_eq!((schedule.at(100), schedule.at(101)), (1e-3, 1e-4));
/// assert_eq!(schedule.class_name(), "PiecewiseConstantDecay");
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "class_name", content = "config")]
pub enum LearningRateSchedule {
    /// Decays the rate along half a cosine, after an optional linear warmup.
    CosineDecay(CosineDecay),
    /// Half a cosine that restarts whenever it ends (SGDR).
    CosineDecayRestarts(CosineDecayRestarts),
    /// Multiplies the rate by a constant factor every `decay_steps` steps.
    ExponentialDecay(ExponentialDecay),
    /// Divides the initial rate by a number that grows linearly.
    InverseTimeDecay(InverseTimeDecay),
    /// Piecewise constant: the rate changes after each of several given iterations.
    PiecewiseConstantDecay(PiecewiseConstantDecay),
    /// Decays the rate to an end rate, along a power of the fraction of steps that remain.
    PolynomialDecay(PolynomialDecay),
}

impl LearningRateSchedule {
    /// The learning rate of the step after `iteration` steps.
    pub fn at(&self, iteration: u64) -> f64 {
        match self {
            Self::CosineDecay(schedule) => schedule.at(iteration),
            Self::CosineDecayRestarts(schedule) => schedule.at(iteration),
            Self::ExponentialDecay(schedule) => schedule.at(iteration),
            Self::InverseTimeDecay(schedule) => schedule.at(iteration),
            Self::PiecewiseConstantDecay(schedule) => schedule.at(iteration),
            Self::PolynomialDecay(schedule) => schedule.at(iteration),
        }
    }

    /// Keras' class name of the schedule.
    pub fn class_name(&self) -> &'static str {
        match self {
            Self::CosineDecay(_) => "CosineDecay",
            Self::CosineDecayRestarts(_) => "CosineDecayRestarts",
            Self::ExponentialDecay(_) => "ExponentialDecay",
            Self::InverseTimeDecay(_) => "InverseTimeDecay",
            Self::PiecewiseConstantDecay(_) => "PiecewiseConstantDecay",
            Self::PolynomialDecay(_) => "PolynomialDecay",
        }
    }

    pub(super) fn check(&self) -> Result<()> {
        let checked = match self {
            Self::CosineDecay(schedule) => schedule.check(),
            Self::CosineDecayRestarts(schedule) => schedule.check(),
            Self::ExponentialDecay(schedule) => schedule.check(),
            Self::InverseTimeDecay(schedule) => schedule.check(),
            Self::PiecewiseConstantDecay(schedule) => schedule.check(),
            Self::PolynomialDecay(schedule) => schedule.check(),
        };
        checked.map_err(|error| error.within(format_args!("learning rate schedule {}", self.class_name())))
    }
}

macro_rules! from_schedules {
    ($($schedule:ident),*) => {$(
        impl From<$schedule> for LearningRateSchedule {
            fn from(schedule: $schedule) -> Self {
                Self::$schedule(schedule)
            }
        }
    )*};
}
from_schedules!(
    CosineDecay,
    CosineDecayRestarts,
    ExponentialDecay,
    InverseTimeDecay,
    PiecewiseConstantDecay,
    PolynomialDecay
);

/// Checks that a rate or a factor of rates is finite and not negative: a negative rate would ascend the gradient.
pub(super) fn check_non_negative(option: &str, value: f64) -> Result<()> {
    match value.is_finite() && value >= 0.0 {
        true => Ok(()),
        false => Err(Error::new(option, "a finite number from 0 up", value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LearningRate;

    #[test]
    fn arguments_are_checked_under_their_names() {
        let cases: [(LearningRateSchedule, &str); 6] = [
            (CosineDecay::new(0.1, 0).into(), "CosineDecay, decay_steps: expected 1 or more, received 0"),
            (CosineDecayRestarts::new(0.1, 0).into(), "CosineDecayRestarts, first_decay_steps: expected 1 or more"),
            (
                ExponentialDecay::new(0.1, 9, -0.5).into(),
                "ExponentialDecay, decay_rate: expected a finite number from 0",
            ),
            (
                InverseTimeDecay::new(f64::NAN, 9, 0.5).into(),
                "InverseTimeDecay, initial_learning_rate: expected a finite",
            ),
            (
                PiecewiseConstantDecay::new([], [0.1]).into(),
                "PiecewiseConstantDecay, boundaries: expected at least one",
            ),
            (
                PolynomialDecay::new(0.1, 9).power(-1.0).into(),
                "PolynomialDecay, power: expected a finite number from 0",
            ),
        ];
        for (schedule, expected) in cases {
            let error = LearningRate::from(schedule).check().unwrap_err().to_string();
            assert!(error.starts_with(&format!("learning rate schedule {expected}")), "{error}");
        }
    }
}
