//! Weights out of ONNX files: the initializers of a graph, nothing of its operators.
//!
//! A model is a protobuf message that holds a graph, which holds tensors. The way down to them is
//! walked over the bytes without decoding what stands beside it, so nothing in a file makes this
//! reader recurse, and one tensor at a time is copied. Fields are numbered as in `onnx.proto3`.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use prost::Message;

/// A protobuf message, and so a model that isn't split over several files, is below 2 GiB.
const MAX_FILE_LEN: u64 = 1 << 31;

/// A tensor of no bytes takes two in the file and a hundred in memory; no model has this many.
const MAX_INITIALIZERS: usize = 1 << 16;

/// `ModelProto.graph` and `GraphProto.initializer`.
const GRAPH: u64 = 7;
const INITIALIZER: u64 = 5;

/// `TensorProto.DataType.FLOAT`.
const FLOAT: i32 = 1;

/// `TensorProto.DataLocation.EXTERNAL`.
const EXTERNAL: i32 = 1;

/// A named weight of a graph.
#[derive(Debug, Clone, PartialEq)]
pub struct Initializer {
    /// Its name in the graph.
    pub name: String,
    /// Its shape; empty for a scalar. Convolution kernels are `[out, in, height, width]`.
    pub shape: Vec<usize>,
    /// Its values, row-major.
    pub values: Vec<f32>,
}

/// Why no weights came out of an ONNX file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OnnxError {
    /// The file can't be read.
    #[error("cannot read: {0}")]
    Read(#[from] std::io::Error),
    /// The file is larger than a protobuf message can be.
    #[error("{len} bytes, more than the {MAX_FILE_LEN} that an ONNX file can have")]
    TooLarge {
        /// Its length.
        len: u64,
    },
    /// The file isn't a protobuf message, or is damaged.
    #[error("not an ONNX model, or a damaged one: {0}")]
    Decode(#[from] prost::DecodeError),
    /// A protobuf field ends after the message it is in.
    #[error("not an ONNX model, or a damaged one: field {field} is malformed or reaches beyond its message")]
    Field {
        /// The number of the field.
        field: u64,
    },
    /// More initializers than any model has.
    #[error("more than {MAX_INITIALIZERS} initializers")]
    TooMany,
    /// The model has no graph, as a random file that happens to decode.
    #[error("not an ONNX model: it holds no graph")]
    NoGraph,
    /// The values of this initializer stand in another file.
    #[error(
        "initializer `{name}`: its values are in another file, which is never read; export the model into one file"
    )]
    External {
        /// The initializer.
        name: String,
    },
    /// The shape of this initializer isn't one, or its values don't fill it.
    #[error("initializer `{name}`: shape {shape:?} doesn't hold {received} values")]
    Shape {
        /// The initializer.
        name: String,
        /// The shape as declared.
        shape: Vec<i64>,
        /// The number of values found.
        received: usize,
    },
}

#[derive(Clone, PartialEq, Message)]
struct TensorProto {
    #[prost(int64, repeated, tag = "1")]
    dims: Vec<i64>,
    #[prost(int32, tag = "2")]
    data_type: i32,
    #[prost(float, repeated, tag = "4")]
    float_data: Vec<f32>,
    #[prost(string, tag = "8")]
    name: String,
    #[prost(bytes = "vec", tag = "9")]
    raw_data: Vec<u8>,
    #[prost(int32, tag = "14")]
    data_location: i32,
}

/// The f32 initializers of the graph in an ONNX file, in its order. Those of other types, such as
/// the shapes of reshapes, are left out.
///
/// # Errors
/// [`OnnxError`], when the file isn't a readable ONNX model or keeps its weights elsewhere.
pub fn initializers(path: &Path) -> Result<Vec<Initializer>, OnnxError> {
    let file = File::open(path)?;
    let len = file.metadata()?.len();
    if len >= MAX_FILE_LEN {
        return Err(OnnxError::TooLarge { len });
    }
    let mut bytes = Vec::new();
    file.take(MAX_FILE_LEN).read_to_end(&mut bytes)?;
    initializers_from_bytes(&bytes)
}

/// The f32 initializers of the graph in an ONNX model held in memory. See [`initializers`].
///
/// # Errors
/// As [`initializers`].
pub fn initializers_from_bytes(bytes: &[u8]) -> Result<Vec<Initializer>, OnnxError> {
    let mut found = Vec::new();
    let mut graphs = 0;
    for_each_field(bytes, GRAPH, |graph| {
        graphs += 1;
        for_each_field(graph, INITIALIZER, |tensor| {
            let tensor = TensorProto::decode(tensor)?;
            if tensor.data_type == FLOAT {
                found.push(tensor.into_initializer()?);
            }
            if found.len() > MAX_INITIALIZERS { Err(OnnxError::TooMany) } else { Ok(()) }
        })
    })?;
    if graphs == 0 { Err(OnnxError::NoGraph) } else { Ok(found) }
}

