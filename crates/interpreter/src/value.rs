//! [`Value`]: the tensors that nodes read and write.

use engraft_nn::Tensor;

/// The default limit on the elements of one tensor, and of all live tensors together: 2 GiB of f32.
///
/// A limit is needed because a file of a few bytes can declare tensors of any size.
pub(super) const MAX_ELEMENTS: usize = 1 << 29;

/// The number of elements of a shape; `None` if it exceeds `limit`.
///
/// For the limit, sizes of 0 count as 1. So the product of any subset of the sizes stays within the limit, too.
pub(super) fn element_count(shape: &[usize], limit: usize) -> Option<usize> {
    let bound = shape.iter().try_fold(1usize, |count, &size| count.checked_mul(size.max(1)))?;
    (bound <= limit).then(|| shape.iter().product())
}

/// A tensor.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    /// A tensor of f32. Booleans, which comparisons give, are 0 and 1.
    Floats(Tensor),
    /// A one-dimensional tensor of 64-bit integers: a shape, or indices.
    Ints(Vec<i64>),
}

impl Value {
    /// The number of elements.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Floats(tensor) => tensor.data().len(),
            Self::Ints(values) => values.len(),
        }
    }

    /// The value's type and shape, for error messages.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Floats(tensor) => format!("numbers of shape {:?}", tensor.shape()),
            Self::Ints(values) => format!("{} integers", values.len()),
        }
    }
}
