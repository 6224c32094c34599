//! Lowers the operations of a program to ONNX nodes.

use engraft_ir::{Interpolation, Op, PoolKind, Resampling, ValueId};
use engraft_nn::{Error, ErrorKind, Result};
use engraft_nn::{Param, Step};

use super::activation::activation;
use super::conv_kernel::onnx_kernel;
use super::graph_builder::Layout::{ChannelsFirst, ChannelsLast};
use super::graph_builder::{GraphBuilder, LaidOutTensor, Layout};
use super::messages::{AttributeProto, INT64};
use super::normalization::{normalization, scale};
use super::tensor_operation;

/// Adds the nodes that compute a step; returns its output tensor.
///
/// # Errors
/// Where the operation exists only in training, such as Dropout.
pub(super) fn operation(g: &mut GraphBuilder<'_>, step: &Step) -> Result<LaidOutTensor> {
    if let Op::Constant { values } = &step.op {
        return Ok(tensor_operation::constant(g, values, step.output));
    }
    let input = step.inputs[0];
    let (tensor, layout) = match &step.op {
        Op::Conv2d { .. } => convolution(g, step),
        Op::Conv2dTranspose { .. } => transposed_convolution(g, step),
        Op::Dense => dense(g, step),
        Op::MatMul { transpose } => matmul(g, step, *transpose),
        Op::Embedding => embedding(g, step),
        Op::Parameter => parameter(g, step),
        Op::Pool2d { kind, size, stride, pad } => {
            let x = g.read(input, ChannelsFirst);
            let op_type = if *kind == PoolKind::Max { "MaxPool" } else { "AveragePool" };
            let window = Window { extent: *size, stride: *stride, pad: *pad };
            (g.node(op_type, &[&x], window.attributes(g, step, *size)), ChannelsFirst)
        }
        Op::GlobalPool { kind } => global_pool(g, *kind, step),
        Op::BatchNorm { batch_statistics: false, .. } => batch_norm(g, step),
        Op::Normalize(norm) => (normalization(g, step, norm), ChannelsLast),
        Op::Scale { below_zero } => (scale(g, step, *below_zero), ChannelsLast),
        Op::Activation(function) => {
            let (x, layout) = in_any_layout(g, input);
            (activation(g, *function, x), layout)
        }
        Op::Softmax | Op::LogSoftmax => {
            let (x, layout) = in_any_layout(g, input);
            let axis = channel_axis(g, input, layout);
            let op_type = if step.op == Op::Softmax { "Softmax" } else { "LogSoftmax" };
            (g.node(op_type, &[&x], vec![AttributeProto::int("axis", axis as i64)]), layout)
        }
        Op::AdaptivePool2d { .. } => {
            let place = format_args!("layer `{}`", step.layer);
            return Err(Error::because(place, "ONNX has no operator for adaptive pooling")
                .with_kind(ErrorKind::Unsupported)
                .hint("choose an output_size that divides the image, or save the model as .keras"));
        }
        Op::Sparsemax => {
            let place = format_args!("layer `{}`", step.layer);
            return Err(Error::because(place, "ONNX has no operator for sparsemax")
                .with_kind(ErrorKind::Unsupported)
                .hint("use softmax, or save the model as .keras"));
        }
        Op::Add => {
            let (terms, layout) = in_common_layout(g, &step.inputs);
            let op_type = if terms.len() == 2 { "Add" } else { "Sum" };
            (g.node(op_type, &terms.iter().map(String::as_str).collect::<Vec<_>>(), vec![]), layout)
        }
        Op::Multiply => {
            let (factors, layout) = in_common_layout(g, &step.inputs);
            (g.node("Mul", &factors.iter().map(String::as_str).collect::<Vec<_>>(), vec![]), layout)
        }
        Op::Concatenate { axis } => {
            let (parts, layout) = in_common_layout(g, &step.inputs);
            let axis = layout.axis(g.shape(input).len(), *axis) as i64;
            let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
            (g.node("Concat", &parts, vec![AttributeProto::int("axis", axis)]), layout)
        }
        Op::Pad2d { pad: [[top, bottom], [left, right]] } => {
            let x = g.read(input, ChannelsFirst);
            let pads = g.sizes("pads", [0, 0, *top, *left, 0, 0, *bottom, *right]);
            (g.node("Pad", &[&x, &pads], vec![]), ChannelsFirst)
        }
        Op::Reshape => (reshape(g, step), ChannelsLast),
        Op::Slice { start, step: steps } => slice(g, step, start, steps),
        // The channels-first tensor of a channels-last value is the channels-last tensor of the transposed value.
        Op::Permute { axes } if axes == &[1, 2, 0] => (g.read(input, ChannelsLast), ChannelsFirst),
        Op::Permute { axes } if axes == &[2, 0, 1] => (g.read(input, ChannelsFirst), ChannelsLast),
        Op::Permute { axes } => {
            let x = g.read(input, ChannelsLast);
            let axes: Vec<usize> = std::iter::once(0).chain(axes.iter().map(|axis| axis + 1)).collect();
            (g.node("Transpose", &[&x], vec![AttributeProto::ints("perm", &axes)]), ChannelsLast)
        }
        Op::ScaleShift { scale, shift } => scale_shift(g, input, scale, shift),
        Op::ReverseChannels => {
            // In the channels-first layout, `Gather` copies whole channel planes, which is faster than copying single values.
            let layout = if g.shape(input).len() < 2 { ChannelsLast } else { ChannelsFirst };
            let x = g.read(input, layout);
            let axis = channel_axis(g, input, layout);
            let channels = g.shape(input).last().copied().unwrap_or(0);
            let backwards = g.sizes("channels", (0..channels).rev());
            (g.node("Gather", &[&x, &backwards], vec![AttributeProto::int("axis", axis as i64)]), layout)
        }
        Op::Resize { interpolation: Interpolation::Nearest, .. }
        | Op::Resize { interpolation: Interpolation::Bilinear, antialias: false } => (resize(g, step), ChannelsFirst),
        Op::Resize { interpolation, antialias } => (resample(g, *interpolation, *antialias, step)?, ChannelsFirst),
        Op::Unary(function) => {
            let (x, layout) = in_any_layout(g, input);
            (tensor_operation::unary(g, *function, &x), layout)
        }
        Op::Binary(function) => tensor_operation::binary(g, *function, step),
        Op::Reduce { reduction, axes } => tensor_operation::reduce(g, *reduction, axes, step),
        Op::Gather { axis, indices } => tensor_operation::gather(g, *axis, indices, input),
        Op::Pad { pad, value } => tensor_operation::pad(g, pad, *value, input),
        op @ (Op::Constant { .. }
        | Op::Dropout { .. }
        | Op::Noise { .. }
        | Op::Penalty { .. }
        | Op::RandomTransform { .. }
        | Op::BatchNorm { batch_statistics: true, .. }) => {
            let place = format_args!("layer `{}`", step.layer);
            return Err(Error::new(place, "an operation of inference", format_args!("{op:?}"))
                .with_kind(ErrorKind::Unsupported));
        }
    };
    Ok((activation(g, step.activation, tensor), layout))
}

