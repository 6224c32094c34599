//! Activation functions by Keras' names, as layers take them in their `activation` option.

use engraft_ir::Activation as Elementwise;
use engraft_ir::Op;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use crate::activation_layer::ActivationLayer;

/// An activation function: one of Keras' `keras.activations` with its default arguments, or a layer such as `LeakyReLU`.
///
/// ```
/// use engraft_nn::ActivationFn;
/// assert_eq!(ActivationFn::Relu.name(), "relu");
/// assert_eq!(ActivationFn::from_name("softmax"), Some(ActivationFn::Softmax));
/// // Softmax works on whole rows.
/// assert_eq!(ActivationFn::Relu.elementwise(), Some(engraft_ir::Activation::Relu));
/// assert_eq!(ActivationFn::Softmax.elementwise(), None);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum ActivationFn {
    /// x
    #[default]
    Linear,
    /// max(x, 0)
    Relu,
    /// min(max(x, 0), 6)
    Relu6,
    /// x, or 0.2 x below zero
    LeakyRelu,
    /// x, or e^x - 1 below zero
    Elu,
    /// `Elu`, scaled so that activations keep their variance (Klambauer et al. 2017)
    Selu,
    /// 1 / (1 + e^-x)
    Sigmoid,
    /// min(max(x / 6 + 1/2, 0), 1)
    HardSigmoid,
    /// tanh x
    Tanh,
    /// ln(1 + e^x)
    Softplus,
    /// x / (1 + |x|)
    Softsign,
    /// e^x
    Exponential,
    /// x sigmoid(x), also called swish
    Silu,
    /// x `hard_sigmoid`(x)
    HardSilu,
    /// x Φ(x) for the distribution function Φ of the standard normal distribution, without the `tanh` approximation
    Gelu,
    /// x tanh(softplus x)
    Mish,
    /// x, or e^x - 1 below zero, with a continuous slope for any alpha
    Celu,
    /// x, or 0 where |x| is at most 0.5
    HardShrink,
    /// min(max(x, -1), 1)
    HardTanh,
    /// ln(sigmoid(x))
    LogSigmoid,
    /// x moved towards 0 by 0.5
    SoftShrink,
    /// 0 up to -1, x from 1 on, (x + 1)² / 4 between
    SparsePlus,
    /// min(max((x + 1) / 2, 0), 1)
    SparseSigmoid,
    /// (x + √(x² + 4)) / 2
    Squareplus,
    /// x - tanh x
    TanhShrink,
    /// e^x over the sum of e^x along the last axis
    Softmax,
    /// The logarithm of `Softmax`
    LogSoftmax,
    /// A softmax with zeros, as Keras defines it
    Sparsemax,
    /// A layer of Keras in the place of a function
    Layer(ActivationLayer),
}

/// What an activation function is lowered to.
#[derive(Clone, Debug, PartialEq)]
enum Lowered {
    Elementwise(Elementwise),
    /// An operation on whole rows, the last axis.
    Rows(Op),
}

