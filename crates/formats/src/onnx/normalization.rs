//! Lowers normalizations of single samples, and products with a broadcast weight, to ONNX nodes of opset 17.

use engraft_ir::{Normalization, NormalizationKind};
use engraft_nn::{Param, Step};

use super::graph_builder::GraphBuilder;
use super::graph_builder::Layout::ChannelsLast;
use super::messages::AttributeProto;

/// The axes of a group's values in the tensor `[batch, blocks, rows, groups, width]`.
const GROUP_AXES: [usize; 2] = [2, 4];

/// Adds the nodes of a normalization; returns its output tensor, channels last.
///
/// Mean and variance along the last axis are one node, `LayerNormalization`. Other groups are reduced in a reshaped tensor.
pub(super) fn normalization(g: &mut GraphBuilder<'_>, step: &Step, norm: &Normalization) -> String {
    let (x, shape) = (g.read(step.inputs[0], ChannelsLast), g.shape(step.output));
    if norm.kind == NormalizationKind::Standard && norm.rows == 1 && shape.last() == Some(&norm.width) {
        let mut inputs = vec![x];
        inputs.push(match norm.scale {
            true => weight(g, &step.weights[0], vec![norm.width]),
            false => g.floats("gamma", vec![norm.width], vec![1.0; norm.width]),
        });
        if norm.center {
            inputs.push(weight(g, &step.weights[usize::from(norm.scale)], vec![norm.width]));
        }
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        let attributes = vec![AttributeProto::int("axis", -1), AttributeProto::float("epsilon", norm.epsilon)];
        return g.node("LayerNormalization", &inputs, attributes);
    }
    let blocks = shape.iter().product::<usize>() / (norm.rows * norm.columns());
    // In a `Reshape`, 0 keeps the size of that axis: here of the batch.
    let grouped = g.sizes("groups", [0, blocks, norm.rows, norm.groups, norm.width]);
    let x = g.node("Reshape", &[&x, &grouped], vec![]);
    let mut y = normalized(g, &x, norm);
    for (exists, position, op_type) in [(norm.scale, 0, "Mul"), (norm.center, usize::from(norm.scale), "Add")] {
        if exists {
            let operand = weight(g, &step.weights[position], vec![norm.groups, norm.width]);
            y = g.node(op_type, &[&y, &operand], vec![]);
        }
    }
    let shape = g.sizes("shape", std::iter::once(0).chain(shape.iter().copied()));
    g.node("Reshape", &[&y, &shape], vec![])
}

/// Adds the nodes that divide each group of a grouped tensor, before gamma and beta.
fn normalized(g: &mut GraphBuilder<'_>, x: &str, norm: &Normalization) -> String {
    let reduce = |g: &mut GraphBuilder<'_>, op_type, x: &str| {
        let attributes = vec![AttributeProto::ints("axes", &GROUP_AXES), AttributeProto::int("keepdims", 1)];
        g.node(op_type, &[x], attributes)
    };
    let epsilon = g.scalar(norm.epsilon);
    if norm.kind == NormalizationKind::Norm {
        let length = reduce(g, "ReduceL2", x);
        let divisor = g.node("Max", &[&length, &epsilon], vec![]);
        return g.node("Div", &[x, &divisor], vec![]);
    }
    let difference = match norm.kind {
        NormalizationKind::RootMeanSquare => x.to_owned(),
        _ => {
            let mean = reduce(g, "ReduceMean", x);
            g.node("Sub", &[x, &mean], vec![])
        }
    };
    let square = g.node("Mul", &[&difference, &difference], vec![]);
    let mean_square = reduce(g, "ReduceMean", &square);
    let sum = g.node("Add", &[&mean_square, &epsilon], vec![]);
    let divisor = g.node("Sqrt", &[&sum], vec![]);
    let numerator = if norm.kind == NormalizationKind::Variance { x } else { &difference };
    g.node("Div", &[numerator, &divisor], vec![])
}

/// Adds the node of a product with a broadcast weight; returns its output tensor, channels last.
pub(super) fn scale(g: &mut GraphBuilder<'_>, step: &Step, below_zero: bool) -> String {
    let x = g.read(step.inputs[0], ChannelsLast);
    let shape = step.weights[0].weight.shape().to_vec();
    let factor = weight(g, &step.weights[0], shape);
    g.node(if below_zero { "PRelu" } else { "Mul" }, &[&x, &factor], vec![])
}

/// The tensor of a weight in its own order, with the sizes `dims`.
fn weight(g: &mut GraphBuilder<'_>, param: &Param, dims: Vec<usize>) -> String {
    let axes: Vec<usize> = (0..param.weight.shape().len()).collect();
    g.weight(&param.weight, &axes, dims)
}
