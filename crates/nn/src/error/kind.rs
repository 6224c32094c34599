//! The kinds of errors that a program tells apart.

use std::io;

/// What went wrong, as far as a program can act on it: a server chooses a status code by it, a binding the class of an exception.
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
    /// The caller passed something that doesn't fit: a batch size of 0, an input of another shape, an unknown name of an optimizer.
    InvalidArgument,
    /// The call comes too early or too late: `fit` on a model that isn't compiled.
    InvalidState,
    /// A file, a folder or a photo is damaged, or isn't what it should be: a `.keras` file cut short, weights of other shapes.
    InvalidData,
    /// Well formed, but this program or this CPU can't: a Lambda layer in a model file, a photo in TIFF, bf16 on an old CPU.
    Unsupported,
    /// There is no such thing: a path without a file, a name that no layer has.
    NotFound,
    /// It doesn't fit into memory, or not into the limit set: a batch too large to train with.
    OutOfMemory,
    /// A number that isn't finite: the loss of a run whose learning rate is far too high.
    NonFinite,
    /// The system refuses to read or write: no permission, a full disk.
    Io,
    /// A server can't be reached, or doesn't send what it should: a download of weights without a connection.
    Network,
    /// A mistake of this program's own: a written ONNX file that computes something else than the model.
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
    fn what_the_system_says_has_a_kind() {
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
