//! MobileNetV2 and its preprocessing.

use super::body::Body;
use super::channels::rounded;
use super::correct_pad::correct_pad;
use super::imagenet_arguments::{ImageSizes, check_alpha};
use super::weights::{KERAS_SERVER, Pretrained, file_of};
use super::{Architecture, Network, Preprocessing};
use crate::Result;
use crate::prelude::*;

/// A stage: inverted residuals of the same filters. Only the first one has the stage's stride; the others have stride 1.
struct Stage {
    /// The first convolution of each block multiplies the channels by this factor; 1 for no such convolution.
    expansion: usize,
    filters: usize,
    blocks: usize,
    stride: usize,
}

const fn stage(expansion: usize, filters: usize, blocks: usize, stride: usize) -> Stage {
    Stage { expansion, filters, blocks, stride }
}

/// Table 2 of the paper.
const STAGES: [Stage; 7] = [
    stage(1, 16, 1, 1),
    stage(6, 24, 2, 2),
    stage(6, 32, 3, 2),
    stage(6, 64, 4, 2),
    stage(6, 96, 3, 1),
    stage(6, 160, 3, 2),
    stage(6, 320, 1, 1),
];

/// Width multipliers with ImageNet weights.
const PRETRAINED_ALPHAS: [f64; 6] = [0.35, 0.5, 0.75, 1.0, 1.3, 1.4];

pub(super) static MOBILENET_V2: Architecture = Architecture {
    name: "mobilenet-v2",
    keras: Some("MobileNetV2"),
    model_name: "mobilenetv2_{alpha}_{rows}",
    sizes: ImageSizes { default: 224, min: 32, also_pretrained: &[96, 128, 160, 192] },
    preprocessing: Preprocessing::Tf,
    arguments: &["alpha"],
    layers,
    weights,
    parameters: 2_257_984,
    macs: 300_774_272,
    top_1: Some(71.3),
    last_blocks: &["block_15_add", "block_12_add"],
    last_block: "block_16_expand",
    ..Architecture::DEFAULT
};

/// MobileNetV2 (Sandler et al. 2018, <https://arxiv.org/abs/1801.04381>; Keras' `applications.MobileNetV2`): inverted residuals
/// with linear bottlenecks.
///
/// The base ends in `out_relu`. [`alpha`](Network::alpha) scales the filters of every layer but, below 1, those of the last
/// convolution. There are ImageNet weights for the width multipliers 0.35, 0.5, 0.75, 1, 1.3 and 1.4, each for square images of 96,
/// 128, 160, 192 and 224 pixels. The weights expect images preprocessed by [`preprocess_input`].
///
/// ```
/// use engraft::{applications::mobilenet_v2, prelude::*};
/// let network = mobilenet_v2().alpha(0.35).include_top(false).weights("none").input_shape([96, 96, 3]);
/// let base = network.build()?;
/// assert_eq!((base.name(), base.output_shape()), ("mobilenetv2_0.35_96", &vec![3, 3, 1280]));
/// assert_eq!(base.count_params(), 410_208);
/// # Ok::<(), engraft::Error>(())
/// ```
pub fn mobilenet_v2() -> Network {
    Network::new(&MOBILENET_V2)
}

/// Adds the preprocessing of MobileNetV2 to a model: pixels from 0 to 255 become -1 to 1.
///
/// ```
/// use engraft::{applications::mobilenet_v2, prelude::*};
/// let photo = Input::new([1, 1, 3]);
/// let model = Model::new(&photo, &mobilenet_v2::preprocess_input(&photo)?)?;
/// let pixel = Tensor::new([1, 1, 1, 3], vec![0.0, 127.5, 255.0])?;
/// assert_eq!(model.predict(&pixel, 1)?.data(), [-1.0, 0.0, 1.0]);
/// # Ok::<(), engraft::Error>(())
/// ```
///
/// # Errors
/// None for images.
pub fn preprocess_input(x: &SymbolicTensor) -> Result<SymbolicTensor> {
    MOBILENET_V2.preprocessing.call(x)
}

