//! What nodes pass to each other.

use engraft_nn::Tensor;

/// Values that one tensor may have, and all that are needed at one time, unless a caller says otherwise: 2 GiB. What a
/// node declares is bounded by nothing else.
pub(super) const MAX_VALUES: usize = 1 << 29;

/// How many values a shape has; `None` for more than `limit`. Sizes of 0 count as 1, so that no product of some of them is
/// larger.
pub(super) fn count(shape: &[usize], limit: usize) -> Option<usize> {
    let most = shape.iter().try_fold(1usize, |count, &size| count.checked_mul(size.max(1)))?;
    (most <= limit).then(|| shape.iter().product())
}

/// A tensor.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    /// Numbers; the truth of a comparison is 0 or 1.
    Floats(Tensor),
    /// A list of sizes or positions.
    Ints(Vec<i64>),
}

impl Value {
    /// How many numbers it holds.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Floats(tensor) => tensor.data().len(),
            Self::Ints(values) => values.len(),
        }
    }

    /// Its kind and shape, for errors.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Floats(tensor) => format!("numbers of shape {:?}", tensor.shape()),
            Self::Ints(values) => format!("{} integers", values.len()),
        }
    }
}
