//! The ResNets of Keras, and their preprocessing; [`resnet_v2`](super::resnet_v2) shares their first layers.

use super::body::Body;
use super::weights::{Pretrained, keras_file};
use super::{Architecture, Network, Preprocessing};
use crate::Result;
use crate::prelude::*;

pub(super) static RESNET50: Architecture = Architecture {
    name: "resnet50",
    keras: Some("ResNet50"),
    model_name: "resnet50",
    layers: |network, body, x| layers([3, 4, 6, 3], network, body, x),
    weights: |network, _| {
        Some(weights(network, ["2cb95161c43110f7111970584f804107", "4d473c1dd8becc155b73f8504c6f6626"]))
    },
    parameters: 23_587_712,
    macs: 3_857_973_248,
    top_1: Some(74.9),
    last_blocks: &["conv4_block6_out", "conv3_block4_out"],
    ..RESNET
};

pub(super) static RESNET101: Architecture = Architecture {
    name: "resnet101",
    keras: Some("ResNet101"),
    model_name: "resnet101",
    layers: |network, body, x| layers([3, 4, 23, 3], network, body, x),
    weights: |network, _| {
        Some(weights(network, ["f1aeb4b969a6efcfb50fad2f0c20cfc5", "88cf7a10940856eca736dc7b7e228a21"]))
    },
    parameters: 42_658_176,
    macs: 7_570_194_432,
    top_1: Some(76.4),
    last_blocks: &["conv4_block23_out", "conv3_block4_out"],
    ..RESNET
};

pub(super) static RESNET152: Architecture = Architecture {
    name: "resnet152",
    keras: Some("ResNet152"),
    model_name: "resnet152",
    layers: |network, body, x| layers([3, 8, 36, 3], network, body, x),
    weights: |network, _| {
        Some(weights(network, ["100835be76be38e30d865e96f2aaae62", "ee4c566cf9a93f14d82f913c2dc6dd0c"]))
    },
    parameters: 58_370_944,
    macs: 11_282_415_616,
    top_1: Some(76.6),
    last_blocks: &["conv4_block36_out", "conv3_block8_out"],
    ..RESNET
};

/// What the networks of the family have in common.
pub(super) const RESNET: Architecture =
    Architecture { preprocessing: Preprocessing::Caffe, last_block: "conv5_block1_1_conv", ..Architecture::DEFAULT };

/// ResNet50 (He et al. 2015, <https://arxiv.org/abs/1512.03385>; Keras' `applications.ResNet50`): four stages of 3, 4, 6 and 3
/// bottleneck blocks.
///
/// The base ends in `conv5_block3_out`. Unlike torchvision's, a stage halves the image in the first 1x1 convolution of its first
/// block, convolutions have biases, and the epsilon of the normalizations is 1.001e-5.
///
/// ```
/// use engraft::prelude::*;
/// let network = engraft::applications::resnet50();
/// let base = network.include_top(false).weights("none").input_shape([32, 32, 3]).build()?;
/// assert_eq!((base.output_shape(), base.count_params()), (&vec![1, 1, 2048], 23_587_712));
/// # Ok::<(), engraft::Error>(())
/// ```
pub fn resnet50() -> Network {
    Network::new(&RESNET50)
}

/// ResNet101 (Keras' `applications.ResNet101`): a [`resnet50`] with 23 blocks in its third stage.
///
/// ```
/// assert_eq!(engraft::applications::resnet101().architecture().parameters(), 42_658_176);
/// ```
pub fn resnet101() -> Network {
    Network::new(&RESNET101)
}

/// ResNet152 (Keras' `applications.ResNet152`): a [`resnet50`] with 8 and 36 blocks in its second and third stage.
///
/// ```
/// assert_eq!(engraft::applications::resnet152().architecture().parameters(), 58_370_944);
/// ```
pub fn resnet152() -> Network {
    Network::new(&RESNET152)
}

