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
