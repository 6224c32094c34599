//! Products of a few rows with a right operand in rows, whose time goes into reading that from memory: some of its rows at a time
//! are swept from end to end, and added to sums of all the left operand's rows.

#![expect(unsafe_code, reason = "operands are addressed through strides")]

use super::matrix::Matrix;
use super::operands::Operands;
use super::pack::{Copies, room};
use crate::aligned::{LINE, odd_lines};
use crate::simd::{Kernel, Simd};

/// Rows of the right operand that are read side by side, and vectors of each that are held in registers while the sums of all
/// rows pass by: as many as there are registers for.
const STEPS: usize = 6;
const VECTORS: usize = 2;

/// Steps of which the left operand is copied at a time.
const DEPTH: usize = 16 * STEPS;

pub(super) struct Swept<'a, 'b, 't> {
    pub(super) operands: Operands<'a, 'b, 't>,
    pub(super) copies: &'a mut Copies,
}

impl Swept<'_, '_, '_> {
    /// Most rows for which this is faster than packing, if the right operand is so deep and large that it comes from memory. Up to
    /// [`FEW`](Self::FEW) rows it always is.
    pub(super) const ROWS: usize = 64;
    pub(super) const LEAST_DEPTH: usize = 256;
    pub(super) const LEAST: usize = 64 << 10;
    pub(super) const FEW: usize = 2;

    /// Columns that a task takes of `n`: a page of each row if there are enough, as every page costs a look-up in the TLB.
    pub(super) fn columns(n: usize, threads: usize) -> usize {
        const PAGE: usize = 1024;
        n.div_ceil(2 * threads).next_multiple_of(LINE).min(PAGE)
    }

    /// Whether this is the way for a product whose right operand lies in rows.
    pub(super) fn suits(rows: usize, k: usize, columns: usize) -> bool {
        rows <= Self::FEW || rows <= Self::ROWS && k >= Self::LEAST_DEPTH && k * columns >= Self::LEAST
    }
}

impl Kernel for Swept<'_, '_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (Operands { k, a, b, accumulate, tile }, copies) = (self.operands, self.copies);
        let (rows, columns) = (tile.rows.len(), tile.columns.len());
        // Rows of sums often lie a power of two apart in the tile, where they would push each other out of the cache.
        let outer = odd_lines(columns.next_multiple_of(LINE));
        let sums = room(&mut copies.right, rows * outer);
        for (row, sums) in sums.chunks_exact_mut(outer).enumerate() {
            match accumulate {
                true => sums[..columns].copy_from_slice(tile.row(row)),
                false => sums[..columns].fill(0.0),
            }
        }
        let left = room(&mut copies.left, rows * DEPTH);
        for depth in (0..k).step_by(DEPTH) {
            let steps = DEPTH.min(k - depth);
            copy(a.skip(0, depth), rows, steps, left);
            let b = b.skip(depth, 0);
            let right = (b.data.as_ptr(), b.row_stride);
            let sweep = Sweep { rows, columns, left: left.as_ptr(), right, sums: (sums.as_mut_ptr(), outer) };
            // SAFETY: `gemm_tile` checked the right operand's extent; the left one was copied, and the sums are as large.
            unsafe { sweep.add_all(simd, steps) };
        }
        for (row, sums) in sums.chunks_exact(outer).enumerate() {
            tile.row(row).copy_from_slice(&sums[..columns]);
        }
    }
}

/// Copies `steps` columns of `a` to `[group][row][step]`, groups being of [`STEPS`] steps.
#[inline(always)]
fn copy(a: Matrix, rows: usize, steps: usize, to: &mut [f32]) {
    for (group, to) in to.chunks_exact_mut(rows * STEPS).take(steps.div_ceil(STEPS)).enumerate() {
        let first = group * STEPS;
        for (row, to) in to.chunks_exact_mut(STEPS).enumerate() {
            for (step, to) in to.iter_mut().take(steps - first).enumerate() {
                *to = a.data[row * a.row_stride + (first + step) * a.col_stride];
            }
        }
    }
}

/// Some steps of the depth: a copy of the left operand, and of the others where they begin and how far apart their rows are.
struct Sweep {
    rows: usize,
    columns: usize,
    left: *const f32,
    right: (*const f32, usize),
    /// Rows are filled up to whole vectors.
    sums: (*mut f32, usize),
}

impl Sweep {
    /// # Safety
    /// The operands must be `steps` deep, and the sums as large as they are said to be.
    #[inline(always)]
    unsafe fn add_all<S: Simd>(&self, simd: S, steps: usize) {
        let whole = steps / STEPS * STEPS;
        // SAFETY: the caller's promise.
        unsafe {
            for step in (0..whole).step_by(STEPS) {
                self.add::<S, STEPS>(simd, step);
            }
            for step in whole..steps {
                self.add::<S, 1>(simd, step);
            }
        }
    }

    /// Adds the products of `N` rows of the right operand.
    ///
    /// # Safety
    /// As [`add_all`](Self::add_all).
    #[inline(always)]
    unsafe fn add<S: Simd, const N: usize>(&self, simd: S, first: usize) {
        let mut column = 0;
        // SAFETY: the caller's promise.
        unsafe {
            while column + VECTORS * S::LANES <= self.columns {
                self.add_columns::<S, N, VECTORS>(
                    simd,
                    first,
                    column,
                    #[inline(always)]
                    |at| simd.load(at),
                );
                column += VECTORS * S::LANES;
            }
            while column < self.columns {
                let count = self.columns - column;
                self.add_columns::<S, N, 1>(
                    simd,
                    first,
                    column,
                    #[inline(always)]
                    |at| simd.load_first(count, at),
                );
                column += S::LANES;
            }
        }
    }

    /// Those of `V` vectors of each. Of the rows that come next, the same ones are prefetched.
    ///
    /// # Safety
    /// As [`add_all`](Self::add_all); `load` must be able to read the vectors.
    #[inline(always)]
    #[expect(
        clippy::needless_range_loop,
        reason = "whatever is not inlined would be compiled without the instruction set"
    )]
    unsafe fn add_columns<S: Simd, const N: usize, const V: usize>(
        &self,
        simd: S,
        first: usize,
        column: usize,
        load: impl Fn(*const f32) -> S::Vector,
    ) {
        let ((right, stride), (sums, outer)) = (self.right, self.sums);
        let mut vectors = [[simd.splat(0.0); V]; N];
        for step in 0..N {
            let at = right.wrapping_add((first + step) * stride + column);
            for vector in 0..V {
                if (vector * S::LANES).is_multiple_of(LINE) {
                    simd.prefetch_far(at.wrapping_add(N * stride + vector * S::LANES));
                }
                vectors[step][vector] = load(at.wrapping_add(vector * S::LANES));
            }
        }
        let left = self.left.wrapping_add(first / STEPS * STEPS * self.rows + first % STEPS);
        for row in 0..self.rows {
            // SAFETY: the caller's promise.
            unsafe {
                let at = sums.add(row * outer + column);
                let mut sum = [simd.splat(0.0); V];
                for vector in 0..V {
                    sum[vector] = simd.load(at.add(vector * S::LANES));
                }
                for step in 0..N {
                    let x = simd.splat(*left.add(row * STEPS + step));
                    for vector in 0..V {
                        sum[vector] = simd.mul_add(x, vectors[step][vector], sum[vector]);
                    }
                }
                for vector in 0..V {
                    simd.store(sum[vector], at.add(vector * S::LANES));
                }
            }
        }
    }
}
