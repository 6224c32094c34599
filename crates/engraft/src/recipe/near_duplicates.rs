//! [`NearDuplicates`]: photos that show the same picture, resized, compressed again, cropped a little or mirrored.
//!
//! Such a pair in the training and in the held-out part of a fold makes the score too good, as copies do.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use engraft_linear::close_pairs;
use rayon::{ThreadPool, ThreadPoolBuilder};

use super::{FeatureExtractor, Interrupt, PhotoFeatures};
use crate::cache::FeatureCache;
use crate::data::Photo;
use crate::prelude::*;
use crate::{Error, Model, Result};

/// The least cosine of the features of near duplicates. Pairs below it are not looked at.
const MIN_COSINE: f32 = 0.9;

/// The least correlation of thumbnails that shows the same picture.
const SAME_PIXELS: f32 = 0.975;

/// The least correlation of thumbnails that shows it where there are no features.
const SAME_PIXELS_ALONE: f32 = 0.98;

/// The least cosine of features and the least correlation of thumbnails that show it together: the picture is cropped a little.
const SAME_FEATURES: f32 = 0.965;
const SIMILAR_PIXELS: f32 = 0.8;

/// How many near duplicates of a photo are looked for among the earlier photos. Larger groups are chains of such pairs.
const MOST: usize = 8;

/// Width and height of a thumbnail.
const SIDE: usize = 16;

/// Width and height to which photos are resized before cells of pixels are averaged.
const RESIZED: usize = 128;

/// Pairs of photos that are no copies but show the same picture.
///
/// Both the features of a network and thumbnails of 16 by 16 grey pixels must agree, so that two photos of like objects are no pair.
/// Only photos whose features agree are decoded, and their thumbnails are kept in the feature cache.
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
    /// Groups of near duplicates that hold more than half of the photos of a class, as its label and their number: one series, or the
    /// frames of a film. They don't share a fold, as the class would be missing from the others.
    pub series: Vec<(usize, usize)>,
    /// The pairs of training photos by their positions.
    positions: Vec<(usize, usize)>,
}

impl NearDuplicates {
    /// The most photos among which near duplicates are looked for, as the time grows with the square of their number.
    ///
    /// ```
    /// assert_eq!(engraft::recipe::NearDuplicates::MAX_PHOTOS, 50_000);
    /// ```
    pub const MAX_PHOTOS: usize = 50_000;

