//! Depthwise convolutions with kernels of 3x3 or 5x5, blocked in registers.
//!
//! A block is a few neighbouring outputs of one row and one vector of their channels. Its accumulators stay in registers while it
//! reads each row of its window once. Padding is never written to memory: blocks at the borders of an image read zeros instead.

#![expect(unsafe_code, reason = "pixels are addressed through strides")]

use crate::activation::activate_serial;
use crate::clamp::Clamp;
use crate::output_tiles::{Tile, Tiles};
use crate::simd::{Isa, Kernel, Simd};
use crate::{Activation, Conv2dShape};

/// Fewest tasks that the work is cut into, so that all threads have some of them.
const MIN_TASKS: usize = 32;

/// Fewest channels of a task. Fewer don't repay its fixed costs.
const MIN_CHANNELS: usize = 64;

/// Most columns that the window of a block covers: 8 outputs of a 5x5 kernel with stride 2.
const MAX_COLUMNS: usize = 7 * 2 + 5;

/// A depthwise convolution of a shape that this loop computes.
pub(super) struct Blocked {
    isa: Isa,
    shape: Conv2dShape,
}

impl Blocked {
    /// The forward pass of this shape; `None` if this loop can't compute it.
    pub(super) fn new(isa: Isa, shape: &Conv2dShape) -> Option<Self> {
        let Conv2dShape { kernel, stride, dilation, .. } = *shape;
        let can = matches!((kernel, stride), ([3, 3] | [5, 5], [1, 1] | [2, 2])) && dilation == [1, 1];
        can.then_some(Self { isa, shape: *shape })
    }

    /// The gradient with respect to the input of this shape, which is a forward pass with the rotated kernel; `None` if this loop
    /// can't compute it.
    pub(super) fn of_input_gradient(isa: Isa, shape: &Conv2dShape) -> Option<Self> {
        let Conv2dShape { in_h, in_w, out_h, out_w, kernel, stride, pad, .. } = *shape;
        if stride != [1, 1] || pad[0] >= kernel[0] || pad[1] >= kernel[1] {
            return None;
        }
        let pad = [kernel[0] - 1 - pad[0], kernel[1] - 1 - pad[1]];
        Self::new(isa, &Conv2dShape { in_h: out_h, in_w: out_w, out_h: in_h, out_w: in_w, pad, ..*shape })
    }

    /// `y = activation(conv(x, w) + bias)`. The caller has checked the lengths of all slices.
    pub(super) fn run(&self, x: &[f32], w: &[f32], bias: Option<&[f32]>, activation: Activation, y: &mut [f32]) {
        let Conv2dShape { batch, in_h, in_w, in_c, out_h, out_w, .. } = self.shape;
        let (rows, clamp) = (batch * out_h, Clamp::of(activation));
        let image_len = in_h * in_w * in_c;
        // A task has one row of outputs. If there are few rows, their channels are divided, too.
        let parts = MIN_TASKS.div_ceil(rows.max(1)).min(in_c / MIN_CHANNELS).max(1);
        let channels = in_c.div_ceil(parts).next_multiple_of(MIN_CHANNELS / 4);
        Tiles::new(y, 1, [rows * out_w, in_c], [out_w, channels]).for_each(|mut tile| {
            let row = tile.rows.start / out_w;
            let image = &x[row / out_h * image_len..][..image_len];
            let (row, clamp) = (row % out_h, clamp.unwrap_or(Clamp::IDENTITY));
            self.isa.run(Row { shape: &self.shape, image, w, bias, clamp, row, tile: &mut tile });
            if Clamp::of(activation).is_none() {
                (0..out_w).for_each(|pixel| activate_serial(activation, tile.row(pixel)));
            }
        });
    }
}

/// Some channels of one row of outputs.
struct Row<'a, 't> {
    shape: &'a Conv2dShape,
    image: &'a [f32],
    w: &'a [f32],
    bias: Option<&'a [f32]>,
    clamp: Clamp,
    /// The row of the image's outputs.
    row: usize,
    tile: &'a mut Tile<'t>,
}

impl Kernel for Row<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        // Images of 224 pixels have rows of 7, 14, 28, ... outputs, others often rows of 8, 16, 32, ....
        let padded = |block: usize| self.shape.out_w.next_multiple_of(block);
        match (self.shape.kernel[0], self.shape.stride[0], padded(7) < padded(8)) {
            (3, 1, true) => self.blocks::<S, 3, 1, 7>(simd),
            (3, 1, false) => self.blocks::<S, 3, 1, 8>(simd),
            (3, _, true) => self.blocks::<S, 3, 2, 7>(simd),
            (3, _, false) => self.blocks::<S, 3, 2, 8>(simd),
            (_, 1, true) => self.blocks::<S, 5, 1, 7>(simd),
            (_, 1, false) => self.blocks::<S, 5, 1, 8>(simd),
            (_, _, true) => self.blocks::<S, 5, 2, 7>(simd),
            (_, _, false) => self.blocks::<S, 5, 2, 8>(simd),
        }
    }
}

