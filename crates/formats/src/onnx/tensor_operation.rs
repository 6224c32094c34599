//! Lowers operations on tensors to ONNX nodes: elementwise functions, reductions, constants, padding and selection.

use engraft_ir::{Binary, Op, Reduction, Unary, ValueId};
use engraft_nn::Step;

use super::graph_builder::Layout::ChannelsLast;
use super::graph_builder::{GraphBuilder, LaidOutTensor, Layout};
use super::messages::{AttributeProto, FLOAT};
use super::operation::{in_any_layout, in_common_layout};

/// `TensorProto.DataType.BOOL`.
const BOOL: i64 = 9;

/// Adds nodes that apply a function to each element of the tensor `x`; returns the name of the result.
pub(super) fn unary(g: &mut GraphBuilder<'_>, function: Unary, x: &str) -> String {
    let op_type = match function {
        Unary::Absolute => "Abs",
        Unary::Negative => "Neg",
        Unary::Sign => "Sign",
        Unary::Sqrt => "Sqrt",
        Unary::Reciprocal => "Reciprocal",
        Unary::Log => "Log",
        Unary::Sin => "Sin",
        Unary::Cos => "Cos",
        Unary::Tan => "Tan",
        Unary::Arctan => "Atan",
        Unary::Sinh => "Sinh",
        Unary::Cosh => "Cosh",
        Unary::Erf => "Erf",
        Unary::Floor => "Floor",
        Unary::Ceil => "Ceil",
        // ONNX rounds halves to the even neighbor, too.
        Unary::Round => "Round",
        Unary::Square => return g.node("Mul", &[x, x], vec![]),
        Unary::Rsqrt => {
            let root = g.node("Sqrt", &[x], vec![]);
            return g.node("Reciprocal", &[&root], vec![]);
        }
        Unary::Expm1 => {
            let (power, one) = (g.node("Exp", &[x], vec![]), g.scalar(1.0));
            return g.node("Sub", &[&power, &one], vec![]);
        }
        Unary::Log1p => {
            let one = g.scalar(1.0);
            let sum = g.node("Add", &[x, &one], vec![]);
            return g.node("Log", &[&sum], vec![]);
        }
        Unary::Truncate => {
            let (sign, size) = (g.node("Sign", &[x], vec![]), g.node("Abs", &[x], vec![]));
            let whole = g.node("Floor", &[&size], vec![]);
            return g.node("Mul", &[&sign, &whole], vec![]);
        }
        Unary::Clip { low, high } => {
            let bound = |g: &mut GraphBuilder<'_>, bound: f32| match bound.is_finite() {
                true => g.scalar(bound),
                false => String::new(),
            };
            let (low, high) = (bound(g, low), bound(g, high));
            return g.node("Clip", &[x, &low, &high], vec![]);
        }
        Unary::IsNan => {
            let is_nan = g.node("IsNaN", &[x], vec![]);
            return as_floats(g, &is_nan);
        }
        Unary::IsFinite => {
            // The difference is NaN for NaN and for both infinities.
            let (difference, zero) = (g.node("Sub", &[x, x], vec![]), g.scalar(0.0));
            let is_finite = g.node("Equal", &[&difference, &zero], vec![]);
            return as_floats(g, &is_finite);
        }
    };
    g.node(op_type, &[x], vec![])
}

/// Adds nodes that compute a function of two inputs of the same rank.
pub(super) fn binary(g: &mut GraphBuilder<'_>, function: Binary, step: &Step) -> LaidOutTensor {
    let (operands, layout) = in_common_layout(g, &step.inputs);
    let (a, b) = (operands[0].as_str(), operands[1].as_str());
    let comparison = |g: &mut GraphBuilder<'_>, op_type: &str| {
        let result = g.node(op_type, &[a, b], vec![]);
        as_floats(g, &result)
    };
    let result = match function {
        Binary::Add => g.node("Add", &[a, b], vec![]),
        Binary::Subtract => g.node("Sub", &[a, b], vec![]),
        Binary::Multiply => g.node("Mul", &[a, b], vec![]),
        Binary::Divide => g.node("Div", &[a, b], vec![]),
        Binary::FloorDivide => floor_of_quotient(g, a, b),
        Binary::Mod => {
            // ONNX' `Mod` takes the sign of the dividend for floats.
            let whole = floor_of_quotient(g, a, b);
            let multiple = g.node("Mul", &[b, &whole], vec![]);
            g.node("Sub", &[a, &multiple], vec![])
        }
        Binary::Power => g.node("Pow", &[a, b], vec![]),
        Binary::Maximum => g.node("Max", &[a, b], vec![]),
        Binary::Minimum => g.node("Min", &[a, b], vec![]),
        Binary::Equal => comparison(g, "Equal"),
        Binary::NotEqual => {
            let equal = g.node("Equal", &[a, b], vec![]);
            let different = g.node("Not", &[&equal], vec![]);
            as_floats(g, &different)
        }
        Binary::Greater => comparison(g, "Greater"),
        Binary::GreaterEqual => comparison(g, "GreaterOrEqual"),
        Binary::Less => comparison(g, "Less"),
        Binary::LessEqual => comparison(g, "LessOrEqual"),
        Binary::Mask => {
            let condition = g.node("Cast", &[b], vec![AttributeProto::int("to", BOOL)]);
            let zero = g.scalar(0.0);
            g.node("Where", &[&condition, a, &zero], vec![])
        }
    };
    (result, layout)
}

