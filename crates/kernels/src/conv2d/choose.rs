//! Chooses the algorithm for each shape. No other module compares the speed of algorithms.
//!
//! The limits for Winograd's algorithm and for strips were measured with the example `speed`, subcommand `grid`; see
//! `bench/records/constants.md`.

use super::algorithm::Algorithm;
use super::direct::Direct;
use super::im2col_strips::Strips;
use super::pointwise::Pointwise;
use super::winograd::Winograd;
use crate::Conv2dShape;
use crate::simd::{Bf16, Isa};

/// The algorithm for products in f32.
pub(super) fn in_f32(isa: Isa, shape: Conv2dShape) -> Algorithm {
    if prefers_winograd(&shape) {
        Algorithm::Winograd(Winograd::new(isa, shape))
    } else if prefers_strips(&shape) {
        Algorithm::Strips(Strips::new(shape))
    } else if prefers_pointwise(&shape) {
        Algorithm::Pointwise(Pointwise::new(isa, shape))
    } else {
        Algorithm::im2col(shape)
    }
}

/// The algorithm for products in bf16, or `in_f32` where bf16 would not be faster.
pub(super) fn in_bf16(bf16: Bf16, shape: Conv2dShape, in_f32: Algorithm) -> Algorithm {
    match (in_f32, bf16.amx()) {
        (in_f32, Some(amx)) if prefers_direct(&shape) => {
            Algorithm::Direct(Direct::new(bf16, amx, shape), Box::new(in_f32))
        }
        (Algorithm::Winograd(_), _) => Algorithm::Winograd(Winograd::in_bf16(bf16, shape)),
        (in_f32, _) => in_f32,
    }
}

/// Whether Winograd's algorithm is the fastest in f32.
pub(super) fn prefers_winograd(shape: &Conv2dShape) -> bool {
    // With one tile in an image, the transforms cost as much as the multiplications that they save.
    const MIN_TILES: usize = 2;
    // A tile costs the same however many of its 16 outputs lie inside the image. With fewer on average, too much work is
    // wasted.
    const MIN_OUTPUTS_PER_TILE: usize = 9;
    // With fewer input or output channels, the transforms cost more than the multiplications that they save.
    const MIN_CHANNELS: usize = 8;
    // With fewer input or output channels than `FEW_CHANNELS`, images need more tiles to repay the fixed costs.
    const FEW_CHANNELS: usize = 24;
    const MIN_TILES_OF_FEW_CHANNELS: usize = 20;
    let (channels, tiles) = (shape.in_c.min(shape.out_c), Winograd::tiles_of_image(shape));
    let min_tiles = if channels < FEW_CHANNELS { MIN_TILES_OF_FEW_CHANNELS } else { MIN_TILES };
    Winograd::can(shape)
        && channels >= MIN_CHANNELS
        && tiles >= min_tiles
        && shape.out_h * shape.out_w >= MIN_OUTPUTS_PER_TILE * tiles
}

/// Whether im2col on strips is faster than ordinary im2col.
fn prefers_strips(shape: &Conv2dShape) -> bool {
    // With more input channels, gathering patches costs little compared to the multiply-accumulates.
    const MAX_CHANNELS: usize = 7;
    // Every row of outputs is a separate matrix product. Shorter rows don't repay its fixed costs.
    const MIN_ROW_OUTPUTS: usize = 24;
    // With a kernel one column wide, patches don't overlap.
    Strips::can(shape) && shape.kernel[1] > 1 && shape.in_c <= MAX_CHANNELS && shape.out_w >= MIN_ROW_OUTPUTS
}

/// Whether the pointwise algorithm is faster than im2col.
fn prefers_pointwise(shape: &Conv2dShape) -> bool {
    // Fewer outputs don't repay packing a kernel that isn't prepared. Im2col then streams the kernel from memory.
    const MIN_OUTPUTS: usize = 16;
    Pointwise::can(shape) && shape.out_h * shape.out_w >= MIN_OUTPUTS
}

/// Whether a matrix unit for bf16 computes the convolution faster than vector units do in f32.
fn prefers_direct(shape: &Conv2dShape) -> bool {
    // The matrix unit multiplies blocks of 32 pixels. Images with fewer outputs waste too much of a block.
    const MIN_OUTPUTS: usize = 25;
    // Input channels are padded to a multiple of 32. With less depth (taps times input channels), padding and conversion to bf16
    // take too much of the time.
    const MIN_DEPTH: usize = 128;
    Direct::can(shape)
        && shape.out_h * shape.out_w >= MIN_OUTPUTS
        && shape.kernel.iter().product::<usize>() * shape.in_c >= MIN_DEPTH
}

