//! The version of Keras that wrote a file: the check for future versions, and the version that we write.

use engraft_nn::{Error, ErrorKind, Result};

/// The version of Keras whose format we write.
pub(super) const KERAS_VERSION: &str = "3.15.1";

/// Refuses files of Keras 4 or later, where a layer of the same name may compute something else.
pub(super) fn check(version: Option<&str>) -> Result<()> {
    let (Some(version), Some(known)) = (version, parts(KERAS_VERSION)) else { return Ok(()) };
    match parts(version) {
        Some((major, _)) if major > known.0 => {
            Err(Error::new("keras_version", format_args!("{}.x or older", known.0), version)
                .with_kind(ErrorKind::Unsupported)
                .hint("a later Keras wrote this file: update engraft, or save the model with Keras 3"))
        }
        _ => Ok(()),
    }
}

/// Adds a hint to an error if a later major or minor version of Keras than [`KERAS_VERSION`] wrote the file.
pub(super) fn hint(error: Error, version: Option<&str>) -> Error {
    match version {
        Some(version) if parts(version) > parts(KERAS_VERSION) => error.hint(format_args!(
            "Keras {version} wrote this file; engraft knows the formats up to Keras {KERAS_VERSION}"
        )),
        _ => error,
    }
}

/// Whether Keras 2 or 1 wrote a file.
pub(super) fn is_keras_2(version: Option<&str>) -> bool {
    version.and_then(parts).is_some_and(|(major, _)| major < 3)
}

/// Whether Keras 1 wrote a file.
pub(super) fn is_keras_1(version: Option<&str>) -> bool {
    version.and_then(parts).is_some_and(|(major, _)| major < 2)
}

/// The major and minor version.
fn parts(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.split('.').map(|part| part.parse().ok());
    Some((numbers.next()??, numbers.next()??))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_generation_is_refused_and_a_later_release_told() {
        for version in [None, Some("2.4.0"), Some("3.15.1"), Some("3.99.0"), Some("2.13.1-tf"), Some("nightly")] {
            assert!(check(version).is_ok(), "{version:?}");
        }
        let error = check(Some("4.0.0")).unwrap_err().to_string();
        assert!(error.starts_with("keras_version: expected 3.x or older, received 4.0.0\nhint: "), "{error}");
        assert!(is_keras_1(Some("1.2.2")) && !is_keras_1(Some("2.0.0")) && !is_keras_1(None));
        assert!(is_keras_2(Some("2.13.1-tf")) && !is_keras_2(Some("3.0.0")) && !is_keras_2(None));
        let unknown = || Error::because("layer `x`", "not known");
        assert_eq!(hint(unknown(), Some("3.15.9")), unknown());
        assert!(hint(unknown(), Some("3.16.0")).to_string().contains("Keras 3.16.0 wrote"));
    }
}
