//! Decodes every photo of a folder once before training, so that unreadable files are known at the start.
//!
//! [`PhotoFolder::scan`](crate::PhotoFolder::scan) uses it. Pixels are dropped; only the SHA-256 digest of each file stays. Files
//! whose digest is known to be of a readable photo are not decoded.

use std::path::{Path, PathBuf};

use rayon::prelude::*;
use sha2::{Digest, Sha256};

use crate::decode::pixels;
use crate::file::{PhotoError, read};
use crate::photo::{Photo, SkippedFile};

/// Tells whether the photo with this SHA-256 digest is known to be readable, so that a scan need not decode it.
///
/// ```
/// use std::collections::HashSet;
///
/// use engraft_data::KnownPhotos;
/// let earlier = HashSet::from([[7; 32]]);
/// let is_known = |digest: &[u8; 32]| earlier.contains(digest);
/// let known: KnownPhotos<'_> = &is_known;
/// assert!(known(&[7; 32]) && !known(&[8; 32]));
/// ```
pub type KnownPhotos<'a> = &'a (dyn Fn(&[u8; 32]) -> bool + Sync);

/// Decodes every file of `found` and returns the readable photos with their digests; adds the other files to `skipped`.
///
/// Each entry of `found` is a path and the indices of its labels. Files that are `known` are only read and hashed. `progress`
/// receives the files done and the total.
pub(crate) fn verify(
    found: &[(PathBuf, Vec<usize>)],
    known: KnownPhotos<'_>,
    skipped: &mut Vec<SkippedFile>,
    progress: &mut dyn FnMut(usize, usize),
) -> Vec<Photo> {
    let mut photos = Vec::new();
    let mut done = 0;
    progress(done, found.len());
    // `progress` is called between chunks, on the caller's thread, so it need not be `Send`.
    for chunk in found.chunks(4 * rayon::current_num_threads()) {
        let digests: Vec<_> = chunk.par_iter().map(|(path, _)| hash_readable(path, known)).collect();
        for ((path, labels), digest) in chunk.iter().zip(digests) {
            match digest {
                Ok(digest) => photos.push(Photo { path: path.clone(), labels: labels.clone(), digest }),
                Err(error) => skipped.push(SkippedFile { path: path.clone(), reason: error.message }),
            }
        }
        done += chunk.len();
        progress(done, found.len());
    }
    photos
}

/// Decodes the photos that aren't `known`, and returns those that can't be read. `progress` receives the photos done and the total.
pub(crate) fn unreadable(
    photos: &[Photo],
    known: KnownPhotos<'_>,
    progress: &mut dyn FnMut(usize, usize),
) -> Vec<SkippedFile> {
    let mut unreadable = Vec::new();
    let mut done = 0;
    progress(done, photos.len());
    for chunk in photos.chunks(4 * rayon::current_num_threads()) {
        let decode = |photo: &Photo| if known(&photo.digest) { None } else { photo.decode().err() };
        unreadable.extend(chunk.par_iter().map(decode).collect::<Vec<_>>().into_iter().flatten());
        done += chunk.len();
        progress(done, photos.len());
    }
    unreadable
}

/// Returns the SHA-256 digest of the file at `path`, or an error unless it is known or decodes.
fn hash_readable(path: &Path, known: KnownPhotos<'_>) -> std::result::Result<[u8; 32], PhotoError> {
    let bytes = read(path)?;
    let digest = Sha256::digest(&bytes).into();
    if !known(&digest) {
        pixels(&bytes)?;
    }
    Ok(digest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn good_photos_keep_their_order_and_bad_ones_get_a_reason() {
        let folder = tempfile::tempdir().unwrap();
        // 100 files are more than one chunk on up to 16 threads.
        let file = |n: usize| (folder.path().join(format!("{n}")), vec![n % 3]);
        let found: Vec<(PathBuf, Vec<usize>)> = (0..100).map(file).collect();
        for (number, (path, _)) in found.iter().enumerate() {
            let photo = image::GrayImage::from_pixel(1, 1, image::Luma([number as u8 % 50]));
            photo.save_with_format(path, image::ImageFormat::Png).unwrap();
        }
        fs::write(&found[70].0, "a note").unwrap();
        let (mut skipped, mut calls) = (Vec::new(), Vec::new());
        let photos = verify(&found, &|_| false, &mut skipped, &mut |done, total| calls.push((done, total)));

        let good = found.iter().enumerate().filter(|(number, _)| *number != 70).map(|(_, found)| found.clone());
        assert!(photos.iter().map(|photo| (photo.path.clone(), photo.labels.clone())).eq(good));
        assert_eq!(skipped.len(), 1);
        assert_eq!(skipped[0].path, found[70].0);
        assert!(photos[1].digest == photos[51].digest && photos[1].digest != photos[2].digest);
        assert_eq!((calls.first(), calls.last()), (Some(&(0, 100)), Some(&(100, 100))));
        assert!(calls.is_sorted());
    }

    #[test]
    fn known_photos_are_not_decoded() {
        let folder = tempfile::tempdir().unwrap();
        let found = ["a note", "a letter"].map(|text| (folder.path().join(text), vec![0]));
        found.iter().for_each(|(path, _)| fs::write(path, path.to_str().unwrap()).unwrap());
        let note: [u8; 32] = Sha256::digest(found[0].0.to_str().unwrap()).into();
        let mut skipped = Vec::new();
        // If the note were decoded, it would be skipped like the letter.
        let photos = verify(&found, &|digest| *digest == note, &mut skipped, &mut |_, _| {});
        assert_eq!((photos.len(), &photos[0].path, photos[0].digest), (1, &found[0].0, note));
        assert_eq!((skipped.len(), &skipped[0].path), (1, &found[1].0));
    }
}
