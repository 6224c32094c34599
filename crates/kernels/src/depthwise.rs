//! Depthwise convolution: each channel is convolved with a small kernel of its own (Sifre 2014; Howard et al. 2017, arXiv
//! 1704.04861).
//!
//! An output value is a sum over a few neighbouring pixels of one channel. As a matrix product, each channel would have a single
//! output column, so im2col would mostly copy data. The forward pass and the input gradient share one loop ([`gather`]) with
//! different [`Taps`]. All other convolutions are in `conv2d`, also those with several output channels per input channel (a depth
//! multiplier).

use rayon::prelude::*;

use crate::activation::activate_serial;
use crate::chunks::{check_len, column_sums};
use crate::{Activation, Conv2dShape};

/// Channels that are summed at once, in eight registers of four floats.
const LANES: usize = 32;

/// A depthwise convolution with one output channel for each input channel. Its kernel is `[kernel[0], kernel[1], channels]`.
///
/// ```
/// use engraft_kernels::{Activation, Conv2dShape, Depthwise};
/// // One 1x2 kernel for each of two channels over one row of three pixels.
/// let shape = Conv2dShape {
///     batch: 1, in_h: 1, in_w: 3, in_c: 2, out_c: 2, kernel: [1, 2], stride: [1, 1], dilation: [1, 1], pad: [0, 0],
///     out_h: 1, out_w: 2, groups: 2,
/// };
/// let depthwise = Depthwise::new(&shape).expect("as many groups as channels on both sides");
/// let (x, w) = ([1.0, 10.0, 2.0, 20.0, 3.0, 30.0], [1.0, 0.0, 1.0, -1.0]);
/// let mut y = [0.0; 4];
/// depthwise.forward(&x, &w, Some(&[0.5, 0.0]), Activation::Linear, &mut y);
/// assert_eq!(y, [3.5, -20.0, 5.5, -30.0]);
///
/// let (dy, mut dx, mut dw) = ([1.0, 0.0, 1.0, 0.0], [0.0; 6], [0.0; 4]);
/// depthwise.input_gradient(&dy, &w, &mut dx);
/// assert_eq!(dx, [1.0, 0.0, 2.0, 0.0, 1.0, 0.0]);
/// depthwise.kernel_gradient(&x, &dy, &mut dw);
/// assert_eq!(dw, [3.0, 0.0, 5.0, 0.0]);
/// ```
#[derive(Clone, Debug)]
pub struct Depthwise {
    shape: Conv2dShape,
}

impl Depthwise {
    /// The depthwise convolution of this shape; `None` unless groups, input channels and output channels are equal in number.
    pub fn new(shape: &Conv2dShape) -> Option<Self> {
        let depthwise = shape.in_c > 0 && shape.groups == shape.in_c && shape.out_c == shape.in_c;
        depthwise.then_some(Self { shape: *shape })
    }

    /// Forward pass: `y = activation(conv(x, w) + bias)`, with `bias` `[channels]`.
    pub fn forward(&self, x: &[f32], w: &[f32], bias: Option<&[f32]>, activation: Activation, y: &mut [f32]) {
        self.check(x, w, y);
        let s = &self.shape;
        if let Some(bias) = bias {
            check_len("bias", bias, s.in_c);
        }
        let taps = Taps::forward(s);
        gather(&taps, s.in_c, [s.in_h, s.in_w], [s.out_h, s.out_w], x, w, y, |row| {
            if let Some(bias) = bias {
                row.chunks_exact_mut(s.in_c).for_each(|y| y.iter_mut().zip(bias).for_each(|(y, bias)| *y += bias));
            }
            activate_serial(activation, row);
        });
    }

    /// The gradient with respect to `x`. `dy` is the gradient with respect to the output before bias and activation.
    pub fn input_gradient(&self, dy: &[f32], w: &[f32], dx: &mut [f32]) {
        self.check(dx, w, dy);
        let s = &self.shape;
        gather(&Taps::backward(s), s.in_c, [s.out_h, s.out_w], [s.in_h, s.in_w], dy, w, dx, |_| {});
    }