/// SHA-256 of the weights for images of 224 pixels without the top, as Keras publishes no hash of the files.
const FINGERPRINT: &str = "c009b1f1262c1f55420ed4f95d0f338acb97548930c6f6c8f3383b79544088a8";

fn weights(network: &Network, shape: &[usize]) -> Option<Pretrained> {
    if !PRETRAINED_ALPHAS.contains(&network.alpha) {
        return None;
    }
    let (alpha, size) = (network.alpha, MOBILENET_V2.sizes.pretrained(shape));
    let end = if network.include_top { "" } else { "_no_top" };
    let name = format!("mobilenet_v2_weights_tf_dim_ordering_tf_kernels_{alpha:?}_{size}{end}.h5");
    let file = file_of(&format!("{KERAS_SERVER}/mobilenet_v2"), name, "");
    let is_known = (alpha, size, network.include_top) == (1.0, 224, false);
    Some(if is_known { file.fingerprint(FINGERPRINT) } else { file })
}

fn layers(network: &Network, body: &mut Body, x: &SymbolicTensor) -> Result<SymbolicTensor> {
    check_alpha(network, &PRETRAINED_ALPHAS)?;
    let alpha = network.alpha;
    let stem = Conv2D::new(rounded(32.0 * alpha), 3).strides(2).padding(Padding::Same).use_bias(false);
    let mut x = body.call(x, stem.named("Conv1"))?;
    x = body.call(&x, normalization().named("bn_Conv1"))?;
    x = body.call(&x, relu6().named("Conv1_relu"))?;
    let mut block = 0;
    for stage in &STAGES {
        let filters = rounded((stage.filters as f64 * alpha).floor());
        for first in (0..stage.blocks).map(|i| i == 0) {
            let stride = if first { stage.stride } else { 1 };
            x = inverted_residual(body, &x, block, stage.expansion, filters, stride)?;
            block += 1;
        }
    }
    // Below a width of 1, the last convolution keeps its filters, as the paper says.
    x = body.call(&x, Conv2D::new(rounded(1280.0 * alpha.max(1.0)), 1).use_bias(false).named("Conv_1"))?;
    x = body.call(&x, normalization().named("Conv_1_bn"))?;
    x = body.call(&x, relu6().named("out_relu"))?;
    if !network.include_top {
        return body.pool(network, &x);
    }
    body.end_of_base();
    x = body.call(&x, GlobalAveragePooling2D::new())?;
    body.classifier(network, &x)
}

/// An inverted residual: expand, filter, project to a linear bottleneck, and add the input where the shapes agree.
fn inverted_residual(
    body: &mut Body,
    input: &SymbolicTensor,
    block: usize,
    expansion: usize,
    filters: usize,
    stride: usize,
) -> Result<SymbolicTensor> {
    let name = if block == 0 { "expanded_conv".into() } else { format!("block_{block}") };
    let channels = input.shape().last().copied().unwrap_or(0);
    let mut x = input.clone();
    if expansion != 1 {
        x = body.call(&x, pointwise(expansion * channels).named(format!("{name}_expand")))?;
        x = body.call(&x, normalization().named(format!("{name}_expand_BN")))?;
        x = body.call(&x, relu6().named(format!("{name}_expand_relu")))?;
    }
    let mut filter = DepthwiseConv2D::new(3).strides(stride).use_bias(false);
    if stride == 1 {
        filter = filter.padding(Padding::Same);
    } else {
        x = body.call(&x, correct_pad(&x, 3).named(format!("{name}_pad")))?;
    }
    x = body.call(&x, filter.named(format!("{name}_depthwise")))?;
    x = body.call(&x, normalization().named(format!("{name}_depthwise_BN")))?;
    x = body.call(&x, relu6().named(format!("{name}_depthwise_relu")))?;
    x = body.call(&x, pointwise(filters).named(format!("{name}_project")))?;
    x = body.call(&x, normalization().named(format!("{name}_project_BN")))?;
    match stride == 1 && channels == filters {
        true => body.call([input, &x], Add::new().named(format!("{name}_add"))),
        false => Ok(x),
    }
}

