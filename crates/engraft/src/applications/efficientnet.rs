//! EfficientNet, B0 to B7, which contain their preprocessing.

use super::body::Body;
use super::channels::rounded;
use super::correct_pad::correct_pad;
use super::imagenet_arguments::ImageSizes;
use super::mbconv::{Block, Version, conv, swish, top};
use super::preprocessing::DEVIATION;
use super::weights::{Pretrained, file_of};
use super::{Architecture, Network, Preprocessing, Weights, torch_names};
use crate::Result;
use crate::prelude::*;

/// A stage: blocks of the same kernel size and filters. Only the first block has the stage's stride; the others have stride 1.
pub(super) struct Stage {
    pub(super) kernel: usize,
    pub(super) blocks: usize,
    pub(super) filters: usize,
    /// The first 1x1 convolution of each block multiplies the channels by this factor; 1 for no such convolution.
    pub(super) expansion: usize,
    pub(super) stride: usize,
}

const fn stage(kernel: usize, blocks: usize, filters: usize, expansion: usize, stride: usize) -> Stage {
    Stage { kernel, blocks, filters, expansion, stride }
}

/// The stages of EfficientNet-B0 (Tan and Le 2019, table 1).
pub(super) const STAGES: [Stage; 7] = [
    stage(3, 1, 16, 1, 1),
    stage(3, 2, 24, 6, 2),
    stage(5, 2, 40, 6, 2),
    stage(3, 3, 80, 6, 2),
    stage(5, 3, 112, 6, 1),
    stage(5, 4, 192, 6, 2),
    stage(3, 1, 320, 6, 1),
];

/// How a network of the family is scaled: width and depth multipliers, and the dropout rate before the classifier.
#[derive(Clone, Copy)]
pub(super) struct Scale {
    pub(super) width: f64,
    pub(super) depth: f64,
    pub(super) dropout: f32,
}

pub(super) static B0: Architecture = Architecture {
    name: "efficientnet-b0",
    keras: Some("EfficientNetB0"),
    model_name: "efficientnetb0",
    sizes: ImageSizes { default: 224, min: 32, also_pretrained: &[] },
    layers: |network, body, x| layers(Scale { width: 1.0, depth: 1.0, dropout: 0.2 }, network, body, x),
    weights: |network, _| {
        Some(weights(network, ["902e53a9f72be733fc0bcb005b3ebbac", "50bc09e76180e00e4465e1a485ddc09d"]))
    },
    parameters: 4_049_571,
    macs: 385_814_752,
    top_1: Some(77.1),
    last_blocks: &["block6d_add", "block5c_add"],
    ..EFFICIENTNET
};

pub(super) static B1: Architecture = Architecture {
    name: "efficientnet-b1",
    keras: Some("EfficientNetB1"),
    model_name: "efficientnetb1",
    sizes: ImageSizes { default: 240, min: 32, also_pretrained: &[] },
    layers: |network, body, x| layers(Scale { width: 1.0, depth: 1.1, dropout: 0.2 }, network, body, x),
    weights: |network, _| {
        Some(weights(network, ["1d254153d4ab51201f1646940f018540", "74c4e6b3e1f6a1eea24c589628592432"]))
    },
    parameters: 6_575_239,
    macs: 686_802_832,
    top_1: Some(79.1),
    last_blocks: &["block6e_add", "block5d_add"],
    ..EFFICIENTNET
};

pub(super) static B2: Architecture = Architecture {
    name: "efficientnet-b2",
    keras: Some("EfficientNetB2"),
    model_name: "efficientnetb2",
    sizes: ImageSizes { default: 260, min: 32, also_pretrained: &[] },
    layers: |network, body, x| layers(Scale { width: 1.1, depth: 1.2, dropout: 0.3 }, network, body, x),
    weights: |network, _| {
        Some(weights(network, ["b15cce36ff4dcbd00b6dd88e7857a6ad", "111f8e2ac8aa800a7a99e3239f7bfb39"]))
    },
    parameters: 7_768_569,
    macs: 993_561_872,
    top_1: Some(80.1),
    last_blocks: &["block6e_add", "block5d_add"],
    ..EFFICIENTNET
};

