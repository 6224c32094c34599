//! Reads weights from ONNX files: [`initializers`].
//!
//! The operators of the graph are not decoded: the reader steps over the encoded fields down to the tensors. So it never
//! recurses, whatever the file contains, and decodes nothing but the tensors.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::error::OnnxError;
use super::limits::MAX_FILE_LEN;
use super::raw_initializer::raw_initializers;

/// A named weight of an ONNX graph, decoded to f32.
///
/// ```
/// use engraft_formats::onnx::{self, OnnxOptions};
/// use engraft_nn::prelude::*;
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("edges.onnx");
/// let model = Sequential::new().add(Input::new([8, 8, 3])).add(Conv2D::new(4, 5).named("edges")).build()?;
/// onnx::save(&model, &path, &OnnxOptions::default())?;
/// let kernel = &onnx::initializers(&path)?[0];
/// assert_eq!((kernel.name.as_str(), &kernel.shape[..]), ("edges/kernel", &[4, 3, 5, 5][..]));
/// assert_eq!(kernel.values.len(), 4 * 3 * 5 * 5);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Initializer {
    /// Its name in the graph.
    pub name: String,
    /// Its shape; empty for a scalar. Convolution kernels are `[out, in, height, width]`, unlike in Keras.
    pub shape: Vec<usize>,
    /// Its values, row-major.
    pub values: Vec<f32>,
}

/// Reads the weights of an ONNX file: the f32 and f16 initializers of its graph, in file order.
///
/// Initializers of other types, such as the shape operands of `Reshape`, are left out.
///
/// ```
/// use engraft_formats::onnx::{self, OnnxOptions};
/// use engraft_nn::prelude::*;
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("flowers.onnx");
/// let model = Sequential::new().add(Input::new([4])).add(Dense::new(2).named("top")).build()?;
/// onnx::save(&model, &path, &OnnxOptions::default())?;
/// let names: Vec<String> = onnx::initializers(&path)?.into_iter().map(|weight| weight.name).collect();
/// assert_eq!(names, ["top/kernel", "top/bias"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// Where the file can't be read, isn't an ONNX model, or stores weights in another file.
pub fn initializers(path: &Path) -> Result<Vec<Initializer>, OnnxError> {
    initializers_from_bytes(&read_file(path)?)
}

/// Reads the weights of an ONNX model in memory. See [`initializers`].
///
/// ```
/// use engraft_formats::onnx::{self, OnnxOptions};
/// use engraft_nn::prelude::*;
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("flowers.onnx");
/// let model = Sequential::new().add(Input::new([4])).add(Dense::new(2).named("top")).build()?;
/// onnx::save(&model, &path, &OnnxOptions::default())?;
/// let weights = onnx::initializers_from_bytes(&std::fs::read(&path)?)?;
/// assert_eq!(weights[0].shape, [4, 2]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// Those of [`initializers`].
pub fn initializers_from_bytes(bytes: &[u8]) -> Result<Vec<Initializer>, OnnxError> {
    raw_initializers(bytes)?
        .iter()
        .filter(|tensor| tensor.is_float())
        .map(|tensor| {
            Ok(Initializer { name: tensor.name.to_owned(), values: tensor.values()?, shape: tensor.shape()? })
        })
        .collect()
}

