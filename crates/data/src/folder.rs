//! A folder of photos, one subfolder per class.

use std::fs;
use std::path::{Path, PathBuf};

use engraft_nn::{Error, Result};
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use crate::decode::{pixels, read, unreadable};

/// The extensions by which files count as photos: Keras' and WebP, in any case.
const EXTENSIONS: [&str; 6] = ["bmp", "gif", "jpeg", "jpg", "png", "webp"];

/// Formats of photos that aren't read; named as skipped, for a folder of them would otherwise seem empty.
const UNREAD_EXTENSIONS: [&str; 5] = ["avif", "heic", "heif", "tif", "tiff"];

/// A photo found to be readable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Photo {
    /// Its file.
    pub path: PathBuf,
    /// Number of its class.
    pub class: usize,
    /// SHA-256 of the file's content: equal digests are the same photo.
    pub digest: [u8; 32],
}

/// A file that was left out, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: String,
}

/// The photos of a folder, in the order of Keras' `image_dataset_from_directory(shuffle=False)`: by class, then by
/// folder, then by file name, each compared byte by byte.
///
/// As in Keras, folders inside a class' folder count to that class. Unlike Keras, hidden files are left out (macOS leaves
/// `._photo.jpg` beside photos), WebP is read, and a photo that fails to decode is listed instead of stopping the run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PhotoFolder {
    /// Class names by number.
    pub classes: Vec<String>,
    /// Readable photos.
    pub photos: Vec<Photo>,
    /// Files left out.
    pub skipped: Vec<Skipped>,
}

impl PhotoFolder {
    /// Reads and decodes every photo below `dir` once; its subfolders, sorted by name, are the classes.
    ///
    /// `progress` is called with how many photos are done and how many there are.
    ///
    /// # Errors
    /// Where `dir` is missing, no folder, unreadable or empty, holds fewer than two class folders, or a class holds no
    /// readable photo. A bad photo is no error: it is listed in [`skipped`](Self::skipped).
    pub fn scan(dir: &Path, progress: &mut dyn FnMut(usize, usize)) -> Result<Self> {
        todo!()
    }

    /// As [`scan`](Self::scan), with the classes and their numbers given: for photos that a trained model is to meet.
    /// Classes may be missing from the folder.
    ///
    /// # Errors
    /// As [`scan`](Self::scan), but one class is enough; and where a subfolder is none of `classes`.
    pub fn scan_as(dir: &Path, classes: &[String], progress: &mut dyn FnMut(usize, usize)) -> Result<Self> {
        todo!()
    }
}