/// A tensor that holds a value already, so that no `Transpose` is added; channels first if there is one in each layout.
pub(super) fn in_any_layout(g: &mut GraphBuilder<'_>, value: ValueId) -> LaidOutTensor {
    let layout = g.layout(&[value]);
    (g.read(value, layout), layout)
}

/// The tensors of several values, all in the same layout, which is also returned.
pub(super) fn in_common_layout(g: &mut GraphBuilder<'_>, values: &[ValueId]) -> (Vec<String>, Layout) {
    let layout = g.layout(values);
    (values.iter().map(|&value| g.read(value, layout)).collect(), layout)
}

/// The tensor axis of a value's channels in `layout`.
fn channel_axis(g: &GraphBuilder<'_>, value: ValueId, layout: Layout) -> usize {
    let rank = g.shape(value).len();
    layout.axis(rank, rank.saturating_sub(1))
}

/// The windows of a convolution or pooling.
struct Window {
    /// The extent of a window in pixels, dilation included.
    extent: [usize; 2],
    stride: [usize; 2],
    /// Padding at the top and on the left.
    pad: [usize; 2],
}

impl Window {
    /// The attributes `kernel_shape`, `strides` and `pads`.
    ///
    /// ONNX needs the padding of all four sides. At the bottom and on the right, it is the number of rows and columns that the
    /// last windows read beyond the image.
    fn attributes(&self, g: &GraphBuilder<'_>, step: &Step, kernel: [usize; 2]) -> Vec<AttributeProto> {
        let (input, output) = (g.shape(step.inputs[0]), g.shape(step.output));
        let end = |axis: usize| {
            let read = output[axis].saturating_sub(1) * self.stride[axis] + self.extent[axis];
            read.saturating_sub(input[axis] + self.pad[axis])
        };
        vec![
            AttributeProto::ints("kernel_shape", &kernel),
            AttributeProto::ints("strides", &self.stride),
            AttributeProto::ints("pads", &[self.pad[0], self.pad[1], end(0), end(1)]),
        ]
    }
}