/// The gradients that im2col computes, although another algorithm computes the forward pass.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Im2colGradients {
    /// The gradient with respect to the input.
    pub(super) input: bool,
    /// The gradient with respect to the kernel.
    pub(super) kernel: bool,
}

impl Im2colGradients {
    /// The gradients that im2col computes faster, for a convolution whose forward pass uses Winograd's algorithm.
    pub(super) fn beside_winograd(shape: &Conv2dShape) -> Self {
        // With this many tiles in the batch or fewer, the filter transform takes longer than all other work.
        const FEW_TILES: usize = 20;
        // In the Winograd domain, the kernel gradient has four times the size of the kernel. From this many pairs of an input
        // and an output channel on, the transformed gradient doesn't fit in cache. Writing and reading it pays off only with
        // enough tiles.
        const LARGE_KERNEL: usize = 1 << 17;
        const MIN_TILES_OF_LARGE_KERNEL: usize = 40;
        // With fewer input or output channels, the products of the kernel gradient don't fill a register tile.
        const MIN_CHANNELS: usize = 12;
        let tiles = shape.batch * Winograd::tiles_of_image(shape);
        let large = shape.in_c * shape.out_c >= LARGE_KERNEL;
        Self {
            input: tiles <= FEW_TILES,
            kernel: shape.in_c.min(shape.out_c) < MIN_CHANNELS || large && tiles < MIN_TILES_OF_LARGE_KERNEL,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conv2d::cases::{same_3x3, shape};

    fn name(shape: Conv2dShape) -> &'static str {
        in_f32(Isa::current(), shape).name()
    }

    #[test]
    fn winograd_needs_channels_tiles_and_well_filled_tiles() {
        // 24 channels need two tiles, fewer channels need 20 (16 x 20 outputs).
        assert_eq!(name(same_3x3([1, 4, 8, 24], 24)), "winograd");
        assert_eq!(name(same_3x3([1, 4, 4, 24], 24)), "im2col");
        assert_eq!(name(same_3x3([1, 16, 20, 8], 8)), "winograd");
        assert_eq!(name(same_3x3([1, 16, 16, 23], 64)), "im2col");
        assert_eq!(name(same_3x3([1, 16, 20, 7], 64)), "im2col");
        // 5 x 5 and 6 x 6 outputs both need four tiles: 6.25 and 9 outputs per tile on average.
        assert_eq!(name(same_3x3([1, 5, 5, 24], 24)), "im2col");
        assert_eq!(name(same_3x3([1, 6, 6, 24], 24)), "winograd");
    }

    #[test]
    fn strips_need_few_channels_wide_kernels_and_wide_images() {
        assert_eq!(name(same_3x3([1, 32, 24, 7], 64)), "strips");
        assert_eq!(name(same_3x3([1, 32, 23, 7], 64)), "im2col");
        assert_eq!(name(shape([1, 32, 32, 3], 64, [3, 1], [1, 1], [1, 1], [2, 0], 1)), "im2col");
        assert_eq!(name(shape([1, 64, 64, 8], 64, [7, 7], [2, 2], [1, 1], [6, 6], 1)), "im2col");
    }

    #[test]
    fn pointwise_convolutions_need_some_outputs() {
        let pointwise = |side, groups| shape([1, side, side, 64], 64, [1, 1], [1, 1], [1, 1], [0, 0], groups);
        assert_eq!(name(pointwise(4, 1)), "pointwise");
        assert_eq!(name(pointwise(3, 1)), "im2col");
        assert_eq!(name(pointwise(4, 2)), "im2col");
    }

    #[test]
    fn a_matrix_unit_needs_enough_outputs_and_depth() {
        let pointwise = |side, in_c| shape([1, side, side, in_c], 64, [1, 1], [1, 1], [1, 1], [0, 0], 1);
        assert!(prefers_direct(&pointwise(5, 128)));
        assert!(!prefers_direct(&pointwise(4, 128)));
        assert!(!prefers_direct(&pointwise(5, 127)));
        assert!(prefers_direct(&same_3x3([1, 5, 5, 15], 64)));
    }

    #[test]
    fn im2col_computes_gradients_of_few_tiles_and_of_few_channels() {
        let gradients = |image, out_c| {
            let Im2colGradients { input, kernel } = Im2colGradients::beside_winograd(&same_3x3(image, out_c));
            [input, kernel]
        };
        assert_eq!(gradients([1, 16, 20, 64], 64), [true, false]);
        assert_eq!(gradients([1, 16, 24, 64], 64), [false, false]);
        assert_eq!(gradients([1, 32, 32, 11], 64), [false, true]);
        assert_eq!(gradients([3, 12, 16, 256], 512), [false, true]);
        assert_eq!(gradients([10, 8, 8, 256], 512), [false, false]);
    }
}
