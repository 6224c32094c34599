//! Pooling steps, over windows (`Op::Pool2d`), windows that fit the output (`Op::AdaptivePool2d`) and whole images
//! (`Op::GlobalPool`).

use engraft_ir::Op;
use engraft_kernels::{
    Pool2dShape, PoolKind, adaptive_average_pool_gradient, adaptive_max_pool_gradient, adaptive_pool2d,
    average_pool2d_gradient, global_average_pool_gradient, global_max_pool_gradient, global_pool, max_pool2d_gradient,
    pool2d, replace_max_pool2d_input,
};

use super::{Backward, StepCall};

fn window(call: &StepCall<'_>) -> Option<(PoolKind, Pool2dShape)> {
    call.step.op.pool2d_shape(call.samples, call.inputs[0], call.output)
}

/// Kind, samples, pixels and channels of a global pooling.
fn global(call: &StepCall<'_>) -> (PoolKind, usize, usize, usize) {
    let Op::GlobalPool { kind } = call.step.op else { unreachable!("called for pooling only") };
    let [height, width, channels] = StepCall::image(call.inputs[0]);
    (kind, call.samples, height * width, channels)
}

/// Height and width of the input and of the output, and the channels, of an adaptive pooling.
fn adaptive(call: &StepCall<'_>) -> ([usize; 2], [usize; 2], usize) {
    let ([in_h, in_w, channels], [out_h, out_w, _]) = (StepCall::image(call.inputs[0]), StepCall::image(call.output));
    ([in_h, in_w], [out_h, out_w], channels)
}

pub(super) fn forward(call: &StepCall<'_>, x: &[f32], y: &mut [f32]) {
    if let Op::AdaptivePool2d { kind } = call.step.op {
        let (input, output, channels) = adaptive(call);
        return adaptive_pool2d(kind, input, output, channels, x, y);
    }
    match window(call) {
        Some((kind, shape)) => pool2d(kind, &shape, x, y),
        None => {
            let (kind, samples, pixels, channels) = global(call);
            global_pool(kind, samples, pixels, channels, x, y);
        }
    }
}

pub(super) fn input_gradient(call: &StepCall<'_>, b: &Backward<'_>, dx: &mut [f32]) {
    if let Op::AdaptivePool2d { kind } = call.step.op {
        let (input, output, channels) = adaptive(call);
        return match kind {
            PoolKind::Max => adaptive_max_pool_gradient(input, output, channels, b.x[0], b.dy, dx),
            PoolKind::Average => adaptive_average_pool_gradient(input, output, channels, b.dy, dx),
        };
    }
    match window(call) {
        Some((PoolKind::Max, shape)) => max_pool2d_gradient(&shape, b.x[0], b.y, b.dy, dx),
        Some((PoolKind::Average, shape)) => average_pool2d_gradient(&shape, b.dy, dx),
        None => match global(call) {
            (PoolKind::Max, n, pixels, c) => global_max_pool_gradient(n, pixels, c, b.x[0], b.y, b.dy, dx),
            (PoolKind::Average, n, pixels, c) => global_average_pool_gradient(n, pixels, c, b.dy, dx),
        },
    }
}

/// In place: `x` holds the input on entry and the gradient with respect to it on return.
///
/// With `relu`, the input is the output of a ReLU, and the gradient on return is with respect to the ReLU's input.
pub(super) fn input_gradient_in_place(call: &StepCall<'_>, b: &Backward<'_>, relu: bool, x: &mut [f32]) {
    let (_, shape) = window(call).expect("plans have in-place gradients of windowed pooling only");
    replace_max_pool2d_input(&shape, b.y, b.dy, relu, x);
}
