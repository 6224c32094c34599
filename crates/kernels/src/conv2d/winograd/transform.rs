//! The transforms of F(4x4, 3x3): Toom-Cook polynomial multiplication, applied to filters by Winograd (1980).
//!
//! A filter of three taps over six values gives four outputs. Toom-Cook evaluates the polynomials at six points, where six
//! multiplications replace the twelve of the direct method. In two dimensions, 36 replace 144. See Lavin and Gray, "Fast
//! Algorithms for Convolutional Neural Networks" (2015, arXiv:1509.09308), for the notation `Aᵀ[(G g) ⊙ (Bᵀ d)]`.
//!
//! The evaluation points are 0, ±[`P`], ±[`Q`] and infinity. The usual points 0, ±1, ±2 cost the same but lose more digits: with
//! them, the coefficients of the transforms differ more in magnitude. Measured: `bench/records/accuracy.md`.

#![expect(unsafe_code, reason = "values are loaded from and stored to addresses that callers compute")]

use crate::aligned::CACHE_LINE;
use crate::number::Number;
use crate::simd::Simd;

/// Side of the square of inputs that a tile reads, and of the transformed tile.
pub(super) const INPUT: usize = 6;
/// Side of the square of outputs that a tile computes.
pub(super) const OUTPUT: usize = 4;
/// Taps of the filter along each axis.
pub(super) const TAPS: usize = 3;
/// Points of the Winograd domain: the elements of a transformed tile. A tile takes as many multiplications for each pair of an
/// input and an output channel.
pub(super) const POINTS: usize = INPUT * INPUT;

/// An evaluation point, used with both signs.
const P: f32 = 0.625;
/// An evaluation point, used with both signs.
const Q: f32 = 1.5;
const PP: f32 = P * P;
const QQ: f32 = Q * Q;
/// Scale factors of the interpolation at the points 0, ±P and ±Q. The filter transform applies them.
const AT_ZERO: f32 = 1.0 / (PP * QQ);
const AT_P: f32 = 1.0 / (2.0 * PP * (PP - QQ));
const AT_Q: f32 = 1.0 / (2.0 * QQ * (QQ - PP));

/// The input transform `Bᵀ d` of six values.
#[inline(always)]
pub(super) fn input<S: Simd>(simd: S, d: [S::Vector; INPUT]) -> [S::Vector; INPUT] {
    let fma = |factor: f32, x, y| simd.mul_add(simd.splat(factor), x, y);
    let (even_p, odd_p) = (fma(-QQ, d[2], d[4]), fma(-QQ, d[1], d[3]));
    let (even_q, odd_q) = (fma(-PP, d[2], d[4]), fma(-PP, d[1], d[3]));
    [
        fma(PP * QQ, d[0], fma(-(PP + QQ), d[2], d[4])),
        fma(P, odd_p, even_p),
        fma(-P, odd_p, even_p),
        fma(Q, odd_q, even_q),
        fma(-Q, odd_q, even_q),
        fma(PP * QQ, d[1], fma(-(PP + QQ), d[3], d[5])),
    ]
}

/// The filter transform `G g`: three taps, evaluated at the six points and scaled for the interpolation.
#[inline(always)]
pub(super) fn filter<S: Simd>(simd: S, g: [S::Vector; TAPS]) -> [S::Vector; INPUT] {
    let scaled = |factor: f32, x| simd.mul(simd.splat(factor), x);
    let fma = |factor: f32, x, y| simd.mul_add(simd.splat(factor), x, y);
    let (even_p, odd_p) = (scaled(AT_P, fma(PP, g[2], g[0])), scaled(AT_P * P, g[1]));
    let (even_q, odd_q) = (scaled(AT_Q, fma(QQ, g[2], g[0])), scaled(AT_Q * Q, g[1]));
    [
        scaled(AT_ZERO, g[0]),
        simd.add(even_p, odd_p),
        simd.sub(even_p, odd_p),
        simd.add(even_q, odd_q),
        simd.sub(even_q, odd_q),
        g[2],
    ]
}

/// The output transform `Aᵀ m`: four outputs from six products.
#[inline(always)]
pub(super) fn output<S: Simd>(simd: S, m: [S::Vector; INPUT]) -> [S::Vector; OUTPUT] {
    let scaled = |factor: f32, x| simd.mul(simd.splat(factor), x);
    let fma = |factor: f32, x, y| simd.mul_add(simd.splat(factor), x, y);
    let (even_p, odd_p) = (simd.add(m[1], m[2]), simd.sub(m[1], m[2]));
    let (even_q, odd_q) = (simd.add(m[3], m[4]), simd.sub(m[3], m[4]));
    [
        simd.add(m[0], simd.add(even_p, even_q)),
        fma(P, odd_p, scaled(Q, odd_q)),
        fma(PP, even_p, scaled(QQ, even_q)),
        fma(P * PP, odd_p, fma(Q * QQ, odd_q, m[5])),
    ]
}

