//! Products of tiles of bf16: AMX, a unit of its own beside the vectors of Intel's CPUs from Sapphire Rapids on, sixteen times as
//! fast as they are in f32.
//!
//! The standard library's functions for it aren't stable, so instructions are written out. The compiler knows nothing of the
//! tiles' registers and never uses them: what they hold stays from one piece of assembly to the next.

#![expect(unsafe_code, reason = "instructions are written out, and operands addressed through strides")]

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
use std::arch::asm;
use std::marker::PhantomData;

/// Proof that this CPU multiplies tiles of bf16, and that the system lets this process do so.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Amx(Proof);

#[derive(Clone, Copy, Debug)]
enum Proof {
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    Instructions,
    /// Plain code, for tests.
    #[cfg(test)]
    Plain,
}

/// Rows and columns of a tile of sums, and words in a row of one of operands.
pub(crate) const TILE: usize = 16;

/// Rows and columns of the product that is held in registers: two tiles each way.
pub(crate) const BLOCK: usize = 2 * TILE;

/// Operands in words of two bf16, and where their product goes: `c = Σ aₛ bₛ` over *segments* of the depth.
#[derive(Clone, Copy)]
pub(crate) struct Blocks<'a> {
    /// The first row of the left operand, and from one row to the next.
    pub(crate) left: *const f32,
    pub(crate) left_outer: usize,
    /// Where in each row segments begin, and how many times [`TILE`] words each has.
    pub(crate) segments: &'a [(usize, usize)],
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
        #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
        {
            static ALLOWED: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
            ALLOWED.get_or_init(|| has_tiles() && may_use_tiles()).then_some(Self(Proof::Instructions))
        }
        #[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
        None
    }

    /// The instructions, where there are, and plain code.
    #[cfg(test)]
    pub(crate) fn tested() -> impl Iterator<Item = Self> {
        Self::detect().into_iter().chain([Self(Proof::Plain)])
    }

    /// Sets the calling thread's tiles up for its use alone, until what is returned is dropped.
    pub(crate) fn start(self) -> Tiles {
        match self.0 {
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            Proof::Instructions => configure(),
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
            // SAFETY: there are tiles. Those in use would be saved at each change of threads.
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            Proof::Instructions => unsafe { asm!("tilerelease", options(nostack, nomem, preserves_flags)) },
            #[cfg(test)]
            Proof::Plain => {}
        }
    }
}

impl Tiles {
    /// The product. Each of its values is summed along the depth in order, whatever stands beside it.
    ///
    /// # Safety
    /// All rows must be readable and writable as far as [`Blocks`] says.
    pub(crate) unsafe fn multiply(&self, blocks: Blocks) {
        let steps: usize = blocks.segments.iter().map(|(_, steps)| steps).sum();
        for first in (0..blocks.rows).step_by(BLOCK) {
            let ahead = blocks.ahead.wrapping_add((first / BLOCK * steps * 64).min(steps * BLOCK * TILE));
            // SAFETY: the caller's promise.
            unsafe {
                let left = blocks.left.add(first * blocks.left_outer);
                let product = blocks.product.add(first * blocks.product_outer);
                let block = Blocks { left, product, ahead, rows: BLOCK, ..blocks };
                match self.amx.0 {
                    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
                    Proof::Instructions => multiply_block(block),
                    #[cfg(test)]
                    Proof::Plain => plain::multiply_block(block),
                }
            }
        }
    }
}

/// Sets all eight tiles of this thread up: 16 rows of 64 bytes each.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
fn configure() {
    #[repr(align(64))]
    struct Config([u8; 64]);
    let mut config = Config([0; 64]);
    // The palette; bytes in a row, of two bytes each; rows.
    config.0[0] = 1;
    config.0[16..32].chunks_exact_mut(2).for_each(|bytes| bytes[0] = 64);
    config.0[48..56].fill(TILE as u8);
    // SAFETY: called with a proof that there are tiles; every CPU that has them takes this configuration.
    unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const config, options(nostack, readonly, preserves_flags)) }
}

