//! Depthwise convolution: every channel by a small kernel of its own (Sifre 2014; Howard et al. 2017).
//!
//! Each output is a sum of a few products of neighbouring pixels, channel by channel: there is no matrix product in it, and
//! patches would only be copied. Forward and input gradient are one loop ([`gather`]) over different [`Taps`].

use rayon::prelude::*;

use crate::activation::activate_serial;
use crate::chunks::{check_len, column_sums};
use crate::{Activation, Conv2dShape};

/// Channels summed at once, in registers: eight of four floats.
const LANES: usize = 32;

/// A depthwise convolution of one shape with one output channel for each input channel: kernel `[kernel[0], kernel[1], channels]`.
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
/// ```
#[derive(Clone, Debug)]
pub struct Depthwise {
    shape: Conv2dShape,
}

impl Depthwise {
    /// The convolution of this shape; `None` where it isn't depthwise with one output for each channel.
    pub fn new(shape: &Conv2dShape) -> Option<Self> {
        let depthwise = shape.in_c > 0 && shape.groups == shape.in_c && shape.out_c == shape.in_c;
        depthwise.then_some(Self { shape: *shape })
    }

    /// `y = activation(x * w + bias)`, with `bias` `[channels]`.
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

    /// The gradient with respect to `x`, from the one with respect to the convolution's output before bias and activation.
    pub fn input_gradient(&self, dy: &[f32], w: &[f32], dx: &mut [f32]) {
        self.check(dx, w, dy);
        let s = &self.shape;
        gather(&Taps::backward(s), s.in_c, [s.out_h, s.out_w], [s.in_h, s.in_w], dy, w, dx, |_| {});
    }

    /// The gradient with respect to `w`, from the one with respect to the convolution's output before bias and activation.
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

/// For each position along an axis, which taps of the kernel reach which positions on the other side.
type Reach = Vec<Vec<(usize, usize)>>;

/// The taps that each pixel sums over, by row and by column.
struct Taps {
    rows: Reach,
    columns: Reach,
    /// Taps in a row of the kernel.
    width: usize,
}

impl Taps {
    /// For every output pixel, the input pixels in its window.
    fn forward(s: &Conv2dShape) -> Self {
        let axis = |axis: usize, from: usize, to: usize| -> Reach {
            let reach = |at: usize| {
                let place = |tap: usize| (at * s.stride[axis] + tap * s.dilation[axis]).checked_sub(s.pad[axis]);
                (0..s.kernel[axis]).filter_map(|tap| Some((tap, place(tap).filter(|&place| place < from)?))).collect()
            };
            (0..to).map(reach).collect()
        };
        Self { rows: axis(0, s.in_h, s.out_h), columns: axis(1, s.in_w, s.out_w), width: s.kernel[1] }
    }

    /// For every input pixel, the output pixels whose windows hold it.
    fn backward(s: &Conv2dShape) -> Self {
        let forward = Self::forward(s);
        let turned = |reach: Reach, length: usize| {
            let mut turned: Reach = vec![Vec::new(); length];
            for (to, taps) in reach.into_iter().enumerate() {
                taps.into_iter().for_each(|(tap, from)| turned[from].push((tap, to)));
            }
            turned
        };
        Self { rows: turned(forward.rows, s.in_h), columns: turned(forward.columns, s.in_w), width: s.kernel[1] }
    }
}

/// `to[pixel] = sum of from[other pixel] * w[tap]` over the pixel's taps; then `finish` for each whole row.
#[expect(clippy::too_many_arguments, reason = "two images, a kernel, and their sizes")]
fn gather(
    taps: &Taps,
    channels: usize,
    [from_h, from_w]: [usize; 2],
    [to_h, to_w]: [usize; 2],
    from: &[f32],
    w: &[f32],
    to: &mut [f32],
    finish: impl Fn(&mut [f32]) + Sync,
) {
    to.par_chunks_mut((to_w * channels).max(1)).enumerate().for_each(|(row, to)| {
        let image = &from[row / to_h * from_h * from_w * channels..][..from_h * from_w * channels];
        let mut places = Vec::new();
        for (pixel, columns) in to.chunks_exact_mut(channels).zip(&taps.columns) {
            places.clear();
            for &(tap_row, row) in &taps.rows[row % to_h] {
                let place = |&(tap, column)| (row * from_w + column, tap_row * taps.width + tap);
                places.extend(columns.iter().map(place).map(|(pixel, tap)| (pixel * channels, tap * channels)));
            }
            sum_products(&places, image, w, pixel);
        }
        finish(to);
    });
}

/// `y[c] = sum over places (i, j) of x[i + c] * w[j + c]`.
fn sum_products(places: &[(usize, usize)], x: &[f32], w: &[f32], y: &mut [f32]) {
    let mut blocks = y.chunks_exact_mut(LANES);
    let mut start = 0;
    for y in &mut blocks {
        let mut sums = [0.0; LANES];
        for &(i, j) in places {
            let (x, w) = (&x[i + start..][..LANES], &w[j + start..][..LANES]);
            sums.iter_mut().zip(x.iter().zip(w)).for_each(|(sum, (x, w))| *sum += x * w);
        }
        y.copy_from_slice(&sums);
        start += LANES;
    }
    let rest = blocks.into_remainder();
    rest.fill(0.0);
    for &(i, j) in places {
        rest.iter_mut().zip(x[i + start..].iter().zip(&w[j + start..])).for_each(|(y, (x, w))| *y += x * w);
    }
}

/// Adds one output row's share of one kernel row's gradient: `sums[tap, c] += x[pixel, c] * dy[pixel', c]`.
fn add_products(columns: &Reach, channels: usize, x: &[f32], dy: &[f32], sums: &mut [f32]) {
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

    /// A convolution over `batch` images `[h, w, channels]` with a total padding of `pad` an axis, the odd one below and right.
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
            // whole blocks of channels and a rest
            shape([2, 9, 7, 70], [3, 3], plain, plain, [2, 2]),
            shape([1, 4, 4, 64], [3, 3], plain, plain, [0, 0]),
            // Keras' MobileNet: padded below and right only, then stride 2
            shape([3, 8, 9, 33], [3, 3], [2, 2], plain, [1, 1]),
            shape([1, 12, 11, 4], [5, 2], [3, 1], plain, [4, 1]),
            shape([1, 12, 11, 4], [3, 3], plain, [2, 3], [4, 6]),
            // windows farther apart than they are wide leave pixels that nothing reads
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
        // Linear in each value, so a step as large as the values costs nothing: what is left is the rounding of f32 outputs.
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
        // Nine products below 1, each sum rounded to 6e-8 of at most 9.
        assert_close(&direct, &patches, 1e-6);
    }

    #[test]
    fn other_shapes_are_left_to_others() {
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
