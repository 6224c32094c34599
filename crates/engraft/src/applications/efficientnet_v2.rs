//! EfficientNetV2, B0 to B3, S, M and L, which contain their preprocessing.

use super::body::Body;
use super::channels::nearest;
use super::imagenet_arguments::ImageSizes;
use super::mbconv::{Block, Version, conv, swish, top};
use super::preprocessing::{DEVIATION, TORCH_MEAN};
use super::weights::keras_file;
use super::{Architecture, Network, Preprocessing};
use crate::Result;
use crate::prelude::*;

/// A stage: blocks of the same filters. Only the first block has the stage's stride; the others have stride 1.
struct Stage {
    /// Whether its blocks are Fused-MBConv; else they are MBConv.
    fused: bool,
    blocks: usize,
    filters: usize,
    /// The first convolution of each block multiplies the channels by this factor.
    expansion: usize,
    stride: usize,
}

const fn fused(blocks: usize, filters: usize, expansion: usize, stride: usize) -> Stage {
    Stage { fused: true, blocks, filters, expansion, stride }
}

const fn mbconv(blocks: usize, filters: usize, expansion: usize, stride: usize) -> Stage {
    Stage { fused: false, blocks, filters, expansion, stride }
}

/// The table of a network. All filters are 3x3.
#[derive(Clone, Copy)]
struct Table {
    stages: &'static [Stage],
    /// Filters of the first convolution.
    stem: usize,
    /// Width and depth multipliers.
    width: f64,
    depth: f64,
    /// Whether photos are normalized by the mean and the deviation of each channel, as in EfficientNet; else to -1 to 1.
    normalized: bool,
}

/// The networks named B are scaled as EfficientNet is.
const B: Table = Table {
    stages: &[
        fused(1, 16, 1, 1),
        fused(2, 32, 4, 2),
        fused(2, 48, 4, 2),
        mbconv(3, 96, 4, 2),
        mbconv(5, 112, 6, 1),
        mbconv(8, 192, 6, 2),
    ],
    stem: 32,
    width: 1.0,
    depth: 1.0,
    normalized: true,
};

/// Table 4 of the paper.
const SMALL: Table = Table {
    stages: &[
        fused(2, 24, 1, 1),
        fused(4, 48, 4, 2),
        fused(4, 64, 4, 2),
        mbconv(6, 128, 4, 2),
        mbconv(9, 160, 6, 1),
        mbconv(15, 256, 6, 2),
    ],
    stem: 24,
    normalized: false,
    ..B
};

const MEDIUM: Table = Table {
    stages: &[
        fused(3, 24, 1, 1),
        fused(5, 48, 4, 2),
        fused(5, 80, 4, 2),
        mbconv(7, 160, 4, 2),
        mbconv(14, 176, 6, 1),
        mbconv(18, 304, 6, 2),
        mbconv(5, 512, 6, 1),
    ],
    ..SMALL
};

const LARGE: Table = Table {
    stages: &[
        fused(4, 32, 1, 1),
        fused(7, 64, 4, 2),
        fused(7, 96, 4, 2),
        mbconv(10, 192, 4, 2),
        mbconv(19, 224, 6, 1),
        mbconv(25, 384, 6, 2),
        mbconv(7, 640, 6, 1),
    ],
    stem: 32,
    ..SMALL
};

pub(super) static B0: Architecture = Architecture {
    name: "efficientnet-v2-b0",
    keras: Some("EfficientNetV2B0"),
    model_name: "efficientnetv2-b0",
    sizes: ImageSizes { default: 224, min: 32, also_pretrained: &[] },
    layers: |network, body, x| layers(Table { width: 1.0, depth: 1.0, ..B }, network, body, x),
    weights: |network, _| {
        let md5 = ["21ecbf6da12460d5c40bb2f29ceb2188", "893217f2bb855e2983157299931e43ff"];
        Some(keras_file(network, "efficientnet_v2", "efficientnetv2-b0", md5))
    },
    parameters: 5_919_312,
    macs: 718_086_176,
    top_1: Some(78.7),
    last_blocks: &["block5e_add", "block4c_add"],
    ..EFFICIENTNET_V2
};

