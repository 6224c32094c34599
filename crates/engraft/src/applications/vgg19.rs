//! VGG19.

use super::weights::keras_file;
use super::{Architecture, Network, vgg16};
use crate::Result;
use crate::prelude::*;

pub(super) static VGG19: Architecture = Architecture {
    name: "vgg19",
    keras: Some("VGG19"),
    model_name: "vgg19",
    layers: |network, body, x| vgg16::layers([2, 2, 4, 4, 4], network, body, x),
    weights: |network, _| {
        let md5 = ["cbe5617147190e668d6c5d5026f83318", "253f8cb515780f3b799900260a226db6"];
        Some(keras_file(network, "vgg19", "vgg19_weights_tf_dim_ordering_tf_kernels", md5))
    },
    top: &["fc1", "fc2", "predictions"],
    parameters: 20_024_384,
    macs: 19_632_062_464,
    top_1: Some(71.3),
    ..vgg16::VGG
};

/// VGG19 (Simonyan and Zisserman 2014, <https://arxiv.org/abs/1409.1556>; Keras' `applications.VGG19`): VGG16 with a fourth
/// convolution in each of the last three blocks.
///
/// ```
/// use engraft::prelude::*;
/// let network = engraft::applications::vgg19();
/// let base = network.include_top(false).weights("none").input_shape([32, 32, 3]).build()?;
/// assert_eq!((base.output_shape(), base.count_params()), (&vec![1, 1, 512], 20_024_384));
/// # Ok::<(), engraft::Error>(())
/// ```
pub fn vgg19() -> Network {
    Network::new(&VGG19)
}

/// Adds the preprocessing of VGG19 to a model, which is that of [VGG16](vgg16::preprocess_input).
///
/// ```
/// use engraft::{applications::vgg19, prelude::*};
/// assert_eq!(vgg19::preprocess_input(&Input::new([32, 32, 3]))?.shape(), &[32, 32, 3]);
/// # Ok::<(), engraft::Error>(())
/// ```
///
/// # Errors
/// The last axis doesn't have 3 channels.
pub fn preprocess_input(x: &SymbolicTensor) -> Result<SymbolicTensor> {
    VGG19.preprocessing.call(x)
}
