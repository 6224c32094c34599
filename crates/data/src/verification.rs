//! Decodes every photo of a folder once before training, so that unreadable files are known at the start.
//!
//! [`PhotoFolder::scan`](crate::PhotoFolder::scan) uses it. Pixels are dropped; only the SHA-256 digest of each file stays.

use std::path::{Path, PathBuf};

use rayon::prelude::*;
use sha2::{Digest, Sha256};

use crate::decode::pixels;
use crate::file::{PhotoError, read};
use crate::photo::{Photo, SkippedFile};

/// Decodes every file of `found` and returns the readable photos with their digests; adds the other files to `skipped`.
///
/// Each entry of `found` is a path and the index of its class. `progress` receives the files done and the total.
pub(crate) fn verify(
    found: &[(PathBuf, usize)],
    skipped: &mut Vec<SkippedFile>,
    progress: &mut dyn FnMut(usize, usize),
) -> Vec<Photo> {
    let mut photos = Vec::new();
    let mut done = 0;
    progress(done, found.len());
    // `progress` is called between chunks, on the caller's thread, so it need not be `Send`.
    for chunk in found.chunks(4 * rayon::current_num_threads()) {
        let digests: Vec<_> = chunk.par_iter().map(|(path, _)| decode_and_hash(path)).collect();
        for ((path, class), digest) in chunk.iter().zip(digests) {
            match digest {
                Ok(digest) => photos.push(Photo { path: path.clone(), class: *class, digest }),
                Err(error) => skipped.push(SkippedFile { path: path.clone(), reason: error.message }),
            }
        }
        done += chunk.len();
        progress(done, found.len());
    }
    photos
}

/// Returns the SHA-256 digest of the file at `path`, or an error unless it decodes.
fn decode_and_hash(path: &Path) -> std::result::Result<[u8; 32], PhotoError> {
    let bytes = read(path)?;
    pixels(&bytes)?;
    Ok(Sha256::digest(&bytes).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn good_photos_keep_their_order_and_bad_ones_get_a_reason() {
        let folder = tempfile::tempdir().unwrap();
        // 100 files are more than one chunk on up to 16 threads.
        let found: Vec<(PathBuf, usize)> = (0..100).map(|n| (folder.path().join(format!("{n}")), n % 3)).collect();
        for (number, (path, _)) in found.iter().enumerate() {
            let photo = image::GrayImage::from_pixel(1, 1, image::Luma([number as u8 % 50]));
            photo.save_with_format(path, image::ImageFormat::Png).unwrap();
        }
        fs::write(&found[70].0, "a note").unwrap();
        let (mut skipped, mut calls) = (Vec::new(), Vec::new());
        let photos = verify(&found, &mut skipped, &mut |done, total| calls.push((done, total)));

        let good = found.iter().enumerate().filter(|(number, _)| *number != 70).map(|(_, found)| found.clone());
        assert!(photos.iter().map(|photo| (photo.path.clone(), photo.class)).eq(good));
        assert_eq!(skipped.len(), 1);
        assert_eq!(skipped[0].path, found[70].0);
        assert!(photos[1].digest == photos[51].digest && photos[1].digest != photos[2].digest);
        assert_eq!((calls.first(), calls.last()), (Some(&(0, 100)), Some(&(100, 100))));
        assert!(calls.is_sorted());
    }
}
