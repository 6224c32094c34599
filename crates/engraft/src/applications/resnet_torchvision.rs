//! The ResNets of torchvision, whose strides and epsilons differ from Keras'.

use super::body::Body;
use super::{Architecture, Network, Preprocessing};
use crate::Result;
use crate::prelude::*;

pub(super) static RESNET18: Architecture = Architecture {
    name: "resnet18",
    model_name: "resnet18",
    layers: |network, body, x| layers(basic, [2, 2, 2, 2], network, body, x),
    parameters: 11_186_112,
    macs: 1_814_073_344,
    top_1: Some(69.8),
    other_weights: "the state dict of torchvision's or timm's resnet18, saved as .safetensors",
    last_blocks: &["layer3_1_out", "layer2_1_out"],
    ..RESNET
};

pub(super) static RESNET34: Architecture = Architecture {
    name: "resnet34",
    model_name: "resnet34",
    layers: |network, body, x| layers(basic, [3, 4, 6, 3], network, body, x),
    parameters: 21_301_696,
    macs: 3_663_761_408,
    top_1: Some(73.3),
    other_weights: "the state dict of torchvision's or timm's resnet34, saved as .safetensors",
    last_blocks: &["layer3_5_out", "layer2_3_out"],
    ..RESNET
};

pub(super) static RESNET50: Architecture = Architecture {
    name: "resnet50-torchvision",
    model_name: "resnet50_torchvision",
    layers: |network, body, x| layers(bottleneck, [3, 4, 6, 3], network, body, x),
    parameters: 23_561_152,
    macs: 4_089_184_256,
    top_1: Some(76.1),
    other_weights: "the state dict of torchvision's or timm's resnet50, saved as .safetensors",
    last_blocks: &["layer3_5_out", "layer2_3_out"],
    ..RESNET
};

/// What the networks of the family have in common.
const RESNET: Architecture = Architecture {
    preprocessing: Preprocessing::Torch,
    // There are no `weights`: torchvision publishes pickles, which can execute code when they are read.
    torch_module: Some(|layer| Some(layer.replace('_', "."))),
    top: &["fc"],
    // The accuracies are those of the weights `IMAGENET1K_V1`.
    top_1_source: "https://docs.pytorch.org/vision/stable/models.html",
    last_block: "layer4_0_conv1",
    ..Architecture::DEFAULT
};

/// ResNet18 of torchvision (He et al. 2015, <https://arxiv.org/abs/1512.03385>): four stages of two blocks of 3x3 convolutions.
///
/// Layers are named as in torchvision's state dict, with `_` for `.`: `conv1`, `layer1_0_conv1` to `layer4_1_bn2` and, with the
/// top, `fc`. The base ends in `layer4_1_out`. Weights come from a `.safetensors` file with torchvision's names, such as those of
/// timm's `resnet18`. Keras has no such network.
///
/// ```
/// use engraft::prelude::*;
/// let network = engraft::applications::resnet18();
/// let base = network.include_top(false).weights("none").input_shape([32, 32, 3]).build()?;
/// assert_eq!((base.output_shape(), base.count_params()), (&vec![1, 1, 512], 11_186_112));
/// # Ok::<(), engraft::Error>(())
/// ```
pub fn resnet18() -> Network {
    Network::new(&RESNET18)
}

/// ResNet34 of torchvision: a [`resnet18`] with stages of 3, 4, 6 and 3 blocks.
///
/// ```
/// assert_eq!(engraft::applications::resnet34().architecture().parameters(), 21_301_696);
/// ```
pub fn resnet34() -> Network {
    Network::new(&RESNET34)
}

/// ResNet50 of torchvision, also known as v1.5: bottleneck blocks that halve the image in their 3x3 convolution.
///
/// [`resnet50`](super::resnet50()) is Keras', which halves it in the first 1x1 convolution, and whose convolutions have biases.
///
/// ```
/// assert_eq!(engraft::applications::resnet50_torchvision().architecture().parameters(), 23_561_152);
/// ```
pub fn resnet50_torchvision() -> Network {
    Network::new(&RESNET50)
}

/// Adds the preprocessing of torchvision to a model: RGB (0 to 255) is divided by 255, then minus the ImageNet mean of each channel,
/// divided by its standard deviation.
///
/// ```
/// use engraft::{applications::resnet_torchvision, prelude::*};
/// assert_eq!(resnet_torchvision::preprocess_input(&Input::new([32, 32, 3]))?.shape(), &[32, 32, 3]);
/// # Ok::<(), engraft::Error>(())
/// ```
///
/// # Errors
/// The last axis doesn't have 3 channels.
pub fn preprocess_input(x: &SymbolicTensor) -> Result<SymbolicTensor> {
    RESNET.preprocessing.call(x)
}

