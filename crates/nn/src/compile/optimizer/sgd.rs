//! [`Sgd`]: the options of stochastic gradient descent.

use serde::{Deserialize, Serialize};

use crate::LearningRate;

/// Stochastic gradient descent (Keras' `SGD`), with optional momentum.
///
/// ```
/// use engraft_nn::prelude::*;
/// let optimizer: Optimizer = Sgd::new(0.01).momentum(0.9).nesterov(true).into();
/// assert_eq!(optimizer.slots(), 1);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(missing_docs, reason = "fields are Keras' arguments of the same names")]
pub struct Sgd {
    pub learning_rate: LearningRate,
    pub weight_decay: Option<f64>,
    pub momentum: f64,
    pub nesterov: bool,
}

impl Default for Sgd {
    fn default() -> Self {
        Self { learning_rate: 0.01.into(), weight_decay: None, momentum: 0.0, nesterov: false }
    }
}

impl Sgd {
    /// Gradient descent without momentum.
    pub fn new(learning_rate: impl Into<LearningRate>) -> Self {
        Self { learning_rate: learning_rate.into(), ..Self::default() }
    }

    /// Momentum: fraction of the previous step that is added to the next; 0 by default.
    #[must_use]
    pub fn momentum(mut self, momentum: f64) -> Self {
        self.momentum = momentum;
        self
    }

    /// Whether to use Nesterov momentum (Sutskever et al. 2013); false by default.
    #[must_use]
    pub fn nesterov(mut self, nesterov: bool) -> Self {
        self.nesterov = nesterov;
        self
    }
}
