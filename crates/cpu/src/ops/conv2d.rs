//! Convolution.

use engraft_kernels::{Conv2d, Conv2dShape};
use engraft_nn::plan::Op;

use super::{Backward, StepCall};
use crate::workspace::Workspace;

/// The kernel for this call's shapes.
pub(super) fn kernel(call: &StepCall<'_>) -> Conv2d {
    let Op::Conv2d { kernel, stride, dilation, pad, groups } = call.step.op else {
        unreachable!("called for convolutions only");
    };
    let [in_h, in_w, in_c] = StepCall::image(call.inputs[0]);
    let [out_h, out_w, out_c] = StepCall::image(call.output);
    Conv2d::new(Conv2dShape {
        batch: call.samples,
        in_h,
        in_w,
        in_c,
        out_c,
        kernel,
        stride,
        dilation,
        pad,
        out_h,
        out_w,
        groups,
    })
}

pub(super) fn forward(call: &StepCall<'_>, x: &[f32], y: &mut [f32], workspace: &mut Workspace) {
    let (conv, weights, activation) = (kernel(call), &call.step.weights, call.step.activation);
    let bias = weights.get(1).map(|bias| bias.weight.values());
    let bias = bias.as_deref().map(Vec::as_slice);
    match workspace.kernel(&conv, &weights[0]) {
        (Some(prepared), scratch) => conv.forward_prepared(x, prepared, bias, activation, y, scratch),
        (None, scratch) => conv.forward(x, &weights[0].weight.values(), bias, activation, y, scratch),
    }
}

pub(super) fn input_gradient(call: &StepCall<'_>, b: &Backward<'_>, dx: &mut [f32], scratch: &mut [f32]) {
    let w = call.step.weights[0].weight.values();
    kernel(call).input_gradient(b.dy, &w, dx, scratch);
}

pub(super) fn kernel_gradient(call: &StepCall<'_>, b: &Backward<'_>, dw: &mut [f32], scratch: &mut [f32]) {
    kernel(call).kernel_gradient(b.x[0], b.dy, dw, scratch);
}
