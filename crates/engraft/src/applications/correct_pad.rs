//! [`correct_pad`]: the border before a strided convolution.

use crate::layers::ZeroPadding2D;
use crate::prelude::*;

/// The border before a convolution of stride 2 without padding (Keras' `correct_pad`). An even size gets one pixel less before the
/// first, so that the windows are those of TensorFlow's `same` padding.
pub(super) fn correct_pad(x: &SymbolicTensor, kernel: usize) -> ZeroPadding2D {
    let border = |axis: usize| {
        let even = x.shape().get(axis).is_some_and(|size| size.is_multiple_of(2));
        [kernel / 2 - usize::from(even), kernel / 2]
    };
    ZeroPadding2D::new([border(0), border(1)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn even_and_odd_sizes_are_halved_upwards() {
        for kernel in [3, 5] {
            let padded = correct_pad(&Input::new([32, 33, 3]), kernel).call(&Input::new([32, 33, 3])).unwrap();
            assert_eq!(padded.shape(), &[31 + kernel - 1, 33 + kernel - 1, 3]);
        }
    }
}
