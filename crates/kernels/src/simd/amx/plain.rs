//! What the instructions do, for tests where there are none.

#![expect(unsafe_code, reason = "operands are addressed through strides")]

use super::{BLOCK, Blocks, Segment, TILE};

/// # Safety
/// As [`super::Tiles::multiply`].
pub(super) unsafe fn multiply_block(blocks: Blocks) {
    // SAFETY: the caller's promise.
    let words = |at: *const f32| unsafe { at.read() }.to_bits();
    let halves = |word: u32| [word << 16, word & 0xffff_0000].map(f32::from_bits);
    for (row, column) in (0..BLOCK).flat_map(|row| (0..BLOCK).map(move |column| (row, column))) {
        let (mut sum, mut step) = (0.0, 0);
        for &Segment { start, steps } in blocks.segments {
            for word in 0..steps * TILE {
                let left = blocks.left.wrapping_add(row * blocks.left_outer + start + word);
                let tile = 2 * (step + word / TILE) + column / TILE;
                let right = blocks.right.wrapping_add((tile * TILE + word % TILE) * TILE + column % TILE);
                let [a, b] = [left, right].map(|at| halves(words(at)));
                sum += a[0] * b[0] + a[1] * b[1];
            }
            step += steps;
        }
        // SAFETY: the caller's promise.
        unsafe { blocks.product.add(row * blocks.product_outer + column).write(sum) };
    }
}
