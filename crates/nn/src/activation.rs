//! Activation functions by Keras' names, as layers take them in their `activation` option.

use engraft_ir::Activation as Elementwise;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

/// An activation function, as in Keras' `keras.activations` with its default arguments.
///
/// ```
/// use engraft_nn::ActivationFn;
/// assert_eq!(ActivationFn::Relu.name(), "relu");
/// assert_eq!(ActivationFn::from_name("softmax"), Some(ActivationFn::Softmax));
/// // Softmax works on whole rows.
/// assert_eq!(ActivationFn::Relu.elementwise(), Some(engraft_ir::Activation::Relu));
/// assert_eq!(ActivationFn::Softmax.elementwise(), None);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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
    /// e^x over the sum of e^x along the last axis
    Softmax,
}

/// Each function with its Keras name and its element-wise operation; `None` for softmax, which works on whole rows.
const TABLE: &[(ActivationFn, &str, Option<Elementwise>)] = &[
    (ActivationFn::Linear, "linear", Some(Elementwise::Linear)),
    (ActivationFn::Relu, "relu", Some(Elementwise::Relu)),
    (ActivationFn::Relu6, "relu6", Some(Elementwise::Relu6)),
    (ActivationFn::LeakyRelu, "leaky_relu", Some(Elementwise::LeakyRelu { negative_slope: 0.2 })),
    (ActivationFn::Elu, "elu", Some(Elementwise::Elu { alpha: 1.0 })),
    (ActivationFn::Selu, "selu", Some(Elementwise::Selu)),
    (ActivationFn::Sigmoid, "sigmoid", Some(Elementwise::Sigmoid)),
    (ActivationFn::HardSigmoid, "hard_sigmoid", Some(Elementwise::HardSigmoid)),
    (ActivationFn::Tanh, "tanh", Some(Elementwise::Tanh)),
    (ActivationFn::Softplus, "softplus", Some(Elementwise::Softplus)),
    (ActivationFn::Softsign, "softsign", Some(Elementwise::Softsign)),
    (ActivationFn::Exponential, "exponential", Some(Elementwise::Exponential)),
    (ActivationFn::Silu, "silu", Some(Elementwise::Silu)),
    (ActivationFn::HardSilu, "hard_silu", Some(Elementwise::HardSilu)),
    (ActivationFn::Gelu, "gelu", Some(Elementwise::Gelu { approximate: false })),
    (ActivationFn::Mish, "mish", Some(Elementwise::Mish)),
    (ActivationFn::Softmax, "softmax", None),
];

impl ActivationFn {
    /// Keras' name of the function.
    pub fn name(self) -> &'static str {
        self.row().1
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

    /// The element-wise operation; `None` for softmax.
    pub fn elementwise(self) -> Option<Elementwise> {
        self.row().2
    }

    fn row(self) -> &'static (ActivationFn, &'static str, Option<Elementwise>) {
        TABLE.iter().find(|row| row.0 == self).expect("the table holds every function")
    }
}

impl Serialize for ActivationFn {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for ActivationFn {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let name = match Value::deserialize(d)? {
            Value::Null => "linear".to_owned(),
            Value::String(name) => name,
            other => {
                return Err(D::Error::custom(format_args!("expected the name of an activation, received {other}")));
            }
        };
        Self::from_name(&name).ok_or_else(|| {
            let supported: Vec<&str> = TABLE.iter().map(|row| row.1).collect();
            D::Error::custom(format_args!("unknown activation `{name}`; supported: {}", supported.join(", ")))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_reads_back() {
        for &(function, name, _) in TABLE {
            assert_eq!(ActivationFn::from_name(name), Some(function));
            assert_eq!(serde_json::from_str::<ActivationFn>(&format!("{name:?}")).unwrap(), function);
        }
    }

    #[test]
    fn an_unknown_name_is_told_with_the_known_ones() {
        let error = serde_json::from_str::<ActivationFn>("\"relux\"").unwrap_err().to_string();
        assert!(error.contains("unknown activation `relux`") && error.contains("hard_sigmoid"), "{error}");
    }
}
