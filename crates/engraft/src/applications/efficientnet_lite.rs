//! The EfficientNet-Lite networks and their preprocessing.

use super::body::Body;
use super::channels::rounded;
use super::efficientnet::{STAGES, Scale, Stage};
use super::imagenet_arguments::ImageSizes;
use super::weights::Pretrained;
use super::{Architecture, Network, Preprocessing, torch_names};
use crate::Result;
use crate::prelude::*;

/// Filters of the first convolution; [`TOP_FILTERS`] are those of the last. Unlike EfficientNet-B, the Lite networks don't scale
/// them, nor the depth of the first and the last stage.
const STEM_FILTERS: usize = 32;
const TOP_FILTERS: usize = 1280;

/// How the networks are scaled, from Lite0 to Lite4.
const SCALES: [Scale; 5] = [
    Scale { width: 1.0, depth: 1.0, dropout: 0.2 },
    Scale { width: 1.0, depth: 1.1, dropout: 0.2 },
    Scale { width: 1.1, depth: 1.2, dropout: 0.3 },
    Scale { width: 1.2, depth: 1.4, dropout: 0.3 },
    Scale { width: 1.4, depth: 1.8, dropout: 0.3 },
];

pub(super) static LITE0: Architecture = Architecture {
    name: "efficientnet-lite0",
    model_name: "efficientnet-lite0",
    sizes: ImageSizes { default: 224, min: 32, also_pretrained: &[] },
    layers: |network, body, x| layers(SCALES[0], network, body, x),
    weights: |network, _| (!network.include_top).then_some(Pretrained::Embedded(engraft_efficientnet_lite0::WEIGHTS)),
    torch_module: Some(|layer| torch_names::efficientnet_lite(&depths(SCALES[0]), layer)),
    parameters: 3_413_024,
    macs: 385_187_552,
    top_1: Some(75.1),
    last_blocks: &["block6d_add", "block5c_add"],
    ..LITE
};

pub(super) static LITE1: Architecture = Architecture {
    name: "efficientnet-lite1",
    model_name: "efficientnet-lite1",
    sizes: ImageSizes { default: 240, min: 32, also_pretrained: &[] },
    layers: |network, body, x| layers(SCALES[1], network, body, x),
    torch_module: Some(|layer| torch_names::efficientnet_lite(&depths(SCALES[1]), layer)),
    parameters: 4_189_344,
    macs: 600_185_232,
    top_1: Some(76.7),
    other_weights: "the state dict of efficientnet_lite1 of efficientnet-lite-pytorch, saved as .safetensors",
    last_blocks: &["block6e_add", "block5d_add"],
    ..LITE
};

pub(super) static LITE2: Architecture = Architecture {
    name: "efficientnet-lite2",
    model_name: "efficientnet-lite2",
    sizes: ImageSizes { default: 260, min: 32, also_pretrained: &[] },
    layers: |network, body, x| layers(SCALES[2], network, body, x),
    torch_module: Some(|layer| torch_names::efficientnet_lite(&depths(SCALES[2]), layer)),
    parameters: 4_869_168,
    macs: 859_736_272,
    top_1: Some(77.6),
    other_weights: "the state dict of efficientnet_lite2 of efficientnet-lite-pytorch, saved as .safetensors",
    last_blocks: &["block6e_add", "block5d_add"],
    ..LITE
};

pub(super) static LITE3: Architecture = Architecture {
    name: "efficientnet-lite3",
    model_name: "efficientnet-lite3",
    sizes: ImageSizes { default: 280, min: 32, also_pretrained: &[] },
    layers: |network, body, x| layers(SCALES[3], network, body, x),
    torch_module: Some(|layer| torch_names::efficientnet_lite(&depths(SCALES[3]), layer)),
    parameters: 6_992_768,
    macs: 1_383_321_872,
    top_1: Some(79.8),
    other_weights: "the state dict of efficientnet_lite3 of efficientnet-lite-pytorch, saved as .safetensors",
    last_blocks: &["block6f_add", "block5e_add"],
    ..LITE
};

