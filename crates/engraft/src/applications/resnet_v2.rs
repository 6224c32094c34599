//! The ResNets of Keras with preactivated blocks (V2), and their preprocessing.

use super::body::Body;
use super::resnet::{RESNET, conv1, normalize_relu, pool1, weights};
use super::{Architecture, Network, Preprocessing};
use crate::Result;
use crate::prelude::*;

pub(super) static RESNET50_V2: Architecture = Architecture {
    name: "resnet50-v2",
    keras: Some("ResNet50V2"),
    model_name: "resnet50v2",
    layers: |network, body, x| layers([3, 4, 6, 3], network, body, x),
    weights: |network, _| {
        Some(weights(network, ["3ef43a0b657b3be2300d5770ece849e0", "fac2f116257151a9d068a22e544a4917"]))
    },
    parameters: 23_564_800,
    macs: 3_482_255_360,
    top_1: Some(76.0),
    ..RESNET_V2
};

pub(super) static RESNET101_V2: Architecture = Architecture {
    name: "resnet101-v2",
    keras: Some("ResNet101V2"),
    model_name: "resnet101v2",
    layers: |network, body, x| layers([3, 4, 23, 3], network, body, x),
    weights: |network, _| {
        Some(weights(network, ["6343647c601c52e1368623803854d971", "c0ed64b8031c3730f411d2eb4eea35b5"]))
    },
    parameters: 42_626_560,
    macs: 7_194_476_544,
    top_1: Some(77.2),
    ..RESNET_V2
};

pub(super) static RESNET152_V2: Architecture = Architecture {
    name: "resnet152-v2",
    keras: Some("ResNet152V2"),
    model_name: "resnet152v2",
    layers: |network, body, x| layers([3, 8, 36, 3], network, body, x),
    weights: |network, _| {
        Some(weights(network, ["a49b44d1979771252814e80f8ec446f9", "ed17cf2e0169df9d443503ef94b23b33"]))
    },
    parameters: 58_331_648,
    macs: 10_906_697_728,
    top_1: Some(78.0),
    ..RESNET_V2
};

/// What the networks of the family have in common.
const RESNET_V2: Architecture = Architecture {
    preprocessing: Preprocessing::Tf,
    // A stage ends in a sum that isn't activated. The next block begins with its normalization and activation.
    last_blocks: &["conv5_block1_preact_relu", "conv4_block1_preact_relu"],
    last_block: "conv5_block1_preact_bn",
    ..RESNET
};

/// ResNet50V2 (He et al. 2016, "Identity mappings in deep residual networks", <https://arxiv.org/abs/1603.05027>; Keras'
/// `applications.ResNet50V2`): a [`resnet50`](super::resnet50()) whose blocks normalize and activate before each convolution.
///
/// The base ends in `post_relu`, after the last normalization `post_bn`. A stage halves the image in its last block, and the last
/// stage doesn't. The ImageNet weights expect images preprocessed by [`preprocess_input`].
///
/// ```
/// assert_eq!(engraft::applications::resnet50_v2().architecture().parameters(), 23_564_800);
/// ```
pub fn resnet50_v2() -> Network {
    Network::new(&RESNET50_V2)
}

/// ResNet101V2 (Keras' `applications.ResNet101V2`): a [`resnet50_v2`] with 23 blocks in its third stage.
///
/// ```
/// assert_eq!(engraft::applications::resnet101_v2().architecture().parameters(), 42_626_560);
/// ```
pub fn resnet101_v2() -> Network {
    Network::new(&RESNET101_V2)
}

/// ResNet152V2 (Keras' `applications.ResNet152V2`): a [`resnet50_v2`] with 8 and 36 blocks in its second and third stage.
///
/// ```
/// assert_eq!(engraft::applications::resnet152_v2().architecture().parameters(), 58_331_648);
/// ```
pub fn resnet152_v2() -> Network {
    Network::new(&RESNET152_V2)
}

