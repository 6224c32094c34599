//! Every photo read and decoded once, before anything is learned from them.

use std::path::{Path, PathBuf};

use rayon::prelude::*;
use sha2::{Digest, Sha256};

use crate::decode::pixels;
use crate::file::{Problem, read};
use crate::{Photo, Skipped};

/// Those of `found` that can be read, with the digest of their content; the others are added to `skipped`.
pub(crate) fn readable(
    found: &[(PathBuf, usize)],
    skipped: &mut Vec<Skipped>,
    progress: &mut dyn FnMut(usize, usize),
) -> Vec<Photo> {
    let mut photos = Vec::new();
    let mut done = 0;
    progress(done, found.len());
    // Portion by portion, so that progress is reported on the caller's own thread.
    for portion in found.chunks(4 * rayon::current_num_threads()) {
        let digests: Vec<_> = portion.par_iter().map(|(path, _)| digest_of_readable(path)).collect();
        for ((path, class), digest) in portion.iter().zip(digests) {
            match digest {
                Ok(digest) => photos.push(Photo { path: path.clone(), class: *class, digest }),
                Err(problem) => skipped.push(Skipped { path: path.clone(), reason: problem.text }),
            }
        }
        done += portion.len();
        progress(done, found.len());
    }
    photos
}

/// The digest of a photo that decodes.
fn digest_of_readable(path: &Path) -> std::result::Result<[u8; 32], Problem> {
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
        // More than one portion, on up to 16 threads.
        let found: Vec<(PathBuf, usize)> = (0..100).map(|n| (folder.path().join(format!("{n}")), n % 3)).collect();
        for (number, (path, _)) in found.iter().enumerate() {
            let photo = image::GrayImage::from_pixel(1, 1, image::Luma([number as u8 % 50]));
            photo.save_with_format(path, image::ImageFormat::Png).unwrap();
        }
        fs::write(&found[70].0, "a note").unwrap();
        let (mut skipped, mut calls) = (Vec::new(), Vec::new());
        let photos = readable(&found, &mut skipped, &mut |done, total| calls.push((done, total)));

        let good = found.iter().enumerate().filter(|(number, _)| *number != 70).map(|(_, found)| found.clone());
        assert!(photos.iter().map(|photo| (photo.path.clone(), photo.class)).eq(good));
        assert_eq!(skipped.len(), 1);
        assert_eq!(skipped[0].path, found[70].0);
        assert!(photos[1].digest == photos[51].digest && photos[1].digest != photos[2].digest);
        assert_eq!((calls.first(), calls.last()), (Some(&(0, 100)), Some(&(100, 100))));
        assert!(calls.is_sorted());
    }
}
