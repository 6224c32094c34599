//! The size of this CPU's L2 cache, by which kernels choose the size of their cache blocks.

use std::sync::OnceLock;

/// Size of the L2 cache that is assumed if the CPU doesn't report one.
const DEFAULT_L2_BYTES: usize = 1 << 20;

/// Bytes of the L2 cache of one core, read once per process.
///
/// A task's working set should fit in it, as the L3 cache is several times slower. Only speed may depend on this value, never a
/// result.
pub(crate) fn l2_bytes() -> usize {
    static SIZE: OnceLock<usize> = OnceLock::new();
    *SIZE.get_or_init(|| reported_l2_bytes().unwrap_or(DEFAULT_L2_BYTES))
}

/// The size that `CPUID` reports in leaf `0x8000_0006`, on Intel's and AMD's CPUs alike.
#[cfg(target_arch = "x86_64")]
fn reported_l2_bytes() -> Option<usize> {
    const EXTENDED: u32 = 0x8000_0000;
    const LEAF: u32 = 0x8000_0006;
    if std::arch::x86_64::__cpuid(EXTENDED).eax < LEAF {
        return None;
    }
    let kibibytes = std::arch::x86_64::__cpuid(LEAF).ecx >> 16;
    (kibibytes > 0).then_some(kibibytes as usize * 1024)
}

#[cfg(not(target_arch = "x86_64"))]
fn reported_l2_bytes() -> Option<usize> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_known_and_stays() {
        let size = l2_bytes();
        assert!(size > 0);
        assert_eq!(size, l2_bytes());
        assert!(reported_l2_bytes().is_none_or(|stated| stated == size));
    }
}
