//! Depthwise convolution: each channel is convolved with a small kernel of its own (Sifre 2014; Howard et al. 2017, arXiv
//! 1704.04861).
//!
//! An output value is a sum over a few neighbouring pixels of one channel. As a matrix product, each channel would have a single
//! output column, so im2col would mostly copy data. Kernels of 3x3 and 5x5 have a register-blocked loop ([`blocked`]), all others
//! a general one ([`taps`]). All other convolutions are in `conv2d`, also those with several output channels per input channel (a
//! depth multiplier).

mod blocked;
mod taps;

use crate::activation::activate_serial;
use crate::chunks::{check_len, column_sums};
use crate::simd::Isa;
use crate::{Activation, Conv2dShape};
use blocked::Blocked;
use taps::{Taps, add_products, gather};

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
        if let Some(blocked) = Blocked::new(Isa::current(), s) {
            return blocked.run(x, w, bias, activation, y);
        }
        gather(&Taps::forward(s), s.in_c, [s.in_h, s.in_w], [s.out_h, s.out_w], x, w, y, |row| {
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
        if let Some(blocked) = Blocked::of_input_gradient(Isa::current(), s) {
            return blocked.run(dy, &rotated(w, s.in_c), None, Activation::Linear, dx);
        }
        gather(&Taps::backward(s), s.in_c, [s.out_h, s.out_w], [s.in_h, s.in_w], dy, w, dx, |_| {});
    }

    /// The gradient with respect to `w`. `dy` is the gradient with respect to the output before bias and activation.
    pub fn kernel_gradient(&self, x: &[f32], dy: &[f32], dw: &mut [f32]) {
        self.check(x, dw, dy);
        let s = &self.shape;
        let (isa, taps) = (Isa::current(), Taps::forward(s));
        let sums = column_sums(s.in_c, s.batch * s.out_h, s.kernel[0] * s.kernel[1], |row, sums| {
            let dy = &dy[row * s.out_w * s.in_c..][..s.out_w * s.in_c];
            let (image, row) = (row / s.out_h, row % s.out_h);
            let x = &x[image * s.in_h * s.in_w * s.in_c..];
            taps.rows[row].iter().for_each(|&(tap, from)| {
                let x = &x[from * s.in_w * s.in_c..][..s.in_w * s.in_c];
                let sums = &mut sums[tap * s.kernel[1] * s.in_c..][..s.kernel[1] * s.in_c];
                isa.run_plain(
                    #[inline(always)]
                    || add_products(&taps.columns, s.in_c, x, dy, sums),
                );
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

/// The kernel rotated by 180 degrees: the input gradient of stride 1 is a convolution with it.
fn rotated(w: &[f32], channels: usize) -> Vec<f32> {
    w.chunks_exact(channels).rev().flatten().copied().collect()
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
            // Full blocks of channels and a remainder.
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

    /// Shapes of the register-blocked loop: rows of fewer outputs than a block, of whole blocks and of a remainder; paddings of
    /// each side; channels that don't fill vectors or are divided among tasks.
    fn blocked_shapes() -> Vec<Conv2dShape> {
        let plain = [1, 1];
        let sizes = [[1, 1, 1, 1], [2, 3, 4, 5], [1, 7, 7, 260], [2, 9, 16, 16], [1, 14, 15, 33], [1, 4, 41, 70]];
        let mut shapes = Vec::new();
        for [batch, h, w, channels] in sizes {
            for (kernel, stride) in [(3, 1), (3, 2), (5, 1), (5, 2)] {
                for pad in [0, 1, kernel - 1, kernel + 2].into_iter().filter(|pad| h.min(w) + pad >= kernel) {
                    let image = [batch, h, w, channels];
                    shapes.push(shape(image, [kernel; 2], [stride; 2], plain, [pad; 2]));
                }
            }
        }
        shapes
    }

    fn pixels(s: &Conv2dShape) -> [usize; 3] {
        [s.batch * s.in_h * s.in_w * s.in_c, s.kernel[0] * s.kernel[1] * s.in_c, s.batch * s.out_h * s.out_w * s.in_c]
    }

    #[test]
    fn blocks_of_every_instruction_set_agree_with_the_reference() {
        for s in blocked_shapes() {
            let [x_len, w_len, y_len] = pixels(&s);
            let (x, w, dy, bias) = (integers(x_len, 1), integers(w_len, 2), integers(y_len, 3), integers(s.in_c, 4));
            let sums = reference::conv2d(&s, &x, &w);
            let dx_expected = to_f32(&reference::conv2d_input_gradient(&s, &dy, &w));
            for isa in Isa::tested() {
                for (bias, activation) in [(None, Activation::Linear), (Some(&bias[..]), Activation::Relu6)] {
                    let mut expected = to_f32(&sums);
                    expected.iter_mut().enumerate().for_each(|(i, y)| *y += bias.map_or(0.0, |bias| bias[i % s.in_c]));
                    activate_serial(activation, &mut expected);
                    let mut y = vec![f32::NAN; y_len];
                    Blocked::new(isa, &s).unwrap().run(&x, &w, bias, activation, &mut y);
                    assert!(y == expected, "{} {s:?}", isa.name());
                }
                if let Some(blocked) = Blocked::of_input_gradient(isa, &s) {
                    let mut dx = vec![f32::NAN; x_len];
                    blocked.run(&dy, &rotated(&w, s.in_c), None, Activation::Linear, &mut dx);
                    assert!(dx == dx_expected, "{}: dx of {s:?}", isa.name());
                }
            }
        }
    }

    #[test]
    fn what_is_not_a_number_stays_so() {
        let s = shape([1, 6, 9, 20], [3, 3], [1, 1], [1, 1], [2, 2]);
        let [x_len, w_len, y_len] = pixels(&s);
        let mut x = uniform(x_len, 1);
        x[(2 * 9 + 4) * 20 + 7] = f32::NAN;
        let mut y = vec![0.0; y_len];
        Depthwise::new(&s).unwrap().forward(&x, &uniform(w_len, 2), None, Activation::Relu6, &mut y);
        let reached: Vec<usize> = (0..y_len).filter(|&i| y[i].is_nan()).collect();
        let window = (1..4).flat_map(|row| (3..6).map(move |column| (row * 9 + column) * 20 + 7));
        assert_eq!(reached, window.collect::<Vec<_>>());
    }

    #[test]
    fn all_three_agree_with_the_reference() {
        for s in shapes().into_iter().chain(blocked_shapes()) {
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
