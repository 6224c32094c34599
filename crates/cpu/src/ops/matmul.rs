//! Products of two inputs.

use engraft_ir::{Op, Shape};
use engraft_kernels::MatMul;

use super::{Backward, StepCall};

/// The products of a call. The batch is one more leading axis of both operands.
fn product(call: &StepCall<'_>) -> MatMul {
    let Op::MatMul { transpose } = call.step.op else {
        unreachable!("{:?} is no product of two inputs", call.step.op);
    };
    let batched = |shape: &Shape| [&[call.samples], shape.as_slice()].concat();
    MatMul::new(&batched(call.inputs[0]), &batched(call.inputs[1]), transpose)
}

pub(super) fn forward(call: &StepCall<'_>, x: &[&[f32]], y: &mut [f32]) {
    product(call).multiply(x[0], x[1], y);
}

pub(super) fn input_gradient(call: &StepCall<'_>, index: usize, b: &Backward<'_>, dx: &mut [f32]) {
    let product = product(call);
    if index == 0 { product.left_gradient(b.x[1], b.dy, dx) } else { product.right_gradient(b.x[0], b.dy, dx) }
}
