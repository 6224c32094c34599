//! The output transform: products in the Winograd domain to outputs, with the epilogue in registers.

#![expect(unsafe_code, reason = "tasks write interleaved pixels of one output")]

use super::tile_grid::TilePosition;
use super::transform::{self, INPUT, OUTPUT, POINTS};
use crate::conv2d::epilogue::{POOL, RegisterEpilogue};
use crate::shared::SharedSlice;
use crate::simd::Simd;

/// Distance in pixels from a written output to the prefetched output to its right: two tiles.
const PREFETCH_COLUMNS: usize = 2 * OUTPUT;

/// The destination of the output transform, and the epilogue that is applied before outputs are written.
pub(super) struct OutputTransform<'a> {
    /// Height and width of the outputs before pooling.
    pub(super) size: [usize; 2],
    pub(super) channels: usize,
    pub(super) y: &'a SharedSlice<'a>,
    pub(super) epilogue: RegisterEpilogue<'a>,
}

impl OutputTransform<'_> {
    /// Transforms the products of one tile and one vector of channels, from `channel` on, and writes the outputs.
    ///
    /// The products at neighbouring points are `point_stride` apart.
    #[inline(always)]
    pub(super) fn write<S: Simd>(
        &self,
        simd: S,
        position: TilePosition,
        channel: usize,
        products: &[f32],
        point_stride: usize,
    ) {
        let ([height, width], count) = (self.size, S::LANES.min(self.channels - channel));
        let (rows, columns) = (OUTPUT.min(height - position.top), OUTPUT.min(width - position.left));
        let bias = self.epilogue.bias(simd, channel, count);
        let start = ((position.image * height + position.top) * width + position.left) * self.channels + channel;
        let at = |i, j| start + (i * width + j) * self.channels;
        // Branch once on whether the tile and the vector are complete, not at each output: see `transform::transform_vector`.
        if rows == OUTPUT && columns == OUTPUT && count == S::LANES {
            transform(
                simd,
                products,
                point_stride,
                #[inline(always)]
                |i, j, x| {
                    // Without the prefetch, stores to cache lines that aren't in the cache would fill the store buffer and
                    // stall the transform.
                    simd.prefetch(self.y.address(at(i, j + PREFETCH_COLUMNS)));
                    // SAFETY: these pixels and channels exist, and no other task writes them.
                    unsafe { self.epilogue.store(simd, S::LANES, simd.add(x, bias), self.y, at(i, j)) }
                },
            );
        } else {
            transform(
                simd,
                products,
                point_stride,
                #[inline(always)]
                |i, j, x| {
                    if i < rows && j < columns {
                        // SAFETY: as above.
                        unsafe { self.epilogue.store(simd, count, simd.add(x, bias), self.y, at(i, j)) }
                    }
                },
            );
        }
    }

    /// As [`write`](Self::write), but writes only the maximum of each window of 2x2 outputs. Bias and ReLU don't change the order
    /// of values, so they are applied to the maximum.
    #[inline(always)]
    pub(super) fn write_pooled<S: Simd>(
        &self,
        simd: S,
        position: TilePosition,
        channel: usize,
        products: &[f32],
        point_stride: usize,
    ) {
        let mut pooled = [[simd.splat(0.0); OUTPUT / POOL]; OUTPUT / POOL];
        transform(
            simd,
            products,
            point_stride,
            #[inline(always)]
            |i, j, x| {
                let maximum = &mut pooled[i / POOL][j / POOL];
                *maximum = if i % POOL == 0 && j % POOL == 0 { x } else { simd.max(*maximum, x) };
            },
        );
        let ([height, width], count) = (self.size.map(|size| size / POOL), S::LANES.min(self.channels - channel));
        let (top, left, bias) = (position.top / POOL, position.left / POOL, self.epilogue.bias(simd, channel, count));
        for (i, row) in pooled.into_iter().enumerate() {
            for (j, x) in row.into_iter().enumerate() {
                if top + i < height && left + j < width {
                    let at = ((position.image * height + top + i) * width + left + j) * self.channels + channel;
                    // SAFETY: these pixels and channels exist, and no other task writes them.
                    unsafe { self.epilogue.store(simd, count, simd.add(x, bias), self.y, at) }
                }
            }
        }
    }
}

/// Transforms one vector of products, whose points are `point_stride` apart, and calls `output(row, column, vector)`.
#[inline(always)]
#[expect(
    clippy::redundant_closure,
    reason = "called through a reference, it would be compiled without the instruction set"
)]
fn transform<S: Simd>(simd: S, products: &[f32], point_stride: usize, mut output: impl FnMut(usize, usize, S::Vector)) {
    assert!(products.len() >= (POINTS - 1) * point_stride + S::LANES);
    transform::transform_2d(
        simd,
        #[inline(always)]
        // SAFETY: the assertion above.
        |i, j| unsafe { simd.load(products.as_ptr().add((i * INPUT + j) * point_stride)) },
        #[inline(always)]
        |m| transform::output(simd, m),
        #[inline(always)]
        |i, j, x| output(i, j, x),
    );
}
