//! Activation functions and their gradients, as Keras defines them (`keras.activations`). Softmax is in
//! [`softmax`](crate::softmax).

use rayon::prelude::*;

use crate::Activation;
use crate::chunks::{CHUNK, check_len, zip_chunks};

const SELU_SCALE: f32 = 1.050_701;
const SELU_SCALE_ALPHA: f32 = 1.758_099_3;

/// Applies an activation function to every value, in place.
///
/// ```
/// use engraft_kernels::{Activation, activate};
/// let mut x = [-1.0, 2.0, 7.0];
/// activate(Activation::Relu6, &mut x);
/// assert_eq!(x, [0.0, 2.0, 6.0]);
/// ```
pub fn activate(function: Activation, x: &mut [f32]) {
    if function != Activation::Linear {
        x.par_chunks_mut(CHUNK).for_each(|x| activate_serial(function, x));
    }
}

/// [`activate`] on the calling thread. Epilogues of other kernels call it on a block of outputs that is still in the cache.
pub(crate) fn activate_serial(function: Activation, x: &mut [f32]) {
    match function {
        Activation::Linear => {}
        // `f32::max` would turn NaN into zero and hide that a model has diverged.
        Activation::Relu => update(x, |x| if x < 0.0 { 0.0 } else { x }),
        Activation::Relu6 => update(x, |x| x.clamp(0.0, 6.0)),
        Activation::LeakyRelu { negative_slope } => update(x, |x| if x > 0.0 { x } else { negative_slope * x }),
        Activation::ThresholdedRelu { max_value, negative_slope, threshold } => {
            let below = |x: f32| negative_slope * (x - threshold);
            update(x, |x| if x > threshold { x.min(max_value) } else { below(x) });
        }
        Activation::Elu { alpha } => update(x, |x| if x > 0.0 { x } else { alpha * x.exp_m1() }),
        Activation::Selu => update(x, |x| if x < 0.0 { SELU_SCALE_ALPHA * x.exp_m1() } else { SELU_SCALE * x }),
        Activation::Sigmoid => update(x, sigmoid),
        Activation::HardSigmoid => update(x, hard_sigmoid),
        Activation::Tanh => update(x, f32::tanh),
        Activation::Softplus => update(x, softplus),
        Activation::Softsign => update(x, |x| x / (1.0 + x.abs())),
        Activation::Exponential => update(x, f32::exp),
        Activation::Silu => update(x, |x| x * sigmoid(x)),
        Activation::HardSilu => update(x, |x| x * hard_sigmoid(x)),
        Activation::Gelu { approximate: true } => update(x, |x| 0.5 * x * (1.0 + gelu_tanh(x))),
        Activation::Gelu { approximate: false } => update(x, |x| x * normal_cdf(x)),
        Activation::Mish => update(x, |x| x * softplus(x).tanh()),
        Activation::Celu { alpha } => update(x, |x| if x > 0.0 { x } else { alpha * (x / alpha).exp_m1() }),
        Activation::HardShrink { threshold } => update(x, |x| if x.abs() <= threshold { 0.0 } else { x }),
        Activation::HardTanh => update(x, |x| x.clamp(-1.0, 1.0)),
        Activation::LogSigmoid => update(x, |x| -softplus(-x)),
        Activation::SoftShrink { threshold } => {
            update(x, |x| if x.abs() <= threshold { 0.0 } else { x - threshold.copysign(x) });
        }
        Activation::SparsePlus => update(x, sparse_plus),
        Activation::SparseSigmoid => update(x, |x| (0.5 * (x + 1.0)).clamp(0.0, 1.0)),
        Activation::Squareplus { b } => update(x, |x| 0.5 * (x + (x * x + b).sqrt())),
        Activation::TanhShrink => update(x, |x| x - x.tanh()),
        Activation::Threshold { threshold, default_value } => {
            update(x, |x| if x <= threshold { default_value } else { x });
        }
    }
}