/// # Safety
/// As [`Tiles::multiply`], with the tiles of this thread set up.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
unsafe fn multiply_block(blocks: Blocks) {
    let Blocks { left, left_outer, segments, mut right, mut ahead, product, product_outer, .. } = blocks;
    let bytes = size_of::<f32>();
    // SAFETY: the caller's promise; sums are tiles 0 to 3, operands 4 to 7.
    unsafe {
        asm!(
            "tilezero tmm0",
            "tilezero tmm1",
            "tilezero tmm2",
            "tilezero tmm3",
            options(nostack, nomem, preserves_flags)
        );
        for &(start, steps) in segments {
            if steps == 0 {
                continue;
            }
            asm!(
                "2:",
                "tileloadd tmm6, [{right} + {line}]",
                "tileloadd tmm4, [{upper} + {outer}]",
                "prefetcht0 [{right} + 4096 + 0]",
                "prefetcht0 [{right} + 4096 + 64]",
                "prefetcht0 [{right} + 4096 + 128]",
                "prefetcht0 [{right} + 4096 + 192]",
                "prefetcht0 [{right} + 4096 + 256]",
                "prefetcht0 [{right} + 4096 + 320]",
                "prefetcht0 [{right} + 4096 + 384]",
                "prefetcht0 [{right} + 4096 + 448]",
                "prefetcht0 [{right} + 4096 + 512]",
                "prefetcht0 [{right} + 4096 + 576]",
                "prefetcht0 [{right} + 4096 + 640]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tileloadd tmm7, [{right} + {line} + 1024]",
                "prefetcht0 [{right} + 4096 + 704]",
                "prefetcht0 [{right} + 4096 + 768]",
                "prefetcht0 [{right} + 4096 + 832]",
                "prefetcht0 [{right} + 4096 + 896]",
                "prefetcht0 [{right} + 4096 + 960]",
                "prefetcht0 [{right} + 4096 + 1024]",
                "prefetcht0 [{right} + 4096 + 1088]",
                "prefetcht0 [{right} + 4096 + 1152]",
                "prefetcht0 [{right} + 4096 + 1216]",
                "prefetcht0 [{right} + 4096 + 1280]",
                "prefetcht0 [{right} + 4096 + 1344]",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "tileloadd tmm5, [{lower} + {outer}]",
                "prefetcht0 [{right} + 4096 + 1408]",
                "prefetcht0 [{right} + 4096 + 1472]",
                "prefetcht0 [{right} + 4096 + 1536]",
                "prefetcht0 [{right} + 4096 + 1600]",
                "prefetcht0 [{right} + 4096 + 1664]",
                "prefetcht0 [{right} + 4096 + 1728]",
                "prefetcht0 [{right} + 4096 + 1792]",
                "prefetcht0 [{right} + 4096 + 1856]",
                "prefetcht0 [{right} + 4096 + 1920]",
                "prefetcht0 [{right} + 4096 + 1984]",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "prefetcht1 [{ahead} + 0]",
                "prefetcht1 [{ahead} + 64]",
                "prefetcht1 [{ahead} + 128]",
                "prefetcht1 [{ahead} + 192]",
                "tdpbf16ps tmm3, tmm5, tmm7",
                "add {upper}, 64",
                "add {lower}, 64",
                "add {right}, 2048",
                "add {ahead}, {further}",
                "dec {steps}",
                "jnz 2b",
                right = inout(reg) right,
                ahead = inout(reg) ahead,
                further = in(reg) 256usize,
                upper = inout(reg) left.add(start) => _,
                lower = inout(reg) left.add(start + TILE * left_outer) => _,
                steps = inout(reg) steps => _,
                outer = in(reg) left_outer * bytes,
                line = in(reg) TILE * bytes,
                options(nostack, readonly)
            );
        }
        asm!(
            "tilestored [{upper} + {outer}], tmm0",
            "tilestored [{upper} + {outer} + 64], tmm1",
            "tilestored [{lower} + {outer}], tmm2",
            "tilestored [{lower} + {outer} + 64], tmm3",
            upper = in(reg) product,
            lower = in(reg) product.add(TILE * product_outer),
            outer = in(reg) product_outer * bytes,
            options(nostack, preserves_flags)
        );
    }
}

/// Whether the CPU has tiles of bf16: leaf 7 of what it says of itself.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
fn has_tiles() -> bool {
    const LEAF: u32 = 7;
    const AMX_BF16: u32 = 1 << 22;
    const AMX_TILE: u32 = 1 << 24;
    let [most, features] = [(0, 0), (LEAF, 0)].map(|(leaf, part)| std::arch::x86_64::__cpuid_count(leaf, part));
    most.eax >= LEAF && features.edx & AMX_BF16 != 0 && features.edx & AMX_TILE != 0
}

/// Asks Linux for the room in which it keeps the tiles of threads that wait.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
fn may_use_tiles() -> bool {
    const ARCH_REQ_XCOMP_PERM: libc::c_long = 0x1023;
    const XFEATURE_XTILEDATA: libc::c_long = 18;
    // SAFETY: the call takes two numbers, and changes nothing but this process' permission.
    unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0 }
}

#[cfg(test)]
mod plain {
    use super::{BLOCK, Blocks, TILE};

    /// # Safety
    /// As [`super::Tiles::multiply`].
    pub(super) unsafe fn multiply_block(blocks: Blocks) {
        // SAFETY: the caller's promise.
        let words = |at: *const f32| unsafe { at.read() }.to_bits();
        let halves = |word: u32| [word << 16, word & 0xffff_0000].map(f32::from_bits);
        for (row, column) in (0..BLOCK).flat_map(|row| (0..BLOCK).map(move |column| (row, column))) {
            let (mut sum, mut step) = (0.0, 0);
            for &(start, steps) in blocks.segments {
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::integers;

    /// Segments that overlap and skip, in two blocks of rows; whole numbers, so sums are exact.
    #[test]
    fn products_are_those_of_their_segments() {
        let segments = [(0, 2), (16, 1), (48, 3), (7, 0)];
        let (outer, product_outer, rows) = (100, 40, 2 * BLOCK);
        let steps: usize = segments.iter().map(|(_, steps)| steps).sum();
        let pair = |pair: &[f32]| f32::from_bits(pair[0].to_bits() >> 16 | pair[1].to_bits() & 0xffff_0000);
        let [left, right] = [rows * outer, steps * BLOCK * TILE].map(|words| integers(2 * words, words as u64));
        let [a, b] = [&left, &right].map(|values| values.chunks_exact(2).map(pair).collect::<Vec<_>>());
        let mut expected = vec![7.0; rows * product_outer];
        for (row, column) in (0..rows).flat_map(|row| (0..BLOCK).map(move |column| (row, column))) {
            let words = segments.iter().flat_map(|&(start, steps)| start..start + steps * TILE);
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