pub(super) static LITE4: Architecture = Architecture {
    name: "efficientnet-lite4",
    model_name: "efficientnet-lite4",
    sizes: ImageSizes { default: 300, min: 32, also_pretrained: &[] },
    layers: |network, body, x| layers(SCALES[4], network, body, x),
    torch_module: Some(|layer| torch_names::efficientnet_lite(&depths(SCALES[4]), layer)),
    parameters: 11_837_936,
    macs: 2_553_034_336,
    top_1: Some(81.5),
    other_weights: "the state dict of efficientnet_lite4 of efficientnet-lite-pytorch, saved as .safetensors",
    last_blocks: &["block6h_add", "block5f_add"],
    ..LITE
};

/// What the networks of the family have in common.
const LITE: Architecture = Architecture {
    preprocessing: Preprocessing::EfficientNetLite,
    top_1_source: "https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite",
    last_block: "block7a_expand_conv",
    ..Architecture::DEFAULT
};

/// EfficientNet-Lite0 (Liu 2020, "Higher accuracy on vision models with EfficientNet-Lite"; the stages are those of
/// EfficientNet-B0, Tan and Le 2019, <https://arxiv.org/abs/1905.11946>).
///
/// It differs from EfficientNet-B0 in that it has ReLU6 instead of Swish and no squeeze-and-excitation. Its layers have the names
/// that Keras gives to EfficientNet-B0: `stem_conv`, `block1a_dwconv` to `block7a_project_bn`, `top_conv`, `top_bn` and
/// `top_activation`; with the top, `avg_pool`, `top_dropout` and `predictions`. The layers up to `top_activation` are recorded as
/// the [base](crate::recipe::Base) of every model that contains them. The ImageNet weights expect images preprocessed by
/// [`preprocess_input`].
///
/// The ImageNet weights of the base are part of the program: nothing is downloaded.
///
/// ```
/// use engraft::prelude::*;
/// let base = efficientnet_lite0().include_top(false).pooling(Pooling::Avg).build()?;
/// assert_eq!(base.output_shape(), &[1280]);
/// assert_eq!(base.count_params(), 3_413_024);
/// # Ok::<(), engraft::Error>(())
/// ```
pub fn efficientnet_lite0() -> Network {
    Network::new(&LITE0)
}

/// EfficientNet-Lite1, for images of 240 pixels: an [`efficientnet_lite0`] with 1.1 times as many layers.
///
/// Its weights aren't part of the program: [`weights`](Network::weights) takes a file.
///
/// ```
/// assert_eq!(engraft::applications::efficientnet_lite1().architecture().parameters(), 4_189_344);
/// ```
pub fn efficientnet_lite1() -> Network {
    Network::new(&LITE1)
}

/// EfficientNet-Lite2, for images of 260 pixels: an [`efficientnet_lite0`] with 1.1 times as many channels and 1.2 times as many
/// layers.
///
/// Its weights aren't part of the program: [`weights`](Network::weights) takes a file.
///
/// ```
/// assert_eq!(engraft::applications::efficientnet_lite2().architecture().parameters(), 4_869_168);
/// ```
pub fn efficientnet_lite2() -> Network {
    Network::new(&LITE2)
}

/// EfficientNet-Lite3, for images of 280 pixels: an [`efficientnet_lite0`] with 1.2 times as many channels and 1.4 times as many
/// layers.
///
/// Its weights aren't part of the program: [`weights`](Network::weights) takes a file.
///
/// ```
/// assert_eq!(engraft::applications::efficientnet_lite3().architecture().parameters(), 6_992_768);
/// ```
pub fn efficientnet_lite3() -> Network {
    Network::new(&LITE3)
}

/// EfficientNet-Lite4, for images of 300 pixels: an [`efficientnet_lite0`] with 1.4 times as many channels and 1.8 times as many
/// layers.
///
/// Its weights aren't part of the program: [`weights`](Network::weights) takes a file.
///
/// ```
/// assert_eq!(engraft::applications::efficientnet_lite4().architecture().parameters(), 11_837_936);
/// ```
pub fn efficientnet_lite4() -> Network {
    Network::new(&LITE4)
}

