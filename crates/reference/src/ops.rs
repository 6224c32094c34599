//! The forward and backward pass of every operation, from its definition.
//!
//! Each file has one kind of operation. `forward` computes the output of a [`Call`]. `backward` computes [`OpGradients`] from the
//! gradient with respect to the output, and recomputes the intermediate values that it needs.

mod activation;
mod adaptive_pooling;
mod batch_norm;
mod conv2d;
mod conv2d_transpose;
mod dense;
mod elementwise;
mod embedding;
mod layout;
mod matmul;
mod noise;
mod normalization;
mod parameter;
mod penalty;
mod pooling;
mod random_transform;
mod reduce;
mod resize;
mod row_activations;
mod scale;
mod softmax;
mod tensor;

use engraft_ir::Op;
use engraft_ir::random::mix;
use engraft_nn::{Error, Result};
use engraft_plan::GradientReducer;

use crate::array::Array;

pub(crate) use activation::value as activate;
pub(crate) use batch_norm::{Statistics, batch_statistics, moving_statistics};
pub(crate) use softmax::softmax;

/// An operation with its operands.
pub(crate) struct Call<'a> {
    pub(crate) op: &'a Op,
    /// The inputs in order.
    pub(crate) x: Vec<&'a Array>,
    /// The weights in the layer's order.
    pub(crate) weights: Vec<&'a Array>,
    /// Shape of the output, batch included.
    pub(crate) output: Vec<usize>,
    pub(crate) rng_key: RngKey,
    /// The batch's statistics, if the operation is a batch normalization that uses them.
    pub(crate) statistics: Option<&'a Statistics>,
}

/// The position in training from which random operations derive their numbers, together with the layer's seed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RngKey {
    /// The training step, from 0.
    pub(crate) iteration: u64,
    /// The index of the batch's first sample in the global batch of all replicas.
    pub(crate) first_sample: usize,
}

impl RngKey {
    /// The seed of one sample. It doesn't depend on the other samples, or on the replica that computes the sample.
    fn seed(self, layer_seed: u64, sample: usize) -> u64 {
        mix(mix(layer_seed, self.iteration), (self.first_sample + sample) as u64)
    }
}

/// The gradients that the backward pass of one operation computes.
pub(crate) struct OpGradients {
    /// With respect to each input.
    pub(crate) inputs: Vec<Array>,
    /// With respect to the trainable weights, which come first in the layer's order.
    pub(crate) weights: Vec<Array>,
}

impl OpGradients {
    /// The gradients of an operation with one input and no weights.
    fn of_input(dx: Array) -> Self {
        Self { inputs: vec![dx], weights: Vec::new() }
    }
}

/// Computes the output of an operation.
pub(crate) fn forward(call: &Call<'_>) -> Result<Array> {
    match call.op {
        Op::Conv2d { .. } => conv2d::forward(call),
        Op::Conv2dTranspose { .. } => conv2d_transpose::forward(call),
        Op::AdaptivePool2d { kind } => adaptive_pooling::forward(call, *kind),
        Op::Dense => Ok(dense::forward(call)),
        Op::MatMul { transpose } => Ok(matmul::forward(call, *transpose)),
        Op::Embedding => Ok(embedding::forward(call)),
        Op::Parameter => Ok(parameter::forward(call)),
        Op::Pool2d { .. } | Op::GlobalPool { .. } => pooling::forward(call),
        Op::BatchNorm { .. } => batch_norm::forward(call),
        Op::Activation(function) => Ok(call.x[0].map(|x| activation::value(*function, x))),
        Op::Normalize(norm) => Ok(normalization::forward(call, norm)),
        Op::Scale { below_zero } => Ok(scale::forward(call, *below_zero)),
        Op::Softmax => Ok(softmax::softmax(call.x[0])),
        Op::LogSoftmax => Ok(row_activations::log_softmax(call.x[0])),
        Op::Sparsemax => Ok(row_activations::sparsemax(call.x[0])),
        Op::Add => Ok(elementwise::add(call)),
        Op::Multiply => Ok(elementwise::multiply(call)),
        Op::ScaleShift { scale, shift } => Ok(elementwise::scale_shift(call, scale, shift)),
        Op::Dropout { rate, seed } => Ok(elementwise::dropout(call, *rate, *seed, call.x[0])),
        Op::Concatenate { .. } | Op::Pad2d { .. } | Op::Reshape => layout::forward(call),
        Op::Slice { .. } | Op::Permute { .. } | Op::ReverseChannels => layout::forward(call),
        Op::Gather { .. } | Op::Pad { .. } => layout::forward(call),
        Op::Unary(function) => Ok(call.x[0].map(|x| tensor::unary(*function, x))),
        Op::Binary(function) => Ok(tensor::binary(call, *function)),
        Op::Constant { values } => Ok(tensor::constant(call, values)),
        Op::Reduce { reduction, axes } => Ok(reduce::forward(call, *reduction, axes)),
        Op::Noise { noise, shape, across_samples, seed } => {
            Ok(noise::forward(call, *noise, shape, *across_samples, *seed))
        }
        Op::Penalty { l1, l2 } => Ok(penalty::forward(call, *l1, *l2)),
        Op::Resize { interpolation, antialias } => resize::forward(call, *interpolation, *antialias),
        Op::RandomTransform { transform, seed } => random_transform::forward(call, transform, *seed),
    }
}

