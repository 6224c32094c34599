//! Assigns photos to folds so that copies of a photo share one.

use std::collections::HashMap;

use engraft_linear::{Folds, Labels};

use super::candidate::failed;
use crate::Result;
use crate::data::Photo;

/// Stratified folds. Files of equal content are in the same fold: a copy in the training part would give the answer away.
pub(super) fn of_photos(photos: &[Photo], classes: usize, folds: usize, seed: u64) -> Result<Folds> {
    let mut index_of = HashMap::new();
    let mut distinct = Vec::new();
    let rows: Vec<usize> = photos
        .iter()
        .map(|photo| {
            *index_of.entry(photo.digest).or_insert_with(|| {
                distinct.push(photo.class);
                distinct.len() - 1
            })
        })
        .collect();
    // A class may only have copies of photos of another class; then its photos are distinct for this purpose.
    let labels = match Labels::single(&distinct, classes) {
        Ok(labels) => labels,
        Err(_) => {
            let all: Vec<usize> = photos.iter().map(|photo| photo.class).collect();
            let labels = Labels::single(&all, classes).map_err(failed)?;
            return Folds::stratified(&labels, folds, seed).map_err(failed);
        }
    };
    let of_distinct = Folds::stratified(&labels, folds, seed).map_err(failed)?;
    Folds::new(rows.into_iter().map(|row| of_distinct.of_samples()[row]).collect()).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_of_a_photo_are_in_one_fold() {
        let photo = |n: u8| Photo { path: format!("{n}.jpg").into(), class: usize::from(n % 2), digest: [n % 12; 32] };
        let photos: Vec<Photo> = (0..36).map(photo).collect();
        let folds = of_photos(&photos, 2, 3, 0).unwrap();
        assert_eq!(folds.count(), 3);
        for (number, fold) in folds.of_samples().iter().enumerate() {
            assert_eq!(*fold, folds.of_samples()[number % 12]);
        }
        for fold in 0..3 {
            assert_eq!(folds.of_samples().iter().filter(|other| **other == fold).count(), 12);
        }
    }
}