    /// The gradient with respect to `w`. `dy` is the gradient with respect to the output before bias and activation.
    pub fn kernel_gradient(&self, x: &[f32], dy: &[f32], dw: &mut [f32]) {
        self.check(x, dw, dy);
        let s = &self.shape;
        let taps = Taps::forward(s);
        let sums = column_sums(s.in_c, s.batch * s.out_h, s.kernel[0] * s.kernel[1], |row, sums| {
            let dy = &dy[row * s.out_w * s.in_c..][..s.out_w * s.in_c];
            let (image, row) = (row / s.out_h, row % s.out_h);
            let x = &x[image * s.in_h * s.in_w * s.in_c..];
            taps.rows[row].iter().for_each(|&(tap, from)| {
                let x = &x[from * s.in_w * s.in_c..][..s.in_w * s.in_c];
                let sums = &mut sums[tap * s.kernel[1] * s.in_c..][..s.kernel[1] * s.in_c];
                add_products(&taps.columns, s.in_c, x, dy, sums);
            });
        });
        dw.iter_mut().zip(&sums).for_each(|(dw, &sum)| *dw = sum as f32);
    }

    fn check(&self, x: &[f32], w: &[f32], y: &[f32]) {
        let s = &self.shape;
        check_len("input", x, s.batch * s.in_h * s.in_w * s.in_c);
        check_len("kernel", w, s.kernel[0] * s.kernel[1] * s.in_c);
        check_len("output", y, s.batch * s.out_h * s.out_w * s.in_c);
    }
}

/// For each destination index along an axis, the pairs (kernel tap, source index) that it sums over.
type AxisTaps = Vec<Vec<(usize, usize)>>;

/// The kernel taps that each destination pixel sums over, separately for rows and columns.
struct Taps {
    rows: AxisTaps,
    columns: AxisTaps,
    /// Taps in a row of the kernel.
    width: usize,
}

impl Taps {
    /// Taps of the forward pass: for every output pixel, the input pixels in its window.
    fn forward(s: &Conv2dShape) -> Self {
        let axis = |axis: usize, from: usize, to: usize| -> AxisTaps {
            let taps_at = |at: usize| {
                let source = |tap: usize| (at * s.stride[axis] + tap * s.dilation[axis]).checked_sub(s.pad[axis]);
                let inside = |tap: usize| source(tap).filter(|&source| source < from);
                (0..s.kernel[axis]).filter_map(|tap| Some((tap, inside(tap)?))).collect()
            };
            (0..to).map(taps_at).collect()
        };
        Self { rows: axis(0, s.in_h, s.out_h), columns: axis(1, s.in_w, s.out_w), width: s.kernel[1] }
    }

    /// Taps of the input gradient: for every input pixel, the output pixels whose windows hold it.
    fn backward(s: &Conv2dShape) -> Self {
        let forward = Self::forward(s);
        let transpose = |axis: AxisTaps, length: usize| {
            let mut transposed: AxisTaps = vec![Vec::new(); length];
            for (to, taps) in axis.into_iter().enumerate() {
                taps.into_iter().for_each(|(tap, from)| transposed[from].push((tap, to)));
            }
            transposed
        };
        Self { rows: transpose(forward.rows, s.in_h), columns: transpose(forward.columns, s.in_w), width: s.kernel[1] }
    }
}

/// `to[pixel] = sum of from[source pixel] * w[tap]` over the pixel's taps. Calls `epilogue` with each row when it is complete.
#[expect(clippy::too_many_arguments, reason = "two images, a kernel, and their sizes")]
fn gather(
    taps: &Taps,
    channels: usize,
    [from_h, from_w]: [usize; 2],
    [to_h, to_w]: [usize; 2],
    from: &[f32],
    w: &[f32],
    to: &mut [f32],
    epilogue: impl Fn(&mut [f32]) + Sync,
) {
    to.par_chunks_mut((to_w * channels).max(1)).enumerate().for_each(|(row, to)| {
        let image = &from[row / to_h * from_h * from_w * channels..][..from_h * from_w * channels];
        let mut offsets = Vec::new();
        for (pixel, columns) in to.chunks_exact_mut(channels).zip(&taps.columns) {
            offsets.clear();
            for &(tap_row, row) in &taps.rows[row % to_h] {
                let indices = |&(tap, column)| (row * from_w + column, tap_row * taps.width + tap);
                offsets.extend(columns.iter().map(indices).map(|(pixel, tap)| (pixel * channels, tap * channels)));
            }
            sum_products(&offsets, image, w, pixel);
        }
        epilogue(to);
    });
}

/// `y[c] = sum of x[i + c] * w[j + c]` over the offsets `(i, j)`.
fn sum_products(offsets: &[(usize, usize)], x: &[f32], w: &[f32], y: &mut [f32]) {
    let mut blocks = y.chunks_exact_mut(LANES);
    let mut start = 0;
    for y in &mut blocks {
        let mut sums = [0.0; LANES];
        for &(i, j) in offsets {
            let (x, w) = (&x[i + start..][..LANES], &w[j + start..][..LANES]);
            sums.iter_mut().zip(x.iter().zip(w)).for_each(|(sum, (x, w))| *sum += x * w);
        }
        y.copy_from_slice(&sums);
        start += LANES;
    }
    let rest = blocks.into_remainder();
    rest.fill(0.0);
    for &(i, j) in offsets {
        rest.iter_mut().zip(x[i + start..].iter().zip(&w[j + start..])).for_each(|(y, (x, w))| *y += x * w);
    }
}

