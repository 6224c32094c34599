//! MobileNetV3, small and large, which contain their preprocessing.

use super::body::Body;
use super::channels::rounded;
use super::correct_pad::correct_pad;
use super::imagenet_arguments::check_alpha;
use super::weights::{KERAS_SERVER, Pretrained, file_of};
use super::{Architecture, Network, Preprocessing, torch_names};
use crate::Result;
use crate::layers::{operator, tensor_argument};
use crate::prelude::*;

/// A block of the table: an inverted residual.
struct Block {
    /// Width and height of the filters.
    kernel: usize,
    /// The first convolution multiplies the channels by this factor.
    expansion: f64,
    filters: usize,
    squeeze: bool,
    nonlinearity: Nonlinearity,
    stride: usize,
}

#[derive(Clone, Copy, PartialEq)]
enum Nonlinearity {
    Relu,
    HardSwish,
}

use Nonlinearity::{HardSwish as HS, Relu as RE};

const fn block(
    kernel: usize,
    expansion: f64,
    filters: usize,
    squeeze: bool,
    nonlinearity: Nonlinearity,
    stride: usize,
) -> Block {
    Block { kernel, expansion, filters, squeeze, nonlinearity, stride }
}

/// Table 2 of the paper.
const SMALL_BLOCKS: [Block; 11] = [
    block(3, 1.0, 16, true, RE, 2),
    block(3, 72.0 / 16.0, 24, false, RE, 2),
    block(3, 88.0 / 24.0, 24, false, RE, 1),
    block(5, 4.0, 40, true, HS, 2),
    block(5, 6.0, 40, true, HS, 1),
    block(5, 6.0, 40, true, HS, 1),
    block(5, 3.0, 48, true, HS, 1),
    block(5, 3.0, 48, true, HS, 1),
    block(5, 6.0, 96, true, HS, 2),
    block(5, 6.0, 96, true, HS, 1),
    block(5, 6.0, 96, true, HS, 1),
];

/// Table 1 of the paper.
const LARGE_BLOCKS: [Block; 15] = [
    block(3, 1.0, 16, false, RE, 1),
    block(3, 4.0, 24, false, RE, 2),
    block(3, 3.0, 24, false, RE, 1),
    block(5, 3.0, 40, true, RE, 2),
    block(5, 3.0, 40, true, RE, 1),
    block(5, 3.0, 40, true, RE, 1),
    block(3, 6.0, 80, false, HS, 2),
    block(3, 2.5, 80, false, HS, 1),
    block(3, 2.3, 80, false, HS, 1),
    block(3, 2.3, 80, false, HS, 1),
    block(3, 6.0, 112, true, HS, 1),
    block(3, 6.0, 112, true, HS, 1),
    block(5, 6.0, 160, true, HS, 2),
    block(5, 6.0, 160, true, HS, 1),
    block(5, 6.0, 160, true, HS, 1),
];

