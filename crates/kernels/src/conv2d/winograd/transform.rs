//! The transforms of F(4x4, 3x3): Toom and Cook's way to multiply polynomials, which Winograd (1980) applied to filters.
//!
//! A filter of three taps over six values gives four: with polynomials evaluated at six points, six products do what takes
//! twelve directly, and in two dimensions 36 what takes 144. The points are 0, ±[`P`], ±[`Q`] and infinity. The usual 0, ±1, ±2
//! cost the same, but lose more digits: with these, the largest and the smallest factors lie closer together.

#![expect(unsafe_code, reason = "values are loaded from and stored to addresses that callers compute")]

use crate::aligned::LINE;
use crate::number::Number;
use crate::simd::Simd;

/// Side of the square of values that a tile reads.
pub(super) const INPUT: usize = 6;
/// Side of the square of values that it computes.
pub(super) const OUTPUT: usize = 4;
/// Taps of the filter, along each axis.
pub(super) const TAPS: usize = 3;
/// Points, along both axes: products of a tile, for each pair of channels.
pub(super) const POINTS: usize = INPUT * INPUT;

const P: f32 = 0.625;
const Q: f32 = 1.5;
const PP: f32 = P * P;
const QQ: f32 = Q * Q;
/// What interpolation divides by, at the three kinds of points.
const AT_ZERO: f32 = 1.0 / (PP * QQ);
const AT_P: f32 = 1.0 / (2.0 * PP * (PP - QQ));
const AT_Q: f32 = 1.0 / (2.0 * QQ * (QQ - PP));

/// `Bᵀ d`: six values, as the coefficients of a polynomial, prepared for the six points.
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

/// `G g`: a filter's three taps evaluated at the six points, divided by what interpolation divides by.
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

/// `Aᵀ m`: four outputs from six products.
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

/// `A y`: the transpose of [`output`], which takes gradients back to products.
#[inline(always)]
pub(super) fn output_gradient<S: Simd>(simd: S, y: [S::Vector; OUTPUT]) -> [S::Vector; INPUT] {
    let scaled = |factor: f32, x| simd.mul(simd.splat(factor), x);
    let fma = |factor: f32, x, y| simd.mul_add(simd.splat(factor), x, y);
    let (even_p, odd_p) = (fma(PP, y[2], y[0]), fma(P * PP, y[3], scaled(P, y[1])));
    let (even_q, odd_q) = (fma(QQ, y[2], y[0]), fma(Q * QQ, y[3], scaled(Q, y[1])));
    [y[0], simd.add(even_p, odd_p), simd.sub(even_p, odd_p), simd.add(even_q, odd_q), simd.sub(even_q, odd_q), y[3]]
}

/// `Gᵀ u`: the transpose of [`filter`], which takes gradients back to taps.
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

