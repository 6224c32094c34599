//! ConvNeXt, from Tiny to XLarge, which contains its preprocessing.

use super::body::Body;
use super::preprocessing::{DEVIATION, MEAN};
use super::weights::keras_file;
use super::{Architecture, Network, Pooling, Preprocessing, Weights, torch_names};
use crate::layers::{LayerScale, operator, tensor_argument};
use crate::prelude::*;
use crate::{Error, Result};

/// Number of blocks and of channels of each stage.
#[derive(Clone, Copy)]
struct Table {
    blocks: [usize; 4],
    channels: [usize; 4],
}

pub(super) static TINY: Architecture = Architecture {
    name: "convnext-tiny",
    keras: Some("ConvNeXtTiny"),
    model_name: "convnext_tiny",
    layers: |network, body, x| layers(Table { blocks: [3, 3, 9, 3], channels: [96, 192, 384, 768] }, network, body, x),
    weights: |network, _| {
        let sha256 = [
            "8ae6e78ce2933352b1ef4008e6dd2f17bc40771563877d156bc6426c7cf503ff",
            "d547c096cabd03329d7be5562c5e14798aa39ed24b474157cef5e85ab9e49ef1",
        ];
        Some(keras_file(network, "convnext", "convnext_tiny", sha256))
    },
    parameters: 27_820_128,
    macs: 4_455_531_264,
    top_1: Some(81.3),
    last_blocks: &["convnext_tiny_downsampling_block_2", "convnext_tiny_downsampling_block_1"],
    last_block: "convnext_tiny_downsampling_block_2",
    ..CONVNEXT
};

pub(super) static SMALL: Architecture = Architecture {
    name: "convnext-small",
    keras: Some("ConvNeXtSmall"),
    model_name: "convnext_small",
    layers: |network, body, x| layers(Table { blocks: [3, 3, 27, 3], channels: [96, 192, 384, 768] }, network, body, x),
    weights: |network, _| {
        let sha256 = [
            "ce1277d8f1ee5a0ef0e171469089c18f5233860ceaf9b168049cb9263fd7483c",
            "6fc8009faa2f00c1c1dfce59feea9b0745eb260a7dd11bee65c8e20843da6eab",
        ];
        Some(keras_file(network, "convnext", "convnext_small", sha256))
    },
    parameters: 49_454_688,
    macs: 8_683_712_256,
    top_1: Some(82.3),
    last_blocks: &["convnext_small_downsampling_block_2", "convnext_small_downsampling_block_1"],
    last_block: "convnext_small_downsampling_block_2",
    ..CONVNEXT
};

pub(super) static BASE: Architecture = Architecture {
    name: "convnext-base",
    keras: Some("ConvNeXtBase"),
    model_name: "convnext_base",
    layers: |network, body, x| {
        layers(Table { blocks: [3, 3, 27, 3], channels: [128, 256, 512, 1024] }, network, body, x)
    },
    weights: |network, _| {
        let sha256 = [
            "52cbb006d3dadd03f6e095a8ca1aca47aecdd75acb4bc74bce1f5c695d0086e6",
            "40a20c5548a5e9202f69735ecc06c990e6b7c9d2de39f0361e27baeb24cb7c45",
        ];
        Some(keras_file(network, "convnext", "convnext_base", sha256))
    },
    parameters: 87_566_464,
    macs: 15_354_729_472,
    top_1: Some(85.3),
    last_blocks: &["convnext_base_downsampling_block_2", "convnext_base_downsampling_block_1"],
    last_block: "convnext_base_downsampling_block_2",
    ..CONVNEXT
};

