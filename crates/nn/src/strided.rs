//! Strided views of row-major arrays: offsets of their values, and transposition.
//!
//! File readers, file writers and the ONNX interpreter use this module. The kernels have a strided view of their own.

mod transpose;

pub use transpose::{inverse, transpose};

/// The strides of a row-major array, in values.
///
/// ```
/// use engraft_nn::strided::row_major;
/// assert_eq!(row_major(&[2, 3, 4]), [12, 4, 1]);
/// ```
pub fn row_major(shape: &[usize]) -> Vec<isize> {
    let mut strides = vec![1; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis] as isize;
    }
    strides
}

/// Offsets of the values of a strided view of `shape`, in row-major order.
///
/// The first value is at `start`; neighbors along axis `i` are `strides[i]` apart. A stride of 0 repeats a value, a negative
/// stride goes backwards.
///
/// ```
/// use engraft_nn::strided::offsets;
/// assert_eq!(offsets(&[2, 3], &[1, 2], 0).collect::<Vec<_>>(), [0, 2, 4, 1, 3, 5]);
/// ```
pub fn offsets<'a>(shape: &'a [usize], strides: &'a [isize], start: usize) -> impl Iterator<Item = usize> + use<'a> {
    let mut index = vec![0; shape.len()];
    let mut next = start as isize;
    (0..shape.iter().product()).map(move |_| {
        let offset = next as usize;
        // Counts up like an odometer: an axis that reaches its end returns to 0 and advances the axis before.
        for axis in (0..shape.len()).rev() {
            index[axis] += 1;
            next += strides[axis];
            if index[axis] < shape[axis] {
                break;
            }
            next -= strides[axis] * shape[axis] as isize;
            index[axis] = 0;
        }
        offset
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(shape: &[usize], strides: &[isize], start: usize) -> Vec<usize> {
        offsets(shape, strides, start).collect()
    }

    #[test]
    fn rows_columns_repetitions_and_backwards() {
        assert_eq!(row_major(&[2, 3, 4]), [12, 4, 1]);
        assert_eq!(all(&[2, 3], &[3, 1], 0), [0, 1, 2, 3, 4, 5]);
        assert_eq!(all(&[3, 2], &[1, 3], 0), [0, 3, 1, 4, 2, 5]);
        assert_eq!(all(&[2, 3], &[0, 1], 0), [0, 1, 2, 0, 1, 2]);
        assert_eq!(all(&[3], &[-2], 5), [5, 3, 1]);
        assert_eq!((all(&[], &[], 7), all(&[0, 3], &[3, 1], 0)), (vec![7], vec![]));
    }
}
