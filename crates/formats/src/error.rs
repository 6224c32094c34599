//! This crate's own errors, and the system's, as errors of a model's file: at a place, of a kind, with their source.

use std::error::Error as StdError;
use std::fmt::Display;
use std::io;
use std::path::Path;

use engraft_nn::{Error, ErrorKind};

use crate::atomic::AtomicError;
use crate::h5::H5Error;
use crate::onnx::OnnxError;

/// The cause of another error, of whatever type.
pub(crate) type Cause = Box<dyn StdError + Send + Sync>;

/// An error that knows its kind.
pub(crate) trait Kinded: StdError + Send + Sync + 'static {
    fn error_kind(&self) -> ErrorKind;
}

impl Kinded for io::Error {
    fn error_kind(&self) -> ErrorKind {
        self.kind().into()
    }
}

impl Kinded for AtomicError {
    fn error_kind(&self) -> ErrorKind {
        self.kind()
    }
}

/// Where an array is missing from a model's file, the file is wrong, not the path that was asked for.
impl Kinded for H5Error {
    fn error_kind(&self) -> ErrorKind {
        match self {
            Self::Missing { .. } => ErrorKind::InvalidData,
            _ => self.kind(),
        }
    }
}

impl Kinded for OnnxError {
    fn error_kind(&self) -> ErrorKind {
        self.kind()
    }
}

/// The error at `place`, of its kind and with itself as the source.
pub(crate) fn at(place: impl Display, error: impl Kinded) -> Error {
    let kind = error.error_kind();
    Error::from_source(place, error).with_kind(kind)
}

/// The error of a reader of the file at `path`: what doesn't fit there is the file's fault.
pub(crate) fn within_file(path: &Path, error: Error) -> Error {
    error.within(path.display()).into_invalid_data()
}

/// The kind of an error while bytes are read and decoded: the system's, where `cause` is the system's, else that of damage.
pub(crate) fn kind_of_reading(cause: Option<&Cause>) -> ErrorKind {
    cause.and_then(|cause| cause.downcast_ref::<io::Error>()).map_or(ErrorKind::InvalidData, io_kind_of_reading)
}

/// Decoders report damage through [`io::Error`] as well, under kinds of many names; only the system has error numbers.
pub(crate) fn io_kind_of_reading(error: &io::Error) -> ErrorKind {
    match error.raw_os_error() {
        Some(_) => error.kind().into(),
        None => ErrorKind::InvalidData,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_and_a_refusal_of_the_system_differ() {
        let decoder: Cause = Box::new(io::Error::other("Invalid checksum"));
        assert_eq!(kind_of_reading(Some(&decoder)), ErrorKind::InvalidData);
        assert_eq!(kind_of_reading(None), ErrorKind::InvalidData);
        let system: Cause = Box::new(std::fs::read("no/such/file").unwrap_err());
        assert_eq!(kind_of_reading(Some(&system)), ErrorKind::NotFound);
    }

    #[test]
    fn an_array_that_a_file_lacks_is_the_files_fault() {
        let missing = H5Error::Missing { path: "layers".into(), expected: "group" };
        assert_eq!(missing.kind(), ErrorKind::NotFound);
        let error = at("weights", missing);
        assert_eq!(error.kind(), ErrorKind::InvalidData);
        assert!(error.source().is_some_and(|source| source.is::<H5Error>()));
    }
}