pub(super) static LARGE: Architecture = Architecture {
    name: "convnext-large",
    keras: Some("ConvNeXtLarge"),
    model_name: "convnext_large",
    layers: |network, body, x| {
        layers(Table { blocks: [3, 3, 27, 3], channels: [192, 384, 768, 1536] }, network, body, x)
    },
    weights: |network, _| {
        let sha256 = [
            "070c5ed9ed289581e477741d3b34beffa920db8cf590899d6d2c67fba2a198a6",
            "96f02b6f0753d4f543261bc9d09bed650f24dd6bc02ddde3066135b63d23a1cd",
        ];
        Some(keras_file(network, "convnext", "convnext_large", sha256))
    },
    parameters: 196_230_336,
    macs: 34_361_433_600,
    top_1: Some(86.3),
    last_blocks: &["convnext_large_downsampling_block_2", "convnext_large_downsampling_block_1"],
    last_block: "convnext_large_downsampling_block_2",
    ..CONVNEXT
};

pub(super) static XLARGE: Architecture = Architecture {
    name: "convnext-xlarge",
    keras: Some("ConvNeXtXLarge"),
    model_name: "convnext_xlarge",
    layers: |network, body, x| {
        layers(Table { blocks: [3, 3, 27, 3], channels: [256, 512, 1024, 2048] }, network, body, x)
    },
    weights: |network, _| {
        let sha256 = [
            "c1f5ccab661354fc3a79a10fa99af82f0fbf10ec65cb894a3ae0815f17a889ee",
            "de3f8a54174130e0cecdc71583354753d557fcf1f4487331558e2a16ba0cfe05",
        ];
        Some(keras_file(network, "convnext", "convnext_xlarge", sha256))
    },
    parameters: 348_147_968,
    macs: 60_921_030_656,
    top_1: Some(86.7),
    last_blocks: &["convnext_xlarge_downsampling_block_2", "convnext_xlarge_downsampling_block_1"],
    last_block: "convnext_xlarge_downsampling_block_2",
    ..CONVNEXT
};

/// What the networks of the family have in common.
const CONVNEXT: Architecture = Architecture {
    // The networks begin with a `Normalization` layer.
    preprocessing: Preprocessing::None,
    arguments: &["include_preprocessing"],
    torch_module: Some(torch_names::convnext),
    top: &["{name}_head_layernorm", "{name}_head_dense"],
    ..Architecture::DEFAULT
};

/// ConvNeXt-Tiny (Liu et al. 2022, <https://arxiv.org/abs/2201.03545>; Keras' `applications.ConvNeXtTiny`): four stages of 3, 3,
/// 9 and 3 blocks.
///
/// Its layers begin with the model's [`name`](Network::name), as in Keras; with the ImageNet weights, it must contain
/// `convnext_tiny`. Without the top, a layer normalization follows the last
/// block or the pooling; it belongs to the base. The network takes pixels from 0 to 255 and scales them itself;
/// [`include_preprocessing(false)`](Network::include_preprocessing) leaves this out.
///
/// ```
/// assert_eq!(engraft::applications::convnext_tiny().architecture().parameters(), 27_820_128);
/// ```
pub fn convnext_tiny() -> Network {
    Network::new(&TINY)
}

/// ConvNeXt-Small (Keras' `applications.ConvNeXtSmall`): a [`convnext_tiny`] with 27 blocks in its third stage.
///
/// ```
/// assert_eq!(engraft::applications::convnext_small().architecture().parameters(), 49_454_688);
/// ```
pub fn convnext_small() -> Network {
    Network::new(&SMALL)
}

/// ConvNeXt-Base (Keras' `applications.ConvNeXtBase`): a [`convnext_small`] with 128 to 1024 channels.
///
/// ```
/// assert_eq!(engraft::applications::convnext_base().architecture().parameters(), 87_566_464);
/// ```
pub fn convnext_base() -> Network {
    Network::new(&BASE)
}

/// ConvNeXt-Large (Keras' `applications.ConvNeXtLarge`): a [`convnext_small`] with 192 to 1536 channels.
///
/// ```
/// assert_eq!(engraft::applications::convnext_large().architecture().parameters(), 196_230_336);
/// ```
pub fn convnext_large() -> Network {
    Network::new(&LARGE)
}

