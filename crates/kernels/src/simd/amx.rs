//! Matrix products in bf16 on AMX, the matrix unit of Intel's CPUs from Sapphire Rapids on.
//!
//! AMX multiplies tiles of 16 rows of 64 bytes. Its peak rate in bf16 is 16 times that of AVX-512 in f32. [`Amx`] is the token
//! that proves its presence, and [`TileRegisters::multiply`] the microkernel. Only the direct convolution uses it.

#![expect(unsafe_code, reason = "operands are addressed through strides")]

#[cfg(test)]
mod emulated;
#[cfg_attr(not(all(target_arch = "x86_64", target_os = "linux")), path = "amx/unsupported.rs")]
mod instructions;

use std::marker::PhantomData;

/// A token: this CPU has AMX with bf16, and the operating system lets this process use it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Amx(Backend);

#[derive(Clone, Copy, Debug)]
enum Backend {
    Instructions,
    /// Scalar code that gives the same results, for tests on CPUs without AMX.
    #[cfg(test)]
    Emulated,
}

/// Rows and columns of an accumulator tile; bf16 pairs in a row of an operand tile.
pub(crate) const TILE: usize = 16;

/// Rows and columns of the block of the product that the tile registers accumulate: 2 x 2 tiles.
pub(crate) const BLOCK: usize = 2 * TILE;

/// A run of contiguous bf16 pairs in each row of the left operand. The depth of a product is a list of segments.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct Segment {
    /// Offset of the first pair from the start of a row.
    pub(crate) start: usize,
    /// Length in steps of [`TILE`] pairs, at least one.
    pub(crate) steps: usize,
}

/// Operands and destination of one product, `c = Σ aₛ bₛ` over the segments `s` of the depth.
///
/// Operands consist of bf16 pairs, each stored in 32 bits: two values that are neighbours along the depth. Strides count 32-bit
/// values.
#[derive(Clone, Copy)]
pub(crate) struct BlockProduct<'a> {
    /// The left operand. Rows may overlap in memory.
    pub(crate) left: *const f32,
    /// Distance from one row of the left operand to the next.
    pub(crate) left_stride: usize,
    /// The depth, at least one segment.
    pub(crate) segments: &'a [Segment],
    /// The right operand, packed as `[step][half][pair][column]`: [`BLOCK`] columns in two halves of [`TILE`], and `TILE` pairs
    /// in each step. The steps of all segments follow each other.
    pub(crate) right: *const f32,
    /// The right operand of the next product, prefetched into the L2 cache meanwhile. Any address is allowed.
    pub(crate) prefetch: *const f32,
    /// The product in f32, of `BLOCK` columns.
    pub(crate) product: *mut f32,
    /// Distance from one row of the product to the next.
    pub(crate) product_stride: usize,
    /// Rows of the product, a multiple of `BLOCK`.
    pub(crate) rows: usize,
}

impl Amx {
    /// The token; `None` if the CPU lacks AMX or the operating system denies it.
    pub(crate) fn detect() -> Option<Self> {
        static ALLOWED: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
        ALLOWED.get_or_init(instructions::detect).then_some(Self(Backend::Instructions))
    }

    /// AMX, if this CPU has it, and the emulation.
    #[cfg(test)]
    pub(crate) fn tested() -> impl Iterator<Item = Self> {
        Self::detect().into_iter().chain([Self(Backend::Emulated)])
    }

    /// Configures the calling thread's tile registers, until the returned guard is dropped.
    pub(crate) fn configure(self) -> TileRegisters {
        match self.0 {
            // SAFETY: `self` proves that the CPU has AMX.
            Backend::Instructions => unsafe { instructions::configure() },
            #[cfg(test)]
            Backend::Emulated => {}
        }
        TileRegisters { amx: self, thread: PhantomData }
    }
}

/// A guard: the tile registers of this thread are configured for bf16 products.
pub(crate) struct TileRegisters {
    amx: Amx,
    /// Makes the guard `!Send`, as each thread configures its own registers.
    thread: PhantomData<*mut ()>,
}

