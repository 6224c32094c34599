//! Elementwise functions of one operand: roots, logarithms, trigonometric functions, rounding.

use engraft_ir::Unary;

use crate::chunks::{CHUNK, check_len, zip_chunks};

/// Applies a function to each value: `y = f(x)`.
///
/// ```
/// use engraft_kernels::{Unary, unary};
/// let mut y = [0.0; 3];
/// unary(Unary::Round, &[0.5, 1.5, -2.6], &mut y);
/// assert_eq!(y, [0.0, 2.0, -3.0]);
/// ```
pub fn unary(function: Unary, x: &[f32], y: &mut [f32]) {
    match function {
        Unary::Absolute => map(x, y, f32::abs),
        Unary::Negative => map(x, y, |x| -x),
        Unary::Sign => map(x, y, sign),
        Unary::Square => map(x, y, |x| x * x),
        Unary::Sqrt => map(x, y, f32::sqrt),
        Unary::Rsqrt => map(x, y, |x| 1.0 / x.sqrt()),
        Unary::Reciprocal => map(x, y, f32::recip),
        Unary::Expm1 => map(x, y, f32::exp_m1),
        Unary::Log => map(x, y, f32::ln),
        Unary::Log1p => map(x, y, f32::ln_1p),
        Unary::Sin => map(x, y, f32::sin),
        Unary::Cos => map(x, y, f32::cos),
        Unary::Tan => map(x, y, f32::tan),
        Unary::Arctan => map(x, y, f32::atan),
        Unary::Sinh => map(x, y, f32::sinh),
        Unary::Cosh => map(x, y, f32::cosh),
        Unary::Erf => map(x, y, libm::erff),
        Unary::Floor => map(x, y, f32::floor),
        Unary::Ceil => map(x, y, f32::ceil),
        Unary::Round => map(x, y, f32::round_ties_even),
        Unary::Truncate => map(x, y, f32::trunc),
        Unary::Clip { low, high } => map(x, y, |x| clip(x, low, high)),
        Unary::IsFinite => map(x, y, |x| flag(x.is_finite())),
        Unary::IsNan => map(x, y, |x| flag(x.is_nan())),
    }
}

/// The gradient of [`unary`] with respect to `x`: `dx = f'(x) * dy`.
///
/// `x` is read only if [`Unary::gradient_from_input`] says so, and may be empty otherwise.
///
/// ```
/// use engraft_kernels::{Unary, unary_gradient};
/// let mut dx = [0.0; 2];
/// unary_gradient(Unary::Square, &[3.0, -1.0], &[1.0, 0.5], &mut dx);
/// assert_eq!(dx, [6.0, -1.0]);
/// ```
pub fn unary_gradient(function: Unary, x: &[f32], dy: &[f32], dx: &mut [f32]) {
    match function {
        Unary::Absolute => scale(x, dy, dx, sign),
        Unary::Negative => map(dy, dx, |dy| -dy),
        Unary::Sign | Unary::Floor | Unary::Ceil | Unary::Round | Unary::Truncate => dx.fill(0.0),
        Unary::IsFinite | Unary::IsNan => dx.fill(0.0),
        Unary::Square => scale(x, dy, dx, |x| 2.0 * x),
        Unary::Sqrt => scale(x, dy, dx, |x| 0.5 / x.sqrt()),
        Unary::Rsqrt => scale(x, dy, dx, |x| -0.5 / (x * x.sqrt())),
        Unary::Reciprocal => scale(x, dy, dx, |x| -1.0 / (x * x)),
        Unary::Expm1 => scale(x, dy, dx, f32::exp),
        Unary::Log => scale(x, dy, dx, f32::recip),
        Unary::Log1p => scale(x, dy, dx, |x| 1.0 / (1.0 + x)),
        Unary::Sin => scale(x, dy, dx, f32::cos),
        Unary::Cos => scale(x, dy, dx, |x| -x.sin()),
        Unary::Tan => scale(x, dy, dx, |x| 1.0 / (x.cos() * x.cos())),
        Unary::Arctan => scale(x, dy, dx, |x| 1.0 / (1.0 + x * x)),
        Unary::Sinh => scale(x, dy, dx, f32::cosh),
        Unary::Cosh => scale(x, dy, dx, f32::sinh),
        Unary::Erf => scale(x, dy, dx, |x| std::f32::consts::FRAC_2_SQRT_PI * (-x * x).exp()),
        Unary::Clip { low, high } => scale(x, dy, dx, |x| flag((low..=high).contains(&x))),
    }
}

/// -1, 0 or 1; NaN for NaN. `f32::signum` gives 1 for 0.
fn sign(x: f32) -> f32 {
    if x > 0.0 {
        1.0
    } else if x < 0.0 {
        -1.0
    } else {
        x
    }
}

/// Clips `x` and keeps NaN. `f32::clamp` panics if `low` is above `high`, where TensorFlow gives `high`.
fn clip(x: f32, low: f32, high: f32) -> f32 {
    let raised = if x < low { low } else { x };
    if raised > high { high } else { raised }
}

fn flag(condition: bool) -> f32 {
    if condition { 1.0 } else { 0.0 }
}

