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
        Activation::Relu6 => {
            let (low, high) = (g.scalar(0.0), g.scalar(6.0));
            g.node("Clip", &[x, &low, &high], vec![])
        }
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
    }
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
