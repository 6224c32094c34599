//! Huge pages for large arrays (`madvise` with `MADV_HUGEPAGE` on Linux).

#![cfg_attr(target_os = "linux", expect(unsafe_code, reason = "advice to the system is given by address"))]

/// Smallest array, in bytes, that is backed with huge pages: two huge pages of 2 MiB.
#[cfg(target_os = "linux")]
const MIN_BYTES: usize = 4 << 20;

/// Asks the system to back an array with huge pages. Does nothing for small arrays, and on systems other than Linux.
///
/// Call it before the array is first written, as pages are allocated on first write. A huge page replaces 512 normal pages: there
/// are fewer page faults and fewer TLB misses.
///
/// ```
/// let mut values = vec![0.0; 10_000_000];
/// engraft_memory::prefer_huge_pages(&mut values);
/// assert!(values.iter().all(|&value| value == 0.0));
/// ```
pub fn prefer_huge_pages(values: &mut Vec<f32>) {
    #[cfg(target_os = "linux")]
    {
        const PAGE: usize = 4096;
        let bytes = values.capacity() * size_of::<f32>();
        let before = values.as_ptr().align_offset(PAGE).saturating_mul(size_of::<f32>());
        if bytes < MIN_BYTES || before > bytes {
            return;
        }
        let length = (bytes - before) / PAGE * PAGE;
        // SAFETY: the range lies within the array's allocation, and the advice doesn't change its contents. If the call fails,
        // the array keeps normal pages.
        unsafe {
            libc::madvise(values.as_mut_ptr().byte_add(before).cast(), length, libc::MADV_HUGEPAGE);
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = values;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_and_address_stay_the_same() {
        for len in [0, 1, 3_000_000] {
            let mut values: Vec<f32> = (0..len).map(|i| i as f32).collect();
            let (copy, place) = (values.clone(), values.as_ptr());
            prefer_huge_pages(&mut values);
            assert!(values == copy && values.as_ptr() == place);
        }
    }
}
