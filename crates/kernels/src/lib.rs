//! Numeric kernels of engraft: slices in, slices out.
//!
//! Kernels work on plain `f32` slices. Tensors, layers and plans are the concern of the crates above, which call kernels from
//! their executors.
//!
//! - **Layout.** Images are NHWC (`[batch, height, width, channels]`, channels fastest), convolution kernels are HWIO
//!   (`[height, width, in_channels / groups, out_channels]`), dense kernels `[inputs, units]`.
//! - **Threads.** Kernels run on the ambient [rayon] pool; [`Threads`] creates one. The order of every sum depends on the shape
//!   alone, so results are **bit-identical for any number of threads**.
//! - **Instruction sets.** AVX2, AVX-512 or portable vectors are chosen at run time, see [`Isa`]. Convolutions can use bf16
//!   instructions and AMX, see [`Bf16`].
//! - **Definitions.** Every operation computes what Keras 3 on TensorFlow computes.
//! - **Panics.** A slice of the wrong length is a programming error: the kernel panics and names the slice. Batches of size zero
//!   are allowed everywhere.
//!
//! ```
//! use engraft_kernels::{Activation, dense};
//! let mut y = [0.0; 2];
//! dense(1, 3, 2, &[1.0, 2.0, 3.0], &[1.0, 0.0, 0.0, 1.0, 0.0, -2.0], Some(&[0.5, 0.5]), Activation::Relu, &mut y);
//! assert_eq!(y, [1.5, 0.0]);
//! ```

mod activation;
mod adaptive_pooling;
mod aligned;
mod batch_norm;
mod binary;
mod broadcast;
mod broadcast_rows;
mod broadcast_scale;
mod chunks;
mod clamp;
mod constraint;
mod conv2d;
mod cpu_cache;
mod dense;
mod depthwise;
mod elementwise;
mod embedding;
mod gather;
mod gemm;
mod global_pool;
mod layout;
mod loss;
mod matmul;
mod microkernel;
mod noise;
mod normalize;
mod number;
mod orthogonal;
mod output_tiles;
mod pad;
mod parallel_tasks;
mod pooling;
mod projective_transform;
mod reduce;
#[cfg(test)]
mod reference;
mod resample;
mod resize;
mod row_activations;
mod shared;
mod simd;
mod softmax;
mod strided;
#[cfg(test)]
mod testing;
mod thread_pool;
mod unary;
mod update;

pub use activation::{activate, activation_gradient};
pub use adaptive_pooling::{adaptive_average_pool_gradient, adaptive_max_pool_gradient, adaptive_pool2d};
pub use batch_norm::{
    batch_norm, batch_norm_gradient_inference, batch_norm_gradient_sums, batch_norm_gradient_training,
    batch_norm_input_gradient, channel_sums, fold_batch_norm, means, moments, squared_deviation_sums,
};
pub use binary::{BinaryShape, binary, binary_gradient};
pub use broadcast::{multiply, multiply_gradient};
pub use broadcast_scale::{broadcast_scale, broadcast_scale_gradient, broadcast_scale_weight_gradient};
pub use constraint::rescale_norms;
pub use conv2d::{Conv2d, PreparedKernel};
pub use dense::{bias_gradient, dense, dense_input_gradient, dense_kernel_gradient, dense_kernel_gradient_rows};
pub use depthwise::Depthwise;
pub use elementwise::{add_assign, add_bias, dropout, scale_gradient, scale_shift};
pub use embedding::{embedding, embedding_gradient};
pub use engraft_ir::{
    Activation, Binary, Conv2dShape, FillMode, Interpolation, Noise, Normalization, NormalizationKind, Pool2dShape,
    PoolKind, Reduction, Resampling, Unary,
};
pub use gather::{gather, gather_gradient};
pub use gemm::{Matrix, gemm};
pub use global_pool::{global_average_pool_gradient, global_max_pool_gradient, global_pool};
pub use layout::{copy_channels, flip, pad2d, pad2d_gradient, reverse_channels};
pub use loss::{
    binary_cross_entropy_from_probabilities, cross_entropy_from_probabilities, sigmoid_cross_entropy,
    softmax_cross_entropy,
};
pub use matmul::MatMul;
pub use noise::{noise, noise_gradient};
pub use normalize::{normalize, normalize_input_gradient, normalize_weight_gradients};
pub use orthogonal::{orthogonal_gradient, orthogonal_penalty};
pub use pad::{pad, pad_gradient};
pub use pooling::{
    average_pool2d_gradient, max_pool2d_gradient, max_pool2d_gradient_in_place, pool2d, replace_max_pool2d_input,
};
pub use projective_transform::{ProjectiveTransform, projective_transform};
pub use reduce::{reduce, reduce_gradient};
pub use resample::{resample, resample_gradient};
pub use resize::{resize, resize_gradient};
pub use row_activations::{log_softmax, log_softmax_gradient, sparsemax, sparsemax_gradient};
pub use simd::{Bf16, Bf16Error, Isa, IsaError, peak_gflops};
pub use softmax::{softmax, softmax_gradient};
pub use strided::StridedView;
pub use thread_pool::Threads;
pub use unary::{unary, unary_gradient};
pub use update::{AdamStep, RmspropStep, decay, l1_l2_gradient, l1_l2_penalty, sgd};
