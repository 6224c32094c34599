//! Splits photos into a training set and a validation set, stratified by class and reproducible by seed.

use std::collections::HashMap;

use engraft_nn::random::Rng;
use engraft_nn::{Error, Result};

use crate::Photo;

/// A training set and a validation set, each in the order of the photos that were split.
///
/// ```
/// use engraft_data::{Photo, Split, split};
/// let photo = |n: u8| Photo { path: format!("{n}.jpg").into(), labels: vec![usize::from(n % 2)], digest: [n; 32] };
/// let photos: Vec<Photo> = (0..8).map(photo).collect();
/// let Split { training, validation } = split(&photos, 0.25, 0)?;
/// assert_eq!((training.len(), validation.len()), (6, 2));
/// assert!(validation.iter().all(|photo| !training.contains(photo)));
/// # Ok::<(), engraft_data::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// The training set.
    pub training: Vec<Photo>,
    /// The validation set, which is held out of training.
    pub validation: Vec<Photo>,
}

/// Splits off `fraction` of the photos of every class as the validation set, chosen at random by `seed`.
///
/// Photos with identical content go to the same set, even across classes, so that no validation photo is also trained on. A class
/// may therefore hold out fewer photos than its rounded share, but never more. Every class keeps at least one training photo. A
/// `fraction` of 0 leaves the validation set empty.
///
/// Where photos have several labels or none, this holds for each label, and for the photos without one. The photos of rare labels
/// are chosen first, as in iterative stratification (Sechidis, Tsoumakas and Vlahavas 2011, doi 10.1007/978-3-642-23808-6_10):
/// otherwise, photos with frequent labels alone would use up the share of these.
///
/// The same seed gives the same split on every machine, with any number of threads, in every version of this crate.
///
/// # Errors
/// Where `fraction` is below 0, 1 or above, NaN, or above 0 but too small to hold out a single photo.
///
/// ```
/// use engraft_data::{Photo, split};
/// let photo = |n: u8| Photo { path: format!("{n}.jpg").into(), labels: vec![usize::from(n % 2)], digest: [n; 32] };
/// let photos: Vec<Photo> = (0..10).map(photo).collect();
/// let parts = split(&photos, 0.2, 1)?;
/// assert_eq!((parts.training.len(), parts.validation.len()), (8, 2));
/// # Ok::<(), engraft_data::Error>(())
/// ```
pub fn split(photos: &[Photo], fraction: f64, seed: u64) -> Result<Split> {
    split_new(photos, &|_| None, fraction, seed)
}

/// The part of a [`Split`] that a photo belongs to.
///
/// ```
/// use engraft_data::Part;
/// assert_ne!(Part::Training, Part::Validation);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The training set.
    Training,
    /// The validation set.
    Validation,
}

/// Splits as [`split`] does, but photos of an earlier split stay in their part: only new photos are divided.
///
/// `known` gives the part of a photo by its digest, and `None` for a new photo. So photos that a model hasn't seen stay unseen, though
/// other photos were added or the seed is another.
///
/// Of the new photos of a class, as many are held out as the class lacks for its rounded share. They are at most the rounded share of
/// the new photos: where an earlier run held out none, new photos are still trained on. A class that holds out some may round up.
///
/// ```
/// use engraft_data::{Part, Photo, split_new};
/// let photo = |n: u8| Photo { path: format!("{n}.jpg").into(), labels: vec![0], digest: [n; 32] };
/// let photos: Vec<Photo> = (0..15).map(photo).collect();
/// // Photos 0 to 9 were split before: 3 and 7 are held out. Of five new ones, one is held out.
/// let known = |digest: &[u8; 32]| match digest[0] {
///     3 | 7 => Some(Part::Validation),
///     earlier if earlier < 10 => Some(Part::Training),
///     _ => None,
/// };
/// let validation = split_new(&photos, &known, 0.2, 1)?.validation;
/// assert_eq!(validation.len(), 3);
/// assert!(validation.contains(&photos[3]) && validation.contains(&photos[7]));
/// # Ok::<(), engraft_data::Error>(())
/// ```
///
/// # Errors
/// Those of [`split`].
pub fn split_new(
    photos: &[Photo],
    known: &dyn Fn(&[u8; 32]) -> Option<Part>,
    fraction: f64,
    seed: u64,
) -> Result<Split> {
    if !(0.0..1.0).contains(&fraction) {
        let received = format_args!("{fraction}");
        return Err(Error::new("validation split", "a fraction of at least 0 and below 1", received));
    }
    let part_of: Vec<Option<Part>> = photos.iter().map(|photo| known(&photo.digest)).collect();
    let in_part = |part| photos.iter().zip(&part_of).filter(move |&(_, of)| *of == part).map(|(photo, _)| photo);
    let sizes = stratum_sizes(photos.iter());
    let (kept_out, new) = (stratum_sizes(in_part(Some(Part::Validation))), stratum_sizes(in_part(None)));
    // By stratum, how many photos are still to be held out.
    let to_hold_out = |(stratum, &size): (&Stratum, &usize)| {
        let (kept_out, new) = (kept_out.get(stratum).copied().unwrap_or(0), new.get(stratum).copied().unwrap_or(0));
        // The photos that a class of this size holds out: its rounded share, but never all of its photos.
        let share = ((size as f64 * fraction).round() as usize).min(size - 1);
        let of_new = new as f64 * fraction;
        let most = if kept_out > 0 { of_new.ceil() } else { of_new.round() };
        (*stratum, share.saturating_sub(kept_out).min(most as usize))
    };
    let mut remaining: HashMap<Stratum, usize> = sizes.iter().map(to_hold_out).collect();
    let mut groups = group_by_content(photos);
    Rng::new(seed).shuffle(&mut groups);
    if photos.iter().any(|photo| photo.class().is_none()) {
        let rarest =
            |group: &Vec<usize>| group.iter().flat_map(|&photo| strata(&photos[photo])).map(|of| sizes[&of]).min();
        groups.sort_by_key(rarest);
    }

    let mut held_out: Vec<bool> = part_of.iter().map(|part| *part == Some(Part::Validation)).collect();
    for group in groups {
        // The photos of a group have one content, so they are all new, or none is.
        if group.iter().any(|&photo| part_of[photo].is_some()) {
            continue;
        }
        let needed = stratum_sizes(group.iter().map(|&photo| &photos[photo]));
        if needed.iter().all(|(stratum, photos)| remaining[stratum] >= *photos) {
            needed.iter().for_each(|(stratum, photos)| *remaining.entry(*stratum).or_default() -= photos);
            group.into_iter().for_each(|photo| held_out[photo] = true);
        }
    }
    if fraction > 0.0 && !held_out.contains(&true) {
        let problem = format_args!("{fraction} of {} photos leaves the validation set empty", photos.len());
        return Err(
            Error::because("validation split", problem).hint("use a larger fraction, or 0 to train on every photo")
        );
    }
    let part = |validation| {
        photos.iter().zip(&held_out).filter(|&(_, &out)| out == validation).map(|(photo, _)| photo.clone()).collect()
    };
    Ok(Split { training: part(false), validation: part(true) })
}

