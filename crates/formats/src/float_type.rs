//! The float type in which weights are written: f32 or f16.
//!
//! An option of every writer of weights. Not to be confused with `engraft_ir::Precision`, the number format in which
//! an executor multiplies.

use engraft_nn::{Error, Result, Weight};
use half::f16;

/// The float type of weights in a file: f32, or f16 for kernels.
///
/// ```
/// use engraft_formats::FloatType;
/// use engraft_formats::keras::{self, SaveOptions};
/// use engraft_nn::prelude::*;
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("half.keras");
/// let model = Sequential::new().add(Input::new([64])).add(Dense::new(64)).build()?;
/// keras::save(&model, &path, &SaveOptions { float_type: FloatType::F16, ..SaveOptions::default() })?;
/// let kernel = keras::load_model(&path)?.weights()[0].values()[0];
/// assert!((kernel - model.weights()[0].values()[0]).abs() < 1e-3);
/// assert_eq!(FloatType::default(), FloatType::F32);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FloatType {
    /// All weights in f32, bit for bit.
    #[default]
    F32,
    /// Kernels in IEEE 754 half precision: half the bytes, 11 significant bits, values up to 65,504.
    /// Arrays of one axis (biases, moving statistics) stay f32: they are a small part of a file, and variances may exceed
    /// the range of f16.
    F16,
}

impl FloatType {
    /// The float type in which an array of this shape is written: f32 for scalars and arrays of one axis, else `self`.
    pub(crate) fn of(self, shape: &[usize]) -> Self {
        if shape.len() > 1 { self } else { Self::F32 }
    }

    /// Checks that all weights fit this type; the error names the first finite value that overflows.
    pub(crate) fn check(self, weights: &[Weight]) -> Result<()> {
        let overflows = |value: &&f32| value.is_finite() && f16::from_f32(**value).is_infinite();
        for weight in weights.iter().filter(|weight| self.of(weight.shape()) == Self::F16) {
            if let Some(value) = weight.values().iter().find(overflows) {
                let expected = format!("values of at most {} for f16", f16::MAX);
                return Err(
                    Error::new(format_args!("weight `{}`", weight.path()), expected, value).hint("write it in f32")
                );
            }
        }
        Ok(())
    }

    /// Converts values to little-endian bytes of this type, rounding to nearest.
    pub(crate) fn bytes(self, values: &[f32]) -> Vec<u8> {
        match self {
            Self::F32 => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            Self::F16 => values.iter().flat_map(|&value| f16::from_f32(value).to_le_bytes()).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::element_type::ElementType;

    #[test]
    fn narrowing_takes_the_nearest() {
        let values = [1.0, 1.0004, 1.0006, 70_000.0];
        let narrowed = ElementType::F16.to_f32(&FloatType::F16.bytes(&values));
        assert_eq!(narrowed, [1.0, 1.0, 1.000_976_6, f32::INFINITY]);
        assert_eq!(ElementType::F32.to_f32(&FloatType::F32.bytes(&values)), values);
    }
}
