//! What the instructions do, for tests where there are none.

#![expect(unsafe_code, reason = "operands are addressed through strides")]

use std::slice::from_raw_parts;

use super::{BLOCK, Blocks, Segment, TILE};

/// Row by row, over loops that compile to vectors: most of the tests' time passes here.
///
/// # Safety
/// As [`super::Tiles::multiply`].
pub(super) unsafe fn multiply_block(blocks: Blocks) {
    for row in 0..BLOCK {
        let (mut sums, mut right) = ([0.0; BLOCK], blocks.right);
        for &Segment { start, steps } in blocks.segments {
            // SAFETY: the caller's promise: rows reach as far as each segment, and the right operand has all steps.
            let (left, tiles) = unsafe {
                let left = blocks.left.add(row * blocks.left_outer + start);
                (from_raw_parts(left, steps * TILE), from_raw_parts(right, steps * BLOCK * TILE))
            };
            right = right.wrapping_add(tiles.len());
            for (words, tiles) in left.chunks_exact(TILE).zip(tiles.chunks_exact(BLOCK * TILE)) {
                let (first, second) = sums.split_at_mut(TILE);
                add_products(first, words, &tiles[..TILE * TILE]);
                add_products(second, words, &tiles[TILE * TILE..]);
            }
        }
        // SAFETY: the caller's promise.
        unsafe { blocks.product.add(row * blocks.product_outer).copy_from_nonoverlapping(sums.as_ptr(), BLOCK) };
    }
}

/// Adds the products of a row of words and a tile to one sum for each column.
fn add_products(sums: &mut [f32], words: &[f32], tile: &[f32]) {
    for (&word, columns) in words.iter().zip(tile.chunks_exact(TILE)) {
        for (sum, &column) in sums.iter_mut().zip(columns) {
            *sum += low(word) * low(column) + high(word) * high(column);
        }
    }
}

/// The first of the two bf16 in a word.
fn low(word: f32) -> f32 {
    f32::from_bits(word.to_bits() << 16)
}

/// The second of the two bf16 in a word.
fn high(word: f32) -> f32 {
    f32::from_bits(word.to_bits() & 0xffff_0000)
}