/// MD5 of the weight files with and without the top: for the width multipliers 1 and 0.75, and of the minimalistic network.
struct Hashes {
    full: [&'static str; 2],
    three_quarters: [&'static str; 2],
    minimalistic: [&'static str; 2],
}

const SMALL_HASHES: Hashes = Hashes {
    full: ["8768d4c2e7dee89b9d02b2d03d65d862", "d3e8ec802a04aa4fc771ee12a9a9b836"],
    three_quarters: ["cb65d4e5be93758266aa0a7f2c6708b7", "ebdb5cc8e0b497cd13a7c275d475c819"],
    minimalistic: ["99cd97fb2fcdad2bf028eb838de69e37", "cde8136e733e811080d9fcd8a252f7e4"],
};

const LARGE_HASHES: Hashes = Hashes {
    full: ["59e551e166be033d707958cf9e29a6a7", "07fb09a5933dd0c8eaafa16978110389"],
    three_quarters: ["765b44a33ad4005b3ac83185abf1d0eb", "40af19a13ebea4e2ee0c676887f69a2e"],
    minimalistic: ["675e7b876c45c57e9e63e6d90a36599c", "ec5221f64a2f6d1ef965a614bdae7973"],
};

pub(super) static SMALL: Architecture = Architecture {
    name: "mobilenet-v3-small",
    keras: Some("MobileNetV3Small"),
    model_name: "MobileNetV3Small",
    layers: |network, body, x| layers(&SMALL_BLOCKS, 1024, network, body, x),
    weights: |network, _| weights("small", &SMALL_HASHES, network),
    torch_module: Some(|layer| torch_names::mobilenet_v3(&stages(&SMALL_BLOCKS), layer)),
    top: &["conv_2", "logits"],
    parameters: 939_120,
    macs: 56_510_400,
    top_1: Some(68.1),
    last_blocks: &["expanded_conv_7_add", "expanded_conv_5_add"],
    last_block: "expanded_conv_8_expand",
    ..MOBILENET_V3
};

pub(super) static LARGE: Architecture = Architecture {
    name: "mobilenet-v3-large",
    keras: Some("MobileNetV3Large"),
    model_name: "MobileNetV3Large",
    layers: |network, body, x| layers(&LARGE_BLOCKS, 1280, network, body, x),
    weights: |network, _| weights("large", &LARGE_HASHES, network),
    torch_module: Some(|layer| torch_names::mobilenet_v3(&stages(&LARGE_BLOCKS), layer)),
    top: &["conv_2", "logits"],
    parameters: 2_996_352,
    macs: 216_589_760,
    top_1: Some(75.6),
    last_blocks: &["expanded_conv_11_add", "expanded_conv_9_add"],
    last_block: "expanded_conv_12_expand",
    ..MOBILENET_V3
};

/// What both networks have in common.
const MOBILENET_V3: Architecture = Architecture {
    // The networks begin with a `Rescaling` layer.
    preprocessing: Preprocessing::None,
    arguments: &["alpha", "minimalistic", "dropout", "include_preprocessing"],
    any_size_with_top: true,
    top_1_source: "https://github.com/keras-team/keras/blob/v3.15.1/keras/src/applications/mobilenet_v3.py",
    ..Architecture::DEFAULT
};

/// The small MobileNetV3 (Howard et al. 2019, <https://arxiv.org/abs/1905.02244>; Keras' `applications.MobileNetV3Small`):
/// inverted residuals with hard-swish and squeeze-and-excitation.
///
/// The base ends in the activation of `conv_1`. The network takes pixels from 0 to 255 and scales them itself;
/// [`include_preprocessing(false)`](Network::include_preprocessing) leaves this out, and the network then takes -1 to 1.
/// [`alpha`](Network::alpha) scales the filters, [`minimalistic`](Network::minimalistic) leaves out what is slow on some devices,
/// and [`dropout`](Network::dropout) is 0.2 by default. There are ImageNet weights for the width multipliers 0.75 and 1, and 1 for
/// the minimalistic network.
///
/// ```
/// use engraft::prelude::*;
/// let network = engraft::applications::mobilenet_v3_small().include_top(false).weights("none");
/// let base = network.input_shape([64, 64, 3]).build()?;
/// assert_eq!((base.output_shape(), base.count_params()), (&vec![2, 2, 576], 939_120));
/// # Ok::<(), engraft::Error>(())
/// ```
pub fn mobilenet_v3_small() -> Network {
    Network::new(&SMALL)
}

/// The large MobileNetV3 (Keras' `applications.MobileNetV3Large`), with the arguments of [`mobilenet_v3_small`].
///
/// ```
/// use engraft::prelude::*;
/// let network = engraft::applications::mobilenet_v3_large().include_top(false).weights("none");
/// let base = network.input_shape([64, 64, 3]).build()?;
/// assert_eq!((base.output_shape(), base.count_params()), (&vec![2, 2, 960], 2_996_352));
/// # Ok::<(), engraft::Error>(())
/// ```
pub fn mobilenet_v3_large() -> Network {
    Network::new(&LARGE)
}

/// Adds nothing to a model: a MobileNetV3 takes pixels from 0 to 255 and scales them itself.
///
/// ```
/// use engraft::{applications::mobilenet_v3, prelude::*};
/// let photo = Input::new([64, 64, 3]);
/// assert_eq!(mobilenet_v3::preprocess_input(&photo)?.id(), photo.id());
/// # Ok::<(), engraft::Error>(())
/// ```
///
/// # Errors
/// None.
pub fn preprocess_input(x: &SymbolicTensor) -> Result<SymbolicTensor> {
    MOBILENET_V3.preprocessing.call(x)
}

/// The number of blocks of each stage, which has the same filters in all its blocks.
fn stages(blocks: &[Block]) -> Vec<usize> {
    blocks.chunk_by(|one, next| one.filters == next.filters).map(<[Block]>::len).collect()
}

fn weights(size: &str, hashes: &Hashes, network: &Network) -> Option<Pretrained> {
    let alpha = network.alpha;
    let (kind, [with_top, without_top]) = match network.minimalistic {
        true if alpha == 1.0 => ("_minimalistic", hashes.minimalistic),
        false if alpha == 1.0 => ("", hashes.full),
        false if alpha == 0.75 => ("", hashes.three_quarters),
        _ => return None,
    };
    let (end, md5) = if network.include_top { ("", with_top) } else { ("_no_top_v2", without_top) };
    let name = format!("weights_mobilenet_v3_{size}{kind}_224_{alpha:?}_float{end}.h5");
    Some(file_of(&format!("{KERAS_SERVER}/mobilenet_v3"), name, md5))
}

/// The network of these blocks. `features` are the filters of the convolution after the pooling of the top.
fn layers(
    blocks: &[Block],
    features: usize,
    network: &Network,
    body: &mut Body,
    x: &SymbolicTensor,
) -> Result<SymbolicTensor> {
    check_alpha(network, if network.minimalistic { &[1.0] } else { &[0.75, 1.0] })?;
    let nonlinearity = if network.minimalistic { RE } else { HS };
    let mut x = x.clone();
    if network.include_preprocessing {
        x = body.call(&x, Rescaling::new(1.0 / 127.5).offset(-1.0))?;
    }
    x = body.call(&x, conv(16, 3).strides(2).named("conv"))?;
    x = body.call(&x, normalization().named("conv_bn"))?;
    x = activate(body, &x, nonlinearity)?;
    for (number, block) in blocks.iter().enumerate() {
        x = inverted_residual(network, body, &x, number, block)?;
    }
    let channels = x.shape().last().copied().unwrap_or(0);
    x = body.call(&x, conv(rounded(6.0 * channels as f64), 1).named("conv_1"))?;
    x = body.call(&x, normalization().named("conv_1_bn"))?;
    x = activate(body, &x, nonlinearity)?;
    if !network.include_top {
        return body.named_pool(network, &x);
    }
    body.end_of_base();
    x = body.call(&x, GlobalAveragePooling2D::new().keepdims(true))?;
    // Below a width of 1, the features before the classifier keep their number.
    let features = rounded(features as f64 * network.alpha.max(1.0));
    x = body.call(&x, conv(features, 1).use_bias(true).named("conv_2"))?;
    x = activate(body, &x, nonlinearity)?;
    let dropout = network.dropout.unwrap_or(0.2);
    if dropout != 0.0 {
        x = body.call(&x, Dropout::new(dropout))?;
    }
    x = body.call(&x, conv(network.classes, 1).use_bias(true).named("logits"))?;
    x = body.call(&x, Flatten::new())?;
    body.call(&x, Activation::new(network.classifier_activation).named("predictions"))
}

/// An inverted residual: expand, filter, squeeze and excite, project to a linear bottleneck, and add the input where the shapes
/// agree. The first block of a network doesn't expand.
fn inverted_residual(
    network: &Network,
    body: &mut Body,
    input: &SymbolicTensor,
    number: usize,
    block: &Block,
) -> Result<SymbolicTensor> {
    let name = if number == 0 { "expanded_conv".into() } else { format!("expanded_conv_{number}") };
    let (kernel, nonlinearity) = if network.minimalistic { (3, RE) } else { (block.kernel, block.nonlinearity) };
    let channels = input.shape().last().copied().unwrap_or(0);
    let expanded = rounded(channels as f64 * block.expansion);
    let mut x = input.clone();
    if number != 0 {
        x = body.call(&x, conv(expanded, 1).named(format!("{name}_expand")))?;
        x = body.call(&x, normalization().named(format!("{name}_expand_bn")))?;
        x = activate(body, &x, nonlinearity)?;
    }
    let mut filter = DepthwiseConv2D::new(kernel).strides(block.stride).use_bias(false);
    if block.stride == 1 {
        filter = filter.padding(Padding::Same);
    } else {
        x = body.call(&x, correct_pad(&x, kernel).named(format!("{name}_depthwise_pad")))?;
    }
    x = body.call(&x, filter.named(format!("{name}_depthwise")))?;
    x = body.call(&x, normalization().named(format!("{name}_depthwise_bn")))?;
    x = activate(body, &x, nonlinearity)?;
    if block.squeeze && !network.minimalistic {
        x = squeeze_excite(body, &x, &format!("{name}_squeeze_excite"), expanded)?;
    }
    let filters = rounded(block.filters as f64 * network.alpha);
    x = body.call(&x, conv(filters, 1).named(format!("{name}_project")))?;
    x = body.call(&x, normalization().named(format!("{name}_project_bn")))?;
    match block.stride == 1 && channels == filters {
        true => body.call([input, &x], Add::new().named(format!("{name}_add"))),
        false => Ok(x),
    }
}

/// Squeeze-and-excitation (Hu et al. 2017, arXiv:1709.01507): scales each channel by a function of the means of all channels.
fn squeeze_excite(body: &mut Body, input: &SymbolicTensor, name: &str, channels: usize) -> Result<SymbolicTensor> {
    let squeezed = rounded(0.25 * channels as f64);
    let mut x = body.call(input, GlobalAveragePooling2D::new().keepdims(true).named(format!("{name}_avg_pool")))?;
    x = body.call(&x, conv(squeezed, 1).use_bias(true).named(format!("{name}_conv")))?;
    x = body.call(&x, ReLU::new().named(format!("{name}_relu")))?;
    x = body.call(&x, conv(channels, 1).use_bias(true).named(format!("{name}_conv_1")))?;
    // The hard sigmoid, relu6(x + 3) / 6.
    x = body.call(&x, operator("Add", vec![tensor_argument(), 3.0.into()])?)?;
    x = body.call(&x, ReLU::new().max_value(6.0))?;
    x = body.call(&x, operator("Multiply", vec![tensor_argument(), (1.0 / 6.0).into()])?)?;
    body.call([input, &x], Multiply::new().named(format!("{name}_mul")))
}

/// A convolution of `kernel` x `kernel` pixels with padding and, by default, without bias.
fn conv(filters: usize, kernel: usize) -> Conv2D {
    Conv2D::new(filters, kernel).padding(Padding::Same).use_bias(false)
}

fn normalization() -> BatchNormalization {
    BatchNormalization::new().epsilon(1e-3).momentum(0.999)
}

fn activate(body: &mut Body, x: &SymbolicTensor, nonlinearity: Nonlinearity) -> Result<SymbolicTensor> {
    match nonlinearity {
        RE => body.call(x, ReLU::new()),
        HS => body.call(x, Activation::new(ActivationFn::HardSilu)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::Hub;

    fn small() -> Network {
        mobilenet_v3_small().weights("none")
    }

    #[test]
    fn whole_networks_have_the_published_size() {
        for (network, parameters) in [(mobilenet_v3_small(), 2_554_968), (mobilenet_v3_large(), 5_507_432)] {
            assert_eq!(network.weights("none").build().unwrap().count_params(), parameters);
        }
        let base = small().include_top(false).input_shape([97, 65, 3]).build().unwrap();
        assert_eq!(base.output_shape(), &[4, 3, 576]);
        assert!(base.layers()[1..].iter().all(Layer::in_base));
    }

    #[test]
    fn a_minimalistic_network_has_the_same_filters_without_squeeze_and_excitation() {
        // Keras: MobileNetV3Small(minimalistic=True, weights=None, input_shape=(64, 64, 3)).
        let model = small().minimalistic(true).input_shape([64, 64, 3]).build().unwrap();
        assert_eq!(model.count_params(), 2_056_848);
        assert!(!model.layers().iter().any(|layer| layer.name().contains("squeeze")));
    }

    #[test]
    fn preprocessing_and_dropout_can_be_left_out() {
        let count = |network: Network, class: &str| {
            let model = network.input_shape([64, 64, 3]).build().unwrap();
            model.layers().iter().filter(|layer| layer.class_name() == class).count()
        };
        assert_eq!((count(small(), "Rescaling"), count(small(), "Dropout")), (1, 1));
        assert_eq!(count(small().include_preprocessing(false), "Rescaling"), 0);
        assert_eq!(count(small().dropout(0.0), "Dropout"), 0);
    }

    #[test]
    fn blocks_are_numbered_by_stage_in_pytorch() {
        // timm's mobilenetv3_small_100 and mobilenetv3_large_100.
        assert_eq!((stages(&SMALL_BLOCKS), stages(&LARGE_BLOCKS)), (vec![1, 2, 3, 2, 3], vec![1, 2, 3, 4, 2, 3]));
    }

    #[test]
    fn the_imagenet_weights_are_those_of_the_width() {
        let name = |network: Network| match (network.architecture().weights)(&network, &[224, 224, 3]) {
            Some(Pretrained::File(file)) => file.file.name.into_owned(),
            _ => String::new(),
        };
        let file = "weights_mobilenet_v3_small_224_0.75_float_no_top_v2.h5";
        assert_eq!(name(mobilenet_v3_small().alpha(0.75).include_top(false)), file);
        let file = "weights_mobilenet_v3_large_minimalistic_224_1.0_float.h5";
        assert_eq!(name(mobilenet_v3_large().minimalistic(true)), file);
    }

    #[test]
    fn the_imagenet_weights_with_the_top_take_images_of_any_size() {
        let empty = tempfile::tempdir().unwrap();
        let mut hub = Hub::new(empty.path(), empty.path());
        hub.mirror = Some("http://127.0.0.1:9".into());
        let network = mobilenet_v3_small().input_shape([192, 96, 3]).hub(hub);
        // Keras loads this file too.
        let error = network.build().unwrap_err().to_string();
        assert!(error.contains("weights_mobilenet_v3_small_224_1.0_float.h5"), "{error}");
        let error = mobilenet_v3_small().input_shape([31, 96, 3]).build().unwrap_err().to_string();
        assert!(error.contains("expected images of at least 32 by 32 pixels"), "{error}");
    }

    #[test]
    fn arguments_that_do_not_fit_are_named() {
        let error = |network: Network| network.build().unwrap_err().to_string();
        let network = mobilenet_v3_large().minimalistic(true).alpha(0.75);
        assert!(error(network).contains("expected alpha 1 with the ImageNet weights, received 0.75"));
        for network in [small(), mobilenet_v3_large().weights("none")] {
            let name = network.architecture().keras_name().unwrap();
            let expected = format!("{name}: expected an alpha above 0, at most 1000, received 100000000000000000000");
            assert!(error(network.alpha(1e20)).contains(&expected));
        }
        small().alpha(1000.0).input_shape([32, 32, 3]).build().unwrap();
        assert!(error(small().alpha(f64::NAN)).contains("expected an alpha above 0, at most 1000, received NaN"));
        assert!(error(small().depth_multiplier(2)).contains("received depth_multiplier"));
    }
}
