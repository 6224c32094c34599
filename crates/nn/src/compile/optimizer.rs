//! Optimizers, with Keras' defaults and formulas.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::keras_object;
use crate::{Error, Result};

/// Stochastic gradient descent (Keras' `SGD`).
///
/// ```
/// use engraft_nn::prelude::*;
/// let optimizer: Optimizer = Sgd::new(0.01).momentum(0.9).into();
/// assert_eq!(optimizer.slots(), 1);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(missing_docs, reason = "fields are Keras' arguments of the same names")]
pub struct Sgd {
    pub learning_rate: f64,
    pub weight_decay: Option<f64>,
    pub momentum: f64,
    pub nesterov: bool,
}

impl Default for Sgd {
    fn default() -> Self {
        Self { learning_rate: 0.01, weight_decay: None, momentum: 0.0, nesterov: false }
    }
}

impl Sgd {
    /// Plain descent.
    pub fn new(learning_rate: f64) -> Self {
        Self { learning_rate, ..Self::default() }
    }

    /// Share of the last step kept in the next; 0 by default.
    #[must_use]
    pub fn momentum(mut self, momentum: f64) -> Self {
        self.momentum = momentum;
        self
    }

    /// Looks ahead along the momentum.
    #[must_use]
    pub fn nesterov(mut self, nesterov: bool) -> Self {
        self.nesterov = nesterov;
        self
    }
}

/// Adam (Kingma and Ba 2014; Keras' `Adam`), and with weight decay `AdamW` (Loshchilov and Hutter 2017).
///
/// ```
/// use engraft_nn::prelude::*;
/// let optimizer: Optimizer = Adam::new(1e-4).weight_decay(0.004).into();
/// assert_eq!(optimizer.learning_rate(), 1e-4);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(missing_docs, reason = "fields are Keras' arguments of the same names")]
pub struct Adam {
    pub learning_rate: f64,
    pub weight_decay: Option<f64>,
    pub beta_1: f64,
    pub beta_2: f64,
    pub epsilon: f64,
    #[serde(rename = "amsgrad")]
    amsgrad: bool,
}

impl Default for Adam {
    fn default() -> Self {
        Self { learning_rate: 0.001, weight_decay: None, beta_1: 0.9, beta_2: 0.999, epsilon: 1e-7, amsgrad: false }
    }
}

impl Adam {
    /// With Keras' betas of 0.9 and 0.999 and epsilon of 1e-7.
    pub fn new(learning_rate: f64) -> Self {
        Self { learning_rate, ..Self::default() }
    }

    /// Share of every weight taken off each step, times the learning rate; none by default.
    #[must_use]
    pub fn weight_decay(mut self, decay: f64) -> Self {
        self.weight_decay = Some(decay);
        self
    }

    /// Decay of both moments.
    #[must_use]
    pub fn betas(mut self, beta_1: f64, beta_2: f64) -> Self {
        (self.beta_1, self.beta_2) = (beta_1, beta_2);
        self
    }

    /// Added to the root of the second moment.
    #[must_use]
    pub fn epsilon(mut self, epsilon: f64) -> Self {
        self.epsilon = epsilon;
        self
    }
}

/// `RMSprop` (Tieleman and Hinton 2012; Keras' `RMSprop`).
///
/// ```
/// use engraft_nn::prelude::*;
/// let optimizer: Optimizer = RmsProp::new(1e-3).momentum(0.9).centered(true).into();
/// assert_eq!(optimizer.slots(), 3);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(missing_docs, reason = "fields are Keras' arguments of the same names")]
pub struct RmsProp {
    pub learning_rate: f64,
    pub weight_decay: Option<f64>,
    pub rho: f64,
    pub momentum: f64,
    pub epsilon: f64,
    pub centered: bool,
}

impl Default for RmsProp {
    fn default() -> Self {
        Self { learning_rate: 0.001, weight_decay: None, rho: 0.9, momentum: 0.0, epsilon: 1e-7, centered: false }
    }
}

