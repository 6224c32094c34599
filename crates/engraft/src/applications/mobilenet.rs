//! MobileNet and its preprocessing.

use super::body::Body;
use super::imagenet_arguments::{ImageSizes, check_alpha};
use super::weights::{KERAS_SERVER, Pretrained, file_of};
use super::{Architecture, Network, Preprocessing, Weights};
use crate::prelude::*;
use crate::{Error, Result};

/// Filters and stride of each depthwise separable convolution (table 1 of the paper).
const BLOCKS: [(usize, usize); 13] = [
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    (512, 1),
    (512, 1),
    (512, 1),
    (512, 1),
    (512, 1),
    (1024, 2),
    (1024, 1),
];

/// Width multipliers with ImageNet weights, and how the names of the files spell them.
const PRETRAINED_ALPHAS: [(f64, &str); 4] = [(0.25, "2_5"), (0.5, "5_0"), (0.75, "7_5"), (1.0, "1_0")];

pub(super) static MOBILENET: Architecture = Architecture {
    name: "mobilenet",
    keras: Some("MobileNet"),
    model_name: "mobilenet_{alpha}_{rows}",
    sizes: ImageSizes { default: 224, min: 32, also_pretrained: &[128, 160, 192] },
    preprocessing: Preprocessing::Tf,
    arguments: &["alpha", "depth_multiplier", "dropout"],
    layers,
    weights,
    top: &["conv_preds"],
    parameters: 3_228_864,
    macs: 568_740_352,
    top_1: Some(70.4),
    last_blocks: &["conv_pw_11_relu", "conv_pw_5_relu"],
    last_block: "conv_dw_12",
    ..Architecture::DEFAULT
};

/// MobileNet (Howard et al. 2017, <https://arxiv.org/abs/1704.04861>; Keras' `applications.MobileNet`): depthwise separable
/// convolutions.
///
/// The base ends in `conv_pw_13_relu`. [`alpha`](Network::alpha) scales the filters of every layer,
/// [`depth_multiplier`](Network::depth_multiplier) is the number of filters per channel of the depthwise convolutions, and
/// [`dropout`](Network::dropout) is 0.001 by default. There are ImageNet weights for the width multipliers 0.25, 0.5, 0.75 and 1,
/// each for square images of 128, 160, 192 and 224 pixels. The weights expect images preprocessed by [`preprocess_input`].
///
/// ```
/// use engraft::{applications::mobilenet, prelude::*};
/// let base = mobilenet().alpha(0.25).include_top(false).weights("none").input_shape([128, 128, 3]).build()?;
/// assert_eq!((base.name(), base.output_shape()), ("mobilenet_0.25_128", &vec![4, 4, 256]));
/// assert_eq!(base.count_params(), 218_544);
/// # Ok::<(), engraft::Error>(())
/// ```
pub fn mobilenet() -> Network {
    Network::new(&MOBILENET)
}

/// Adds the preprocessing of MobileNet to a model: pixels from 0 to 255 become -1 to 1.
///
/// ```
/// use engraft::{applications::mobilenet, prelude::*};
/// let photo = Input::new([1, 1, 3]);
/// let model = Model::new(&photo, &mobilenet::preprocess_input(&photo)?)?;
/// let pixel = Tensor::new([1, 1, 1, 3], vec![0.0, 127.5, 255.0])?;
/// assert_eq!(model.predict(&pixel, 1)?.data(), [-1.0, 0.0, 1.0]);
/// # Ok::<(), engraft::Error>(())
/// ```
///
/// # Errors
/// None for images.
pub fn preprocess_input(x: &SymbolicTensor) -> Result<SymbolicTensor> {
    MOBILENET.preprocessing.call(x)
}

fn weights(network: &Network, shape: &[usize]) -> Option<Pretrained> {
    if network.depth_multiplier != 1 {
        return None;
    }
    let (_, alpha) = PRETRAINED_ALPHAS.into_iter().find(|(alpha, _)| *alpha == network.alpha)?;
    let size = MOBILENET.sizes.pretrained(shape);
    let end = if network.include_top { "" } else { "_no_top" };
    Some(file_of(&format!("{KERAS_SERVER}/mobilenet"), format!("mobilenet_{alpha}_{size}_tf{end}.h5"), ""))
}

fn layers(network: &Network, body: &mut Body, x: &SymbolicTensor) -> Result<SymbolicTensor> {
    check_alpha(network, &PRETRAINED_ALPHAS.map(|(alpha, _)| alpha))?;
    if network.weights == Weights::Imagenet && network.depth_multiplier != 1 {
        let expected = "depth_multiplier 1 with the ImageNet weights";
        return Err(Error::new(network.place(), expected, network.depth_multiplier));
    }
    let scaled = |filters: usize| (filters as f64 * network.alpha) as usize;
    let stem = Conv2D::new(scaled(32), 3).strides(2).padding(Padding::Same).use_bias(false);
    let mut x = body.call(x, stem.named("conv1"))?;
    x = normalize(body, &x, "conv1")?;
    for (number, (filters, stride)) in (1..).zip(BLOCKS) {
        x = separable(body, &x, number, scaled(filters), stride, network.depth_multiplier)?;
    }
    if !network.include_top {
        return body.pool(network, &x);
    }
    body.end_of_base();
    x = body.call(&x, GlobalAveragePooling2D::new().keepdims(true))?;
    x = body.call(&x, Dropout::new(network.dropout.unwrap_or(1e-3)).named("dropout"))?;
    x = body.call(&x, Conv2D::new(network.classes, 1).padding(Padding::Same).named("conv_preds"))?;
    x = body.call(&x, Reshape::new([network.classes as i64]).named("reshape_2"))?;
    body.call(&x, Activation::new(network.classifier_activation).named("predictions"))
}