/// The transpose of the output transform, `A y`: the gradient with respect to the six products.
#[inline(always)]
pub(super) fn output_gradient<S: Simd>(simd: S, y: [S::Vector; OUTPUT]) -> [S::Vector; INPUT] {
    let scaled = |factor: f32, x| simd.mul(simd.splat(factor), x);
    let fma = |factor: f32, x, y| simd.mul_add(simd.splat(factor), x, y);
    let (even_p, odd_p) = (fma(PP, y[2], y[0]), fma(P * PP, y[3], scaled(P, y[1])));
    let (even_q, odd_q) = (fma(QQ, y[2], y[0]), fma(Q * QQ, y[3], scaled(Q, y[1])));
    [y[0], simd.add(even_p, odd_p), simd.sub(even_p, odd_p), simd.add(even_q, odd_q), simd.sub(even_q, odd_q), y[3]]
}

/// The transpose of the filter transform, `Gᵀ u`: the gradient with respect to the three taps.
#[inline(always)]
pub(super) fn filter_gradient<S: Simd>(simd: S, u: [S::Vector; INPUT]) -> [S::Vector; TAPS] {
    let scaled = |factor: f32, x| simd.mul(simd.splat(factor), x);
    let fma = |factor: f32, x, y| simd.mul_add(simd.splat(factor), x, y);
    let (even_p, odd_p) = (simd.add(u[1], u[2]), simd.sub(u[1], u[2]));
    let (even_q, odd_q) = (simd.add(u[3], u[4]), simd.sub(u[3], u[4]));
    [
        fma(AT_ZERO, u[0], fma(AT_P, even_p, scaled(AT_Q, even_q))),
        fma(AT_P * P, odd_p, scaled(AT_Q * Q, odd_q)),
        fma(AT_P * PP, even_p, fma(AT_Q * QQ, even_q, u[5])),
    ]
}

/// The two-dimensional transform `T x Tᵀ` of a square of vectors: `transform` is applied to the columns, then to the rows.
///
/// Each vector is loaded just before it is used and stored as soon as it is computed, to keep register pressure low.
///
/// The given functions must be `inline(always)`, and loops replace iterators: any call that isn't inlined would be compiled
/// without the instruction set.
#[inline(always)]
pub(super) fn transform_2d<S: Simd, const N: usize, const M: usize>(
    simd: S,
    load: impl Fn(usize, usize) -> S::Vector,
    transform: impl Fn([S::Vector; N]) -> [S::Vector; M],
    mut store: impl FnMut(usize, usize, S::Vector),
) {
    let zero = simd.splat(0.0);
    let mut rows = [[zero; N]; M];
    unrolled::<N>(
        #[inline(always)]
        |j| {
            let mut column = [zero; N];
            for (i, value) in column.iter_mut().enumerate() {
                *value = load(i, j);
            }
            let transformed = transform(column);
            for i in 0..M {
                rows[i][j] = transformed[i];
            }
        },
    );
    unrolled::<M>(
        #[inline(always)]
        |i| {
            for (j, value) in transform(rows[i]).into_iter().enumerate() {
                store(i, j, value);
            }
        },
    );
}

/// Calls `body` with `0..N`, fully unrolled. `N` is at most 6.
///
/// The compiler doesn't unroll loops with such large bodies, and keeps arrays indexed by the loop counter in memory instead of
/// registers. With debug assertions, this is a loop, as the unrolled code would compile too slowly.
#[inline(always)]
fn unrolled<const N: usize>(mut body: impl FnMut(usize)) {
    const { assert!(N <= 6) };
    if cfg!(debug_assertions) {
        for i in 0..N {
            body(i);
        }
        return;
    }
    if N > 0 {
        body(0);
    }
    if N > 1 {
        body(1);
    }
    if N > 2 {
        body(2);
    }
    if N > 3 {
        body(3);
    }
    if N > 4 {
        body(4);
    }
    if N > 5 {
        body(5);
    }
}

/// Pointers to the pixels of a square, each to its first channel.
pub(super) struct PixelPointers<const N: usize> {
    pub(super) starts: [[*const f32; N]; N],
    /// Distance in values from a pixel to the corresponding pixel of the tile to the right.
    pub(super) next_tile: usize,
}

/// Transforms a square of pixels with all their channels to the Winograd domain.
///
/// Writes a row of channels for each of the [`POINTS`], padded with zeros to whole vectors. The rows are `point_stride` slots
/// apart. Meanwhile the pixels of the square to the right are prefetched, as the caller transforms it next. The prefetches are
/// spread over the loop, as many at once would stall.
///
/// # Safety
/// `channels` values must be readable at each pixel. From `to` on, a row of channels padded to whole vectors must be writable at
/// each point.
#[inline(always)]
pub(super) unsafe fn transform_pixels<S: Simd, T: Number, const N: usize>(
    simd: S,
    channels: usize,
    from: &PixelPointers<N>,
    transform: impl Fn([S::Vector; N]) -> [S::Vector; INPUT] + Copy,
    to: *mut f32,
    point_stride: usize,
) {
    let whole = channels / S::LANES * S::LANES;
    let mut channel = 0;
    while channel < whole {
        if channel.is_multiple_of(CACHE_LINE) {
            for starts in &from.starts {
                for start in &starts[N - OUTPUT..] {
                    simd.prefetch(start.wrapping_add(from.next_tile + channel));
                }
            }
        }
        // SAFETY: the caller's promise, for a vector of channels from `channel` on.
        unsafe {
            transform_vector::<S, T, N>(
                simd,
                #[inline(always)]
                |i, j| simd.load(from.starts[i][j].wrapping_add(channel)),
                transform,
                to.add(channel / T::PACKED),
                point_stride,
            )
        };
        channel += S::LANES;
    }
    if channel < channels {
        // SAFETY: the caller's promise, for the remaining channels.
        unsafe {
            transform_vector::<S, T, N>(
                simd,
                #[inline(always)]
                |i, j| simd.load_first(channels - channel, from.starts[i][j].wrapping_add(channel)),
                transform,
                to.add(channel / T::PACKED),
                point_stride,
            )
        };
    }
}

