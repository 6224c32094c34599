//! The labels of photos in the form that a linear classifier takes.

use engraft_linear::{Labels, LinearError};

use crate::data::Photo;
use crate::recipe::Recipe;

/// The class of each photo, or several labels of each, as the recipe wants it.
///
/// # Errors
/// A photo of a recipe with one class a photo has several labels or none; a class has no photo.
pub(super) fn labels_of<'a>(photos: impl Iterator<Item = &'a Photo>, recipe: &Recipe) -> Result<Labels, LinearError> {
    if recipe.multi_label {
        return Labels::multi(&bits_of(photos, recipe.classes), recipe.classes);
    }
    let several =
        LinearError::Kind { place: "labels", expected: "one class a photo, unless the recipe is multi-label" };
    let classes: Option<Vec<usize>> = photos.map(Photo::class).collect();
    Labels::single(&classes.ok_or(several)?, recipe.classes)
}

/// Whether each photo has each of the classes: row-major `[photos, classes]`.
pub(super) fn bits_of<'a>(photos: impl Iterator<Item = &'a Photo>, classes: usize) -> Vec<bool> {
    photos.flat_map(|photo| (0..classes).map(|class| photo.labels.contains(&class))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_recipe_decides_on_the_kind_of_labels() {
        let photo = |labels: &[usize]| Photo { path: "1.jpg".into(), labels: labels.to_vec(), digest: [0; 32] };
        let several = [photo(&[0, 1]), photo(&[1]), photo(&[])];
        let recipe = |multi_label| Recipe { multi_label, ..Recipe::new(2) };
        let multi = Labels::multi(&[true, true, false, true, false, false], 2);
        assert_eq!(labels_of(several.iter(), &recipe(true)), multi);
        assert!(labels_of(several.iter(), &recipe(false)).unwrap_err().to_string().contains("one class a photo"));
        let single = [photo(&[0]), photo(&[1])];
        assert_eq!(labels_of(single.iter(), &recipe(false)), Labels::single(&[0, 1], 2));
    }
}
