//! GEMM for few rows (a skinny product) and a row-major right operand, as in Dense layers with a small batch.
//!
//! Such a product is bound by memory bandwidth: its time goes into reading the right operand once. So the right operand is
//! streamed from memory in its own order and never packed. Each group of [`STEPS`] rows of the right operand is a rank-k update
//! of the accumulators, which stay in cache.

#![expect(unsafe_code, reason = "operands are addressed through strides")]

use super::matrix::Matrix;
use super::operands::{BLOCK, Operands};
use super::pack::{PackBuffers, reserve};
use crate::aligned::{CACHE_LINE, odd_cache_lines};
use crate::simd::{Kernel, Simd};

/// Rank of an update: rows of the right operand that are streamed at the same time. `STEPS` x [`VECTORS`] vectors of these rows
/// take 12 of the 16 vector registers of AVX2. The others hold accumulators and a value of the left operand.
const STEPS: usize = 6;

/// Vectors of each streamed row that stay in registers while all rows of the left operand multiply them.
const VECTORS: usize = 2;

/// Depth of a packed block of the left operand.
const DEPTH: usize = 22 * STEPS;

const _: () = assert!(BLOCK.is_multiple_of(DEPTH));

/// The loop nest for few rows and a row-major right operand.
pub(super) struct Skinny<'a, 'b, 't> {
    pub(super) operands: Operands<'a, 'b, 't>,
    pub(super) buffers: &'a mut PackBuffers,
}

impl Skinny<'_, '_, '_> {
    /// Up to this many rows of the output, streaming is faster than packing for every right operand.
    const MAX_ROWS_ANY_SIZE: usize = 2;

    /// Up to this many rows of the output, streaming is faster than packing if the right operand is so large that it comes from
    /// memory: at least [`MIN_DEPTH`](Self::MIN_DEPTH) rows and [`MIN_LEN`](Self::MIN_LEN) values. Measured:
    /// `bench/records/constants.md`.
    const MAX_ROWS: usize = 64;
    const MIN_DEPTH: usize = 256;
    const MIN_LEN: usize = 64 << 10;

    /// Columns that one task computes of an output with `n` columns. A task has at most the 1024 columns that one 4 KiB page
    /// holds of a row, as each page costs a TLB look-up. It has fewer columns if each thread would otherwise get fewer than two
    /// tasks.
    pub(super) fn columns(n: usize, threads: usize) -> usize {
        const PAGE_VALUES: usize = 1024;
        n.div_ceil(2 * threads).next_multiple_of(CACHE_LINE).min(PAGE_VALUES)
    }

    /// Whether this loop nest is the fastest for a product with a row-major right operand.
    pub(super) fn suits(rows: usize, k: usize, columns: usize) -> bool {
        rows <= Self::MAX_ROWS_ANY_SIZE
            || rows <= Self::MAX_ROWS && k >= Self::MIN_DEPTH && k * columns >= Self::MIN_LEN
    }
}

impl Kernel for Skinny<'_, '_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (Operands { k, a, b, accumulate, tile }, buffers) = (self.operands, self.buffers);
        let (rows, columns) = (tile.rows.len(), tile.columns.len());
        // The sums are in a buffer. In the tile itself, rows are often a power of two apart and would evict each other from the cache.
        let row_stride = odd_cache_lines(columns.next_multiple_of(CACHE_LINE));
        let sums = reserve(&mut buffers.right, rows * row_stride);
        let left = reserve(&mut buffers.left, rows * DEPTH);
        for block in (0..k).step_by(BLOCK) {
            sums.fill(0.0);
            let end = k.min(block + BLOCK);
            for depth in (block..end).step_by(DEPTH) {
                let steps = DEPTH.min(end - depth);
                pack_left(a.skip(0, depth), rows, steps, left);
                let b = b.skip(depth, 0);
                let right = (b.data.as_ptr(), b.row_stride);
                let update =
                    RankUpdate { rows, columns, left: left.as_ptr(), right, sums: (sums.as_mut_ptr(), row_stride) };
                // SAFETY: `gemm_tile` checked the size of the right operand; the packed left operand and the sums are large
                // enough.
                unsafe { update.apply(simd, steps) };
            }
            for (row, sums) in sums.chunks_exact(row_stride).enumerate() {
                match accumulate || block > 0 {
                    true => tile.row(row).iter_mut().zip(sums).for_each(|(value, sum)| *value += sum),
                    false => tile.row(row).copy_from_slice(&sums[..columns]),
                }
            }
        }
    }
}

