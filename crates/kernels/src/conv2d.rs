//! 2-D convolution: [`Conv2d`], one interface to several algorithms ([`algorithm`]), of which [`choose`] picks the fastest.

mod algorithm;
mod bf16;
#[cfg(test)]
mod cases;
mod choose;
mod direct;
mod direction;
mod epilogue;
mod gradients;
mod im2col;
mod im2col_strips;
mod patches;
mod pointwise;
mod pooling;
mod prepared;
mod rows;
mod scratch;
#[cfg(test)]
mod tests;
mod winograd;

use self::algorithm::Algorithm;
use self::choose::Im2colGradients;
use self::epilogue::Epilogue;
pub use self::prepared::PreparedKernel;
use crate::chunks::check_len;
use crate::simd::Isa;
use crate::{Activation, Conv2dShape};

/// A convolution of one shape, computed by the fastest algorithm for that shape.
///
/// All calls need a `scratch` buffer of [`scratch_len`](Self::scratch_len) values. No call expects or preserves its content, so
/// many layers can share one buffer.
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
///
/// // The gradients, for a gradient of 1 with respect to each output.
/// let (dy, mut dx, mut dw) = ([1.0, 1.0], [0.0; 6], [0.0; 4]);
/// conv.input_gradient(&dy, &w, &mut dx, &mut scratch);
/// conv.kernel_gradient(&x, &dy, &mut dw, &mut scratch);
/// assert_eq!((dx, dw), ([1.0, 1.0, 0.0, 0.0, -1.0, -1.0], [3.0, 5.0, 9.0, 11.0]));
/// ```
#[derive(Clone, Debug)]
pub struct Conv2d {
    shape: Conv2dShape,
    algorithm: Algorithm,
    im2col_gradients: Im2colGradients,
    /// Whether outputs are max-pooled in windows of 2x2.
    pool: bool,
}

impl Conv2d {
    /// A convolution of `shape` in f32, by the fastest algorithm.
    ///
    /// # Panics
    /// If the sizes of `shape` contradict each other.
    pub fn new(shape: Conv2dShape) -> Self {
        shape.check();
        let algorithm = choose::in_f32(Isa::current(), shape);
        let im2col_gradients = match algorithm {
            Algorithm::Winograd(_) => Im2colGradients::beside_winograd(&shape),
            _ => Im2colGradients::default(),
        };
        Self { im2col_gradients, ..Self::with_algorithm(shape, algorithm) }
    }

    /// A convolution whose forward pass and gradients are all computed by `algorithm`.
    fn with_algorithm(shape: Conv2dShape, algorithm: Algorithm) -> Self {
        Self { shape, algorithm, im2col_gradients: Im2colGradients::default(), pool: false }
    }

    /// A convolution of `shape` by im2col, although another algorithm may be faster.
    ///
    /// Im2col computes every shape. It is the baseline that the other algorithms are compared with.
    ///
    /// ```
    /// use engraft_kernels::{Conv2d, Conv2dShape};
    /// let shape = Conv2dShape {
    ///     batch: 1, in_h: 8, in_w: 8, in_c: 24, out_c: 24, kernel: [3, 3], stride: [1, 1], dilation: [1, 1], pad: [1, 1],
    ///     out_h: 8, out_w: 8, groups: 1,
    /// };
    /// assert_eq!(Conv2d::by_im2col(shape).algorithm(), "im2col");
    /// assert_eq!(Conv2d::new(shape).algorithm(), "winograd");
    /// ```
    pub fn by_im2col(shape: Conv2dShape) -> Self {
        shape.check();
        Self::with_algorithm(shape, Algorithm::im2col(shape))
    }

    /// Height of the outputs, before pooling.
    pub fn out_h(&self) -> usize {
        self.shape.out_h
    }

    /// Number of output values of the forward pass, after pooling.
    pub fn output_len(&self) -> usize {
        let Conv2dShape { batch, out_h, out_w, out_c, .. } = self.shape;
        if self.pool { batch * (out_h / 2) * (out_w / 2) * out_c } else { self.shape.y_len() }
    }

    /// The name of the algorithm: `im2col`, `strips`, `pointwise`, `winograd` or, in bf16, `direct`.
    pub fn algorithm(&self) -> &'static str {
        self.algorithm.name()
    }

    /// The forward pass: `y = activation(x * w + bias)`, with `bias` `[out_c]`.
    ///
    /// # Panics
    /// If the length of a slice doesn't match the shape of this convolution.
    pub fn forward(
        &self,
        x: &[f32],
        w: &[f32],
        bias: Option<&[f32]>,
        activation: Activation,
        y: &mut [f32],
        scratch: &mut [f32],
    ) {
        check_len("input", x, self.shape.x_len());
        check_len("kernel", w, self.shape.w_len());
        check_len("output", y, self.output_len());
        if let Some(bias) = bias {
            check_len("bias", bias, self.shape.out_c);
        }
        let epilogue = self.epilogue(bias, activation);
        match &self.algorithm {
            Algorithm::Im2col(im2col) => im2col.forward(x, w, bias, activation, y, scratch),
            Algorithm::Strips(strips) => strips.forward(x, w, bias, activation, y, scratch),
            Algorithm::Pointwise(pointwise) => pointwise.forward(x, w, epilogue, y, scratch),
            Algorithm::Winograd(winograd) => winograd.forward(x, w, epilogue, y, scratch),
            Algorithm::Direct(direct, _) => direct.forward(x, w, epilogue, y, scratch),
        }
    }

    fn epilogue<'a>(&self, bias: Option<&'a [f32]>, activation: Activation) -> Epilogue<'a> {
        Epilogue { bias, activation, pool: self.pool }
    }

    fn check_lengths(&self, x: &[f32], w: &[f32], y: &[f32]) {
        check_len("input", x, self.shape.x_len());
        check_len("kernel", w, self.shape.w_len());
        check_len("output", y, self.shape.y_len());
    }
}