/// ConvNeXt-XLarge (Keras' `applications.ConvNeXtXLarge`): a [`convnext_small`] with 256 to 2048 channels.
///
/// ```
/// assert_eq!(engraft::applications::convnext_xlarge().architecture().parameters(), 348_147_968);
/// ```
pub fn convnext_xlarge() -> Network {
    Network::new(&XLARGE)
}

/// Adds nothing to a model: a ConvNeXt takes pixels from 0 to 255 and scales them itself.
///
/// ```
/// use engraft::{applications::convnext, prelude::*};
/// let photo = Input::new([64, 64, 3]);
/// assert_eq!(convnext::preprocess_input(&photo)?.id(), photo.id());
/// # Ok::<(), engraft::Error>(())
/// ```
///
/// # Errors
/// None.
pub fn preprocess_input(x: &SymbolicTensor) -> Result<SymbolicTensor> {
    CONVNEXT.preprocessing.call(x)
}

fn layers(table: Table, network: &Network, body: &mut Body, x: &SymbolicTensor) -> Result<SymbolicTensor> {
    check_name(network)?;
    let name = network.prefix();
    let mut x = x.clone();
    // Images without three channels can't be normalized by those of photos.
    if network.include_preprocessing && x.shape().last() == Some(&3) {
        x = body.call(&x, photo_normalization().named(format!("{name}_prestem_normalization")))?;
    }
    for (stage, (blocks, channels)) in table.blocks.into_iter().zip(table.channels).enumerate() {
        x = body.call(&x, downsampling(name, stage, channels))?;
        for block in 0..blocks {
            x = residual(body, &x, &format!("{name}_stage_{stage}_block_{block}"), channels)?;
        }
    }
    if network.include_top { top(name, network, body, &x) } else { pool(network, body, &x) }
}

/// Checks, as Keras does, that a model with the ImageNet weights has the name of the network in its own.
fn check_name(network: &Network) -> Result<()> {
    let (name, known) = (network.prefix(), network.architecture().model_name);
    if network.weights != Weights::Imagenet || name.contains(known) {
        return Ok(());
    }
    let expected = format!("a name that contains {known} with the ImageNet weights");
    Err(Error::new(network.place(), expected, format_args!("`{name}`")).hint(format_args!("try {known}_{name}")))
}

/// Normalizes pixels from 0 to 255 by the mean and the deviation of the ImageNet photos.
fn photo_normalization() -> Normalization {
    let mean = MEAN.map(|mean| (mean * 255.0) as f32);
    let variance = DEVIATION.map(|deviation| (deviation * 255.0).powi(2) as f32);
    Normalization::new(mean, variance)
}

/// What reduces the image before a stage, as one layer: to a quarter of its height and width before the first, else to a half.
fn downsampling(name: &str, stage: usize, channels: usize) -> Sequential {
    if stage == 0 {
        let conv = Conv2D::new(channels, 4).strides(4).named(format!("{name}_stem_conv"));
        let norm = normalization().named(format!("{name}_stem_layernorm"));
        return Sequential::with_name(format!("{name}_stem")).add(conv).add(norm);
    }
    let number = stage - 1;
    let norm = normalization().named(format!("{name}_downsampling_layernorm_{number}"));
    let conv = Conv2D::new(channels, 2).strides(2).named(format!("{name}_downsampling_conv_{number}"));
    Sequential::with_name(format!("{name}_downsampling_block_{number}")).add(norm).add(conv)
}

