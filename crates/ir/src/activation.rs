//! Elementwise activation functions, with Keras' definitions (`keras.activations`).

use serde::{Deserialize, Serialize};

/// An elementwise activation function. Softmax is not here: it needs whole rows, see [`Op::Softmax`](crate::Op).
///
/// ```
/// use engraft_ir::Activation;
/// // ReLU's gradient is 0 where its output is 0 and 1 elsewhere. GELU's gradient needs the input.
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
    /// `min(x, max_value)` where `x >= threshold`, else `negative_slope * (x - threshold)`: Keras' `ReLU` with all its options
    ThresholdedRelu {
        /// Upper limit of the output; infinity for no limit.
        max_value: f32,
        /// Slope for inputs below the threshold.
        negative_slope: f32,
        /// Smallest input that passes unchanged; at least 0.
        threshold: f32,
    },
    /// `x` where positive, else `alpha * (exp(x) - 1)`
    Elu {
        /// The output tends to `-alpha` where `x` tends to minus infinity. Keras' default is 1.
        alpha: f32,
    },
    /// Elu with alpha 1.6732632, scaled by 1.050701 (Klambauer et al. 2017, arXiv 1706.02515)
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
    /// `x * P(X <= x)` for a standard normal `X` (Hendrycks and Gimpel 2016, arXiv 1606.08415)
    Gelu {
        /// Whether `tanh` approximates `P(X <= x)`; if false, `P(X <= x)` is computed with `erf`.
        approximate: bool,
    },
    /// `x * tanh(softplus(x))` (Misra 2019, arXiv 1908.08681)
    Mish,
    /// `x` where positive, else `alpha * (exp(x / alpha) - 1)` (Barron 2017, arXiv 1704.07483)
    Celu {
        /// The output tends to `-alpha` where `x` tends to minus infinity. Keras' default is 1.
        alpha: f32,
    },
    /// `x` where `|x| > threshold`, else 0
    HardShrink {
        /// Largest magnitude that becomes 0; Keras' default is 0.5.
        threshold: f32,
    },
    /// `min(max(x, -1), 1)`
    HardTanh,
    /// `ln(sigmoid(x))`
    LogSigmoid,
    /// `x` moved towards 0 by `threshold`; 0 where `|x| <= threshold`
    SoftShrink {
        /// The distance, at least 0; Keras' default is 0.5.
        threshold: f32,
    },
    /// 0 up to -1, `x` from 1 on, and `(x + 1)^2 / 4` between
    SparsePlus,
    /// `min(max((x + 1) / 2, 0), 1)`
    SparseSigmoid,
    /// `(x + sqrt(x^2 + b)) / 2` (Barron 2021, arXiv 2112.11687)
    Squareplus {
        /// How smooth the function is at 0; Keras' default is 4.
        b: f32,
    },
    /// `x - tanh(x)`
    TanhShrink,
    /// `x` where `x > threshold`, else `default_value`
    Threshold {
        /// Largest input that is replaced.
        threshold: f32,
        /// What it is replaced by.
        default_value: f32,
    },
}

impl Activation {
    /// Whether the output alone determines the gradient, so that the backward pass needs no copy of the input.
    pub fn gradient_from_output(self) -> bool {
        match self {
            Self::Linear | Self::Relu | Self::Relu6 | Self::Selu | Self::Sigmoid | Self::HardSigmoid => true,
            Self::Tanh | Self::Softplus | Self::Exponential | Self::LogSigmoid => true,
            // With a negative slope or alpha, negative inputs have positive outputs: the sign of the input is lost.
            Self::LeakyRelu { negative_slope } => negative_slope >= 0.0,
            Self::Elu { alpha } => alpha >= 0.0,
            // With a negative slope, inputs on both sides of the threshold can have the same output.
            Self::ThresholdedRelu { .. } => false,
            // Softsign's gradient is `(1 - |y|)^2`, but `1 - |y|` cancels where `|x|` is large. The others aren't monotonic.
            Self::Softsign | Self::Silu | Self::HardSilu | Self::Gelu { .. } | Self::Mish => false,
            Self::Celu { .. } | Self::Squareplus { .. } | Self::TanhShrink => false,
            // At the ends of the constant parts, the output doesn't tell on which side the input is.
            Self::HardShrink { .. } | Self::SoftShrink { .. } | Self::Threshold { .. } => false,
            Self::HardTanh | Self::SparsePlus | Self::SparseSigmoid => false,
        }
    }
}
