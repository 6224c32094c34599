//! Assigns photos to folds so that copies of a photo share one.

use std::collections::HashMap;

use engraft_linear::Folds;

use super::candidate::failed;
use super::labels::labels_of;
use crate::Result;
use crate::data::Photo;
use crate::recipe::Recipe;

/// The group of each photo. Files of equal content are of one group: a copy in the training part would give the answer away.
pub(super) fn groups(photos: &[Photo]) -> Vec<usize> {
    let mut group_of = HashMap::new();
    let mut group = |photo: &Photo| {
        let next = group_of.len();
        *group_of.entry(photo.digest).or_insert(next)
    };
    photos.iter().map(&mut group).collect()
}

/// Stratified folds. The photos of a [group](groups) are in the same fold.
pub(super) fn of_photos(photos: &[Photo], groups: &[usize], recipe: &Recipe, folds: usize, seed: u64) -> Result<Folds> {
    let labels = labels_of(photos.iter(), recipe).map_err(failed)?;
    Folds::stratified_groups(&labels, groups, folds, seed).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_of_a_photo_are_in_one_fold() {
        let photo =
            |n: u8| Photo { path: format!("{n}.jpg").into(), labels: vec![usize::from(n % 2)], digest: [n % 12; 32] };
        let photos: Vec<Photo> = (0..36).map(photo).collect();
        let folds = of_photos(&photos, &groups(&photos), &Recipe::new(2), 3, 0).unwrap();
        assert_eq!(folds.count(), 3);
        for (number, fold) in folds.of_samples().iter().enumerate() {
            assert_eq!(*fold, folds.of_samples()[number % 12]);
        }
        for fold in 0..3 {
            assert_eq!(folds.of_samples().iter().filter(|other| **other == fold).count(), 12);
        }
    }

    #[test]
    fn copies_are_a_group_whatever_their_classes() {
        let photo = |class, digest| Photo { path: "photo.jpg".into(), labels: vec![class], digest: [digest; 32] };
        assert_eq!(groups(&[photo(0, 4), photo(0, 9), photo(1, 4), photo(1, 2)]), [0, 1, 0, 2]);
    }
}
