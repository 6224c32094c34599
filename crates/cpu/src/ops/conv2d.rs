//! Convolution.

use engraft_kernels::{Conv2d, Conv2dShape};
use engraft_nn::plan::Op;

use super::{Backward, StepCall};

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

pub(super) fn forward(call: &StepCall<'_>, x: &[f32], y: &mut [f32], scratch: &mut [f32]) {
    let weights = &call.step.weights;
    let w = weights[0].weight.values();
    let bias = weights.get(1).map(|bias| bias.weight.values());
    kernel(call).forward(x, &w, bias.as_deref().map(Vec::as_slice), call.step.activation, y, scratch);
}

pub(super) fn input_gradient(call: &StepCall<'_>, b: &Backward<'_>, dx: &mut [f32], scratch: &mut [f32]) {
    let w = call.step.weights[0].weight.values();
    kernel(call).input_gradient(b.dy, &w, dx, scratch);
}

pub(super) fn kernel_gradient(call: &StepCall<'_>, b: &Backward<'_>, dw: &mut [f32], scratch: &mut [f32]) {
    kernel(call).kernel_gradient(b.x[0], b.dy, dw, scratch);
}
