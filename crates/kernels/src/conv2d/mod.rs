//! 2-D convolution: one door ([`Conv2d`]) to several algorithms.

mod im2col;
mod patches;

use crate::Activation;
use crate::chunks::check_len;
use im2col::Im2col;

/// Shapes of a 2-D convolution: `x` `[batch, in_h, in_w, in_c]`, kernel `[kernel[0], kernel[1], in_c / groups, out_c]`,
/// `y` `[batch, out_h, out_w, out_c]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv2dShape {
    /// Images.
    pub batch: usize,
    /// Input height in pixels.
    pub in_h: usize,
    /// Input width in pixels.
    pub in_w: usize,
    /// Input channels, a multiple of `groups`.
    pub in_c: usize,
    /// Output channels (filters), a multiple of `groups`.
    pub out_c: usize,
    /// Height and width of the kernel.
    pub kernel: [usize; 2],
    /// Distance between windows, down and across.
    pub stride: [usize; 2],
    /// Distance between the kernel's taps, down and across; 1 for an ordinary convolution.
    pub dilation: [usize; 2],
    /// Zeros at the top and left; at the bottom and right they follow from the output size.
    pub pad: [usize; 2],
    /// Output height in pixels.
    pub out_h: usize,
    /// Output width in pixels.
    pub out_w: usize,
    /// Group g of the output channels sees group g of the input channels only; 1 for an ordinary convolution.
    pub groups: usize,
}

impl Conv2dShape {
    /// Values in the input.
    fn x_len(&self) -> usize {
        self.batch * self.in_h * self.in_w * self.in_c
    }

    /// Values in the kernel.
    fn w_len(&self) -> usize {
        self.kernel[0] * self.kernel[1] * self.in_c / self.groups * self.out_c
    }

    /// Values in the output.
    fn y_len(&self) -> usize {
        self.batch * self.out_h * self.out_w * self.out_c
    }

    /// Whether every output pixel is computed from the input pixel at the same place alone.
    fn is_pointwise(&self) -> bool {
        self.kernel == [1, 1]
            && self.stride == [1, 1]
            && self.pad == [0, 0]
            && [self.in_h, self.in_w] == [self.out_h, self.out_w]
    }

    fn check(&self) {
        let sizes = [self.kernel, self.stride, self.dilation, [self.in_c, self.out_c]];
        assert!(!sizes.as_flattened().contains(&0), "sizes other than the batch's must not be zero: {self:?}");
        let grouped =
            self.groups > 0 && self.in_c.is_multiple_of(self.groups) && self.out_c.is_multiple_of(self.groups);
        assert!(grouped, "groups must divide the channels: {self:?}");
    }
}

/// A convolution of one shape, with the algorithm that suits it.
///
/// All calls use a `scratch` of [`scratch_len`](Self::scratch_len) values, whose content does not matter before or after; one
/// buffer may serve many layers.
///
/// ```
/// use engraft_kernels::{Activation, Conv2d, Conv2dShape};
/// // One 2x2 filter over one image of 2 x 3 pixels with one channel.
/// let conv = Conv2d::new(Conv2dShape {
///     batch: 1, in_h: 2, in_w: 3, in_c: 1, out_c: 1, kernel: [2, 2], stride: [1, 1], dilation: [1, 1], pad: [0, 0],
///     out_h: 1, out_w: 2, groups: 1,
/// });
/// let (x, w) = ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [1.0, 0.0, 0.0, -1.0]);
/// let mut scratch = vec![0.0; conv.scratch_len()];
/// let mut y = [0.0; 2];
/// conv.forward(&x, &w, Some(&[10.0]), Activation::Relu, &mut y, &mut scratch);
/// assert_eq!(y, [6.0, 6.0]);
/// ```
#[derive(Clone, Debug)]
pub struct Conv2d {
    shape: Conv2dShape,
    algorithm: Algorithm,
}

/// What computes a convolution. Another algorithm is another variant with the same four calls.
#[derive(Clone, Debug)]
enum Algorithm {
    /// Patches of pixels times the kernel as a matrix, for every shape.
    Im2col(Im2col),
}

