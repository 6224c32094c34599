//! Conversions of this crate's errors to [`engraft_nn::Error`], with place, kind and source.

use std::error::Error as StdError;
use std::fmt::Display;
use std::io;
use std::path::Path;

use engraft_nn::{Error, ErrorKind};

/// The source of another error, of any type.
pub(crate) type Cause = Box<dyn StdError + Send + Sync>;

/// Errors that map to an [`ErrorKind`]. Each error type implements it where it is defined.
pub(crate) trait HasErrorKind: StdError + Send + Sync + 'static {
    fn error_kind(&self) -> ErrorKind;
}

impl HasErrorKind for io::Error {
    fn error_kind(&self) -> ErrorKind {
        self.kind().into()
    }
}

/// Wraps an error with its place, keeping its kind; the error itself becomes the source.
pub(crate) fn at(place: impl Display, error: impl HasErrorKind) -> Error {
    let kind = error.error_kind();
    Error::from_source(place, error).with_kind(kind)
}

/// Adds the file's path to an error of its reader. The kind `InvalidArgument` becomes `InvalidData`: the file is at fault,
/// not an argument of the caller.
pub(crate) fn within_file(path: &Path, error: Error) -> Error {
    // The error of a foreign file has the path already.
    let path = path.display().to_string();
    let has_path = error.to_string().strip_prefix(&path).is_some_and(|rest| rest.starts_with([':', ',']));
    if has_path { error.into_invalid_data() } else { error.within(path).into_invalid_data() }
}

/// The kind of an error while decoding: that of `cause` if the system reported it, otherwise invalid data.
pub(crate) fn kind_of_reading(cause: Option<&Cause>) -> ErrorKind {
    cause.and_then(|cause| cause.downcast_ref::<io::Error>()).map_or(ErrorKind::InvalidData, io_kind_of_reading)
}

/// The kind of an [`io::Error`] while decoding.
///
/// Decoders report damage as [`io::Error`]s of various kinds. Only errors of the system have an OS error number.
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
    fn the_path_of_a_file_is_named_once() {
        let once = |error| within_file(Path::new("f.h5"), error).to_string();
        assert_eq!(once(Error::because("f.h5", "damaged")), "f.h5: damaged");
        assert_eq!(once(Error::because("weights", "damaged").within("f.h5")), "f.h5, weights: damaged");
        assert_eq!(once(Error::because("weights", "damaged")), "f.h5, weights: damaged");
        assert_eq!(once(Error::because("f.h5.part", "damaged")), "f.h5, f.h5.part: damaged");
    }

    #[test]
    fn damage_and_a_refusal_of_the_system_differ() {
        let decoder: Cause = Box::new(io::Error::other("Invalid checksum"));
        assert_eq!(kind_of_reading(Some(&decoder)), ErrorKind::InvalidData);
        assert_eq!(kind_of_reading(None), ErrorKind::InvalidData);
        let system: Cause = Box::new(std::fs::read("no/such/file").unwrap_err());
        assert_eq!(kind_of_reading(Some(&system)), ErrorKind::NotFound);
    }
}
