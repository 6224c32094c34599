//! 2-D convolution: one door ([`Conv2d`]) to several algorithms.

mod direct;
mod direction;
mod finish;
mod im2col;
mod patches;
mod shape;
mod strips;
mod winograd;

pub use shape::Conv2dShape;

use std::ops::Range;

use crate::Activation;
use crate::aligned::AlignedVec;
use crate::chunks::check_len;
use crate::simd::{Bf16, Isa};
use direct::Direct;
use finish::After;
use im2col::Im2col;
use strips::Strips;
use winograd::Winograd;

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
    /// Which gradients are im2col's all the same.
    im2col: Differentiated,
    /// Whether the greatest of each 2x2 outputs is all that is written.
    pool: bool,
}

/// A kernel as its convolution's algorithm wants it, for [`Conv2d::forward_prepared`]: worth its memory (four times the
/// kernel's for 3x3; in bf16 twice, or half where a matrix unit does the products) where a kernel that does not change is used
/// many times.
#[derive(Debug)]
pub struct PreparedKernel(AlignedVec);

/// What computes a convolution. Another algorithm is another variant with the same calls.
#[derive(Clone, Debug)]
enum Algorithm {
    /// Patches of pixels times the kernel as a matrix, for every shape.
    Im2col(Box<Im2col>),
    /// The same with patches that overlap in memory, for images with few channels.
    Strips(Strips),
    /// Products at the points of a transform, for 3x3 of stride 1.
    Winograd(Winograd),
    /// Products of shifted images by a matrix unit for bf16; and the algorithm in f32 that computes the gradient by the kernel.
    Direct(Direct, Box<Algorithm>),
}

/// Chooses between algorithms in f32, as [`differentiates_by_im2col`] does for gradients: no other place does.
fn choose(isa: Isa, shape: Conv2dShape) -> Algorithm {
    if prefers_winograd(&shape) {
        Algorithm::Winograd(Winograd::new(isa, shape))
    } else if prefers_strips(&shape) {
        Algorithm::Strips(Strips::new(shape))
    } else {
        Algorithm::Im2col(Box::new(Im2col::new(shape)))
    }
}

fn prefers_strips(shape: &Conv2dShape) -> bool {
    // With more channels gathering costs little.
    const MOST_CHANNELS: usize = 7;
    // Every row of outputs is a product of its own.
    const LEAST_OUTPUTS: usize = 24;
    Strips::can(shape) && shape.kernel[1] > 1 && shape.in_c <= MOST_CHANNELS && shape.out_w >= LEAST_OUTPUTS
}

fn prefers_winograd(shape: &Conv2dShape) -> bool {
    // Where a tile is all there is of an image, or most of its pixels are none of the image's, products are as many as directly.
    const LEAST_TILES: usize = 2;
    const LEAST_PIXELS: usize = 9;
    // With fewer channels, transforms cost more than the products they save; with few, on small images, everything else does.
    const LEAST_CHANNELS: usize = 8;
    const FEW_CHANNELS: usize = 24;
    const LEAST_TILES_OF_FEW: usize = 20;
    let (channels, tiles) = (shape.in_c.min(shape.out_c), Winograd::tiles_of_image(shape));
    let least = if channels < FEW_CHANNELS { LEAST_TILES_OF_FEW } else { LEAST_TILES };
    Winograd::can(shape)
        && channels >= LEAST_CHANNELS
        && tiles >= least
        && shape.out_h * shape.out_w >= LEAST_PIXELS * tiles
}

/// Whether a matrix unit for bf16, where there is one, does a convolution faster than vectors do in f32. Of 467 shapes beyond
/// these bounds, kernels of 1x1 to 5x5, six were slower on an Intel Xeon, the mean 3.2 times as fast; of 920 within, 607 were.
fn prefers_direct(shape: &Conv2dShape) -> bool {
    // Images are multiplied 32 pixels at a time ...
    const LEAST_PIXELS: usize = 25;
    // ... and channels at each tap are filled up to 32.
    const LEAST_DEPTH: usize = 128;
    Direct::can(shape)
        && shape.out_h * shape.out_w >= LEAST_PIXELS
        && shape.kernel.iter().product::<usize>() * shape.in_c >= LEAST_DEPTH
}

/// Which gradients of Winograd's convolutions are im2col's: where there are so few tiles in a batch that taking filters to the
/// points takes longer than all the rest.
fn differentiates_by_im2col(shape: &Conv2dShape) -> Differentiated {
    // 14 x 14 pixels of 64 channels: 0.8 times as fast as im2col.
    const FEW_TILES: usize = 20;
    // The sums at the points are written to memory and read again ...
    const LARGE_KERNEL: usize = 1 << 17;
    const FEW_TILES_OF_LARGE: usize = 40;
    // ... or they are so few that a tile of products has more rows than there are.
    const LEAST_CHANNELS: usize = 12;
    let tiles = shape.batch * Winograd::tiles_of_image(shape);
    Differentiated {
        by_input: tiles <= FEW_TILES,
        by_kernel: shape.in_c.min(shape.out_c) < LEAST_CHANNELS
            || shape.in_c * shape.out_c >= LARGE_KERNEL && tiles < FEW_TILES_OF_LARGE,
    }
}

/// Which gradients are computed by im2col, though another algorithm computes the convolution.
#[derive(Clone, Copy, Debug, Default)]
struct Differentiated {
    by_input: bool,
    by_kernel: bool,
}

