//! Filters of the direct convolution: their packing into bf16 panels, in the order in which the AMX microkernel reads them.

#![expect(unsafe_code, reason = "vectors are written to computed addresses")]

use std::ops::Range;

use rayon::prelude::*;

use crate::conv2d::direction::Direction;
use crate::shared::SharedSlice;
use crate::simd::{BLOCK, Bf16, Kernel, Segment, Simd, TILE};

/// Number of steps in a chunk of input channels. The products of all taps with one chunk come before those with the next chunk.
/// So the inputs that a block of outputs reads in one chunk stay in the L1 cache from one tap to the next.
const CHUNK: usize = 4;

/// Input channels of a step: the bf16 values in a row of an AMX tile.
pub(super) const CHANNELS: usize = 2 * TILE;

/// The packed layout of filters: `[panel][chunk][tap][step][half][pair][column]`.
///
/// A panel is [`BLOCK`] output channels in two halves of [`TILE`] columns. A chunk is [`CHUNK`] steps, and a step is [`CHANNELS`]
/// input channels, packed in bf16 pairs. Missing channels are padded with zeros.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    /// Height and width of the kernel.
    pub(super) kernel: [usize; 2],
    /// Input channels of the convolution.
    pub(super) in_channels: usize,
    /// Output channels of the convolution.
    pub(super) out_channels: usize,
}

impl Layout {
    /// Number of steps that cover all input channels.
    pub(super) fn steps(&self) -> usize {
        self.in_channels.div_ceil(CHANNELS)
    }

    pub(super) fn panels(&self) -> usize {
        self.out_channels.div_ceil(BLOCK)
    }

    /// Distance between neighbouring panels, in bf16 pairs.
    pub(super) fn panel_stride(&self) -> usize {
        self.taps() * self.steps() * BLOCK * TILE
    }

    pub(super) fn len(&self) -> usize {
        self.panels() * self.panel_stride()
    }

    fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    /// The range of steps of each chunk.
    fn chunks(&self) -> impl Iterator<Item = Range<usize>> {
        let steps = self.steps();
        (0..steps).step_by(CHUNK).map(move |first| first..steps.min(first + CHUNK))
    }

    /// The segments of a strip that a panel multiplies, in the order in which the panel is packed: one for each chunk and tap.
    ///
    /// Pixels of the strip are `pixel_stride` bf16 pairs apart, and its rows have `row_pixels` pixels.
    pub(super) fn segments(&self, pixel_stride: usize, row_pixels: usize) -> Vec<Segment> {
        let [height, width] = self.kernel;
        let taps = (0..height).flat_map(|row| (0..width).map(move |column| row * row_pixels + column));
        let of_chunk = |chunk: Range<usize>| {
            let (first, steps) = (chunk.start * TILE, chunk.len());
            taps.clone().map(move |pixels| Segment { start: pixels * pixel_stride + first, steps })
        };
        self.chunks().flat_map(of_chunk).collect()
    }

    /// Rounds the filters `w` (HWIO) to bf16 and packs them into `to`.
    pub(super) fn pack(&self, bf16: Bf16, direction: Direction, w: &[f32], to: &mut [f32]) {
        assert!(w.len() == self.taps() * self.in_channels * self.out_channels && to.len() == self.len());
        let to = SharedSlice::new(to);
        (0..self.panels()).into_par_iter().for_each(|panel| {
            bf16.run(PackPanel { layout: *self, direction, w, panel, to: &to });
        });
    }
}

/// The packing of one panel.
struct PackPanel<'a> {
    layout: Layout,
    direction: Direction,
    w: &'a [f32],
    panel: usize,
    to: &'a SharedSlice<'a>,
}

impl Kernel for PackPanel<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let mut at = self.panel * self.layout.panel_stride();
        for chunk in self.layout.chunks() {
            for (tap, step) in (0..self.layout.taps()).flat_map(|tap| chunk.clone().map(move |step| (tap, step))) {
                for half in 0..2 {
                    let values = self.read(tap, step * CHANNELS, self.panel * BLOCK + half * TILE);
                    for pair in values.chunks_exact(2) {
                        for column in (0..TILE).step_by(S::LANES) {
                            // SAFETY: both rows and the panel hold whole vectors; no other task writes this panel.
                            unsafe {
                                let low = simd.load(pair[0][column..].as_ptr());
                                let high = simd.load(pair[1][column..].as_ptr());
                                simd.store(simd.pair_bf16(low, high), self.to.at(at + column, S::LANES));
                            }
                        }
                        at += TILE;
                    }
                }
            }
        }
    }
}

impl PackPanel<'_> {
    /// The filters of one tap for the input channels from `in_start` on and the output channels from `out_start` on. Missing
    /// channels are zero.
    fn read(&self, tap: usize, in_start: usize, out_start: usize) -> [[f32; TILE]; CHANNELS] {
        let Layout { in_channels, out_channels, .. } = self.layout;
        let inputs = in_start..in_channels.min(in_start + CHANNELS);
        let outputs = out_start..out_channels.min(out_start + TILE);
        let mut values = [[0.0; TILE]; CHANNELS];
        if outputs.is_empty() {
            return values;
        }
        match self.direction {
            Direction::Forward => {
                for (row, c) in values.iter_mut().zip(inputs) {
                    let filters = &self.w[(tap * in_channels + c) * out_channels..];
                    row[..outputs.len()].copy_from_slice(&filters[outputs.clone()]);
                }
            }
            Direction::Backward => {
                let rotated_tap = self.layout.taps() - 1 - tap;
                for (column, c) in outputs.enumerate() {
                    let row = &self.w[(rotated_tap * out_channels + c) * in_channels..][inputs.clone()];
                    values.iter_mut().zip(row).for_each(|(values, w)| values[column] = *w);
                }
            }
        }
        values
    }
}
