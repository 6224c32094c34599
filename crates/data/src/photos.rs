//! Photos as a dataset: decoded and resized when asked for, or once.

use std::sync::OnceLock;

use engraft_nn::{Error, Result, Tensor};
use rayon::prelude::*;

use crate::dataset::check_indices;
use crate::{Batch, Dataset, Photo, decode};

/// Labelled photos of one size: x is `[n, height, width, 3]`, RGB in 0..=255, y is one-hot, `[n, classes]`.
///
/// A batch is decoded in parallel, and comes out the same whatever the number of threads.
#[derive(Debug)]
pub struct PhotoDataset {
    photos: Vec<Photo>,
    classes: usize,
    height: usize,
    width: usize,
    /// Resized photos, filled when first read; those beyond its length are decoded each time.
    kept: Vec<OnceLock<Vec<f32>>>,
}

impl PhotoDataset {
    /// `photos` of `classes` classes, resized to `image_size`, `[height, width]`.
    ///
    /// # Errors
    /// Where a photo's class is not below `classes`, or the image size is 0 or beyond what memory can address.
    pub fn new(photos: Vec<Photo>, classes: usize, image_size: [usize; 2]) -> Result<Self> {
        todo!()
    }

    /// Keeps resized photos in memory, as many as fit into `bytes`; each takes height x width x 12 bytes.
    ///
    /// Worth it over several epochs: a photo kept is decoded once instead of once per epoch.
    #[must_use]
    pub fn keep_in_memory(mut self, bytes: usize) -> Self {
        todo!()
    }

    /// The photos, in the order of their numbers.
    pub fn photos(&self) -> &[Photo] {
        &self.photos
    }
}

impl Dataset for PhotoDataset {
    fn len(&self) -> usize {
        self.photos.len()
    }

    fn batch(&self, indices: &[usize]) -> Result<Batch> {
        todo!()
    }
}
