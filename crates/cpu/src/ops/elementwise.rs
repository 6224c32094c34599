//! Element-wise operations, constants, and the activations that work row by row: softmax, its logarithm, sparsemax.

use engraft_ir::Op;
use engraft_ir::random::mix;
use engraft_kernels::{
    BinaryShape, activate, activation_gradient, add_assign, binary, binary_gradient, dropout, log_softmax,
    log_softmax_gradient, multiply, multiply_gradient, scale_gradient, scale_shift, softmax, softmax_gradient,
    sparsemax, sparsemax_gradient, unary, unary_gradient,
};

use super::{Backward, StepCall};

pub(super) fn forward(call: &StepCall<'_>, x: &[&[f32]], y: &mut [f32]) {
    match &call.step.op {
        Op::Activation(function) => {
            y.copy_from_slice(x[0]);
            activate(*function, y);
        }
        Op::Softmax => {
            y.copy_from_slice(x[0]);
            softmax(call.channels(), y);
        }
        Op::LogSoftmax => {
            y.copy_from_slice(x[0]);
            log_softmax(call.channels(), y);
        }
        Op::Sparsemax => {
            y.copy_from_slice(x[0]);
            sparsemax(call.channels(), y);
        }
        Op::Add => {
            y.copy_from_slice(x[0]);
            x[1..].iter().for_each(|x| add_assign(y, x));
        }
        Op::Multiply => multiply(call.inputs[0], call.inputs[1], x[0], x[1], y),
        Op::ScaleShift { scale, shift } => scale_shift(scale.len(), scale, shift, x[0], y),
        Op::Dropout { rate, seed } => dropout_per_sample(call, *rate, *seed, x[0], y),
        Op::Unary(function) => unary(*function, x[0], y),
        Op::Binary(function) => binary(*function, &operands(call), x[0], x[1], y),
        Op::Constant { values } => y.chunks_exact_mut(values.len()).for_each(|y| y.copy_from_slice(values)),
        op => unreachable!("{op:?} is not element-wise"),
    }
}

pub(super) fn input_gradient(call: &StepCall<'_>, index: usize, b: &Backward<'_>, dx: &mut [f32]) {
    match &call.step.op {
        Op::Activation(function) => {
            dx.copy_from_slice(b.dy);
            activation_gradient(*function, if function.gradient_from_output() { b.y } else { b.x[0] }, dx);
        }
        Op::Softmax => {
            dx.copy_from_slice(b.dy);
            softmax_gradient(call.channels(), b.y, dx);
        }
        Op::LogSoftmax => {
            dx.copy_from_slice(b.dy);
            log_softmax_gradient(call.channels(), b.y, dx);
        }
        Op::Sparsemax => {
            dx.copy_from_slice(b.dy);
            sparsemax_gradient(call.channels(), b.x[0], dx);
        }
        Op::Add => dx.copy_from_slice(b.dy),
        Op::Multiply if index == 0 => multiply(call.inputs[0], call.inputs[1], b.dy, b.x[1], dx),
        Op::Multiply => multiply_gradient(call.inputs[0], call.inputs[1], b.x[0], b.dy, dx),
        Op::ScaleShift { scale, .. } => scale_gradient(scale.len(), scale, b.dy, dx),
        Op::Dropout { rate, seed } => dropout_per_sample(call, *rate, *seed, b.dy, dx),
        Op::Unary(function) => unary_gradient(*function, b.x[0], b.dy, dx),
        Op::Binary(function) => binary_gradient(*function, index, &operands(call), b.x[0], b.x[1], b.dy, dx),
        op => unreachable!("{op:?} is not element-wise"),
    }
}

/// The shapes of a function of two operands.
fn operands<'a>(call: &StepCall<'a>) -> BinaryShape<'a> {
    BinaryShape { samples: call.samples, operands: [call.inputs[0], call.inputs[1]], result: call.output }
}

/// Dropout with a seed for each sample, so that the mask doesn't depend on how the batch is split into chunks or replicas.
fn dropout_per_sample(call: &StepCall<'_>, rate: f32, seed: u64, x: &[f32], y: &mut [f32]) {
    let size = x.len() / call.samples.max(1);
    if size == 0 {
        return;
    }
    for (sample, (x, y)) in x.chunks_exact(size).zip(y.chunks_exact_mut(size)).enumerate() {
        dropout(x, rate, mix(mix(seed, call.iteration), (call.first_sample + sample) as u64), y);
    }
}
