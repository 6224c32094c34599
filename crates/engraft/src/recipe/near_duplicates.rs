//! [`NearDuplicates`]: photos that show the same picture, resized, compressed again, cropped a little or mirrored.
//!
//! Such a pair in the training and in the held-out part of a fold makes the score too good, as copies do.

use std::collections::HashMap;

use engraft_linear::close_pairs;
use rayon::prelude::*;

use super::PhotoFeatures;
use crate::data::{Photo, Pixels};

/// The least cosine of the features of near duplicates. Pairs below it are not looked at.
const MIN_COSINE: f32 = 0.9;

/// The least correlation of thumbnails that shows the same picture.
const SAME_PIXELS: f32 = 0.975;

/// The least cosine of features and the least correlation of thumbnails that show it together: the picture is cropped a little.
const SAME_FEATURES: f32 = 0.965;
const SIMILAR_PIXELS: f32 = 0.8;

/// How many near duplicates of a photo are looked for among the earlier photos. Larger groups are chains of such pairs.
const MOST: usize = 8;

/// Width and height of a thumbnail.
const SIDE: usize = 16;

/// Pairs of photos that are no copies but show the same picture.
///
/// Both the features of a network and thumbnails of 16 by 16 grey pixels must agree, so that two photos of like objects are no pair.
/// Only photos whose features agree are decoded.
///
/// ```
/// use engraft::recipe::NearDuplicates;
/// assert_eq!(NearDuplicates::default().in_two_classes().count(), 0);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NearDuplicates {
    /// Pairs of training photos. They are in the same fold.
    pub training: Vec<(Photo, Photo)>,
    /// Pairs of a training photo and a held-out one, at most one for each held-out photo.
    pub held_out: Vec<(Photo, Photo)>,
    /// The pairs of training photos by their positions.
    positions: Vec<(usize, usize)>,
}

impl NearDuplicates {
    /// The most photos among which near duplicates are looked for, as the time grows with the square of their number.
    ///
    /// ```
    /// assert_eq!(engraft::recipe::NearDuplicates::MAX_PHOTOS, 100_000);
    /// ```
    pub const MAX_PHOTOS: usize = 100_000;

    /// Finds the near duplicates among training photos, and between these and held-out ones.
    ///
    /// Photos that can't be decoded any more are no near duplicates. Of more than [`MAX_PHOTOS`](Self::MAX_PHOTOS), none are found.
    pub(super) fn find(training: &PhotoFeatures, held_out: &PhotoFeatures) -> Self {
        let photos: Vec<&Photo> = training.photos.iter().chain(&held_out.photos).collect();
        if photos.len() > Self::MAX_PHOTOS {
            return Self::default();
        }
        let rows = |of: &PhotoFeatures| (0..of.photos.len()).map(|photo| photo * of.variants).collect::<Vec<_>>();
        let rows: Vec<&[f32]> = [training, held_out]
            .into_iter()
            .flat_map(|of| rows(of).into_iter().map(|row| of.values.row(row)))
            .collect();
        let split = training.photos.len();
        let candidates: Vec<(usize, usize, f32)> = close_pairs(&rows, MIN_COSINE, MOST)
            .into_iter()
            .filter(|&(one, other, _)| one < split && photos[one].digest != photos[other].digest)
            .collect();
        let mut decoded: Vec<usize> = candidates.iter().flat_map(|&(one, other, _)| [one, other]).collect();
        decoded.sort_unstable();
        decoded.dedup();
        let thumbnail = |&at: &usize| Some((at, Thumbnail::of(&photos[at].decode().ok()?)?));
        let thumbnails: HashMap<usize, Thumbnail> = decoded.par_iter().filter_map(thumbnail).collect();
        let is_same = |&(one, other, cosine): &(usize, usize, f32)| match (thumbnails.get(&one), thumbnails.get(&other))
        {
            (Some(one), Some(other)) => is_same_picture(cosine, one, other),
            _ => false,
        };
        let mut found = Self::default();
        for (one, other, _) in candidates.into_iter().filter(is_same) {
            let pair = (photos[one].clone(), photos[other].clone());
            match other < split {
                true => {
                    found.training.push(pair);
                    found.positions.push((one, other));
                }
                false if found.held_out.last().is_some_and(|(_, last)| *last == pair.1) => {}
                false => found.held_out.push(pair),
            }
        }
        found
    }

    /// The pairs of training photos with different labels.
    pub fn in_two_classes(&self) -> impl Iterator<Item = &(Photo, Photo)> {
        self.training.iter().filter(|(one, other)| one.labels != other.labels)
    }

    /// Joins the groups of near duplicates. `groups` has a number for each training photo, in the order of first photos.
    pub(super) fn join(&self, groups: &mut [usize]) {
        if self.positions.is_empty() {
            return;
        }
        let mut parent: Vec<usize> = (0..groups.iter().max().map_or(0, |most| most + 1)).collect();
        for &(one, other) in &self.positions {
            let (one, other) = (root(&mut parent, groups[one]), root(&mut parent, groups[other]));
            parent[one.max(other)] = one.min(other);
        }
        groups.iter_mut().for_each(|group| *group = root(&mut parent, *group));
    }
}

