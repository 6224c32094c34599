//! What one task does: a strip, its products with some filters, and their outputs.

#![expect(unsafe_code, reason = "vectors and tiles are read and written at computed addresses")]

use std::ops::Range;

use super::convolution::{Convolution, GROUP, PRODUCT};
use super::filters::CHANNELS;
use crate::conv2d::epilogue::{POOL, RegisterEpilogue};
use crate::shared::Shared;
use crate::simd::{Amx, BLOCK, Blocks, Kernel, Segment, Simd};

/// Some rows of outputs of an image, and some groups of their channels.
pub(super) struct Band<'a> {
    pub(super) convolution: &'a Convolution,
    pub(super) amx: Amx,
    pub(super) segments: &'a [Segment],
    pub(super) image: usize,
    pub(super) rows: Range<usize>,
    pub(super) groups: Range<usize>,
    pub(super) x: &'a [f32],
    pub(super) filters: &'a [f32],
    pub(super) epilogue: RegisterEpilogue<'a>,
    pub(super) y: &'a Shared<'a>,
    pub(super) scratch: &'a mut [f32],
}

impl Kernel for Band<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let (convolution, layout) = (self.convolution, self.convolution.filters);
        let (strip, products) = std::mem::take(&mut self.scratch).split_at_mut(convolution.strip_len(self.rows.len()));
        let rows = convolution.products(self.rows.len());
        assert!(products.len() >= rows * PRODUCT);
        self.write_strip(simd, strip);
        let tiles = self.amx.start();
        for group in self.groups.clone() {
            let first = group * GROUP;
            for panel in first..layout.panels().min(first + GROUP) {
                // SAFETY: the strip reaches as far as the last segment of the last row, the panel has all segments' steps, and
                // there are as many products.
                unsafe {
                    tiles.multiply(Blocks {
                        left: strip.as_ptr(),
                        left_outer: convolution.pixel(),
                        segments: self.segments,
                        right: self.filters[panel * layout.panel()..][..layout.panel()].as_ptr(),
                        ahead: self.filters.as_ptr().wrapping_add((panel + 1) * layout.panel()),
                        product: products[(panel - first) * BLOCK..].as_mut_ptr(),
                        product_outer: PRODUCT,
                        rows,
                    });
                }
            }
            let channels = first * BLOCK..layout.to.min((first + GROUP) * BLOCK);
            for channel in channels.clone().step_by(S::LANES) {
                let products = &products[channel - channels.start..];
                match self.epilogue.pool {
                    true => self.write_pooled(simd, channel, products),
                    false => self.write(simd, channel, products),
                }
            }
        }
    }
}

impl Band<'_> {
    /// The rows that the outputs read as bf16, with zeros around.
    #[inline(always)]
    fn write_strip<S: Simd>(&self, simd: S, strip: &mut [f32]) {
        let Convolution { from_size: [height, width], pad, filters, .. } = *self.convolution;
        let (pitch, pixel, from) = (self.convolution.pitch(), self.convolution.pixel(), filters.from);
        let count = self.rows.len() + filters.kernel[0] - 1;
        for (row, strip) in strip.chunks_exact_mut(pitch * pixel).take(count).enumerate() {
            let y = (self.rows.start + row).wrapping_sub(pad[0]);
            if y >= height {
                strip.fill(0.0);
                continue;
            }
            let image = &self.x[(self.image * height + y) * width * from..][..width * from];
            for (column, strip) in strip.chunks_exact_mut(pixel).enumerate() {
                let column = column.wrapping_sub(pad[1]);
                if column >= width {
                    strip.fill(0.0);
                    continue;
                }
                let values = &image[column * from..][..from];
                assert!(strip.len() * 2 >= filters.steps() * CHANNELS);
                for channel in (0..filters.steps() * CHANNELS).step_by(S::LANES) {
                    // SAFETY: as many values are left as are loaded; the strip has room for all steps' channels.
                    unsafe {
                        let x = match from.saturating_sub(channel) {
                            0 => simd.splat(0.0),
                            count => simd.load_first(count, values.as_ptr().add(channel)),
                        };
                        simd.store_bf16(x, strip.as_mut_ptr().cast::<u16>().add(channel));
                    }
                }
            }
        }
    }

    /// Writes a vector of channels of all outputs.
    #[inline(always)]
    fn write<S: Simd>(&self, simd: S, channel: usize, products: &[f32]) {
        let Convolution { size: [height, width], filters, .. } = *self.convolution;
        let (pitch, count) = (self.convolution.pitch(), S::LANES.min(filters.to - channel));
        let bias = self.epilogue.bias(simd, channel, count);
        for (row, y) in self.rows.clone().enumerate() {
            let products = &products[row * pitch * PRODUCT..][..(width - 1) * PRODUCT + S::LANES];
            let start = (self.image * height + y) * width * filters.to + channel;
            for x in 0..width {
                // SAFETY: a row has as many products; these outputs exist, and are this task's alone.
                unsafe {
                    let value = simd.add(simd.load(products.as_ptr().add(x * PRODUCT)), bias);
                    self.epilogue.store(simd, count, value, self.y, start + x * filters.to);
                }
            }
        }
    }

    /// As [`write`](Self::write), but writes only the maximum of each window of 2x2 outputs. Bias and ReLU don't change the order
    /// of values, so they are applied to the maximum.
    #[inline(always)]
    fn write_pooled<S: Simd>(&self, simd: S, channel: usize, products: &[f32]) {
        let Convolution { size, filters, .. } = *self.convolution;
        let ([height, width], pitch) = (size.map(|size| size / POOL), self.convolution.pitch());
        let count = S::LANES.min(filters.to - channel);
        let bias = self.epilogue.bias(simd, channel, count);
        if width == 0 {
            return;
        }
        for row in 0..self.rows.len() / POOL {
            let last = (row * POOL + 1) * pitch + width * POOL - 1;
            let products = &products[..last * PRODUCT + S::LANES];
            let start = (self.image * height + self.rows.start / POOL + row) * width * filters.to + channel;
            for x in 0..width {
                let corner = row * POOL * pitch + x * POOL;
                // SAFETY: as above.
                unsafe {
                    let upper = products.as_ptr().add(corner * PRODUCT);
                    let lower = products.as_ptr().add((corner + pitch) * PRODUCT);
                    let upper = simd.max(simd.load(upper), simd.load(upper.add(PRODUCT)));
                    let lower = simd.max(simd.load(lower), simd.load(lower.add(PRODUCT)));
                    let value = simd.add(simd.max(upper, lower), bias);
                    self.epilogue.store(simd, count, value, self.y, start + x * filters.to);
                }
            }
        }
    }
}
