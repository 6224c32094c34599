//! Filters in the order in which tiles of products read them.

#![expect(unsafe_code, reason = "vectors are written to computed addresses")]

use std::ops::Range;

use rayon::prelude::*;

use crate::conv2d::direction::Direction;
use crate::shared::Shared;
use crate::simd::{BLOCK, Bf16, Kernel, Segment, Simd, TILE};

/// Steps of the depth, of [`TILE`] words each, that all taps are done with before the next: what a block of outputs reads of so
/// many channels stays in the first-level cache from one tap to another.
const CHUNK: usize = 4;

/// Channels of a step.
pub(super) const CHANNELS: usize = 2 * TILE;

/// Filters as `[panel][chunk][tap][step][half][word][column]`, in words of two channels: a panel is [`BLOCK`] channels to which a
/// convolution leads, in halves of [`TILE`]. Where there are fewer channels, zeros stand.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    pub(super) kernel: [usize; 2],
    /// Channels that a convolution reads.
    pub(super) from: usize,
    /// Channels that it computes.
    pub(super) to: usize,
}

impl Layout {
    /// Steps of all channels.
    pub(super) fn steps(&self) -> usize {
        self.from.div_ceil(CHANNELS)
    }

    pub(super) fn panels(&self) -> usize {
        self.to.div_ceil(BLOCK)
    }

    /// From one panel to the next.
    pub(super) fn panel(&self) -> usize {
        self.taps() * self.steps() * BLOCK * TILE
    }

    pub(super) fn len(&self) -> usize {
        self.panels() * self.panel()
    }

    fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    fn chunks(&self) -> impl Iterator<Item = Range<usize>> {
        let steps = self.steps();
        (0..steps).step_by(CHUNK).map(move |first| first..steps.min(first + CHUNK))
    }

    /// The depth in the order of a panel, as it lies in a strip whose pixels are `pixel` words apart and rows `pitch` pixels.
    pub(super) fn segments(&self, pixel: usize, pitch: usize) -> Vec<Segment> {
        let [height, width] = self.kernel;
        let taps = (0..height).flat_map(|row| (0..width).map(move |column| row * pitch + column));
        let of_chunk = |chunk: Range<usize>| {
            let (first, steps) = (chunk.start * TILE, chunk.len());
            taps.clone().map(move |pixels| Segment { start: pixels * pixel + first, steps })
        };
        self.chunks().flat_map(of_chunk).collect()
    }

    /// Brings the filters `w`, HWIO, into this order.
    pub(super) fn arrange(&self, bf16: Bf16, direction: Direction, w: &[f32], to: &mut [f32]) {
        assert!(w.len() == self.taps() * self.from * self.to && to.len() == self.len());
        let to = Shared::new(to);
        (0..self.panels()).into_par_iter().for_each(|panel| {
            bf16.run(Arrange { layout: *self, direction, w, panel, to: &to });
        });
    }
}

/// The filters of one panel.
struct Arrange<'a> {
    layout: Layout,
    direction: Direction,
    w: &'a [f32],
    panel: usize,
    to: &'a Shared<'a>,
}

impl Kernel for Arrange<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let mut at = self.panel * self.layout.panel();
        for chunk in self.layout.chunks() {
            for (tap, step) in (0..self.layout.taps()).flat_map(|tap| chunk.clone().map(move |step| (tap, step))) {
                for half in 0..2 {
                    let values = self.read(tap, step * CHANNELS, self.panel * BLOCK + half * TILE);
                    for pair in values.chunks_exact(2) {
                        for column in (0..TILE).step_by(S::LANES) {
                            // SAFETY: both rows are of whole vectors, and so are the words of this panel.
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

impl Arrange<'_> {
    /// The filters of a tap from channels from `from` on to channels from `to` on; zeros for those that there aren't.
    fn read(&self, tap: usize, from: usize, to: usize) -> [[f32; TILE]; CHANNELS] {
        let Layout { from: from_end, to: to_end, .. } = self.layout;
        let (froms, tos) = (from..from_end.min(from + CHANNELS), to..to_end.min(to + TILE));
        let mut values = [[0.0; TILE]; CHANNELS];
        if tos.is_empty() {
            return values;
        }
        match self.direction {
            Direction::Forward => {
                for (row, c) in values.iter_mut().zip(froms) {
                    row[..tos.len()].copy_from_slice(&self.w[(tap * from_end + c) * to_end..][tos.clone()]);
                }
            }
            Direction::Backward => {
                let turned = self.layout.taps() - 1 - tap;
                for (column, c) in tos.enumerate() {
                    let row = &self.w[(turned * to_end + c) * from_end..][froms.clone()];
                    values.iter_mut().zip(row).for_each(|(values, w)| values[column] = *w);
                }
            }
        }
        values
    }
}
