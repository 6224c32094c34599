//! Which photos to learn from and which to hold out.

use std::collections::HashMap;

use engraft_nn::random::Rng;
use engraft_nn::{Error, Result};

use crate::Photo;

/// Photos divided in two, each part in the order they came.
///
/// ```
/// use engraft_data::{Photo, Split, split};
/// let photo = |n: u8| Photo { path: format!("{n}.jpg").into(), class: usize::from(n % 2), digest: [n; 32] };
/// let photos: Vec<Photo> = (0..8).map(photo).collect();
/// let Split { training, validation } = split(&photos, 0.25, 0)?;
/// assert_eq!((training.len(), validation.len()), (6, 2));
/// assert!(validation.iter().all(|photo| !training.contains(photo)));
/// # Ok::<(), engraft_data::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// Photos to learn from.
    pub training: Vec<Photo>,
    /// Photos held out.
    pub validation: Vec<Photo>,
}

/// Holds out `fraction` of the photos of every class, chosen by `seed`.
///
/// Photos of identical content stay on one side, even where they stand in several classes; so a class may hold out fewer
/// than its share, but never more, and always keeps a photo to learn from. One seed gives one split, whatever the machine,
/// the thread count or the version of this crate. A fraction of 0 holds out nothing.
///
/// # Errors
/// Unless `fraction` is at least 0 and below 1, or where it is above 0 and yet too small to hold out a single photo.
///
/// ```
/// use engraft_data::{Photo, split};
/// let photo = |n: u8| Photo { path: format!("{n}.jpg").into(), class: usize::from(n % 2), digest: [n; 32] };
/// let photos: Vec<Photo> = (0..10).map(photo).collect();
/// let parts = split(&photos, 0.2, 1)?;
/// assert_eq!((parts.training.len(), parts.validation.len()), (8, 2));
/// # Ok::<(), engraft_data::Error>(())
/// ```
pub fn split(photos: &[Photo], fraction: f64, seed: u64) -> Result<Split> {
    if !(0.0..1.0).contains(&fraction) {
        let received = format_args!("{fraction}");
        return Err(Error::new("validation split", "a fraction of at least 0 and below 1", received));
    }
    // Each class' share, rounded, but never all of it.
    let share = |size: usize| ((size as f64 * fraction).round() as usize).min(size - 1);
    let mut vacancies = class_sizes(photos.iter());
    vacancies.values_mut().for_each(|size| *size = share(*size));
    let mut groups = same_content(photos);
    Rng::new(seed).shuffle(&mut groups);

    let mut held_out = vec![false; photos.len()];
    for group in groups {
        let needed = class_sizes(group.iter().map(|&photo| &photos[photo]));
        if needed.iter().all(|(class, photos)| vacancies[class] >= *photos) {
            needed.iter().for_each(|(class, photos)| *vacancies.entry(*class).or_default() -= photos);
            group.into_iter().for_each(|photo| held_out[photo] = true);
        }
    }
    if fraction > 0.0 && !held_out.contains(&true) {
        let problem = format_args!("{fraction} of {} photos leaves none to validate on", photos.len());
        return Err(
            Error::because("validation split", problem).hint("give a larger fraction, or 0 to train on every photo")
        );
    }
    let part =
        |held| photos.iter().zip(&held_out).filter(|&(_, &out)| out == held).map(|(photo, _)| photo.clone()).collect();
    Ok(Split { training: part(false), validation: part(true) })
}

/// How many of `photos` each class has.
fn class_sizes<'a>(photos: impl Iterator<Item = &'a Photo>) -> HashMap<usize, usize> {
    let mut sizes = HashMap::new();
    photos.for_each(|photo| *sizes.entry(photo.class).or_default() += 1);
    sizes
}

/// The numbers of the photos, those of one digest together, in order of their first photo.
fn same_content(photos: &[Photo]) -> Vec<Vec<usize>> {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    let mut group_of = HashMap::new();
    for (number, photo) in photos.iter().enumerate() {
        let group = *group_of.entry(photo.digest).or_insert(groups.len());
        if group == groups.len() {
            groups.push(Vec::new());
        }
        groups[group].push(number);
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    /// Photo `number` of `class` with the content `content`.
    fn photo(number: usize, class: usize, content: usize) -> Photo {
        let mut digest = [0; 32];
        digest[..8].copy_from_slice(&content.to_le_bytes());
        Photo { path: format!("{class}/{number}.jpg").into(), class, digest }
    }

    /// As many photos as `sizes` says for each class, of which every `repeat`-th has the content of the one before it.
    fn photos(sizes: &[usize], repeat: usize) -> Vec<Photo> {
        let classes = sizes.iter().enumerate().flat_map(|(class, &size)| vec![class; size]);
        classes
            .enumerate()
            .map(|(n, class)| photo(n, class, if n % repeat == 0 { n.saturating_sub(1) } else { n }))
            .collect()
    }

    fn in_class(photos: &[Photo], class: usize) -> usize {
        photos.iter().filter(|photo| photo.class == class).count()
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
            // With every second photo a copy, the last of a class and the first of the next are copies, too.
            let parts = split(&photos(&[9, 9, 9], 2), 0.4, seed).unwrap();
            let contents = |part: &[Photo]| part.iter().map(|photo| photo.digest).collect::<HashSet<_>>();
            assert!(contents(&parts.training).is_disjoint(&contents(&parts.validation)), "seed {seed}");
        }
    }

    #[test]
    fn every_class_keeps_a_photo_to_learn_from() {
        for seed in 0..20 {
            let parts = split(&photos(&[1, 2, 3, 40], usize::MAX), 0.999, seed).unwrap();
            assert!((0..4).all(|class| in_class(&parts.training, class) >= 1), "seed {seed}");
        }
    }

    /// The numbers come from another implementation of the same rule, in Python.
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
