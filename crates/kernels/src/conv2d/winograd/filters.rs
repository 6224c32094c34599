//! Filters in the Winograd domain: their transform, their packed layout, and the transform of their gradients.

#![expect(unsafe_code, reason = "vectors are read and written at computed addresses")]

use std::ops::Range;

use rayon::prelude::*;

use super::transform::{self, INPUT, POINTS, TAPS};
use crate::aligned::odd_cache_lines;
use crate::conv2d::direction::Direction;
use crate::microkernel::columns;
use crate::number::{Number, slots};
use crate::shared::SharedSlice;
use crate::simd::{Isa, Kernel, MAX_LANES, Simd};

/// The packed layout of transformed filters: `[panel][point][input channel][column]`.
///
/// A panel is as many output channels as a register tile has columns; the last one is padded with zeros to whole vectors. A point
/// is one of the [`POINTS`] elements of a transformed filter. Input channels are the depth of the products, packed in
/// [slots](crate::number).
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    /// Input channels of the convolution.
    pub(super) in_channels: usize,
    /// Depth of the products: the slots that hold the input channels.
    pub(super) depth: usize,
    /// Output channels of the convolution.
    pub(super) out_channels: usize,
    /// Output channels of a panel.
    pub(super) columns: usize,
}

impl Layout {
    pub(super) fn new<N: Number>(isa: Isa, in_channels: usize, out_channels: usize) -> Self {
        Self { in_channels, depth: slots::<N>(in_channels), out_channels, columns: isa.columns() }
    }

    pub(super) fn panels(&self) -> usize {
        self.panels_of(self.out_channels)
    }

    /// Number of panels that hold `channels` output channels.
    pub(super) fn panels_of(&self, channels: usize) -> usize {
        channels.div_ceil(self.columns)
    }

    /// Number of vectors of a panel that hold channels, not padding alone.
    #[inline(always)]
    pub(super) fn vectors<S: Simd>(&self, panel: usize) -> usize {
        (self.out_channels - panel * self.columns).div_ceil(S::LANES).min(S::VECTORS)
    }

    /// Distance from one point of a panel to the next.
    pub(super) fn point_stride(&self) -> usize {
        odd_cache_lines(self.depth * self.columns)
    }

    /// Distance from one panel to the next.
    pub(super) fn panel_stride(&self) -> usize {
        POINTS * self.point_stride()
    }

    pub(super) fn len(&self) -> usize {
        self.panels() * self.panel_stride()
    }

    /// Transforms the filters `w` (HWIO) of some input channels to the Winograd domain, for one panel.
    ///
    /// The panel is written to `transformed` from `start` on. Both ends of `channels` must be multiples of [`CHANNELS`], or the
    /// number of input channels.
    #[inline(always)]
    pub(super) fn transform<S: Simd, N: Number>(
        &self,
        simd: S,
        (direction, w): (Direction, &[f32]),
        panel: usize,
        channels: Range<usize>,
        transformed: &SharedSlice,
        start: usize,
    ) {
        const { assert!(CHANNELS.is_multiple_of(N::PACKED)) };
        assert!(w.len() == TAPS * TAPS * self.in_channels * self.out_channels);
        let filters = FilterTransform { layout: self, w, panel, transformed, start };
        let mut first = channels.start;
        while first < channels.end {
            let channels = first..channels.end.min(first + CHANNELS);
            for vector in 0..self.vectors::<S>(panel) {
                match direction {
                    Direction::Forward => filters.forward::<S, N>(simd, channels.clone(), vector),
                    Direction::Backward => filters.backward::<S, N>(simd, channels.clone(), vector),
                }
            }
            first = channels.end;
        }
    }

    /// The gradient with respect to the filters, `dw` (HWIO), from the gradient with respect to the transformed filters.
    ///
    /// The latter is the sum of `partials`, which all have this layout, in f32. This is the transpose of the forward
    /// [`transform`](Self::transform).
    pub(super) fn transform_gradient(&self, isa: Isa, partials: &[f32], dw: &mut [f32]) {
        assert!(
            dw.len() == TAPS * TAPS * self.in_channels * self.out_channels && partials.len().is_multiple_of(self.len())
        );
        let dw = SharedSlice::new(dw);
        (0..self.panels()).into_par_iter().for_each(|panel| {
            isa.run(FilterGradientTransform { layout: *self, partials, panel, dw: &dw });
        });
    }
}

/// Input channels that are transformed at a time.
pub(super) const CHANNELS: usize = 16;

/// The transform of the filters of one panel.
struct FilterTransform<'a> {
    layout: &'a Layout,
    w: &'a [f32],
    panel: usize,
    transformed: &'a SharedSlice<'a>,
    start: usize,
}

