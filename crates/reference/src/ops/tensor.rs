//! Functions of one and two operands with broadcasting on both sides, and constants.

use engraft_ir::{Binary, Unary};

use super::{Call, OpGradients};
use crate::array::{Array, positions_of};

/// The value of a function of one operand.
pub(super) fn unary(function: Unary, x: f64) -> f64 {
    match function {
        Unary::Absolute => x.abs(),
        Unary::Negative => -x,
        Unary::Sign => sign(x),
        Unary::Square => x * x,
        Unary::Sqrt => x.sqrt(),
        Unary::Rsqrt => 1.0 / x.sqrt(),
        Unary::Reciprocal => 1.0 / x,
        Unary::Expm1 => x.exp_m1(),
        Unary::Log => x.ln(),
        Unary::Log1p => x.ln_1p(),
        Unary::Sin => x.sin(),
        Unary::Cos => x.cos(),
        Unary::Tan => x.tan(),
        Unary::Arctan => x.atan(),
        Unary::Sinh => x.sinh(),
        Unary::Cosh => x.cosh(),
        Unary::Erf => libm::erf(x),
        Unary::Floor => x.floor(),
        Unary::Ceil => x.ceil(),
        Unary::Round => x.round_ties_even(),
        Unary::Truncate => x.trunc(),
        Unary::Clip { low, high } => {
            let raised = if x < f64::from(low) { f64::from(low) } else { x };
            if raised > f64::from(high) { f64::from(high) } else { raised }
        }
        Unary::IsFinite => flag(x.is_finite()),
        Unary::IsNan => flag(x.is_nan()),
    }
}

/// The derivative of a function of one operand.
pub(super) fn unary_derivative(function: Unary, x: f64) -> f64 {
    match function {
        Unary::Absolute => sign(x),
        Unary::Negative => -1.0,
        Unary::Square => 2.0 * x,
        Unary::Sqrt => 0.5 / x.sqrt(),
        Unary::Rsqrt => -0.5 * x.powf(-1.5),
        Unary::Reciprocal => -1.0 / (x * x),
        Unary::Expm1 => x.exp(),
        Unary::Log => 1.0 / x,
        Unary::Log1p => 1.0 / (1.0 + x),
        Unary::Sin => x.cos(),
        Unary::Cos => -x.sin(),
        Unary::Tan => x.cos().powi(-2),
        Unary::Arctan => 1.0 / (1.0 + x * x),
        Unary::Sinh => x.cosh(),
        Unary::Cosh => x.sinh(),
        Unary::Erf => std::f64::consts::FRAC_2_SQRT_PI * (-x * x).exp(),
        Unary::Clip { low, high } => flag(f64::from(low) <= x && x <= f64::from(high)),
        Unary::Sign | Unary::Floor | Unary::Ceil | Unary::Round | Unary::Truncate => 0.0,
        Unary::IsFinite | Unary::IsNan => 0.0,
    }
}

fn sign(x: f64) -> f64 {
    if x == 0.0 { 0.0 } else { x.signum() }
}

fn flag(condition: bool) -> f64 {
    if condition { 1.0 } else { 0.0 }
}

pub(super) fn binary(call: &Call<'_>, function: Binary) -> Array {
    let (a, b) = (call.x[0], call.x[1]);
    let mut y = Array::zeros(call.output.clone());
    for at in positions_of(&call.output) {
        let (a, b) = (a[broadcast(&at, a).as_slice()], b[broadcast(&at, b).as_slice()]);
        y[at.as_slice()] = binary_value(function, a, b);
    }
    y
}

fn binary_value(function: Binary, a: f64, b: f64) -> f64 {
    match function {
        Binary::Add => a + b,
        Binary::Subtract => a - b,
        Binary::Multiply => a * b,
        Binary::Divide => a / b,
        Binary::FloorDivide => (a / b).floor(),
        Binary::Mod => a - b * (a / b).floor(),
        Binary::Power => a.powf(b),
        Binary::Maximum if a >= b || a.is_nan() => a,
        Binary::Minimum if a <= b || a.is_nan() => a,
        Binary::Maximum | Binary::Minimum => b,
        Binary::Equal => flag(a == b),
        Binary::NotEqual => flag(a != b),
        Binary::Greater => flag(a > b),
        Binary::GreaterEqual => flag(a >= b),
        Binary::Less => flag(a < b),
        Binary::LessEqual => flag(a <= b),
        Binary::Mask => {
            if b == 0.0 {
                0.0
            } else {
                a
            }
        }
    }
}