/// The first group that `group` is joined with. Shortens the way to it for later calls.
fn root(parent: &mut [usize], mut group: usize) -> usize {
    while parent[group] != group {
        parent[group] = parent[parent[group]];
        group = parent[group];
    }
    group
}

/// Whether features and thumbnails are those of one picture.
///
/// Measured on the photos of `assets/food5`: those at half the size, at JPEG quality 30, brighter by 15 % or mirrored have thumbnails
/// that correlate by 0.98 or more; those cropped by 3 % on each side have cosines above 0.97 and correlations above 0.84. Of different
/// photos, none of 54,000 pairs correlates by more than 0.93, or has a cosine above 0.96. Larger crops aren't found.
fn is_same_picture(cosine: f32, one: &Thumbnail, other: &Thumbnail) -> bool {
    let correlation = one.correlation(other);
    correlation.max(one.correlation(&other.mirrored())) >= SAME_PIXELS
        || cosine >= SAME_FEATURES && correlation >= SIMILAR_PIXELS
}

/// Grey pixels with a mean of 0 and a sum of squares of 1, so that brightness and contrast don't count.
struct Thumbnail([f32; SIDE * SIDE]);

impl Thumbnail {
    /// The means of a grid of pixels; `None` for a picture of one grey, which has nothing to compare.
    fn of(pixels: &Pixels) -> Option<Self> {
        let (columns, rows) = (covered(pixels.width), covered(pixels.height));
        let mut grey = [0.0f32; SIDE * SIDE];
        for (at, value) in grey.iter_mut().enumerate() {
            for &(row, height) in &rows[at / SIDE] {
                for &(column, width) in &columns[at % SIDE] {
                    let rgb = &pixels.rgb[3 * (row * pixels.width + column)..][..3];
                    // ITU-R BT.601, as JPEG.
                    let grey = 0.299 * f32::from(rgb[0]) + 0.587 * f32::from(rgb[1]) + 0.114 * f32::from(rgb[2]);
                    *value += height * width * grey;
                }
            }
        }
        let mean = grey.iter().sum::<f32>() / grey.len() as f32;
        grey.iter_mut().for_each(|value| *value -= mean);
        let norm = grey.iter().map(|value| value * value).sum::<f32>().sqrt();
        // Below a standard deviation of 1 of 255 greys, noise decides.
        if norm < SIDE as f32 {
            return None;
        }
        grey.iter_mut().for_each(|value| *value /= norm);
        Some(Self(grey))
    }

    fn correlation(&self, other: &Self) -> f32 {
        self.0.iter().zip(&other.0).map(|(one, other)| one * other).sum()
    }

    fn mirrored(&self) -> Self {
        let mut pixels = self.0;
        pixels.chunks_exact_mut(SIDE).for_each(<[f32]>::reverse);
        Self(pixels)
    }
}

