//! Depthwise convolution steps with one output channel for each input channel.

use engraft_ir::Op;
use engraft_kernels::{Conv2dShape, Depthwise};

use super::{Backward, StepCall};
use crate::workspace::{Kernel, Workspace};

/// The depthwise convolution of this call; `None` for every other step.
pub(super) fn convolution(call: &StepCall<'_>) -> Option<Depthwise> {
    let Op::Conv2d { kernel, stride, dilation, pad, groups, .. } = call.step.op else { return None };
    let [in_h, in_w, in_c] = StepCall::image(call.inputs[0]);
    let [out_h, out_w, out_c] = StepCall::image(call.output);
    let batch = call.samples;
    Depthwise::new(&Conv2dShape { batch, in_h, in_w, in_c, out_c, kernel, stride, dilation, pad, out_h, out_w, groups })
}

pub(super) fn forward(depthwise: &Depthwise, call: &StepCall<'_>, x: &[f32], y: &mut [f32], workspace: &mut Workspace) {
    workspace.with_weights(None, call, |kernel, bias, _| match kernel {
        Kernel::Plain(w) => depthwise.forward(x, w, bias, call.step.activation, y),
        Kernel::Prepared(_) => unreachable!("depthwise convolutions read kernels as they are"),
    });
}

pub(super) fn input_gradient(depthwise: &Depthwise, call: &StepCall<'_>, b: &Backward<'_>, dx: &mut [f32]) {
    depthwise.input_gradient(b.dy, &call.step.weights[0].weight.values(), dx);
}

pub(super) fn kernel_gradient(depthwise: &Depthwise, b: &Backward<'_>, dw: &mut [f32]) {
    depthwise.kernel_gradient(b.x[0], b.dy, dw);
}