/// Adds the contribution of one output row to the gradient of one kernel row: `sums[tap, c] += x[source, c] * dy[pixel, c]`.
fn add_products(columns: &AxisTaps, channels: usize, x: &[f32], dy: &[f32], sums: &mut [f32]) {
    for (dy, taps) in dy.chunks_exact(channels).zip(columns) {
        for &(tap, column) in taps {
            let (x, sums) = (&x[column * channels..][..channels], &mut sums[tap * channels..][..channels]);
            sums.iter_mut().zip(x.iter().zip(dy)).for_each(|(sum, (x, dy))| *sum += x * dy);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, assert_same_for_any_threads, dot, integers, to_f32, uniform};
    use crate::{Conv2d, reference};

    /// A convolution over `batch` images `[h, w, channels]` with a total padding of `pad` along each axis; an odd pixel of
    /// padding lies below or right.
    fn shape(
        [batch, h, w, channels]: [usize; 4],
        kernel: [usize; 2],
        stride: [usize; 2],
        dilation: [usize; 2],
        pad: [usize; 2],
    ) -> Conv2dShape {
        let out =
            |size: usize, axis: usize| (size + pad[axis] - dilation[axis] * (kernel[axis] - 1) - 1) / stride[axis] + 1;
        let (out_h, out_w, pad) = (out(h, 0), out(w, 1), pad.map(|pad| pad / 2));
        let (in_c, out_c, groups) = (channels, channels, channels);
        Conv2dShape { batch, in_h: h, in_w: w, in_c, out_c, kernel, stride, dilation, pad, out_h, out_w, groups }
    }

    fn shapes() -> Vec<Conv2dShape> {
        let plain = [1, 1];
        vec![
            shape([1, 1, 1, 1], plain, plain, plain, [0, 0]),
            shape([2, 5, 6, 3], [3, 3], plain, plain, [2, 2]),
            // Full blocks of `LANES` channels and a remainder.
            shape([2, 9, 7, 70], [3, 3], plain, plain, [2, 2]),
            shape([1, 4, 4, 64], [3, 3], plain, plain, [0, 0]),
            // As in Keras' MobileNet: padding below and right only, and stride 2.
            shape([3, 8, 9, 33], [3, 3], [2, 2], plain, [1, 1]),
            shape([1, 12, 11, 4], [5, 2], [3, 1], plain, [4, 1]),
            shape([1, 12, 11, 4], [3, 3], plain, [2, 3], [4, 6]),
            // The stride exceeds the window, so some pixels are never read.
            shape([1, 7, 7, 2], [2, 2], [3, 3], plain, [0, 0]),
        ]
    }

    fn pixels(s: &Conv2dShape) -> [usize; 3] {
        [s.batch * s.in_h * s.in_w * s.in_c, s.kernel[0] * s.kernel[1] * s.in_c, s.batch * s.out_h * s.out_w * s.in_c]
    }

    #[test]
    fn all_three_agree_with_the_reference() {
        for s in shapes() {
            let [x_len, w_len, y_len] = pixels(&s);
            let (x, w, dy, bias) = (integers(x_len, 1), integers(w_len, 2), integers(y_len, 3), integers(s.in_c, 4));
            let depthwise = Depthwise::new(&s).unwrap();
            let mut expected = to_f32(&reference::conv2d(&s, &x, &w));
            expected.iter_mut().enumerate().for_each(|(i, y)| *y = (*y + bias[i % s.in_c]).max(0.0));
            let (mut y, mut dx, mut dw) = (vec![f32::NAN; y_len], vec![f32::NAN; x_len], vec![f32::NAN; w_len]);
            depthwise.forward(&x, &w, Some(&bias), Activation::Relu, &mut y);
            assert_eq!(y, expected, "y of {s:?}");
            depthwise.input_gradient(&dy, &w, &mut dx);
            assert_eq!(dx, to_f32(&reference::conv2d_input_gradient(&s, &dy, &w)), "dx of {s:?}");
            depthwise.kernel_gradient(&x, &dy, &mut dw);
            assert_eq!(dw, to_f32(&reference::conv2d_kernel_gradient(&s, &x, &dy)), "dw of {s:?}");
        }
    }

    #[test]
    fn gradients_agree_with_differences() {
        let s = shape([2, 6, 5, 35], [3, 3], [2, 1], [1, 1], [1, 2]);
        let [x_len, w_len, y_len] = pixels(&s);
        let (x, w, upstream) = (uniform(x_len, 1), uniform(w_len, 2), uniform(y_len, 3));
        let depthwise = Depthwise::new(&s).unwrap();
        let (mut dx, mut dw) = (vec![f32::NAN; x_len], vec![f32::NAN; w_len]);
        depthwise.input_gradient(&upstream, &w, &mut dx);
        depthwise.kernel_gradient(&x, &upstream, &mut dw);
        let score = |x: &[f32], w: &[f32]| {
            let mut y = vec![f32::NAN; y_len];
            depthwise.forward(x, w, None, Activation::Linear, &mut y);
            dot(&y, &upstream)
        };
        let moved = |x: &[f32], i: usize, step: f32| -> Vec<f32> {
            x.iter().enumerate().map(|(at, &x)| if at == i { x + step } else { x }).collect()
        };
        // `score` is linear in each value of `x` and of `w`, so central differences have no truncation error even with a large
        // step. Only f32 rounding is left.
        for i in (0..x_len).step_by(37) {
            let difference = score(&moved(&x, i, 1.0), &w) - score(&moved(&x, i, -1.0), &w);
            assert_close(&[dx[i]], &[(difference / 2.0) as f32], 1e-5);
        }
        for i in (0..w_len).step_by(11) {
            let difference = score(&x, &moved(&w, i, 1.0)) - score(&x, &moved(&w, i, -1.0));
            assert_close(&[dw[i]], &[(difference / 2.0) as f32], 1e-5);
        }
    }

    #[test]
    fn same_bits_for_any_number_of_threads() {
        let s = shape([3, 30, 20, 41], [3, 3], [1, 1], [1, 1], [2, 2]);
        let [x_len, w_len, y_len] = pixels(&s);
        let (x, w, dy) = (uniform(x_len, 1), uniform(w_len, 2), uniform(y_len, 3));
        let depthwise = Depthwise::new(&s).unwrap();
        assert_same_for_any_threads(|| {
            let mut results = [vec![0.0; y_len], vec![0.0; x_len], vec![0.0; w_len]];
            let [y, dx, dw] = &mut results;
            depthwise.forward(&x, &w, None, Activation::Linear, y);
            depthwise.input_gradient(&dy, &w, dx);
            depthwise.kernel_gradient(&x, &dy, dw);
            results.concat()
        });
    }

    #[test]
    fn agrees_with_patches_to_the_rounding() {
        let s = shape([2, 14, 14, 96], [3, 3], [1, 1], [1, 1], [2, 2]);
        let [x_len, w_len, y_len] = pixels(&s);
        let (x, w) = (uniform(x_len, 1), uniform(w_len, 2));
        let conv = Conv2d::new(s);
        let (mut patches, mut direct) = (vec![0.0; y_len], vec![0.0; y_len]);
        conv.forward(&x, &w, None, Activation::Relu, &mut patches, &mut vec![0.0; conv.scratch_len()]);
        Depthwise::new(&s).unwrap().forward(&x, &w, None, Activation::Relu, &mut direct);
        // Im2col and the depthwise kernel both sum nine products below 1 in f32, and may round each partial sum differently.
        assert_close(&direct, &patches, 1e-6);
    }

    #[test]
    fn other_convolutions_are_refused() {
        let s = shape([1, 4, 4, 4], [3, 3], [1, 1], [1, 1], [2, 2]);
        assert!(Depthwise::new(&s).is_some());
        for other in [Conv2dShape { groups: 2, ..s }, Conv2dShape { out_c: 8, ..s }, Conv2dShape { groups: 1, ..s }] {
            assert!(Depthwise::new(&other).is_none(), "{other:?}");
        }
    }

    #[test]
    fn an_empty_batch_gives_a_zero_kernel_gradient() {
        let s = shape([0, 4, 4, 2], [3, 3], [1, 1], [1, 1], [2, 2]);
        let depthwise = Depthwise::new(&s).unwrap();
        let mut dw = vec![f32::NAN; 18];
        depthwise.forward(&[], &[1.0; 18], None, Activation::Linear, &mut []);
        depthwise.input_gradient(&[], &[1.0; 18], &mut []);
        depthwise.kernel_gradient(&[], &[], &mut dw);
        assert_eq!(dw, [0.0; 18]);
    }
}
