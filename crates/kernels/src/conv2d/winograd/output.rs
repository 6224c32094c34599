//! Products at the points on their way to outputs.

#![expect(unsafe_code, reason = "tasks write interleaved pixels of one output")]

use super::tiles::Place;
use super::transform::{self, INPUT, OUTPUT, POINTS};
use crate::conv2d::epilogue::{POOL, RegisterEpilogue};
use crate::shared::Shared;
use crate::simd::Simd;

/// Pixels to the right of those that are written which are prefetched: those of the next tile but one.
const AHEAD: usize = 2 * OUTPUT;

/// Where outputs go.
pub(super) struct Output<'a> {
    pub(super) size: [usize; 2],
    pub(super) channels: usize,
    pub(super) y: &'a Shared<'a>,
    pub(super) epilogue: RegisterEpilogue<'a>,
}

impl Output<'_> {
    /// Transforms one vector of a tile's products to its outputs, from `channel` on.
    #[inline(always)]
    pub(super) fn write<S: Simd>(&self, simd: S, place: Place, channel: usize, products: &[f32], point: usize) {
        let ([height, width], count) = (self.size, S::LANES.min(self.channels - channel));
        let (rows, columns) = (OUTPUT.min(height - place.top), OUTPUT.min(width - place.left));
        let bias = self.epilogue.bias(simd, channel, count);
        let start = ((place.image * height + place.top) * width + place.left) * self.channels + channel;
        let at = |i, j| start + (i * width + j) * self.channels;
        // All of it or not is asked once, not at each output: see `transform::vector`.
        if rows == OUTPUT && columns == OUTPUT && count == S::LANES {
            transform(
                simd,
                products,
                point,
                #[inline(always)]
                |i, j, x| {
                    // Lines not in the cache hold up the transform as soon as a few dozen stores wait for theirs.
                    simd.prefetch(self.y.address(at(i, j + AHEAD)));
                    // SAFETY: these pixels and channels exist, and are this task's alone.
                    unsafe { self.epilogue.store(simd, S::LANES, simd.add(x, bias), self.y, at(i, j)) }
                },
            );
        } else {
            transform(
                simd,
                products,
                point,
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
    pub(super) fn write_pooled<S: Simd>(&self, simd: S, place: Place, channel: usize, products: &[f32], point: usize) {
        let mut pooled = [[simd.splat(0.0); OUTPUT / POOL]; OUTPUT / POOL];
        transform(
            simd,
            products,
            point,
            #[inline(always)]
            |i, j, x| {
                let greatest = &mut pooled[i / POOL][j / POOL];
                *greatest = if i % POOL == 0 && j % POOL == 0 { x } else { simd.max(*greatest, x) };
            },
        );
        let ([height, width], count) = (self.size.map(|size| size / POOL), S::LANES.min(self.channels - channel));
        let (top, left, bias) = (place.top / POOL, place.left / POOL, self.epilogue.bias(simd, channel, count));
        for (i, row) in pooled.into_iter().enumerate() {
            for (j, x) in row.into_iter().enumerate() {
                if top + i < height && left + j < width {
                    let at = ((place.image * height + top + i) * width + left + j) * self.channels + channel;
                    // SAFETY: these pixels and channels exist, and are this task's alone.
                    unsafe { self.epilogue.store(simd, count, simd.add(x, bias), self.y, at) }
                }
            }
        }
    }
}

/// Takes one vector of the products at all points, `point` apart, to outputs.
#[inline(always)]
#[expect(
    clippy::redundant_closure,
    reason = "called through a reference, it would be compiled without the instruction set"
)]
fn transform<S: Simd>(simd: S, products: &[f32], point: usize, mut output: impl FnMut(usize, usize, S::Vector)) {
    assert!(products.len() >= (POINTS - 1) * point + S::LANES);
    transform::square(
        simd,
        #[inline(always)]
        // SAFETY: the assertion above.
        |i, j| unsafe { simd.load(products.as_ptr().add((i * INPUT + j) * point)) },
        #[inline(always)]
        |m| transform::output(simd, m),
        #[inline(always)]
        |i, j, x| output(i, j, x),
    );
}