/// Reads a file that is shorter than [`MAX_FILE_LEN`].
pub(crate) fn read_file(path: &Path) -> Result<Vec<u8>, OnnxError> {
    let file = File::open(path)?;
    let len = file.metadata()?.len();
    if len >= MAX_FILE_LEN {
        return Err(OnnxError::TooLarge { len });
    }
    let mut bytes = Vec::new();
    file.take(MAX_FILE_LEN).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;
    use crate::onnx::limits::MAX_INITIALIZERS;
    use crate::onnx::messages::{FLOAT, FLOAT16, TensorProto};

    fn tensor(name: &str, dims: &[i64]) -> TensorProto {
        TensorProto { name: name.into(), dims: dims.into(), data_type: FLOAT, ..Default::default() }
    }

    /// An encoded length-delimited field.
    fn field(number: u8, contents: &[u8]) -> Vec<u8> {
        let mut bytes = vec![number << 3 | 2];
        prost::encode_length_delimiter(contents.len(), &mut bytes).unwrap();
        bytes.extend(contents);
        bytes
    }

    fn model(initializers: &[TensorProto]) -> Vec<u8> {
        let graph: Vec<u8> = initializers.iter().flat_map(|tensor| field(5, &tensor.encode_to_vec())).collect();
        field(7, &graph)
    }

    #[test]
    fn values_come_raw_or_as_floats() {
        let raw = [1.5f32, -2.0].iter().flat_map(|value| value.to_le_bytes()).collect();
        let bytes = model(&[
            TensorProto { raw_data: raw, ..tensor("kernel", &[2, 1]) },
            TensorProto { float_data: vec![3.0], ..tensor("scalar", &[]) },
            TensorProto { data_type: 7, ..tensor("shape of a reshape", &[4]) },
            tensor("empty", &[0, 3]),
            TensorProto { data_type: FLOAT16, raw_data: vec![0x00, 0xbc], ..tensor("half", &[1]) },
        ]);
        let found = initializers_from_bytes(&bytes).unwrap();
        let expected: [(&str, &[usize], &[f32]); 4] = [
            ("kernel", &[2, 1], &[1.5, -2.0]),
            ("scalar", &[], &[3.0]),
            ("empty", &[0, 3], &[]),
            ("half", &[1], &[-1.0]),
        ];
        assert_eq!(found.len(), expected.len());
        for (found, (name, shape, values)) in found.iter().zip(expected) {
            assert_eq!((found.name.as_str(), &found.shape[..], &found.values[..]), (name, shape, values));
        }
    }

    /// The Python package `onnx` wrote the file (`tests/data/generate.py`). Beside the weights it has operators, an integer
    /// initializer, inputs and outputs.
    #[test]
    fn a_file_of_the_onnx_package() {
        let found = initializers_from_bytes(include_bytes!("../../tests/data/small.onnx")).unwrap();
        let expected = [
            Initializer { name: "kernel".into(), shape: vec![2, 3], values: vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0] },
            Initializer { name: "bias".into(), shape: vec![3], values: vec![0.5, -1.0, 2.0] },
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn shapes_that_hold_no_such_values_are_refused() {
        for dims in [&[3][..], &[-2], &[i64::MAX, i64::MAX], &[2, 0]] {
            let bytes = model(&[TensorProto { float_data: vec![1.0, 2.0], ..tensor("kernel", dims) }]);
            let error = initializers_from_bytes(&bytes).unwrap_err();
            assert!(matches!(error, OnnxError::Shape { received: 2, .. }), "{dims:?}: {error:?}");
        }
        let bytes = model(&[TensorProto { raw_data: vec![0; 5], ..tensor("kernel", &[1]) }]);
        assert!(matches!(initializers_from_bytes(&bytes), Err(OnnxError::Shape { .. })));
    }

    #[test]
    fn other_files_are_no_models() {
        assert!(matches!(initializers_from_bytes(b""), Err(OnnxError::NoGraph)));
        assert!(matches!(initializers_from_bytes(b"\x89PNG\r\n"), Err(OnnxError::Field { .. })));
        assert!(matches!(initializers_from_bytes(&[0xff; 20]), Err(OnnxError::Varint)));
        assert!(matches!(initializers(Path::new("absent.onnx")), Err(OnnxError::Read(_))));
    }

    #[test]
    fn nesting_and_numbers_have_limits() {
        let groups = field(7, &field(5, &[0x7b; 5000]));
        assert!(matches!(initializers_from_bytes(&groups), Err(OnnxError::Field { .. })), "start-group tags");
        let axes = model(&[tensor("kernel", &[1; 1000])]);
        assert!(matches!(initializers_from_bytes(&axes), Err(OnnxError::Shape { shape, .. }) if shape.len() < 10));
        let many = model(&vec![tensor("", &[0]); MAX_INITIALIZERS + 1]);
        assert!(matches!(initializers_from_bytes(&many), Err(OnnxError::TooManyInitializers)));
    }

    #[test]
    fn truncated_anywhere_it_is_an_error() {
        let intact = model(&[TensorProto { float_data: vec![1.0; 9], ..tensor("kernel", &[9]) }]);
        for len in 0..intact.len() {
            initializers_from_bytes(&intact[..len]).unwrap_err();
        }
    }
}
