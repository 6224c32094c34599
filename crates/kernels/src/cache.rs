//! How large this CPU's caches are.

use std::sync::OnceLock;

/// Where the CPU does not say: a common size.
const COMMON: usize = 1 << 20;

/// Bytes of a second-level cache, that of the core which is asked first: what a task should keep within, as what lies beyond is
/// several times slower. Nothing but time may depend on it.
pub(crate) fn second_level() -> usize {
    static SIZE: OnceLock<usize> = OnceLock::new();
    *SIZE.get_or_init(|| stated_second_level().unwrap_or(COMMON))
}

/// What the CPU says of it, in the same place on Intel's and AMD's.
#[cfg(target_arch = "x86_64")]
fn stated_second_level() -> Option<usize> {
    const EXTENDED: u32 = 0x8000_0000;
    const LEAF: u32 = 0x8000_0006;
    if std::arch::x86_64::__cpuid(EXTENDED).eax < LEAF {
        return None;
    }
    let kibibytes = std::arch::x86_64::__cpuid(LEAF).ecx >> 16;
    (kibibytes > 0).then_some(kibibytes as usize * 1024)
}

#[cfg(not(target_arch = "x86_64"))]
fn stated_second_level() -> Option<usize> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_known_and_stays() {
        let size = second_level();
        assert!(size > 0);
        assert_eq!(size, second_level());
        assert!(stated_second_level().is_none_or(|stated| stated == size));
    }
}
