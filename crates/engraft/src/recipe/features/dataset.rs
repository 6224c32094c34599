//! [`FeatureDataset`]: features as a training set.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::PhotoFeatures;
use crate::data::{Batch, Dataset, Photo};
use crate::{Error, Result, Tensor};

/// The features of labelled photos as a dataset, to train the layers above a [`Partition`](super::super::Partition) on.
///
/// In a batch of n photos, x is `[n, ...]`, the features, and y is `[n, classes]`, 1 for each label of a photo and 0
/// elsewhere.
///
/// If there are several variants of each photo, the dataset has one sample a photo. Each time that a photo is read, its next
/// variant comes, so that every epoch sees other ones, as with random augmentation. Batches that are read in the same order give
/// the same variants. Validate on features with one variant.
///
/// ```
/// use engraft::Tensor;
/// use engraft::data::{Dataset, Photo};
/// use engraft::recipe::{FeatureDataset, PhotoFeatures};
/// let photo = |number: u8| Photo { path: format!("{number}.jpg").into(), labels: vec![number.into()], digest: [number; 32] };
/// // Two variants of two photos.
/// let values = Tensor::new([4, 1], vec![0.0, 0.1, 1.0, 1.1])?;
/// let photos = vec![photo(0), photo(1)];
/// let features = PhotoFeatures { photos, values, variants: 2, skipped: Vec::new(), decoded: 2 };
/// let dataset = FeatureDataset::new(features, 3)?;
/// assert_eq!(dataset.len(), 2);
/// assert_eq!(dataset.batch(&[0, 1])?.x.data(), [0.0, 1.1]);
/// let batch = dataset.batch(&[0, 1])?;
/// assert_eq!(batch.x.data(), [0.1, 1.0]);
/// assert_eq!(batch.y.data(), [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]);
/// # Ok::<(), engraft::Error>(())
/// ```
#[derive(Debug)]
pub struct FeatureDataset {
    features: PhotoFeatures,
    classes: usize,
    /// How often each photo was read.
    reads: Vec<AtomicUsize>,
}

impl FeatureDataset {
    /// A dataset of photos in `classes` classes.
    ///
    /// # Errors
    /// A photo's class index isn't below `classes`, or there aren't as many features as variants of the photos.
    pub fn new(features: PhotoFeatures, classes: usize) -> Result<Self> {
        let PhotoFeatures { photos, values, variants, .. } = &features;
        let unknown = |photo: &Photo| photo.labels.iter().copied().find(|&label| label >= classes);
        if let Some((photo, label)) = photos.iter().find_map(|photo| unknown(photo).map(|label| (photo, label))) {
            return Err(Error::new(photo.path.display(), format_args!("a class index below {classes}"), label));
        }
        if *variants == 0 || values.shape().first() != Some(&(photos.len() * variants)) {
            let expected = format!("features of {variants} variants of {} photos, at least one", photos.len());
            return Err(Error::new("FeatureDataset", expected, format_args!("{:?}", values.shape())));
        }
        let reads = (0..photos.len()).map(|_| AtomicUsize::new(0)).collect();
        Ok(Self { features, classes, reads })
    }

    /// The features.
    pub fn features(&self) -> &PhotoFeatures {
        &self.features
    }
}

impl Dataset for FeatureDataset {
    fn len(&self) -> usize {
        self.features.photos.len()
    }

    fn batch(&self, indices: &[usize]) -> Result<Batch> {
        if let Some(index) = indices.iter().find(|&&index| index >= self.len()) {
            return Err(Error::new("Dataset::batch", format_args!("sample indices below {}", self.len()), index));
        }
        let PhotoFeatures { photos, values, variants, .. } = &self.features;
        let mut x = Vec::with_capacity(indices.len() * values.row(0).len());
        let mut y = Tensor::zeros([indices.len(), self.classes]);
        for (sample, &photo) in indices.iter().enumerate() {
            // Photos start at different variants, so that a batch has a mixture of them.
            let variant = (self.reads[photo].fetch_add(1, Ordering::Relaxed) + photo) % variants;
            x.extend(self.features.row(photo, variant));
            let y = &mut y.data_mut()[sample * self.classes..];
            photos[photo].labels.iter().for_each(|&label| y[label] = 1.0);
        }
        let shape = [&[indices.len()], &values.shape()[1..]].concat();
        Ok(Batch { x: Tensor::new(shape, x)?, y })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn features(photos: usize, variants: usize) -> PhotoFeatures {
        let values = (0..photos * variants * 2).map(|value| value as f32).collect();
        let photo = |n: usize| Photo { path: format!("{n}.jpg").into(), labels: vec![n % 2], digest: [n as u8; 32] };
        PhotoFeatures {
            photos: (0..photos).map(photo).collect(),
            values: Tensor::new([photos * variants, 2, 1], values).unwrap(),
            variants,
            skipped: Vec::new(),
            decoded: photos,
        }
    }

    #[test]
    fn epochs_go_through_all_variants_of_each_photo() {
        let dataset = FeatureDataset::new(features(3, 4), 2).unwrap();
        let mut seen: Vec<Vec<f32>> = vec![Vec::new(); 3];
        for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2], [0, 2, 1]] {
            let batch = dataset.batch(&order).unwrap();
            assert_eq!(batch.x.shape(), [3, 2, 1]);
            order.iter().enumerate().for_each(|(sample, &photo)| seen[photo].push(batch.x.row(sample)[0]));
        }
        for (photo, seen) in seen.iter_mut().enumerate() {
            assert_eq!(*seen, (0..4).map(|read| (2 * (photo * 4 + (read + photo) % 4)) as f32).collect::<Vec<_>>());
        }
    }

    #[test]
    fn one_variant_is_read_again_and_again() {
        let dataset = FeatureDataset::new(features(3, 1), 2).unwrap();
        let first = dataset.batch(&[2, 0, 2]).unwrap();
        assert_eq!(first.x.data(), [4.0, 5.0, 0.0, 1.0, 4.0, 5.0]);
        assert_eq!(first.y.data(), [1.0, 0.0, 1.0, 0.0, 1.0, 0.0]);
        assert_eq!(dataset.batch(&[2, 0, 2]).unwrap(), first);
        assert_eq!(dataset.batch(&[]).unwrap().x.shape(), [0, 2, 1]);
    }

    #[test]
    fn several_labels_or_none_are_multi_hot() {
        let mut features = features(2, 1);
        (features.photos[0].labels, features.photos[1].labels) = (vec![0, 2], Vec::new());
        let dataset = FeatureDataset::new(features, 3).unwrap();
        assert_eq!(dataset.batch(&[1, 0]).unwrap().y.data(), [0.0, 0.0, 0.0, 1.0, 0.0, 1.0]);
    }

    #[test]
    fn what_makes_no_dataset_is_an_error() {
        let error = |features, classes| FeatureDataset::new(features, classes).unwrap_err().to_string();
        assert!(error(features(2, 1), 1).contains("1.jpg: expected a class index below 1, received 1"));
        let short = PhotoFeatures { variants: 2, ..features(2, 1) };
        assert!(error(short, 2).contains("2 variants of 2 photos, at least one, received [2, 2, 1]"));
        let dataset = FeatureDataset::new(features(2, 1), 2).unwrap();
        assert!(dataset.batch(&[2]).unwrap_err().to_string().contains("below 2, received 2"));
    }
}
