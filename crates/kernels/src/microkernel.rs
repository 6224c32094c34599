//! The innermost loop of every product: a tile of it, held in registers while the depth runs by.

#![expect(unsafe_code, reason = "operands are addressed through strides")]

use crate::aligned::LINE;
use crate::simd::{Simd, VECTORS};

/// Columns of a tile.
#[inline(always)]
pub(crate) const fn columns<S: Simd>() -> usize {
    VECTORS * S::LANES
}

/// An operand of a product: element (i, k) of the left one is `start[i * outer + k * inner]`.
#[derive(Clone, Copy)]
pub(crate) struct Left {
    pub(crate) start: *const f32,
    /// From one row to the next.
    pub(crate) outer: usize,
    /// From one step of the depth to the next.
    pub(crate) inner: usize,
}

/// The right operand: [`columns`] values side by side for every step of the depth.
#[derive(Clone, Copy)]
pub(crate) struct Right {
    pub(crate) start: *const f32,
    /// From one step of the depth to the next.
    pub(crate) inner: usize,
}

/// Where a product goes: rows of values side by side.
#[derive(Clone, Copy)]
pub(crate) struct Product {
    pub(crate) start: *mut f32,
    /// From one row to the next.
    pub(crate) outer: usize,
}

/// `c = a b`, or `c += a b`, over `rows` rows and as many columns as a tile has. What is `ahead` is prefetched meanwhile, as many
/// values as `b` has.
///
/// Every element is summed along the depth in order, whatever the rows beside it: how rows are grouped changes no bit.
///
/// # Safety
/// `rows` rows of `c` must be writable (and readable, to accumulate) and those of `a` readable, `depth` steps deep; `b` must be
/// readable as deep. `ahead` may be anything.
#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "sizes, operands, and what to do with them")]
pub(crate) unsafe fn multiply<S: Simd>(
    simd: S,
    rows: usize,
    depth: usize,
    a: Left,
    b: Right,
    c: Product,
    accumulate: bool,
    ahead: *const f32,
) {
    let share = (depth * columns::<S>()).div_ceil(rows.div_ceil(S::ROWS).max(1));
    let mut row = 0;
    while row < rows {
        let count = (rows - row).min(S::ROWS);
        let ahead = Ahead { next: ahead.wrapping_add(row / S::ROWS * share), left: share };
        // SAFETY: the caller's promise, for rows from `row` on.
        unsafe {
            let a = Left { start: a.start.add(row * a.outer), ..a };
            let c = Product { start: c.start.add(row * c.outer), ..c };
            match count {
                1 => tile::<S, 1>(simd, depth, a, b, c, accumulate, ahead),
                2 => tile::<S, 2>(simd, depth, a, b, c, accumulate, ahead),
                3 => tile::<S, 3>(simd, depth, a, b, c, accumulate, ahead),
                4 => tile::<S, 4>(simd, depth, a, b, c, accumulate, ahead),
                5 => tile::<S, 5>(simd, depth, a, b, c, accumulate, ahead),
                6 => tile::<S, 6>(simd, depth, a, b, c, accumulate, ahead),
                _ if S::ROWS <= 6 => unreachable!("a tile has at most ROWS rows"),
                7 => tile::<S, 7>(simd, depth, a, b, c, accumulate, ahead),
                8 => tile::<S, 8>(simd, depth, a, b, c, accumulate, ahead),
                9 => tile::<S, 9>(simd, depth, a, b, c, accumulate, ahead),
                10 => tile::<S, 10>(simd, depth, a, b, c, accumulate, ahead),
                11 => tile::<S, 11>(simd, depth, a, b, c, accumulate, ahead),
                _ => tile::<S, 12>(simd, depth, a, b, c, accumulate, ahead),
            }
        }
        row += count;
    }
}

/// Values that will be read soon.
#[derive(Clone, Copy)]
struct Ahead {
    next: *const f32,
    left: usize,
}

/// # Safety
/// As [`multiply`], for `ROWS` rows.
#[inline(always)]
unsafe fn tile<S: Simd, const ROWS: usize>(
    simd: S,
    depth: usize,
    a: Left,
    b: Right,
    c: Product,
    accumulate: bool,
    mut ahead: Ahead,
) {
    let mut sums = [[simd.splat(0.0); VECTORS]; ROWS];
    // SAFETY: the caller's promise.
    unsafe {
        if accumulate {
            for (row, sums) in sums.iter_mut().enumerate() {
                for (vector, sum) in sums.iter_mut().enumerate() {
                    *sum = simd.load(c.start.add(row * c.outer + vector * S::LANES));
                }
            }
        }
        // Four steps at a time, their addresses constants from the first's: else computing them takes a quarter of the time.
        let (mut left, mut right) = (a.start, b.start);
        for _ in 0..depth / 4 {
            if ahead.left > 0 {
                simd.prefetch(ahead.next);
                ahead = Ahead { next: ahead.next.wrapping_add(LINE), left: ahead.left.saturating_sub(LINE) };
            }
            for step in 0..4 {
                add_products(simd, left.add(step * a.inner), a.outer, right.add(step * b.inner), &mut sums);
            }
            (left, right) = (left.add(4 * a.inner), right.add(4 * b.inner));
        }
        for _ in 0..depth % 4 {
            add_products(simd, left, a.outer, right, &mut sums);
            (left, right) = (left.add(a.inner), right.add(b.inner));
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
/// As [`multiply`], for `ROWS` rows and one step.
#[inline(always)]
unsafe fn add_products<S: Simd, const ROWS: usize>(
    simd: S,
    left: *const f32,
    outer: usize,
    right: *const f32,
    sums: &mut [[S::Vector; VECTORS]; ROWS],
) {
    // SAFETY: the caller's promise.
    unsafe {
        let columns: [S::Vector; VECTORS] = [simd.load(right), simd.load(right.add(S::LANES))];
        for (row, sums) in sums.iter_mut().enumerate() {
            let x = simd.splat(*left.add(row * outer));
            for (sum, column) in sums.iter_mut().zip(columns) {
                *sum = simd.mul_add(x, column, *sum);
            }
        }
    }
}
