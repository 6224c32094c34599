//! Shapes and comparisons that the tests of convolutions share.

use super::Conv2d;
use super::algorithm::Algorithm;
use super::direct::Direct;
use super::im2col_strips::Strips;
use super::pointwise::Pointwise;
use super::winograd::Winograd;
use crate::Conv2dShape;
use crate::simd::{Amx, Bf16, Isa};

/// A convolution over `batch` images `[h, w, in_c]` whose output size follows from a total padding of `pad` per axis.
pub(super) fn shape(
    [batch, h, w, in_c]: [usize; 4],
    out_c: usize,
    kernel: [usize; 2],
    stride: [usize; 2],
    dilation: [usize; 2],
    pad: [usize; 2],
    groups: usize,
) -> Conv2dShape {
    let out =
        |size: usize, axis: usize| (size + pad[axis] - dilation[axis] * (kernel[axis] - 1) - 1) / stride[axis] + 1;
    let (out_h, out_w, pad) = (out(h, 0), out(w, 1), pad.map(|pad| pad / 2));
    Conv2dShape { batch, in_h: h, in_w: w, in_c, out_c, kernel, stride, dilation, pad, out_h, out_w, groups }
}

/// A 3x3 convolution of stride 1 whose outputs have the size of its inputs.
pub(super) fn same_3x3(image: [usize; 4], out_c: usize) -> Conv2dShape {
    shape(image, out_c, [3, 3], [1, 1], [1, 1], [2, 2], 1)
}

pub(super) fn shapes() -> Vec<Conv2dShape> {
    let plain = [1, 1];
    vec![
        shape([1, 1, 1, 1], 1, plain, plain, plain, [0, 0], 1),
        shape([2, 5, 6, 3], 4, [3, 3], plain, plain, [2, 2], 1),
        // 273 output pixels: more than the kernel gradient adds at a time (256); channels that don't fill whole vectors
        shape([1, 13, 21, 17], 19, [3, 3], plain, plain, [2, 2], 1),
        shape([3, 17, 16, 8], 70, plain, plain, plain, [0, 0], 1),
        // pointwise: one pixel; partial vectors and panels of each instruction set; more pixels than a task has
        shape([1, 1, 1, 5], 150, plain, plain, plain, [0, 0], 1),
        shape([1, 7, 7, 33], 65, plain, plain, plain, [0, 0], 1),
        shape([2, 3, 5, 64], 24, plain, plain, plain, [0, 0], 1),
        shape([1, 29, 28, 3], 17, plain, plain, plain, [0, 0], 1),
        // 600 columns of patches: more than one chunk of them (528), and blocks of GEMM's depth (264)
        shape([1, 3, 5, 600], 19, plain, plain, plain, [0, 0], 1),
        shape([2, 9, 8, 5], 6, plain, [2, 2], plain, [0, 0], 1),
        // TensorFlow's "same" padding with stride 2: 8 rows need one row of padding, which lies below; 9 columns need one on each
        // side
        shape([2, 8, 9, 3], 5, [3, 3], [2, 2], plain, [1, 2], 1),
        shape([1, 12, 11, 4], 3, [5, 2], [3, 1], plain, [4, 1], 1),
        shape([1, 12, 11, 4], 3, [3, 3], plain, [2, 3], [4, 6], 1),
        shape([1, 9, 9, 2], 2, [3, 3], [2, 2], [2, 2], [0, 0], 1),
        shape([2, 7, 7, 6], 4, [3, 3], plain, plain, [2, 2], 2),
        shape([2, 7, 7, 6], 12, plain, plain, plain, [0, 0], 3),
        // groups of 70 input and 73 output channels: more than the minimum side of a tile (64)
        shape([1, 5, 5, 140], 146, plain, plain, plain, [0, 0], 2),
        // depthwise, with a depth multiplier of 2
        shape([1, 6, 7, 5], 10, [3, 3], [2, 2], plain, [2, 2], 5),
        // kernels that aren't square, with stride 1
        shape([2, 9, 8, 5], 34, [5, 2], plain, plain, [4, 1], 1),
        shape([1, 7, 20, 33], 3, [1, 7], plain, plain, [0, 6], 1),
        shape([1, 20, 1, 6], 7, [7, 1], plain, plain, [6, 0], 1),
        // 520 columns of patches: more than the rows of a tile of the kernel gradient (512); few pixels
        shape([1, 2, 2, 130], 33, [2, 2], plain, plain, [1, 1], 1),
    ]
}