/// The photos with one label, or those without any.
type Stratum = Option<usize>;

/// The strata of a photo: one for each of its labels.
fn strata(photo: &Photo) -> impl Iterator<Item = Stratum> {
    let none = photo.labels.is_empty().then_some(None);
    photo.labels.iter().map(|&label| Some(label)).chain(none)
}

/// The number of photos by stratum.
fn stratum_sizes<'a>(photos: impl Iterator<Item = &'a Photo>) -> HashMap<Stratum, usize> {
    let mut sizes = HashMap::new();
    photos.flat_map(strata).for_each(|stratum| *sizes.entry(stratum).or_default() += 1);
    sizes
}

/// The indices of the photos, grouped by digest. Groups are in the order of their first photo.
fn group_by_content(photos: &[Photo]) -> Vec<Vec<usize>> {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    let mut group_of = HashMap::new();
    for (index, photo) in photos.iter().enumerate() {
        let group = *group_of.entry(photo.digest).or_insert(groups.len());
        if group == groups.len() {
            groups.push(Vec::new());
        }
        groups[group].push(index);
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    /// A photo `class/number.jpg` whose digest is made of `content`.
    fn photo(number: usize, class: usize, content: usize) -> Photo {
        let mut digest = [0; 32];
        digest[..8].copy_from_slice(&content.to_le_bytes());
        Photo { path: format!("{class}/{number}.jpg").into(), labels: vec![class], digest }
    }

    /// `sizes[class]` photos of each class. Every `repeat`-th photo has the content of the photo before it.
    fn photos(sizes: &[usize], repeat: usize) -> Vec<Photo> {
        let classes = sizes.iter().enumerate().flat_map(|(class, &size)| vec![class; size]);
        classes
            .enumerate()
            .map(|(n, class)| photo(n, class, if n % repeat == 0 { n.saturating_sub(1) } else { n }))
            .collect()
    }

    fn in_class(photos: &[Photo], class: usize) -> usize {
        photos.iter().filter(|photo| photo.labels.contains(&class)).count()
    }

    #[test]
    fn every_class_holds_out_its_share() {
        let parts = split(&photos(&[50, 30, 7, 1], usize::MAX), 0.2, 3).unwrap();
        assert_eq!([0, 1, 2, 3].map(|class| in_class(&parts.validation, class)), [10, 6, 1, 0]);
    }

    #[test]
    fn the_parts_are_disjoint_complete_and_in_order() {
        for seed in 0..20 {
            for (fraction, repeat) in [(0.1, 2), (0.3, 3), (0.5, 5), (0.99, 2)] {
                let all = photos(&[11, 4, 29, 2], repeat);
                let Split { training, validation } = split(&all, fraction, seed).unwrap();
                let places = |part: &[Photo]| -> Vec<usize> {
                    part.iter().map(|photo| all.iter().position(|other| other == photo).unwrap()).collect()
                };
                let (training, validation) = (places(&training), places(&validation));
                assert!(training.is_sorted() && validation.is_sorted());
                let mut both = [training, validation].concat();
                both.sort_unstable();
                assert_eq!(both, (0..all.len()).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn identical_photos_stay_on_one_side_across_classes() {
        for seed in 0..50 {
            // Every second photo is a copy of the one before. Classes have an odd size, so some copies are in two classes.
            let parts = split(&photos(&[9, 9, 9], 2), 0.4, seed).unwrap();
            let contents = |part: &[Photo]| part.iter().map(|photo| photo.digest).collect::<HashSet<_>>();
            assert!(contents(&parts.training).is_disjoint(&contents(&parts.validation)), "seed {seed}");
        }
    }

    #[test]
    fn every_class_keeps_a_training_photo() {
        for seed in 0..20 {
            let parts = split(&photos(&[1, 2, 3, 40], usize::MAX), 0.999, seed).unwrap();
            assert!((0..4).all(|class| in_class(&parts.training, class) >= 1), "seed {seed}");
        }
    }

    /// Label 0 is frequent, label 1 is rare and always beside it, and some photos have no label.
    #[test]
    fn every_label_holds_out_its_share() {
        for seed in 0..20 {
            let mut all = photos(&[100], usize::MAX);
            all.iter_mut().step_by(10).for_each(|photo| photo.labels = vec![0, 1]);
            all.iter_mut().skip(1).step_by(10).for_each(|photo| photo.labels = Vec::new());
            let parts = split(&all, 0.2, seed).unwrap();
            let held_out = [0, 1].map(|label| in_class(&parts.validation, label));
            let without = parts.validation.iter().filter(|photo| photo.labels.is_empty()).count();
            assert_eq!((held_out, without), ([18, 2], 2), "seed {seed}");
        }
    }

    /// The expected indices come from an independent implementation of the same algorithm in Python.
    #[test]
    fn a_seed_gives_one_split_for_ever() {
        let held_out = |seed| -> Vec<usize> {
            let all = photos(&[10, 10], usize::MAX);
            let parts = split(&all, 0.3, seed).unwrap();
            parts.validation.iter().map(|photo| all.iter().position(|other| other == photo).unwrap()).collect()
        };
        assert_eq!(held_out(1), [0, 1, 9, 10, 13, 15]);
        assert_eq!(held_out(2), [0, 6, 7, 15, 16, 18]);
    }

    #[test]
    fn photos_of_an_earlier_split_stay_in_their_part() {
        let all = photos(&[30, 30], usize::MAX);
        let earlier: Vec<Photo> = all.iter().filter(|photo| photo.digest[0] % 3 > 0).cloned().collect();
        let first = split(&earlier, 0.2, 1).unwrap();
        let part = |digest: &[u8; 32]| {
            let is_in = |part: &[Photo]| part.iter().any(|photo| photo.digest == *digest);
            match (is_in(&first.training), is_in(&first.validation)) {
                (true, _) => Some(Part::Training),
                (_, true) => Some(Part::Validation),
                _ => None,
            }
        };
        for seed in 0..20 {
            let Split { training, validation } = split_new(&all, &part, 0.2, seed).unwrap();
            assert!(first.training.iter().all(|photo| training.contains(photo)), "seed {seed}");
            assert!(first.validation.iter().all(|photo| validation.contains(photo)), "seed {seed}");
            assert_eq!([0, 1].map(|class| in_class(&validation, class)), [6, 6], "the share of all photos");
        }
    }

    #[test]
    fn new_photos_are_trained_on_though_earlier_ones_can_not_be_held_out() {
        let all = photos(&[20, 20], usize::MAX);
        let trained = |digest: &[u8; 32]| digest[0].is_multiple_of(2).then_some(Part::Training);
        let Split { training, validation } = split_new(&all, &trained, 0.2, 3).unwrap();
        assert_eq!([0, 1].map(|class| in_class(&validation, class)), [2, 2], "a fifth of ten new photos");
        assert_eq!(training.len(), 36);
        let error = split_new(&all, &|_| Some(Part::Training), 0.2, 3).unwrap_err().to_string();
        assert!(error.contains("leaves the validation set empty"), "{error}");
    }

    #[test]
    fn nothing_is_held_out_at_zero() {
        let all = photos(&[5, 5], 2);
        let parts = split(&all, 0.0, 7).unwrap();
        assert_eq!((parts.training, parts.validation), (all, Vec::new()));
    }

    #[test]
    fn fractions_that_make_no_sense_are_errors() {
        for fraction in [-0.1, 1.0, 20.0, f64::NAN, f64::INFINITY] {
            let error = split(&photos(&[5, 5], 2), fraction, 0).unwrap_err().to_string();
            assert!(error.contains("at least 0 and below 1"), "{error}");
        }
        let error = split(&photos(&[2, 2], usize::MAX), 0.2, 0).unwrap_err().to_string();
        assert!(error.contains("0.2 of 4 photos"), "{error}");
    }
}
