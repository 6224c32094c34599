//! Products of tiles of bf16: AMX, a unit of its own beside the vectors of Intel's CPUs from Sapphire Rapids on, sixteen times as
//! fast as they are in f32.

#![expect(unsafe_code, reason = "operands are addressed through strides")]

#[cfg_attr(not(all(target_arch = "x86_64", target_os = "linux")), path = "amx/missing.rs")]
mod instructions;
#[cfg(test)]
mod plain;

use std::marker::PhantomData;

/// Proof that this CPU multiplies tiles of bf16, and that the system lets this process do so.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Amx(Proof);

#[derive(Clone, Copy, Debug)]
enum Proof {
    Instructions,
    /// Plain code, for tests.
    #[cfg(test)]
    Plain,
}

/// Rows and columns of a tile of sums, and words in a row of one of operands.
pub(crate) const TILE: usize = 16;

/// Rows and columns of the product that is held in registers: two tiles each way.
pub(crate) const BLOCK: usize = 2 * TILE;

/// A part of the depth.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct Segment {
    /// Where in each row of the left operand it begins.
    pub(crate) start: usize,
    /// How many times [`TILE`] words it has, at least one.
    pub(crate) steps: usize,
}

/// Operands in words of two bf16, and where their product goes: `c = Σ aₛ bₛ` over segments of the depth.
#[derive(Clone, Copy)]
pub(crate) struct Blocks<'a> {
    /// The first row of the left operand, and from one row to the next.
    pub(crate) left: *const f32,
    pub(crate) left_outer: usize,
    /// At least one.
    pub(crate) segments: &'a [Segment],
    /// The right operand, [`BLOCK`] columns wide: for every `TILE` words of the depth, segment by segment, those of the first `TILE`
    /// columns, word by word, and those of the others after them.
    pub(crate) right: *const f32,
    /// What is read next, as much as of the right operand: fetched from memory meanwhile. Any address will do.
    pub(crate) ahead: *const f32,
    /// The product, `BLOCK` values in each row, and from one row to the next.
    pub(crate) product: *mut f32,
    pub(crate) product_outer: usize,
    /// Rows, a multiple of `BLOCK`.
    pub(crate) rows: usize,
}

impl Amx {
    /// The proof, where CPU and system can give it.
    pub(crate) fn detect() -> Option<Self> {
        static ALLOWED: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
        ALLOWED.get_or_init(instructions::detect).then_some(Self(Proof::Instructions))
    }

    /// The instructions, where there are, and plain code.
    #[cfg(test)]
    pub(crate) fn tested() -> impl Iterator<Item = Self> {
        Self::detect().into_iter().chain([Self(Proof::Plain)])
    }

    /// Sets the calling thread's tiles up, until what is returned is dropped.
    pub(crate) fn start(self) -> Tiles {
        match self.0 {
            // SAFETY: `self` proves that there are tiles.
            Proof::Instructions => unsafe { instructions::configure() },
            #[cfg(test)]
            Proof::Plain => {}
        }
        Tiles { amx: self, thread: PhantomData }
    }
}

/// The tiles of one thread, set up.
pub(crate) struct Tiles {
    amx: Amx,
    /// Another thread's are not.
    thread: PhantomData<*mut ()>,
}

impl Drop for Tiles {
    fn drop(&mut self) {
        match self.amx.0 {
            // SAFETY: `amx` proves that there are tiles.
            Proof::Instructions => unsafe { instructions::release() },
            #[cfg(test)]
            Proof::Plain => {}
        }
    }
}

impl Tiles {
    /// The product. How each of its values is summed depends on the segments alone, not on what stands beside it.
    ///
    /// # Safety
    /// All rows must be readable and writable as far as [`Blocks`] says. No other `Tiles` of this thread may have been dropped since
    /// these were set up.
    pub(crate) unsafe fn multiply(&self, blocks: Blocks) {
        debug_assert!(blocks.rows.is_multiple_of(BLOCK) && !blocks.segments.is_empty());
        debug_assert!(blocks.segments.iter().all(|segment| segment.steps > 0));
        let steps: usize = blocks.segments.iter().map(|segment| segment.steps).sum();
        for first in (0..blocks.rows).step_by(BLOCK) {
            // Its lines, until there are no more: four in each step.
            let fetched = (first / BLOCK * steps * 4 * TILE).min(steps * BLOCK * TILE);
            // SAFETY: the caller's promise.
            unsafe {
                let block = Blocks {
                    left: blocks.left.add(first * blocks.left_outer),
                    ahead: blocks.ahead.wrapping_add(fetched),
                    product: blocks.product.add(first * blocks.product_outer),
                    rows: BLOCK,
                    ..blocks
                };
                match self.amx.0 {
                    Proof::Instructions => instructions::multiply_block(block),
                    #[cfg(test)]
                    Proof::Plain => plain::multiply_block(block),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::integers;

    /// Segments that overlap and skip, in two blocks of rows; whole numbers, so sums are exact.
    #[test]
    fn products_are_those_of_their_segments() {
        let segments = [(0, 2), (16, 1), (48, 3), (7, 1)].map(|(start, steps)| Segment { start, steps });
        let (outer, product_outer, rows) = (100, 40, 2 * BLOCK);
        let steps: usize = segments.iter().map(|segment| segment.steps).sum();
        let pair = |pair: &[f32]| f32::from_bits(pair[0].to_bits() >> 16 | pair[1].to_bits() & 0xffff_0000);
        let [left, right] = [rows * outer, steps * BLOCK * TILE].map(|words| integers(2 * words, words as u64));
        let [a, b] = [&left, &right].map(|values| values.chunks_exact(2).map(pair).collect::<Vec<_>>());
        let mut expected = vec![7.0; rows * product_outer];
        for (row, column) in (0..rows).flat_map(|row| (0..BLOCK).map(move |column| (row, column))) {
            let words = segments.iter().flat_map(|&Segment { start, steps }| start..start + steps * TILE);
            let product = |(index, word): (usize, usize)| -> f32 {
                let tile = 2 * (index / TILE) + column / TILE;
                let at = (tile * TILE + index % TILE) * TILE + column % TILE;
                (0..2).map(|half| left[2 * (row * outer + word) + half] * right[2 * at + half]).sum()
            };
            expected[row * product_outer + column] = words.enumerate().map(product).sum();
        }
        for amx in Amx::tested() {
            let mut received = vec![7.0; rows * product_outer];
            let tiles = amx.start();
            let blocks = Blocks {
                left: a.as_ptr(),
                left_outer: outer,
                segments: &segments,
                right: b.as_ptr(),
                ahead: b.as_ptr(),
                product: received.as_mut_ptr(),
                product_outer,
                rows,
            };
            // SAFETY: rows are as long as the last segment reaches; the right operand has all steps.
            unsafe { tiles.multiply(blocks) };
            assert!(received == expected, "{amx:?}");
        }
    }
}