pub(super) static B3: Architecture = Architecture {
    name: "efficientnet-b3",
    keras: Some("EfficientNetB3"),
    model_name: "efficientnetb3",
    sizes: ImageSizes { default: 300, min: 32, also_pretrained: &[] },
    layers: |network, body, x| layers(Scale { width: 1.2, depth: 1.4, dropout: 0.3 }, network, body, x),
    weights: |network, _| {
        Some(weights(network, ["ffd1fdc53d0ce67064dc6a9c7960ede0", "af6d107764bb5b1abb91932881670226"]))
    },
    parameters: 10_783_535,
    macs: 1_827_141_392,
    top_1: Some(81.6),
    last_blocks: &["block6f_add", "block5e_add"],
    ..EFFICIENTNET
};

pub(super) static B4: Architecture = Architecture {
    name: "efficientnet-b4",
    keras: Some("EfficientNetB4"),
    model_name: "efficientnetb4",
    sizes: ImageSizes { default: 380, min: 32, also_pretrained: &[] },
    layers: |network, body, x| layers(Scale { width: 1.4, depth: 1.8, dropout: 0.4 }, network, body, x),
    weights: |network, _| {
        Some(weights(network, ["18c95ad55216b8f92d7e70b3a046e2fc", "ebc24e6d6c33eaebbd558eafbeedf1ba"]))
    },
    parameters: 17_673_823,
    macs: 4_393_771_024,
    top_1: Some(82.9),
    last_blocks: &["block6h_add", "block5f_add"],
    ..EFFICIENTNET
};

pub(super) static B5: Architecture = Architecture {
    name: "efficientnet-b5",
    keras: Some("EfficientNetB5"),
    model_name: "efficientnetb5",
    sizes: ImageSizes { default: 456, min: 32, also_pretrained: &[] },
    layers: |network, body, x| layers(Scale { width: 1.6, depth: 2.2, dropout: 0.4 }, network, body, x),
    weights: |network, _| {
        Some(weights(network, ["ace28f2a6363774853a83a0b21b9421a", "38879255a25d3c92d5e44e04ae6cec6f"]))
    },
    parameters: 28_513_527,
    macs: 10_266_384_752,
    top_1: Some(83.6),
    last_blocks: &["block6i_add", "block5g_add"],
    ..EFFICIENTNET
};

pub(super) static B6: Architecture = Architecture {
    name: "efficientnet-b6",
    keras: Some("EfficientNetB6"),
    model_name: "efficientnetb6",
    sizes: ImageSizes { default: 528, min: 32, also_pretrained: &[] },
    layers: |network, body, x| layers(Scale { width: 1.8, depth: 2.6, dropout: 0.5 }, network, body, x),
    weights: |network, _| {
        Some(weights(network, ["165f6e37dce68623721b423839de8be5", "9ecce42647a20130c1f39a5d4cb75743"]))
    },
    parameters: 40_960_143,
    macs: 19_067_593_536,
    top_1: Some(84.0),
    last_blocks: &["block6k_add", "block5h_add"],
    ..EFFICIENTNET
};

pub(super) static B7: Architecture = Architecture {
    name: "efficientnet-b7",
    keras: Some("EfficientNetB7"),
    model_name: "efficientnetb7",
    sizes: ImageSizes { default: 600, min: 32, also_pretrained: &[] },
    layers: |network, body, x| layers(Scale { width: 2.0, depth: 3.1, dropout: 0.5 }, network, body, x),
    weights: |network, _| {
        Some(weights(network, ["8c03f828fec3ef71311cd463b6759d99", "cbcfe4450ddf6f3ad90b1b398090fe4a"]))
    },
    parameters: 64_097_687,
    macs: 37_745_884_192,
    top_1: Some(84.3),
    last_blocks: &["block6m_add", "block5j_add"],
    ..EFFICIENTNET
};

/// What the networks of the family have in common.
const EFFICIENTNET: Architecture = Architecture {
    // The networks begin with layers that scale pixels.
    preprocessing: Preprocessing::None,
    torch_module: Some(torch_names::efficientnet),
    last_block: "block7a_expand_conv",
    ..Architecture::DEFAULT
};

