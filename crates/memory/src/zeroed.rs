//! Arrays of zeros whose pages are allocated when they are first written.

#![expect(unsafe_code, reason = "the system gives zeroed memory by address")]

use std::alloc::{Layout, alloc_zeroed};

use crate::prefer_huge_pages;

/// `len` zeros, in huge pages where the system grants them; `None` if there is not enough memory.
///
/// The system gives zeroed pages, and allocates them on their first use. So nothing is written here, and a part that is never
/// used takes no memory.
///
/// ```
/// let values = engraft_memory::zeroed(1000).expect("4 kB of memory");
/// assert_eq!(values, vec![0.0; 1000]);
/// assert_eq!(engraft_memory::zeroed(usize::MAX), None);
/// ```
pub fn zeroed(len: usize) -> Option<Vec<f32>> {
    let layout = Layout::array::<f32>(len).ok()?;
    if layout.size() == 0 {
        return Some(Vec::new());
    }
    // SAFETY: the layout's size isn't 0.
    let start = unsafe { alloc_zeroed(layout) }.cast::<f32>();
    if start.is_null() {
        return None;
    }
    // SAFETY: the global allocator gave memory with the layout of a vector of `len` values. All its bytes are zero, as those of
    // 0.0 are.
    let mut values = unsafe { Vec::from_raw_parts(start, len, len) };
    prefer_huge_pages(&mut values);
    Some(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_zero_and_can_be_written() {
        for len in [0, 1, 3_000_000] {
            let mut values = zeroed(len).unwrap();
            assert!(values.len() == len && values.iter().all(|&value| value == 0.0));
            values.fill(1.0);
            values.push(2.0);
            assert!(values.len() == len + 1 && values[..len].iter().all(|&value| value == 1.0));
        }
        assert_eq!(zeroed(isize::MAX as usize), None);
    }
}
