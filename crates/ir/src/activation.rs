//! Activation functions by Keras' definitions (`keras.activations`).

use serde::{Deserialize, Serialize};

/// An activation function of single values. (Softmax needs whole rows: it is [`Op::Softmax`](crate::Op).)
///
/// ```
/// use engraft_ir::Activation;
/// // ReLU's gradient is 0 where its output is 0: the backward pass needs no input. GELU's does.
/// assert!(Activation::Relu.gradient_from_output());
/// assert!(!Activation::Gelu { approximate: false }.gradient_from_output());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// `x`
    Linear,
    /// `max(x, 0)`
    Relu,
    /// `min(max(x, 0), 6)`
    Relu6,
    /// `x` where positive, else `negative_slope * x`
    LeakyRelu {
        /// Slope for negative `x`; Keras' default is 0.2.
        negative_slope: f32,
    },
    /// `min(x, max_value)` above the threshold, else `negative_slope * (x - threshold)`: Keras' `ReLU` with all its options
    ThresholdedRelu {
        /// Ceiling; infinity for none.
        max_value: f32,
        /// Slope below the threshold.
        negative_slope: f32,
        /// Where the function breaks, at least 0.
        threshold: f32,
    },
    /// `x` where positive, else `alpha * (exp(x) - 1)`
    Elu {
        /// The limit at minus infinity, negated; Keras' default is 1.
        alpha: f32,
    },
    /// Elu with alpha 1.6732632, scaled by 1.050701 (Klambauer et al. 2017)
    Selu,
    /// `1 / (1 + exp(-x))`
    Sigmoid,
    /// `relu6(x + 3) / 6`
    HardSigmoid,
    /// `tanh(x)`
    Tanh,
    /// `ln(1 + exp(x))`
    Softplus,
    /// `x / (1 + |x|)`
    Softsign,
    /// `exp(x)`
    Exponential,
    /// `x * sigmoid(x)`, also called swish
    Silu,
    /// `x * hard_sigmoid(x)`, also called hard swish
    HardSilu,
    /// `x * P(X <= x)` for a standard normal `X` (Hendrycks and Gimpel 2016)
    Gelu {
        /// Whether to compute it through `tanh` instead of `erf`.
        approximate: bool,
    },
    /// `x * tanh(softplus(x))` (Misra 2019)
    Mish,
}

impl Activation {
    /// Whether the gradient can be had from the output alone, so that the input need not be kept.
    pub fn gradient_from_output(self) -> bool {
        match self {
            Self::Linear | Self::Relu | Self::Relu6 | Self::Selu | Self::Sigmoid | Self::HardSigmoid => true,
            Self::Tanh | Self::Softplus | Self::Exponential => true,
            // With a negative parameter the output's sign no longer tells the input's.
            Self::LeakyRelu { negative_slope } => negative_slope >= 0.0,
            Self::Elu { alpha } => alpha >= 0.0,
            // Values below a threshold above 0 can come out above ones that pass it.
            Self::ThresholdedRelu { .. } => false,
            // Softsign's could be, but `1 - |y|` has few digits left where |x| is large.
            Self::Softsign | Self::Silu | Self::HardSilu | Self::Gelu { .. } | Self::Mish => false,
        }
    }
}
