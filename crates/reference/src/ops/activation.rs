//! Activation functions and their derivatives (`keras.activations`).

use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};

use engraft_ir::Activation;

/// The constants that preserve mean 0 and variance 1: Klambauer et al. 2017, "Self-Normalizing Neural Networks", arXiv
/// 1706.02515, section 2.
const SELU_ALPHA: f64 = 1.673_263_242_354_377_3;
const SELU_SCALE: f64 = 1.050_700_987_355_480_5;

/// `sqrt(2 / pi)`.
const SQRT_2_OVER_PI: f64 = FRAC_2_SQRT_PI * FRAC_1_SQRT_2;
/// The cubic coefficient of the tanh approximation: Hendrycks and Gimpel 2016, "Gaussian Error Linear Units", arXiv 1606.08415,
/// section 2.
const GELU_CUBIC: f64 = 0.044_715;

/// The value of the activation function at `x`. NaN stays NaN.
pub(crate) fn value(function: Activation, x: f64) -> f64 {
    match function {
        Activation::Linear => x,
        Activation::Relu => if_positive(x, x, 0.0),
        Activation::Relu6 => x.clamp(0.0, 6.0),
        Activation::LeakyRelu { negative_slope } => if_positive(x, x, f64::from(negative_slope) * x),
        Activation::ThresholdedRelu { max_value, negative_slope, threshold } => {
            let [max_value, negative_slope, threshold] = [max_value, negative_slope, threshold].map(f64::from);
            if x > threshold { x.min(max_value) } else { negative_slope * (x - threshold) }
        }
        Activation::Elu { alpha } => if_positive(x, x, f64::from(alpha) * x.exp_m1()),
        Activation::Selu => SELU_SCALE * if_positive(x, x, SELU_ALPHA * x.exp_m1()),
        Activation::Sigmoid => sigmoid(x),
        Activation::HardSigmoid => hard_sigmoid(x),
        Activation::Tanh => x.tanh(),
        Activation::Softplus => softplus(x),
        Activation::Softsign => x / (1.0 + x.abs()),
        Activation::Exponential => x.exp(),
        Activation::Silu => x * sigmoid(x),
        Activation::HardSilu => x * hard_sigmoid(x),
        Activation::Gelu { approximate: true } => 0.5 * x * (1.0 + gelu_argument(x).tanh()),
        Activation::Gelu { approximate: false } => x * normal_distribution(x),
        Activation::Mish => x * softplus(x).tanh(),
        Activation::Celu { alpha } => if_positive(x, x, f64::from(alpha) * (x / f64::from(alpha)).exp_m1()),
        Activation::HardShrink { threshold } => {
            if x.abs() <= f64::from(threshold) {
                0.0
            } else {
                x
            }
        }
        Activation::HardTanh => x.clamp(-1.0, 1.0),
        Activation::LogSigmoid => -softplus(-x),
        Activation::SoftShrink { threshold } => {
            let threshold = f64::from(threshold);
            if x.abs() <= threshold { 0.0 } else { x - threshold * x.signum() }
        }
        Activation::SparsePlus if x <= -1.0 => 0.0,
        Activation::SparsePlus => {
            if x < 1.0 {
                (x + 1.0).powi(2) / 4.0
            } else {
                x
            }
        }
        Activation::SparseSigmoid => (0.5 * (x + 1.0)).clamp(0.0, 1.0),
        Activation::Squareplus { b } => (x + (x * x + f64::from(b)).sqrt()) / 2.0,
        Activation::TanhShrink => x - x.tanh(),
        Activation::Threshold { threshold, default_value } => {
            if x <= f64::from(threshold) {
                f64::from(default_value)
            } else {
                x
            }
        }
    }
}