/// Shapes of 3x3 convolutions just below, at and above block sizes: tiles of 4x4 outputs, vectors and panels of channels, depth,
/// blocks of tiles.
pub(super) fn shapes_of_3x3() -> Vec<Conv2dShape> {
    let plain = [1, 1];
    let sides = (1..=9).map(|side| ([1, side, 10 - side, 3], 5, [2, 2]));
    let channels = [1, 4, 7, 8, 9, 16, 17, 31, 33].map(|channels| ([1, 5, 5, channels], 34 - channels, [2, 2]));
    let pads = [[0, 0], [1, 0], [3, 4]].map(|pad| ([2, 6, 7, 3], 4, pad));
    let deep = [(514, 3), (3, 300), (128, 130), (33, 256)];
    let deep = deep.map(|(channels, out_c)| ([1, 4, 5, channels], out_c, [2, 2]));
    // more tiles than fit a block of the forward pass, or a chunk of the kernel gradient
    let many = [([1, 70, 66, 2], 3, [2, 2]), ([5, 28, 29, 9], 8, [2, 2]), ([1, 184, 184, 2], 3, [2, 2])];
    let all = sides.chain(channels).chain(pads).chain(deep).chain(many);
    all.map(|(image, out_c, pad)| shape(image, out_c, [3, 3], plain, plain, pad, 1)).collect()
}

/// The convolution of `shape` by every algorithm that can compute it, each with a name for messages. Winograd's algorithm, in
/// f32 only, the pointwise and the direct algorithm run on every instruction set of this CPU and on emulations.
pub(super) fn every_algorithm(shape: Conv2dShape) -> Vec<(String, Conv2d)> {
    let mut all = vec![("im2col".into(), Conv2d::by_im2col(shape))];
    if Strips::can(&shape) {
        let algorithm = Algorithm::Strips(Strips::new(shape));
        all.push(("strips".into(), Conv2d::with_algorithm(shape, algorithm)));
    }
    if Pointwise::can(&shape) {
        all.extend(Isa::tested().map(|isa| {
            let algorithm = Algorithm::Pointwise(Pointwise::new(isa, shape));
            (format!("pointwise {}", isa.name()), Conv2d::with_algorithm(shape, algorithm))
        }));
    }
    if Winograd::can(&shape) {
        all.extend(Isa::tested().map(|isa| {
            let algorithm = Algorithm::Winograd(Winograd::new(isa, shape));
            (format!("winograd {}", isa.name()), Conv2d::with_algorithm(shape, algorithm))
        }));
    }
    if Direct::can(&shape) {
        let units = || Bf16::tested().flat_map(|bf16| Amx::tested().map(move |amx| (bf16, amx)));
        all.extend(units().map(|(bf16, amx)| {
            let in_f32 = Box::new(Algorithm::im2col(shape));
            let algorithm = Algorithm::Direct(Direct::new(bf16, amx, shape), in_f32);
            (format!("direct {bf16:?} {amx:?}"), Conv2d::with_algorithm(shape, algorithm))
        }));
    }
    all
}

/// Whether `conv` computes small whole numbers without rounding errors. Winograd's transforms don't, as their constants are
/// fractions.
pub(super) fn is_exact(conv: &Conv2d) -> bool {
    conv.algorithm() != "winograd"
}

/// Largest absolute difference, divided by the largest absolute expected value.
pub(super) fn relative_error(received: &[f32], expected: &[f64]) -> f64 {
    assert_eq!(received.len(), expected.len());
    let largest = expected.iter().fold(f64::MIN_POSITIVE, |largest, x| largest.max(x.abs()));
    let difference = |(&a, &b): (&f32, &f64)| (f64::from(a) - b).abs();
    // Not `f64::max`, which ignores NaN.
    let larger = |a: f64, b: f64| if b <= a { a } else { b };
    received.iter().zip(expected).map(difference).fold(0.0, larger) / largest
}

/// Tolerance of [`relative_error`] in f32. At worst, Winograd's transforms lose two of seven digits on single values, mostly in
/// the long sums of the kernel gradient.
pub(super) const TOLERANCE: f64 = 2e-5;

/// Tolerance of [`relative_error`] in bf16. Operands have eight bits of precision. At worst, Winograd's transforms lose two or
/// three of them on single values.
pub(super) const BF16_TOLERANCE: f64 = 5e-2;
