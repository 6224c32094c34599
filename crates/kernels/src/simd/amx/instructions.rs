//! The instructions themselves. The standard library's functions for them aren't stable.

#![expect(unsafe_code, reason = "instructions are written out")]

use std::arch::asm;

use super::{Blocks, TILE};

/// Whether the CPU has tiles of bf16, and the system gives this process room to keep them while a thread waits.
pub(super) fn detect() -> bool {
    has_tiles() && may_use_tiles()
}

/// Leaf 7 of what the CPU says of itself.
fn has_tiles() -> bool {
    const LEAF: u32 = 7;
    const AMX_BF16: u32 = 1 << 22;
    const AMX_TILE: u32 = 1 << 24;
    let [most, features] = [(0, 0), (LEAF, 0)].map(|(leaf, part)| std::arch::x86_64::__cpuid_count(leaf, part));
    most.eax >= LEAF && features.edx & AMX_BF16 != 0 && features.edx & AMX_TILE != 0
}

fn may_use_tiles() -> bool {
    const ARCH_REQ_XCOMP_PERM: libc::c_long = 0x1023;
    const XFEATURE_XTILEDATA: libc::c_long = 18;
    // SAFETY: the call takes two numbers, and changes nothing but this process' permission.
    unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0 }
}

/// Sets all eight tiles of this thread up: 16 rows of 64 bytes each.
///
/// # Safety
/// [`detect`] must have said that there are tiles.
pub(super) unsafe fn configure() {
    #[repr(align(64))]
    struct Config([u8; 64]);
    let mut config = Config([0; 64]);
    // The palette; bytes in a row, of two bytes each; rows.
    config.0[0] = 1;
    config.0[16..32].chunks_exact_mut(2).for_each(|bytes| bytes[0] = 64);
    config.0[48..56].fill(TILE as u8);
    // SAFETY: the caller's promise; every CPU that has tiles takes this configuration.
    unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const config, options(nostack, readonly, preserves_flags)) }
}

/// Gives the tiles of this thread back: those in use are saved at each change of threads.
///
/// # Safety
/// As [`configure`].
pub(super) unsafe fn release() {
    // SAFETY: the caller's promise.
    unsafe { asm!("tilerelease", options(nostack, nomem, preserves_flags)) }
}

/// Sums are in tiles 0 to 3, operands in 4 to 7. What the right operand, which streams by, will need of the second-level cache
/// soon is fetched into the first.
///
/// # Safety
/// As [`super::Tiles::multiply`], for one block of rows, with the tiles of this thread [set up](configure).
pub(super) unsafe fn multiply_block(blocks: Blocks) {
    let bytes = size_of::<f32>();
    // SAFETY: the caller's promise.
    unsafe {
        asm!(
            "tilezero tmm0",
            "tilezero tmm1",
            "tilezero tmm2",
            "tilezero tmm3",
            // A segment: where it begins in the upper rows, and in the lower ones.
            "2:",
            "mov {upper}, [{segment}]",
            "mov {steps}, [{segment} + 8]",
            "lea {upper}, [{left} + {upper} * 4]",
            "mov {lower}, {outer}",
            "shl {lower}, 4",
            "add {lower}, {upper}",
            // A step of it.
            "3:",
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
            "add {ahead}, 256",
            "dec {steps}",
            "jnz 3b",
            "add {segment}, 16",
            "dec {segments}",
            "jnz 2b",
            // The sums.
            "mov {lower}, {product_outer}",
            "shl {lower}, 4",
            "add {lower}, {product}",
            "tilestored [{product} + {product_outer}], tmm0",
            "tilestored [{product} + {product_outer} + 64], tmm1",
            "tilestored [{lower} + {product_outer}], tmm2",
            "tilestored [{lower} + {product_outer} + 64], tmm3",
            left = in(reg) blocks.left,
            outer = in(reg) blocks.left_outer * bytes,
            segment = inout(reg) blocks.segments.as_ptr() => _,
            segments = inout(reg) blocks.segments.len() => _,
            right = inout(reg) blocks.right => _,
            line = in(reg) TILE * bytes,
            ahead = inout(reg) blocks.ahead => _,
            product = in(reg) blocks.product,
            product_outer = in(reg) blocks.product_outer * bytes,
            upper = out(reg) _,
            lower = out(reg) _,
            steps = out(reg) _,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack)
        );
    }
}
