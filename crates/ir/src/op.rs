//! The operations that an executor computes.

use crate::{Activation, Conv2dShape, Interpolation, Pool2dShape, PoolKind, RandomTransform, Shape};

/// One operation on whole batches. Shapes stand in the program; weights in the step, in the layer's order.
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
/// ```
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "fields are the layers' options of the same names, resolved")]
pub enum Op {
    /// Weights: kernel `[kh, kw, c / groups, filters]`, then bias `[filters]` if there is one. `pad` is top and left.
    /// A depthwise kernel `[kh, kw, c, m]` has `c` groups and `c * m` filters, and lies in memory as `[kh, kw, 1, c * m]`.
    /// With `pool`, the greatest of each 2x2 pixels is all that it gives, of this height and width before.
    Conv2d {
        kernel: [usize; 2],
        stride: [usize; 2],
        dilation: [usize; 2],
        pad: [usize; 2],
        groups: usize,
        pool: Option<[usize; 2]>,
    },
    /// Weights: kernel `[inputs, units]`, then bias `[units]` if there is one.
    Dense,
    /// Padding never counts as a value.
    Pool2d { kind: PoolKind, size: [usize; 2], stride: [usize; 2], pad: [usize; 2] },
    /// Over all pixels of each channel.
    GlobalPool { kind: PoolKind },
    /// Weights: gamma if `scale`, beta if `center`, moving mean, moving variance.
    BatchNorm { epsilon: f32, momentum: f32, scale: bool, center: bool, batch_statistics: bool },
    /// Element by element.
    Activation(Activation),
    /// Along the last axis.
    Softmax,
    /// Sum of all inputs.
    Add,
    /// Product of two inputs; the second is repeated along axes where its size is 1 and the first's is not.
    Multiply,
    /// Along this axis of a sample.
    Concatenate { axis: usize },
    /// `[[top, bottom], [left, right]]` zeros.
    Pad2d { pad: [[usize; 2]; 2] },
    /// The same numbers in another shape: the output is the input's buffer.
    Reshape,
    /// Along each axis, from `start` on every `step`th value (negative: backwards), as many as the output has.
    Slice { start: Vec<usize>, step: Vec<isize> },
    /// Axis `i` of the output is axis `axes[i]` of the input.
    Permute { axes: Vec<usize> },
    /// `x * scale[c] + shift[c]`.
    ScaleShift { scale: Vec<f32>, shift: Vec<f32> },
    /// The last axis backwards.
    ReverseChannels,
    /// To the output's height and width.
    Resize { interpolation: Interpolation },
    /// Drops by a hash of (seed, step, element).
    Dropout { rate: f32, seed: u64 },
    /// Draws a transformation an image from (seed, step, image).
    RandomTransform { transform: RandomTransform, seed: u64 },
}

impl Op {
    /// Whether a sample's result depends on the other samples of its batch.
    pub fn couples_samples(&self) -> bool {
        matches!(self, Self::BatchNorm { batch_statistics: true, .. })
    }

    /// Whether it costs little more than reading and writing its values: such results are recomputed rather than kept where memory
    /// is short.
    pub fn is_cheap(&self) -> bool {
        !matches!(self, Self::Conv2d { .. } | Self::Dense | Self::GlobalPool { .. } | Self::RandomTransform { .. })
    }

    /// The shapes of a convolution of `samples` images; `None` for any other operation.
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

    /// The kind and shapes of a pooling of `samples` images; `None` for any other operation.
    pub fn pool2d_shape(&self, samples: usize, input: &Shape, output: &Shape) -> Option<(PoolKind, Pool2dShape)> {
        let (&[in_h, in_w, channels], &[out_h, out_w, _]) = (input.as_slice(), output.as_slice()) else { return None };
        match *self {
            Self::Pool2d { kind, size, stride, pad } => {
                Some((kind, Pool2dShape { batch: samples, in_h, in_w, channels, size, stride, pad, out_h, out_w }))
            }
            _ => None,
        }
    }

    /// Whether a gradient can be carried through it.
    pub fn differentiable(&self) -> bool {
        !matches!(self, Self::RandomTransform { .. })
    }
}
