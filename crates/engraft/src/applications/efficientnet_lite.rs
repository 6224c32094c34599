//! The EfficientNet-Lite networks and their preprocessing.

use super::body::Body;
use super::weights::Pretrained;
use super::{Architecture, Network, Preprocessing};
use crate::Result;
use crate::prelude::*;

/// A stage: blocks of the same kernel size and filters. Only the first block has the stage's stride; the others have stride 1.
struct Stage {
    kernel: usize,
    blocks: usize,
    filters: usize,
    /// The first 1x1 convolution of each block multiplies the channels by this factor; 1 for no such convolution.
    expansion: usize,
    stride: usize,
}

const fn stage(kernel: usize, blocks: usize, filters: usize, expansion: usize, stride: usize) -> Stage {
    Stage { kernel, blocks, filters, expansion, stride }
}

/// The stages of Lite0, which are those of EfficientNet-B0 (Tan and Le 2019, table 1).
const STAGES: [Stage; 7] = [
    stage(3, 1, 16, 1, 1),
    stage(3, 2, 24, 6, 2),
    stage(5, 2, 40, 6, 2),
    stage(3, 3, 80, 6, 2),
    stage(5, 3, 112, 6, 1),
    stage(5, 4, 192, 6, 2),
    stage(3, 1, 320, 6, 1),
];

/// Filters of the first convolution; [`TOP_FILTERS`] are those of the last. Unlike EfficientNet-B, the Lite networks don't scale
/// them.
const STEM_FILTERS: usize = 32;
const TOP_FILTERS: usize = 1280;

/// How a network of the family is scaled: width and depth multipliers, and the dropout rate before the classifier.
struct Scale {
    width: f64,
    depth: f64,
    dropout: f32,
}

pub(super) static LITE0: Architecture = Architecture {
    name: "efficientnet-lite0",
    model_name: "efficientnet-lite0",
    layers: |network, body, x| layers(&Scale { width: 1.0, depth: 1.0, dropout: 0.2 }, network, body, x),
    weights: |network, _| (!network.include_top).then_some(Pretrained::Embedded(engraft_efficientnet_lite0::WEIGHTS)),
    parameters: 3_413_024,
    macs: 385_187_552,
    top_1: Some(75.1),
    ..LITE
};

/// What the networks of the family have in common.
const LITE: Architecture = Architecture {
    preprocessing: Preprocessing::EfficientNetLite,
    last_blocks: &["block6d_add", "block5c_add"],
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

fn layers(scale: &Scale, network: &Network, body: &mut Body, x: &SymbolicTensor) -> Result<SymbolicTensor> {
    let conv = Conv2D::new(STEM_FILTERS, 3).strides(2).padding(Padding::Same).use_bias(false);
    let mut x = body.call(x, conv.named("stem_conv"))?;
    x = normalize(body, &x, "stem", "bn", true)?;
    for (number, stage) in (1..).zip(&STAGES) {
        // The depth multiplier doesn't apply to the first and the last stage.
        let scaled = (number != 1 && number != STAGES.len()).then_some(scale.depth);
        let blocks = (stage.blocks as f64 * scaled.unwrap_or(1.0)).ceil() as usize;
        let filters = round_filters(stage.filters, scale.width);
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

/// Scaled filters, rounded to a multiple of 8 that is at least nine tenths of the exact number (Keras' `round_filters`).
fn round_filters(filters: usize, width: f64) -> usize {
    let exact = filters as f64 * width;
    let rounded = (((exact + 4.0) / 8.0).floor() * 8.0).max(8.0);
    (if rounded < 0.9 * exact { rounded + 8.0 } else { rounded }) as usize
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

    #[test]
    fn filters_are_rounded_as_keras_does() {
        // Keras' round_filters of EfficientNet-B2 and B4.
        assert_eq!([16, 24, 40, 80, 112, 192, 320].map(|f| round_filters(f, 1.1)), [16, 24, 48, 88, 120, 208, 352]);
        assert_eq!([16, 24, 40, 80, 112, 192, 320].map(|f| round_filters(f, 1.4)), [24, 32, 56, 112, 160, 272, 448]);
    }
}