fn convolution(g: &mut GraphBuilder<'_>, step: &Step) -> LaidOutTensor {
    let Op::Conv2d { kernel, stride, dilation, pad, groups, .. } = step.op else {
        unreachable!("called for convolutions only");
    };
    let x = g.read(step.inputs[0], ChannelsFirst);
    let mut inputs = vec![x];
    for Param { weight, .. } in &step.weights {
        inputs.push(match onnx_kernel(g.program(), step, weight) {
            Some(kernel) => g.weight(weight, &kernel.axes, kernel.dims.to_vec()),
            None => g.weight(weight, &[0], weight.shape().to_vec()),
        });
    }
    let extent = [0, 1].map(|axis| (kernel[axis] - 1) * dilation[axis] + 1);
    let mut attributes = Window { extent, stride, pad }.attributes(g, step, kernel);
    attributes.push(AttributeProto::ints("dilations", &dilation));
    attributes.push(AttributeProto::int("group", groups as i64));
    let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
    (g.node("Conv", &inputs, attributes), ChannelsFirst)
}

/// Adds a `ConvTranspose`. Where the windows end before the output does, ONNX' `output_padding` adds the rest.
fn transposed_convolution(g: &mut GraphBuilder<'_>, step: &Step) -> LaidOutTensor {
    let Op::Conv2dTranspose { kernel, stride, dilation, pad } = step.op else {
        unreachable!("called for transposed convolutions only");
    };
    let (input, output) = (g.shape(step.inputs[0]), g.shape(step.output));
    let mut inputs = vec![g.read(step.inputs[0], ChannelsFirst)];
    for (position, Param { weight, .. }) in step.weights.iter().enumerate() {
        inputs.push(match (position, weight.shape()) {
            (0, &[height, width, filters, channels]) => {
                g.weight(weight, &[3, 2, 0, 1], vec![channels, filters, height, width])
            }
            (_, shape) => g.weight(weight, &[0], shape.to_vec()),
        });
    }
    // Sizes from the first pasted pixel to the last, and from the first kept one to the last.
    let pasted = |axis: usize| (input[axis] - 1) * stride[axis] + (kernel[axis] - 1) * dilation[axis] + 1;
    let kept = |axis: usize| output[axis] + pad[axis];
    let end = |axis: usize| pasted(axis).saturating_sub(kept(axis));
    let rest = [0, 1].map(|axis| kept(axis).saturating_sub(pasted(axis)));
    let attributes = vec![
        AttributeProto::ints("kernel_shape", &kernel),
        AttributeProto::ints("strides", &stride),
        AttributeProto::ints("pads", &[pad[0], pad[1], end(0), end(1)]),
        AttributeProto::ints("dilations", &dilation),
        AttributeProto::ints("output_padding", &rest),
    ];
    let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
    (g.node("ConvTranspose", &inputs, attributes), ChannelsFirst)
}

