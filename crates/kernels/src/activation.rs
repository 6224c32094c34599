//! Activation functions by Keras' definitions (`keras.activations`).

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::chunks::{CHUNK, check_len, zip_chunks};

/// An activation function of single values. (Softmax needs whole rows: [`softmax`](crate::softmax).)
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

const SELU_SCALE: f32 = 1.050_701;
const SELU_SCALE_ALPHA: f32 = 1.758_099_3;

impl Activation {
    /// Whether the gradient can be had from the output alone, so that the input need not be kept.
    pub fn gradient_from_output(self) -> bool {
        match self {
            Self::Linear | Self::Relu | Self::Relu6 | Self::Selu | Self::Sigmoid | Self::HardSigmoid => true,
            Self::Tanh | Self::Softplus | Self::Exponential => true,
            // With a negative parameter the output's sign no longer tells the input's.
            Self::LeakyRelu { negative_slope } => negative_slope >= 0.0,
            Self::Elu { alpha } => alpha >= 0.0,
            // Softsign's could be, but `1 - |y|` has few digits left where |x| is large.
            Self::Softsign | Self::Silu | Self::HardSilu | Self::Gelu { .. } | Self::Mish => false,
        }
    }

    /// Applies the function to every value, in place.
    pub fn apply(self, x: &mut [f32]) {
        if self != Self::Linear {
            x.par_chunks_mut(CHUNK).for_each(|x| self.apply_serial(x));
        }
    }

    /// [`apply`](Self::apply) on the calling thread, for kernels that finish a block while it is in cache.
    pub(crate) fn apply_serial(self, x: &mut [f32]) {
        match self {
            Self::Linear => {}
            Self::Relu => update(x, |x| x.max(0.0)),
            Self::Relu6 => update(x, |x| x.clamp(0.0, 6.0)),
            Self::LeakyRelu { negative_slope } => update(x, |x| if x > 0.0 { x } else { negative_slope * x }),
            Self::Elu { alpha } => update(x, |x| if x > 0.0 { x } else { alpha * x.exp_m1() }),
            Self::Selu => update(x, |x| if x < 0.0 { SELU_SCALE_ALPHA * x.exp_m1() } else { SELU_SCALE * x }),
            Self::Sigmoid => update(x, sigmoid),
            Self::HardSigmoid => update(x, hard_sigmoid),
            Self::Tanh => update(x, f32::tanh),
            Self::Softplus => update(x, softplus),
            Self::Softsign => update(x, |x| x / (1.0 + x.abs())),
            Self::Exponential => update(x, f32::exp),
            Self::Silu => update(x, |x| x * sigmoid(x)),
            Self::HardSilu => update(x, |x| x * hard_sigmoid(x)),
            Self::Gelu { approximate: true } => update(x, |x| 0.5 * x * (1.0 + gelu_tanh(x))),
            Self::Gelu { approximate: false } => update(x, |x| x * normal_cdf(x)),
            Self::Mish => update(x, |x| x * softplus(x).tanh()),
        }
    }

    /// Turns the gradient `dy` with respect to the output into the one with respect to the input, in place.
    ///
    /// `x_or_y` is the output where [`gradient_from_output`](Self::gradient_from_output) is true, else the input.
    pub fn gradient(self, x_or_y: &[f32], dy: &mut [f32]) {
        check_len("x_or_y", x_or_y, dy.len());
        match self {
            Self::Linear => {}
            Self::Relu => scale(x_or_y, dy, |y| if y > 0.0 { 1.0 } else { 0.0 }),
            Self::Relu6 => scale(x_or_y, dy, |y| if y > 0.0 && y < 6.0 { 1.0 } else { 0.0 }),
            Self::LeakyRelu { negative_slope } => scale(x_or_y, dy, |y| if y > 0.0 { 1.0 } else { negative_slope }),
            Self::Elu { alpha } if alpha >= 0.0 => scale(x_or_y, dy, |y| if y > 0.0 { 1.0 } else { y + alpha }),
            Self::Elu { alpha } => scale(x_or_y, dy, |x| if x > 0.0 { 1.0 } else { alpha * x.exp() }),
            Self::Selu => scale(x_or_y, dy, |y| if y < 0.0 { y + SELU_SCALE_ALPHA } else { SELU_SCALE }),
            Self::Sigmoid => scale(x_or_y, dy, |y| y * (1.0 - y)),
            Self::HardSigmoid => scale(x_or_y, dy, |y| if y > 0.0 && y < 1.0 { 1.0 / 6.0 } else { 0.0 }),
            Self::Tanh => scale(x_or_y, dy, |y| 1.0 - y * y),
            // sigmoid(x), as 1 - exp(-softplus(x))
            Self::Softplus => scale(x_or_y, dy, |y| -(-y).exp_m1()),
            Self::Softsign => scale(x_or_y, dy, |x| 1.0 / ((1.0 + x.abs()) * (1.0 + x.abs()))),
            Self::Exponential => scale(x_or_y, dy, |y| y),
            Self::Silu => scale(x_or_y, dy, |x| sigmoid(x) * (1.0 + x * (1.0 - sigmoid(x)))),
            Self::HardSilu => scale(x_or_y, dy, hard_silu_slope),
            Self::Gelu { approximate } => scale(x_or_y, dy, |x| gelu_slope(x, approximate)),
            Self::Mish => scale(x_or_y, dy, mish_slope),
        }
    }
}

fn update(x: &mut [f32], f: impl Fn(f32) -> f32) {
    x.iter_mut().for_each(|x| *x = f(*x));
}

/// `dy *= slope(x_or_y)`.
fn scale(x_or_y: &[f32], dy: &mut [f32], slope: impl Fn(f32) -> f32 + Sync) {
    zip_chunks(x_or_y, dy, CHUNK, |x, dy| dy.iter_mut().zip(x).for_each(|(dy, &x)| *dy *= slope(x)));
}

pub(crate) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

fn hard_sigmoid(x: f32) -> f32 {
    (x + 3.0).clamp(0.0, 6.0) / 6.0
}

/// Written so that `exp` never overflows.
fn softplus(x: f32) -> f32 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

fn hard_silu_slope(x: f32) -> f32 {
    let inside = x > -3.0 && x < 3.0;
    hard_sigmoid(x) + if inside { x / 6.0 } else { 0.0 }
}

/// `sqrt(2 / pi)`.
const GELU_SCALE: f32 = 0.797_884_6;
const GELU_CUBIC: f32 = 0.044_715;

fn gelu_tanh(x: f32) -> f32 {
    (GELU_SCALE * (x + GELU_CUBIC * x * x * x)).tanh()
}

/// Probability that a standard normal variable is at most `x`.
fn normal_cdf(x: f32) -> f32 {
    0.5 * libm::erfcf(-x * std::f32::consts::FRAC_1_SQRT_2)
}

fn gelu_slope(x: f32, approximate: bool) -> f32 {
    if approximate {
        let tanh = gelu_tanh(x);
        let inner_slope = GELU_SCALE * (1.0 + 3.0 * GELU_CUBIC * x * x);
        0.5 * (1.0 + tanh) + 0.5 * x * (1.0 - tanh * tanh) * inner_slope
    } else {
        normal_cdf(x) + x * (-0.5 * x * x).exp() * 0.5 * GELU_SCALE
    }
}

fn mish_slope(x: f32) -> f32 {
    let tanh = softplus(x).tanh();
    tanh + x * (1.0 - tanh * tanh) * sigmoid(x)
}