/// The one place that chooses between algorithms.
fn choose(shape: Conv2dShape) -> Algorithm {
    Algorithm::Im2col(Im2col::new(shape))
}

impl Conv2d {
    /// Prepares a convolution of `shape`.
    pub fn new(shape: Conv2dShape) -> Self {
        shape.check();
        Self { shape, algorithm: choose(shape) }
    }

    /// How many values of scratch each of the calls below needs in the ambient pool.
    pub fn scratch_len(&self) -> usize {
        match &self.algorithm {
            Algorithm::Im2col(im2col) => im2col.scratch_len(rayon::current_num_threads()),
        }
    }

    /// `y = activation(x * w + bias)`, with `bias` `[out_c]`.
    pub fn forward(
        &self,
        x: &[f32],
        w: &[f32],
        bias: Option<&[f32]>,
        activation: Activation,
        y: &mut [f32],
        scratch: &mut [f32],
    ) {
        self.check(x, w, y);
        if let Some(bias) = bias {
            check_len("bias", bias, self.shape.out_c);
        }
        match &self.algorithm {
            Algorithm::Im2col(im2col) => im2col.forward(x, w, bias, activation, y, scratch),
        }
    }

    /// The gradient with respect to `x`, from the one with respect to the convolution's output before bias and activation.
    pub fn input_gradient(&self, dy: &[f32], w: &[f32], dx: &mut [f32], scratch: &mut [f32]) {
        self.check(dx, w, dy);
        match &self.algorithm {
            Algorithm::Im2col(im2col) => im2col.input_gradient(dy, w, dx, scratch),
        }
    }

    /// The gradient with respect to `w`, from the one with respect to the convolution's output before bias and activation.
    pub fn kernel_gradient(&self, x: &[f32], dy: &[f32], dw: &mut [f32], scratch: &mut [f32]) {
        self.check(x, dw, dy);
        match &self.algorithm {
            Algorithm::Im2col(im2col) => im2col.kernel_gradient(x, dy, dw, scratch),
        }
    }

