//! Filters at the points of the transform, in the order in which products read them.

#![expect(unsafe_code, reason = "vectors are read and written at computed addresses")]

use std::marker::PhantomData;

use rayon::prelude::*;

use super::transform::{self, INPUT, POINTS, TAPS};
use crate::aligned::odd_lines;
use crate::microkernel::columns;
use crate::number::{Number, words};
use crate::shared::Shared;
use crate::simd::{Isa, Kernel, MAX_LANES, Simd};

/// Which of two convolutions filters are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    /// From inputs to outputs.
    Forward,
    /// Gradients from outputs to inputs: channels exchanged, taps turned by half.
    Backward,
}

/// Filters at the points: `[panel][point][from][column]`, a panel being as many channels to which a convolution leads as a tile
/// of products is wide, the last filled up with zeros. Channels that a convolution reads are packed in [words].
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

    /// The filters `w`, HWIO, at the points of one panel: a kernel that writes them as numbers of kind `N`.
    pub(super) fn evaluate<'a, N: Number>(
        &self,
        direction: Direction,
        w: &'a [f32],
        panel: usize,
        points: &'a mut [f32],
    ) -> impl Kernel<Output = ()> + use<'a, N> {
        assert!(w.len() == TAPS * TAPS * self.from * self.to && points.len() == self.panel());
        Evaluate::<N> { layout: *self, direction, w, panel, points, numbers: PhantomData }
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

struct Evaluate<'a, N> {
    layout: Layout,
    direction: Direction,
    w: &'a [f32],
    panel: usize,
    points: &'a mut [f32],
    numbers: PhantomData<N>,
}

impl<N: Number> Kernel for Evaluate<'_, N> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let point = self.layout.point();
        for word in 0..self.layout.words {
            for vector in 0..S::VECTORS {
                let first = self.channel(simd, word * N::PACKED, vector);
                let second = if N::PACKED > 1 { self.channel(simd, word * N::PACKED + 1, vector) } else { first };
                let to = self.points[word * columns::<S>() + vector * S::LANES..].as_mut_ptr();
                for at in 0..POINTS {
                    // SAFETY: the panel holds a row of `columns` for this word at every point (`evaluate` checked its length).
                    unsafe { simd.store(N::pack(simd, first[at], second[at]), to.add(at * point)) };
                }
            }
        }
    }
}

impl<N: Number> Evaluate<'_, N> {
    /// What one channel that is read, zero if there is none, gives for one vector of the panel at all points.
    #[inline(always)]
    fn channel<S: Simd>(&self, simd: S, c: usize, vector: usize) -> [S::Vector; POINTS] {
        let Layout { from, to, .. } = self.layout;
        let mut taps = [0.0; TAPS * TAPS * MAX_LANES];
        let first = (self.panel * columns::<S>() + vector * S::LANES).min(to);
        let count = (to - first).min(S::LANES);
        for tap in 0..TAPS * TAPS {
            let lanes = &mut taps[tap * S::LANES..][..S::LANES];
            match self.direction {
                _ if count == 0 || c >= from => {}
                Direction::Forward => {
                    lanes[..count].copy_from_slice(&self.w[(tap * from + c) * to + first..][..count]);
                }
                Direction::Backward => {
                    let turned = TAPS * TAPS - 1 - tap;
                    let rows = self.w[(turned * to + first) * from + c..].iter().step_by(from);
                    lanes[..count].iter_mut().zip(rows).for_each(|(lane, w)| *lane = *w);
                }
            }
        }
        let mut points = [simd.splat(0.0); POINTS];
        transform::square(
            simd,
            #[inline(always)]
            // SAFETY: `taps` holds a vector for every tap.
            |i: usize, j: usize| unsafe { simd.load(taps.as_ptr().add((i * TAPS + j) * S::LANES)) },
            #[inline(always)]
            |g| transform::filter(simd, g),
            #[inline(always)]
            |i: usize, j: usize, u| points[i * INPUT + j] = u,
        );
        points
    }
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
            for vector in 0..S::VECTORS {
                let first = (self.panel * columns::<S>() + vector * S::LANES).min(to);
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