/// The derivative of the activation function at `x`. At a kink it is the one of the two slopes that TensorFlow takes.
pub(crate) fn derivative(function: Activation, x: f64) -> f64 {
    match function {
        Activation::Linear => 1.0,
        Activation::Relu => if_positive(x, 1.0, 0.0),
        Activation::Relu6 => within(0.0, x, 6.0),
        Activation::LeakyRelu { negative_slope } => if_positive(x, 1.0, f64::from(negative_slope)),
        Activation::ThresholdedRelu { max_value, negative_slope, threshold } => match x - f64::from(threshold) {
            above if above > 0.0 => f64::from(x <= f64::from(max_value)),
            below if below < 0.0 => f64::from(negative_slope),
            _ => 0.0,
        },
        Activation::Elu { alpha } => if_positive(x, 1.0, f64::from(alpha) * x.exp()),
        // At 0, TensorFlow takes the right derivative for SELU, but the left one for ELU.
        Activation::Selu if x < 0.0 => SELU_SCALE * SELU_ALPHA * x.exp(),
        Activation::Selu => SELU_SCALE,
        Activation::Sigmoid => sigmoid(x) * (1.0 - sigmoid(x)),
        Activation::HardSigmoid => within(-3.0, x, 3.0) / 6.0,
        Activation::Tanh => 1.0 - x.tanh().powi(2),
        Activation::Softplus => sigmoid(x),
        Activation::Softsign => (1.0 + x.abs()).powi(-2),
        Activation::Exponential => x.exp(),
        Activation::Silu => sigmoid(x) + x * sigmoid(x) * (1.0 - sigmoid(x)),
        Activation::HardSilu => hard_sigmoid(x) + x * within(-3.0, x, 3.0) / 6.0,
        Activation::Gelu { approximate: true } => {
            let tanh = gelu_argument(x).tanh();
            let slope = SQRT_2_OVER_PI * (1.0 + 3.0 * GELU_CUBIC * x * x);
            0.5 * (1.0 + tanh) + 0.5 * x * (1.0 - tanh * tanh) * slope
        }
        Activation::Gelu { approximate: false } => normal_distribution(x) + x * normal_density(x),
        Activation::Mish => {
            let tanh = softplus(x).tanh();
            tanh + x * (1.0 - tanh * tanh) * sigmoid(x)
        }
        // TensorFlow counts the slopes of both halves at 0.
        Activation::Celu { .. } if x == 0.0 => 2.0,
        Activation::Celu { alpha } => if_positive(x, 1.0, (x / f64::from(alpha)).exp()),
        Activation::HardShrink { threshold } | Activation::SoftShrink { threshold } => {
            f64::from(x.abs() > f64::from(threshold))
        }
        Activation::HardTanh => f64::from(x.abs() <= 1.0),
        Activation::LogSigmoid => sigmoid(-x),
        Activation::SparsePlus => ((x + 1.0) / 2.0).clamp(0.0, 1.0),
        Activation::SparseSigmoid => within(-1.0, x, 1.0) / 2.0,
        Activation::Squareplus { b } => (1.0 + x / (x * x + f64::from(b)).sqrt()) / 2.0,
        Activation::TanhShrink => x.tanh().powi(2),
        Activation::Threshold { threshold, .. } => f64::from(x > f64::from(threshold)),
    }
}

fn if_positive(x: f64, positive: f64, otherwise: f64) -> f64 {
    if x > 0.0 || x.is_nan() { positive } else { otherwise }
}