/// The number of blocks of each stage. The depth multiplier doesn't apply to the first and the last one.
fn depths(scale: Scale) -> [usize; STAGES.len()] {
    let mut depths = STAGES.map(|stage| stage.blocks);
    for blocks in &mut depths[1..STAGES.len() - 1] {
        *blocks = (*blocks as f64 * scale.depth).ceil() as usize;
    }
    depths
}

fn layers(scale: Scale, network: &Network, body: &mut Body, x: &SymbolicTensor) -> Result<SymbolicTensor> {
    let conv = Conv2D::new(STEM_FILTERS, 3).strides(2).padding(Padding::Same).use_bias(false);
    let mut x = body.call(x, conv.named("stem_conv"))?;
    x = normalize(body, &x, "stem", "bn", true)?;
    for (number, (stage, blocks)) in (1..).zip(STAGES.iter().zip(depths(scale))) {
        let filters = rounded(stage.filters as f64 * scale.width);
        for (block, letter) in (0..blocks).zip('a'..) {
            let stride = if block == 0 { stage.stride } else { 1 };
            x = inverted_residual(body, &x, &format!("block{number}{letter}"), stage, filters, stride)?;
        }
    }
    x = body.call(&x, Conv2D::new(TOP_FILTERS, 1).padding(Padding::Same).use_bias(false).named("top_conv"))?;
    x = normalize(body, &x, "top", "bn", true)?;
    if !network.include_top {
        return body.pool(network, &x);
    }
    body.end_of_base();
    x = body.call(&x, GlobalAveragePooling2D::new().named("avg_pool"))?;
    x = body.call(&x, Dropout::new(scale.dropout).named("top_dropout"))?;
    body.classifier(network, &x)
}

/// An inverted residual block with a linear bottleneck (Sandler et al. 2018, arXiv 1801.04381): expand, filter, project, add.
fn inverted_residual(
    body: &mut Body,
    input: &SymbolicTensor,
    name: &str,
    stage: &Stage,
    filters: usize,
    stride: usize,
) -> Result<SymbolicTensor> {
    let channels = input.shape().last().copied().unwrap_or(0);
    let mut x = input.clone();
    if stage.expansion != 1 {
        x = body.call(&x, pointwise(channels * stage.expansion).named(format!("{name}_expand_conv")))?;
        x = normalize(body, &x, name, "expand_bn", true)?;
    }
    let filter = DepthwiseConv2D::new(stage.kernel).strides(stride).padding(Padding::Same).use_bias(false);
    x = body.call(&x, filter.named(format!("{name}_dwconv")))?;
    x = normalize(body, &x, name, "bn", true)?;
    x = body.call(&x, pointwise(filters).named(format!("{name}_project_conv")))?;
    x = normalize(body, &x, name, "project_bn", false)?;
    match stride == 1 && channels == filters {
        true => body.call([&x, input], Add::new().named(format!("{name}_add"))),
        false => Ok(x),
    }
}

fn pointwise(filters: usize) -> Conv2D {
    Conv2D::new(filters, 1).padding(Padding::Same).use_bias(false)
}

/// Batch normalization `{name}_{bn}`, followed by ReLU6 if `active`. The ReLU6 has the same name with `activation` for `bn`.
fn normalize(body: &mut Body, x: &SymbolicTensor, name: &str, bn: &str, active: bool) -> Result<SymbolicTensor> {
    let y = body.call(x, BatchNormalization::new().named(format!("{name}_{bn}")))?;
    if !active {
        return Ok(y);
    }
    let relu6 = ReLU::new().max_value(6.0);
    body.call(&y, relu6.named(format!("{name}_{}", bn.replace("bn", "activation"))))
}

