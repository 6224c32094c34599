//! Bounds on the sizes of samples and weights, checked when a layer is built.

use crate::{Error, Result};

/// Maximum number of elements of one sample or weight: 4 TiB as f32, far more than a model needs. Sums of such sizes can't
/// overflow.
const MAX_SIZE: usize = 1 << 40;

/// Checks that every axis has a size of at least 1 and their product is at most `MAX_SIZE`; errors name `what`.
pub(crate) fn check_size(what: &str, shape: &[usize]) -> Result<()> {
    let size = shape.iter().try_fold(1usize, |size, &axis| size.checked_mul(axis).filter(|&size| size <= MAX_SIZE));
    match size {
        Some(1..) => Ok(()),
        Some(0) => Err(Error::new(what, "a size of at least 1 for every axis", format_args!("{shape:?}"))),
        None => Err(Error::new(what, format_args!("at most {MAX_SIZE} numbers"), format_args!("{shape:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use crate::prelude::*;

    #[test]
    fn sizes_of_nothing_and_beyond_all_bounds_are_named() {
        let huge = usize::MAX;
        let errors = [
            (Flatten::new().call(&Input::new([0, 4])), "at least 1"),
            (Flatten::new().call(&Input::new([huge, 2])), "at most"),
            (Concatenate::new().call([&Input::new([huge]), &Input::new([huge])]), "at most"),
            (Dense::new(huge).call(&Input::new([8])), "at most"),
            (Dense::new(0).call(&Input::new([8])), "at least 1"),
            (Dense::new(1 << 39).call(&Input::new([4])), "kernel: expected at most"),
            (Conv2D::new(1, [1, huge]).padding(Padding::Same).call(&Input::new([4, 4, 1])), "overflow"),
            (ZeroPadding2D::new(huge).call(&Input::new([4, 4, 1])), "overflow"),
            (ZeroPadding2D::new(huge / 4).call(&Input::new([4, 4, 1])), "at most"),
            (Resizing::new(huge, huge).call(&Input::new([4, 4, 1])), "at most"),
        ];
        for (result, expected) in errors {
            let error = result.unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        let x = Input::new([huge, huge]);
        assert!(Model::new(&x, &x).is_err());
    }
}
