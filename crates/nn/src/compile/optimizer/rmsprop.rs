//! [`RmsProp`]: the options of RMSprop.

use serde::{Deserialize, Serialize};

use crate::LearningRate;

/// RMSprop (Tieleman and Hinton 2012, Coursera lecture 6.5; Keras' `RMSprop`).
///
/// ```
/// use engraft_nn::prelude::*;
/// let optimizer: Optimizer = RmsProp::new(1e-3).momentum(0.9).centered(true).into();
/// // Mean square and mean of the gradient, and momentum.
/// assert_eq!(optimizer.slots(), 3);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(missing_docs, reason = "fields are Keras' arguments of the same names")]
pub struct RmsProp {
    pub learning_rate: LearningRate,
    pub weight_decay: Option<f64>,
    pub rho: f64,
    pub momentum: f64,
    pub epsilon: f64,
    pub centered: bool,
}

impl Default for RmsProp {
    fn default() -> Self {
        Self {
            learning_rate: 0.001.into(),
            weight_decay: None,
            rho: 0.9,
            momentum: 0.0,
            epsilon: 1e-7,
            centered: false,
        }
    }
}

impl RmsProp {
    /// RMSprop with Keras' defaults: rho of 0.9, epsilon of 1e-7, no momentum, not centered.
    pub fn new(learning_rate: impl Into<LearningRate>) -> Self {
        Self { learning_rate: learning_rate.into(), ..Self::default() }
    }

    /// Momentum: fraction of the previous step that is added to the next; 0 by default.
    #[must_use]
    pub fn momentum(mut self, momentum: f64) -> Self {
        self.momentum = momentum;
        self
    }

    /// Whether to divide by the standard deviation of the gradient instead of its root mean square; false by default.
    #[must_use]
    pub fn centered(mut self, centered: bool) -> Self {
        self.centered = centered;
        self
    }
}