/// Packs `steps` columns of `a` as `[group][row][step]`, with [`STEPS`] steps in each group.
#[inline(always)]
fn pack_left(a: Matrix, rows: usize, steps: usize, to: &mut [f32]) {
    for (group, to) in to.chunks_exact_mut(rows * STEPS).take(steps.div_ceil(STEPS)).enumerate() {
        let first = group * STEPS;
        for (row, to) in to.chunks_exact_mut(STEPS).enumerate() {
            for (step, to) in to.iter_mut().take(steps - first).enumerate() {
                *to = a.data[row * a.row_stride + (first + step) * a.col_stride];
            }
        }
    }
}

/// The update of the sums by a block of the depth: `sums += left right`.
struct RankUpdate {
    rows: usize,
    columns: usize,
    /// The left operand, packed by [`pack_left`].
    left: *const f32,
    /// Start and row stride of the right operand.
    right: (*const f32, usize),
    /// Start and row stride of the accumulators, whose rows are padded to whole vectors.
    sums: (*mut f32, usize),
}

impl RankUpdate {
    /// Adds the products of all `steps` steps.
    ///
    /// # Safety
    /// `left` and `right` must have `steps` steps, and `sums` the rows and columns of the update.
    #[inline(always)]
    unsafe fn apply<S: Simd>(&self, simd: S, steps: usize) {
        let whole = steps / STEPS * STEPS;
        // SAFETY: the caller's promise.
        unsafe {
            for step in (0..whole).step_by(STEPS) {
                self.apply_rank::<S, STEPS>(simd, step);
            }
            for step in whole..steps {
                self.apply_rank::<S, 1>(simd, step);
            }
        }
    }

    /// Adds the products of the `N` steps from `first` on: a rank-`N` update of all columns.
    ///
    /// # Safety
    /// As [`apply`](Self::apply).
    #[inline(always)]
    unsafe fn apply_rank<S: Simd, const N: usize>(&self, simd: S, first: usize) {
        let mut column = 0;
        // SAFETY: the caller's promise.
        unsafe {
            while column + VECTORS * S::LANES <= self.columns {
                self.apply_columns::<S, N, VECTORS>(
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
                self.apply_columns::<S, N, 1>(
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

    /// The rank-`N` update of [`apply_rank`](Self::apply_rank) for `V` vectors of columns. `load` reads one vector of a row of the right
    /// operand; the last vector of a row may be incomplete. Prefetches the same columns of the next `N` rows.
    ///
    /// # Safety
    /// As [`apply`](Self::apply); `load` must be able to read `V` vectors of each of the `N` rows of the right operand.
    #[inline(always)]
    #[expect(
        clippy::needless_range_loop,
        reason = "an iterator that isn't inlined would be compiled without the instruction set"
    )]
    unsafe fn apply_columns<S: Simd, const N: usize, const V: usize>(
        &self,
        simd: S,
        first: usize,
        column: usize,
        load: impl Fn(*const f32) -> S::Vector,
    ) {
        let ((right, stride), (sums, row_stride)) = (self.right, self.sums);
        let mut vectors = [[simd.splat(0.0); V]; N];
        for step in 0..N {
            let at = right.wrapping_add((first + step) * stride + column);
            for vector in 0..V {
                if (vector * S::LANES).is_multiple_of(CACHE_LINE) {
                    simd.prefetch_far(at.wrapping_add(N * stride + vector * S::LANES));
                }
                vectors[step][vector] = load(at.wrapping_add(vector * S::LANES));
            }
        }
        let left = self.left.wrapping_add(first / STEPS * STEPS * self.rows + first % STEPS);
        for row in 0..self.rows {
            // SAFETY: the caller's promise.
            unsafe {
                let at = sums.add(row * row_stride + column);
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