/// A transform of columns, then of rows: `T x Tᵀ`, of a square of vectors. Each is loaded when it is needed and stored when it
/// is known, so that few are alive at a time.
///
/// The functions given must be `inline(always)`, and there are plain loops where the standard library has iterators: whatever
/// else the compiler does not inline would be compiled without the instruction set.
#[inline(always)]
pub(super) fn square<S: Simd, const N: usize, const M: usize>(
    simd: S,
    load: impl Fn(usize, usize) -> S::Vector,
    transform: impl Fn([S::Vector; N]) -> [S::Vector; M],
    mut store: impl FnMut(usize, usize, S::Vector),
) {
    let zero = simd.splat(0.0);
    let mut rows = [[zero; N]; M];
    times::<N>(
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
    times::<M>(
        #[inline(always)]
        |i| {
            for (j, value) in transform(rows[i]).into_iter().enumerate() {
                store(i, j, value);
            }
        },
    );
}

/// Calls `body` with 0 to `N - 1`, 6 times at most, without a loop: the compiler would not unroll one with so much in it, and would
/// keep in memory what is addressed by its counter. With debug assertions, which are a hundred branches more, it would not be
/// done within a quarter of an hour, so there it is a loop.
#[inline(always)]
fn times<const N: usize>(mut body: impl FnMut(usize)) {
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

/// A square of pixels: where each starts.
pub(super) struct Pixels<const N: usize> {
    pub(super) starts: [[*const f32; N]; N],
    /// From a pixel to that of the next tile to the right.
    pub(super) tile: usize,
}

/// Transforms all `channels` of a square of pixels to [`POINTS`] rows of channels, `point` words apart, each filled up with zeros to
/// whole vectors. Of the square to the right, which will be wanted next, pixels are prefetched meanwhile: all of them at once
/// would wait for each other.
///
/// # Safety
/// `channels` values must be readable at each of the pixels; at `to`, as many filled up to whole vectors must be writable at each
/// point.
#[inline(always)]
pub(super) unsafe fn pixels<S: Simd, T: Number, const N: usize>(
    simd: S,
    channels: usize,
    from: &Pixels<N>,
    transform: impl Fn([S::Vector; N]) -> [S::Vector; INPUT] + Copy,
    to: *mut f32,
    point: usize,
) {
    let whole = channels / S::LANES * S::LANES;
    let mut channel = 0;
    while channel < whole {
        if channel.is_multiple_of(LINE) {
            for starts in &from.starts {
                for start in &starts[N - OUTPUT..] {
                    simd.prefetch(start.wrapping_add(from.tile + channel));
                }
            }
        }
        // SAFETY: the caller's promise, for a vector of channels from `channel` on.
        unsafe {
            vector::<S, T, N>(
                simd,
                #[inline(always)]
                |i, j| simd.load(from.starts[i][j].wrapping_add(channel)),
                transform,
                to.add(channel / T::PACKED),
                point,
            )
        };
        channel += S::LANES;
    }
    if channel < channels {
        // SAFETY: the caller's promise, for the channels that are left.
        unsafe {
            vector::<S, T, N>(
                simd,
                #[inline(always)]
                |i, j| simd.load_first(channels - channel, from.starts[i][j].wrapping_add(channel)),
                transform,
                to.add(channel / T::PACKED),
                point,
            )
        };
    }
}

/// Transforms one vector of channels. How it is loaded is known where this is compiled: a choice at each of the pixels takes
/// longer than the arithmetic.
///
/// # Safety
/// `load` must be able to read at each pixel; a whole vector must be writable at each point.
#[inline(always)]
#[expect(
    clippy::redundant_closure,
    reason = "called through a reference, it would be compiled without the instruction set"
)]
unsafe fn vector<S: Simd, T: Number, const N: usize>(
    simd: S,
    load: impl Fn(usize, usize) -> S::Vector,
    transform: impl Fn([S::Vector; N]) -> [S::Vector; INPUT] + Copy,
    to: *mut f32,
    point: usize,
) {
    square(
        simd,
        #[inline(always)]
        |i, j| load(i, j),
        #[inline(always)]
        |d| transform(d),
        #[inline(always)]
        // SAFETY: the caller's promise.
        |i, j, x| unsafe { T::store(simd, x, to.add((i * INPUT + j) * point)) },
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::{Isa, Kernel};

    /// One filter over one line of six values, through the points and directly.
    struct OneLine;

    impl Kernel for OneLine {
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
    fn products_at_the_points_are_a_correlation() {
        for isa in Isa::tested() {
            let [through_points, direct] = isa.run(OneLine);
            for (a, b) in through_points.into_iter().zip(direct) {
                // A few roundings of values below 20.
                assert!((a - b).abs() < 1e-5, "{}: {through_points:?}, directly {direct:?}", isa.name());
            }
        }
    }

    /// `<T x, y> - <x, Tᵀ y>` for the two pairs of transposes.
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
            // A few roundings of sums below 50.
            assert!(isa.run(Transposes).iter().all(|difference| difference.abs() < 1e-5), "{}", isa.name());
        }
    }
}