fn dense(g: &mut GraphBuilder<'_>, step: &Step) -> LaidOutTensor {
    let input = step.inputs[0];
    let x = g.read(input, ChannelsLast);
    let units = g.shape(step.output).last().copied().unwrap_or(1);
    let mut weights = Vec::new();
    for (index, Param { weight, .. }) in step.weights.iter().enumerate() {
        // A kernel or bias with more axes, as in attention, is written as a matrix or vector.
        let dims = if index == 0 { vec![weight.count() / units.max(1), units] } else { vec![units] };
        let axes: Vec<usize> = (0..weight.shape().len()).collect();
        weights.push(g.weight(weight, &axes, dims));
    }
    // `Gemm` accepts matrices only; inputs with more axes need `MatMul`.
    let product = match &weights[..] {
        [kernel, bias] if g.shape(input).len() == 1 => g.node("Gemm", &[&x, kernel, bias], vec![]),
        [kernel, bias] => {
            let product = g.node("MatMul", &[&x, kernel], vec![]);
            g.node("Add", &[&product, bias], vec![])
        }
        weights => g.node("MatMul", &[&x, &weights[0]], vec![]),
    };
    (product, ChannelsLast)
}

/// Adds a `MatMul`, and a `Transpose` before it for each operand that is read transposed.
fn matmul(g: &mut GraphBuilder<'_>, step: &Step, transpose: [bool; 2]) -> LaidOutTensor {
    let mut operands = Vec::new();
    for (&input, transposed) in step.inputs.iter().zip(transpose) {
        let mut x = g.read(input, ChannelsLast);
        if transposed {
            // The batch is one more axis.
            let rank = g.shape(input).len() + 1;
            let mut axes: Vec<usize> = (0..rank).collect();
            axes.swap(rank - 2, rank - 1);
            x = g.node("Transpose", &[&x], vec![AttributeProto::ints("perm", &axes)]);
        }
        operands.push(x);
    }
    (g.node("MatMul", &[&operands[0], &operands[1]], vec![]), ChannelsLast)
}

/// Adds a `Cast` of the indices to integers, a `Clip` to the table, and a `Gather` of the rows.
fn embedding(g: &mut GraphBuilder<'_>, step: &Step) -> LaidOutTensor {
    let table = &step.weights[0].weight;
    let x = g.read(step.inputs[0], ChannelsLast);
    let [first, last] = [0.0, table.shape()[0].saturating_sub(1) as f32].map(|index| g.scalar(index));
    let clipped = g.node("Clip", &[&x, &first, &last], vec![]);
    let indices = g.node("Cast", &[&clipped], vec![AttributeProto::int("to", INT64.into())]);
    let rows = g.weight(table, &[0, 1], table.shape().to_vec());
    (g.node("Gather", &[&rows, &indices], vec![AttributeProto::int("axis", 0)]), ChannelsLast)
}

/// Adds an `Expand` of the weight to the batch of the input, whose size is known only at run time.
fn parameter(g: &mut GraphBuilder<'_>, step: &Step) -> LaidOutTensor {
    let weight = &step.weights[0].weight;
    let x = g.read(step.inputs[0], ChannelsLast);
    let axes: Vec<usize> = (0..weight.shape().len()).collect();
    let values = g.weight(weight, &axes, weight.shape().to_vec());
    let batch = g.node("Shape", &[&x], vec![AttributeProto::int("end", 1)]);
    let sizes = g.sizes("shape", weight.shape().iter().copied());
    let shape = g.node("Concat", &[&batch, &sizes], vec![AttributeProto::int("axis", 0)]);
    (g.node("Expand", &[&values, &shape], vec![]), ChannelsLast)
}