impl Row<'_, '_> {
    /// Computes the row in blocks of `T` outputs, for kernels of `K` x `K` and this stride.
    #[inline(always)]
    fn blocks<S: Simd, const K: usize, const STRIDE: usize, const T: usize>(&mut self, simd: S) {
        struct Blocks<'a, 'b, 't, const K: usize, const STRIDE: usize, const T: usize>(&'a mut Row<'b, 't>);
        impl<const K: usize, const STRIDE: usize, const T: usize> Kernel for Blocks<'_, '_, '_, K, STRIDE, T> {
            type Output = ();

            #[inline(always)]
            fn run<S: Simd>(self, simd: S) {
                let (in_w, out_w, pad) = (self.0.shape.in_w, self.0.shape.out_w, self.0.shape.pad[1]);
                for first in (0..out_w).step_by(T) {
                    let is_inside =
                        first * STRIDE >= pad && first + T <= out_w && (first + T - 1) * STRIDE + K <= in_w + pad;
                    let channels = self.0.tile.columns.len();
                    let whole = if is_inside { channels / S::LANES * S::LANES } else { 0 };
                    for channel in (0..whole).step_by(S::LANES) {
                        self.0.block::<S, K, STRIDE, T, true>(simd, first, channel);
                    }
                    for channel in (whole..channels).step_by(S::LANES) {
                        self.0.block::<S, K, STRIDE, T, false>(simd, first, channel);
                    }
                }
            }
        }
        // `simd.run` keeps each size in a function of its own.
        simd.run(Blocks::<K, STRIDE, T>(self));
    }

    /// Computes the outputs `first..first + T` of one vector of channels, from `channel` of the tile on.
    ///
    /// With `INSIDE`, the window lies inside the image, and the channels fill a whole vector.
    #[inline(always)]
    #[expect(
        clippy::needless_range_loop,
        reason = "an iterator that isn't inlined would be compiled without the instruction set"
    )]
    fn block<S: Simd, const K: usize, const STRIDE: usize, const T: usize, const INSIDE: bool>(
        &mut self,
        simd: S,
        first: usize,
        channel: usize,
    ) {
        let Conv2dShape { in_h, in_w, in_c, out_w, pad, .. } = *self.shape;
        let count = if INSIDE { S::LANES } else { S::LANES.min(self.tile.columns.len() - channel) };
        let column = self.tile.columns.start + channel;
        let mut sums = [simd.splat(0.0); T];
        // SAFETY: the caller of `Blocked::run` has checked the lengths of image, kernel and bias. Pixels and taps lie inside them,
        // and `count` channels from `column` on exist. The tile has `out_w` pixels with `count` channels from `channel` on.
        unsafe {
            for tap in 0..K {
                let Some(row) = (self.row * STRIDE + tap).checked_sub(pad[0]).filter(|&row| row < in_h) else {
                    continue;
                };
                let row = self.image.as_ptr().add(row * in_w * in_c + column);
                let mut x = [simd.splat(0.0); MAX_COLUMNS];
                for at in 0..(T - 1) * STRIDE + K {
                    let pixel = (first * STRIDE + at).wrapping_sub(pad[1]);
                    if INSIDE || pixel < in_w {
                        x[at] = load::<S, INSIDE>(simd, count, row.add(pixel * in_c));
                    }
                }
                let w = self.w.as_ptr().add(tap * K * in_c + column);
                for tap in 0..K {
                    let w = load::<S, INSIDE>(simd, count, w.add(tap * in_c));
                    for output in 0..T {
                        sums[output] = simd.mul_add(x[output * STRIDE + tap], w, sums[output]);
                    }
                }
            }
            let bias = match self.bias {
                Some(bias) => load::<S, INSIDE>(simd, count, bias.as_ptr().add(column)),
                None => simd.splat(0.0),
            };
            let (y, row_stride) = self.tile.as_mut_ptr();
            for output in 0..T {
                if INSIDE || first + output < out_w {
                    let (sum, to) = (simd.add(sums[output], bias), y.add((first + output) * row_stride + channel));
                    simd.store_first(count, self.clamp.apply(simd, sum), to);
                }
            }
        }
    }
}

/// Reads `count` lanes, which are all lanes with `WHOLE`.
///
/// # Safety
/// That many values must be readable at `from`.
#[inline(always)]
unsafe fn load<S: Simd, const WHOLE: bool>(simd: S, count: usize, from: *const f32) -> S::Vector {
    // SAFETY: the caller's promise.
    unsafe { if WHOLE { simd.load(from) } else { simd.load_first(count, from) } }
}
