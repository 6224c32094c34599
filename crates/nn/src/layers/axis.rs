//! The axis along which a layer works.

use crate::{Error, Result};

/// Keras' default: the last axis.
pub(super) fn last() -> i64 {
    -1
}

/// An axis as Keras counts it, the batch being 0 and the last -1, among those of a sample.
pub(crate) fn sample_axis(axis: i64, rank: usize) -> Result<usize> {
    let place = if axis < 0 { axis.checked_add(rank as i64) } else { axis.checked_sub(1) };
    place
        .and_then(|place| usize::try_from(place).ok())
        .filter(|&place| place < rank)
        .ok_or_else(|| Error::new("axis", format_args!("1 to {rank} or -{rank} to -1 (0 is the batch)"), axis))
}

/// How layers are made whose one option is an axis.
macro_rules! axis_option {
    ($name:ident) => {
        impl $name {
            /// Along the last axis.
            pub fn new() -> Self {
                Self { axis: last() }
            }

            /// Along another axis: 1 is the first after the batch, -1 the last.
            #[must_use]
            pub fn axis(mut self, axis: i64) -> Self {
                self.axis = axis;
                self
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self::new()
            }
        }
    };
}
pub(super) use axis_option;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_batch_is_no_axis_of_a_sample() {
        assert_eq!([1, 3, -3, -1].map(|axis| sample_axis(axis, 3).unwrap()), [0, 2, 0, 2]);
        for axis in [0, 4, -4, i64::MIN, i64::MAX] {
            assert!(sample_axis(axis, 3).is_err(), "{axis}");
        }
    }
}
