//! [`BroadcastRows`]: the rows of two operands that are broadcast to one shape.

/// Two operands that are broadcast to one shape, as rows of equal stride.
///
/// Neighboring axes are merged where both operands allow it. So a picture and a number are one long row, not many short ones.
pub(crate) struct BroadcastRows {
    /// Size of each axis before the last, and the strides of both operands along it.
    outer: Vec<(usize, [usize; 2])>,
    /// Length of a row.
    width: usize,
    /// Strides of both operands along a row: 1, or 0 for a value that is repeated.
    pub(crate) strides: [usize; 2],
}

impl BroadcastRows {
    /// The rows of `samples` samples. The shapes have no batch axis; those of the operands have the rank of `shape`, and each
    /// of their axes has its size or size 1.
    ///
    /// # Panics
    /// If an operand can't be broadcast.
    pub(crate) fn new(samples: usize, operands: [&[usize]; 2], shape: &[usize]) -> Self {
        let strides = operands.map(|operand| broadcast_strides(operand, shape));
        let sizes = operands.map(|operand| operand.iter().product());
        let mut axes: Vec<(usize, [usize; 2])> = vec![(samples, sizes)];
        let inner = shape.iter().enumerate().map(|(axis, &size)| (size, [strides[0][axis], strides[1][axis]]));
        for (size, strides) in inner.filter(|(size, _)| *size != 1) {
            let (last_size, last_strides) = axes[axes.len() - 1];
            let merges = [0, 1].into_iter().all(|operand| last_strides[operand] == strides[operand] * size);
            match axes.last_mut().filter(|_| merges || last_size == 1) {
                Some(last) => *last = (last_size * size, strides),
                None => axes.push((size, strides)),
            }
        }
        let row_like = axes.last().is_some_and(|(_, strides)| strides.iter().all(|&stride| stride <= 1));
        let (width, strides) = if row_like { axes.pop().unwrap_or((1, [0, 0])) } else { (1, [0, 0]) };
        Self { outer: axes, width, strides }
    }

    /// Calls `visit(start, length, offsets)` for each row, or part of one, of the `count` elements of the result from `first`
    /// on. `start` counts from `first`; `offsets` are those of the operands' values for the element at `start`.
    pub(crate) fn visit(&self, first: usize, count: usize, mut visit: impl FnMut(usize, usize, [usize; 2])) {
        let mut start = 0;
        while start < count {
            let (row, column) = ((first + start) / self.width, (first + start) % self.width);
            let length = (self.width - column).min(count - start);
            let mut offsets = self.strides.map(|stride| column * stride);
            let mut rest = row;
            for &(size, strides) in self.outer.iter().rev() {
                let at = rest % size;
                rest /= size;
                offsets = [0, 1].map(|operand| offsets[operand] + at * strides[operand]);
            }
            visit(start, length, offsets);
            start += length;
        }
    }
}

/// The strides that broadcast a row-major operand to `shape`: 0 along its axes of size 1.
fn broadcast_strides(operand: &[usize], shape: &[usize]) -> Vec<usize> {
    assert!(
        operand.len() == shape.len() && operand.iter().zip(shape).all(|(own, size)| own == size || *own == 1),
        "an operand of shape {operand:?} can't be broadcast to {shape:?}"
    );
    let mut stride = 1;
    let mut strides: Vec<usize> = operand
        .iter()
        .rev()
        .map(|&size| {
            let own = if size == 1 { 0 } else { stride };
            stride *= size;
            own
        })
        .collect();
    strides.reverse();
    strides
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_are_merged_where_both_operands_allow_it() {
        let rows = |operands: [&[usize]; 2], shape: &[usize]| {
            let rows = BroadcastRows::new(2, operands, shape);
            (rows.outer.iter().map(|(size, _)| *size).collect::<Vec<_>>(), rows.width, rows.strides)
        };
        assert_eq!(rows([&[3, 4], &[3, 4]], &[3, 4]), (vec![], 24, [1, 1]));
        assert_eq!(rows([&[3, 4], &[1, 1]], &[3, 4]), (vec![2], 12, [1, 0]));
        assert_eq!(rows([&[3, 1], &[1, 4]], &[3, 4]), (vec![2, 3], 4, [0, 1]));
        assert_eq!(rows([&[1, 3, 4], &[5, 1, 4]], &[5, 3, 4]), (vec![2, 5, 3], 4, [1, 1]));
        assert_eq!(rows([&[], &[]], &[]), (vec![], 2, [1, 1]));
    }

    #[test]
    fn parts_of_rows_have_the_offsets_of_their_first_element() {
        let rows = BroadcastRows::new(2, [&[3, 1], &[1, 4]], &[3, 4]);
        let mut found = Vec::new();
        rows.visit(6, 9, |start, length, offsets| found.push((start, length, offsets)));
        assert_eq!(found, [(0, 2, [1, 2]), (2, 4, [2, 0]), (6, 3, [3, 4])]);
    }
}
