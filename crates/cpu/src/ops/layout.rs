//! Operations that rearrange values: concatenation, slices, padding, permutation, reshaping.

use engraft_ir::Op;
use engraft_kernels::{
    StridedView, copy_channels, gather, gather_gradient, pad, pad_gradient, pad2d, pad2d_gradient, reverse_channels,
};

use super::{Backward, StepCall};

/// A concatenation as matrices side by side. The axes before the concatenated one are flattened into rows.
struct ConcatLayout {
    rows: usize,
    /// Row length of each input.
    inputs: Vec<usize>,
    /// Row length of the output.
    output: usize,
}

impl ConcatLayout {
    fn of(call: &StepCall<'_>, axis: usize) -> Self {
        let outer: usize = call.output[..axis].iter().product();
        let width = |shape: &[usize]| shape[axis..].iter().product();
        Self {
            rows: call.samples * outer,
            inputs: call.inputs.iter().map(|shape| width(shape)).collect(),
            output: width(call.output),
        }
    }

    /// Where input `index` begins in a row of the output.
    fn offset(&self, index: usize) -> usize {
        self.inputs[..index].iter().sum()
    }
}

/// The strided view of the input that a slice or a permutation reads, and the input's size per sample; `None` for other steps.
fn view(call: &StepCall<'_>) -> Option<(StridedView, usize)> {
    let from = call.inputs[0];
    let view = match &call.step.op {
        Op::Slice { start, step } => StridedView::slice(from, start, step, call.output),
        Op::Permute { axes } => StridedView::permute(from, axes),
        _ => return None,
    };
    Some((view, from.iter().product()))
}

/// The number of the input's slices along an axis, and the values of each.
fn slices(call: &StepCall<'_>, axis: usize) -> (usize, usize) {
    let shape = call.inputs[0];
    (shape[axis], shape[axis + 1..].iter().product())
}

pub(super) fn forward(call: &StepCall<'_>, x: &[&[f32]], y: &mut [f32]) {
    if let Some((view, sample)) = view(call) {
        return view.read(sample, x[0], y);
    }
    let n = call.samples;
    match &call.step.op {
        Op::Concatenate { axis } => {
            let layout = ConcatLayout::of(call, *axis);
            for (index, x) in x.iter().enumerate() {
                let width = layout.inputs[index];
                copy_channels(layout.rows, width, 0, layout.output, layout.offset(index), width, x, y);
            }
        }
        Op::Pad2d { pad } => {
            let [h, w, c] = StepCall::image(call.inputs[0]);
            pad2d(n, h, w, c, *pad, x[0], y);
        }
        Op::Pad { pad: by, value } => pad(call.inputs[0], by, *value, x[0], y),
        Op::Gather { axis, indices } => {
            let (size, inner) = slices(call, *axis);
            gather(size, inner, indices, x[0], y);
        }
        Op::Reshape => y.copy_from_slice(x[0]),
        Op::ReverseChannels => reverse_channels(call.channels(), x[0], y),
        op => unreachable!("{op:?} does not rearrange values"),
    }
}

pub(super) fn input_gradient(call: &StepCall<'_>, index: usize, b: &Backward<'_>, dx: &mut [f32]) {
    if let Some((view, sample)) = view(call) {
        return view.scatter(sample, b.dy, dx);
    }
    let n = call.samples;
    match &call.step.op {
        Op::Concatenate { axis } => {
            let layout = ConcatLayout::of(call, *axis);
            let width = layout.inputs[index];
            copy_channels(layout.rows, layout.output, layout.offset(index), width, 0, width, b.dy, dx);
        }
        Op::Pad2d { pad } => {
            let [h, w, c] = StepCall::image(call.inputs[0]);
            pad2d_gradient(n, h, w, c, *pad, b.dy, dx);
        }
        Op::Pad { pad: by, .. } => pad_gradient(call.inputs[0], by, b.dy, dx),
        Op::Gather { axis, indices } => {
            let (size, inner) = slices(call, *axis);
            gather_gradient(size, inner, indices, b.dy, dx);
        }
        Op::Reshape => dx.copy_from_slice(b.dy),
        Op::ReverseChannels => reverse_channels(call.channels(), b.dy, dx),
        op => unreachable!("{op:?} does not rearrange values"),
    }
}