/// Each function with its Keras name and what it is lowered to.
const TABLE: &[(ActivationFn, &str, Lowered)] = &[
    (ActivationFn::Linear, "linear", Lowered::Elementwise(Elementwise::Linear)),
    (ActivationFn::Relu, "relu", Lowered::Elementwise(Elementwise::Relu)),
    (ActivationFn::Relu6, "relu6", Lowered::Elementwise(Elementwise::Relu6)),
    (ActivationFn::LeakyRelu, "leaky_relu", Lowered::Elementwise(Elementwise::LeakyRelu { negative_slope: 0.2 })),
    (ActivationFn::Elu, "elu", Lowered::Elementwise(Elementwise::Elu { alpha: 1.0 })),
    (ActivationFn::Selu, "selu", Lowered::Elementwise(Elementwise::Selu)),
    (ActivationFn::Sigmoid, "sigmoid", Lowered::Elementwise(Elementwise::Sigmoid)),
    (ActivationFn::HardSigmoid, "hard_sigmoid", Lowered::Elementwise(Elementwise::HardSigmoid)),
    (ActivationFn::Tanh, "tanh", Lowered::Elementwise(Elementwise::Tanh)),
    (ActivationFn::Softplus, "softplus", Lowered::Elementwise(Elementwise::Softplus)),
    (ActivationFn::Softsign, "softsign", Lowered::Elementwise(Elementwise::Softsign)),
    (ActivationFn::Exponential, "exponential", Lowered::Elementwise(Elementwise::Exponential)),
    (ActivationFn::Silu, "silu", Lowered::Elementwise(Elementwise::Silu)),
    (ActivationFn::HardSilu, "hard_silu", Lowered::Elementwise(Elementwise::HardSilu)),
    (ActivationFn::Gelu, "gelu", Lowered::Elementwise(Elementwise::Gelu { approximate: false })),
    (ActivationFn::Mish, "mish", Lowered::Elementwise(Elementwise::Mish)),
    (ActivationFn::Celu, "celu", Lowered::Elementwise(Elementwise::Celu { alpha: 1.0 })),
    (ActivationFn::HardShrink, "hard_shrink", Lowered::Elementwise(Elementwise::HardShrink { threshold: 0.5 })),
    (ActivationFn::HardTanh, "hard_tanh", Lowered::Elementwise(Elementwise::HardTanh)),
    (ActivationFn::LogSigmoid, "log_sigmoid", Lowered::Elementwise(Elementwise::LogSigmoid)),
    (ActivationFn::SoftShrink, "soft_shrink", Lowered::Elementwise(Elementwise::SoftShrink { threshold: 0.5 })),
    (ActivationFn::SparsePlus, "sparse_plus", Lowered::Elementwise(Elementwise::SparsePlus)),
    (ActivationFn::SparseSigmoid, "sparse_sigmoid", Lowered::Elementwise(Elementwise::SparseSigmoid)),
    (ActivationFn::Squareplus, "squareplus", Lowered::Elementwise(Elementwise::Squareplus { b: 4.0 })),
    (ActivationFn::TanhShrink, "tanh_shrink", Lowered::Elementwise(Elementwise::TanhShrink)),
    (ActivationFn::Softmax, "softmax", Lowered::Rows(Op::Softmax)),
    (ActivationFn::LogSoftmax, "log_softmax", Lowered::Rows(Op::LogSoftmax)),
    (ActivationFn::Sparsemax, "sparsemax", Lowered::Rows(Op::Sparsemax)),
];

impl ActivationFn {
    /// Keras' name of the function, or the class of the layer.
    pub fn name(self) -> &'static str {
        match self {
            Self::Layer(layer) => layer.class_name(),
            _ => TABLE.iter().find(|row| row.0 == self).map_or("linear", |row| row.1),
        }
    }

    /// The function with this Keras name; `swish` and `hard_swish` are accepted as aliases.
    pub fn from_name(name: &str) -> Option<Self> {
        let name = match name {
            "swish" => "silu",
            "hard_swish" => "hard_silu",
            other => other,
        };
        TABLE.iter().find(|row| row.1 == name).map(|row| row.0)
    }

    /// The element-wise operation; `None` for functions of whole rows, such as softmax.
    pub fn elementwise(self) -> Option<Elementwise> {
        match (self, self.lowered()) {
            (Self::Layer(layer), _) => layer.elementwise(),
            (_, Some(Lowered::Elementwise(function))) => Some(*function),
            _ => None,
        }
    }

    /// The operation on whole rows (the last axis); `None` for element-wise functions.
    pub(crate) fn rows(self) -> Option<Op> {
        match (self, self.lowered()) {
            (Self::Layer(ActivationLayer::Softmax { .. }), _) => Some(Op::Softmax),
            (_, Some(Lowered::Rows(op))) => Some(op.clone()),
            _ => None,
        }
    }

    fn lowered(self) -> Option<&'static Lowered> {
        TABLE.iter().find(|row| row.0 == self).map(|row| &row.2)
    }

    fn from_known_name(name: &str) -> Result<Self, String> {
        Self::from_name(name).ok_or_else(|| {
            let supported: Vec<&str> = TABLE.iter().map(|row| row.1).collect();
            format!("unknown activation `{name}`; supported: {}", supported.join(", "))
        })
    }

    /// Reads Keras' object of a function, or of a layer in the place of a function.
    fn from_object(mut object: Map<String, Value>) -> Result<Self, String> {
        let class_name = object.get("class_name").and_then(Value::as_str).unwrap_or_default().to_owned();
        match (class_name.as_str(), object.get_mut("config").map(Value::take)) {
            ("function", Some(Value::String(name))) if Self::from_name(&name).is_some() => Self::from_known_name(&name),
            ("Activation", Some(Value::Object(mut config))) => match config.remove("activation") {
                Some(Value::Object(inner)) if inner.get("class_name").is_some_and(|class| class == "Activation") => {
                    Err("an Activation layer inside another as activation".into())
                }
                Some(inner) => Self::from_value(inner),
                None => Err("an Activation layer without activation".into()),
            },
            ("__lambda__", _) => Err("a lambda function holds Python code, which is never run here".into()),
            ("ReLU" | "LeakyReLU" | "ELU" | "Softmax", Some(config)) => {
                object.insert("config".into(), config);
                ActivationLayer::from_object(object).map(Self::Layer)
            }
            ("function", Some(Value::String(name))) => {
                Err(format!("expected the name of an activation, received the function `{name}`"))
            }
            ("", config) => {
                object.insert("config".into(), config.unwrap_or_default());
                Err(format!("expected the name of an activation, received {}", Value::Object(object)))
            }
            (class_name, _) => {
                Err(format!("expected the name of an activation, received an object of class `{class_name}`"))
            }
        }
    }

    fn from_value(value: Value) -> Result<Self, String> {
        match value {
            Value::Null => Ok(Self::Linear),
            Value::String(name) => Self::from_known_name(&name),
            Value::Object(object) => Self::from_object(object),
            other => Err(format!("expected the name of an activation, received {other}")),
        }
    }
}

