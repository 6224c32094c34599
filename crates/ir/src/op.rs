//! [`Op`]: the operations that executors compute.

use std::sync::Arc;

use crate::{
    Activation, Binary, Conv2dShape, Interpolation, Noise, Normalization, Pool2dShape, PoolKind, RandomTransform,
    Reduction, Shape, Unary,
};

/// One operation on a whole batch.
///
/// The shapes of its inputs and output are in the program (`engraft_nn::Program`). Its weights are in the program's step, in the
/// layer's order.
///
/// ```
/// use engraft_ir::Op;
/// let op = Op::Conv2d {
///     kernel: [3, 3],
///     stride: [1, 1],
///     dilation: [1, 1],
///     pad: [1, 1],
///     groups: 1,
///     pool: None,
/// };
/// let conv = op.conv2d_shape(32, &vec![56, 56, 64], &vec![56, 56, 128]).unwrap();
/// assert_eq!((conv.batch, conv.in_c, conv.out_c), (32, 64, 128));
/// assert!(op.differentiable() && !op.is_cheap());
/// assert_eq!(Op::Softmax.conv2d_shape(32, &vec![10], &vec![10]), None);
///
/// // Batch statistics make the result for one sample depend on the others.
/// let norm = Op::BatchNorm { epsilon: 1e-3, momentum: 0.99, scale: true, center: true, batch_statistics: true };
/// assert!(norm.couples_samples() && !op.couples_samples());
/// ```
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "fields are the layers' options of the same names, with padding in pixels")]
pub enum Op {
    /// 2-D convolution, optionally with a fused 2x2 max pooling.
    ///
    /// Weights: kernel `[kh, kw, c / groups, filters]`, then bias `[filters]` if there is one. `pad` is the padding at the top
    /// and left. A depthwise kernel `[kh, kw, c, m]` has `c` groups and `c * m` filters; its memory layout is
    /// `[kh, kw, 1, c * m]`. `pool` is the height and width of the convolution's output before the fused pooling; `None` for no
    /// pooling.
    Conv2d {
        kernel: [usize; 2],
        stride: [usize; 2],
        dilation: [usize; 2],
        pad: [usize; 2],
        groups: usize,
        pool: Option<[usize; 2]>,
    },
    /// Transposed 2-D convolution: the gradient with respect to its input of a [`Conv2d`](Self::Conv2d) with this kernel, stride,
    /// dilation and padding.
    ///
    /// Weights: kernel `[kh, kw, filters, c]`, then bias `[filters]` if there is one.
    Conv2dTranspose { kernel: [usize; 2], stride: [usize; 2], dilation: [usize; 2], pad: [usize; 2] },
    /// Matrix product along the last axis. Weights: kernel `[inputs, units]`, then bias `[units]` if there is one. A kernel or bias
    /// with more axes counts as this matrix or vector: its values are read in row-major order.
    Dense,
    /// Matrix products of two inputs: `[.., m, k]` times `[.., k, n]` gives `[.., m, n]`.
    ///
    /// `transpose` says which of the two is read transposed, as `[.., k, m]` or `[.., n, k]`. Both have the same number of axes.
    /// An input is broadcast along its axes of size 1 before the last two.
    MatMul { transpose: [bool; 2] },
    /// Rows of a table (Keras' `Embedding`). Each input value is the index of a row, clamped to the table: `[..]` gives
    /// `[.., width]`. Weights: table `[rows, width]`. The gradient with respect to the indices is zero.
    Embedding,
    /// A weight as a value, the same for every sample. The input gives the number of samples alone, and its gradient is zero.
    Parameter,
    /// Maximum or mean over windows of pixels. `pad` is the padding at the top and left; padding never counts as a value.
    Pool2d { kind: PoolKind, size: [usize; 2], stride: [usize; 2], pad: [usize; 2] },
    /// Maximum or mean over all pixels of each channel.
    GlobalPool { kind: PoolKind },
    /// Maximum or mean over windows that divide an image as evenly as possible: output pixel `i` of `n` covers the input pixels
    /// from `i * size / n`, rounded down, to `(i + 1) * size / n`, rounded up, along each axis.
    AdaptivePool2d { kind: PoolKind },
    /// Batch normalization (Ioffe and Szegedy 2015, arXiv 1502.03167).
    ///
    /// With `batch_statistics`, mean and variance are those of the batch, and each training step sets the moving ones to
    /// `moving * momentum + batch * (1 - momentum)`. Without, mean and variance are the moving ones. Weights: gamma if `scale`,
    /// beta if `center`, moving mean, moving variance.
    BatchNorm { epsilon: f32, momentum: f32, scale: bool, center: bool, batch_statistics: bool },
    /// Normalization of groups of values within each sample. Weights: gamma if `scale`, beta if `center`.
    Normalize(Normalization),
    /// Elementwise product with a weight. The weight's axes are aligned with the last axes of a sample, and it is broadcast along
    /// its axes of size 1. With `below_zero`, values above zero pass unchanged (PReLU).
    Scale { below_zero: bool },
    /// An elementwise activation function.
    Activation(Activation),
    /// Softmax along the last axis.
    Softmax,
    /// Logarithm of the softmax along the last axis.
    LogSoftmax,
    /// Keras' sparsemax along the last axis: a shift of each row by one threshold, cut off at 0. See the kernel of this name.
    Sparsemax,
    /// Elementwise sum of all inputs.
    Add,
    /// Elementwise product of two inputs. The second is broadcast along its axes of size 1.
    Multiply,
    /// Concatenation along `axis` of a sample (0 is the first axis after the batch axis).
    Concatenate { axis: usize },
    /// Zero padding of `[[top, bottom], [left, right]]` pixels.
    Pad2d { pad: [[usize; 2]; 2] },
    /// The same values in another shape: the output shares the input's buffer.
    Reshape,
    /// Strided slice: along each axis, every `step`th value from `start` on (backwards if negative), as many as the output has.
    Slice { start: Vec<usize>, step: Vec<isize> },
    /// Transposition: axis `i` of the output is axis `axes[i]` of the input.
    Permute { axes: Vec<usize> },
    /// `x * scale[c] + shift[c]` for channel `c`, the index along the last axis. Scale and shift are constants, not weights.
    ScaleShift { scale: Vec<f32>, shift: Vec<f32> },
    /// Reverses the last axis: RGB to BGR.
    ReverseChannels,
    /// Resizes images to the output's height and width. [`Resampling`](crate::Resampling) has the weights.
    Resize { interpolation: Interpolation, antialias: bool },
    /// Dropout: sets elements to 0 with probability `rate` and divides the others by `1 - rate`. A hash of (seed, training
    /// iteration, sample, element) decides which elements are dropped.
    Dropout { rate: f32, seed: u64 },
    /// Random noise that scales and shifts values. `shape` is the sample's shape with size 1 along the axes that share their noise.
    /// With `across_samples`, all samples of a batch have the same noise. A hash of (seed, training iteration, sample, element of
    /// `shape`) gives the noise.
    Noise { noise: Noise, shape: Shape, across_samples: bool, seed: u64 },
    /// The penalty of a sample's values, one number: `l1 Σ|x| + l2 Σx²`. The output has the shape `[1]`.
    Penalty { l1: f32, l2: f32 },
    /// Transforms each image at random. A hash of (seed, training iteration, image) seeds the random generator that draws the
    /// image's transformation.
    RandomTransform { transform: RandomTransform, seed: u64 },
    /// An elementwise function of one input.
    Unary(Unary),
    /// An elementwise function of two inputs of the output's rank. Each input is broadcast along its axes of size 1 where the
    /// output's size is greater.
    Binary(Binary),
    /// Reduces the values along `axes` of a sample, which are in ascending order. The output has these axes at size 1, or
    /// lacks all of them.
    Reduce { reduction: Reduction, axes: Vec<usize> },
    /// Selects slices along `axis`: slice `i` of the output is slice `indices[i]` of the input (NumPy's `take`). Any slice may
    /// be selected several times, or never.
    Gather { axis: usize, indices: Vec<usize> },
    /// Adds `pad[axis] = [before, after]` elements of the constant `value` at the ends of each axis.
    Pad { pad: Vec<[usize; 2]>, value: f32 },
    /// The same values for each sample. It has no inputs.
    Constant { values: Arc<[f32]> },
}

