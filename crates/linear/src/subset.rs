//! [`Subset`]: some rows of a training part, as ranges of positions.

use std::ops::Range;

/// Ranges of positions in a training part. Rows are ordered by inner fold, so the rows of a fold are one range and the others two.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Subset(Vec<Range<usize>>);

impl Subset {
    /// The positions of `range`.
    pub(crate) fn of(range: Range<usize>) -> Self {
        Self(vec![range])
    }

    /// All of `rows` positions except those of `range`.
    pub(crate) fn without(rows: usize, range: &Range<usize>) -> Self {
        Self(vec![0..range.start, range.end..rows])
    }

    /// The number of positions.
    pub(crate) fn len(&self) -> usize {
        self.0.iter().map(Range::len).sum()
    }

    /// The positions in ascending order.
    pub(crate) fn positions(&self) -> impl Iterator<Item = usize> + '_ {
        self.0.iter().cloned().flatten()
    }

    /// Ranges of at most `size` positions, in ascending order.
    pub(crate) fn blocks(&self, size: usize) -> Vec<Range<usize>> {
        let blocks = |range: &Range<usize>| {
            let end = range.end;
            range.clone().step_by(size).map(move |start| start..end.min(start + size))
        };
        self.0.iter().flat_map(blocks).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_cover_the_positions_in_order() {
        let subset = Subset::without(10, &(3..5));
        assert_eq!(subset.blocks(4), [0..3, 5..9, 9..10]);
        assert_eq!((subset.len(), subset.positions().collect::<Vec<_>>()), (8, vec![0, 1, 2, 5, 6, 7, 8, 9]));
        assert_eq!(Subset::without(5, &(0..2)).blocks(2), [2..4, 4..5]);
        assert_eq!(Subset::of(2..2).blocks(9), []);
    }
}