/// `floor(a / b)`.
fn floor_of_quotient(g: &mut GraphBuilder<'_>, a: &str, b: &str) -> String {
    let quotient = g.node("Div", &[a, b], vec![]);
    g.node("Floor", &[&quotient], vec![])
}

/// Casts booleans to 0 and 1.
fn as_floats(g: &mut GraphBuilder<'_>, booleans: &str) -> String {
    g.node("Cast", &[booleans], vec![AttributeProto::int("to", FLOAT.into())])
}

/// Adds a reduction along axes of a sample.
pub(super) fn reduce(g: &mut GraphBuilder<'_>, reduction: Reduction, axes: &[usize], step: &Step) -> LaidOutTensor {
    let rank = g.shape(step.inputs[0]).len();
    let keepdims = g.shape(step.output).len() == rank;
    // Where axes are removed, the last of the others becomes the axis of channels.
    let (x, layout) = match keepdims {
        true => in_any_layout(g, step.inputs[0]),
        false => (g.read(step.inputs[0], ChannelsLast), ChannelsLast),
    };
    let axes: Vec<usize> = axes.iter().map(|&axis| layout.axis(rank, axis)).collect();
    let keepdims = AttributeProto::int("keepdims", keepdims.into());
    let op_type = match reduction {
        // Up to opset 17, the sum alone takes its axes as an input.
        Reduction::Sum => {
            let axes = g.sizes("axes", axes);
            return (g.node("ReduceSum", &[&x, &axes], vec![keepdims]), layout);
        }
        Reduction::Mean => "ReduceMean",
        Reduction::Max => "ReduceMax",
        Reduction::Min => "ReduceMin",
        Reduction::Prod => "ReduceProd",
    };
    (g.node(op_type, &[&x], vec![AttributeProto::ints("axes", &axes), keepdims]), layout)
}

/// Adds a `Gather` of slices along an axis.
pub(super) fn gather(g: &mut GraphBuilder<'_>, axis: usize, indices: &[usize], input: ValueId) -> LaidOutTensor {
    let (x, layout) = in_any_layout(g, input);
    let axis = layout.axis(g.shape(input).len(), axis) as i64;
    let indices = g.sizes("indices", indices.iter().copied());
    (g.node("Gather", &[&x, &indices], vec![AttributeProto::int("axis", axis)]), layout)
}

/// Adds a `Pad` with a constant.
pub(super) fn pad(g: &mut GraphBuilder<'_>, by: &[[usize; 2]], value: f32, input: ValueId) -> LaidOutTensor {
    let (x, layout) = in_any_layout(g, input);
    let rank = by.len();
    let mut pads = vec![0; 2 * (rank + 1)];
    for (axis, &[before, after]) in by.iter().enumerate() {
        let axis = layout.axis(rank, axis);
        (pads[axis], pads[rank + 1 + axis]) = (before, after);
    }
    let pads = g.sizes("pads", pads);
    if value == 0.0 {
        return (g.node("Pad", &[&x, &pads], vec![]), layout);
    }
    let value = g.scalar(value);
    (g.node("Pad", &[&x, &pads, &value], vec![]), layout)
}

/// Adds a constant. Elementwise operations broadcast it along the batch; for others, it is repeated for each sample.
pub(super) fn constant(g: &mut GraphBuilder<'_>, values: &[f32], output: ValueId) -> LaidOutTensor {
    let dims = std::iter::once(1).chain(g.shape(output).iter().copied()).collect();
    let constant = g.floats("constant", dims, values.to_vec());
    let program = g.program();
    let mut readers = program.steps.iter().filter(|step| step.inputs.contains(&output)).peekable();
    let broadcast = readers.peek().is_some() && !program.outputs.contains(&output);
    if broadcast && readers.all(|step| matches!(step.op, Op::Binary(_) | Op::Add | Op::Multiply)) {
        return (constant, ChannelsLast);
    }
    let photos = g.read(program.inputs[0], ChannelsLast);
    let batch = g.node("Shape", &[&photos], vec![AttributeProto::int("end", 1)]);
    let sizes = g.sizes("sizes", g.shape(output).iter().copied());
    let shape = g.node("Concat", &[&batch, &sizes], vec![AttributeProto::int("axis", 0)]);
    (g.node("Expand", &[&constant, &shape], vec![]), Layout::ChannelsLast)
}