impl FilterTransform<'_> {
    /// The first output channel of a vector of the panel, and the number of its channels.
    #[inline(always)]
    fn vector<S: Simd>(&self, vector: usize) -> (usize, usize) {
        let first = self.panel * columns::<S>() + vector * S::LANES;
        (first, (self.layout.out_channels - first).min(S::LANES))
    }

    /// Transforms filters of the forward pass, which are loaded directly from `w`.
    #[inline(always)]
    fn forward<S: Simd, N: Number>(&self, simd: S, channels: Range<usize>, vector: usize) {
        let (&Layout { in_channels, out_channels, .. }, w) = (self.layout, self.w);
        let (first, count) = self.vector::<S>(vector);
        self.transform_channels::<S, N>(
            simd,
            channels,
            vector,
            #[inline(always)]
            // SAFETY: `count` channels from `first` on exist (`Layout::transform` checked the length).
            |tap, c| unsafe { simd.load_first(count, w[(tap * in_channels + c) * out_channels + first..].as_ptr()) },
        );
    }

    /// Transforms filters of the backward pass: channels swapped, taps rotated by 180°. The filters are first transposed into a
    /// buffer.
    #[inline(always)]
    fn backward<S: Simd, N: Number>(&self, simd: S, channels: Range<usize>, vector: usize) {
        let (&Layout { in_channels, out_channels, .. }, w) = (self.layout, self.w);
        let (first, count) = self.vector::<S>(vector);
        let mut transposed = [0.0; TAPS * TAPS * CHANNELS * MAX_LANES];
        for tap in 0..TAPS * TAPS {
            let rotated_tap = TAPS * TAPS - 1 - tap;
            for lane in 0..count {
                let row = &w[(rotated_tap * out_channels + first + lane) * in_channels..][channels.clone()];
                for (c, w) in row.iter().enumerate() {
                    transposed[(tap * CHANNELS + c) * S::LANES + lane] = *w;
                }
            }
        }
        let start = channels.start;
        self.transform_channels::<S, N>(
            simd,
            channels,
            vector,
            #[inline(always)]
            // SAFETY: the buffer holds a vector for every tap and channel.
            |tap, c| unsafe { simd.load(transposed[(tap * CHANNELS + c - start) * S::LANES..].as_ptr()) },
        );
    }

    /// Transforms the filters of some input channels, slot by slot. `load(tap, channel)` loads a vector of output channels.
    #[inline(always)]
    fn transform_channels<S: Simd, N: Number>(
        &self,
        simd: S,
        channels: Range<usize>,
        vector: usize,
        load: impl Fn(usize, usize) -> S::Vector,
    ) {
        let point_stride = self.layout.point_stride();
        let mut c = channels.start;
        while c < channels.end {
            let first = transform_filter(
                simd,
                #[inline(always)]
                |tap| load(tap, c),
            );
            let second = match N::PACKED > 1 && c + 1 < channels.end {
                true => transform_filter(
                    simd,
                    #[inline(always)]
                    |tap| load(tap, c + 1),
                ),
                false => [simd.splat(0.0); POINTS],
            };
            let first_point = self.start + c / N::PACKED * columns::<S>() + vector * S::LANES;
            for point in 0..POINTS {
                let slots = N::pack(simd, first[point], second[point]);
                // SAFETY: the panel has a row of `columns` for this slot at every point; no other task writes it.
                unsafe { simd.store(slots, self.transformed.at(first_point + point * point_stride, S::LANES)) };
            }
            c += N::PACKED;
        }
    }
}

/// Transforms one filter in each lane to the Winograd domain. `load(tap)` loads a tap of all lanes.
#[inline(always)]
fn transform_filter<S: Simd>(simd: S, load: impl Fn(usize) -> S::Vector) -> [S::Vector; POINTS] {
    let mut transformed = [simd.splat(0.0); POINTS];
    transform::transform_2d(
        simd,
        #[inline(always)]
        |i: usize, j: usize| load(i * TAPS + j),
        #[inline(always)]
        |g| transform::filter(simd, g),
        #[inline(always)]
        |i: usize, j: usize, u| transformed[i * INPUT + j] = u,
    );
    transformed
}

/// The transform of the gradients of one panel.
struct FilterGradientTransform<'a> {
    layout: Layout,
    partials: &'a [f32],
    panel: usize,
    dw: &'a SharedSlice<'a>,
}

impl Kernel for FilterGradientTransform<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Layout { in_channels, out_channels, .. } = self.layout;
        for c in 0..in_channels {
            for vector in 0..self.layout.vectors::<S>(self.panel) {
                let first = self.panel * columns::<S>() + vector * S::LANES;
                let count = (out_channels - first).min(S::LANES);
                let point_stride = self.layout.point_stride();
                let first_point = self.panel * self.layout.panel_stride() + c * columns::<S>() + vector * S::LANES;
                transform::transform_2d(
                    simd,
                    #[inline(always)]
                    |i: usize, j: usize| {
                        let mut sum = simd.splat(0.0);
                        let mut at = first_point + (i * INPUT + j) * point_stride;
                        while at < self.partials.len() {
                            // SAFETY: each partial sum has this layout (`transform_gradient` checked the length).
                            sum = simd.add(sum, unsafe { simd.load(self.partials.as_ptr().add(at)) });
                            at += self.layout.len();
                        }
                        sum
                    },
                    #[inline(always)]
                    |u| transform::filter_gradient(simd, u),
                    #[inline(always)]
                    |i: usize, j: usize, g| {
                        let at = ((i * TAPS + j) * in_channels + c) * out_channels + first;
                        // SAFETY: `count` channels from `first` on exist, and no other panel writes them.
                        unsafe { simd.store_first(count, g, self.dw.at(at, count)) }
                    },
                );
            }
        }
    }
}
