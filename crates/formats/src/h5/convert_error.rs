//! Conversion of `hdf5_pure` errors to [`H5Error`].

use hdf5_pure::{Error, FormatError};

use super::H5Error;
use crate::error::Cause;

/// Converts an error at `path`, where the reader expected an object of the kind `expected` (`group`, `dataset`, …).
pub(super) fn convert_error(path: &str, expected: &'static str, error: Error) -> H5Error {
    let path = path.to_owned();
    match error {
        Error::NotADataset(_) | Error::NotAGroup(_) | Error::Format(FormatError::PathNotFound(_)) => {
            H5Error::Missing { path, expected }
        }
        Error::Format(FormatError::UnsupportedExternalStorage) => H5Error::Outside { path, what: "external storage" },
        Error::Format(FormatError::UnsupportedVirtualLayout) => H5Error::Outside { path, what: "a virtual dataset" },
        other => H5Error::Damaged { path, reason: other.to_string(), source: Some(cause(other)) },
    }
}

/// Unwraps the I/O error inside a reader error, so that its source is the system's error.
pub(super) fn cause(error: Error) -> Cause {
    match error {
        Error::Io(error) => error.into(),
        other => other.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_elsewhere_is_told_from_what_is_damaged() {
        let text = |error: FormatError| convert_error("a/b", "dataset", error.into()).to_string();
        let absent = text(FormatError::PathNotFound("b".into()));
        assert!(absent.starts_with("`a/b`: expected a dataset, found none in this file"), "{absent}");
        let outside = text(FormatError::UnsupportedExternalStorage);
        assert!(outside.starts_with("`a/b`: external storage is refused"), "{outside}");
        let outside = text(FormatError::UnsupportedVirtualLayout);
        assert!(outside.starts_with("`a/b`: a virtual dataset is refused"), "{outside}");
        let damaged = text(FormatError::Source("no such byte".into()));
        assert!(
            damaged.starts_with("`a/b`: damaged or unsupported: ") && damaged.contains("no such byte"),
            "{damaged}"
        );
    }
}
