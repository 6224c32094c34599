//! The AMX microkernel in inline assembly, as the AMX intrinsics of the standard library aren't stable.

#![expect(unsafe_code, reason = "inline assembly")]

use std::arch::asm;

use super::{BlockProduct, TILE};

/// Whether the CPU has AMX with bf16, and Linux lets this process use it.
pub(super) fn detect() -> bool {
    has_tiles() && may_use_tiles()
}

/// Whether `CPUID` leaf 7 reports AMX-TILE and AMX-BF16.
fn has_tiles() -> bool {
    const LEAF: u32 = 7;
    const AMX_BF16: u32 = 1 << 22;
    const AMX_TILE: u32 = 1 << 24;
    let [max_leaf, features] =
        [(0, 0), (LEAF, 0)].map(|(leaf, subleaf)| std::arch::x86_64::__cpuid_count(leaf, subleaf));
    max_leaf.eax >= LEAF && features.edx & AMX_BF16 != 0 && features.edx & AMX_TILE != 0
}

/// Asks Linux for permission to use the tile registers in this process; `false` if Linux refuses. With permission, Linux saves
/// these registers at context switches.
fn may_use_tiles() -> bool {
    const ARCH_REQ_XCOMP_PERM: libc::c_long = 0x1023;
    const XFEATURE_XTILEDATA: libc::c_long = 18;
    // SAFETY: the system call takes two integers and changes only this process' permission.
    unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0 }
}

/// Configures all eight tile registers of this thread as 16 rows of 64 bytes.
///
/// # Safety
/// [`detect`] must have returned `true`.
pub(super) unsafe fn configure() {
    #[repr(align(64))]
    struct Config([u8; 64]);
    let mut config = Config([0; 64]);
    // Byte 0: palette. Bytes 16..32: bytes per row of each tile, as u16. Bytes 48..56: rows of each tile.
    config.0[0] = 1;
    config.0[16..32].chunks_exact_mut(2).for_each(|bytes| bytes[0] = 64);
    config.0[48..56].fill(TILE as u8);
    // SAFETY: the caller's promise; palette 1 of every CPU with AMX allows this configuration.
    unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const config, options(nostack, readonly, preserves_flags)) }
}

/// Releases the tile registers of this thread, so that context switches needn't save them.
///
/// # Safety
/// As [`configure`].
pub(super) unsafe fn release() {
    // SAFETY: the caller's promise.
    unsafe { asm!("tilerelease", options(nostack, nomem, preserves_flags)) }
}

/// Computes one block of [`super::BLOCK`] x [`super::BLOCK`] of the product.
///
/// Tile registers 0 to 3 hold the accumulators, 4 and 5 the left operand, 6 and 7 the right operand. The right operand is
/// streamed: each step prefetches the operand of the step after the next from the L2 into the L1 cache, between the tile
/// instructions.
///
/// # Safety
/// As [`super::TileRegisters::multiply`], for one block of rows, with the tile registers of this thread [configured](configure).
pub(super) unsafe fn multiply_block(operands: BlockProduct) {
    let bytes = size_of::<f32>();
    // SAFETY: the caller's promise.
    unsafe {
        asm!(
            "tilezero tmm0",
            "tilezero tmm1",
            "tilezero tmm2",
            "tilezero tmm3",
            // For each segment: its start in the upper 16 rows, and in the lower 16 rows.
            "2:",
            "mov {upper}, [{segment}]",
            "mov {steps}, [{segment} + 8]",
            "lea {upper}, [{left} + {upper} * 4]",
            "mov {lower}, {left_stride}",
            "shl {lower}, 4",
            "add {lower}, {upper}",
            // For each step of the segment.
            "3:",
            "tileloadd tmm6, [{right} + {line}]",
            "tileloadd tmm4, [{upper} + {left_stride}]",
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
            "tileloadd tmm5, [{lower} + {left_stride}]",
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
            "prefetcht1 [{prefetch} + 0]",
            "prefetcht1 [{prefetch} + 64]",
            "prefetcht1 [{prefetch} + 128]",
            "prefetcht1 [{prefetch} + 192]",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "add {upper}, 64",
            "add {lower}, 64",
            "add {right}, 2048",
            "add {prefetch}, 256",
            "dec {steps}",
            "jnz 3b",
            "add {segment}, 16",
            "dec {segments}",
            "jnz 2b",
            // Store the accumulators.
            "mov {lower}, {product_stride}",
            "shl {lower}, 4",
            "add {lower}, {product}",
            "tilestored [{product} + {product_stride}], tmm0",
            "tilestored [{product} + {product_stride} + 64], tmm1",
            "tilestored [{lower} + {product_stride}], tmm2",
            "tilestored [{lower} + {product_stride} + 64], tmm3",
            left = in(reg) operands.left,
            left_stride = in(reg) operands.left_stride * bytes,
            segment = inout(reg) operands.segments.as_ptr() => _,
            segments = inout(reg) operands.segments.len() => _,
            right = inout(reg) operands.right => _,
            line = in(reg) TILE * bytes,
            prefetch = inout(reg) operands.prefetch => _,
            product = in(reg) operands.product,
            product_stride = in(reg) operands.product_stride * bytes,
            upper = out(reg) _,
            lower = out(reg) _,
            steps = out(reg) _,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack)
        );
    }
}