fn map(x: &[f32], y: &mut [f32], f: impl Fn(f32) -> f32 + Sync) {
    check_len("y", y, x.len());
    zip_chunks(x, y, CHUNK, |x, y| y.iter_mut().zip(x).for_each(|(y, &x)| *y = f(x)));
}

/// `dx = derivative(x) * dy`, and 0 where `dy` is: the derivative may be infinite there, as that of a root at 0. TensorFlow does the
/// same for roots; `keras.ops.normalize` of zeros relies on it.
fn scale(x: &[f32], dy: &[f32], dx: &mut [f32], derivative: impl Fn(f32) -> f32 + Sync) {
    check_len("dy", dy, x.len());
    map(x, dx, derivative);
    let product = |(dx, dy): (&mut f32, &f32)| *dx = if *dy == 0.0 { 0.0 } else { *dx * dy };
    zip_chunks(dy, dx, CHUNK, |dy, dx| dx.iter_mut().zip(dy).for_each(product));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, numeric_gradient};

    fn apply(function: Unary, x: &[f32]) -> Vec<f32> {
        let mut y = vec![f32::NAN; x.len()];
        unary(function, x, &mut y);
        y
    }

    #[test]
    fn no_gradient_passes_a_root_of_zero_backwards_as_nan() {
        for root in [Unary::Sqrt, Unary::Rsqrt] {
            let mut dx = [f32::NAN; 2];
            unary_gradient(root, &[0.0, 4.0], &[0.0, 16.0], &mut dx);
            assert_eq!(dx, [0.0, if root == Unary::Sqrt { 4.0 } else { -1.0 }]);
        }
    }

    #[test]
    fn smooth_functions_and_their_gradients_agree_with_those_of_f64() {
        type Definition = fn(f64) -> f64;
        let functions: [(Unary, Definition); 16] = [
            (Unary::Absolute, f64::abs),
            (Unary::Negative, |x| -x),
            (Unary::Square, |x| x * x),
            (Unary::Sqrt, f64::sqrt),
            (Unary::Rsqrt, |x| x.powf(-0.5)),
            (Unary::Reciprocal, f64::recip),
            (Unary::Expm1, |x| x.exp() - 1.0),
            (Unary::Log, f64::ln),
            (Unary::Log1p, |x| (1.0 + x).ln()),
            (Unary::Sin, f64::sin),
            (Unary::Cos, f64::cos),
            (Unary::Tan, f64::tan),
            (Unary::Arctan, f64::atan),
            (Unary::Sinh, f64::sinh),
            (Unary::Cosh, f64::cosh),
            (Unary::Erf, libm::erf),
        ];
        let x = [0.25, 0.5, 0.75, 1.25, 1.4];
        let dy = [1.0, -2.0, 0.5, 3.0, 1.5];
        for (function, expected) in functions {
            let values: Vec<f32> = x.iter().map(|&x| expected(f64::from(x)) as f32).collect();
            assert_close(&apply(function, &x), &values, 1e-6);
            let mut dx = [f32::NAN; 5];
            unary_gradient(function, &x, &dy, &mut dx);
            let weighted = |x: &[f64]| x.iter().zip(&dy).map(|(&x, &dy)| expected(x) * f64::from(dy)).sum();
            assert_close(&dx, &numeric_gradient(&x, weighted), 2e-5);
        }
    }

    #[test]
    fn steps_and_limits() {
        let x = [-1.5, -0.5, 0.0, 0.5, 2.5];
        assert_eq!(apply(Unary::Floor, &x), [-2.0, -1.0, 0.0, 0.0, 2.0]);
        assert_eq!(apply(Unary::Ceil, &x), [-1.0, 0.0, 0.0, 1.0, 3.0]);
        assert_eq!(apply(Unary::Round, &x), [-2.0, 0.0, 0.0, 0.0, 2.0]);
        assert_eq!(apply(Unary::Truncate, &x), [-1.0, 0.0, 0.0, 0.0, 2.0]);
        assert_eq!(apply(Unary::Sign, &x), [-1.0, -1.0, 0.0, 1.0, 1.0]);
        assert_eq!(apply(Unary::Clip { low: -0.5, high: 0.25 }, &x), [-0.5, -0.5, 0.0, 0.25, 0.25]);
        assert_eq!(apply(Unary::IsFinite, &[1.0, f32::NAN, f32::INFINITY]), [1.0, 0.0, 0.0]);
        assert_eq!(apply(Unary::IsNan, &[1.0, f32::NAN, f32::INFINITY]), [0.0, 1.0, 0.0]);
        let mut dx = [f32::NAN; 5];
        unary_gradient(Unary::Clip { low: -0.5, high: 0.25 }, &x, &[1.0; 5], &mut dx);
        assert_eq!(dx, [0.0, 1.0, 1.0, 0.0, 0.0]);
        unary_gradient(Unary::Floor, &[], &[1.0; 5], &mut dx);
        assert_eq!(dx, [0.0; 5]);
    }

    #[test]
    fn nan_stays_nan_and_limits_may_be_in_any_order() {
        assert!(apply(Unary::Clip { low: 0.0, high: 1.0 }, &[f32::NAN])[0].is_nan());
        assert!(apply(Unary::Sign, &[f32::NAN])[0].is_nan());
        assert_eq!(apply(Unary::Clip { low: 2.0, high: 1.0 }, &[0.0, 3.0]), [1.0, 1.0]);
    }
}
