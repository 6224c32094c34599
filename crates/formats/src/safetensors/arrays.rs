//! Named arrays as the bytes of a safetensors file, for an entry of another file.

use std::io::Cursor;

use ::safetensors::tensor::{Dtype, TensorView};
use engraft_nn::{Error, Result, Tensor};

use super::SafetensorsFile;
use crate::FloatType;

/// The bytes of a safetensors file with these arrays. With f16, arrays of one axis stay f32.
///
/// ```
/// use engraft_formats::FloatType;
/// use engraft_formats::safetensors::{from_bytes, to_bytes};
/// use engraft_nn::Tensor;
/// let kernel = Tensor::new([2, 2], vec![1.0, 0.5, 0.25, 0.1])?;
/// let bytes = to_bytes(&[("kernel", &kernel)], FloatType::F16)?;
/// let read = from_bytes(bytes)?;
/// assert_eq!((read[0].0.as_str(), read[0].1.shape()), ("kernel", &[2, 2][..]));
/// assert!((read[0].1.data()[3] - 0.1).abs() < 1e-4);
/// # Ok::<(), engraft_nn::Error>(())
/// ```
///
/// # Errors
/// Two arrays of one name.
pub fn to_bytes(arrays: &[(&str, &Tensor)], float_type: FloatType) -> Result<Vec<u8>> {
    let failed = |error| Error::from_source("safetensors", error);
    let float_types = arrays.iter().map(|(_, array)| float_type.of(array.shape()));
    let bytes: Vec<_> =
        float_types.zip(arrays).map(|(float_type, (_, array))| (float_type, float_type.bytes(array.data()))).collect();
    let mut views = Vec::with_capacity(arrays.len());
    for ((name, array), (float_type, bytes)) in arrays.iter().zip(&bytes) {
        if views.iter().any(|(other, _)| other == name) {
            return Err(Error::new("arrays", "a name of its own for each", format_args!("`{name}` twice")));
        }
        let dtype = match float_type {
            FloatType::F32 => Dtype::F32,
            FloatType::F16 => Dtype::F16,
        };
        views.push((*name, TensorView::new(dtype, array.shape().to_vec(), bytes).map_err(failed)?));
    }
    ::safetensors::serialize(views, None).map_err(failed)
}

/// The arrays in the bytes of a safetensors file, in the order of their names, as f32.
///
/// # Errors
/// The bytes are no safetensors file, or an array isn't numeric.
pub fn from_bytes(bytes: Vec<u8>) -> Result<Vec<(String, Tensor)>> {
    let mut file = SafetensorsFile::new(Cursor::new(bytes))?;
    let mut arrays = file.tensors();
    arrays.sort_by(|one, other| one.name.cmp(&other.name));
    let read = arrays.into_iter().map(|array| {
        let values = Tensor::new(array.shape.as_slice(), file.read_f32(&array.name)?)?;
        Ok((array.name, values))
    });
    read.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_read_back_in_the_order_of_names() {
        let (a, b) = (Tensor::new([3], vec![1.0, 1e-6, 1e9]).unwrap(), Tensor::new([1, 2], vec![0.5, -2.0]).unwrap());
        let bytes = to_bytes(&[("b", &b), ("a", &a)], FloatType::F16).unwrap();
        assert_eq!(bytes, to_bytes(&[("b", &b), ("a", &a)], FloatType::F16).unwrap());
        assert_eq!(from_bytes(bytes).unwrap(), [("a".to_owned(), a.clone()), ("b".to_owned(), b)]);
        let error = to_bytes(&[("a", &a), ("a", &a)], FloatType::F32).unwrap_err().to_string();
        assert!(error.contains("expected a name of its own for each, received `a` twice"), "{error}");
        assert!(from_bytes(b"no header".to_vec()).is_err());
    }
}