/// EfficientNet-B0 (Tan and Le 2019, <https://arxiv.org/abs/1905.11946>; Keras' `applications.EfficientNetB0`), for images of 224
/// pixels.
///
/// The base ends in `top_activation`. The network takes pixels from 0 to 255: its first layers are `Rescaling` and `Normalization`.
/// With [`Weights::Imagenet`], a second `Rescaling` follows, as in Keras. A file of the user's is loaded into the network without
/// it.
///
/// ```
/// use engraft::prelude::*;
/// let network = engraft::applications::efficientnet_b0().include_top(false).weights("none");
/// let base = network.input_shape([64, 64, 3]).build()?;
/// assert_eq!((base.output_shape(), base.count_params()), (&vec![2, 2, 1280], 4_049_571));
/// # Ok::<(), engraft::Error>(())
/// ```
pub fn efficientnet_b0() -> Network {
    Network::new(&B0)
}

/// EfficientNet-B1 (Keras' `applications.EfficientNetB1`), for images of 240 pixels: an [`efficientnet_b0`] with 1.1 times as
/// many layers.
///
/// ```
/// use engraft::prelude::*;
/// let network = engraft::applications::efficientnet_b1().include_top(false).weights("none");
/// let base = network.input_shape([64, 64, 3]).build()?;
/// assert_eq!(base.count_params(), 6_575_239);
/// # Ok::<(), engraft::Error>(())
/// ```
pub fn efficientnet_b1() -> Network {
    Network::new(&B1)
}

/// EfficientNet-B2 (Keras' `applications.EfficientNetB2`), for images of 260 pixels: an [`efficientnet_b0`] with 1.1 times as
/// many channels and 1.2 times as many layers.
///
/// ```
/// use engraft::prelude::*;
/// let network = engraft::applications::efficientnet_b2().include_top(false).weights("none");
/// let base = network.input_shape([64, 64, 3]).build()?;
/// assert_eq!(base.count_params(), 7_768_569);
/// # Ok::<(), engraft::Error>(())
/// ```
pub fn efficientnet_b2() -> Network {
    Network::new(&B2)
}

/// EfficientNet-B3 (Keras' `applications.EfficientNetB3`), for images of 300 pixels: an [`efficientnet_b0`] with 1.2 times as
/// many channels and 1.4 times as many layers.
///
/// ```
/// assert_eq!(engraft::applications::efficientnet_b3().architecture().parameters(), 10_783_535);
/// ```
pub fn efficientnet_b3() -> Network {
    Network::new(&B3)
}

/// EfficientNet-B4 (Keras' `applications.EfficientNetB4`), for images of 380 pixels: an [`efficientnet_b0`] with 1.4 times as
/// many channels and 1.8 times as many layers.
///
/// ```
/// assert_eq!(engraft::applications::efficientnet_b4().architecture().parameters(), 17_673_823);
/// ```
pub fn efficientnet_b4() -> Network {
    Network::new(&B4)
}

/// EfficientNet-B5 (Keras' `applications.EfficientNetB5`), for images of 456 pixels: an [`efficientnet_b0`] with 1.6 times as
/// many channels and 2.2 times as many layers.
///
/// ```
/// assert_eq!(engraft::applications::efficientnet_b5().architecture().parameters(), 28_513_527);
/// ```
pub fn efficientnet_b5() -> Network {
    Network::new(&B5)
}

/// EfficientNet-B6 (Keras' `applications.EfficientNetB6`), for images of 528 pixels: an [`efficientnet_b0`] with 1.8 times as
/// many channels and 2.6 times as many layers.
///
/// ```
/// assert_eq!(engraft::applications::efficientnet_b6().architecture().parameters(), 40_960_143);
/// ```
pub fn efficientnet_b6() -> Network {
    Network::new(&B6)
}

/// EfficientNet-B7 (Keras' `applications.EfficientNetB7`), for images of 600 pixels: an [`efficientnet_b0`] with twice as many
/// channels and 3.1 times as many layers.
///
/// ```
/// assert_eq!(engraft::applications::efficientnet_b7().architecture().parameters(), 64_097_687);
/// ```
pub fn efficientnet_b7() -> Network {
    Network::new(&B7)
}

/// Adds nothing to a model: an EfficientNet takes pixels from 0 to 255 and scales them itself.
///
/// ```
/// use engraft::{applications::efficientnet, prelude::*};
/// let photo = Input::new([64, 64, 3]);
/// assert_eq!(efficientnet::preprocess_input(&photo)?.id(), photo.id());
/// # Ok::<(), engraft::Error>(())
/// ```
///
/// # Errors
/// None.
pub fn preprocess_input(x: &SymbolicTensor) -> Result<SymbolicTensor> {
    EFFICIENTNET.preprocessing.call(x)
}