impl Serialize for ActivationFn {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Layer(layer) => layer.to_object().serialize(s),
            function => s.serialize_str(function.name()),
        }
    }
}

impl<'de> Deserialize<'de> for ActivationFn {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Self::from_value(Value::deserialize(d)?).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_reads_back() {
        for &(function, name, ref lowered) in TABLE {
            let is_elementwise = matches!(lowered, Lowered::Elementwise(_));
            assert_eq!((function.elementwise().is_some(), function.rows().is_none()), (is_elementwise, is_elementwise));
            assert_eq!(ActivationFn::from_name(name), Some(function));
            assert_eq!(serde_json::from_str::<ActivationFn>(&format!("{name:?}")).unwrap(), function);
        }
    }

    #[test]
    fn an_unknown_name_is_told_with_the_known_ones() {
        let error = serde_json::from_str::<ActivationFn>("\"relux\"").unwrap_err().to_string();
        assert!(error.contains("unknown activation `relux`") && error.contains("hard_sigmoid"), "{error}");
    }

    #[test]
    fn every_form_of_an_activation_is_read() {
        use serde_json::json;
        let read = |value: Value| serde_json::from_value::<ActivationFn>(value).map_err(|error| error.to_string());
        let function =
            json!({"module": "builtins", "class_name": "function", "config": "gelu", "registered_name": "function"});
        assert_eq!(read(function), Ok(ActivationFn::Gelu));
        assert_eq!(read(Value::Null), Ok(ActivationFn::Linear));
        let nested = json!({"class_name": "Activation", "config": {"name": "a", "activation": "relu6"}});
        assert_eq!(read(nested.clone()), Ok(ActivationFn::Relu6));
        let softmax = json!({"class_name": "Softmax", "config": {"axis": -1}});
        assert_eq!(read(softmax).unwrap().rows(), Some(Op::Softmax));
        for (value, expected) in [
            (json!({"class_name": "function", "config": "mine>act"}), "received the function `mine>act`"),
            (json!({"class_name": "__lambda__", "config": {"value": "x"}}), "never run here"),
            (json!({"class_name": "Activation", "config": {"activation": nested}}), "inside another"),
            (
                json!({"class_name": "Mine", "config": {"x": 1}}),
                "expected the name of an activation, received an object of class `Mine`",
            ),
            (json!(3), "received 3"),
        ] {
            let error = read(value).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