/// Transforms one vector of channels of a square of pixels.
///
/// Whole and partial vectors are loaded by different closures, each with its own instance of this function. A branch at each
/// pixel would take longer than the arithmetic.
///
/// # Safety
/// `load` must be able to read each pixel. A whole vector must be writable at each point.
#[inline(always)]
#[expect(
    clippy::redundant_closure,
    reason = "called through a reference, it would be compiled without the instruction set"
)]
unsafe fn transform_vector<S: Simd, T: Number, const N: usize>(
    simd: S,
    load: impl Fn(usize, usize) -> S::Vector,
    transform: impl Fn([S::Vector; N]) -> [S::Vector; INPUT] + Copy,
    to: *mut f32,
    point_stride: usize,
) {
    transform_2d(
        simd,
        #[inline(always)]
        |i, j| load(i, j),
        #[inline(always)]
        |d| transform(d),
        #[inline(always)]
        // SAFETY: the caller's promise.
        |i, j, x| unsafe { T::store(simd, x, to.add((i * INPUT + j) * point_stride)) },
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::{Isa, Kernel};

    /// A filter of three taps over six values, by Winograd's algorithm and directly.
    struct Correlation1d;

    impl Kernel for Correlation1d {
        type Output = [[f32; OUTPUT]; 2];

        #[inline(always)]
        fn run<S: Simd>(self, simd: S) -> [[f32; OUTPUT]; 2] {
            let (g, d) = ([0.5, -1.25, 2.0], [1.0, -2.0, 3.0, 0.25, -0.5, 1.5]);
            let first = |x: S::Vector| {
                let mut lanes = [0.0; crate::simd::MAX_LANES];
                // SAFETY: the array holds a whole vector.
                unsafe { simd.store(x, lanes.as_mut_ptr()) };
                lanes[0]
            };
            let (u, v) = (filter(simd, g.map(|x| simd.splat(x))), input(simd, d.map(|x| simd.splat(x))));
            let m = std::array::from_fn(|i| simd.mul(u[i], v[i]));
            let direct = std::array::from_fn(|i| (0..TAPS).map(|tap| g[tap] * d[i + tap]).sum());
            [output(simd, m).map(first), direct]
        }
    }

    #[test]
    fn products_in_the_winograd_domain_are_a_correlation() {
        for isa in Isa::tested() {
            let [winograd, direct] = isa.run(Correlation1d);
            for (a, b) in winograd.into_iter().zip(direct) {
                // Tolerance: a few roundings of values below 20.
                assert!((a - b).abs() < 1e-5, "{}: {winograd:?}, directly {direct:?}", isa.name());
            }
        }
    }

    /// `<T x, y> - <x, Tᵀ y>` for the output transform and the filter transform.
    struct Transposes;

    impl Kernel for Transposes {
        type Output = [f32; 2];

        #[inline(always)]
        fn run<S: Simd>(self, simd: S) -> [f32; 2] {
            let splat = |x: f32| simd.splat(x);
            let lane = |x: S::Vector| {
                let mut lanes = [0.0; crate::simd::MAX_LANES];
                // SAFETY: the array holds a whole vector.
                unsafe { simd.store(x, lanes.as_mut_ptr()) };
                lanes[0]
            };
            fn dot(a: &[f32], b: &[f32]) -> f32 {
                a.iter().zip(b).map(|(a, b)| a * b).sum()
            }
            let (six, four, three) = ([1.0, -2.0, 0.5, 3.0, -1.0, 2.0], [0.25, 1.0, -3.0, 2.0], [1.5, -0.5, 2.0]);
            let outputs = dot(&output(simd, six.map(splat)).map(lane), &four);
            let products = dot(&output_gradient(simd, four.map(splat)).map(lane), &six);
            let points = dot(&filter(simd, three.map(splat)).map(lane), &six);
            let taps = dot(&filter_gradient(simd, six.map(splat)).map(lane), &three);
            [outputs - products, points - taps]
        }
    }

    #[test]
    fn gradients_are_transposes() {
        for isa in Isa::tested() {
            // Tolerance: a few roundings of sums below 50.
            assert!(isa.run(Transposes).iter().all(|difference| difference.abs() < 1e-5), "{}", isa.name());
        }
    }
}
