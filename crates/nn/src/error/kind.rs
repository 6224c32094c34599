//! [`ErrorKind`]: the kinds of errors that a program can distinguish.

use std::io;

/// The kind of an [`Error`](crate::Error), from which a server chooses a status code or a language binding an exception class.
///
/// | kind | HTTP status | Python exception |
/// |---|---|---|
/// | `InvalidArgument` | 400 | `ValueError` |
/// | `InvalidState` | 409 | `RuntimeError` |
/// | `InvalidData` | 422 | `ValueError` |
/// | `Unsupported` | 501 | `NotImplementedError` |
/// | `NotFound` | 404 | `FileNotFoundError`, `KeyError` |
/// | `OutOfMemory` | 507 | `MemoryError` |
/// | `NonFinite` | 422 | `FloatingPointError` |
/// | `Io` | 500 | `OSError` |
/// | `Network` | 502 | `ConnectionError` |
/// | `Internal` | 500 | `RuntimeError` |
///
/// ```
/// use engraft_nn::ErrorKind;
/// use engraft_nn::prelude::*;
///
/// let model = Sequential::new().add(Input::new([4])).add(Dense::new(2).named("top")).build()?;
/// assert_eq!(model.get_layer("head").unwrap_err().kind(), ErrorKind::NotFound);
/// assert_eq!(Tensor::new([2, 2], vec![1.0]).unwrap_err().kind(), ErrorKind::InvalidArgument);
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The caller passed an invalid argument: a batch size of 0, an input of the wrong shape, an unknown name of an optimizer.
    InvalidArgument,
    /// The call comes at the wrong time: `fit` on a model that isn't compiled.
    InvalidState,
    /// A file, folder or photo is damaged or has unexpected contents: a truncated `.keras` file, weights of the wrong shapes.
    InvalidData,
    /// engraft or this machine doesn't support a valid request or file: a Lambda layer in a model file, a HEIC photo, bf16 on a
    /// CPU without bf16 instructions.
    Unsupported,
    /// Something doesn't exist: no file at a path, no layer with a name.
    NotFound,
    /// The operation needs more memory than is free or than the memory limit allows: training with too large a batch.
    OutOfMemory,
    /// A number became infinite or NaN: the loss, if the learning rate is far too high.
    NonFinite,
    /// Reading or writing failed: no permission, a full disk.
    Io,
    /// A server is unreachable or sends a wrong response: a download of weights without a connection.
    Network,
    /// A bug in engraft: an exported ONNX file that computes something else than the model.
    Internal,
}

impl From<io::ErrorKind> for ErrorKind {
    fn from(kind: io::ErrorKind) -> Self {
        use io::ErrorKind as System;
        match kind {
            System::NotFound => Self::NotFound,
            System::InvalidInput | System::InvalidFilename | System::NotADirectory | System::IsADirectory => {
                Self::InvalidArgument
            }
            System::InvalidData | System::UnexpectedEof => Self::InvalidData,
            System::Unsupported => Self::Unsupported,
            System::OutOfMemory => Self::OutOfMemory,
            _ => Self::Io,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_the_system_have_a_kind() {
        for (system, expected) in [
            (io::ErrorKind::NotFound, ErrorKind::NotFound),
            (io::ErrorKind::IsADirectory, ErrorKind::InvalidArgument),
            (io::ErrorKind::UnexpectedEof, ErrorKind::InvalidData),
            (io::ErrorKind::OutOfMemory, ErrorKind::OutOfMemory),
            (io::ErrorKind::PermissionDenied, ErrorKind::Io),
            (io::ErrorKind::StorageFull, ErrorKind::Io),
        ] {
            assert_eq!(ErrorKind::from(system), expected);
        }
    }
}
