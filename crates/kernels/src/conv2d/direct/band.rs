//! One task of the direct convolution: it copies a strip as bf16, multiplies it with filter panels, and writes the outputs.

#![expect(unsafe_code, reason = "vectors and tiles are read and written at computed addresses")]

use std::ops::Range;

use super::filters::CHANNELS;
use super::geometry::{Convolution, GROUP_PANELS, PRODUCT_STRIDE};
use crate::conv2d::epilogue::{POOL, RegisterEpilogue};
use crate::shared::SharedSlice;
use crate::simd::{Amx, BLOCK, BlockProduct, Kernel, Segment, Simd};

/// One task: a range of output rows of one image (a band), for a range of groups of filter panels.
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
    pub(super) y: &'a SharedSlice<'a>,
    pub(super) scratch: &'a mut [f32],
}

impl Kernel for Band<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let (convolution, layout) = (self.convolution, self.convolution.filters);
        let (strip, products) = std::mem::take(&mut self.scratch).split_at_mut(convolution.strip_len(self.rows.len()));
        let rows = convolution.product_rows(self.rows.len());
        assert!(products.len() >= rows * PRODUCT_STRIDE);
        self.write_strip(simd, strip);
        let tiles = self.amx.configure();
        for group in self.groups.clone() {
            let first = group * GROUP_PANELS;
            for panel in first..layout.panels().min(first + GROUP_PANELS) {
                // SAFETY: the strip contains the last segment of the last row, the panel has the steps of all segments, and
                // `products` has `rows` rows.
                unsafe {
                    tiles.multiply(BlockProduct {
                        left: strip.as_ptr(),
                        left_stride: convolution.pixel_stride(),
                        segments: self.segments,
                        right: self.filters[panel * layout.panel_stride()..][..layout.panel_stride()].as_ptr(),
                        prefetch: self.filters.as_ptr().wrapping_add((panel + 1) * layout.panel_stride()),
                        product: products[(panel - first) * BLOCK..].as_mut_ptr(),
                        product_stride: PRODUCT_STRIDE,
                        rows,
                    });
                }
            }
            let channels = first * BLOCK..layout.out_channels.min((first + GROUP_PANELS) * BLOCK);
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
    /// Writes the strip: the input rows that the band reads, as bf16 and with zero padding.
    #[inline(always)]
    fn write_strip<S: Simd>(&self, simd: S, strip: &mut [f32]) {
        let Convolution { in_size: [height, width], pad, filters, .. } = *self.convolution;
        let (row_pixels, pixel_stride) = (self.convolution.row_pixels(), self.convolution.pixel_stride());
        let in_channels = filters.in_channels;
        let count = self.rows.len() + filters.kernel[0] - 1;
        for (row, strip) in strip.chunks_exact_mut(row_pixels * pixel_stride).take(count).enumerate() {
            let y = (self.rows.start + row).wrapping_sub(pad[0]);
            if y >= height {
                strip.fill(0.0);
                continue;
            }
            let image = &self.x[(self.image * height + y) * width * in_channels..][..width * in_channels];
            for (column, strip) in strip.chunks_exact_mut(pixel_stride).enumerate() {
                let column = column.wrapping_sub(pad[1]);
                if column >= width {
                    strip.fill(0.0);
                    continue;
                }
                let values = &image[column * in_channels..][..in_channels];
                assert!(strip.len() * 2 >= filters.steps() * CHANNELS);
                for channel in (0..filters.steps() * CHANNELS).step_by(S::LANES) {
                    // SAFETY: `values` has the `count` loaded channels; the strip holds the channels of all steps.
                    unsafe {
                        let x = match in_channels.saturating_sub(channel) {
                            0 => simd.splat(0.0),
                            count => simd.load_first(count, values.as_ptr().add(channel)),
                        };
                        simd.store_bf16(x, strip.as_mut_ptr().cast::<u16>().add(channel));
                    }
                }
            }
        }
    }

    /// Applies the epilogue to one vector of channels of all the band's outputs, and writes them to `y`.
    #[inline(always)]
    fn write<S: Simd>(&self, simd: S, channel: usize, products: &[f32]) {
        let Convolution { out_size: [height, width], filters, .. } = *self.convolution;
        let (row_pixels, count) = (self.convolution.row_pixels(), S::LANES.min(filters.out_channels - channel));
        let bias = self.epilogue.bias(simd, channel, count);
        for (row, y) in self.rows.clone().enumerate() {
            let products = &products[row * row_pixels * PRODUCT_STRIDE..][..(width - 1) * PRODUCT_STRIDE + S::LANES];
            let start = (self.image * height + y) * width * filters.out_channels + channel;
            for x in 0..width {
                // SAFETY: `products` holds these products; these outputs exist, and no other task writes them.
                unsafe {
                    let value = simd.add(simd.load(products.as_ptr().add(x * PRODUCT_STRIDE)), bias);
                    self.epilogue.store(simd, count, value, self.y, start + x * filters.out_channels);
                }
            }
        }
    }

    /// As [`write`](Self::write), but writes only the maximum of each window of 2x2 outputs. Bias and ReLU don't change the order
    /// of values, so they are applied to the maximum.
    #[inline(always)]
    fn write_pooled<S: Simd>(&self, simd: S, channel: usize, products: &[f32]) {
        let Convolution { out_size, filters, .. } = *self.convolution;
        let ([height, width], row_pixels) = (out_size.map(|size| size / POOL), self.convolution.row_pixels());
        let count = S::LANES.min(filters.out_channels - channel);
        let bias = self.epilogue.bias(simd, channel, count);
        if width == 0 {
            return;
        }
        for row in 0..self.rows.len() / POOL {
            let last = (row * POOL + 1) * row_pixels + width * POOL - 1;
            let products = &products[..last * PRODUCT_STRIDE + S::LANES];
            let start = (self.image * height + self.rows.start / POOL + row) * width * filters.out_channels + channel;
            for x in 0..width {
                let corner = row * POOL * row_pixels + x * POOL;
                // SAFETY: as above.
                unsafe {
                    let upper = products.as_ptr().add(corner * PRODUCT_STRIDE);
                    let lower = products.as_ptr().add((corner + row_pixels) * PRODUCT_STRIDE);
                    let upper = simd.max(simd.load(upper), simd.load(upper.add(PRODUCT_STRIDE)));
                    let lower = simd.max(simd.load(lower), simd.load(lower.add(PRODUCT_STRIDE)));
                    let value = simd.add(simd.max(upper, lower), bias);
                    self.epilogue.store(simd, count, value, self.y, start + x * filters.out_channels);
                }
            }
        }
    }
}
