//! Pretrained network architectures, built with the arguments of `keras.applications`.
//!
//! A function describes each network, such as [`resnet50`](resnet50()); [`Network`] has its arguments and builds the model.
//! [`Architecture`] tells what is known of a network before it is built, and finds one by its name. [`Weights`] says where the
//! initial weights come from. As in Keras, each family has a module, with its `preprocess_input`.

pub mod convnext;
pub mod densenet;
pub mod efficientnet;
pub mod efficientnet_lite;
pub mod efficientnet_v2;
pub mod inception_resnet_v2;
pub mod inception_v3;
pub mod mobilenet;
pub mod mobilenet_v2;
pub mod mobilenet_v3;
pub mod nasnet;
pub mod resnet;
pub mod resnet_torchvision;
pub mod resnet_v2;
pub mod vgg16;
pub mod vgg19;
pub mod xception;

mod architecture;
mod body;
mod catalog;
mod channels;
mod correct_pad;
mod imagenet_arguments;
mod inception;
mod mbconv;
mod network;
mod preprocessing;
mod torch_names;
mod weights;
mod weights_file;
mod weights_format;

pub use architecture::Architecture;
pub use convnext::{convnext_base, convnext_large, convnext_small, convnext_tiny, convnext_xlarge};
pub use densenet::{densenet121, densenet169, densenet201};
pub use efficientnet::{
    efficientnet_b0, efficientnet_b1, efficientnet_b2, efficientnet_b3, efficientnet_b4, efficientnet_b5,
    efficientnet_b6, efficientnet_b7,
};
pub use efficientnet_lite::{
    efficientnet_lite0, efficientnet_lite1, efficientnet_lite2, efficientnet_lite3, efficientnet_lite4,
};
pub use efficientnet_v2::{
    efficientnet_v2_b0, efficientnet_v2_b1, efficientnet_v2_b2, efficientnet_v2_b3, efficientnet_v2_l,
    efficientnet_v2_m, efficientnet_v2_s,
};
pub use inception_resnet_v2::inception_resnet_v2;
pub use inception_v3::inception_v3;
pub use mobilenet::mobilenet;
pub use mobilenet_v2::mobilenet_v2;
pub use mobilenet_v3::{mobilenet_v3_large, mobilenet_v3_small};
pub use nasnet::{nasnet_large, nasnet_mobile};
pub use network::Network;
pub use preprocessing::Preprocessing;
pub use resnet::{resnet50, resnet101, resnet152};
pub use resnet_torchvision::{resnet18, resnet34, resnet50_torchvision};
pub use resnet_v2::{resnet50_v2, resnet101_v2, resnet152_v2};
pub use vgg16::vgg16;
pub use vgg19::vgg19;
pub use weights::{PublishedWeights, Weights};
pub use xception::xception;

/// Global pooling at the end of a network without its top (Keras' `pooling` argument): one value per channel.
///
/// ```
/// use engraft::prelude::*;
/// let photos = Input::new([32, 32, 3]);
/// let base = vgg16().include_top(false).weights("none").input_tensor(&photos).pooling(Pooling::Avg).build()?;
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
