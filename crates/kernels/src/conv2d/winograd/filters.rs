//! Filters at the points of the transform, in the order in which products read them.

#![expect(unsafe_code, reason = "vectors are read and written at computed addresses")]

use std::ops::Range;

use rayon::prelude::*;

use super::transform::{self, INPUT, POINTS, TAPS};
use crate::aligned::odd_lines;
use crate::conv2d::direction::Direction;
use crate::microkernel::columns;
use crate::number::{Number, words};
use crate::shared::Shared;
use crate::simd::{Isa, Kernel, MAX_LANES, Simd};

/// Filters at the points: `[panel][point][from][column]`, a panel being as many channels to which a convolution leads as a tile
/// of products is wide, the last filled up with zeros to whole vectors. Channels that a convolution reads are packed in [words].
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    /// Channels that a convolution reads.
    pub(super) from: usize,
    /// Words of them.
    pub(super) words: usize,
    /// Channels that it computes.
    pub(super) to: usize,
    /// Channels of a panel.
    pub(super) columns: usize,
}

impl Layout {
    pub(super) fn new<N: Number>(isa: Isa, from: usize, to: usize) -> Self {
        Self { from, words: words::<N>(from), to, columns: isa.columns() }
    }

    pub(super) fn panels(&self) -> usize {
        self.panels_of(self.to)
    }

    /// Panels that hold `channels`.
    pub(super) fn panels_of(&self, channels: usize) -> usize {
        channels.div_ceil(self.columns)
    }

    /// Vectors of a panel that hold channels.
    #[inline(always)]
    pub(super) fn vectors<S: Simd>(&self, panel: usize) -> usize {
        (self.to - panel * self.columns).div_ceil(S::LANES).min(S::VECTORS)
    }

    /// From one point to the next.
    pub(super) fn point(&self) -> usize {
        odd_lines(self.words * self.columns)
    }

    /// From one panel to the next.
    pub(super) fn panel(&self) -> usize {
        POINTS * self.point()
    }

    pub(super) fn len(&self) -> usize {
        self.panels() * self.panel()
    }

    /// Takes some channels that are read of the filters `w`, HWIO, to the points of one panel, which begins at `start` of `points`.
    /// Both ends of the channels are multiples of [`CHANNELS`], or the last.
    #[inline(always)]
    pub(super) fn evaluate<S: Simd, N: Number>(
        &self,
        simd: S,
        (direction, w): (Direction, &[f32]),
        panel: usize,
        channels: Range<usize>,
        points: &Shared,
        start: usize,
    ) {
        const { assert!(CHANNELS.is_multiple_of(N::PACKED)) };
        assert!(w.len() == TAPS * TAPS * self.from * self.to);
        let evaluate = Evaluate { layout: self, w, panel, points, start };
        let mut first = channels.start;
        while first < channels.end {
            let channels = first..channels.end.min(first + CHANNELS);
            for vector in 0..self.vectors::<S>(panel) {
                match direction {
                    Direction::Forward => evaluate.forward::<S, N>(simd, channels.clone(), vector),
                    Direction::Backward => evaluate.backward::<S, N>(simd, channels.clone(), vector),
                }
            }
            first = channels.end;
        }
    }

    /// Takes gradients at the points, given as several parts to add up, back to filters, HWIO: the transpose of
    /// [`evaluate`](Self::evaluate), forward.
    pub(super) fn interpolate(&self, isa: Isa, parts: &[f32], dw: &mut [f32]) {
        assert!(dw.len() == TAPS * TAPS * self.from * self.to && parts.len().is_multiple_of(self.len()));
        let dw = Shared::new(dw);
        (0..self.panels()).into_par_iter().for_each(|panel| {
            isa.run(Interpolate { layout: *self, parts, panel, dw: &dw });
        });
    }
}

/// Channels that are taken to the points at a time.
pub(super) const CHANNELS: usize = 16;

struct Evaluate<'a> {
    layout: &'a Layout,
    w: &'a [f32],
    panel: usize,
    points: &'a Shared<'a>,
    start: usize,
}

