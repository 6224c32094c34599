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
            // Values below a threshold above 0 can come out above ones that pass it.
            Self::ThresholdedRelu { .. } => false,
            // Softsign's could be, but `1 - |y|` has few digits left where |x| is large.
            Self::Softsign | Self::Silu | Self::HardSilu | Self::Gelu { .. } | Self::Mish => false,
        }
    }

    /// Applies the function to every value, in place.
    ///
    /// ```
    /// use engraft_kernels::Activation;
    /// let mut x = [-1.0, 2.0, 7.0];
    /// Activation::Relu6.apply(&mut x);
    /// assert_eq!(x, [0.0, 2.0, 6.0]);
    /// ```
    pub fn apply(self, x: &mut [f32]) {
        if self != Self::Linear {
            x.par_chunks_mut(CHUNK).for_each(|x| self.apply_serial(x));
        }
    }

    /// [`apply`](Self::apply) on the calling thread, for kernels that finish a block while it is in cache.
    pub(crate) fn apply_serial(self, x: &mut [f32]) {
        match self {
            Self::Linear => {}
            // Not `max`, which would turn NaN into zero and hide that a model has diverged.
            Self::Relu => update(x, |x| if x < 0.0 { 0.0 } else { x }),
            Self::Relu6 => update(x, |x| x.clamp(0.0, 6.0)),
            Self::LeakyRelu { negative_slope } => update(x, |x| if x > 0.0 { x } else { negative_slope * x }),
            Self::ThresholdedRelu { max_value, negative_slope, threshold } => {
                let below = |x: f32| negative_slope * (x - threshold);
                update(x, |x| if x > threshold { x.min(max_value) } else { below(x) });
            }
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
            Self::ThresholdedRelu { max_value, negative_slope, threshold } => scale(x_or_y, dy, |x| match x {
                x if x > threshold => f32::from(x <= max_value),
                // At the threshold itself Keras' gradient is 0.
                x if x < threshold => negative_slope,
                _ => 0.0,
            }),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::assert_close;

    const X: [f32; 7] = [-5.0, -1.5, -0.25, 0.0, 0.75, 2.0, 4.0];

    /// Each function, its values at `X` and its slopes there, from Keras 3 on TensorFlow.
    #[rustfmt::skip]
    const CASES: [(Activation, [f32; 7], [f32; 7]); 20] = [
        (Activation::Linear, X, [1.0; 7]),
        (Activation::Relu, [0.0, 0.0, 0.0, 0.0, 0.75, 2.0, 4.0], [0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0]),
        (Activation::Relu6, [0.0, 0.0, 0.0, 0.0, 0.75, 2.0, 4.0], [0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0]),
        (Activation::LeakyRelu { negative_slope: 0.2 },
            [-1.0, -0.3, -0.05, 0.0, 0.75, 2.0, 4.0], [0.2, 0.2, 0.2, 0.2, 1.0, 1.0, 1.0]),
        (Activation::LeakyRelu { negative_slope: -1.0 }, [5.0, 1.5, 0.25, 0.0, 0.75, 2.0, 4.0], [-1.0, -1.0, -1.0, -1.0, 1.0, 1.0, 1.0]),
        (Activation::ThresholdedRelu { max_value: 3.0, negative_slope: 0.5, threshold: 1.0 },
            [-3.0, -1.25, -0.625, -0.5, -0.125, 2.0, 3.0], [0.5, 0.5, 0.5, 0.5, 0.5, 1.0, 0.0]),
        (Activation::Elu { alpha: 1.0 },
            [-0.99326205, -0.77686983, -0.22119921, 0.0, 0.75, 2.0, 4.0], [0.0067379475, 0.22313017, 0.7788008, 1.0, 1.0, 1.0, 1.0]),
        (Activation::Elu { alpha: 0.5 },
            [-0.49663103, -0.38843492, -0.11059961, 0.0, 0.75, 2.0, 4.0], [0.0033689737, 0.11156508, 0.3894004, 0.5, 1.0, 1.0, 1.0]),
        (Activation::Elu { alpha: -1.0 },
            [0.99326205, 0.77686983, 0.22119921, 0.0, 0.75, 2.0, 4.0], [-0.0067379475, -0.22313017, -0.7788008, -1.0, 1.0, 1.0, 1.0]),
        (Activation::Selu,
            [-1.7462534, -1.3658143, -0.38889018, 0.0, 0.788_025_74, 2.101402, 4.202804],
            [0.011845946, 0.392285, 1.3692092, 1.050701, 1.050701, 1.050701, 1.050701]),
        (Activation::Sigmoid,
            [0.006692851, 0.18242551, 0.4378235, 0.5, 0.6791787, 0.8807971, 0.98201376],
            [0.0066480567, 0.14914645, 0.24613407, 0.25, 0.21789499, 0.104993574, 0.017662734]),
        (Activation::HardSigmoid,
            [0.0, 0.25, 0.45833334, 0.5, 0.625, 0.8333333, 1.0],
            [0.0, 0.16666667, 0.16666667, 0.16666667, 0.16666667, 0.16666667, 0.0]),
        (Activation::Tanh,
            [-0.99990916, -0.9051483, -0.24491866, 0.0, 0.63514894, 0.9640276, 0.99932927],
            [0.00018167496, 0.1807065, 0.94001484, 1.0, 0.5965858, 0.070650816, 0.0013409853]),
        (Activation::Softplus,
            [0.0067153485, 0.20141329, 0.5759394, std::f32::consts::LN_2, 1.1368711, 2.126928, 4.01815],
            [0.006692851, 0.18242551, 0.4378235, 0.5, 0.6791787, 0.8807971, 0.98201376]),
        (Activation::Softsign,
            [-0.8333333, -0.6, -0.2, 0.0, 0.42857143, 0.6666667, 0.8],
            [0.027777778, 0.16, 0.64, 1.0, 0.3265306, 0.11111111, 0.04]),
        (Activation::Exponential,
            [0.006737947, 0.22313017, 0.7788008, 1.0, 2.117, 7.389056, 54.59815],
            [0.006737947, 0.22313017, 0.7788008, 1.0, 2.117, 7.389056, 54.59815]),
        (Activation::Silu,
            [-0.033464253, -0.27363828, -0.109455876, 0.0, 0.50938404, 1.7615942, 3.928055],
            [-0.026547434, -0.041294158, 0.37629, 0.5, 0.8425999, 1.0907842, 1.0526646]),
        (Activation::HardSilu,
            [0.0, -0.375, -0.114583336, 0.0, 0.46875, 1.6666666, 4.0], [0.0, 0.0, 0.4166667, 0.5, 0.75, 1.1666666, 1.0]),
        (Activation::Gelu { approximate: true },
            [0.0, -0.10042843, -0.100324646, 0.0, 0.5799606, 1.9545977, 3.99993],
            [0.0, -0.12771079, 0.3046459, 0.5, 0.99893826, 1.086099, 1.000335]),
        (Activation::Mish,
            [-0.033576235, -0.29809976, -0.12992696, 0.0, 0.6100184, 1.943959, 3.9974124],
            [-0.026747497, -0.06409779, 0.4398156, 0.6, 0.9857584, 1.0693178, 1.0044335]),
    ];

    /// exp and tanh differ by a few units in the last place between libraries, and `1 - tanh²` near 1 multiplies that by 10.
    const TOLERANCE: f32 = 3e-6;

    #[track_caller]
    fn check(activation: Activation, values: [f32; 7], slopes: [f32; 7]) {
        let mut y = X;
        activation.apply(&mut y);
        assert_close(&y, &values, TOLERANCE);
        let mut dy = [2.0; 7];
        activation.gradient(if activation.gradient_from_output() { &y } else { &X }, &mut dy);
        assert_close(&dy.map(|dy| dy / 2.0), &slopes, TOLERANCE);
    }

    #[test]
    fn values_and_slopes_are_those_of_keras() {
        CASES.into_iter().for_each(|(activation, values, slopes)| check(activation, values, slopes));
    }

    #[test]
    fn exact_gelu_keeps_its_small_tail() {
        let values = [-1.4332578e-6, -0.10021083, -0.10032342, 0.0, 0.5800295, 1.9544997, 3.9998734];
        let slopes = [-7.146_946_7e-6, -0.12746918, 0.30462664, 0.5, 0.99922574, 1.0852318, 1.0005037];
        check(Activation::Gelu { approximate: false }, values, slopes);
        let mut tail = [-5.0];
        Activation::Gelu { approximate: false }.apply(&mut tail);
        assert!(
            (tail[0] / values[0] - 1.0).abs() < 1e-4,
            "TensorFlow's own erfc is good to about 1e-5 here: {}",
            tail[0]
        );
    }

    #[test]
    fn nan_stays_nan() {
        for (activation, _, _) in CASES {
            let mut y = [f32::NAN];
            activation.apply(&mut y);
            assert!(y[0].is_nan(), "{activation:?} gave {}", y[0]);
        }
    }

    #[test]
    fn far_from_zero_nothing_overflows() {
        for (activation, [low, high]) in [
            (Activation::Sigmoid, [0.0, 1.0]),
            (Activation::Softplus, [0.0, 200.0]),
            (Activation::Silu, [0.0, 200.0]),
            (Activation::Mish, [0.0, 200.0]),
            (Activation::Gelu { approximate: false }, [0.0, 200.0]),
        ] {
            let mut y = [-200.0, 200.0];
            activation.apply(&mut y);
            assert_eq!(y.map(f32::abs), [low, high], "{activation:?}");
        }
    }
}