/// The derivatives with respect to both operands.
fn binary_derivatives(function: Binary, a: f64, b: f64) -> [f64; 2] {
    match function {
        Binary::Add => [1.0, 1.0],
        Binary::Subtract => [1.0, -1.0],
        Binary::Multiply => [b, a],
        Binary::Divide => [1.0 / b, -a / (b * b)],
        Binary::Mod => [1.0, -(a / b).floor()],
        Binary::Power => [b * a.powf(b - 1.0), if a > 0.0 { a.powf(b) * a.ln() } else { 0.0 }],
        Binary::Maximum => [flag(a >= b), flag(a < b)],
        Binary::Minimum => [flag(a <= b), flag(a > b)],
        Binary::Mask => [flag(b != 0.0), 0.0],
        Binary::FloorDivide | Binary::Equal | Binary::NotEqual | Binary::Greater => [0.0, 0.0],
        Binary::GreaterEqual | Binary::Less | Binary::LessEqual => [0.0, 0.0],
    }
}

pub(super) fn binary_backward(call: &Call<'_>, function: Binary, dy: &Array) -> OpGradients {
    let operands = [call.x[0], call.x[1]];
    let mut gradients = operands.map(|operand| Array::zeros(operand.shape()));
    for at in positions_of(&call.output) {
        let places = operands.map(|operand| broadcast(&at, operand));
        let [a, b] = [0, 1].map(|operand| operands[operand][places[operand].as_slice()]);
        let derivatives = binary_derivatives(function, a, b);
        for operand in [0, 1] {
            gradients[operand][places[operand].as_slice()] += derivatives[operand] * dy[at.as_slice()];
        }
    }
    OpGradients { inputs: gradients.into(), weights: Vec::new() }
}

/// The position of the element that contributes to the output at `at`: the first along axes of size 1.
fn broadcast(at: &[usize], operand: &Array) -> Vec<usize> {
    at.iter().zip(operand.shape()).map(|(&at, &size)| if size == 1 { 0 } else { at }).collect()
}

pub(super) fn constant(call: &Call<'_>, values: &[f32]) -> Array {
    Array::from_f32(call.output.clone(), &values.repeat(call.output[0]))
}

#[cfg(test)]
mod tests {
    use engraft_ir::Op;

    use super::*;
    use crate::testing::check_gradients;

    #[test]
    fn gradients_of_functions_that_exist_for_all_numbers() {
        for function in [
            Unary::Absolute,
            Unary::Negative,
            Unary::Sign,
            Unary::Square,
            Unary::Expm1,
            Unary::Sin,
            Unary::Cos,
            Unary::Arctan,
            Unary::Sinh,
            Unary::Cosh,
            Unary::Erf,
            Unary::Floor,
            Unary::Ceil,
            Unary::Round,
            Unary::Truncate,
            Unary::Clip { low: -0.7, high: 0.4 },
        ] {
            check_gradients(&Op::Unary(function), &[&[2, 5]], &[], &[2, 5]);
        }
    }

    #[test]
    fn derivatives_of_functions_of_positive_numbers() {
        let functions = [Unary::Sqrt, Unary::Rsqrt, Unary::Reciprocal, Unary::Log, Unary::Log1p, Unary::Tan];
        for function in functions {
            for x in [0.3, 0.8, 1.2] {
                let difference = (unary(function, x + 1e-6) - unary(function, x - 1e-6)) / 2e-6;
                assert!((unary_derivative(function, x) - difference).abs() < 1e-6 * difference.abs(), "{function:?}");
            }
        }
    }

    #[test]
    fn gradients_of_broadcast_operands_are_sums() {
        for function in [
            Binary::Add,
            Binary::Subtract,
            Binary::Multiply,
            Binary::Maximum,
            Binary::Minimum,
            Binary::Greater,
            Binary::LessEqual,
            Binary::Mask,
        ] {
            let op = Op::Binary(function);
            check_gradients(&op, &[&[2, 3, 4], &[2, 3, 4]], &[], &[2, 3, 4]);
            check_gradients(&op, &[&[2, 3, 1], &[2, 1, 4]], &[], &[2, 3, 4]);
            check_gradients(&op, &[&[2, 1, 1], &[2, 3, 4]], &[], &[2, 3, 4]);
        }
    }

    #[test]
    fn derivatives_of_quotients_powers_and_remainders() {
        for function in [Binary::Divide, Binary::Power, Binary::Mod, Binary::FloorDivide] {
            for (a, b) in [(0.3, 1.2), (2.5, 0.7), (1.9, 2.2)] {
                let slope = |da: f64, db: f64| {
                    (binary_value(function, a + da, b + db) - binary_value(function, a - da, b - db)) / 2e-6
                };
                let [by_a, by_b] = binary_derivatives(function, a, b);
                let (a_slope, b_slope) = (slope(1e-6, 0.0), slope(0.0, 1e-6));
                assert!((by_a - a_slope).abs() < 1e-6 && (by_b - b_slope).abs() < 1e-6, "{function:?}");
            }
        }
    }
}