impl Evaluate<'_> {
    /// The first of the channels of one vector of the panel, and how many there are.
    #[inline(always)]
    fn vector<S: Simd>(&self, vector: usize) -> (usize, usize) {
        let first = self.panel * columns::<S>() + vector * S::LANES;
        (first, (self.layout.to - first).min(S::LANES))
    }

    /// Filters as they lie.
    #[inline(always)]
    fn forward<S: Simd, N: Number>(&self, simd: S, channels: Range<usize>, vector: usize) {
        let (&Layout { from, to, .. }, w) = (self.layout, self.w);
        let (first, count) = self.vector::<S>(vector);
        self.words::<S, N>(
            simd,
            channels,
            vector,
            #[inline(always)]
            // SAFETY: `count` channels from `first` on exist (`evaluate` checked the length).
            |tap, c| unsafe { simd.load_first(count, w[(tap * from + c) * to + first..].as_ptr()) },
        );
    }

    /// Filters turned: those of some channels are copied first, row by row, to where they are wanted.
    #[inline(always)]
    fn backward<S: Simd, N: Number>(&self, simd: S, channels: Range<usize>, vector: usize) {
        let (&Layout { from, to, .. }, w) = (self.layout, self.w);
        let (first, count) = self.vector::<S>(vector);
        let mut copy = [0.0; TAPS * TAPS * CHANNELS * MAX_LANES];
        for tap in 0..TAPS * TAPS {
            let turned = TAPS * TAPS - 1 - tap;
            for lane in 0..count {
                let row = &w[(turned * to + first + lane) * from..][channels.clone()];
                for (c, w) in row.iter().enumerate() {
                    copy[(tap * CHANNELS + c) * S::LANES + lane] = *w;
                }
            }
        }
        let start = channels.start;
        self.words::<S, N>(
            simd,
            channels,
            vector,
            #[inline(always)]
            // SAFETY: the copy holds a vector for every tap and channel.
            |tap, c| unsafe { simd.load(copy[(tap * CHANNELS + c - start) * S::LANES..].as_ptr()) },
        );
    }

    /// Takes the taps of some channels to the points, word by word.
    #[inline(always)]
    fn words<S: Simd, N: Number>(
        &self,
        simd: S,
        channels: Range<usize>,
        vector: usize,
        load: impl Fn(usize, usize) -> S::Vector,
    ) {
        let point = self.layout.point();
        let mut c = channels.start;
        while c < channels.end {
            let first = evaluate(
                simd,
                #[inline(always)]
                |tap| load(tap, c),
            );
            let second = match N::PACKED > 1 && c + 1 < channels.end {
                true => evaluate(
                    simd,
                    #[inline(always)]
                    |tap| load(tap, c + 1),
                ),
                false => [simd.splat(0.0); POINTS],
            };
            let word = self.start + c / N::PACKED * columns::<S>() + vector * S::LANES;
            for at in 0..POINTS {
                let words = N::pack(simd, first[at], second[at]);
                // SAFETY: the panel holds a row of `columns` for this word at every point, which is this task's alone.
                unsafe { simd.store(words, self.points.at(word + at * point, S::LANES)) };
            }
            c += N::PACKED;
        }
    }
}

/// A filter at all points.
#[inline(always)]
fn evaluate<S: Simd>(simd: S, load: impl Fn(usize) -> S::Vector) -> [S::Vector; POINTS] {
    let mut points = [simd.splat(0.0); POINTS];
    transform::square(
        simd,
        #[inline(always)]
        |i: usize, j: usize| load(i * TAPS + j),
        #[inline(always)]
        |g| transform::filter(simd, g),
        #[inline(always)]
        |i: usize, j: usize, u| points[i * INPUT + j] = u,
    );
    points
}

struct Interpolate<'a> {
    layout: Layout,
    parts: &'a [f32],
    panel: usize,
    dw: &'a Shared<'a>,
}

impl Kernel for Interpolate<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Layout { from, to, .. } = self.layout;
        for c in 0..from {
            for vector in 0..self.layout.vectors::<S>(self.panel) {
                let first = self.panel * columns::<S>() + vector * S::LANES;
                let count = (to - first).min(S::LANES);
                let point = self.layout.point();
                let first_part = self.panel * self.layout.panel() + c * columns::<S>() + vector * S::LANES;
                transform::square(
                    simd,
                    #[inline(always)]
                    |i: usize, j: usize| {
                        let mut sum = simd.splat(0.0);
                        let mut at = first_part + (i * INPUT + j) * point;
                        while at < self.parts.len() {
                            // SAFETY: as where they were written (`interpolate` checked the length).
                            sum = simd.add(sum, unsafe { simd.load(self.parts.as_ptr().add(at)) });
                            at += self.layout.len();
                        }
                        sum
                    },
                    #[inline(always)]
                    |u| transform::filter_gradient(simd, u),
                    #[inline(always)]
                    |i: usize, j: usize, g| {
                        let at = ((i * TAPS + j) * from + c) * to + first;
                        // SAFETY: these channels are this panel's alone, and `count` of them exist.
                        unsafe { simd.store_first(count, g, self.dw.at(at, count)) }
                    },
                );
            }
        }
    }
}
