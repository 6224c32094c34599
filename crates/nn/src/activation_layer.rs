//! [`ActivationLayer`]: a layer as the value of an `activation` option, such as `activation=keras.layers.LeakyReLU(0.1)`.

use engraft_ir::Activation as Elementwise;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::keras_object;
use crate::naming::snake_case;

/// A layer without weights that stands for an activation function, with its options.
///
/// ```
/// use engraft_nn::{ActivationFn, ActivationLayer};
/// let object = serde_json::json!({"class_name": "LeakyReLU", "config": {"negative_slope": 0.1}});
/// let function: ActivationFn = serde_json::from_value(object)?;
/// assert_eq!(function, ActivationFn::Layer(ActivationLayer::LeakyReLU { negative_slope: 0.1 }));
/// assert_eq!(function.name(), "LeakyReLU");
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "class_name", content = "config", deny_unknown_fields)]
pub enum ActivationLayer {
    /// [`layers::ReLU`](crate::layers::ReLU)
    ReLU {
        /// Largest output, at least 0; unbounded if `None`.
        #[serde(default)]
        max_value: Option<f32>,
        /// Slope below the threshold, at least 0.
        #[serde(default)]
        negative_slope: f32,
        /// Smallest input that passes unchanged, at least 0.
        #[serde(default)]
        threshold: f32,
    },
    /// [`layers::LeakyReLU`](crate::layers::LeakyReLU)
    LeakyReLU {
        /// Slope below zero, at least 0; 0.3 by default. Keras 2 calls it `alpha`.
        #[serde(default = "default_slope", alias = "alpha")]
        negative_slope: f32,
    },
    /// [`layers::ELU`](crate::layers::ELU)
    ELU {
        /// The output tends to `-alpha` where the input tends to minus infinity; 1 by default.
        #[serde(default = "default_alpha")]
        alpha: f32,
    },
    /// [`layers::Softmax`](crate::layers::Softmax) along the last axis
    Softmax {
        /// The axis, always -1: the layer that has the activation doesn't know others.
        #[serde(default = "last_axis")]
        axis: i64,
    },
}

/// Keras' default of `LeakyReLU`.
fn default_slope() -> f32 {
    0.3
}

fn default_alpha() -> f32 {
    1.0
}

fn last_axis() -> i64 {
    -1
}

impl ActivationLayer {
    /// Keras' class of the layer.
    pub fn class_name(self) -> &'static str {
        match self {
            Self::ReLU { .. } => "ReLU",
            Self::LeakyReLU { .. } => "LeakyReLU",
            Self::ELU { .. } => "ELU",
            Self::Softmax { .. } => "Softmax",
        }
    }

    /// The element-wise operation; `None` for softmax, which works on whole rows.
    pub fn elementwise(self) -> Option<Elementwise> {
        match self {
            Self::ReLU { max_value, negative_slope, threshold } => {
                Some(rectifier(max_value, negative_slope, threshold))
            }
            Self::LeakyReLU { negative_slope } => Some(Elementwise::LeakyRelu { negative_slope }),
            Self::ELU { alpha } => Some(Elementwise::Elu { alpha }),
            Self::Softmax { .. } => None,
        }
    }

    /// Reads Keras' object of a layer.
    pub(crate) fn from_object(mut object: Map<String, Value>) -> Result<Self, String> {
        if let Some(config) = object.get_mut("config").and_then(Value::as_object_mut) {
            // Name and flag of a layer without weights mean nothing for what it computes.
            ["name", "trainable", "dtype"].iter().for_each(|option| drop(config.remove(*option)));
        }
        let layer: Self = keras_object::from_value(Value::Object(object))?;
        let (options, hint) = match layer {
            Self::ReLU { max_value, negative_slope, threshold } => {
                ([max_value.unwrap_or(0.0), negative_slope, threshold].to_vec(), "at least 0")
            }
            Self::LeakyReLU { negative_slope } => (vec![negative_slope], "at least 0"),
            Self::ELU { .. } => (vec![], ""),
            Self::Softmax { axis } => (vec![if axis == -1 { 0.0 } else { -1.0 }], "the last axis, -1"),
        };
        match options.iter().all(|option| *option >= 0.0) {
            true => Ok(layer),
            false => Err(format!("options of the activation {}: expected {hint}", layer.class_name())),
        }
    }

    /// Keras' object of the layer, with the name that Keras gives the first layer of its class.
    pub(crate) fn to_object(self) -> Value {
        let mut object = keras_object::to_value("keras.layers", &self);
        let policy = json!({"module": "keras", "class_name": "DTypePolicy", "config": {"name": "float32"}, "registered_name": null});
        if let Some(config) = object.get_mut("config").and_then(Value::as_object_mut) {
            config.insert("name".into(), snake_case(self.class_name()).into());
            config.insert("trainable".into(), true.into());
            config.insert("dtype".into(), policy);
        }
        object
    }
}

/// The simplest element-wise operation that computes Keras' `ReLU` with these options.
pub(crate) fn rectifier(max_value: Option<f32>, negative_slope: f32, threshold: f32) -> Elementwise {
    match (max_value, negative_slope, threshold) {
        (None, 0.0, 0.0) => Elementwise::Relu,
        (Some(6.0), 0.0, 0.0) => Elementwise::Relu6,
        (None, negative_slope, 0.0) => Elementwise::LeakyRelu { negative_slope },
        (max_value, negative_slope, threshold) => {
            let max_value = max_value.unwrap_or(f32::INFINITY);
            Elementwise::ThresholdedRelu { max_value, negative_slope, threshold }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(object: Value) -> Result<ActivationLayer, String> {
        ActivationLayer::from_object(object.as_object().unwrap().clone())
    }

    #[test]
    fn objects_are_read_and_written_as_keras_does() {
        for (class, name, config, function) in [
            (
                "LeakyReLU",
                "leaky_re_lu",
                json!({"negative_slope": 0.5}),
                Some(Elementwise::LeakyRelu { negative_slope: 0.5 }),
            ),
            ("ELU", "elu", json!({"alpha": 0.5}), Some(Elementwise::Elu { alpha: 0.5 })),
            (
                "ReLU",
                "re_lu",
                json!({"max_value": 6.0, "negative_slope": 0.0, "threshold": 0.0}),
                Some(Elementwise::Relu6),
            ),
            ("Softmax", "softmax", json!({"axis": -1}), None),
        ] {
            let layer = read(json!({"module": "keras.layers", "class_name": class, "config": config})).unwrap();
            assert_eq!((layer.class_name(), layer.elementwise()), (class, function));
            let written = layer.to_object();
            assert_eq!((&written["class_name"], &written["config"]["name"]), (&json!(class), &json!(name)));
            assert_eq!(read(written).unwrap(), layer);
        }
        let keras_2 = json!({"class_name": "LeakyReLU", "config": {"name": "x", "dtype": "float32", "alpha": 0.25}});
        assert_eq!(read(keras_2).unwrap(), ActivationLayer::LeakyReLU { negative_slope: 0.25 });
    }

    #[test]
    fn options_that_are_not_known_or_not_allowed_are_refused() {
        for (object, expected) in [
            (json!({"class_name": "LeakyReLU", "config": {"slope": 1}}), "unknown field `slope`"),
            (json!({"class_name": "LeakyReLU", "config": {"negative_slope": -1.0}}), "LeakyReLU: expected at least 0"),
            (json!({"class_name": "Softmax", "config": {"axis": 1}}), "the last axis"),
            (json!({"class_name": "Dense", "config": {"units": 1}}), "unknown variant `Dense`"),
        ] {
            let error = read(object).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