impl Drop for TileRegisters {
    fn drop(&mut self) {
        match self.amx.0 {
            // SAFETY: `amx` proves that the CPU has AMX.
            Backend::Instructions => unsafe { instructions::release() },
            #[cfg(test)]
            Backend::Emulated => {}
        }
    }
}

impl TileRegisters {
    /// Computes a product. The summation order of each element depends on the segments only, so its bits don't depend on the rows
    /// around it.
    ///
    /// # Safety
    /// The operands must be readable and the product writable as far as [`BlockProduct`] describes them. Since this guard was
    /// created, no other guard of this thread may have been dropped, as that releases the registers.
    pub(crate) unsafe fn multiply(&self, operands: BlockProduct) {
        debug_assert!(operands.rows.is_multiple_of(BLOCK) && !operands.segments.is_empty());
        debug_assert!(operands.segments.iter().all(|segment| segment.steps > 0));
        let steps: usize = operands.segments.iter().map(|segment| segment.steps).sum();
        for first in (0..operands.rows).step_by(BLOCK) {
            // Each block of rows prefetches another part of the next right operand, four cache lines in each step.
            let prefetched = (first / BLOCK * steps * 4 * TILE).min(steps * BLOCK * TILE);
            // SAFETY: the caller's promise.
            unsafe {
                let block = BlockProduct {
                    left: operands.left.add(first * operands.left_stride),
                    prefetch: operands.prefetch.wrapping_add(prefetched),
                    product: operands.product.add(first * operands.product_stride),
                    rows: BLOCK,
                    ..operands
                };
                match self.amx.0 {
                    Backend::Instructions => instructions::multiply_block(block),
                    #[cfg(test)]
                    Backend::Emulated => emulated::multiply_block(block),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::integers;

    /// The segments overlap and leave gaps, and the rows make two blocks. Operands are small whole numbers, so sums are exact.
    #[test]
    fn products_are_those_of_their_segments() {
        let segments = [(0, 2), (16, 1), (48, 3), (7, 1)].map(|(start, steps)| Segment { start, steps });
        let (outer, product_stride, rows) = (100, 40, 2 * BLOCK);
        let steps: usize = segments.iter().map(|segment| segment.steps).sum();
        let pair = |pair: &[f32]| f32::from_bits(pair[0].to_bits() >> 16 | pair[1].to_bits() & 0xffff_0000);
        let [left, right] = [rows * outer, steps * BLOCK * TILE].map(|words| integers(2 * words, words as u64));
        let [a, b] = [&left, &right].map(|values| values.chunks_exact(2).map(pair).collect::<Vec<_>>());
        let mut expected = vec![7.0; rows * product_stride];
        for (row, column) in (0..rows).flat_map(|row| (0..BLOCK).map(move |column| (row, column))) {
            let words = segments.iter().flat_map(|&Segment { start, steps }| start..start + steps * TILE);
            let product = |(index, word): (usize, usize)| -> f32 {
                let tile = 2 * (index / TILE) + column / TILE;
                let at = (tile * TILE + index % TILE) * TILE + column % TILE;
                (0..2).map(|half| left[2 * (row * outer + word) + half] * right[2 * at + half]).sum()
            };
            expected[row * product_stride + column] = words.enumerate().map(product).sum();
        }
        for amx in Amx::tested() {
            let mut received = vec![7.0; rows * product_stride];
            let tiles = amx.configure();
            let operands = BlockProduct {
                left: a.as_ptr(),
                left_stride: outer,
                segments: &segments,
                right: b.as_ptr(),
                prefetch: b.as_ptr(),
                product: received.as_mut_ptr(),
                product_stride,
                rows,
            };
            // SAFETY: every segment lies within a row; the right operand has all steps.
            unsafe { tiles.multiply(operands) };
            assert!(received == expected, "{amx:?}");
        }
    }
}