fn weights(network: &Network, md5: [&'static str; 2]) -> Pretrained {
    let [with_top, without_top] = md5;
    let (end, md5) = if network.include_top { ("", with_top) } else { ("_notop", without_top) };
    let name = format!("{}{end}.h5", network.architecture().model_name);
    file_of("https://storage.googleapis.com/keras-applications", name, md5)
}

fn layers(scale: Scale, network: &Network, body: &mut Body, x: &SymbolicTensor) -> Result<SymbolicTensor> {
    let width = |filters: usize| rounded(filters as f64 * scale.width);
    let depth = |blocks: usize| (blocks as f64 * scale.depth).ceil() as usize;
    let mut x = stem(width(32), network, body, x)?;
    let all: usize = STAGES.iter().map(|stage| depth(stage.blocks)).sum();
    let mut before = 0;
    for (number, stage) in (1..).zip(&STAGES) {
        for (block, letter) in (0..depth(stage.blocks)).zip('a'..) {
            let block = Block {
                version: Version::V1,
                name: format!("block{number}{letter}"),
                kernel: stage.kernel,
                expansion: stage.expansion,
                filters: width(stage.filters),
                stride: if block == 0 { stage.stride } else { 1 },
                drop_rate: 0.2 * before as f64 / all as f64,
            };
            x = block.mbconv(body, &x)?;
            before += 1;
        }
    }
    top(Version::V1, width(1280), scale.dropout, network, body, &x)
}

/// The preprocessing and the first convolution.
fn stem(filters: usize, network: &Network, body: &mut Body, x: &SymbolicTensor) -> Result<SymbolicTensor> {
    let mut x = body.call(x, Rescaling::new(1.0 / 255.0))?;
    x = body.call(&x, Normalization::adapted())?;
    if network.weights == Weights::Imagenet {
        // The published `Normalization` holds the deviation where its variance belongs and so divides by the root of the deviation.
        // This layer divides by the root once more (tensorflow/tensorflow#49930).
        x = body.call(&x, Rescaling::new(DEVIATION.map(|deviation| (1.0 / deviation.sqrt()) as f32)))?;
    }
    x = body.call(&x, correct_pad(&x, 3).named("stem_conv_pad"))?;
    x = body.call(&x, conv(filters, 3).strides(2).padding(Padding::Valid).named("stem_conv"))?;
    swish(body, &x, "stem", Version::V1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn untrained() -> Network {
        efficientnet_b0().weights("none")
    }

    #[test]
    fn the_whole_network_has_the_published_size() {
        let model = untrained().build().unwrap();
        assert_eq!((model.name(), model.count_params()), ("efficientnetb0", 5_330_571));
        let base = untrained().include_top(false).input_shape([97, 65, 3]).build().unwrap();
        assert_eq!(base.output_shape(), &[4, 3, 1280]);
        assert_eq!(base.layers().last().unwrap().name(), "top_activation");
        assert!(base.layers()[1..].iter().all(Layer::in_base));
    }

    #[test]
    fn samples_skip_later_blocks_more_often() {
        let base = untrained().include_top(false).input_shape([32, 32, 3]).build().unwrap();
        let rate = |name: &str| base.get_layer(name).unwrap().def().config()["rate"].as_f64().unwrap();
        // Keras: 0.2 * 2 / 16 and 0.2 * 14 / 16.
        assert!((rate("block2b_drop") - 0.025).abs() < 1e-7 && (rate("block6d_drop") - 0.175).abs() < 1e-7);
    }

    #[test]
    fn arguments_that_do_not_fit_are_named() {
        let error = |network: Network| network.build().unwrap_err().to_string();
        assert!(error(untrained().alpha(0.5)).contains("EfficientNetB0: expected no arguments of other networks"));
        assert!(error(untrained().input_shape([31, 64, 3])).contains("at least 32 by 32 pixels"));
        assert!(error(efficientnet_b3().input_shape([224, 224, 3])).contains("expected [300, 300, 3]"));
    }
}