/// A depthwise separable convolution: a 3x3 filter of each channel, then a 1x1 convolution.
fn separable(
    body: &mut Body,
    x: &SymbolicTensor,
    number: usize,
    filters: usize,
    stride: usize,
    depth_multiplier: usize,
) -> Result<SymbolicTensor> {
    let mut x = x.clone();
    let mut filter = DepthwiseConv2D::new(3).depth_multiplier(depth_multiplier).strides(stride).use_bias(false);
    if stride == 1 {
        filter = filter.padding(Padding::Same);
    } else {
        x = body.call(&x, ZeroPadding2D::new([[0, 1], [0, 1]]).named(format!("conv_pad_{number}")))?;
    }
    x = body.call(&x, filter.named(format!("conv_dw_{number}")))?;
    x = normalize(body, &x, &format!("conv_dw_{number}"))?;
    let pointwise = Conv2D::new(filters, 1).padding(Padding::Same).use_bias(false);
    x = body.call(&x, pointwise.named(format!("conv_pw_{number}")))?;
    normalize(body, &x, &format!("conv_pw_{number}"))
}

/// Batch normalization and ReLU6.
fn normalize(body: &mut Body, x: &SymbolicTensor, name: &str) -> Result<SymbolicTensor> {
    let x = body.call(x, BatchNormalization::new().named(format!("{name}_bn")))?;
    body.call(&x, ReLU::new().max_value(6.0).named(format!("{name}_relu")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn untrained() -> Network {
        mobilenet().weights("none")
    }

    #[test]
    fn the_whole_network_has_the_published_size() {
        let model = untrained().build().unwrap();
        assert_eq!((model.name(), model.count_params()), ("mobilenet_1.00_224", 4_253_864));
        let base = untrained().include_top(false).input_shape([97, 65, 3]).build().unwrap();
        assert_eq!(base.output_shape(), &[3, 2, 1024]);
        assert_eq!(base.layers().last().unwrap().name(), "conv_pw_13_relu");
        assert!(base.layers()[1..].iter().all(Layer::in_base));
    }

    #[test]
    fn the_multipliers_scale_filters() {
        // Keras: MobileNet(alpha=0.5, depth_multiplier=2, dropout=0.3, weights=None, classes=7, input_shape=(64, 64, 3)).
        let network = untrained().alpha(0.5).depth_multiplier(2).dropout(0.3).classes(7).input_shape([64, 64, 3]);
        let model = network.build().unwrap();
        assert_eq!(model.count_params(), 1_650_263);
        assert_eq!(model.get_layer("dropout").unwrap().def().config()["rate"], 0.3_f32);
    }

    #[test]
    fn the_imagenet_weights_are_those_of_the_width_and_the_image_size() {
        let name = |network: &Network, shape: [usize; 3]| match weights(network, &shape) {
            Some(Pretrained::File(file)) => file.file.name.into_owned(),
            _ => String::new(),
        };
        assert_eq!(name(&mobilenet(), [224, 224, 3]), "mobilenet_1_0_224_tf.h5");
        assert_eq!(name(&mobilenet().alpha(0.75).include_top(false), [128, 128, 3]), "mobilenet_7_5_128_tf_no_top.h5");
        for network in [mobilenet().alpha(0.9), mobilenet().depth_multiplier(2), mobilenet().classes(5)] {
            assert_eq!(network.published_weights(), None);
        }
    }

    #[test]
    fn arguments_that_do_not_fit_are_named() {
        let error = |network: Network| network.build().unwrap_err().to_string();
        let expected = "MobileNet: expected alpha 0.25 or 0.5 or 0.75 or 1 with the ImageNet weights, received 1.4";
        assert!(error(mobilenet().alpha(1.4)).contains(expected));
        let expected = "expected depth_multiplier 1 with the ImageNet weights, received 2";
        assert!(error(mobilenet().depth_multiplier(2)).contains(expected));
        assert!(error(untrained().depth_multiplier(0)).contains("depth_multiplier: expected at least 1"));
        assert!(error(untrained().dropout(1.5)).contains("rate"));
        assert!(error(untrained().alpha(0.01)).contains("filters"));
        assert!(
            error(untrained().alpha(1e20))
                .contains("expected an alpha above 0, at most 1000, received 100000000000000000000")
        );
        untrained().alpha(1000.0).input_shape([32, 32, 3]).build().unwrap();
    }
}