/// Adds the preprocessing of the ResNets to a model, which is that of [VGG16](super::vgg16::preprocess_input).
///
/// ```
/// use engraft::{applications::resnet, prelude::*};
/// assert_eq!(resnet::preprocess_input(&Input::new([32, 32, 3]))?.shape(), &[32, 32, 3]);
/// # Ok::<(), engraft::Error>(())
/// ```
///
/// # Errors
/// The last axis doesn't have 3 channels.
pub fn preprocess_input(x: &SymbolicTensor) -> Result<SymbolicTensor> {
    RESNET.preprocessing.call(x)
}

/// The weight file with or without the top, with the MD5 of each.
pub(super) fn weights(network: &Network, md5: [&'static str; 2]) -> Pretrained {
    let name = network.architecture().model_name;
    keras_file(network, "resnet", &format!("{name}_weights_tf_dim_ordering_tf_kernels"), md5)
}

/// The network with this number of blocks in each stage.
fn layers(blocks: [usize; 4], network: &Network, body: &mut Body, x: &SymbolicTensor) -> Result<SymbolicTensor> {
    let mut x = conv1(body, x)?;
    x = normalize_relu(body, &x, "conv1")?;
    x = pool1(body, &x)?;
    for (stage, (blocks, filters)) in (2..).zip(blocks.into_iter().zip([64, 128, 256, 512])) {
        for block in 1..=blocks {
            let strides = if block == 1 && stage != 2 { 2 } else { 1 };
            x = bottleneck(body, &x, &format!("conv{stage}_block{block}"), filters, block == 1, strides)?;
        }
    }
    if network.include_top { body.pooled_top(network, &x) } else { body.named_pool(network, &x) }
}

/// The first convolution, which halves the image.
pub(super) fn conv1(body: &mut Body, x: &SymbolicTensor) -> Result<SymbolicTensor> {
    let x = body.call(x, ZeroPadding2D::new(3).named("conv1_pad"))?;
    body.call(&x, Conv2D::new(64, 7).strides(2).named("conv1_conv"))
}

/// The first pooling, which halves the image again.
pub(super) fn pool1(body: &mut Body, x: &SymbolicTensor) -> Result<SymbolicTensor> {
    let x = body.call(x, ZeroPadding2D::new(1).named("pool1_pad"))?;
    body.call(&x, MaxPooling2D::new(3).strides(2).named("pool1_pool"))
}

/// A bottleneck block: 1x1, 3x3 and 1x1 convolutions, added to the input or, with `project`, to a 1x1 convolution of it.
fn bottleneck(
    body: &mut Body,
    input: &SymbolicTensor,
    name: &str,
    filters: usize,
    project: bool,
    strides: usize,
) -> Result<SymbolicTensor> {
    let mut shortcut = input.clone();
    if project {
        shortcut = body.call(input, Conv2D::new(4 * filters, 1).strides(strides).named(format!("{name}_0_conv")))?;
        shortcut = normalize(body, &shortcut, &format!("{name}_0"))?;
    }
    let mut x = body.call(input, Conv2D::new(filters, 1).strides(strides).named(format!("{name}_1_conv")))?;
    x = normalize_relu(body, &x, &format!("{name}_1"))?;
    x = body.call(&x, Conv2D::new(filters, 3).padding(Padding::Same).named(format!("{name}_2_conv")))?;
    x = normalize_relu(body, &x, &format!("{name}_2"))?;
    x = body.call(&x, Conv2D::new(4 * filters, 1).named(format!("{name}_3_conv")))?;
    x = normalize(body, &x, &format!("{name}_3"))?;
    x = body.call([&shortcut, &x], Add::new().named(format!("{name}_add")))?;
    body.call(&x, Activation::new(Relu).named(format!("{name}_out")))
}

/// Batch normalization `{name}_bn`, and ReLU `{name}_relu`.
pub(super) fn normalize_relu(body: &mut Body, x: &SymbolicTensor, name: &str) -> Result<SymbolicTensor> {
    let x = normalize(body, x, name)?;
    body.call(&x, Activation::new(Relu).named(format!("{name}_relu")))
}

fn normalize(body: &mut Body, x: &SymbolicTensor, name: &str) -> Result<SymbolicTensor> {
    body.call(x, BatchNormalization::new().epsilon(1.001e-5).named(format!("{name}_bn")))
}
