//! [`PhotoDataset`]: photo files as a [`Dataset`], decoded and resized batch by batch, with an optional cache in memory.

use std::sync::OnceLock;

use engraft_nn::{Error, Result, Tensor};
use rayon::prelude::*;

use crate::dataset::check_indices;
use crate::{Batch, ColorMode, Dataset, Photo};

/// A dataset of labelled photos, resized to one size.
///
/// In a batch of n photos, x is `[n, height, width, 3]`, RGB in 0..=255 (or RGBA or grey, see
/// [`color_mode`](PhotoDataset::color_mode)), and y is `[n, classes]`, 1 for each label of a photo and 0 elsewhere: one-hot rows if
/// each photo has one class, else multi-hot rows. The photos of a batch are decoded in parallel; the result
/// doesn't depend on the number of threads.
///
/// ```
/// # // A BMP image of one red pixel.
/// # let mut bmp = b"BM\0\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0\x01\0\0\0\x01\0\0\0\x01\0\x18\0".to_vec();
/// # bmp.extend([0; 24]);
/// # bmp.extend([0, 0, 255, 0]);
/// # let photos = tempfile::tempdir()?;
/// # let dir = photos.path();
/// # for class in ["cat", "dog"] {
/// #     std::fs::create_dir(dir.join(class))?;
/// #     std::fs::write(dir.join(class).join("1.bmp"), &bmp)?;
/// # }
///
/// use engraft_data::{Dataset, PhotoDataset, PhotoFolder};
/// let folder = PhotoFolder::scan(dir, &mut |_done, _total| {})?;
/// let dataset = PhotoDataset::new(folder.photos, folder.classes.len(), [32, 48])?.keep_in_memory(1 << 20);
/// let batch = dataset.batch(&[1])?;
/// assert_eq!(batch.x.shape(), [1, 32, 48, 3]);
/// assert_eq!(batch.y.data(), [0.0, 1.0]);
/// // Sample 1 of the dataset is this file.
/// assert!(dataset.photos()[1].path.ends_with("dog/1.bmp"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct PhotoDataset {
    photos: Vec<Photo>,
    classes: usize,
    height: usize,
    width: usize,
    color_mode: ColorMode,
    /// Resized photos by index, filled on first use. Photos beyond its length are decoded each time.
    cache: Vec<OnceLock<Vec<f32>>>,
}

impl PhotoDataset {
    /// Makes a dataset of `photos` in `classes` classes, resized to `image_size`, which is `[height, width]`.
    ///
    /// # Errors
    /// Where a photo's class index is not below `classes`, a side of the image size is 0, or a resized photo exceeds the address
    /// space.
    pub fn new(photos: Vec<Photo>, classes: usize, image_size: [usize; 2]) -> Result<Self> {
        let [height, width] = image_size;
        let unknown = |photo: &Photo| photo.labels.iter().copied().find(|&label| label >= classes);
        if let Some((photo, label)) = photos.iter().find_map(|photo| unknown(photo).map(|label| (photo, label))) {
            return Err(Error::new(photo.path.display(), format_args!("a class index below {classes}"), label));
        }
        let most_channels = ColorMode::Rgba.channels();
        let values = height.checked_mul(width).and_then(|pixels| pixels.checked_mul(most_channels));
        if values.is_none_or(|values| values == 0 || values > isize::MAX as usize / size_of::<f32>()) {
            return Err(Error::new(
                "image size",
                "a height and a width of 1 or more that fit into memory",
                format_args!("{image_size:?}"),
            ));
        }
        Ok(Self { photos, classes, height, width, color_mode: ColorMode::Rgb, cache: Vec::new() })
    }

    /// Sets the channels of the photos in a batch; RGB by default.
    ///
    /// Call it before [`keep_in_memory`](Self::keep_in_memory).
    #[must_use]
    pub fn color_mode(mut self, mode: ColorMode) -> Self {
        self.color_mode = mode;
        self.cache.clear();
        self
    }

    /// Caches resized photos in memory, as many as fit into `bytes`, like `tf.data.Dataset.cache`.
    ///
    /// A cached photo takes height x width x 12 bytes (RGB), and is decoded once instead of once per epoch.
    #[must_use]
    pub fn keep_in_memory(mut self, bytes: usize) -> Self {
        let fit = bytes / (self.values_per_photo() * size_of::<f32>());
        self.cache.resize_with(fit.min(self.photos.len()), OnceLock::new);
        self
    }

    /// The photos of the dataset; sample `i` of the dataset is `photos()[i]`.
    pub fn photos(&self) -> &[Photo] {
        &self.photos
    }

    fn values_per_photo(&self) -> usize {
        self.height * self.width * self.color_mode.channels()
    }

    /// Writes photo `index`, resized, to `x: [height, width, channels]`, from the cache or from its file.
    fn write_resized(&self, index: usize, x: &mut [f32]) -> Result<()> {
        let cached = self.cache.get(index);
        if let Some(resized) = cached.and_then(OnceLock::get) {
            x.copy_from_slice(resized);
            return Ok(());
        }
        let resized = self.color_mode.load(&self.photos[index].path, [self.height, self.width])?;
        x.copy_from_slice(&resized);
        if let Some(cached) = cached {
            // Another thread may have set it first, to the same values.
            let _ = cached.set(resized);
        }
        Ok(())
    }
}

impl Dataset for PhotoDataset {
    fn len(&self) -> usize {
        self.photos.len()
    }