pub(super) static B1: Architecture = Architecture {
    name: "efficientnet-v2-b1",
    keras: Some("EfficientNetV2B1"),
    model_name: "efficientnetv2-b1",
    sizes: ImageSizes { default: 240, min: 32, also_pretrained: &[] },
    layers: |network, body, x| layers(Table { width: 1.0, depth: 1.1, ..B }, network, body, x),
    weights: |network, _| {
        let md5 = ["069f0534ff22adf035c89e2d9547a9dc", "0e80663031ca32d657f9caa404b6ec37"];
        Some(keras_file(network, "efficientnet_v2", "efficientnetv2-b1", md5))
    },
    parameters: 6_931_124,
    macs: 1_196_819_360,
    top_1: Some(79.8),
    last_blocks: &["block5f_add", "block4d_add"],
    ..EFFICIENTNET_V2
};

pub(super) static B2: Architecture = Architecture {
    name: "efficientnet-v2-b2",
    keras: Some("EfficientNetV2B2"),
    model_name: "efficientnetv2-b2",
    sizes: ImageSizes { default: 260, min: 32, also_pretrained: &[] },
    layers: |network, body, x| layers(Table { width: 1.1, depth: 1.2, ..B }, network, body, x),
    weights: |network, _| {
        let md5 = ["424e49f28180edbde1e94797771950a7", "1dfe2e7a5d45b6632553a8961ea609eb"];
        Some(keras_file(network, "efficientnet_v2", "efficientnetv2-b2", md5))
    },
    parameters: 8_769_374,
    macs: 1_697_542_832,
    top_1: Some(80.5),
    last_blocks: &["block5f_add", "block4d_add"],
    ..EFFICIENTNET_V2
};

pub(super) static B3: Architecture = Architecture {
    name: "efficientnet-v2-b3",
    keras: Some("EfficientNetV2B3"),
    model_name: "efficientnetv2-b3",
    sizes: ImageSizes { default: 300, min: 32, also_pretrained: &[] },
    layers: |network, body, x| layers(Table { width: 1.2, depth: 1.4, ..B }, network, body, x),
    weights: |network, _| {
        let md5 = ["1f1fc43bd98a6e4fd8fdfd551e02c7a0", "f6abf7b5849ac99a89b50dd3fd532856"];
        Some(keras_file(network, "efficientnet_v2", "efficientnetv2-b3", md5))
    },
    parameters: 12_930_622,
    macs: 3_011_458_816,
    top_1: Some(82.0),
    last_blocks: &["block5g_add", "block4e_add"],
    ..EFFICIENTNET_V2
};

pub(super) static S: Architecture = Architecture {
    name: "efficientnet-v2-s",
    keras: Some("EfficientNetV2S"),
    model_name: "efficientnetv2-s",
    sizes: ImageSizes { default: 384, min: 32, also_pretrained: &[] },
    layers: |network, body, x| layers(SMALL, network, body, x),
    weights: |network, _| {
        let md5 = ["e1d88a8495beba45748fedd0cecbe016", "af0682fb74e8c54910f2d4393339c070"];
        Some(keras_file(network, "efficientnet_v2", "efficientnetv2-s", md5))
    },
    parameters: 20_331_360,
    macs: 8_365_617_152,
    top_1: Some(83.9),
    last_blocks: &["block5i_add", "block4f_add"],
    ..EFFICIENTNET_V2
};

pub(super) static M: Architecture = Architecture {
    name: "efficientnet-v2-m",
    keras: Some("EfficientNetV2M"),
    model_name: "efficientnetv2-m",
    sizes: ImageSizes { default: 480, min: 32, also_pretrained: &[] },
    layers: |network, body, x| layers(MEDIUM, network, body, x),
    weights: |network, _| {
        let md5 = ["a3bf6aa3276309f4fc6a34aa114c95cd", "1b8dc055df72dde80d614482840fe342"];
        Some(keras_file(network, "efficientnet_v2", "efficientnetv2-m", md5))
    },
    parameters: 53_150_388,
    macs: 24_582_460_384,
    top_1: Some(85.3),
    last_blocks: &["block6r_add", "block5n_add"],
    last_block: "block7a_expand_conv",
    ..EFFICIENTNET_V2
};

pub(super) static L: Architecture = Architecture {
    name: "efficientnet-v2-l",
    keras: Some("EfficientNetV2L"),
    model_name: "efficientnetv2-l",
    sizes: ImageSizes { default: 480, min: 32, also_pretrained: &[] },
    layers: |network, body, x| layers(LARGE, network, body, x),
    weights: |network, _| {
        let md5 = ["27e6d408b53c7ebc868fefa357689935", "b0b66b5c863aef5b46e8608fe1711615"];
        Some(keras_file(network, "efficientnet_v2", "efficientnetv2-l", md5))
    },
    parameters: 117_746_848,
    macs: 56_079_699_008,
    top_1: Some(85.7),
    last_blocks: &["block6y_add", "block5s_add"],
    last_block: "block7a_expand_conv",
    ..EFFICIENTNET_V2
};

