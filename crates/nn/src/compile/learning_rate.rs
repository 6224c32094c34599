//! [`LearningRate`]: a constant or a schedule over iterations, and its serialized form in an optimizer's config.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::{Map, Value};

use super::lr_schedule::{self, LearningRateSchedule};
use crate::{Result, keras_object};

/// Keras' module with the schedule classes.
const MODULE: &str = "keras.optimizers.schedules";

/// An optimizer's `learning_rate`: a constant, or a function of the iteration (the number of steps made so far).
///
/// ```
/// use engraft_nn::prelude::*;
/// let constant = LearningRate::from(1e-3);
/// assert_eq!(constant.at(500), 1e-3);
/// let cosine = LearningRate::from(CosineDecay::new(1e-3, 1000));
/// assert_eq!(cosine.at(500), 0.5e-3);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub enum LearningRate {
    /// The same for every step.
    Constant(f64),
    /// A function of the iteration.
    Schedule(LearningRateSchedule),
}

impl LearningRate {
    /// The learning rate of the step after `iteration` steps (Keras' `schedule(step)`).
    pub fn at(&self, iteration: u64) -> f64 {
        match self {
            Self::Constant(rate) => *rate,
            Self::Schedule(schedule) => schedule.at(iteration),
        }
    }

    /// The constant rate; `None` for a schedule.
    ///
    /// ```
    /// use engraft_nn::prelude::*;
    /// assert_eq!(LearningRate::from(1e-3).constant(), Some(1e-3));
    /// assert_eq!(LearningRate::from(CosineDecay::new(1e-3, 1000)).constant(), None);
    /// ```
    pub fn constant(&self) -> Option<f64> {
        match self {
            Self::Constant(rate) => Some(*rate),
            Self::Schedule(_) => None,
        }
    }

    pub(super) fn check(&self) -> Result<()> {
        match self {
            Self::Constant(rate) => lr_schedule::check_non_negative("learning_rate", *rate),
            Self::Schedule(schedule) => schedule.check(),
        }
    }
}

impl From<f64> for LearningRate {
    fn from(rate: f64) -> Self {
        Self::Constant(rate)
    }
}

impl<S: Into<LearningRateSchedule>> From<S> for LearningRate {
    fn from(schedule: S) -> Self {
        Self::Schedule(schedule.into())
    }
}

impl Serialize for LearningRate {
    fn serialize<S: Serializer>(&self, s: S) -> std::result::Result<S::Ok, S::Error> {
        match self {
            Self::Constant(rate) => rate.serialize(s),
            Self::Schedule(schedule) => keras_object::to_value(MODULE, schedule).serialize(s),
        }
    }
}

impl<'de> Deserialize<'de> for LearningRate {
    fn deserialize<D: Deserializer<'de>>(d: D) -> std::result::Result<Self, D::Error> {
        let schedule = match Value::deserialize(d)? {
            Value::Number(rate) => return Ok(Self::Constant(rate.as_f64().unwrap_or(f64::NAN))),
            Value::Object(schedule) => schedule,
            other => {
                let problem = format_args!("learning_rate: expected a number or a schedule, received {other}");
                return Err(de::Error::custom(problem));
            }
        };
        let schedule = schedule_from_keras(schedule);
        schedule.map(Self::Schedule).map_err(|problem| de::Error::custom(format_args!("learning_rate: {problem}")))
    }
}

fn schedule_from_keras(mut object: Map<String, Value>) -> std::result::Result<LearningRateSchedule, String> {
    // A user-defined class may have the name of a Keras class and compute something else.
    if let Some(module) = object.get("module").filter(|module| *module != MODULE) {
        let class_name = object.get("class_name").unwrap_or(&Value::Null);
        return Err(format!("schedule {class_name}: expected a class of {MODULE}, received one of {module}"));
    }
    if let Some(Value::Object(config)) = object.get_mut("config") {
        // Keras 2 wrote `"name": null` for a schedule without a name. Without the entry, the name is Keras' default.
        config.retain(|option, value| option != "name" || !value.is_null());
    }
    keras_object::from_value(Value::Object(object))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::CosineDecay;

    fn read(value: Value) -> std::result::Result<LearningRate, String> {
        serde_json::from_value(value).map_err(|error| error.to_string())
    }

    #[test]
    fn numbers_and_schedules_read_back() {
        for rate in [1e-4.into(), LearningRate::from(CosineDecay::new(0.0, 90).warmup_target(0.1).warmup_steps(10))] {
            assert_eq!(read(serde_json::to_value(&rate).unwrap()), Ok(rate));
        }
    }

    #[test]
    fn a_schedule_of_keras_2_has_no_name_and_no_module() {
        let config = json!({"initial_learning_rate": 0.1, "decay_steps": 100.0, "name": null});
        let rate = read(json!({"class_name": "CosineDecay", "config": config}));
        assert_eq!(rate, Ok(CosineDecay::new(0.1, 100).into()));
    }

    #[test]
    fn an_invalid_schedule_is_named_in_the_error() {
        let schedule = |module: &str, class_name: &str, config: Value| {
            read(json!({"module": module, "class_name": class_name, "config": config})).unwrap_err()
        };
        let cosine = |config| schedule(MODULE, "CosineDecay", config);
        for (error, expected) in [
            (read(Value::Null).unwrap_err(), "learning_rate: expected a number or a schedule, received null"),
            (schedule("mine", "CosineDecay", json!({})), "\"CosineDecay\": expected a class of keras.optimizers"),
            (schedule(MODULE, "Noam", json!({})), "learning_rate: Noam: unknown variant `Noam`"),
            (cosine(json!({"decay_steps": 9})), "CosineDecay: missing field `initial_learning_rate`"),
            (
                cosine(json!({"initial_learning_rate": 1, "decay_steps": 9, "hold": 5})),
                "learning_rate: CosineDecay: unknown field `hold`, expected one of",
            ),
            (
                cosine(json!({"initial_learning_rate": 1, "decay_steps": 9.5})),
                "CosineDecay: expected a whole number of steps, received 9.5",
            ),
        ] {
            assert!(error.contains(expected), "{error}");
        }
    }
}