    fn batch(&self, indices: &[usize]) -> Result<Batch> {
        check_indices(indices, self.len())?;
        let mut x = Tensor::zeros([indices.len(), self.height, self.width, self.color_mode.channels()]);
        let mut y = Tensor::zeros([indices.len(), self.classes]);
        let rows = x.data_mut().par_chunks_mut(self.values_per_photo()).zip(y.data_mut().par_chunks_mut(self.classes));
        rows.zip(indices).try_for_each(|((x, y), &index)| {
            self.photos[index].labels.iter().for_each(|&label| y[label] = 1.0);
            self.write_resized(index, x)
        })?;
        Ok(Batch { x, y })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    /// Writes `0.png` to `2.png` in `folder`, each 2 x 2 pixels of one grey, with the classes 1, 0 and 1.
    fn greys(folder: &Path) -> Vec<Photo> {
        let write = |(number, (grey, class))| {
            let path = folder.join(format!("{number}.png"));
            image::RgbImage::from_pixel(2, 2, image::Rgb([grey; 3])).save(&path).unwrap();
            Photo { path, labels: vec![class], digest: [grey; 32] }
        };
        [(10, 1), (20, 0), (30, 1)].into_iter().enumerate().map(write).collect()
    }

    #[test]
    fn a_batch_holds_resized_photos_and_one_hot_classes() {
        let folder = tempfile::tempdir().unwrap();
        let dataset = PhotoDataset::new(greys(folder.path()), 3, [4, 5]).unwrap();
        let batch = dataset.batch(&[2, 1]).unwrap();
        assert_eq!(batch.x.shape(), [2, 4, 5, 3]);
        assert_eq!(batch.x.row(0), [30.0; 60]);
        assert_eq!(batch.x.row(1), [20.0; 60]);
        assert_eq!(batch.y, Tensor::new([2, 3], vec![0., 1., 0., 1., 0., 0.]).unwrap());
    }

    #[test]
    fn grey_photos_have_one_channel() {
        let folder = tempfile::tempdir().unwrap();
        let dataset = PhotoDataset::new(greys(folder.path()), 2, [4, 5]).unwrap().color_mode(ColorMode::Grayscale);
        let batch = dataset.keep_in_memory(1 << 20).batch(&[2, 1]).unwrap();
        assert_eq!((batch.x.shape(), batch.x.row(0)), (&[2, 4, 5, 1][..], &[30.0; 20][..]));
    }

    #[test]
    fn rgba_photos_keep_their_transparency() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("0.png");
        image::RgbaImage::from_pixel(2, 2, image::Rgba([1, 2, 3, 4])).save(&path).unwrap();
        let photos = vec![Photo { path, labels: vec![0], digest: [0; 32] }];
        let dataset = PhotoDataset::new(photos, 1, [1, 1]).unwrap().color_mode(ColorMode::Rgba);
        assert_eq!(dataset.batch(&[0]).unwrap().x.data(), [1.0, 2.0, 3.0, 4.0]);
    }

    #[test]
    fn several_labels_or_none_are_multi_hot() {
        let folder = tempfile::tempdir().unwrap();
        let mut photos = greys(folder.path());
        (photos[0].labels, photos[1].labels) = (vec![0, 2], Vec::new());
        let batch = PhotoDataset::new(photos, 3, [2, 2]).unwrap().batch(&[0, 1, 2]).unwrap();
        assert_eq!(batch.y.data(), [1., 0., 1., 0., 0., 0., 0., 1., 0.]);
    }

    #[test]
    fn photos_kept_in_memory_are_read_once() {
        let folder = tempfile::tempdir().unwrap();
        let photos = greys(folder.path());
        let each = 2 * 2 * 3 * size_of::<f32>();
        let dataset = PhotoDataset::new(photos.clone(), 2, [2, 2]).unwrap().keep_in_memory(2 * each + each / 2);
        let first = dataset.batch(&[0, 1, 2]).unwrap();

        photos.iter().for_each(|photo| std::fs::remove_file(&photo.path).unwrap());
        assert_eq!(dataset.batch(&[0, 1]).unwrap().x.data(), &first.x.data()[..24]);
        // Photo 2 didn't fit into the cache, so its deleted file is missed.
        let error = dataset.batch(&[0, 2]).unwrap_err().to_string();
        assert!(error.contains("2.png: not found"), "{error}");
    }

    #[test]
    fn a_photo_gone_bad_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let photos = greys(folder.path());
        std::fs::write(&photos[1].path, "overwritten").unwrap();
        let error = PhotoDataset::new(photos, 2, [2, 2]).unwrap().batch(&[0, 1]).unwrap_err().to_string();
        assert!(error.contains("1.png: expected a JPEG"), "{error}");
    }

    #[test]
    fn what_makes_no_dataset_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let error =
            |classes, image_size| PhotoDataset::new(greys(folder.path()), classes, image_size).unwrap_err().to_string();
        assert!(error(1, [2, 2]).contains("0.png: expected a class index below 1, received 1"));
        for image_size in [[0, 2], [2, 0], [usize::MAX, 2], [1 << 31, 1 << 30]] {
            assert!(error(2, image_size).contains(&format!("received {image_size:?}")));
        }
        let dataset = PhotoDataset::new(greys(folder.path()), 2, [2, 2]).unwrap();
        assert!(dataset.batch(&[3]).unwrap_err().to_string().contains("below 3, received 3"));
        assert_eq!(dataset.batch(&[]).unwrap().x.shape(), [0, 2, 2, 3]);
    }
}
