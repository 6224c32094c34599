//! The `axis` option of layers, in Keras' numbering.

use crate::{Error, Result};

/// Keras' default: the last axis.
pub(super) fn last_axis() -> i64 {
    -1
}

/// Converts Keras' number of an axis to an index into a sample's shape. Keras' axis 0 is the batch, -1 is the last axis.
pub(crate) fn sample_axis(axis: i64, rank: usize) -> Result<usize> {
    let index = if axis < 0 { axis.checked_add(rank as i64) } else { axis.checked_sub(1) };
    index
        .and_then(|index| usize::try_from(index).ok())
        .filter(|&index| index < rank)
        .ok_or_else(|| Error::new("axis", format_args!("1 to {rank} or -{rank} to -1 (0 is the batch)"), axis))
}

/// Defines the constructor and the option of a layer whose only option is its axis.
macro_rules! axis_option {
    ($name:ident) => {
        impl $name {
            /// A layer that works along the last axis.
            pub fn new() -> Self {
                Self { axis: last_axis() }
            }

            /// Sets the axis: 1 is the first after the batch, -1 is the last (default).
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
