//! The innermost loop of every product: a tile of it, held in registers while the depth runs by.

#![expect(unsafe_code, reason = "operands are addressed through strides")]

use std::marker::PhantomData;
use std::ops::Range;

use crate::aligned::LINE;
use crate::number::Number;
use crate::simd::{Kernel, Simd};

/// Rows of a tile. With [`Simd::VECTORS`] it is as wide as its sums fit the registers beside a row of the right operand; wide
/// rather than tall, as every row takes a value of the left operand to be spread over a vector, and an address to be kept.
pub(crate) const ROWS: usize = 6;

/// Columns of a tile.
#[inline(always)]
pub(crate) const fn columns<S: Simd>() -> usize {
    S::VECTORS * S::LANES
}

/// The left operand, counted in [words](crate::number::words) as all of them: element (i, k) is `start[i * outer + k * inner]`.
/// Where one of the strides is known to be 1, addresses are computed once for several elements, which otherwise takes a quarter of
/// the time.
pub(crate) trait Left: Copy {
    /// Element (0, 0).
    fn start(self) -> *const f32;
    /// From one row to the next.
    fn outer(self) -> usize;
    /// From one step of the depth to the next.
    fn inner(self) -> usize;
}

/// A left operand whose rows lie as they are: steps of the depth side by side.
#[derive(Clone, Copy)]
pub(crate) struct Rows {
    pub(crate) start: *const f32,
    pub(crate) outer: usize,
}

/// A left operand that lies transposed: rows side by side.
#[derive(Clone, Copy)]
pub(crate) struct Columns {
    pub(crate) start: *const f32,
    pub(crate) inner: usize,
}

macro_rules! left {
    ($name:ident, $outer:expr, $inner:expr) => {
        impl Left for $name {
            #[inline(always)]
            fn start(self) -> *const f32 {
                self.start
            }

            #[inline(always)]
            fn outer(self) -> usize {
                $outer(self)
            }

            #[inline(always)]
            fn inner(self) -> usize {
                $inner(self)
            }
        }
    };
}

left!(Rows, |left: Self| left.outer, |_| 1);
left!(Columns, |_| 1, |left: Self| left.inner);

/// The right operand: some vectors side by side for every step of the depth.
#[derive(Clone, Copy)]
pub(crate) struct Right {
    pub(crate) start: *const f32,
    /// From one step of the depth to the next.
    pub(crate) inner: usize,
    /// Vectors of a step that are wanted: 1 to [`Simd::VECTORS`].
    pub(crate) vectors: usize,
}

/// Where a product goes: rows of values side by side.
#[derive(Clone, Copy)]
pub(crate) struct Product {
    pub(crate) start: *mut f32,
    /// From one row to the next.
    pub(crate) outer: usize,
}

/// What will be read next, and is prefetched meanwhile: values that lie side by side, at any address.
#[derive(Clone, Copy)]
pub(crate) struct Ahead {
    pub(crate) start: *const f32,
    pub(crate) len: usize,
}

impl Ahead {
    /// Nothing: to prefetch from where nothing is would cost a search for its page each time.
    pub(crate) const NOTHING: Self = Self { start: std::ptr::null(), len: 0 };
}

/// `c = a b`, or `c += a b`, over `rows` rows and as many columns as `b` has. What is ahead is prefetched meanwhile, at most a line
/// in every four steps.
///
/// Every element is summed along the depth in order, whatever stands beside it: how rows and columns are grouped changes no bit.
///
/// # Safety
/// `rows` rows of `c` must be writable (and readable, to accumulate) and those of `a` readable, `depth` steps deep; `b` must be
/// readable as deep.
#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "sizes, operands, and what to do with them")]
pub(crate) unsafe fn multiply<S: Simd, N: Number, L: Left>(
    simd: S,
    rows: usize,
    depth: usize,
    a: L,
    b: Right,
    c: Product,
    accumulate: bool,
    ahead: Ahead,
) {
    debug_assert!((1..=S::VECTORS).contains(&b.vectors), "{} vectors", b.vectors);
    let share = ahead.len.div_ceil(rows.div_ceil(ROWS).max(1));
    let tiles = Tiles { rows: 0..rows, depth, a, b, c, accumulate, ahead: ahead.start, share };
    // SAFETY: the caller's promise.
    unsafe {
        match b.vectors {
            1 => tiles.run::<S, N, 1>(simd),
            2 => tiles.run::<S, N, 2>(simd),
            _ if S::VECTORS <= 2 => unreachable!("a tile has at most two vectors"),
            3 => tiles.run::<S, N, 3>(simd),
            _ => tiles.run::<S, N, 4>(simd),
        }
    }
}