/// Backward pass of an activation function, in place: multiplies `dy` by the function's slope.
///
/// `dy` holds the gradient with respect to the output on entry, and with respect to the input on return. `x_or_y` is the output
/// if [`gradient_from_output`](Activation::gradient_from_output) is true, else the input.
///
/// ```
/// use engraft_kernels::{Activation, activation_gradient};
/// let (y, mut dy) = ([0.0, 2.0], [0.5, 0.5]);
/// assert!(Activation::Relu.gradient_from_output());
/// activation_gradient(Activation::Relu, &y, &mut dy);
/// assert_eq!(dy, [0.0, 0.5]);
/// ```
pub fn activation_gradient(function: Activation, x_or_y: &[f32], dy: &mut [f32]) {
    check_len("x_or_y", x_or_y, dy.len());
    match function {
        Activation::Linear => {}
        Activation::Relu => scale(x_or_y, dy, |y| if y > 0.0 { 1.0 } else { 0.0 }),
        Activation::Relu6 => scale(x_or_y, dy, |y| if y > 0.0 && y < 6.0 { 1.0 } else { 0.0 }),
        Activation::LeakyRelu { negative_slope } => scale(x_or_y, dy, |y| if y > 0.0 { 1.0 } else { negative_slope }),
        Activation::ThresholdedRelu { max_value, negative_slope, threshold } => scale(x_or_y, dy, |x| match x {
            x if x > threshold => f32::from(x <= max_value),
            // Keras' gradient at the threshold itself is 0.
            x if x < threshold => negative_slope,
            _ => 0.0,
        }),
        Activation::Elu { alpha } if alpha >= 0.0 => scale(x_or_y, dy, |y| if y > 0.0 { 1.0 } else { y + alpha }),
        Activation::Elu { alpha } => scale(x_or_y, dy, |x| if x > 0.0 { 1.0 } else { alpha * x.exp() }),
        Activation::Selu => scale(x_or_y, dy, |y| if y < 0.0 { y + SELU_SCALE_ALPHA } else { SELU_SCALE }),
        Activation::Sigmoid => scale(x_or_y, dy, |y| y * (1.0 - y)),
        Activation::HardSigmoid => scale(x_or_y, dy, |y| if y > 0.0 && y < 1.0 { 1.0 / 6.0 } else { 0.0 }),
        Activation::Tanh => scale(x_or_y, dy, |y| 1.0 - y * y),
        // The slope is sigmoid(x) = 1 - exp(-softplus(x)).
        Activation::Softplus => scale(x_or_y, dy, |y| -(-y).exp_m1()),
        Activation::Softsign => scale(x_or_y, dy, |x| 1.0 / ((1.0 + x.abs()) * (1.0 + x.abs()))),
        Activation::Exponential => scale(x_or_y, dy, |y| y),
        Activation::Silu => scale(x_or_y, dy, |x| sigmoid(x) * (1.0 + x * (1.0 - sigmoid(x)))),
        Activation::HardSilu => scale(x_or_y, dy, hard_silu_slope),
        Activation::Gelu { approximate } => scale(x_or_y, dy, |x| gelu_slope(x, approximate)),
        Activation::Mish => scale(x_or_y, dy, mish_slope),
        Activation::Celu { alpha } => scale(x_or_y, dy, |x| match x {
            x if x > 0.0 => 1.0,
            x if x < 0.0 => (x / alpha).exp(),
            // Keras adds a part for each sign. TensorFlow's gradient at 0 counts both.
            _ => 2.0,
        }),
        Activation::HardShrink { threshold } | Activation::SoftShrink { threshold } => {
            scale(x_or_y, dy, |x| f32::from(x.abs() > threshold));
        }
        Activation::HardTanh => scale(x_or_y, dy, |x| f32::from(x.abs() <= 1.0)),
        // The slope is sigmoid(-x) = 1 - exp(log_sigmoid(x)).
        Activation::LogSigmoid => scale(x_or_y, dy, |y| -y.exp_m1()),
        Activation::SparsePlus => scale(x_or_y, dy, |x| (0.5 * (x + 1.0)).clamp(0.0, 1.0)),
        Activation::SparseSigmoid => scale(x_or_y, dy, |x| if x > -1.0 && x < 1.0 { 0.5 } else { 0.0 }),
        Activation::Squareplus { b } => scale(x_or_y, dy, |x| 0.5 * (1.0 + x / (x * x + b).sqrt())),
        Activation::TanhShrink => scale(x_or_y, dy, |x| x.tanh() * x.tanh()),
        Activation::Threshold { threshold, .. } => scale(x_or_y, dy, |x| f32::from(x > threshold)),
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

/// `ln(1 + exp(x))`, in a form in which `exp` never overflows.
fn softplus(x: f32) -> f32 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

fn sparse_plus(x: f32) -> f32 {
    match x {
        x if x <= -1.0 => 0.0,
        x if x < 1.0 => 0.25 * (x + 1.0) * (x + 1.0),
        x => x,
    }
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

/// Cumulative distribution function of the standard normal distribution.
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
    const CASES: [(Activation, [f32; 7], [f32; 7]); 30] = [
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
        (Activation::Celu { alpha: 0.5 },
            [-0.4999773, -0.47510648, -0.19673467, 0.0, 0.75, 2.0, 4.0],
            [0.00004539993, 0.049787067, 0.60653067, 2.0, 1.0, 1.0, 1.0]),
        (Activation::HardShrink { threshold: 0.5 },
            [-5.0, -1.5, 0.0, 0.0, 0.75, 2.0, 4.0], [1.0, 1.0, 0.0, 0.0, 1.0, 1.0, 1.0]),
        (Activation::HardTanh,
            [-1.0, -1.0, -0.25, 0.0, 0.75, 1.0, 1.0], [0.0, 0.0, 1.0, 1.0, 1.0, 0.0, 0.0]),
        (Activation::LogSigmoid,
            [-5.0067153, -1.7014133, -0.8259394, -std::f32::consts::LN_2, -0.386871, -0.126928, -0.01814993],
            [0.9933072, 0.8175745, 0.5621765, 0.5, 0.3208213, 0.11920292, 0.01798621]),
        (Activation::SoftShrink { threshold: 0.5 },
            [-4.5, -1.0, 0.0, 0.0, 0.25, 1.5, 3.5], [1.0, 1.0, 0.0, 0.0, 1.0, 1.0, 1.0]),
        (Activation::SparsePlus,
            [0.0, 0.0, 0.140625, 0.25, 0.765625, 2.0, 4.0], [0.0, 0.0, 0.375, 0.5, 0.875, 1.0, 1.0]),
        (Activation::SparseSigmoid,
            [0.0, 0.0, 0.375, 0.5, 0.875, 1.0, 1.0], [0.0, 0.0, 0.5, 0.5, 0.5, 0.0, 0.0]),
        (Activation::Squareplus { b: 4.0 },
            [0.19258237, 0.5, 0.8827822, 1.0, 1.4430004, 2.4142137, 4.236068],
            [0.035761654, 0.19999999, 0.43798262, 0.5, 0.6755617, 0.8535534, 0.9472136]),
        (Activation::TanhShrink,
            [-4.0000906, -0.5948517, -0.0050813407, 0.0, 0.11485106, 1.0359724, 3.0006707],
            [0.9998183, 0.8192935, 0.05998516, 0.0, 0.4034142, 0.9293492, 0.998659]),
        (Activation::Threshold { threshold: 1.0, default_value: -3.0 },
            [-3.0, -3.0, -3.0, -3.0, -3.0, 2.0, 4.0], [0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0]),
    ];

    /// `exp` and `tanh` differ by a few units in the last place between libraries. `1 - tanh²` loses another decimal digit.
    const TOLERANCE: f32 = 3e-6;

    #[track_caller]
    fn check(activation: Activation, values: [f32; 7], slopes: [f32; 7]) {
        let mut y = X;
        activate(activation, &mut y);
        assert_close(&y, &values, TOLERANCE);
        let mut dy = [2.0; 7];
        activation_gradient(activation, if activation.gradient_from_output() { &y } else { &X }, &mut dy);
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
        activate(Activation::Gelu { approximate: false }, &mut tail);
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
            activate(activation, &mut y);
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
            activate(activation, &mut y);
            assert_eq!(y.map(f32::abs), [low, high], "{activation:?}");
        }
    }
}