    /// Finds the near duplicates among training photos, and between these and held-out ones; `None` if interrupted.
    ///
    /// Photos that can't be decoded any more are no near duplicates. Of more than [`MAX_PHOTOS`](Self::MAX_PHOTOS), none are found.
    ///
    /// # Errors
    /// Those of [`FeatureExtractor::extract`].
    pub(super) fn find(
        training: &PhotoFeatures,
        held_out: &PhotoFeatures,
        (runtime, cache): (&Runtime, &FeatureCache),
        interrupt: &Interrupt,
    ) -> Result<Option<Self>> {
        let photos: Vec<&Photo> = training.photos.iter().chain(&held_out.photos).collect();
        if photos.len() > Self::MAX_PHOTOS {
            return Ok(Some(Self::default()));
        }
        let split = training.photos.len();
        let mut candidates = candidates(training, held_out, runtime)?;
        candidates.retain(|&(one, other, _)| one < split && photos[one].digest != photos[other].digest);
        let mut positions: Vec<usize> = candidates.iter().flat_map(|&(one, other, _)| [one, other]).collect();
        positions.sort_unstable();
        positions.dedup();
        let of_candidates: Vec<Photo> = positions.into_iter().map(|at| photos[at].clone()).collect();
        let Some(cells) = cells_of(&of_candidates, (runtime, cache), interrupt, &mut |_, _| {})? else {
            return Ok(None);
        };
        let thumbnail = |(at, photo): (usize, &Photo)| Some((photo.digest, Thumbnail::of(cells.row(at, 0))?));
        let thumbnails: HashMap<[u8; 32], Thumbnail> = cells.photos.iter().enumerate().filter_map(thumbnail).collect();
        let is_same = |&(one, other, cosine): &(usize, usize, f32)| {
            let [one, other] = [one, other].map(|photo| thumbnails.get(&photos[photo].digest));
            one.zip(other).is_some_and(|(one, other)| is_same_picture(cosine, one, other))
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
        Ok(Some(found))
    }

    /// Finds the held-out photos that are near duplicates of training photos, by thumbnails in colour alone; `None` if interrupted.
    ///
    /// For training without features. Mirrored and cropped photos aren't found. All photos are decoded, unless their thumbnails are
    /// in the cache. `progress` receives the photos done and the total.
    ///
    /// ```
    /// use engraft::cache::FeatureCache;
    /// use engraft::prelude::*;
    /// use engraft::recipe::{Interrupt, NearDuplicates};
    /// let (runtime, cache) = (Runtime::shared()?, FeatureCache::off());
    /// let found = NearDuplicates::across(&[], &[], (&runtime, &cache), &Interrupt::new(), &mut |_done, _total| {})?;
    /// assert_eq!(found.ok_or("interrupted")?.held_out.len(), 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`FeatureExtractor::extract`].
    pub fn across(
        training: &[Photo],
        held_out: &[Photo],
        (runtime, cache): (&Runtime, &FeatureCache),
        interrupt: &Interrupt,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Option<Self>> {
        if training.len() + held_out.len() > Self::MAX_PHOTOS {
            return Ok(Some(Self::default()));
        }
        let is_training: HashSet<&Path> = training.iter().map(|photo| &*photo.path).collect();
        let photos = [training, held_out].concat();
        let Some(cells) = cells_of(&photos, (runtime, cache), interrupt, progress)? else { return Ok(None) };
        let colours = |(at, photo)| Some((photo, normalized(cells.row(at, 0))?));
        let (photos, rows): (Vec<&Photo>, Vec<Vec<f32>>) = cells.photos.iter().enumerate().filter_map(colours).unzip();
        let rows: Vec<&[f32]> = rows.iter().map(Vec::as_slice).collect();
        let mut found = Self::default();
        for (one, other, _) in threads(runtime)?.install(|| close_pairs(&rows, SAME_PIXELS_ALONE, MOST)) {
            let (one, other) = (photos[one], photos[other]);
            let is_across = is_training.contains(&*one.path) && !is_training.contains(&*other.path);
            let is_new = found.held_out.last().is_none_or(|(_, last)| last != other);
            if is_across && is_new && one.digest != other.digest {
                found.held_out.push((one.clone(), other.clone()));
            }
        }
        Ok(Some(found))
    }

    /// The pairs of training photos with different labels.
    pub fn in_two_classes(&self) -> impl Iterator<Item = &(Photo, Photo)> {
        self.training.iter().filter(|(one, other)| one.labels != other.labels)
    }

    /// Joins the groups of near duplicates among `photos`, the training photos, but for [`series`](Self::series). `groups` has a
    /// number for each photo, in the order of first photos.
    pub(super) fn join(&mut self, groups: &mut [usize], photos: &[Photo]) {
        if self.positions.is_empty() {
            return;
        }
        let mut parent: Vec<usize> = (0..groups.iter().max().map_or(0, |most| most + 1)).collect();
        for &(one, other) in &self.positions {
            let (one, other) = (root(&mut parent, groups[one]), root(&mut parent, groups[other]));
            parent[one.max(other)] = one.min(other);
        }
        let joined: Vec<usize> = groups.iter().map(|&group| root(&mut parent, group)).collect();
        let mut sizes: HashMap<usize, usize> = HashMap::new();
        let mut parts: HashMap<(usize, usize), usize> = HashMap::new();
        for (photo, &group) in photos.iter().zip(&joined) {
            for &label in &photo.labels {
                *sizes.entry(label).or_default() += 1;
                *parts.entry((group, label)).or_default() += 1;
            }
        }
        let is_series = |(label, photos): (usize, usize)| 2 * photos > sizes[&label];
        let mut series: Vec<(usize, usize, usize)> =
            parts.into_iter().map(|((group, label), photos)| (group, label, photos)).collect();
        series.retain(|&(_, label, photos)| photos > 1 && is_series((label, photos)));
        series.sort_unstable();
        for (group, joined) in groups.iter_mut().zip(joined) {
            if series.binary_search_by_key(&joined, |&(group, ..)| group).is_err() {
                *group = joined;
            }
        }
        self.series = series.into_iter().map(|(_, label, photos)| (label, photos)).collect();
    }
}

/// Pairs whose features are close, as positions among the training photos, followed by the held-out ones.
fn candidates(
    training: &PhotoFeatures,
    held_out: &PhotoFeatures,
    runtime: &Runtime,
) -> Result<Vec<(usize, usize, f32)>> {
    let rows = |of: &'_ PhotoFeatures| (0..of.photos.len()).map(|photo| photo * of.variants).collect::<Vec<_>>();
    let rows: Vec<&[f32]> =
        [training, held_out].into_iter().flat_map(|of| rows(of).into_iter().map(|row| of.values.row(row))).collect();
    Ok(threads(runtime)?.install(|| close_pairs(&rows, MIN_COSINE, MOST)))
}

/// As many threads as the runtime has.
fn threads(runtime: &Runtime) -> Result<ThreadPool> {
    let threads = ThreadPoolBuilder::new().num_threads(runtime.threads().max(1)).build();
    threads.map_err(|error| Error::from_source("threads that compare photos", error))
}

/// The mean colours of the cells of photos, from the cache or from the photos; `None` if interrupted.
fn cells_of(
    photos: &[Photo],
    (runtime, cache): (&Runtime, &FeatureCache),
    interrupt: &Interrupt,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Option<PhotoFeatures>> {
    let extractor = FeatureExtractor::new(&cells()?, "thumbnails, 16 x 16 pixels", runtime, cache)?;
    extractor.extract(photos, interrupt, progress)
}

/// A network that averages the pixels of each cell of a photo.
fn cells() -> Result<Model> {
    let layers = Sequential::with_name("thumbnail").add(Input::named("photo", [RESIZED, RESIZED, 3]));
    layers.add(AveragePooling2D::new(RESIZED / SIDE).named("cells")).build()
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
    /// From the colours of the cells, `[SIDE, SIDE, 3]`; `None` for a picture of one grey, which has nothing to compare.
    fn of(cells: &[f32]) -> Option<Self> {
        let mut grey = [0.0f32; SIDE * SIDE];
        for (grey, rgb) in grey.iter_mut().zip(cells.chunks_exact(3)) {
            // ITU-R BT.601, as JPEG.
            *grey = 0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2];
        }
        Some(Self(normalized(&grey)?.try_into().ok()?))
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

/// Pixels with a mean of 0 and a sum of squares of 1; `None` for pixels of one value, which have nothing to compare.
fn normalized(pixels: &[f32]) -> Option<Vec<f32>> {
    let mean = pixels.iter().sum::<f32>() / pixels.len() as f32;
    let norm = pixels.iter().map(|value| (value - mean).powi(2)).sum::<f32>().sqrt();
    // Below a standard deviation of 1 of 255, noise decides.
    let is_even = norm < (pixels.len() as f32).sqrt();
    (!is_even).then(|| pixels.iter().map(|value| (value - mean) / norm).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Tensor;
    use crate::data::Pixels;
    use crate::random::Rng;

    fn find(training: &PhotoFeatures, held_out: &PhotoFeatures) -> NearDuplicates {
        let (runtime, cache) = (Runtime::cpu(Some(2)).unwrap(), FeatureCache::off());
        NearDuplicates::find(training, held_out, (&runtime, &cache), &Interrupt::new()).unwrap().unwrap()
    }

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
        let mut found = find(&training, &held_out);
        let pair =
            |of: &PhotoFeatures, one: usize, other: usize| (training.photos[one].clone(), of.photos[other].clone());
        assert_eq!(found.training, [pair(&training, 0, 2), pair(&training, 1, 4)]);
        assert_eq!(found.in_two_classes().collect::<Vec<_>>(), [&pair(&training, 1, 4)]);
        // The exact copy of a photo is no near duplicate, nor are two held-out photos.
        assert_eq!(found.held_out, [pair(&held_out, 3, 1)]);
        let mut groups = [0, 1, 2, 3, 4];
        found.join(&mut groups, &training.photos);
        assert_eq!((groups, found.series), ([0, 1, 2, 3, 1], vec![(0, 2)]));
    }

    #[test]
    fn like_features_of_other_pictures_are_no_near_duplicates() {
        let folder = tempfile::tempdir().unwrap();
        let mut training = features(folder.path(), &[(1, [48, 36], 0), (2, [48, 36], 0), (3, [48, 36], 1)]);
        training.values = Tensor::new([3, 64], vec![1.0; 3 * 64]).unwrap();
        let none = features(folder.path(), &[]);
        assert_eq!(find(&training, &none), NearDuplicates::default());
    }

    #[test]
    fn thumbnails_of_a_picture_correlate_whatever_its_size_brightness_and_side() {
        let cells = |pixels: &Pixels| {
            cells()
                .unwrap()
                .predict(&Tensor::new([1, RESIZED, RESIZED, 3], pixels.resize(RESIZED, RESIZED)).unwrap(), 1)
                .unwrap()
        };
        let thumbnail = |pixels: &Pixels| Thumbnail::of(cells(pixels).data()).unwrap();
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
        assert!(Thumbnail::of(&[9.0; 3 * SIDE * SIDE]).is_none(), "one grey");
    }

    #[test]
    fn held_out_photos_are_found_by_thumbnails_alone() {
        let folder = tempfile::tempdir().unwrap();
        let of = |photos: &[(u64, [usize; 2], usize)]| features(folder.path(), photos).photos;
        let large = [48, 36];
        let training = of(&[(1, large, 0), (2, large, 0), (3, large, 1), (4, large, 1), (5, large, 1)]);
        let held_out = of(&[(6, large, 0), (2, [96, 72], 0), (3, large, 1), (7, large, 1)]);
        let (runtime, cache) = (Runtime::cpu(Some(2)).unwrap(), FeatureCache::off());
        let across = |training: &[Photo], held_out: &[Photo]| {
            let found =
                NearDuplicates::across(training, held_out, (&runtime, &cache), &Interrupt::new(), &mut |_, _| {});
            found.unwrap().unwrap()
        };
        let found = across(&training, &held_out);
        assert_eq!(found.held_out, [(training[1].clone(), held_out[1].clone())], "an exact copy is none");
        assert!(found.training.is_empty());
        assert_eq!(across(&training, &[]), NearDuplicates::default());
    }

    #[test]
    fn the_second_search_decodes_no_photo() {
        let folder = tempfile::tempdir().unwrap();
        let photos = [(1, [48, 36], 0), (1, [24, 18], 0), (2, [48, 36], 0), (3, [48, 36], 0), (4, [48, 36], 1)];
        let (training, none) = (features(folder.path(), &photos), features(folder.path(), &[]));
        let cache = FeatureCache::new(folder.path().join("cache"), 1 << 20);
        let search = || {
            let runtime = Runtime::cpu(Some(1)).unwrap();
            NearDuplicates::find(&training, &none, (&runtime, &cache), &Interrupt::new()).unwrap().unwrap()
        };
        let first = search();
        assert_eq!(first.training.len(), 1);
        training.photos.iter().for_each(|photo| std::fs::remove_file(&photo.path).unwrap());
        assert_eq!(search(), first);
    }

    #[test]
    fn a_series_that_is_most_of_a_class_shares_no_fold() {
        let photo = |label: usize| Photo { path: "a.jpg".into(), labels: vec![label], digest: [0; 32] };
        let photos = [0, 0, 0, 1, 1, 1, 1].map(photo);
        let pairs =
            |positions: &[(usize, usize)]| NearDuplicates { positions: positions.to_vec(), ..Default::default() };
        let mut groups = [0, 1, 2, 3, 4, 5, 6];
        let mut found = pairs(&[(0, 1), (3, 4)]);
        found.join(&mut groups, &photos);
        assert_eq!((groups, found.series), ([0, 1, 2, 3, 3, 5, 6], vec![(0, 2)]));
        // A pair in two classes makes a group of both; it is most of the first class.
        let mut groups = [0, 1, 2, 3, 4, 5, 6];
        let mut found = pairs(&[(0, 1), (1, 3)]);
        found.join(&mut groups, &photos);
        assert_eq!((groups, found.series), ([0, 1, 2, 3, 4, 5, 6], vec![(0, 2)]));
    }

    #[test]
    fn chains_of_pairs_are_one_group() {
        let photo = |_| Photo { path: "a.jpg".into(), labels: Vec::new(), digest: [0; 32] };
        let photos = [0; 6].map(photo);
        let mut found = NearDuplicates { positions: vec![(3, 4), (1, 2), (2, 3)], ..NearDuplicates::default() };
        let mut groups = [0, 1, 2, 3, 4, 0];
        found.join(&mut groups, &photos);
        assert_eq!(groups, [0, 1, 1, 1, 1, 0]);
        NearDuplicates::default().join(&mut groups, &photos);
        assert_eq!(groups, [0, 1, 1, 1, 1, 0]);
    }
}