/// Adds the convolutions of a block, without its shortcut: input, name, filters, strides.
type Block = fn(&mut Body, &SymbolicTensor, &str, usize, usize) -> Result<SymbolicTensor>;

/// The network with this number of blocks in each stage.
fn layers(
    block: Block,
    blocks: [usize; 4],
    network: &Network,
    body: &mut Body,
    x: &SymbolicTensor,
) -> Result<SymbolicTensor> {
    let mut x = body.call(x, ZeroPadding2D::new(3).named("conv1_pad"))?;
    x = body.call(&x, Conv2D::new(64, 7).strides(2).use_bias(false).named("conv1"))?;
    x = normalize(body, &x, "bn1")?;
    x = body.call(&x, Activation::new(Relu).named("relu"))?;
    x = body.call(&x, ZeroPadding2D::new(1).named("maxpool_pad"))?;
    x = body.call(&x, MaxPooling2D::new(3).strides(2).named("maxpool"))?;
    for (stage, (blocks, filters)) in (1..).zip(blocks.into_iter().zip([64, 128, 256, 512])) {
        for number in 0..blocks {
            let strides = if number == 0 && stage != 1 { 2 } else { 1 };
            x = residual(block, body, &x, &format!("layer{stage}_{number}"), filters, strides)?;
        }
    }
    if !network.include_top {
        return body.named_pool(network, &x);
    }
    body.end_of_base();
    x = body.call(&x, GlobalAveragePooling2D::new().named("avgpool"))?;
    body.call(&x, Dense::new(network.classes).activation(network.classifier_activation).named("fc"))
}

/// A block, added to its input. Where the shapes differ, a 1x1 convolution of the input takes its place.
fn residual(
    block: Block,
    body: &mut Body,
    input: &SymbolicTensor,
    name: &str,
    filters: usize,
    strides: usize,
) -> Result<SymbolicTensor> {
    let x = block(body, input, name, filters, strides)?;
    let mut shortcut = input.clone();
    if input.shape() != x.shape() {
        let channels = x.shape().last().copied().unwrap_or_default();
        let projection = Conv2D::new(channels, 1).strides(strides).use_bias(false);
        shortcut = body.call(input, projection.named(format!("{name}_downsample_0")))?;
        shortcut = normalize(body, &shortcut, &format!("{name}_downsample_1"))?;
    }
    let sum = body.call([&x, &shortcut], Add::new().named(format!("{name}_add")))?;
    body.call(&sum, Activation::new(Relu).named(format!("{name}_out")))
}

/// Two 3x3 convolutions.
fn basic(body: &mut Body, x: &SymbolicTensor, name: &str, filters: usize, strides: usize) -> Result<SymbolicTensor> {
    let x = conv3x3(body, x, &format!("{name}_conv1"), filters, strides)?;
    let x = normalize(body, &x, &format!("{name}_bn1"))?;
    let x = body.call(&x, Activation::new(Relu).named(format!("{name}_relu1")))?;
    let x = conv3x3(body, &x, &format!("{name}_conv2"), filters, 1)?;
    normalize(body, &x, &format!("{name}_bn2"))
}

/// 1x1, 3x3 and 1x1 convolutions.
fn bottleneck(
    body: &mut Body,
    x: &SymbolicTensor,
    name: &str,
    filters: usize,
    strides: usize,
) -> Result<SymbolicTensor> {
    let x = body.call(x, Conv2D::new(filters, 1).use_bias(false).named(format!("{name}_conv1")))?;
    let x = normalize(body, &x, &format!("{name}_bn1"))?;
    let x = body.call(&x, Activation::new(Relu).named(format!("{name}_relu1")))?;
    let x = conv3x3(body, &x, &format!("{name}_conv2"), filters, strides)?;
    let x = normalize(body, &x, &format!("{name}_bn2"))?;
    let x = body.call(&x, Activation::new(Relu).named(format!("{name}_relu2")))?;
    let x = body.call(&x, Conv2D::new(4 * filters, 1).use_bias(false).named(format!("{name}_conv3")))?;
    normalize(body, &x, &format!("{name}_bn3"))
}

/// A 3x3 convolution with one zero on each side. `Same` pads only the end of an even image if the stride is 2.
fn conv3x3(body: &mut Body, x: &SymbolicTensor, name: &str, filters: usize, strides: usize) -> Result<SymbolicTensor> {
    let conv = Conv2D::new(filters, 3).strides(strides).use_bias(false);
    if strides == 1 {
        return body.call(x, conv.padding(Padding::Same).named(name));
    }
    let padded = body.call(x, ZeroPadding2D::new(1).named(format!("{name}_pad")))?;
    body.call(&padded, conv.named(name))
}

fn normalize(body: &mut Body, x: &SymbolicTensor, name: &str) -> Result<SymbolicTensor> {
    body.call(x, BatchNormalization::new().momentum(0.9).epsilon(1e-5).named(name))
}
