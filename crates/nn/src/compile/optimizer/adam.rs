//! [`Adam`]: the options of Adam and AdamW.

use serde::{Deserialize, Serialize};

use crate::LearningRate;

/// Adam (Kingma and Ba 2014, arXiv 1412.6980; Keras' `Adam`); with weight decay, AdamW (Loshchilov and Hutter 2017, arXiv
/// 1711.05101).
///
/// ```
/// use engraft_nn::prelude::*;
/// let optimizer: Optimizer = Adam::new(1e-4).betas(0.9, 0.99).epsilon(1e-6).weight_decay(0.004).into();
/// assert_eq!(optimizer.learning_rate().constant(), Some(1e-4));
/// assert_eq!(optimizer.weight_decay(), Some(0.004));
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(missing_docs, reason = "fields are Keras' arguments of the same names")]
pub struct Adam {
    pub learning_rate: LearningRate,
    pub weight_decay: Option<f64>,
    pub beta_1: f64,
    pub beta_2: f64,
    pub epsilon: f64,
    #[serde(rename = "amsgrad")]
    pub(super) amsgrad: bool,
}

impl Default for Adam {
    fn default() -> Self {
        Self {
            learning_rate: 0.001.into(),
            weight_decay: None,
            beta_1: 0.9,
            beta_2: 0.999,
            epsilon: 1e-7,
            amsgrad: false,
        }
    }
}

impl Adam {
    /// Adam with Keras' defaults: betas of 0.9 and 0.999, epsilon of 1e-7, no weight decay.
    pub fn new(learning_rate: impl Into<LearningRate>) -> Self {
        Self { learning_rate: learning_rate.into(), ..Self::default() }
    }

    /// Weight decay: each step subtracts this fraction of every weight, times the learning rate; none by default.
    #[must_use]
    pub fn weight_decay(mut self, decay: f64) -> Self {
        self.weight_decay = Some(decay);
        self
    }

    /// Decay rates of the first and second moment; 0.9 and 0.999 by default.
    #[must_use]
    pub fn betas(mut self, beta_1: f64, beta_2: f64) -> Self {
        (self.beta_1, self.beta_2) = (beta_1, beta_2);
        self
    }

    /// Number added to the root of the second moment, against division by 0; 1e-7 by default.
    #[must_use]
    pub fn epsilon(mut self, epsilon: f64) -> Self {
        self.epsilon = epsilon;
        self
    }
}