/// For each of [`SIDE`] cells of equal width, the pixels of a row that it covers, each with its share of the cell.
fn covered(size: usize) -> Vec<Vec<(usize, f32)>> {
    let cell = |at: usize| {
        let (start, end) = (at * size, (at + 1) * size);
        // In units of a SIDE-th of a pixel.
        let share = |pixel: usize| ((pixel + 1) * SIDE).min(end) - (pixel * SIDE).max(start);
        (start / SIDE..end.div_ceil(SIDE)).map(|pixel| (pixel, share(pixel) as f32 / size as f32)).collect()
    };
    (0..SIDE).map(cell).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Tensor;
    use crate::random::Rng;

    /// A picture of 12 by 9 random squares, as large as wanted.
    fn picture(seed: u64, [width, height]: [usize; 2]) -> Pixels {
        let mut rng = Rng::new(seed);
        let squares: Vec<u8> = (0..12 * 9).map(|_| rng.below(256) as u8).collect();
        let square = |at: usize| squares[(at / width * 9 / height) * 12 + at % width * 12 / width];
        Pixels { width, height, rgb: (0..width * height).flat_map(|at| [square(at); 3]).collect() }
    }

    fn bmp(pixels: &Pixels) -> Vec<u8> {
        let mut file = b"BM\0\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0".to_vec();
        [pixels.width, pixels.height].iter().for_each(|size| file.extend((*size as u32).to_le_bytes()));
        file.extend([1, 0, 24, 0]);
        file.extend([0; 24]);
        pixels.rgb.chunks_exact(3 * pixels.width).rev().for_each(|row| file.extend(row));
        file
    }

    /// Features of photos in a folder: those of the pictures with these seeds and sizes.
    fn features(folder: &std::path::Path, photos: &[(u64, [usize; 2], usize)]) -> PhotoFeatures {
        let mut values = Vec::new();
        let mut photo = |(number, &(seed, size, label)): (usize, &(u64, [usize; 2], usize))| {
            let mut rng = Rng::new(seed);
            // The features of one picture are alike whatever its size.
            values.extend((0..64).map(|at| rng.normal().max(0.0) + 0.001 * (at * number % 7) as f32));
            let (path, file) = (folder.join(format!("{number} of {}.bmp", photos.len())), bmp(&picture(seed, size)));
            std::fs::write(&path, &file).unwrap();
            let digest = <sha2::Sha256 as sha2::Digest>::digest(&file).into();
            Photo { path, labels: vec![label], digest }
        };
        let photos: Vec<Photo> = photos.iter().enumerate().map(&mut photo).collect();
        let values = Tensor::new([photos.len(), 64], values).unwrap();
        PhotoFeatures { photos, values, variants: 1, skipped: Vec::new(), decoded: 0 }
    }

    #[test]
    fn resized_photos_are_found_with_their_classes_and_parts() {
        let folder = tempfile::tempdir().unwrap();
        let (large, small) = ([48, 36], [24, 18]);
        let training =
            features(folder.path(), &[(1, large, 0), (2, large, 0), (1, small, 0), (3, large, 1), (2, small, 1)]);
        let held_out = features(folder.path(), &[(4, large, 0), (3, small, 1), (3, large, 1), (4, small, 0)]);
        let found = NearDuplicates::find(&training, &held_out);
        let pair =
            |of: &PhotoFeatures, one: usize, other: usize| (training.photos[one].clone(), of.photos[other].clone());
        assert_eq!(found.training, [pair(&training, 0, 2), pair(&training, 1, 4)]);
        assert_eq!(found.in_two_classes().collect::<Vec<_>>(), [&pair(&training, 1, 4)]);
        // The exact copy of a photo is no near duplicate, nor are two held-out photos.
        assert_eq!(found.held_out, [pair(&held_out, 3, 1)]);
        let mut groups = [0, 1, 2, 3, 4];
        found.join(&mut groups);
        assert_eq!(groups, [0, 1, 0, 3, 1]);
    }

    #[test]
    fn like_features_of_other_pictures_are_no_near_duplicates() {
        let folder = tempfile::tempdir().unwrap();
        let mut training = features(folder.path(), &[(1, [48, 36], 0), (2, [48, 36], 0), (3, [48, 36], 1)]);
        training.values = Tensor::new([3, 64], vec![1.0; 3 * 64]).unwrap();
        let none = features(folder.path(), &[]);
        assert_eq!(NearDuplicates::find(&training, &none), NearDuplicates::default());
    }

    #[test]
    fn thumbnails_of_a_picture_correlate_whatever_its_size_brightness_and_side() {
        let thumbnail = |pixels: &Pixels| Thumbnail::of(pixels).unwrap();
        let original = thumbnail(&picture(1, [480, 360]));
        assert!(original.correlation(&thumbnail(&picture(1, [48, 36]))) > 0.99);
        assert!(original.correlation(&thumbnail(&picture(2, [480, 360]))) < 0.5);
        let mut darker = picture(1, [480, 360]);
        darker.rgb.iter_mut().for_each(|value| *value = *value / 2 + 20);
        assert!(original.correlation(&thumbnail(&darker)) > 0.99);
        let mut mirrored = picture(1, [480, 360]);
        mirrored.rgb.chunks_exact_mut(3 * 480).for_each(<[u8]>::reverse);
        assert!(original.correlation(&thumbnail(&mirrored)) < 0.9);
        assert!(original.correlation(&thumbnail(&mirrored).mirrored()) > 0.99);
        assert!(is_same_picture(0.9, &original, &thumbnail(&mirrored)));
        assert!(Thumbnail::of(&Pixels { width: 3, height: 2, rgb: vec![9; 18] }).is_none(), "one grey");
        assert!(Thumbnail::of(&Pixels { width: 2, height: 1, rgb: vec![9, 9, 9, 200, 200, 200] }).is_some());
    }

    #[test]
    fn each_pixel_is_covered_once() {
        for size in [1, 3, 16, 17, 100] {
            let cells = covered(size);
            let mut shares = vec![0.0; size];
            cells.iter().flatten().for_each(|&(pixel, share)| shares[pixel] += share);
            assert!(shares.iter().all(|share| (share - 16.0 / size as f32).abs() < 1e-4), "{size}: {shares:?}");
            assert!(cells.iter().all(|cell| (cell.iter().map(|of| of.1).sum::<f32>() - 1.0).abs() < 1e-5), "{size}");
        }
    }

    #[test]
    fn chains_of_pairs_are_one_group() {
        let found = NearDuplicates { positions: vec![(3, 4), (1, 2), (2, 3)], ..NearDuplicates::default() };
        let mut groups = [0, 1, 2, 3, 4, 0];
        found.join(&mut groups);
        assert_eq!(groups, [0, 1, 1, 1, 1, 0]);
        NearDuplicates::default().join(&mut groups);
        assert_eq!(groups, [0, 1, 1, 1, 1, 0]);
    }
}