/// What the networks of the family have in common.
const EFFICIENTNET_V2: Architecture = Architecture {
    // The networks begin with layers that scale pixels.
    preprocessing: Preprocessing::None,
    arguments: &["include_preprocessing"],
    last_block: "block6a_expand_conv",
    ..Architecture::DEFAULT
};

/// EfficientNetV2-B0 (Tan and Le 2021, <https://arxiv.org/abs/2104.00298>; Keras' `applications.EfficientNetV2B0`), for images of
/// 224 pixels.
///
/// The base ends in `top_activation`. The network takes pixels from 0 to 255 and scales them itself;
/// [`include_preprocessing(false)`](Network::include_preprocessing) leaves this out.
///
/// ```
/// use engraft::prelude::*;
/// let network = engraft::applications::efficientnet_v2_b0().include_top(false).weights("none");
/// let base = network.input_shape([64, 64, 3]).build()?;
/// assert_eq!((base.output_shape(), base.count_params()), (&vec![2, 2, 1280], 5_919_312));
/// # Ok::<(), engraft::Error>(())
/// ```
pub fn efficientnet_v2_b0() -> Network {
    Network::new(&B0)
}

/// EfficientNetV2-B1 (Keras' `applications.EfficientNetV2B1`), for images of 240 pixels: an [`efficientnet_v2_b0`] with 1.1 times
/// as many layers.
///
/// ```
/// use engraft::prelude::*;
/// let network = engraft::applications::efficientnet_v2_b1().include_top(false).weights("none");
/// let base = network.input_shape([64, 64, 3]).build()?;
/// assert_eq!(base.count_params(), 6_931_124);
/// # Ok::<(), engraft::Error>(())
/// ```
pub fn efficientnet_v2_b1() -> Network {
    Network::new(&B1)
}

/// EfficientNetV2-B2 (Keras' `applications.EfficientNetV2B2`), for images of 260 pixels: an [`efficientnet_v2_b0`] with 1.1 times
/// as many channels and 1.2 times as many layers.
///
/// ```
/// use engraft::prelude::*;
/// let network = engraft::applications::efficientnet_v2_b2().include_top(false).weights("none");
/// let base = network.input_shape([64, 64, 3]).build()?;
/// assert_eq!(base.count_params(), 8_769_374);
/// # Ok::<(), engraft::Error>(())
/// ```
pub fn efficientnet_v2_b2() -> Network {
    Network::new(&B2)
}

/// EfficientNetV2-B3 (Keras' `applications.EfficientNetV2B3`), for images of 300 pixels: an [`efficientnet_v2_b0`] with 1.2 times
/// as many channels and 1.4 times as many layers.
///
/// ```
/// assert_eq!(engraft::applications::efficientnet_v2_b3().architecture().parameters(), 12_930_622);
/// ```
pub fn efficientnet_v2_b3() -> Network {
    Network::new(&B3)
}

/// EfficientNetV2-S (Keras' `applications.EfficientNetV2S`), for images of 384 pixels: 40 blocks.
///
/// Without its preprocessing, it takes -1 to 1.
///
/// ```
/// assert_eq!(engraft::applications::efficientnet_v2_s().architecture().parameters(), 20_331_360);
/// ```
pub fn efficientnet_v2_s() -> Network {
    Network::new(&S)
}

/// EfficientNetV2-M (Keras' `applications.EfficientNetV2M`), for images of 480 pixels: 57 blocks.
///
/// Without its preprocessing, it takes -1 to 1.
///
/// ```
/// assert_eq!(engraft::applications::efficientnet_v2_m().architecture().parameters(), 53_150_388);
/// ```
pub fn efficientnet_v2_m() -> Network {
    Network::new(&M)
}

/// EfficientNetV2-L (Keras' `applications.EfficientNetV2L`), for images of 480 pixels: 79 blocks.
///
/// Without its preprocessing, it takes -1 to 1.
///
/// ```
/// assert_eq!(engraft::applications::efficientnet_v2_l().architecture().parameters(), 117_746_848);
/// ```
pub fn efficientnet_v2_l() -> Network {
    Network::new(&L)
}

