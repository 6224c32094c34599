//! Conversions of this crate's errors to [`engraft_nn::Error`], with place, kind and source.

use std::error::Error as StdError;
use std::fmt::Display;
use std::io;
use std::path::Path;

use engraft_nn::{Error, ErrorKind};

use crate::foreign::Foreign;

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
    let error = error.into_invalid_data();
    if was_refused_on_opening(path, &error) { error } else { error.within(path.display()) }
}

/// Whether an error is that of opening the file, which has its path already. The place alone doesn't tell: the content of a file called
/// `weights` has errors of the place `weights`, too. So an error of the system, or a file of another format, has to be the reason.
fn was_refused_on_opening(path: &Path, error: &Error) -> bool {
    let message = error.to_string();
    let Some(problem) = message.strip_prefix(&format!("{}: ", path.display())) else { return false };
    let is_foreign = |foreign: Foreign| problem.contains(&format!("received {foreign}"));
    error.source().is_some_and(|source| source.is::<io::Error>()) || Foreign::of(path).is_some_and(is_foreign)
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
        let once = |path: &str, error| within_file(Path::new(path), error).to_string();
        let missing = || io::Error::from(io::ErrorKind::NotFound);
        assert_eq!(once("f.h5", Error::from_io("f.h5", missing())), "f.h5: no such file or folder");
        assert_eq!(once("f.h5", Error::from_io("file", missing())), "f.h5, file: no such file or folder");
        assert_eq!(once("f.h5", Error::because("weights", "damaged")), "f.h5, weights: damaged");
        assert_eq!(once("f.h5", Error::because("f.h5.part", "damaged")), "f.h5, f.h5.part: damaged");
        let folder = tempfile::tempdir().unwrap();
        let empty = folder.path().join("empty.keras");
        std::fs::write(&empty, "").unwrap();
        let foreign = Foreign::of(&empty).unwrap().error(&empty, "a .keras file");
        assert_eq!(within_file(&empty, foreign.clone()), foreign);
    }

    #[test]
    fn a_file_called_like_a_place_in_it_keeps_its_path() {
        for name in ["weights", "layers"] {
            let error = within_file(Path::new(name), Error::because(name, "damaged"));
            assert_eq!(error.to_string(), format!("{name}, {name}: damaged"));
            let error = within_file(Path::new(name), Error::because("units", "damaged").within(name));
            assert_eq!(error.to_string(), format!("{name}, {name}, units: damaged"));
        }
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