/// Adds the preprocessing of the ResNets V2 to a model: RGB (0 to 255) becomes `x / 127.5 - 1`.
///
/// ```
/// use engraft::{applications::resnet_v2, prelude::*};
/// let photo = Input::new([1, 1, 3]);
/// let model = Model::new(&photo, &resnet_v2::preprocess_input(&photo)?)?;
/// let pixel = Tensor::new([1, 1, 1, 3], vec![0.0, 127.5, 255.0])?;
/// assert_eq!(model.predict(&pixel, 1)?.data(), [-1.0, 0.0, 1.0]);
/// # Ok::<(), engraft::Error>(())
/// ```
///
/// # Errors
/// None: it takes any number of channels.
pub fn preprocess_input(x: &SymbolicTensor) -> Result<SymbolicTensor> {
    RESNET_V2.preprocessing.call(x)
}

/// The network with this number of blocks in each stage.
fn layers(blocks: [usize; 4], network: &Network, body: &mut Body, x: &SymbolicTensor) -> Result<SymbolicTensor> {
    let mut x = conv1(body, x)?;
    x = pool1(body, &x)?;
    for (stage, (blocks, filters)) in (2..).zip(blocks.into_iter().zip([64, 128, 256, 512])) {
        for block in 1..=blocks {
            let strides = if block == blocks && stage != 5 { 2 } else { 1 };
            x = bottleneck(body, &x, &format!("conv{stage}_block{block}"), filters, block == 1, strides)?;
        }
    }
    x = normalize_relu(body, &x, "post")?;
    if network.include_top { body.pooled_top(network, &x) } else { body.named_pool(network, &x) }
}

/// A preactivated bottleneck block: normalization and ReLU, then 1x1, 3x3 and 1x1 convolutions, added to the input or, with
/// `project`, to a 1x1 convolution of the activated input.
fn bottleneck(
    body: &mut Body,
    input: &SymbolicTensor,
    name: &str,
    filters: usize,
    project: bool,
    strides: usize,
) -> Result<SymbolicTensor> {
    let active = normalize_relu(body, input, &format!("{name}_preact"))?;
    let mut shortcut = input.clone();
    if project {
        shortcut = body.call(&active, Conv2D::new(4 * filters, 1).strides(strides).named(format!("{name}_0_conv")))?;
    } else if strides > 1 {
        shortcut = body.call(input, MaxPooling2D::new(1).strides(strides))?;
    }
    let mut x = body.call(&active, Conv2D::new(filters, 1).use_bias(false).named(format!("{name}_1_conv")))?;
    x = normalize_relu(body, &x, &format!("{name}_1"))?;
    x = body.call(&x, ZeroPadding2D::new(1).named(format!("{name}_2_pad")))?;
    let conv = Conv2D::new(filters, 3).strides(strides).use_bias(false);
    x = body.call(&x, conv.named(format!("{name}_2_conv")))?;
    x = normalize_relu(body, &x, &format!("{name}_2"))?;
    x = body.call(&x, Conv2D::new(4 * filters, 1).named(format!("{name}_3_conv")))?;
    body.call([&shortcut, &x], Add::new().named(format!("{name}_out")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn untrained() -> Network {
        resnet50_v2().weights("none")
    }

    #[test]
    fn with_its_top_it_has_the_published_size() {
        let model = untrained().input_shape([32, 32, 3]).build().unwrap();
        assert_eq!((model.name(), model.count_params()), ("resnet50v2", 25_613_800));
    }

    #[test]
    fn stages_halve_odd_sizes_in_their_last_block() {
        let base = untrained().include_top(false).input_shape([97, 65, 3]).build().unwrap();
        let shape = |layer: &str| base.get_layer(layer).unwrap().output_shape().unwrap().clone();
        assert_eq!((shape("conv3_block3_out"), shape("conv3_block4_out")), (vec![13, 9, 512], vec![7, 5, 512]));
        assert_eq!(base.output_shape(), &[4, 3, 2048]);
        assert_eq!(base.layers().last().unwrap().name(), "post_relu");
    }

    #[test]
    fn arguments_of_other_networks_are_refused_by_name() {
        let error = untrained().dropout(0.5).build().unwrap_err().to_string();
        assert!(error.contains("ResNet50V2: expected no arguments of other networks, received dropout"), "{error}");
    }
}
