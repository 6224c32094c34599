//! [`PiecewiseConstantDecay`], a learning rate schedule.

use serde::{Deserialize, Serialize};

use super::{check_non_negative, steps};
use crate::{Error, Result};

/// A piecewise constant learning rate (Keras' `PiecewiseConstantDecay`): `values[i]` up to and including iteration
/// `boundaries[i]`, and the last value after the last boundary.
///
/// ```
/// use engraft_nn::prelude::*;
/// let schedule = PiecewiseConstantDecay::new([1000, 2000], [0.1, 0.01, 0.001]);
/// assert_eq!((schedule.at(1000), schedule.at(1001), schedule.at(2001)), (0.1, 0.01, 0.001));
/// let optimizer: Optimizer = Sgd::new(schedule).into();
/// assert_eq!(optimizer.learning_rate().at(0), 0.1);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PiecewiseConstantDecay {
    /// The last iteration of each learning rate, in ascending order. The last rate has no boundary.
    #[serde(deserialize_with = "steps::deserialize_list")]
    pub boundaries: Vec<u64>,
    /// Learning rates, one more than boundaries.
    pub values: Vec<f64>,
    /// Name of the TensorFlow operation, which Keras' config contains.
    #[serde(default = "default_name")]
    pub name: String,
}

fn default_name() -> String {
    "PiecewiseConstant".into()
}

impl PiecewiseConstantDecay {
    /// A schedule with the rate `values[i]` up to iteration `boundaries[i]`. The last value has no boundary.
    pub fn new(boundaries: impl Into<Vec<u64>>, values: impl Into<Vec<f64>>) -> Self {
        Self { boundaries: boundaries.into(), values: values.into(), name: default_name() }
    }

    /// The learning rate of the step after `iteration` steps. NaN if a value is missing; `compile` refuses such a schedule.
    pub fn at(&self, iteration: u64) -> f64 {
        let piece = self.boundaries.partition_point(|&boundary| boundary < iteration);
        self.values.get(piece).copied().unwrap_or(f64::NAN)
    }

    pub(super) fn check(&self) -> Result<()> {
        let Self { boundaries, values, .. } = self;
        if boundaries.is_empty() {
            return Err(Error::new("boundaries", "at least one", "none").hint("use a number as the learning rate"));
        }
        if !boundaries.is_sorted_by(|one, next| one < next) {
            return Err(Error::new("boundaries", "iterations in rising order", format_args!("{boundaries:?}")));
        }
        if values.len() != boundaries.len() + 1 {
            let expected = format!("{} rates, one more than boundaries", boundaries.len() + 1);
            return Err(Error::new("values", expected, values.len()));
        }
        values.iter().try_for_each(|&value| check_non_negative("values", value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boundaries_rise_and_values_are_one_more() {
        let error = |schedule: PiecewiseConstantDecay| schedule.check().unwrap_err().to_string();
        assert_eq!(
            error(PiecewiseConstantDecay::new([9, 9], [0.1, 0.2, 0.3])),
            "boundaries: expected iterations in rising order, received [9, 9]"
        );
        assert_eq!(
            error(PiecewiseConstantDecay::new([9], [0.1])),
            "values: expected 2 rates, one more than boundaries, received 1"
        );
        assert!(error(PiecewiseConstantDecay::new([9], [0.1, -0.1])).ends_with("received -0.1"));
    }
}
