//! Pretrained network architectures, built with the arguments of `keras.applications`.
//!
//! Each module builds one family of networks. [`Weights`] says where the initial weights come from.

pub mod efficientnet_lite;
pub mod vgg16;

mod imagenet_arguments;
mod network;
mod preprocessing;
mod weights;

pub use efficientnet_lite::EfficientNetLite0;
pub use preprocessing::Preprocessing;
pub use vgg16::Vgg16;
pub use weights::Weights;

/// Global pooling at the end of a network without its top (Keras' `pooling` argument): one value per channel.
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
    /// The mean over all pixels: `GlobalAveragePooling2D`.
    Avg,
    /// The maximum over all pixels: `GlobalMaxPooling2D`.
    Max,
}