fn pointwise(filters: usize) -> Conv2D {
    Conv2D::new(filters, 1).padding(Padding::Same).use_bias(false)
}

fn normalization() -> BatchNormalization {
    BatchNormalization::new().epsilon(1e-3).momentum(0.999)
}

fn relu6() -> ReLU {
    ReLU::new().max_value(6.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn untrained() -> Network {
        mobilenet_v2().weights("none")
    }

    #[test]
    fn the_whole_network_has_the_published_size() {
        let model = untrained().build().unwrap();
        assert_eq!((model.name(), model.count_params()), ("mobilenetv2_1.00_224", 3_538_984));
        let base = untrained().include_top(false).input_shape([97, 65, 3]).build().unwrap();
        assert_eq!(base.output_shape(), &[4, 3, 1280]);
        assert_eq!(base.layers().last().unwrap().name(), "out_relu");
        assert!(base.layers()[1..].iter().all(Layer::in_base));
    }

    #[test]
    fn filters_are_multiples_of_eight() {
        // Keras: MobileNetV2(alpha=1.4, weights=None, input_shape=(64, 64, 3)).
        let model = untrained().alpha(1.4).input_shape([64, 64, 3]).build().unwrap();
        assert_eq!(model.count_params(), 6_156_712);
        assert_eq!(model.get_layer("Conv_1").unwrap().weights()[0].shape(), &[1, 1, 448, 1792]);
    }

    #[test]
    fn the_imagenet_weights_are_those_of_the_width_and_the_image_size() {
        let name = |network: &Network, shape: [usize; 3]| match weights(network, &shape) {
            Some(Pretrained::File(file)) => file.file.url.to_string(),
            _ => String::new(),
        };
        let server = "https://storage.googleapis.com/tensorflow/keras-applications/mobilenet_v2";
        let kernels = "mobilenet_v2_weights_tf_dim_ordering_tf_kernels";
        let network = mobilenet_v2().alpha(0.5).include_top(false);
        assert_eq!(name(&network, [160, 160, 3]), format!("{server}/{kernels}_0.5_160_no_top.h5"));
        // Other images have the weights of 224 x 224 pixels.
        assert_eq!(name(&mobilenet_v2(), [160, 96, 3]), format!("{server}/{kernels}_1.0_224.h5"));
        assert_eq!(mobilenet_v2().alpha(0.9).published_weights(), None);
    }

    #[test]
    fn arguments_that_do_not_fit_are_named() {
        let error = |network: Network| network.build().unwrap_err().to_string();
        let expected = "MobileNetV2: expected alpha 0.35 or 0.5 or 0.75 or 1 or 1.3 or 1.4 with the ImageNet weights, received 0.9";
        assert!(error(mobilenet_v2().alpha(0.9)).contains(expected));
        let expected = "MobileNetV2: expected an alpha above 0, at most 1000, received 100000000000000000000";
        assert!(error(untrained().alpha(1e20)).contains(expected));
        untrained().alpha(1000.0).input_shape([32, 32, 3]).build().unwrap();
        assert!(error(untrained().alpha(-1.0)).contains("expected an alpha above 0, at most 1000, received -1"));
        assert!(error(untrained().minimalistic(true)).contains("expected alpha, received minimalistic"));
        let sizes = "expected [224, 224, 3], [96, 96, 3], [128, 128, 3], [160, 160, 3], [192, 192, 3] with include_top";
        assert!(error(mobilenet_v2().input_shape([100, 100, 3])).contains(sizes));
    }
}