fn global_pool(g: &mut GraphBuilder<'_>, kind: PoolKind, step: &Step) -> LaidOutTensor {
    let x = g.read(step.inputs[0], ChannelsFirst);
    let op_type = if kind == PoolKind::Max { "GlobalMaxPool" } else { "GlobalAveragePool" };
    let pooled = g.node(op_type, &[&x], vec![]);
    if g.shape(step.output).len() == 1 {
        return (g.node("Flatten", &[&pooled], vec![]), ChannelsLast);
    }
    (pooled, ChannelsFirst)
}

fn batch_norm(g: &mut GraphBuilder<'_>, step: &Step) -> LaidOutTensor {
    let Op::BatchNorm { epsilon, scale, center, .. } = step.op else {
        unreachable!("called for batch normalisation only");
    };
    let input = step.inputs[0];
    let x = g.read(input, ChannelsFirst);
    let channels = g.shape(input).last().copied().unwrap_or(1);
    let mut weights = step.weights.iter();
    let mut inputs = vec![x];
    for (present, name, absent) in [(scale, "gamma", 1.0), (center, "beta", 0.0)] {
        inputs.push(match if present { weights.next() } else { None } {
            Some(param) => g.weight(&param.weight, &[0], vec![channels]),
            None => g.floats(name, vec![channels], vec![absent; channels]),
        });
    }
    for statistics in weights {
        inputs.push(g.weight(&statistics.weight, &[0], vec![channels]));
    }
    let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
    (g.node("BatchNormalization", &inputs, vec![AttributeProto::float("epsilon", epsilon)]), ChannelsFirst)
}

fn reshape(g: &mut GraphBuilder<'_>, step: &Step) -> String {
    let x = g.read(step.inputs[0], ChannelsLast);
    match &g.shape(step.output)[..] {
        shape if shape == &g.shape(step.inputs[0])[..] => x,
        [_] => g.node("Flatten", &[&x], vec![]),
        shape => {
            // In a `Reshape`, 0 keeps the size of that axis: here of the batch.
            let shape = g.sizes("shape", std::iter::once(0).chain(shape.iter().copied()));
            g.node("Reshape", &[&x, &shape], vec![])
        }
    }
}

/// Adds a `Slice` over the axes that change.
///
/// ONNX gives an exclusive end for each axis. A negative end counts from the back, so a reversed slice down to index 0 ends at
/// `i64::MIN`.
fn slice(g: &mut GraphBuilder<'_>, step: &Step, start: &[usize], steps: &[isize]) -> LaidOutTensor {
    let input = step.inputs[0];
    let (x, layout) = in_any_layout(g, input);
    let (before, after) = (g.shape(input), g.shape(step.output));
    let (mut starts, mut ends, mut axes, mut strides) = (vec![], vec![], vec![], vec![]);
    for axis in 0..before.len() {
        if after[axis] == before[axis] && steps[axis] == 1 {
            continue;
        }
        let end = start[axis] as i64 + steps[axis] as i64 * after[axis] as i64;
        starts.push(start[axis] as i64);
        ends.push(if end < 0 { i64::MIN } else { end });
        axes.push(layout.axis(before.len(), axis) as i64);
        strides.push(steps[axis] as i64);
    }
    if axes.is_empty() {
        return (x, layout);
    }
    let parts = [("starts", starts), ("ends", ends), ("axes", axes), ("steps", strides)];
    let [starts, ends, axes, steps] = parts.map(|(name, values)| g.ints(name, values));
    (g.node("Slice", &[&x, &starts, &ends, &axes, &steps], vec![]), layout)
}

