//! Optimizers, with Keras' options and defaults. Executors compute their updates, with Keras' formulas.

mod adam;
mod rmsprop;
mod sgd;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

pub use self::adam::Adam;
pub use self::rmsprop::RmsProp;
pub use self::sgd::Sgd;
use crate::keras_object;
use crate::{Error, ErrorKind, LearningRate, Result};

/// An optimizer with its options.
///
/// ```
/// use engraft_nn::prelude::*;
/// let optimizer = Optimizer::from(Sgd::new(0.1).momentum(0.9));
/// assert_eq!(optimizer.learning_rate().constant(), Some(0.1));
/// assert_eq!((optimizer.slots(), optimizer.weight_decay()), (1, None));
/// optimizer.check()?;
/// assert_eq!(Optimizer::from_keras(&optimizer.to_keras())?, optimizer);
/// assert_eq!(Optimizer::from_name("adam")?, Optimizer::from(Adam::default()));
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "class_name", content = "config")]
pub enum Optimizer {
    /// Stochastic gradient descent.
    #[serde(rename = "SGD")]
    Sgd(Sgd),
    /// Adam.
    Adam(Adam),
    /// Adam with decoupled weight decay.
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
    /// `AdamW` with Keras' default weight decay of 0.004.
    ///
    /// ```
    /// use engraft_nn::prelude::*;
    /// assert_eq!(Optimizer::adam_w(1e-4).weight_decay(), Some(0.004));
    /// assert_eq!(Optimizer::from(Adam::new(1e-4)).weight_decay(), None);
    /// ```
    pub fn adam_w(learning_rate: impl Into<LearningRate>) -> Self {
        Self::AdamW(Adam::new(learning_rate).weight_decay(0.004))
    }

    /// The optimizer with this Keras name (`sgd`, `adam`, `adamw`, `rmsprop`) and Keras' defaults.
    ///
    /// # Errors
    /// Any other name.
    pub fn from_name(name: &str) -> Result<Self> {
        match name.to_lowercase().as_str() {
            "sgd" => Ok(Sgd::default().into()),
            "adam" => Ok(Adam::default().into()),
            "adamw" => Ok(Self::adam_w(Adam::default().learning_rate)),
            "rmsprop" => Ok(RmsProp::default().into()),
            _ => Err(Error::new("optimizer", "sgd, adam, adamw or rmsprop", name)),
        }
    }

    /// The learning rate: a constant or a schedule.
    ///
    /// ```
    /// use engraft_nn::prelude::*;
    /// let optimizer = Optimizer::from(Adam::new(CosineDecay::new(1e-3, 1000)));
    /// assert_eq!(optimizer.learning_rate().at(0), 1e-3);
    /// ```
    pub fn learning_rate(&self) -> &LearningRate {
        match self {
            Self::Sgd(o) => &o.learning_rate,
            Self::Adam(o) | Self::AdamW(o) => &o.learning_rate,
            Self::RmsProp(o) => &o.learning_rate,
        }
    }

    /// Sets the learning rate of later steps; a number replaces a schedule.
    ///
    /// ```
    /// use engraft_nn::prelude::*;
    /// let mut optimizer = Optimizer::from(Adam::new(CosineDecay::new(1e-3, 1000)));
    /// optimizer.set_learning_rate(1e-4);
    /// assert_eq!(optimizer.learning_rate().constant(), Some(1e-4));
    /// ```
    pub fn set_learning_rate(&mut self, learning_rate: impl Into<LearningRate>) {
        let rate = match self {
            Self::Sgd(o) => &mut o.learning_rate,
            Self::Adam(o) | Self::AdamW(o) => &mut o.learning_rate,
            Self::RmsProp(o) => &mut o.learning_rate,
        };
        *rate = learning_rate.into();
    }

    /// Weight decay: each step subtracts this fraction of every weight, times the learning rate; `None` for no weight decay.
    pub fn weight_decay(&self) -> Option<f64> {
        match self {
            Self::Sgd(o) => o.weight_decay,
            Self::Adam(o) | Self::AdamW(o) => o.weight_decay,
            Self::RmsProp(o) => o.weight_decay,
        }
    }

    /// Number of slots (moments, momentum) that the optimizer keeps for every trained parameter.
    pub fn slots(&self) -> usize {
        match self {
            Self::Sgd(o) => usize::from(o.momentum != 0.0),
            Self::Adam(_) | Self::AdamW(_) => 2,
            Self::RmsProp(o) => 1 + usize::from(o.momentum > 0.0) + usize::from(o.centered),
        }
    }

    /// Checks the options.
    ///
    /// # Errors
    /// An invalid learning rate or schedule.
    pub fn check(&self) -> Result<()> {
        self.learning_rate().check()
    }

    /// Keras' serialized form (`keras.optimizers.serialize`).
    pub fn to_keras(&self) -> Value {
        let mut object = keras_object::to_value("keras.optimizers", self);
        let name = match self {
            Self::Sgd(_) => "SGD",
            Self::Adam(_) => "adam",
            Self::AdamW(_) => "adamw",
            Self::RmsProp(_) => "rmsprop",
        };
        object["config"]["name"] = json!(name.to_lowercase());
        for option in UNSUPPORTED {
            object["config"][*option] = Value::Null;
        }
        object["config"]["use_ema"] = json!(false);
        object["config"]["ema_momentum"] = json!(0.99);
        object
    }