/// A block: a 7x7 filter of each channel, and two Dense layers with four times the channels between, added to the input.
fn residual(body: &mut Body, input: &SymbolicTensor, name: &str, channels: usize) -> Result<SymbolicTensor> {
    let filter = Conv2D::new(channels, 7).padding(Padding::Same).groups(channels);
    let mut x = body.call(input, filter.named(format!("{name}_depthwise_conv")))?;
    x = body.call(&x, normalization().named(format!("{name}_layernorm")))?;
    x = body.call(&x, Dense::new(4 * channels).named(format!("{name}_pointwise_conv_1")))?;
    x = body.call(&x, Activation::new(ActivationFn::Gelu).named(format!("{name}_gelu")))?;
    x = body.call(&x, Dense::new(channels).named(format!("{name}_pointwise_conv_2")))?;
    x = body.call(&x, LayerScale::new(1e-6, channels).named(format!("{name}_layer_scale")))?;
    // Keras' networks have a drop rate of 0: this activation takes the place of stochastic depth.
    x = body.call(&x, Activation::new(ActivationFn::Linear).named(format!("{name}_identity")))?;
    body.call([input, &x], operator("Add", vec![tensor_argument(), tensor_argument()])?)
}

fn top(name: &str, network: &Network, body: &mut Body, x: &SymbolicTensor) -> Result<SymbolicTensor> {
    body.end_of_base();
    let x = body.call(x, GlobalAveragePooling2D::new().named(format!("{name}_head_gap")))?;
    let x = body.call(&x, normalization().named(format!("{name}_head_layernorm")))?;
    let classifier = Dense::new(network.classes).activation(network.classifier_activation);
    body.call(&x, classifier.named(format!("{name}_head_dense")))
}

/// The end of a network without its top. The normalization has pretrained weights, so the pooling before it is in the base too.
fn pool(network: &Network, body: &mut Body, x: &SymbolicTensor) -> Result<SymbolicTensor> {
    let x = match network.pooling {
        Some(Pooling::Avg) => body.call(x, GlobalAveragePooling2D::new())?,
        Some(Pooling::Max) => body.call(x, GlobalMaxPooling2D::new())?,
        None => x.clone(),
    };
    body.call(&x, normalization())
}

fn normalization() -> LayerNormalization {
    LayerNormalization::new().epsilon(1e-6)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn untrained() -> Network {
        convnext_tiny().weights("none").input_shape([64, 64, 3])
    }

    #[test]
    fn the_whole_network_has_the_published_size() {
        let model = untrained().build().unwrap();
        assert_eq!((model.name(), model.count_params()), ("convnext_tiny", 28_589_128));
        let base = untrained().include_top(false).input_shape([97, 65, 3]).build().unwrap();
        assert_eq!(base.output_shape(), &[3, 2, 768]);
        assert!(base.layers()[1..].iter().all(Layer::in_base));
    }

    #[test]
    fn a_layer_normalization_follows_the_pooling() {
        let base = untrained().include_top(false).pooling(Pooling::Max).build().unwrap();
        let layers = base.layers();
        let classes: Vec<&str> = layers[layers.len() - 2..].iter().map(Layer::class_name).collect();
        assert_eq!(classes, ["GlobalMaxPooling2D", "LayerNormalization"]);
        assert_eq!(base.output_shape(), &[768]);
    }

    #[test]
    fn layers_have_the_name_of_the_model() {
        let model = untrained().name("flowers").include_preprocessing(false).build().unwrap();
        assert_eq!(model.layers()[1].name(), "flowers_stem");
        assert!(model.get_layer("flowers_stage_2_block_8_identity").is_ok());
    }

    #[test]
    fn arguments_that_do_not_fit_are_named() {
        let error = |network: Network| network.build().unwrap_err().to_string();
        assert!(
            error(untrained().dropout(0.5)).contains("ConvNeXtTiny: expected include_preprocessing, received dropout")
        );
        let expected =
            "ConvNeXtTiny: expected a name that contains convnext_tiny with the ImageNet weights, received `flowers`";
        assert!(error(convnext_tiny().name("flowers")).contains(expected));
        let network = convnext_tiny().input_shape([96, 96, 3]);
        assert!(error(network).contains("expected [224, 224, 3] with include_top and the ImageNet weights"));
    }
}