fn scale_shift(g: &mut GraphBuilder<'_>, input: ValueId, scale: &[f32], shift: &[f32]) -> LaidOutTensor {
    let (mut x, layout) = in_any_layout(g, input);
    for (op_type, name, values, identity) in [("Mul", "scale", scale, 1.0), ("Add", "shift", shift, 0.0)] {
        if values.iter().all(|&value| value == identity) {
            continue;
        }
        let operand = if values.iter().all(|value| value == &values[0]) {
            g.scalar(values[0])
        } else {
            // Trailing axes of size 1 align the values with the channel axis, which stands before the image axes.
            let trailing = if layout == ChannelsFirst { g.shape(input).len() - 1 } else { 0 };
            let dims = std::iter::once(values.len()).chain(std::iter::repeat_n(1, trailing)).collect();
            g.floats(name, dims, values.to_vec())
        };
        x = g.node(op_type, &[&x, &operand], vec![]);
    }
    (x, layout)
}

/// Adds a `Resize`, bilinear or nearest, with TensorFlow's half-pixel centres; nearest neighbour rounds halves up, as TensorFlow does.
///
/// The node gets the sizes of all four axes; those of batch and channels are computed from the input at run time. Resizing height
/// and width alone would be shorter, but onnxruntime 1.32 fails on such a node between two `Transpose` nodes.
fn resize(g: &mut GraphBuilder<'_>, step: &Step) -> String {
    let x = g.read(step.inputs[0], ChannelsFirst);
    let shape = g.shape(step.output);
    let batch_and_channels = g.node("Shape", &[&x], vec![AttributeProto::int("end", 2)]);
    let size = g.sizes("size", [shape[0], shape[1]]);
    let sizes = g.node("Concat", &[&batch_and_channels, &size], vec![AttributeProto::int("axis", 0)]);
    let mut attributes = vec![AttributeProto::string("coordinate_transformation_mode", "half_pixel")];
    if matches!(step.op, Op::Resize { interpolation: Interpolation::Bilinear, .. }) {
        attributes.push(AttributeProto::string("mode", "linear"));
    } else {
        attributes.push(AttributeProto::string("mode", "nearest"));
        attributes.push(AttributeProto::string("nearest_mode", "round_prefer_ceil"));
    }
    g.node("Resize", &[&x, "", "", &sizes], attributes)
}

/// Limit on the numbers of a resizing matrix in an exported file: 256 MiB as f32.
const MAX_MATRIX: usize = 1 << 26;

/// Adds a resizing by tables of weights, as a product with a matrix for each axis that changes.
///
/// `Resize` of ONNX has no Lanczos filter, and its cubic one doesn't round positions as TensorFlow does.
fn resample(g: &mut GraphBuilder<'_>, interpolation: Interpolation, antialias: bool, step: &Step) -> Result<String> {
    let (before, after) = (g.shape(step.inputs[0]), g.shape(step.output));
    let mut x = g.read(step.inputs[0], ChannelsFirst);
    // A product acts on the last axis: first the width, then the height after an exchange of both.
    for (axis, name) in [(1, "columns"), (0, "rows")] {
        if before[axis] != after[axis] {
            let (inputs, outputs) = (before[axis], after[axis]);
            if inputs.saturating_mul(outputs) > MAX_MATRIX {
                let expected = format!("at most {MAX_MATRIX} numbers in the matrix of a resizing");
                return Err(Error::new(
                    format_args!("layer `{}`", step.layer),
                    expected,
                    format!("{inputs}x{outputs}"),
                )
                .with_kind(ErrorKind::Unsupported)
                .hint("resize in two layers, or by bilinear interpolation"));
            }
            let table = Resampling::new(interpolation, antialias, inputs, outputs);
            let mut matrix = vec![0.0; inputs * outputs];
            for output in 0..outputs {
                let (first, weights) = table.taps(output);
                (first..).zip(weights).for_each(|(input, weight)| matrix[input * outputs + output] = *weight);
            }
            let matrix = g.floats(name, vec![inputs, outputs], matrix);
            x = g.node("MatMul", &[&x, &matrix], vec![]);
        }
        x = g.node("Transpose", &[&x], vec![AttributeProto::ints("perm", &[0, 1, 3, 2])]);
    }
    Ok(x)
}
