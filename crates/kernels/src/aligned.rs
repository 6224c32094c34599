//! Buffers aligned to cache lines. A vector load or store that straddles two cache lines costs twice as much.

use engraft_memory::prefer_huge_pages;

/// Number of f32 values in a cache line of 64 bytes.
pub(crate) const CACHE_LINE: usize = 16;

/// `len` rounded up to an odd number of cache lines.
///
/// Used as a stride between rows. Rows that are a power of two apart map to the same few sets of a cache and evict each other; an
/// odd stride spreads them over all sets.
pub(crate) fn odd_cache_lines(len: usize) -> usize {
    (len.div_ceil(CACHE_LINE) | 1) * CACHE_LINE
}

/// The part of `values` from its first cache line boundary on. Fewer than [`CACHE_LINE`] values are cut off.
pub(crate) fn aligned(values: &mut [f32]) -> &mut [f32] {
    let start = first_aligned(values).min(values.len());
    &mut values[start..]
}

fn first_aligned(values: &[f32]) -> usize {
    values.as_ptr().align_offset(CACHE_LINE * size_of::<f32>())
}

/// A vector whose first value is aligned to a cache line.
#[derive(Debug)]
pub(crate) struct AlignedVec {
    values: Vec<f32>,
    start: usize,
    len: usize,
}

impl AlignedVec {
    /// `len` zeros, in huge pages where the system grants them.
    pub(crate) fn zeros(len: usize) -> Self {
        let mut values = vec![0.0; len + CACHE_LINE];
        prefer_huge_pages(&mut values);
        let start = first_aligned(&values).min(CACHE_LINE);
        Self { values, start, len }
    }

    pub(crate) fn as_slice(&self) -> &[f32] {
        &self.values[self.start..][..self.len]
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [f32] {
        &mut self.values[self.start..][..self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_aligned_starts_at_a_line() {
        let mut values = vec![0.0; 100];
        for skip in 0..CACHE_LINE {
            let part = aligned(&mut values[skip..]);
            assert!(part.len() + skip > 100 - 2 * CACHE_LINE);
            assert_eq!(part.as_ptr() as usize % 64, 0);
        }
        let mut vector = AlignedVec::zeros(33);
        assert_eq!((vector.as_slice().as_ptr() as usize % 64, vector.as_mut_slice().len()), (0, 33));
    }

    #[test]
    fn odd_lines_are_odd() {
        assert_eq!([0, 1, 16, 17, 48].map(odd_cache_lines), [16, 16, 16, 48, 48]);
    }
}