impl RmsProp {
    /// With Keras' rho of 0.9 and epsilon of 1e-7.
    pub fn new(learning_rate: f64) -> Self {
        Self { learning_rate, ..Self::default() }
    }

    /// Share of the last step kept in the next; 0 by default.
    #[must_use]
    pub fn momentum(mut self, momentum: f64) -> Self {
        self.momentum = momentum;
        self
    }

    /// Divides by the deviation of the gradient instead of its size.
    #[must_use]
    pub fn centered(mut self, centered: bool) -> Self {
        self.centered = centered;
        self
    }
}

/// Any of the optimizers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "class_name", content = "config")]
pub enum Optimizer {
    /// Stochastic gradient descent.
    #[serde(rename = "SGD")]
    Sgd(Sgd),
    /// Adam.
    Adam(Adam),
    /// Adam under the name that weight decay gives it.
    AdamW(Adam),
    /// Root mean square propagation.
    #[serde(rename = "RMSprop")]
    RmsProp(RmsProp),
}

impl From<Sgd> for Optimizer {
    fn from(sgd: Sgd) -> Self {
        Self::Sgd(sgd)
    }
}

impl From<Adam> for Optimizer {
    fn from(adam: Adam) -> Self {
        Self::Adam(adam)
    }
}

impl From<RmsProp> for Optimizer {
    fn from(rmsprop: RmsProp) -> Self {
        Self::RmsProp(rmsprop)
    }
}

impl Optimizer {
    /// `AdamW` with Keras' weight decay of 0.004.
    pub fn adam_w(learning_rate: f64) -> Self {
        Self::AdamW(Adam::new(learning_rate).weight_decay(0.004))
    }

    /// Keras' optimizer of this name with its defaults: `sgd`, `adam`, `adamw`, `rmsprop`.
    pub fn from_name(name: &str) -> Result<Self> {
        match name.to_lowercase().as_str() {
            "sgd" => Ok(Sgd::default().into()),
            "adam" => Ok(Adam::default().into()),
            "adamw" => Ok(Self::adam_w(Adam::default().learning_rate)),
            "rmsprop" => Ok(RmsProp::default().into()),
            _ => Err(Error::new("optimizer", "sgd, adam, adamw or rmsprop", name)),
        }
    }

    /// Size of a step.
    pub fn learning_rate(&self) -> f64 {
        match self {
            Self::Sgd(o) => o.learning_rate,
            Self::Adam(o) | Self::AdamW(o) => o.learning_rate,
            Self::RmsProp(o) => o.learning_rate,
        }
    }

    /// Changes the size of the steps to come.
    pub fn set_learning_rate(&mut self, learning_rate: f64) {
        match self {
            Self::Sgd(o) => o.learning_rate = learning_rate,
            Self::Adam(o) | Self::AdamW(o) => o.learning_rate = learning_rate,
            Self::RmsProp(o) => o.learning_rate = learning_rate,
        }
    }

    /// Share of every weight taken off each step, times the learning rate.
    pub fn weight_decay(&self) -> Option<f64> {
        match self {
            Self::Sgd(o) => o.weight_decay,
            Self::Adam(o) | Self::AdamW(o) => o.weight_decay,
            Self::RmsProp(o) => o.weight_decay,
        }
    }

    /// How many numbers it keeps for every trained parameter.
    pub fn slots(&self) -> usize {
        match self {
            Self::Sgd(o) => usize::from(o.momentum != 0.0),
            Self::Adam(_) | Self::AdamW(_) => 2,
            Self::RmsProp(o) => 1 + usize::from(o.momentum > 0.0) + usize::from(o.centered),
        }
    }

    pub(crate) fn check(&self) -> Result<()> {
        let rate = self.learning_rate();
        if !(rate.is_finite() && rate >= 0.0) {
            return Err(Error::new("learning_rate", "a finite number from 0 up", rate));
        }
        if let Self::Adam(Adam { amsgrad: true, .. }) | Self::AdamW(Adam { amsgrad: true, .. }) = self {
            return Err(Error::new("optimizer", "amsgrad false", true));
        }
        Ok(())
    }

