//! Large pages for large arrays.

#![cfg_attr(target_os = "linux", expect(unsafe_code, reason = "advice to the system is given by address"))]

/// Arrays from this many bytes on are worth it: some pages of 2 MiB.
#[cfg(target_os = "linux")]
const WORTHWHILE: usize = 8 << 20;

/// Asks the system to hold an array in large pages, where it has not touched its memory yet. Memory is given page by page as it
/// is first written, and with 512 times fewer pages that takes a fraction of the time; addresses are found faster, too. Nothing
/// happens for small arrays and on systems without such advice.
///
/// ```
/// let mut values = vec![0.0; 10_000_000];
/// engraft_kernels::prefer_large_pages(&mut values);
/// assert!(values.iter().all(|&value| value == 0.0));
/// ```
pub fn prefer_large_pages(values: &mut Vec<f32>) {
    #[cfg(target_os = "linux")]
    {
        const PAGE: usize = 4096;
        let bytes = values.capacity() * size_of::<f32>();
        let before = values.as_ptr().align_offset(PAGE).saturating_mul(size_of::<f32>());
        if bytes < WORTHWHILE || before > bytes {
            return;
        }
        let length = (bytes - before) / PAGE * PAGE;
        // SAFETY: the range lies within the array's allocation and is unchanged by the advice. Its failure does not matter.
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
    fn what_arrays_hold_and_where_they_lie_stays() {
        for len in [0, 1, 3_000_000] {
            let mut values: Vec<f32> = (0..len).map(|i| i as f32).collect();
            let (copy, place) = (values.clone(), values.as_ptr());
            prefer_large_pages(&mut values);
            assert!(values == copy && values.as_ptr() == place);
        }
    }
}