impl Op {
    /// Whether the result for a sample depends on the other samples of its batch.
    pub fn couples_samples(&self) -> bool {
        matches!(self, Self::BatchNorm { batch_statistics: true, .. })
    }

    /// Whether computing the result costs little more than reading and writing it. A low-memory plan recomputes such results for
    /// the backward pass instead of saving them.
    pub fn is_cheap(&self) -> bool {
        !matches!(
            self,
            Self::Conv2d { .. }
                | Self::Conv2dTranspose { .. }
                | Self::Dense
                | Self::MatMul { .. }
                | Self::GlobalPool { .. }
                | Self::Reduce { .. }
                | Self::Noise { .. }
                | Self::RandomTransform { .. }
        )
    }

    /// Sizes of this convolution, without a fused pooling, for a batch of `samples` images; `None` for any other operation.
    pub fn conv2d_shape(&self, samples: usize, input: &Shape, output: &Shape) -> Option<Conv2dShape> {
        let (&[in_h, in_w, in_c], &[out_h, out_w, out_c]) = (input.as_slice(), output.as_slice()) else { return None };
        match *self {
            Self::Conv2d { kernel, stride, dilation, pad, groups, pool } => {
                let [out_h, out_w] = pool.unwrap_or([out_h, out_w]);
                let batch = samples;
                Some(Conv2dShape {
                    batch,
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
            _ => None,
        }
    }

    /// Sizes of the convolution that this transposed convolution is the transpose of, for a batch of `samples` images; `None` for
    /// any other operation.
    ///
    /// ```
    /// use engraft_ir::Op;
    /// let op = Op::Conv2dTranspose { kernel: [3, 3], stride: [2, 2], dilation: [1, 1], pad: [0, 0] };
    /// let conv = op.transposed_conv2d_shape(32, &vec![7, 7, 64], &vec![14, 14, 32]).unwrap();
    /// assert_eq!(([conv.in_h, conv.in_c], [conv.out_h, conv.out_c]), ([14, 32], [7, 64]));
    /// ```
    pub fn transposed_conv2d_shape(&self, samples: usize, input: &Shape, output: &Shape) -> Option<Conv2dShape> {
        match *self {
            Self::Conv2dTranspose { kernel, stride, dilation, pad } => {
                let conv = Self::Conv2d { kernel, stride, dilation, pad, groups: 1, pool: None };
                conv.conv2d_shape(samples, output, input)
            }
            _ => None,
        }
    }

    /// Kind and sizes of this pooling for a batch of `samples` images; `None` for any other operation.
    ///
    /// ```
    /// use engraft_ir::{Op, PoolKind};
    /// let op = Op::Pool2d { kind: PoolKind::Max, size: [2, 2], stride: [2, 2], pad: [0, 0] };
    /// let (kind, pool) = op.pool2d_shape(32, &vec![56, 56, 64], &vec![28, 28, 64]).unwrap();
    /// assert_eq!((kind, pool.batch, pool.channels), (PoolKind::Max, 32, 64));
    /// ```
    pub fn pool2d_shape(&self, samples: usize, input: &Shape, output: &Shape) -> Option<(PoolKind, Pool2dShape)> {
        let (&[in_h, in_w, channels], &[out_h, out_w, _]) = (input.as_slice(), output.as_slice()) else { return None };
        match *self {
            Self::Pool2d { kind, size, stride, pad } => {
                Some((kind, Pool2dShape { batch: samples, in_h, in_w, channels, size, stride, pad, out_h, out_w }))
            }
            _ => None,
        }
    }

    /// Whether the backward pass can go through this operation.
    pub fn differentiable(&self) -> bool {
        !matches!(self, Self::RandomTransform { .. })
    }
}