/// Tiles one below the other, all of as many rows.
struct Tiles<L> {
    rows: Range<usize>,
    depth: usize,
    a: L,
    b: Right,
    c: Product,
    accumulate: bool,
    ahead: *const f32,
    /// Values that are prefetched during a tile.
    share: usize,
}

impl<L: Left> Tiles<L> {
    /// # Safety
    /// As [`multiply`], for right operands of `V` vectors.
    #[inline(always)]
    unsafe fn run<S: Simd, N: Number, const V: usize>(self, simd: S) {
        let whole = self.rows.end / ROWS * ROWS;
        let rest =
            Self { rows: whole..self.rows.end, ahead: self.ahead.wrapping_add(whole / ROWS * self.share), ..self };
        // Functions of their own, for all places that multiply: they would be very large with all sizes of tiles in each.
        simd.run(TilesOf::<L, N, ROWS, V>(Self { rows: 0..whole, ..self }, PhantomData));
        match rest.rows.len() {
            0 => {}
            1 => simd.run(TilesOf::<L, N, 1, V>(rest, PhantomData)),
            2 => simd.run(TilesOf::<L, N, 2, V>(rest, PhantomData)),
            3 => simd.run(TilesOf::<L, N, 3, V>(rest, PhantomData)),
            4 => simd.run(TilesOf::<L, N, 4, V>(rest, PhantomData)),
            _ => simd.run(TilesOf::<L, N, 5, V>(rest, PhantomData)),
        }
    }
}

/// Tiles of `R` rows and `V` vectors. Made by [`Tiles::run`] alone, whose caller promises that the operands are as large.
struct TilesOf<L, N, const R: usize, const V: usize>(Tiles<L>, PhantomData<N>);

impl<L: Left, N: Number, const R: usize, const V: usize> Kernel for TilesOf<L, N, R, V> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Tiles { rows, depth, a, b, c, accumulate, mut ahead, share } = self.0;
        let mut row = rows.start;
        while row < rows.end {
            let end = ahead.wrapping_add(share);
            // SAFETY: the promise of `multiply`'s caller.
            unsafe {
                let product = Product { start: c.start.add(row * c.outer), ..c };
                let left = a.start().add(row * a.outer());
                tile::<S, L, N, R, V>(simd, depth, a, left, b, product, accumulate, ahead..end);
            }
            ahead = end;
            row += R;
        }
    }
}

/// # Safety
/// As [`multiply`], for `R` rows of the left operand from `left` on.
#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "as for `multiply`")]
unsafe fn tile<S: Simd, L: Left, N: Number, const R: usize, const V: usize>(
    simd: S,
    depth: usize,
    a: L,
    mut left: *const f32,
    b: Right,
    c: Product,
    accumulate: bool,
    ahead: Range<*const f32>,
) {
    let mut sums = [[simd.splat(0.0); V]; R];
    // SAFETY: the caller's promise.
    unsafe {
        if accumulate {
            for (row, sums) in sums.iter_mut().enumerate() {
                for (vector, sum) in sums.iter_mut().enumerate() {
                    *sum = simd.load(c.start.add(row * c.outer + vector * S::LANES));
                }
            }
        }
        let (mut right, mut next) = (b.start, ahead.start);
        for _ in 0..depth / 4 {
            if next < ahead.end {
                simd.prefetch_far(next);
                next = next.wrapping_add(LINE);
            }
            for step in 0..4 {
                add_products::<S, N, R, V>(
                    simd,
                    left.add(step * a.inner()),
                    a.outer(),
                    right.add(step * b.inner),
                    &mut sums,
                );
            }
            (left, right) = (left.add(4 * a.inner()), right.add(4 * b.inner));
        }
        for _ in 0..depth % 4 {
            add_products::<S, N, R, V>(simd, left, a.outer(), right, &mut sums);
            (left, right) = (left.add(a.inner()), right.add(b.inner));
        }
        for (row, sums) in sums.iter().enumerate() {
            for (vector, sum) in sums.iter().enumerate() {
                simd.store(*sum, c.start.add(row * c.outer + vector * S::LANES));
            }
        }
    }
}

/// One step of the depth.
///
/// # Safety
/// `R` values must be readable at `left`, `outer` apart, and `V` vectors at `right`.
#[inline(always)]
unsafe fn add_products<S: Simd, N: Number, const R: usize, const V: usize>(
    simd: S,
    left: *const f32,
    outer: usize,
    right: *const f32,
    sums: &mut [[S::Vector; V]; R],
) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut columns = [simd.splat(0.0); V];
        for (vector, column) in columns.iter_mut().enumerate() {
            *column = simd.load(right.add(vector * S::LANES));
        }
        for (row, sums) in sums.iter_mut().enumerate() {
            let x = simd.splat(*left.add(row * outer));
            for (sum, column) in sums.iter_mut().zip(columns) {
                *sum = N::multiply_add(simd, x, column, *sum);
            }
        }
    }
}