/// Computes the gradients with respect to an operation's operands from `dy`, the gradient with respect to its output.
pub(crate) fn backward(call: &Call<'_>, dy: &Array, reducer: &mut dyn GradientReducer) -> Result<OpGradients> {
    match call.op {
        Op::Conv2d { .. } => conv2d::backward(call, dy),
        Op::Conv2dTranspose { .. } => conv2d_transpose::backward(call, dy),
        Op::AdaptivePool2d { kind } => adaptive_pooling::backward(call, *kind, dy).map(OpGradients::of_input),
        Op::Dense => Ok(dense::backward(call, dy)),
        Op::MatMul { transpose } => Ok(matmul::backward(call, *transpose, dy)),
        Op::Embedding => Ok(embedding::backward(call, dy)),
        Op::Parameter => Ok(parameter::backward(call, dy)),
        Op::Pool2d { .. } | Op::GlobalPool { .. } => pooling::backward(call, dy).map(OpGradients::of_input),
        Op::BatchNorm { .. } => batch_norm::backward(call, dy, reducer),
        Op::Activation(function) => {
            Ok(OpGradients::of_input(call.x[0].zip(dy, |x, dy| activation::derivative(*function, x) * dy)))
        }
        Op::Normalize(norm) => Ok(normalization::backward(call, norm, dy)),
        Op::Scale { below_zero } => Ok(scale::backward(call, *below_zero, dy)),
        Op::Softmax => Ok(OpGradients::of_input(softmax::backward(call.x[0], dy))),
        Op::LogSoftmax => Ok(OpGradients::of_input(row_activations::log_softmax_backward(call.x[0], dy))),
        Op::Sparsemax => Ok(OpGradients::of_input(row_activations::sparsemax_backward(call.x[0], dy))),
        Op::Add => Ok(elementwise::add_backward(call, dy)),
        Op::Multiply => Ok(elementwise::multiply_backward(call, dy)),
        Op::ScaleShift { scale, .. } => Ok(OpGradients::of_input(elementwise::scale_shift_backward(scale, dy))),
        Op::Dropout { rate, seed } => Ok(OpGradients::of_input(elementwise::dropout(call, *rate, *seed, dy))),
        Op::Concatenate { .. } | Op::Pad2d { .. } | Op::Reshape => layout::backward(call, dy),
        Op::Slice { .. } | Op::Permute { .. } | Op::ReverseChannels => layout::backward(call, dy),
        Op::Gather { .. } | Op::Pad { .. } => layout::backward(call, dy),
        Op::Unary(function) => {
            Ok(OpGradients::of_input(call.x[0].zip(dy, |x, dy| tensor::unary_derivative(*function, x) * dy)))
        }
        Op::Binary(function) => Ok(tensor::binary_backward(call, *function, dy)),
        Op::Constant { .. } => Ok(OpGradients { inputs: Vec::new(), weights: Vec::new() }),
        Op::Reduce { reduction, axes } => Ok(OpGradients::of_input(reduce::backward(call, *reduction, axes, dy))),
        Op::Noise { noise, shape, across_samples, seed } => {
            Ok(OpGradients::of_input(noise::backward(call, *noise, shape, *across_samples, *seed, dy)))
        }
        Op::Penalty { l1, l2 } => Ok(OpGradients::of_input(penalty::backward(call, *l1, *l2, dy))),
        Op::Resize { interpolation, antialias } => {
            resize::backward(call, *interpolation, *antialias, dy).map(OpGradients::of_input)
        }
        Op::RandomTransform { .. } => Err(Error::because("random transformation", "it has no gradient")
            .hint("put augmentation before trainable layers")),
    }
}