/// Adds nothing to a model: an EfficientNetV2 takes pixels from 0 to 255 and scales them itself.
///
/// ```
/// use engraft::{applications::efficientnet_v2, prelude::*};
/// let photo = Input::new([64, 64, 3]);
/// assert_eq!(efficientnet_v2::preprocess_input(&photo)?.id(), photo.id());
/// # Ok::<(), engraft::Error>(())
/// ```
///
/// # Errors
/// None.
pub fn preprocess_input(x: &SymbolicTensor) -> Result<SymbolicTensor> {
    EFFICIENTNET_V2.preprocessing.call(x)
}

fn layers(table: Table, network: &Network, body: &mut Body, x: &SymbolicTensor) -> Result<SymbolicTensor> {
    let width = |filters: usize| nearest(filters as f64 * table.width);
    let depth = |blocks: usize| (blocks as f64 * table.depth).ceil() as usize;
    let mut x = x.clone();
    if network.include_preprocessing {
        x = preprocessing(table.normalized, body, &x)?;
    }
    x = body.call(&x, conv(width(table.stem), 3).strides(2).named("stem_conv"))?;
    x = swish(body, &x, "stem", Version::V2)?;
    // As in Keras, the drop rates of scaled networks count the blocks of the table.
    let all: usize = table.stages.iter().map(|stage| stage.blocks).sum();
    let mut before = 0;
    for (number, stage) in (1..).zip(table.stages) {
        for (block, letter) in (0..depth(stage.blocks)).zip('a'..) {
            let block = Block {
                version: Version::V2,
                name: format!("block{number}{letter}"),
                kernel: 3,
                expansion: stage.expansion,
                filters: width(stage.filters),
                stride: if block == 0 { stage.stride } else { 1 },
                drop_rate: 0.2 * before as f64 / all as f64,
            };
            x = if stage.fused { block.fused_mbconv(body, &x)? } else { block.mbconv(body, &x)? };
            before += 1;
        }
    }
    top(Version::V2, width(1280), 0.2, network, body, &x)
}

/// Scales pixels from 0 to 255. Images without three channels can't be normalized by those of photos.
fn preprocessing(normalized: bool, body: &mut Body, x: &SymbolicTensor) -> Result<SymbolicTensor> {
    if !normalized || x.shape().last() != Some(&3) {
        return body.call(x, Rescaling::new(1.0 / 128.0).offset(-1.0));
    }
    let x = body.call(x, Rescaling::new(1.0 / 255.0))?;
    let variance = DEVIATION.map(|deviation| (deviation * deviation) as f32);
    body.call(&x, Normalization::new(TORCH_MEAN, variance))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn untrained() -> Network {
        efficientnet_v2_b0().weights("none")
    }

    #[test]
    fn the_whole_network_has_the_published_size() {
        let model = untrained().build().unwrap();
        assert_eq!((model.name(), model.count_params()), ("efficientnetv2-b0", 7_200_312));
        let base = untrained().include_top(false).input_shape([97, 65, 3]).build().unwrap();
        assert_eq!(base.output_shape(), &[4, 3, 1280]);
        assert_eq!(base.layers().last().unwrap().name(), "top_activation");
        assert!(base.layers()[1..].iter().all(Layer::in_base));
    }

    #[test]
    fn pixels_are_scaled_for_three_channels_in_another_way() {
        let first = |network: Network, channels: usize| -> Vec<&str> {
            let model = network.include_top(false).input_shape([32, 32, channels]).build().unwrap();
            model.layers()[1..3].iter().map(Layer::class_name).collect()
        };
        assert_eq!(first(untrained(), 3), ["Rescaling", "Normalization"]);
        assert_eq!(first(untrained(), 1), ["Rescaling", "Conv2D"]);
        assert_eq!(first(untrained().include_preprocessing(false), 3), ["Conv2D", "BatchNormalization"]);
    }

    #[test]
    fn arguments_that_do_not_fit_are_named() {
        let error = |network: Network| network.build().unwrap_err().to_string();
        let expected = "EfficientNetV2B0: expected include_preprocessing, received dropout";
        assert!(error(untrained().dropout(0.5)).contains(expected));
        assert!(error(efficientnet_v2_s().input_shape([224, 224, 3])).contains("expected [384, 384, 3]"));
    }
}
