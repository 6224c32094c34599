//! Products of few rows with a right operand in rows, whose time goes into reading that from memory: it is read once, along its
//! rows.

#![expect(unsafe_code, reason = "operands are addressed through strides")]

use super::multiply::{Copies, Operands, multiply_rows, pack, room};
use crate::aligned::LINE;
use crate::microkernel::{Product, Right, columns};
use crate::simd::{Kernel, Simd};

/// Sums kept beside the tile, whose rows may lie so far apart that they push each other out of the cache: half of the first
/// level, or more where that would be less than so many columns.
const SUMS: usize = 4096;
const LEAST_COLUMNS: usize = 128;

pub(super) struct Streamed<'a, 'b, 't> {
    pub(super) operands: Operands<'a, 'b, 't>,
    pub(super) copies: &'a mut Copies,
}

impl Streamed<'_, '_, '_> {
    /// Most rows, and least values of the right operand, for which this is the faster way (8192 x 4096 on a Zen 3 core:
    /// 16 rows 28 ms, 41 packed; 64 rows 77 and 85). What is smaller stays in the second-level cache.
    pub(super) const ROWS: usize = 64;
    pub(super) const LEAST: usize = 64 << 10;

    /// Least depth: sums are copied to the tile once.
    pub(super) const LEAST_DEPTH: usize = 256;

    /// Steps of the depth that run over all columns of a block before the next: as many rows are read side by side.
    const STEPS: usize = 16;
}

impl Kernel for Streamed<'_, '_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (Operands { k, a, b, accumulate, tile }, copies) = (self.operands, self.copies);
        let (rows, width, all) = (tile.rows.len(), columns::<S>(), tile.columns.len());
        let block = (SUMS / rows).max(LEAST_COLUMNS) / width * width;
        let copies = room(&mut copies.right, Self::STEPS * width + rows * block);
        let (panel, sums) = copies.split_at_mut(Self::STEPS * width);
        for first in (0..all).step_by(block) {
            let count = block.min(all - first);
            let padded = count.next_multiple_of(width);
            let sums = &mut sums[..rows * padded];
            for (row, sums) in sums.chunks_exact_mut(padded).enumerate() {
                match accumulate {
                    true => sums[..count].copy_from_slice(&tile.row(row)[first..][..count]),
                    false => sums.fill(0.0),
                }
            }
            for depth in (0..k).step_by(Self::STEPS) {
                let steps = Self::STEPS.min(k - depth);
                // Of the rows that come next, so many are asked for during each panel, each from end to end.
                let ahead = Self::STEPS.div_ceil(padded / width);
                for column in (0..count).step_by(width) {
                    let next = depth + Self::STEPS + column / width * ahead;
                    for row in next..k.min(next + ahead) {
                        let row = b.skip(row, first).data.as_ptr();
                        (0..count).step_by(LINE).for_each(|line| simd.prefetch(row.wrapping_add(line)));
                    }
                    let b = b.skip(depth, first + column);
                    pack(simd, b, steps, width.min(count - column), width, panel);
                    let right = Right { start: panel.as_ptr(), inner: width };
                    let product = Product { start: sums[column..].as_mut_ptr(), outer: padded };
                    // SAFETY: `gemm_tile` checked the left operand's extent; every row of the sums holds whole panels.
                    unsafe { multiply_rows(simd, rows, steps, a.skip(0, depth), right, product, true) };
                }
            }
            for (row, sums) in sums.chunks_exact(padded).enumerate() {
                tile.row(row)[first..][..count].copy_from_slice(&sums[..count]);
            }
        }
    }
}