/// Adds the preprocessing of EfficientNet-Lite to a model: RGB (0 to 255) becomes `(x - 127) / 128`.
///
/// The preprocessing is one `Rescaling` layer, which is saved with the model. So the saved model takes raw RGB photos, in Keras
/// too.
///
/// ```
/// use engraft::{applications::efficientnet_lite, prelude::*};
/// let photo = Input::new([1, 1, 3]);
/// let model = Model::new(&photo, &efficientnet_lite::preprocess_input(&photo)?)?;
/// let pixel = Tensor::new([1, 1, 1, 3], vec![255.0, 127.0, 0.0])?;
/// assert_eq!(model.predict(&pixel, 1)?.data(), [1.0, 0.0, -127.0 / 128.0]);
/// # Ok::<(), engraft::Error>(())
/// ```
///
/// # Errors
/// The last axis doesn't have 3 channels.
pub fn preprocess_input(x: &SymbolicTensor) -> Result<SymbolicTensor> {
    LITE.preprocessing.call(x)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Weight;

    fn untrained() -> Network {
        efficientnet_lite0().weights("none")
    }

    #[test]
    fn with_its_top_it_has_the_published_size() {
        let model = untrained().build().unwrap();
        // The published 4,652,008 parameters include the classifier's 1,281,000, but not the moving statistics, which
        // `count_params` counts.
        let statistics: usize =
            model.weights().iter().filter(|w| w.name().starts_with("moving_")).map(Weight::count).sum();
        assert_eq!(model.count_params(), 3_413_024 + 1_281_000);
        assert_eq!(model.count_params() - statistics, 4_652_008);
        assert_eq!((model.name(), model.output_shape()), ("efficientnet-lite0", &vec![1000]));
    }

    #[test]
    fn larger_networks_have_the_published_sizes() {
        // Parameters in millions without moving statistics, which the authors published.
        let published = [5.416, 6.092, 8.197, 13.007];
        let networks = [efficientnet_lite1(), efficientnet_lite2(), efficientnet_lite3(), efficientnet_lite4()];
        for (network, published) in networks.into_iter().zip(published) {
            let model = network.weights("none").input_shape([32, 32, 3]).build().unwrap();
            let counted = model.weights().into_iter().filter(|weight| !weight.name().starts_with("moving_"));
            let millions = counted.map(|weight| weight.count()).sum::<usize>() as f64 / 1e6;
            assert!((millions - published).abs() < 1e-3, "{}: {millions}", model.name());
        }
    }

    #[test]
    fn networks_without_weights_in_the_program_ask_for_a_file() {
        let error = efficientnet_lite1().include_top(false).build().unwrap_err().to_string();
        assert!(error.contains("efficientnet-lite1: expected weights `none` or a file, received imagenet"), "{error}");
        let hint = "pass `--weights FILE` with the state dict of efficientnet_lite1 of efficientnet-lite-pytorch, saved as .safetensors";
        assert!(error.contains(hint), "{error}");
    }

    #[test]
    fn layers_have_the_names_of_keras_efficientnet() {
        let model = untrained().include_top(false).build().unwrap();
        let names: Vec<String> = model.layers().iter().map(|layer| layer.name().to_owned()).collect();
        assert_eq!(names[1..6], ["stem_conv", "stem_bn", "stem_activation", "block1a_dwconv", "block1a_bn"]);
        for name in ["block2a_expand_activation", "block4c_add", "block6d_project_bn", "block7a_project_conv"] {
            assert!(names.iter().any(|found| found == name), "{name}");
        }
        // A block adds its input where stride and filters leave the shape as it is.
        assert_eq!(names.iter().filter(|name| name.ends_with("_add")).count(), 9);
        assert_eq!(names.last().unwrap(), "top_activation");
        assert!(model.layers()[1..].iter().all(Layer::in_base));
    }

    #[test]
    fn odd_sizes_are_padded_like_tensorflow() {
        let base = untrained().include_top(false).input_shape([97, 65, 3]).build().unwrap();
        assert_eq!(base.output_shape(), &[4, 3, 1280]);
    }

    #[test]
    fn the_embedded_weights_are_those_of_the_base() {
        let base = efficientnet_lite0().include_top(false).build().unwrap();
        let variance = base.get_layer("top_bn").unwrap().weights()[3].clone();
        assert!(variance.values().iter().all(|value| *value > 0.0 && *value != 1.0));
        let error = efficientnet_lite0().build().unwrap_err().to_string();
        assert!(error.contains("efficientnet-lite0: expected weights `none` or a file with the top"), "{error}");
    }
}
