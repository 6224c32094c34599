//! Networks with pretrained weights, as in `keras.applications`: architectures as data.

pub mod vgg16;

mod imagenet;
mod weights;

pub use vgg16::Vgg16;
pub use weights::Weights;

/// How a network without its top ends in one number a channel, where asked to.
///
/// ```
/// use engraft::prelude::*;
/// let photos = Input::new([32, 32, 3]);
/// let base = Vgg16::new().include_top(false).weights("none").input_tensor(&photos).pooling(Pooling::Avg).build()?;
/// assert_eq!(base.output_shape(), &[512]);
/// # Ok::<(), engraft::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooling {
    /// The mean over all places: `GlobalAveragePooling2D`.
    Avg,
    /// The maximum over all places: `GlobalMaxPooling2D`.
    Max,
}