/// Calls `visit` with the bytes of each length-delimited field of this number in a message.
fn for_each_field(
    mut message: &[u8],
    number: u64,
    mut visit: impl FnMut(&[u8]) -> Result<(), OnnxError>,
) -> Result<(), OnnxError> {
    while !message.is_empty() {
        let key = varint(&mut message)?;
        let field = key >> 3;
        let len = match key & 7 {
            0 => varint(&mut message).map(|_| 0)?,
            1 => 8,
            2 => varint(&mut message)?,
            5 => 4,
            _ => return Err(OnnxError::Field { field }),
        };
        let contents = usize::try_from(len).ok().and_then(|len| message.split_off(..len));
        let contents = contents.ok_or(OnnxError::Field { field })?;
        if field == number && key & 7 == 2 {
            visit(contents)?;
        }
    }
    Ok(())
}

/// Takes a protobuf integer, seven bits a byte, off the front of a message.
fn varint(message: &mut &[u8]) -> Result<u64, OnnxError> {
    Ok(prost::decode_length_delimiter(message)? as u64)
}

impl TensorProto {
    fn into_initializer(self) -> Result<Initializer, OnnxError> {
        if self.data_location == EXTERNAL {
            return Err(OnnxError::External { name: self.name });
        }
        let values = if self.raw_data.is_empty() { self.float_data } else { from_le_bytes(&self.raw_data) };
        let shape: Option<Vec<usize>> = self.dims.iter().map(|&n| usize::try_from(n).ok()).collect();
        let count = |shape: &[usize]| shape.iter().try_fold(1, |product: usize, &n| product.checked_mul(n));
        match shape {
            Some(shape) if count(&shape) == Some(values.len()) && self.raw_data.len().is_multiple_of(4) => {
                Ok(Initializer { name: self.name, shape, values })
            }
            _ => Err(OnnxError::Shape { name: self.name, shape: self.dims, received: values.len() }),
        }
    }
}

fn from_le_bytes(bytes: &[u8]) -> Vec<f32> {
    let (values, _) = bytes.as_chunks();
    values.iter().map(|&value| f32::from_le_bytes(value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(name: &str, dims: &[i64]) -> TensorProto {
        TensorProto { name: name.into(), dims: dims.into(), data_type: FLOAT, ..Default::default() }
    }

    /// A length-delimited field.
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
        ]);
        let found = initializers_from_bytes(&bytes).unwrap();
        let expected: [(&str, &[usize], &[f32]); 3] =
            [("kernel", &[2, 1], &[1.5, -2.0]), ("scalar", &[], &[3.0]), ("empty", &[0, 3], &[])];
        assert_eq!(found.len(), expected.len());
        for (found, (name, shape, values)) in found.iter().zip(expected) {
            assert_eq!((found.name.as_str(), &found.shape[..], &found.values[..]), (name, shape, values));
        }
    }

    /// The file is the `onnx` package's (`tests/data/generate.py`), with operators, an integer
    /// initializer, inputs and outputs around the weights.
    #[test]
    fn a_file_of_the_onnx_package() {
        let found = initializers_from_bytes(include_bytes!("../tests/data/small.onnx")).unwrap();
        let expected = [
            Initializer { name: "kernel".into(), shape: vec![2, 3], values: vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0] },
            Initializer { name: "bias".into(), shape: vec![3], values: vec![0.5, -1.0, 2.0] },
        ];
        assert_eq!(found, expected);
        let error = initializers_from_bytes(include_bytes!("../tests/data/external.onnx")).unwrap_err();
        assert!(matches!(&error, OnnxError::External { name } if name == "kernel"), "{error:?}");
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
        assert!(matches!(initializers_from_bytes(&[0xff; 20]), Err(OnnxError::Decode(_))));
        assert!(matches!(initializers(Path::new("absent.onnx")), Err(OnnxError::Read(_))));
    }

    #[test]
    fn nesting_and_numbers_have_limits() {
        let groups = field(7, &field(5, &[0x7b; 5000]));
        assert!(matches!(initializers_from_bytes(&groups), Err(OnnxError::Decode(_))), "start-group tags");
        let many = model(&vec![tensor("", &[0]); MAX_INITIALIZERS + 1]);
        assert!(matches!(initializers_from_bytes(&many), Err(OnnxError::TooMany)));
    }

    #[test]
    fn truncated_anywhere_it_is_an_error() {
        let whole = model(&[TensorProto { float_data: vec![1.0; 9], ..tensor("kernel", &[9]) }]);
        for len in 0..whole.len() {
            initializers_from_bytes(&whole[..len]).unwrap_err();
        }
    }
}