    /// Reads Keras' serialized form: a name, or an object with a config.
    ///
    /// # Errors
    /// An unknown class or option, or an option that isn't supported, such as `clipnorm`.
    pub fn from_keras(value: &Value) -> Result<Self> {
        let (optimizer, unknown) = Self::known_part(value);
        match (optimizer, unknown.into_iter().next()) {
            (Some(optimizer), None) => Ok(optimizer),
            (_, unknown) => Err(unknown.unwrap_or_else(|| Error::new("optimizer", "a name or an object", value))),
        }
    }

    /// Reads what is known of Keras' serialized form, and returns an error for each part that isn't: the class, the schedule of
    /// the learning rate, an option. Such a schedule or option has Keras' default then.
    ///
    /// ```
    /// use engraft_nn::prelude::*;
    /// let config = serde_json::json!({"learning_rate": 0.5, "clipnorm": 1.0});
    /// let (optimizer, unknown) = Optimizer::known_part(&serde_json::json!({"class_name": "SGD", "config": config}));
    /// assert_eq!(optimizer, Some(Sgd::new(0.5).into()));
    /// assert!(unknown[0].to_string().contains("clipnorm"));
    /// assert_eq!(Optimizer::known_part(&"lion".into()).0, None);
    /// ```
    pub fn known_part(value: &Value) -> (Option<Self>, Vec<Error>) {
        let Some(object) = value.as_object() else {
            let named = match value.as_str() {
                Some(name) => Self::from_name(name).map_err(|error| error.with_kind(ErrorKind::Unsupported)),
                None => Err(Error::new("optimizer", "a name or an object", value)),
            };
            return match named {
                Ok(optimizer) => (Some(optimizer), Vec::new()),
                Err(error) => (None, vec![error]),
            };
        };
        let class_name = object.get("class_name").cloned().unwrap_or_default();
        let mut config = object.get("config").and_then(Value::as_object).cloned().unwrap_or_default();
        let mut unknown = remove_shared_options(&mut config);
        unknown.extend(remove_unknown_rate(&mut config));
        let optimizer = serde_json::from_value(json!({"class_name": class_name, "config": config}))
            .map_err(|error| Error::from_source("optimizer", error).with_kind(ErrorKind::Unsupported))
            .and_then(|optimizer: Self| optimizer.check().map(|()| optimizer));
        match optimizer {
            Ok(optimizer) => (Some(optimizer), unknown),
            // The class tells more than its options.
            Err(error) => (None, std::iter::once(error).chain(unknown).collect()),
        }
    }
}

/// Options that every Keras optimizer has and engraft doesn't support. They are written as null and must be null or absent when
/// read.
const UNSUPPORTED: &[&str] = &[
    "clipnorm",
    "global_clipnorm",
    "clipvalue",
    "ema_overwrite_frequency",
    "loss_scale_factor",
    "gradient_accumulation_steps",
];

/// Removes from a Keras config the options that engraft's optimizers don't have; returns an error for each that would change training.
fn remove_shared_options(config: &mut Map<String, Value>) -> Vec<Error> {
    let mut unknown = Vec::new();
    let mut refuse = |option: &str, without_effect: Value, value: &Value| {
        if *value != without_effect {
            let place = format_args!("optimizer option `{option}`");
            unknown.push(Error::new(place, without_effect, value).with_kind(ErrorKind::Unsupported));
        }
    };
    for option in UNSUPPORTED {
        config.remove(*option).iter().for_each(|value| refuse(option, Value::Null, value));
    }
    for option in ["use_ema", "amsgrad"] {
        config.remove(option).iter().for_each(|value| refuse(option, json!(false), value));
    }
    for ignored in ["name", "ema_momentum", "jit_compile", "is_legacy_optimizer"] {
        config.remove(ignored);
    }
    unknown
}

/// Removes a learning rate that can't be read, such as a schedule of an unknown class.
fn remove_unknown_rate(config: &mut Map<String, Value>) -> Option<Error> {
    let rate = config.get("learning_rate")?.clone();
    let error = match serde_json::from_value::<LearningRate>(rate) {
        Ok(rate) => rate.check().err()?,
        Err(error) => Error::from_source("optimizer", error).with_kind(ErrorKind::Unsupported),
    };
    config.remove("learning_rate");
    Some(error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::CosineDecay;

    #[test]
    fn keras_form_reads_back() {
        for optimizer in [
            Sgd::new(0.1).momentum(0.9).nesterov(true).into(),
            Adam::new(3e-4).into(),
            Optimizer::adam_w(1e-3),
            RmsProp::new(1e-3).centered(true).into(),
            Adam::new(CosineDecay::new(1e-3, 1000)).into(),
        ] {
            assert_eq!(Optimizer::from_keras(&optimizer.to_keras()).unwrap(), optimizer);
        }
        assert_eq!(Optimizer::from_keras(&"rmsprop".into()).unwrap(), RmsProp::default().into());
    }

    #[test]
    fn options_that_would_change_the_updates_are_refused() {
        let mut clipped = Optimizer::from(Adam::new(0.1)).to_keras();
        clipped["config"]["clipnorm"] = json!(1.0);
        assert!(Optimizer::from_keras(&clipped).unwrap_err().to_string().contains("clipnorm"));
        let unfinished = Optimizer::from(Adam::new(CosineDecay::new(0.1, 0))).to_keras();
        let error = Optimizer::from_keras(&unfinished).unwrap_err().to_string();
        assert!(error.contains("CosineDecay, decay_steps: expected 1 or more, received 0"), "{error}");
    }
}
