//! [`OnnxError`]: why an ONNX file can't be read.

use engraft_nn::ErrorKind;

use super::limits::{MAX_FILE_LEN, MAX_INITIALIZERS};
use crate::error::{Cause, HasErrorKind};

/// Why an ONNX file can't be read.
///
/// ```
/// use engraft_formats::onnx::{self, OnnxError};
/// let error = onnx::initializers("absent.onnx".as_ref()).unwrap_err();
/// assert!(matches!(error, OnnxError::Read(_)));
/// assert!(error.to_string().starts_with("cannot read: "));
/// assert!(matches!(onnx::initializers_from_bytes(b""), Err(OnnxError::NoGraph)));
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OnnxError {
    /// The file can't be read.
    #[error("cannot read: {}", engraft_nn::io_reason(.0))]
    Read(#[from] std::io::Error),
    /// The file is larger than a protobuf message can be.
    #[error("{len} bytes, more than the {MAX_FILE_LEN} that an ONNX file can have")]
    TooLarge {
        /// The length of the file in bytes.
        len: u64,
    },
    /// The file is a Python pickle, such as a PyTorch checkpoint. Pickles can run code, so they are never read.
    #[error("{}", crate::pickle::REFUSED)]
    Pickle,
    /// A protobuf varint is cut off, or has more than 64 bits.
    #[error("not an ONNX model, or a damaged one: an integer is cut off, or has more than 64 bits")]
    Varint,
    /// A protobuf field is malformed, or longer than the message that contains it.
    #[error("not an ONNX model, or a damaged one: field {field} is malformed or longer than its message")]
    Field {
        /// The field number.
        field: u64,
    },
    /// A protobuf message can't be decoded.
    #[error("not an ONNX model, or a damaged one: {problem}")]
    Message {
        /// The decoder's error message.
        problem: String,
        /// The decoder's error.
        source: Cause,
    },
    /// The nodes or the metadata could take more than 16 MiB in memory, more than those of any real model.
    #[error("more nodes or metadata than any model has")]
    GraphTooLarge,
    /// The file has more than 65,536 initializers, more than any real model.
    #[error("more than {MAX_INITIALIZERS} initializers")]
    TooManyInitializers,
    /// The model has no graph. An empty file, or a file of another format, may parse as such a model.
    #[error("not an ONNX model: it holds no graph")]
    NoGraph,
    /// An initializer's values are stored in another file.
    #[error(
        "initializer `{name}`: its values are in another file, which is never read; export the model into one file"
    )]
    External {
        /// Name of the initializer.
        name: String,
    },
    /// An initializer's shape is invalid, or doesn't fit the number of its values.
    #[error("initializer `{name}`: shape {shape:?} doesn't hold {received} values")]
    Shape {
        /// Name of the initializer.
        name: String,
        /// The declared shape.
        shape: Vec<i64>,
        /// The number of values found.
        received: usize,
    },
}

impl OnnxError {
    /// The kind of this error, for programs that react to it.
    ///
    /// ```
    /// use engraft_formats::onnx;
    /// use engraft_nn::ErrorKind;
    /// assert_eq!(onnx::initializers("absent.onnx".as_ref()).unwrap_err().kind(), ErrorKind::NotFound);
    /// assert_eq!(onnx::initializers_from_bytes(b"no model").unwrap_err().kind(), ErrorKind::InvalidData);
    /// ```
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Read(error) => error.kind().into(),
            Self::Pickle | Self::External { .. } => ErrorKind::Unsupported,
            _ => ErrorKind::InvalidData,
        }
    }
}

impl HasErrorKind for OnnxError {
    fn error_kind(&self) -> ErrorKind {
        self.kind()
    }
}

impl From<prost::DecodeError> for OnnxError {
    fn from(error: prost::DecodeError) -> Self {
        Self::Message { problem: error.to_string(), source: error.into() }
    }
}
