//! Products of a few rows with a right operand in rows, whose time goes into reading that from memory: some of its rows at a time
//! are swept from end to end, added to the sums as they lie.

#![expect(unsafe_code, reason = "operands are addressed through strides")]

use super::multiply::Operands;
use crate::simd::{Kernel, Simd};

/// Rows of the right operand that are read side by side (32768 x 4096 on a Zen 3, two threads: 25 GB/s with 4, 15 with 1, 18 with
/// 16). They often lie a power of two apart, as do the sums, and all must fit one set of the first-level cache.
const STEPS: usize = 4;

pub(super) struct Swept<'a, 'b, 't>(pub(super) Operands<'a, 'b, 't>);

impl Swept<'_, '_, '_> {
    /// Most rows for which this is the faster way (with 4, their sums and what is read push each other out of the cache).
    pub(super) const ROWS: usize = 2;
}

impl Kernel for Swept<'_, '_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Operands { k, a, b, accumulate, tile } = self.0;
        if !accumulate {
            (0..tile.rows.len()).for_each(|row| tile.row(row).fill(0.0));
        }
        let whole = k / STEPS * STEPS;
        let (rows, columns) = (tile.rows.len(), tile.columns.len());
        let (start, outer) = tile.as_mut_ptr();
        let sweep = Sweep {
            rows,
            columns,
            a: (a.data.as_ptr(), [a.row_stride, a.col_stride]),
            b: (b.data.as_ptr(), b.row_stride),
            sums: (start, outer),
        };
        let mut step = 0;
        while step < k {
            // SAFETY: `gemm_tile` checked the operands' extent, and the sums are the tile.
            unsafe {
                if step < whole {
                    sweep.add::<S, STEPS>(simd, step);
                    step += STEPS;
                } else {
                    sweep.add::<S, 1>(simd, step);
                    step += 1;
                }
            }
        }
    }
}

/// Operands and sums, each where it begins and how far apart its rows are; of the left one also its columns.
struct Sweep {
    rows: usize,
    columns: usize,
    a: (*const f32, [usize; 2]),
    b: (*const f32, usize),
    sums: (*mut f32, usize),
}

impl Sweep {
    /// Adds the products of `STEPS` rows of the right operand.
    ///
    /// # Safety
    /// The operands must be as deep, and the sums as large, as they are said to be.
    #[inline(always)]
    unsafe fn add<S: Simd, const STEPS: usize>(&self, simd: S, first: usize) {
        let ((a, [a_row, a_step]), (b, b_row), (sums, outer)) = (self.a, self.b, self.sums);
        let mut column = 0;
        while column < self.columns {
            let count = S::LANES.min(self.columns - column);
            let mut right = [simd.splat(0.0); STEPS];
            // SAFETY: the caller's promise, here and below.
            unsafe {
                for (step, right) in right.iter_mut().enumerate() {
                    *right = simd.load_first(count, b.add((first + step) * b_row + column));
                }
                for row in 0..self.rows {
                    let (left, at) = (a.add(row * a_row + first * a_step), sums.add(row * outer + column));
                    let mut sum = simd.load_first(count, at);
                    for (step, right) in right.iter().enumerate() {
                        sum = simd.mul_add(simd.splat(*left.add(step * a_step)), *right, sum);
                    }
                    simd.store_first(count, sum, at);
                }
            }
            column += S::LANES;
        }
    }
}
