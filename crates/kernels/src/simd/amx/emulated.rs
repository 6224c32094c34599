//! A scalar emulation of the AMX microkernel, for tests on CPUs without AMX.

#![expect(unsafe_code, reason = "operands are addressed through strides")]

use std::slice::from_raw_parts;

use super::{BLOCK, BlockProduct, Segment, TILE};

/// Computes one block row by row, in loops that the compiler vectorizes, as tests spend most of their time here.
///
/// # Safety
/// As [`super::TileRegisters::multiply`].
pub(super) unsafe fn multiply_block(operands: BlockProduct) {
    for row in 0..BLOCK {
        let (mut sums, mut right) = ([0.0; BLOCK], operands.right);
        for &Segment { start, steps } in operands.segments {
            // SAFETY: the caller's promise: every segment lies within a row, and the right operand has all steps.
            let (left, tiles) = unsafe {
                let left = operands.left.add(row * operands.left_stride + start);
                (from_raw_parts(left, steps * TILE), from_raw_parts(right, steps * BLOCK * TILE))
            };
            right = right.wrapping_add(tiles.len());
            for (pairs, tiles) in left.chunks_exact(TILE).zip(tiles.chunks_exact(BLOCK * TILE)) {
                let (first, second) = sums.split_at_mut(TILE);
                add_products(first, pairs, &tiles[..TILE * TILE]);
                add_products(second, pairs, &tiles[TILE * TILE..]);
            }
        }
        // SAFETY: the caller's promise.
        unsafe { operands.product.add(row * operands.product_stride).copy_from_nonoverlapping(sums.as_ptr(), BLOCK) };
    }
}

/// Adds the products of a row of bf16 pairs and an operand tile to the sums, one for each column.
fn add_products(sums: &mut [f32], pairs: &[f32], tile: &[f32]) {
    for (&pair, columns) in pairs.iter().zip(tile.chunks_exact(TILE)) {
        for (sum, &column) in sums.iter_mut().zip(columns) {
            *sum += low(pair) * low(column) + high(pair) * high(column);
        }
    }
}

/// The first bf16 of a pair.
fn low(pair: f32) -> f32 {
    f32::from_bits(pair.to_bits() << 16)
}

/// The second bf16 of a pair.
fn high(pair: f32) -> f32 {
    f32::from_bits(pair.to_bits() & 0xffff_0000)
}