impl Algorithm {
    /// The same for another shape.
    fn of_shape(&self, shape: Conv2dShape) -> Self {
        match self {
            Self::Im2col(_) => Self::Im2col(Box::new(Im2col::new(shape))),
            Self::Strips(_) => Self::Strips(Strips::new(shape)),
            Self::Winograd(winograd) => Self::Winograd(winograd.of_shape(shape)),
            Self::Direct(direct, in_f32) => Self::Direct(direct.of_shape(shape), Box::new(in_f32.of_shape(shape))),
        }
    }
}

impl Conv2d {
    /// Prepares a convolution of `shape`.
    pub fn new(shape: Conv2dShape) -> Self {
        shape.check();
        let algorithm = choose(Isa::current(), shape);
        let im2col = match algorithm {
            Algorithm::Winograd(_) => differentiates_by_im2col(&shape),
            _ => Differentiated::default(),
        };
        Self { im2col, ..Self::by(shape, algorithm) }
    }

    /// By one algorithm, gradients as well.
    fn by(shape: Conv2dShape, algorithm: Algorithm) -> Self {
        Self { shape, algorithm, im2col: Differentiated::default(), pool: false }
    }

    /// A convolution of `shape` by im2col, which every shape has, though another algorithm may be faster: what others are
    /// compared with.
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
        Self::by(shape, Algorithm::Im2col(Box::new(Im2col::new(shape))))
    }

    /// The same with products of bf16, which has the range of f32 and eight bits of its precision; sums are f32. 3x3 convolutions
    /// of stride 1 have them, forward and, unless there are but a few tiles, by the input; where the CPU has a matrix unit for bf16,
    /// all convolutions of stride 1 that aren't too small for it, whatever the kernel. To others this makes no difference.
    ///
    /// ```
    /// use engraft_kernels::{Activation, Bf16, Conv2d, Conv2dShape};
    /// let Ok(bf16) = Bf16::detect() else { return };
    /// let shape = Conv2dShape {
    ///     batch: 1, in_h: 8, in_w: 8, in_c: 24, out_c: 24, kernel: [3, 3], stride: [1, 1], dilation: [1, 1], pad: [1, 1],
    ///     out_h: 8, out_w: 8, groups: 1,
    /// };
    /// let conv = Conv2d::new(shape).in_bf16(bf16);
    /// let (x, w, mut scratch) = (vec![1.0; 8 * 8 * 24], vec![0.5; 9 * 24 * 24], vec![0.0; conv.scratch_len()]);
    /// let mut y = vec![0.0; 8 * 8 * 24];
    /// conv.forward(&x, &w, None, Activation::Linear, &mut y, &mut scratch);
    /// assert!((y[0] - 4.0 * 24.0 * 0.5).abs() < 0.5);
    /// ```
    #[must_use]
    pub fn in_bf16(self, bf16: Bf16) -> Self {
        let algorithm = match (self.algorithm, bf16.amx()) {
            (in_f32, Some(amx)) if prefers_direct(&self.shape) => {
                Algorithm::Direct(Direct::new(bf16, amx, self.shape), Box::new(in_f32))
            }
            (Algorithm::Winograd(_), _) => Algorithm::Winograd(Winograd::in_bf16(bf16, self.shape)),
            (in_f32, _) => in_f32,
        };
        Self { algorithm, ..self }
    }

    /// The convolution and, after it, max pooling in windows of 2x2 side by side: outputs are `[batch, out_h / 2, out_w / 2,
    /// out_c]`, and what is pooled is never written. Forward only; for shapes that [can](Conv2dShape::can_pool), and activations
    /// that never fall.
    ///
    /// ```
    /// use engraft_kernels::{Activation, Conv2d, Conv2dShape};
    /// let shape = Conv2dShape {
    ///     batch: 1, in_h: 8, in_w: 8, in_c: 24, out_c: 24, kernel: [3, 3], stride: [1, 1], dilation: [1, 1], pad: [1, 1],
    ///     out_h: 8, out_w: 8, groups: 1,
    /// };
    /// assert!(shape.can_pool());
    /// let conv = Conv2d::new(shape).pooled();
    /// let (x, w, mut scratch) = (vec![1.0; 8 * 8 * 24], vec![0.5; 9 * 24 * 24], vec![0.0; conv.scratch_len()]);
    /// let mut y = vec![0.0; 4 * 4 * 24];
    /// conv.forward(&x, &w, None, Activation::Relu, &mut y, &mut scratch);
    /// assert!((y[0] - 9.0 * 24.0 * 0.5).abs() < 1e-3);
    /// ```
    ///
    /// # Panics
    /// Where the shape can't.
    #[must_use]
    pub fn pooled(self) -> Self {
        let can = matches!(self.algorithm, Algorithm::Winograd(_) | Algorithm::Direct(..));
        assert!(can, "outputs of {:?} can't be pooled", self.shape);
        Self { pool: true, ..self }
    }

    /// The convolution that makes `rows` of the outputs of an image (counted before pooling, which wants an even first), and the
    /// rows of the input that it reads. The algorithm is the same, as are kernels prepared for it; so are the bits, where the
    /// first row is a multiple of 4. It needs no more scratch.
    ///
    /// ```
    /// use engraft_kernels::{Activation, Conv2d, Conv2dShape};
    /// let shape = Conv2dShape {
    ///     batch: 1, in_h: 9, in_w: 6, in_c: 24, out_c: 24, kernel: [3, 3], stride: [1, 1], dilation: [1, 1], pad: [1, 1],
    ///     out_h: 9, out_w: 6, groups: 1,
    /// };
    /// let (lower, reads) = Conv2d::new(shape).rows(4..9);
    /// assert_eq!(reads, 3..9);
    /// let (x, w, mut scratch) = (vec![1.0; 6 * 6 * 24], vec![0.5; 9 * 24 * 24], vec![0.0; lower.scratch_len()]);
    /// let mut y = vec![0.0; lower.output_len()];
    /// lower.forward(&x, &w, None, Activation::Relu, &mut y, &mut scratch);
    /// assert_eq!(y.len(), 5 * 6 * 24);
    /// ```
    ///
    /// # Panics
    /// Where there are no such rows, or several images.
    #[must_use]
    pub fn rows(&self, rows: Range<usize>) -> (Self, Range<usize>) {
        assert!(self.shape.batch == 1, "rows of one image, not {}", self.shape.batch);
        assert!(!self.pool || rows.start.is_multiple_of(2), "pooling begins in an even row, not {}", rows.start);
        let (shape, reads) = self.shape.rows(rows);
        (Self { shape, algorithm: self.algorithm.of_shape(shape), ..*self }, reads)
    }

    /// Rows of outputs of an image, before pooling.
    pub fn out_h(&self) -> usize {
        self.shape.out_h
    }

    /// Values that the forward pass writes.
    pub fn output_len(&self) -> usize {
        let Conv2dShape { batch, out_h, out_w, out_c, .. } = self.shape;
        if self.pool { batch * (out_h / 2) * (out_w / 2) * out_c } else { self.shape.y_len() }
    }

    /// The name of the algorithm that computes it: `im2col`, `strips`, `winograd` or, in bf16, `direct`.
    pub fn algorithm(&self) -> &'static str {
        match self.algorithm {
            Algorithm::Im2col(_) => "im2col",
            Algorithm::Strips(_) => "strips",
            Algorithm::Winograd(_) => "winograd",
            Algorithm::Direct(..) => "direct",
        }
    }

    /// How many values of scratch each of the calls below needs in the ambient pool.
    pub fn scratch_len(&self) -> usize {
        self.scratch_len_of(&self.algorithm, rayon::current_num_threads())
    }

    fn scratch_len_of(&self, algorithm: &Algorithm, threads: usize) -> usize {
        match algorithm {
            Algorithm::Im2col(im2col) => im2col.scratch_len(threads),
            Algorithm::Strips(strips) => strips.scratch_len(threads),
            Algorithm::Winograd(winograd) => {
                // Gradients may be im2col's of a smaller batch alone; those over the input stand in scratch first.
                let batches = (1..=self.shape.batch).rev().map(|batch| Conv2dShape { batch, ..self.shape });
                let largest = |is_im2cols: fn(Differentiated) -> bool| {
                    let shape = batches.clone().find(|shape| is_im2cols(differentiates_by_im2col(shape)));
                    shape.map_or((0, 0), |shape| (Im2col::new(shape).scratch_len(threads), shape.x_len()))
                };
                let (by_kernel, _) = largest(|im2col| im2col.by_kernel);
                let (by_input, x_len) = largest(|im2col| im2col.by_input);
                let im2col = by_kernel.max(by_input + x_len);
                winograd.scratch_len(threads).max(im2col)
            }
            Algorithm::Direct(direct, in_f32) => direct.scratch_len(threads).max(self.scratch_len_of(in_f32, threads)),
        }
    }

    /// How many values of scratch [`forward_prepared`](Self::forward_prepared) needs: without room to prepare a kernel.
    pub fn prepared_scratch_len(&self) -> usize {
        match &self.algorithm {
            Algorithm::Im2col(_) | Algorithm::Strips(_) => self.scratch_len(),
            Algorithm::Winograd(winograd) => winograd.prepared_scratch_len(rayon::current_num_threads()),
            Algorithm::Direct(direct, _) => direct.prepared_scratch_len(rayon::current_num_threads()),
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
        check_len("input", x, self.shape.x_len());
        check_len("kernel", w, self.shape.w_len());
        check_len("output", y, self.output_len());
        if let Some(bias) = bias {
            check_len("bias", bias, self.shape.out_c);
        }
        let after = After { bias, activation, pool: self.pool };
        match &self.algorithm {
            Algorithm::Im2col(im2col) => im2col.forward(x, w, bias, activation, y, scratch),
            Algorithm::Strips(strips) => strips.forward(x, w, bias, activation, y, scratch),
            Algorithm::Winograd(winograd) => winograd.forward(x, w, after, y, scratch),
            Algorithm::Direct(direct, _) => direct.forward(x, w, after, y, scratch),
        }
    }

    /// How many values [`prepare`](Self::prepare) makes of the kernel; 0 where the algorithm takes it as it is.
    pub fn prepared_len(&self) -> usize {
        match &self.algorithm {
            Algorithm::Im2col(_) | Algorithm::Strips(_) => 0,
            Algorithm::Winograd(winograd) => winograd.prepared_len(),
            Algorithm::Direct(direct, _) => direct.prepared_len(),
        }
    }

    /// Whether preparing the kernel for each call takes a good part of its time: a seventh at most from 256 tiles of 4x4 outputs on
    /// (16 images of 16x16 with 512 channels), or from eight times as many where a matrix unit does the rest.
    pub fn is_short(&self) -> bool {
        const MANY_TILES: usize = 256;
        let many = if matches!(self.algorithm, Algorithm::Direct(..)) { 8 * MANY_TILES } else { MANY_TILES };
        self.shape.batch * Winograd::tiles_of_image(&self.shape) < many
    }

    /// The kernel as the algorithm wants it; nothing where it takes it as it is.
    ///
    /// ```
    /// use engraft_kernels::{Activation, Conv2d, Conv2dShape};
    /// let conv = Conv2d::new(Conv2dShape {
    ///     batch: 1, in_h: 8, in_w: 8, in_c: 24, out_c: 24, kernel: [3, 3], stride: [1, 1], dilation: [1, 1], pad: [1, 1],
    ///     out_h: 8, out_w: 8, groups: 1,
    /// });
    /// let (x, w, mut scratch) = (vec![1.0; 8 * 8 * 24], vec![0.5; 9 * 24 * 24], vec![0.0; conv.scratch_len()]);
    /// let (mut y, mut again) = (vec![0.0; 8 * 8 * 24], vec![0.0; 8 * 8 * 24]);
    /// conv.forward(&x, &w, None, Activation::Linear, &mut y, &mut scratch);
    /// if let Some(kernel) = conv.prepare(&w) {
    ///     conv.forward_prepared(&x, &kernel, None, Activation::Linear, &mut again, &mut scratch);
    ///     assert_eq!(again, y);
    /// }
    /// ```
    pub fn prepare(&self, w: &[f32]) -> Option<PreparedKernel> {
        check_len("kernel", w, self.shape.w_len());
        match &self.algorithm {
            Algorithm::Im2col(_) | Algorithm::Strips(_) => None,
            Algorithm::Winograd(winograd) => Some(PreparedKernel(winograd.prepare(w))),
            Algorithm::Direct(direct, _) => Some(PreparedKernel(direct.prepare(w))),
        }
    }

    /// [`forward`](Self::forward), by a kernel that [`prepare`](Self::prepare) made for a convolution of this kernel, these
    /// channels and any size of images: the same bits, without preparing it each time.
    ///
    /// # Panics
    /// Where a slice or the prepared kernel has another length than this convolution's.
    pub fn forward_prepared(
        &self,
        x: &[f32],
        kernel: &PreparedKernel,
        bias: Option<&[f32]>,
        activation: Activation,
        y: &mut [f32],
        scratch: &mut [f32],
    ) {
        check_len("input", x, self.shape.x_len());
        check_len("output", y, self.output_len());
        let after = After { bias, activation, pool: self.pool };
        match &self.algorithm {
            Algorithm::Im2col(_) | Algorithm::Strips(_) => panic!("a kernel of {:?} is not prepared", self.shape),
            Algorithm::Winograd(winograd) => winograd.forward_prepared(x, &kernel.0, after, y, scratch),
            Algorithm::Direct(direct, _) => direct.forward_prepared(x, &kernel.0, after, y, scratch),
        }
    }

    /// The gradient with respect to `x`, from the one with respect to the convolution's output before bias and activation.
    pub fn input_gradient(&self, dy: &[f32], w: &[f32], dx: &mut [f32], scratch: &mut [f32]) {
        self.check(dx, w, dy);
        match &self.algorithm {
            Algorithm::Im2col(im2col) => im2col.input_gradient(dy, w, dx, scratch),
            Algorithm::Strips(strips) => strips.input_gradient(dy, w, dx, scratch),
            Algorithm::Winograd(_) if self.im2col.by_input => {
                Im2col::new(self.shape).input_gradient(dy, w, dx, scratch);
            }
            Algorithm::Winograd(winograd) => winograd.input_gradient(dy, w, false, dx, scratch),
            Algorithm::Direct(direct, _) => direct.input_gradient(dy, w, false, dx, scratch),
        }
    }

    /// [`input_gradient`](Self::input_gradient) over what it is the gradient by: `x` goes in, the gradient comes out. With `relu`,
    /// `x` is what a ReLU gave, and the gradient is the one before it. For shapes that
    /// [can](Conv2dShape::gradient_replaces_input).
    ///
    /// ```
    /// use engraft_kernels::{Conv2d, Conv2dShape};
    /// let shape = Conv2dShape {
    ///     batch: 1, in_h: 8, in_w: 8, in_c: 24, out_c: 24, kernel: [3, 3], stride: [1, 1], dilation: [1, 1], pad: [1, 1],
    ///     out_h: 8, out_w: 8, groups: 1,
    /// };
    /// assert!(shape.gradient_replaces_input());
    /// let conv = Conv2d::new(shape);
    /// let (dy, w, mut scratch) = (vec![1.0; 8 * 8 * 24], vec![0.5; 9 * 24 * 24], vec![0.0; conv.scratch_len()]);
    /// let mut x = vec![1.0; 8 * 8 * 24];
    /// x[0] = 0.0;
    /// conv.replace_input(&dy, &w, true, &mut x, &mut scratch);
    /// assert!(x[0] == 0.0 && x[1] > 0.0);
    /// ```
    ///
    /// # Panics
    /// Where a slice has another length, or the shape can't.
    pub fn replace_input(&self, dy: &[f32], w: &[f32], relu: bool, x: &mut [f32], scratch: &mut [f32]) {
        self.check(x, w, dy);
        match &self.algorithm {
            Algorithm::Im2col(_) | Algorithm::Strips(_) => {
                panic!("a gradient by the input of {:?} can't replace it", self.shape)
            }
            Algorithm::Winograd(_) if self.im2col.by_input => {
                let (dx, scratch) = scratch.split_at_mut(x.len());
                Im2col::new(self.shape).input_gradient(dy, w, dx, scratch);
                x.iter_mut().zip(dx).for_each(|(x, dx)| *x = if !relu || *x > 0.0 { *dx } else { 0.0 });
            }
            Algorithm::Winograd(winograd) => winograd.input_gradient(dy, w, relu, x, scratch),
            Algorithm::Direct(direct, _) => direct.input_gradient(dy, w, relu, x, scratch),
        }
    }

    /// The gradient with respect to `w`, from the one with respect to the convolution's output before bias and activation.
    pub fn kernel_gradient(&self, x: &[f32], dy: &[f32], dw: &mut [f32], scratch: &mut [f32]) {
        self.check(x, dw, dy);
        self.kernel_gradient_by(&self.algorithm, x, dy, dw, scratch);
    }

    fn kernel_gradient_by(&self, algorithm: &Algorithm, x: &[f32], dy: &[f32], dw: &mut [f32], scratch: &mut [f32]) {
        match algorithm {
            Algorithm::Im2col(im2col) => im2col.kernel_gradient(x, dy, dw, scratch),
            Algorithm::Strips(strips) => strips.kernel_gradient(x, dy, dw, scratch),
            Algorithm::Winograd(_) if self.im2col.by_kernel => {
                Im2col::new(self.shape).kernel_gradient(x, dy, dw, scratch);
            }
            Algorithm::Winograd(winograd) => winograd.kernel_gradient(x, dy, dw, scratch),
            Algorithm::Direct(_, in_f32) => self.kernel_gradient_by(in_f32, x, dy, dw, scratch),
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
    use crate::Threads;
    use crate::reference;
    use crate::simd::Amx;
    use crate::testing::{assert_same_for_any_threads, integers, to_f32, uniform};
    use crate::{Pool2dShape, PoolKind, pool2d};

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
            // kernels that are no squares, with stride 1
            shape([2, 9, 8, 5], 34, [5, 2], plain, plain, [4, 1], 1),
            shape([1, 7, 20, 33], 3, [1, 7], plain, plain, [0, 6], 1),
            shape([1, 20, 1, 6], 7, [7, 1], plain, plain, [6, 0], 1),
            // more columns than one gradient tile of 512 rows, few pixels
            shape([1, 2, 2, 130], 33, [2, 2], plain, plain, [1, 1], 1),
        ]
    }

    /// Shapes around the edges of tiles of 4x4 outputs, of vectors and panels of channels, of depth, and of blocks of tiles.
    fn shapes_of_3x3() -> Vec<Conv2dShape> {
        let plain = [1, 1];
        let sides = (1..=9).map(|side| ([1, side, 10 - side, 3], 5, [2, 2]));
        let channels = [1, 4, 7, 8, 9, 16, 17, 31, 33].map(|channels| ([1, 5, 5, channels], 34 - channels, [2, 2]));
        let pads = [[0, 0], [1, 0], [3, 4]].map(|pad| ([2, 6, 7, 3], 4, pad));
        let deep = [(514, 3), (3, 300), (128, 130), (33, 256)];
        let deep = deep.map(|(channels, out_c)| ([1, 4, 5, channels], out_c, [2, 2]));
        // more tiles than one block has, or one chunk of a segment of the kernel's gradient
        let many = [([1, 70, 66, 2], 3, [2, 2]), ([5, 28, 29, 9], 8, [2, 2]), ([1, 184, 184, 2], 3, [2, 2])];
        let all = sides.chain(channels).chain(pads).chain(deep).chain(many);
        all.map(|(image, out_c, pad)| shape(image, out_c, [3, 3], plain, plain, pad, 1)).collect()
    }

    /// A convolution by every algorithm that can do it, on every instruction set of this CPU.
    fn every_way(shape: Conv2dShape) -> Vec<(String, Conv2d)> {
        let mut ways = vec![("im2col".into(), Conv2d::by_im2col(shape))];
        if Strips::can(&shape) {
            let algorithm = Algorithm::Strips(Strips::new(shape));
            ways.push(("strips".into(), Conv2d::by(shape, algorithm)));
        }
        if Winograd::can(&shape) {
            ways.extend(Isa::tested().map(|isa| {
                let algorithm = Algorithm::Winograd(Winograd::new(isa, shape));
                (format!("winograd {}", isa.name()), Conv2d::by(shape, algorithm))
            }));
        }
        if Direct::can(&shape) {
            let units = || Bf16::tested().flat_map(|bf16| Amx::tested().map(move |amx| (bf16, amx)));
            ways.extend(units().map(|(bf16, amx)| {
                let in_f32 = Box::new(Algorithm::Im2col(Box::new(Im2col::new(shape))));
                let algorithm = Algorithm::Direct(Direct::new(bf16, amx, shape), in_f32);
                (format!("direct {bf16:?} {amx:?}"), Conv2d::by(shape, algorithm))
            }));
        }
        ways
    }

    fn can_pool(way: &str) -> bool {
        ["winograd", "direct"].iter().any(|name| way.starts_with(name))
    }

    /// Whether sums of small whole numbers have no error, done this way.
    fn is_exact(way: &str) -> bool {
        !way.starts_with("winograd")
    }

    /// Largest difference, relative to the largest value.
    fn relative_error(received: &[f32], expected: &[f64]) -> f64 {
        assert_eq!(received.len(), expected.len());
        let largest = expected.iter().fold(f64::MIN_POSITIVE, |largest, x| largest.max(x.abs()));
        let difference = |(&a, &b): (&f32, &f64)| (f64::from(a) - b).abs();
        // Not `f64::max`, which passes over NaN.
        let larger = |a: f64, b: f64| if b <= a { a } else { b };
        received.iter().zip(expected).map(difference).fold(0.0, larger) / largest
    }

    /// Sums of small whole numbers are exact in f32; the points of a transform are no whole numbers, and lose two digits of seven
    /// on single values at worst (the gradient by the kernel, whose sums are long, most).
    const TOLERANCE: f64 = 2e-5;

    #[test]
    fn every_way_forward_agrees_with_the_reference() {
        for shape in shapes().into_iter().chain(shapes_of_3x3()) {
            let (x, w, bias) = (integers(shape.x_len(), 1), integers(shape.w_len(), 2), integers(shape.out_c, 3));
            let mut expected = reference::conv2d(&shape, &x, &w);
            expected.iter_mut().enumerate().for_each(|(i, y)| *y = (*y + f64::from(bias[i % shape.out_c])).max(0.0));
            for (way, conv) in every_way(shape) {
                let (mut y, mut scratch) = (vec![f32::NAN; shape.y_len()], vec![f32::NAN; conv.scratch_len()]);
                conv.forward(&x, &w, Some(&bias), Activation::Relu, &mut y, &mut scratch);
                match is_exact(&way) {
                    true => assert!(y == to_f32(&expected), "{way} {shape:?}"),
                    false => assert!(relative_error(&y, &expected) < TOLERANCE, "{way} {shape:?}"),
                }
                if let Some(prepared) = conv.prepare(&w) {
                    let mut again = vec![f32::NAN; shape.y_len()];
                    let mut scratch = vec![f32::NAN; conv.prepared_scratch_len()];
                    conv.forward_prepared(&x, &prepared, Some(&bias), Activation::Relu, &mut again, &mut scratch);
                    assert!(again == y, "{way} {shape:?}: a prepared kernel gives other bits");
                }
            }
        }
    }

    /// Bias and ReLU keep the order of values, rounding included: the bits are those of pooling afterwards.
    #[test]
    fn pooling_in_the_same_pass_gives_the_bits_of_pooling_after() {
        for shape in shapes_of_3x3() {
            let (x, w, bias) = (uniform(shape.x_len(), 1), uniform(shape.w_len(), 2), uniform(shape.out_c, 3));
            let pool = Pool2dShape {
                batch: shape.batch,
                in_h: shape.out_h,
                in_w: shape.out_w,
                channels: shape.out_c,
                size: [2, 2],
                stride: [2, 2],
                pad: [0, 0],
                out_h: shape.out_h / 2,
                out_w: shape.out_w / 2,
            };
            for (way, conv) in every_way(shape).into_iter().filter(|(way, _)| can_pool(way)) {
                let (mut y, mut scratch) = (vec![f32::NAN; shape.y_len()], vec![f32::NAN; conv.scratch_len()]);
                conv.forward(&x, &w, Some(&bias), Activation::Relu, &mut y, &mut scratch);
                let conv = conv.pooled();
                let [mut after, mut within] = [(); 2].map(|()| vec![f32::NAN; conv.output_len()]);
                pool2d(PoolKind::Max, &pool, &y, &mut after);
                conv.forward(&x, &w, Some(&bias), Activation::Relu, &mut within, &mut scratch);
                assert!(within == after, "{way} {shape:?}");
            }
        }
    }

    #[test]
    fn bands_of_rows_make_up_the_whole() {
        let plain = [1, 1];
        let others =
            [([1, 23, 9, 3], 5, [5, 2], [3, 1], [2, 1], [4, 1]), ([1, 20, 9, 3], 9, [3, 3], [2, 2], plain, [1, 1])];
        let others = others
            .map(|(image, out_c, kernel, stride, dilation, pad)| shape(image, out_c, kernel, stride, dilation, pad, 1));
        let one = |shape: &Conv2dShape| shape.batch == 1;
        for shape in shapes_of_3x3().into_iter().filter(one).chain(others) {
            let (x, w, bias) = (uniform(shape.x_len(), 1), uniform(shape.w_len(), 2), uniform(shape.out_c, 3));
            for (way, conv) in every_way(shape) {
                for conv in [Some(conv.clone()), can_pool(&way).then(|| conv.pooled())].into_iter().flatten() {
                    let mut scratch = vec![f32::NAN; conv.scratch_len()];
                    let mut run = |conv: &Conv2d, x: &[f32]| {
                        assert!(conv.scratch_len() <= scratch.len());
                        let mut y = vec![f32::NAN; conv.output_len()];
                        conv.forward(x, &w, Some(&bias), Activation::Relu, &mut y, &mut scratch);
                        y
                    };
                    let (whole, mut parts) = (run(&conv, &x), Vec::new());
                    for first in (0..shape.out_h).step_by(8) {
                        let (part, reads) = conv.rows(first..shape.out_h.min(first + 8));
                        let row = shape.in_w * shape.in_c;
                        parts.extend(run(&part, &x[reads.start * row..reads.end * row]));
                    }
                    assert!(parts == whole, "{way} {shape:?}");
                }
            }
        }
    }

    #[test]
    fn every_ways_gradients_agree_with_the_reference() {
        for shape in shapes().into_iter().chain(shapes_of_3x3()) {
            let (x, w, dy) = (integers(shape.x_len(), 1), integers(shape.w_len(), 2), integers(shape.y_len(), 3));
            let by_input = reference::conv2d_input_gradient(&shape, &dy, &w);
            let by_kernel = reference::conv2d_kernel_gradient(&shape, &x, &dy);
            for (way, conv) in every_way(shape) {
                let mut scratch = vec![f32::NAN; conv.scratch_len()];
                let (mut dx, mut dw) = (vec![f32::NAN; shape.x_len()], vec![f32::NAN; shape.w_len()]);
                conv.input_gradient(&dy, &w, &mut dx, &mut scratch);
                conv.kernel_gradient(&x, &dy, &mut dw, &mut scratch);
                if is_exact(&way) {
                    assert!(dx == to_f32(&by_input), "{way}: dx of {shape:?}");
                    assert!(dw == to_f32(&by_kernel), "{way}: dw of {shape:?}");
                } else {
                    assert!(relative_error(&dx, &by_input) < TOLERANCE, "{way}: dx of {shape:?}");
                    assert!(relative_error(&dw, &by_kernel) < TOLERANCE, "{way}: dw of {shape:?}");
                }
                if can_pool(&way) {
                    let mut replaced = x.clone();
                    conv.replace_input(&dy, &w, true, &mut replaced, &mut scratch);
                    dx.iter_mut().zip(&x).filter(|(_, x)| **x <= 0.0).for_each(|(dx, _)| *dx = 0.0);
                    assert!(replaced == dx, "{way}: dx over x of {shape:?}");
                }
            }
        }
    }

    /// Operands have eight bits, and the transforms lose two or three of them on single values.
    const BF16_TOLERANCE: f64 = 5e-2;

    #[test]
    fn products_of_bf16_agree_with_the_reference() {
        for shape in shapes_of_3x3() {
            let (x, w, dy) = (uniform(shape.x_len(), 1), uniform(shape.w_len(), 2), uniform(shape.y_len(), 3));
            let expected = reference::conv2d(&shape, &x, &w);
            let by_input = reference::conv2d_input_gradient(&shape, &dy, &w);
            let by_kernel = reference::conv2d_kernel_gradient(&shape, &x, &dy);
            for bf16 in Bf16::tested() {
                let winograd = |bf16| Algorithm::Winograd(Winograd::in_bf16(bf16, shape));
                let direct = |amx| Algorithm::Direct(Direct::new(bf16, amx, shape), Box::new(winograd(bf16)));
                for algorithm in Amx::tested().map(direct).chain([winograd(bf16)]) {
                    let conv = Conv2d::by(shape, algorithm);
                    let mut scratch = vec![f32::NAN; conv.scratch_len()];
                    let [mut y, mut again] = [(); 2].map(|()| vec![f32::NAN; shape.y_len()]);
                    let (mut dx, mut dw) = (vec![f32::NAN; shape.x_len()], vec![f32::NAN; shape.w_len()]);
                    conv.forward(&x, &w, None, Activation::Linear, &mut y, &mut scratch);
                    conv.input_gradient(&dy, &w, &mut dx, &mut scratch);
                    conv.kernel_gradient(&x, &dy, &mut dw, &mut scratch);
                    assert!(relative_error(&y, &expected) < BF16_TOLERANCE, "{bf16:?} {shape:?}");
                    assert!(relative_error(&dx, &by_input) < BF16_TOLERANCE, "{bf16:?}: dx of {shape:?}");
                    assert!(relative_error(&dw, &by_kernel) < TOLERANCE, "{bf16:?}: dw of {shape:?}");
                    let prepared = conv.prepare(&w).unwrap();
                    conv.forward_prepared(&x, &prepared, None, Activation::Linear, &mut again, &mut scratch);
                    assert!(again == y, "{bf16:?} {shape:?}: a prepared kernel gives other bits");
                }
            }
        }
    }

    #[test]
    fn bf16_has_the_same_bits_for_any_number_of_threads() {
        let shape = shape([1, 30, 6, 71], 200, [3, 3], [1, 1], [1, 1], [2, 2], 1);
        let (x, w) = (uniform(shape.x_len(), 1), uniform(shape.w_len(), 2));
        for bf16 in Bf16::tested() {
            let conv = Conv2d::by(shape, Algorithm::Winograd(Winograd::in_bf16(bf16, shape)));
            assert_same_for_any_threads(|| {
                let (mut y, mut scratch) = (vec![0.0; shape.y_len()], vec![0.0; conv.scratch_len()]);
                conv.forward(&x, &w, None, Activation::Linear, &mut y, &mut scratch);
                y
            });
        }
    }

    /// Of a few tiles, gradients are im2col's, and have the same bits over the input as beside it.
    #[test]
    fn gradients_of_few_tiles() {
        let shape = shape([1, 9, 10, 30], 26, [3, 3], [1, 1], [1, 1], [2, 2], 1);
        let (x, w, dy) = (integers(shape.x_len(), 1), integers(shape.w_len(), 2), integers(shape.y_len(), 3));
        let conv = Conv2d::new(shape);
        assert!(conv.algorithm() == "winograd" && conv.im2col.by_input);
        let mut scratch = vec![f32::NAN; conv.scratch_len()];
        let (mut dx, mut replaced) = (vec![f32::NAN; shape.x_len()], x.clone());
        conv.input_gradient(&dy, &w, &mut dx, &mut scratch);
        assert_eq!(dx, to_f32(&reference::conv2d_input_gradient(&shape, &dy, &w)));
        conv.replace_input(&dy, &w, true, &mut replaced, &mut scratch);
        dx.iter_mut().zip(&x).filter(|(_, x)| **x <= 0.0).for_each(|(dx, _)| *dx = 0.0);
        assert!(replaced == dx);

        let shape = self::shape([8, 18, 17, 8], 9, [3, 3], [1, 1], [1, 1], [2, 2], 1);
        let (x, dy) = (integers(shape.x_len(), 1), integers(shape.y_len(), 3));
        let conv = Conv2d::new(shape);
        assert!(conv.algorithm() == "winograd" && conv.im2col.by_kernel && !conv.im2col.by_input);
        let (mut dw, mut scratch) = (vec![f32::NAN; shape.w_len()], vec![f32::NAN; conv.scratch_len()]);
        conv.kernel_gradient(&x, &dy, &mut dw, &mut scratch);
        assert_eq!(dw, to_f32(&reference::conv2d_kernel_gradient(&shape, &x, &dy)));
    }

    #[test]
    fn what_is_not_finite_or_hardly_a_number_is_not_hidden() {
        let shape = shape([1, 9, 10, 9], 8, [3, 3], [1, 1], [1, 1], [2, 2], 1);
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e-40, f32::MIN_POSITIVE, 1e30] {
            let (mut x, w) = (uniform(shape.x_len(), 1), uniform(shape.w_len(), 2));
            x[200] = value;
            let expected = reference::conv2d(&shape, &x, &w);
            for (way, conv) in every_way(shape) {
                let (mut y, mut scratch) = (vec![0.0; shape.y_len()], vec![0.0; conv.scratch_len()]);
                conv.forward(&x, &w, None, Activation::Linear, &mut y, &mut scratch);
                for (y, expected) in y.iter().zip(&expected) {
                    assert!(expected.is_finite() || !y.is_finite(), "{way}, {value}: {y} instead of {expected}");
                }
                if value.is_finite() {
                    let tolerance = if way.starts_with("direct") { BF16_TOLERANCE } else { TOLERANCE };
                    assert!(relative_error(&y, &expected) < tolerance, "{way}, {value}");
                }
            }
        }
    }

    #[test]
    fn same_bits_for_any_number_of_threads() {
        for (image, out_c) in [([3, 62, 40, 9], 12), ([2, 30, 20, 9], 5), ([1, 6, 6, 70], 200)] {
            let shape = shape(image, out_c, [3, 3], [1, 1], [1, 1], [2, 2], 1);
            let (x, w, dy) = (uniform(shape.x_len(), 1), uniform(shape.w_len(), 2), uniform(shape.y_len(), 3));
            for (_, conv) in every_way(shape) {
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
        }
    }

    #[test]
    fn a_smaller_batch_never_needs_more_scratch() {
        // With 512 of both, filters come from memory.
        for (channels, out_c) in [(8, 16), (64, 16), (512, 16), (512, 512)] {
            let lengths = (0..40).map(|batch| {
                let shape = shape([batch, 14, 15, channels], out_c, [3, 3], [1, 1], [1, 1], [2, 2], 1);
                let ways = every_way(shape).into_iter().map(|(_, conv)| conv).chain([Conv2d::new(shape)]);
                ways.map(|conv| conv.scratch_len()).collect::<Vec<_>>()
            });
            let lengths: Vec<_> = lengths.collect();
            assert!(lengths.windows(2).all(|pair| pair[0].iter().zip(&pair[1]).all(|(a, b)| a <= b)), "{lengths:?}");
        }
        // The gradient by the kernel cuts 2049 tiles into fewer segments than 2048.
        for threads in [1, 2, 8] {
            let lengths = (20..50).map(|batch| {
                let shape = shape([batch, 32, 32, 64], 64, [3, 3], [1, 1], [1, 1], [2, 2], 1);
                Threads::new(Some(threads)).unwrap().run(|| Conv2d::new(shape).scratch_len())
            });
            assert!(lengths.collect::<Vec<_>>().is_sorted(), "{threads} threads");
        }
    }

    #[test]
    fn an_empty_batch_gives_a_zero_kernel_gradient() {
        let shape = shape([0, 4, 4, 2], 3, [3, 3], [1, 1], [1, 1], [2, 2], 1);
        for (_, conv) in every_way(shape) {
            let mut scratch = vec![f32::NAN; conv.scratch_len()];
            let w = vec![1.0; shape.w_len()];
            let mut dw = vec![f32::NAN; shape.w_len()];
            conv.forward(&[], &w, None, Activation::Linear, &mut [], &mut scratch);
            conv.input_gradient(&[], &w, &mut [], &mut scratch);
            conv.kernel_gradient(&[], &[], &mut dw, &mut scratch);
            assert_eq!(dw, vec![0.0; shape.w_len()]);
        }
    }

    /// A band may lie in what is padded alone, and an image may be empty.
    #[test]
    fn nothing_to_read_or_to_write() {
        for (in_h, in_w, out_h, out_w) in [(0, 5, 2, 5), (4, 5, 0, 5), (4, 5, 4, 0), (4, 0, 4, 1), (0, 0, 0, 0)] {
            let (kernel, stride, dilation, pad) = ([3, 3], [1, 1], [1, 1], [1, 1]);
            let shape = Conv2dShape {
                batch: 1,
                in_h,
                in_w,
                in_c: 4,
                out_c: 5,
                kernel,
                stride,
                dilation,
                pad,
                out_h,
                out_w,
                groups: 1,
            };
            let (x, w) = (vec![1.0; shape.x_len()], vec![1.0; shape.w_len()]);
            for (way, conv) in every_way(shape).into_iter().filter(|(way, _)| can_pool(way)) {
                let (mut y, mut scratch) = (vec![f32::NAN; shape.y_len()], vec![f32::NAN; conv.scratch_len()]);
                conv.forward(&x, &w, None, Activation::Linear, &mut y, &mut scratch);
                assert!(!(in_h * in_w == 0 && y.iter().any(|&y| y != 0.0)), "{way} {shape:?}");
                let mut dx = vec![f32::NAN; shape.x_len()];
                conv.input_gradient(&y, &w, &mut dx, &mut scratch);
                assert!(!(out_h * out_w == 0 && dx.iter().any(|&dx| dx != 0.0)), "{way} {shape:?}");
                let conv = conv.pooled();
                conv.forward(&x, &w, None, Activation::Linear, &mut vec![0.0; conv.output_len()], &mut scratch);
            }
        }
    }

    #[test]
    #[should_panic(expected = "groups must divide the channels")]
    fn groups_must_divide_the_channels() {
        Conv2d::new(shape([1, 4, 4, 3], 4, [3, 3], [1, 1], [1, 1], [2, 2], 2));
    }
}
