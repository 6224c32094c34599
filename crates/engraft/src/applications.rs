//! Networks with pretrained weights, as in `keras.applications`: architectures as data.

pub mod vgg16;

mod imagenet;
mod weights;

pub use vgg16::Vgg16;
pub use weights::Weights;

/// How a network without its top ends in one number a channel, where asked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooling {
    /// The mean over all places: `GlobalAveragePooling2D`.
    Avg,
    /// The maximum over all places: `GlobalMaxPooling2D`.
    Max,
}
