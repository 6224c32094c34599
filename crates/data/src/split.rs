//! Which photos to learn from and which to hold out.

use std::collections::HashMap;

use engraft_nn::{Error, Result};

use crate::Photo;

/// Photos divided in two, each part in the order they came.
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
    todo!()
}