    /// Keras' serialised form.
    pub fn to_keras(&self) -> Value {
        let mut object = keras_object::to_value("keras.optimizers", self);
        let name = match self {
            Self::Sgd(_) => "SGD",
            Self::Adam(_) => "adam",
            Self::AdamW(_) => "adamw",
            Self::RmsProp(_) => "rmsprop",
        };
        object["config"]["name"] = json!(name.to_lowercase());
        for option in ABSENT {
            object["config"][*option] = Value::Null;
        }
        object["config"]["use_ema"] = json!(false);
        object["config"]["ema_momentum"] = json!(0.99);
        object
    }

    /// Reads Keras' serialised form: a name, or an object with a config.
    pub fn from_keras(value: &Value) -> Result<Self> {
        let Some(object) = value.as_object() else {
            return match value.as_str() {
                Some(name) => Self::from_name(name),
                None => Err(Error::new("optimizer", "a name or an object", value)),
            };
        };
        let class_name = object.get("class_name").cloned().unwrap_or_default();
        let mut config = object.get("config").and_then(Value::as_object).cloned().unwrap_or_default();
        remove_shared_options(&mut config)?;
        let optimizer: Self = serde_json::from_value(json!({"class_name": class_name, "config": config}))
            .map_err(|e| Error::because("optimizer", e))?;
        optimizer.check()?;
        Ok(optimizer)
    }
}

/// Options of every Keras optimizer that must be absent.
const ABSENT: &[&str] = &[
    "clipnorm",
    "global_clipnorm",
    "clipvalue",
    "ema_overwrite_frequency",
    "loss_scale_factor",
    "gradient_accumulation_steps",
];

fn remove_shared_options(config: &mut Map<String, Value>) -> Result<()> {
    for option in ABSENT {
        if let Some(value) = config.remove(*option).filter(|value| !value.is_null()) {
            return Err(Error::new(format_args!("optimizer option `{option}`"), "null", value));
        }
    }
    if let Some(value) = config.remove("use_ema").filter(|value| *value != json!(false)) {
        return Err(Error::new("optimizer option `use_ema`", "false", value));
    }
    for ignored in ["name", "ema_momentum", "jit_compile", "is_legacy_optimizer"] {
        config.remove(ignored);
    }
    if let Some(schedule) = config.get("learning_rate").filter(|rate| !rate.is_number()) {
        return Err(Error::new("optimizer option `learning_rate`", "a number", schedule)
            .hint("learning rate schedules are not supported"));
    }
    Ok(())
}

/// What an optimizer remembers between steps.
#[derive(Clone, Debug, Default)]
pub struct OptimizerState {
    /// Steps made.
    pub iterations: u64,
    /// For each trained weight, by its id, the optimizer's slots in Keras' order: Adam's moments, SGD's momentum, ….
    pub slots: HashMap<usize, Vec<Vec<f32>>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keras_form_reads_back() {
        for optimizer in [
            Sgd::new(0.1).momentum(0.9).nesterov(true).into(),
            Adam::new(3e-4).into(),
            Optimizer::adam_w(1e-3),
            RmsProp::new(1e-3).centered(true).into(),
        ] {
            assert_eq!(Optimizer::from_keras(&optimizer.to_keras()).unwrap(), optimizer);
        }
        assert_eq!(Optimizer::from_keras(&"rmsprop".into()).unwrap(), RmsProp::default().into());
    }

    #[test]
    fn what_would_change_the_numbers_is_refused() {
        let mut clipped = Optimizer::from(Adam::new(0.1)).to_keras();
        clipped["config"]["clipnorm"] = json!(1.0);
        assert!(Optimizer::from_keras(&clipped).unwrap_err().to_string().contains("clipnorm"));
        let mut scheduled = Optimizer::from(Adam::new(0.1)).to_keras();
        scheduled["config"]["learning_rate"] = json!({"class_name": "CosineDecay"});
        assert!(Optimizer::from_keras(&scheduled).unwrap_err().to_string().contains("CosineDecay"));
    }
}
