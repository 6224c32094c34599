//! Where values lie with respect to cache lines: vectors that straddle two cost twice.

use engraft_memory::prefer_huge_pages;

/// Values of a cache line.
pub(crate) const LINE: usize = 16;

/// Least length not below `len` that is an odd number of cache lines: what lies that far apart spreads over all sets of a cache.
pub(crate) fn odd_lines(len: usize) -> usize {
    (len.div_ceil(LINE) | 1) * LINE
}

/// The part of `values` that starts at a cache line: up to [`LINE`] values less.
pub(crate) fn aligned(values: &mut [f32]) -> &mut [f32] {
    let start = first_line(values).min(values.len());
    &mut values[start..]
}

fn first_line(values: &[f32]) -> usize {
    values.as_ptr().align_offset(LINE * size_of::<f32>())
}

/// Values that start at a cache line.
#[derive(Debug)]
pub(crate) struct AlignedVec {
    values: Vec<f32>,
    start: usize,
    len: usize,
}

impl AlignedVec {
    pub(crate) fn zeros(len: usize) -> Self {
        let mut values = vec![0.0; len + LINE];
        prefer_huge_pages(&mut values);
        let start = first_line(&values).min(LINE);
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
        for skip in 0..LINE {
            let part = aligned(&mut values[skip..]);
            assert!(part.len() + skip > 100 - 2 * LINE);
            assert_eq!(part.as_ptr() as usize % 64, 0);
        }
        let mut vector = AlignedVec::zeros(33);
        assert_eq!((vector.as_slice().as_ptr() as usize % 64, vector.as_mut_slice().len()), (0, 33));
    }

    #[test]
    fn odd_lines_are_odd() {
        assert_eq!([0, 1, 16, 17, 48].map(odd_lines), [16, 16, 16, 48, 48]);
    }
}