    fn check(&self, x: &[f32], w: &[f32], y: &[f32]) {
        check_len("input", x, self.shape.x_len());
        check_len("kernel", w, self.shape.w_len());
        check_len("output", y, self.shape.y_len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference;
    use crate::testing::{assert_same_for_any_threads, integers, to_f32, uniform};

    /// A convolution over `batch` images `[h, w, in_c]` whose output size follows from a total padding of `pad` per axis.
    fn shape(
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

    fn shapes() -> Vec<Conv2dShape> {
        let plain = [1, 1];
        vec![
            shape([1, 1, 1, 1], 1, plain, plain, plain, [0, 0], 1),
            shape([2, 5, 6, 3], 4, [3, 3], plain, plain, [2, 2], 1),
            // 273 pixels cross a tile of 256 rows; channels that are no multiple of a vector
            shape([1, 13, 21, 17], 19, [3, 3], plain, plain, [2, 2], 1),
            shape([3, 17, 16, 8], 70, plain, plain, plain, [0, 0], 1),
            shape([2, 9, 8, 5], 6, plain, [2, 2], plain, [0, 0], 1),
            // TensorFlow's "same" with stride 2 pads below and right only where the total is odd
            shape([2, 8, 9, 3], 5, [3, 3], [2, 2], plain, [1, 2], 1),
            shape([1, 12, 11, 4], 3, [5, 2], [3, 1], plain, [4, 1], 1),
            shape([1, 12, 11, 4], 3, [3, 3], plain, [2, 3], [4, 6], 1),
            shape([1, 9, 9, 2], 2, [3, 3], [2, 2], [2, 2], [0, 0], 1),
            shape([2, 7, 7, 6], 4, [3, 3], plain, plain, [2, 2], 2),
            shape([2, 7, 7, 6], 12, plain, plain, plain, [0, 0], 3),
            // groups wider than a tile's least side
            shape([1, 5, 5, 140], 146, plain, plain, plain, [0, 0], 2),
            // depthwise, with a multiplier of 2
            shape([1, 6, 7, 5], 10, [3, 3], [2, 2], plain, [2, 2], 5),
            // more columns than one gradient tile of 512 rows, few pixels
            shape([1, 2, 2, 130], 33, [2, 2], plain, plain, [1, 1], 1),
        ]
    }

    #[test]
    fn forward_agrees_with_the_reference() {
        for shape in shapes() {
            let (x, w, bias) = (integers(shape.x_len(), 1), integers(shape.w_len(), 2), integers(shape.out_c, 3));
            let mut expected = to_f32(&reference::conv2d(&shape, &x, &w));
            expected.iter_mut().enumerate().for_each(|(i, y)| *y = (*y + bias[i % shape.out_c]).max(0.0));
            let conv = Conv2d::new(shape);
            let (mut y, mut scratch) = (vec![f32::NAN; shape.y_len()], vec![f32::NAN; conv.scratch_len()]);
            conv.forward(&x, &w, Some(&bias), Activation::Relu, &mut y, &mut scratch);
            assert_eq!(y, expected, "{shape:?}");
        }
    }

    #[test]
    fn gradients_agree_with_the_reference() {
        for shape in shapes() {
            let (x, w, dy) = (integers(shape.x_len(), 1), integers(shape.w_len(), 2), integers(shape.y_len(), 3));
            let conv = Conv2d::new(shape);
            let mut scratch = vec![f32::NAN; conv.scratch_len()];
            let mut dx = vec![f32::NAN; shape.x_len()];
            conv.input_gradient(&dy, &w, &mut dx, &mut scratch);
            assert_eq!(dx, to_f32(&reference::conv2d_input_gradient(&shape, &dy, &w)), "dx of {shape:?}");
            let mut dw = vec![f32::NAN; shape.w_len()];
            conv.kernel_gradient(&x, &dy, &mut dw, &mut scratch);
            assert_eq!(dw, to_f32(&reference::conv2d_kernel_gradient(&shape, &x, &dy)), "dw of {shape:?}");
        }
    }

    #[test]
    fn same_bits_for_any_number_of_threads() {
        let shape = shape([2, 30, 20, 9], 12, [3, 3], [1, 1], [1, 1], [2, 2], 1);
        let (x, w, dy) = (uniform(shape.x_len(), 1), uniform(shape.w_len(), 2), uniform(shape.y_len(), 3));
        let conv = Conv2d::new(shape);
        assert_same_for_any_threads(|| {
            let mut scratch = vec![0.0; conv.scratch_len()];
            let mut results = [vec![0.0; shape.y_len()], vec![0.0; shape.x_len()], vec![0.0; shape.w_len()]];
            let [y, dx, dw] = &mut results;
            conv.forward(&x, &w, None, Activation::Linear, y, &mut scratch);
            conv.input_gradient(&dy, &w, dx, &mut scratch);
            conv.kernel_gradient(&x, &dy, dw, &mut scratch);
            results.concat()
        });
    }

    #[test]
    fn an_empty_batch_gives_a_zero_kernel_gradient() {
        let shape = shape([0, 4, 4, 2], 3, [3, 3], [1, 1], [1, 1], [2, 2], 1);
        let conv = Conv2d::new(shape);
        let mut scratch = vec![0.0; conv.scratch_len()];
        let w = vec![1.0; shape.w_len()];
        let mut dw = vec![f32::NAN; shape.w_len()];
        conv.forward(&[], &w, None, Activation::Linear, &mut [], &mut scratch);
        conv.input_gradient(&[], &w, &mut [], &mut scratch);
        conv.kernel_gradient(&[], &[], &mut dw, &mut scratch);
        assert_eq!(dw, vec![0.0; shape.w_len()]);
    }

    #[test]
    #[should_panic(expected = "groups must divide the channels")]
    fn groups_must_divide_the_channels() {
        Conv2d::new(shape([1, 4, 4, 3], 4, [3, 3], [1, 1], [1, 1], [2, 2], 2));
    }
}