/// 1 if `x` is strictly between the bounds, else 0.
fn within(low: f64, x: f64, high: f64) -> f64 {
    f64::from(low < x && x < high)
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

fn hard_sigmoid(x: f64) -> f64 {
    (x + 3.0).clamp(0.0, 6.0) / 6.0
}

/// `ln(1 + exp(x))`, written so that `exp` never overflows.
fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

fn gelu_argument(x: f64) -> f64 {
    SQRT_2_OVER_PI * (x + GELU_CUBIC * x.powi(3))
}

/// The probability that a standard normal variable is at most `x`.
fn normal_distribution(x: f64) -> f64 {
    0.5 * libm::erfc(-x * FRAC_1_SQRT_2)
}

fn normal_density(x: f64) -> f64 {
    0.5 * SQRT_2_OVER_PI * (-0.5 * x * x).exp()
}

#[cfg(test)]
mod tests {
    use engraft_ir::Op;

    use super::*;
    use crate::testing::check_gradients;

    const ALL: [Activation; 30] = [
        Activation::Linear,
        Activation::Relu,
        Activation::Relu6,
        Activation::LeakyRelu { negative_slope: 0.2 },
        Activation::LeakyRelu { negative_slope: -1.0 },
        Activation::ThresholdedRelu { max_value: 0.75, negative_slope: 0.5, threshold: 0.25 },
        Activation::Elu { alpha: 1.0 },
        Activation::Elu { alpha: -1.0 },
        Activation::Selu,
        Activation::Sigmoid,
        Activation::HardSigmoid,
        Activation::Tanh,
        Activation::Softplus,
        Activation::Softsign,
        Activation::Exponential,
        Activation::Silu,
        Activation::HardSilu,
        Activation::Gelu { approximate: true },
        Activation::Gelu { approximate: false },
        Activation::Mish,
        Activation::Celu { alpha: 0.7 },
        Activation::HardShrink { threshold: 0.5 },
        Activation::HardTanh,
        Activation::LogSigmoid,
        Activation::SoftShrink { threshold: 0.5 },
        Activation::SparsePlus,
        Activation::SparseSigmoid,
        Activation::Squareplus { b: 4.0 },
        Activation::TanhShrink,
        Activation::Threshold { threshold: 0.25, default_value: -3.0 },
    ];

    #[test]
    fn derivatives_are_those_of_the_functions() {
        ALL.into_iter().for_each(|function| check_gradients(&Op::Activation(function), &[&[3, 7]], &[], &[3, 7]));
    }

    #[test]
    fn known_values() {
        for (function, x, y) in [
            (Activation::Relu6, 7.0, 6.0),
            (Activation::Elu { alpha: 0.5 }, -1.0, -0.316_060_279_414_278_84),
            (Activation::Selu, -1.0, -1.111_330_737_812_562_7),
            (Activation::HardSigmoid, 1.5, 0.75),
            (Activation::Softplus, 0.0, std::f64::consts::LN_2),
            (Activation::Gelu { approximate: false }, 1.0, 0.841_344_746_068_542_9),
            (Activation::Mish, 1.0, 0.865_098_388_267_309_2),
        ] {
            assert!((value(function, x) - y).abs() < 1e-14, "{function:?}: {} for {y}", value(function, x));
        }
    }

    #[test]
    fn at_kinks_the_derivative_is_tensorflows() {
        for (function, x, slope) in [
            (Activation::Relu, 0.0, 0.0),
            (Activation::Relu6, 6.0, 0.0),
            (Activation::LeakyRelu { negative_slope: 0.25 }, 0.0, 0.25),
            (Activation::Elu { alpha: 0.5 }, 0.0, 0.5),
            (Activation::Selu, 0.0, SELU_SCALE),
            (Activation::ThresholdedRelu { max_value: 3.0, negative_slope: 0.5, threshold: 1.0 }, 1.0, 0.0),
            (Activation::ThresholdedRelu { max_value: 3.0, negative_slope: 0.5, threshold: 1.0 }, 3.0, 1.0),
        ] {
            assert_eq!(derivative(function, x), slope, "{function:?}");
        }
    }

    #[test]
    fn nan_stays_nan_and_nothing_overflows() {
        for function in ALL {
            assert!(value(function, f64::NAN).is_nan(), "{function:?}");
        }
        for function in [Activation::Softplus, Activation::Silu, Activation::Mish] {
            assert_eq!([-800.0, 800.0].map(|x| value(function, x).abs()), [0.0, 800.0], "{function:?}");
        }
    }
}
