//! Lowers activation functions to ONNX operators of opset 17.

use std::f32::consts::{FRAC_1_SQRT_2, FRAC_2_PI};

use engraft_ir::Activation;

use super::graph_builder::GraphBuilder;
use super::messages::AttributeProto;

/// Adds nodes that apply `function` to each element of the tensor `x`; returns the name of the result.
pub(super) fn activation(g: &mut GraphBuilder<'_>, function: Activation, x: String) -> String {
    let x = x.as_str();
    let float = |name, value| vec![AttributeProto::float(name, value)];
    match function {
        Activation::Linear => x.into(),
        Activation::Relu => g.node("Relu", &[x], vec![]),
        Activation::Relu6 => clip(g, x, 0.0, 6.0),
        Activation::LeakyRelu { negative_slope } => g.node("LeakyRelu", &[x], float("alpha", negative_slope)),
        Activation::ThresholdedRelu { max_value, negative_slope, threshold } => {
            let (threshold, slope, ceiling) = (g.scalar(threshold), g.scalar(negative_slope), g.scalar(max_value));
            let is_above = g.node("Greater", &[x, &threshold], vec![]);
            let distance = g.node("Sub", &[x, &threshold], vec![]);
            let below = g.node("Mul", &[&distance, &slope], vec![]);
            let above = g.node("Min", &[x, &ceiling], vec![]);
            g.node("Where", &[&is_above, &above, &below], vec![])
        }
        Activation::Elu { alpha } => g.node("Elu", &[x], float("alpha", alpha)),
        // The defaults of ONNX' `Selu` for alpha and gamma are the constants of Keras.
        Activation::Selu => g.node("Selu", &[x], vec![]),
        Activation::Sigmoid => g.node("Sigmoid", &[x], vec![]),
        Activation::HardSigmoid => g.node("HardSigmoid", &[x], float("alpha", 1.0 / 6.0)),
        Activation::Tanh => g.node("Tanh", &[x], vec![]),
        Activation::Softplus => g.node("Softplus", &[x], vec![]),
        Activation::Softsign => g.node("Softsign", &[x], vec![]),
        Activation::Exponential => g.node("Exp", &[x], vec![]),
        Activation::Silu => {
            let gate = g.node("Sigmoid", &[x], vec![]);
            g.node("Mul", &[x, &gate], vec![])
        }
        Activation::HardSilu => g.node("HardSwish", &[x], vec![]),
        Activation::Gelu { approximate } => gelu(g, x, approximate),
        Activation::Mish => {
            let softplus = g.node("Softplus", &[x], vec![]);
            let gate = g.node("Tanh", &[&softplus], vec![]);
            g.node("Mul", &[x, &gate], vec![])
        }
        Activation::Celu { alpha } => g.node("Celu", &[x], float("alpha", alpha)),
        Activation::HardShrink { threshold } => shrink(g, x, threshold, 0.0),
        Activation::HardTanh => clip(g, x, -1.0, 1.0),
        Activation::LogSigmoid => {
            let opposite = g.node("Neg", &[x], vec![]);
            let softplus = g.node("Softplus", &[&opposite], vec![]);
            g.node("Neg", &[&softplus], vec![])
        }
        Activation::SoftShrink { threshold } => shrink(g, x, threshold, threshold),
        Activation::SparsePlus => {
            // (clip(x, -1, 1) + 1)^2 / 4 + max(x, 1) - 1
            let (one, quarter) = (g.scalar(1.0), g.scalar(0.25));
            let inside = clip(g, x, -1.0, 1.0);
            let inside = g.node("Add", &[&inside, &one], vec![]);
            let square = g.node("Mul", &[&inside, &inside], vec![]);
            let curve = g.node("Mul", &[&square, &quarter], vec![]);
            let beyond = g.node("Sub", &[x, &one], vec![]);
            let beyond = g.node("Relu", &[&beyond], vec![]);
            g.node("Add", &[&curve, &beyond], vec![])
        }
        Activation::SparseSigmoid => g.node("HardSigmoid", &[x], float("alpha", 0.5)),
        Activation::Squareplus { b } => {
            let (half, b) = (g.scalar(0.5), g.scalar(b));
            let square = g.node("Mul", &[x, x], vec![]);
            let square = g.node("Add", &[&square, &b], vec![]);
            let root = g.node("Sqrt", &[&square], vec![]);
            let sum = g.node("Add", &[x, &root], vec![]);
            g.node("Mul", &[&sum, &half], vec![])
        }
        Activation::TanhShrink => {
            let tanh = g.node("Tanh", &[x], vec![]);
            g.node("Sub", &[x, &tanh], vec![])
        }
        Activation::Threshold { threshold, default_value } => {
            let (threshold, default_value) = (g.scalar(threshold), g.scalar(default_value));
            let is_above = g.node("Greater", &[x, &threshold], vec![]);
            g.node("Where", &[&is_above, x, &default_value], vec![])
        }
    }
}

fn clip(g: &mut GraphBuilder<'_>, x: &str, low: f32, high: f32) -> String {
    let (low, high) = (g.scalar(low), g.scalar(high));
    g.node("Clip", &[x, &low, &high], vec![])
}

/// Sets values within `lambd` of 0 to 0 and moves the others towards 0 by `bias`.
fn shrink(g: &mut GraphBuilder<'_>, x: &str, lambd: f32, bias: f32) -> String {
    g.node("Shrink", &[x], vec![AttributeProto::float("lambd", lambd), AttributeProto::float("bias", bias)])
}

/// Adds nodes that compute GELU from other operators, since ONNX has an operator `Gelu` only from opset 20 on.
///
/// GELU is `x / 2 * (1 + erf(x / sqrt(2)))`. With `approximate`, it is
/// `x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3)))`.
fn gelu(g: &mut GraphBuilder<'_>, x: &str, approximate: bool) -> String {
    let half = g.scalar(0.5);
    let one = g.scalar(1.0);
    let sign = if approximate {
        let square = g.node("Mul", &[x, x], vec![]);
        let cube = g.node("Mul", &[&square, x], vec![]);
        let share = g.scalar(0.044_715);
        let cube = g.node("Mul", &[&cube, &share], vec![]);
        let inner = g.node("Add", &[x, &cube], vec![]);
        let scale = g.scalar(FRAC_2_PI.sqrt());
        let inner = g.node("Mul", &[&inner, &scale], vec![]);
        g.node("Tanh", &[&inner], vec![])
    } else {
        let scale = g.scalar(FRAC_1_SQRT_2);
        let inner = g.node("Mul", &[x, &scale], vec![]);
        g.node("Erf", &[&inner], vec![])
    };
    let share = g.node("Add", &[&sign, &one], vec![]);
    let product = g.node("Mul", &[x, &share], vec![]);
    g.node("Mul", &[&product, &half], vec![])
}
