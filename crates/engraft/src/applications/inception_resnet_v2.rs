//! InceptionResNetV2 and its preprocessing.

use super::body::Body;
use super::imagenet_arguments::ImageSizes;
use super::inception::{Branch, branch, inception, reduction, stem};
use super::weights::keras_file;
use super::{Architecture, Network, Preprocessing};
use crate::Result;
use crate::layers::CustomScaleLayer;
use crate::prelude::*;

/// Residual blocks of one kind, whose branches are scaled before they are added to the input.
struct Stage {
    name: &'static str,
    blocks: usize,
    scale: f32,
    branches: &'static [&'static Branch],
}

const BLOCK35: Stage = Stage {
    name: "block35",
    blocks: 10,
    scale: 0.17,
    branches: &[&[(32, [1, 1])], &[(32, [1, 1]), (32, [3, 3])], &[(32, [1, 1]), (48, [3, 3]), (64, [3, 3])]],
};

const BLOCK17: Stage = Stage {
    name: "block17",
    blocks: 20,
    scale: 0.1,
    branches: &[&[(192, [1, 1])], &[(128, [1, 1]), (160, [1, 7]), (192, [7, 1])]],
};

const BLOCK8: Stage = Stage {
    name: "block8",
    blocks: 10,
    scale: 0.2,
    branches: &[&[(192, [1, 1])], &[(192, [1, 1]), (224, [1, 3]), (256, [3, 1])]],
};

pub(super) static INCEPTION_RESNET_V2: Architecture = Architecture {
    name: "inception-resnet-v2",
    keras: Some("InceptionResNetV2"),
    model_name: "inception_resnet_v2",
    sizes: ImageSizes { default: 299, min: 75, also_pretrained: &[] },
    preprocessing: Preprocessing::Tf,
    layers,
    weights: |network, _| {
        let md5 = ["e693bd0210a403b3192acc6073ad2e96", "d19885ff4a710c122648d3b5c3b684e4"];
        Some(keras_file(network, "inception_resnet_v2", "inception_resnet_v2_weights_tf_dim_ordering_tf_kernels", md5))
    },
    parameters: 54_336_736,
    macs: 13_155_794_016,
    top_1: Some(80.3),
    last_blocks: &["block17_20_ac", "block35_10_ac"],
    // The convolutions of the reduction before have automatic names. So fine-tuning trains the blocks after it.
    last_block: "mixed_7a",
    ..Architecture::DEFAULT
};

/// InceptionResNetV2 (Szegedy et al. 2016, <https://arxiv.org/abs/1602.07261>; Keras' `applications.InceptionResNetV2`): Inception
/// blocks with residual connections.
///
/// The blocks are `mixed_5b`, `block35_1` to `block35_10`, `mixed_6a`, `block17_1` to `block17_20`, `mixed_7a` and `block8_1` to
/// `block8_10`. The base ends in `conv_7b_ac`. The ImageNet weights expect images of 299 x 299 pixels, preprocessed by
/// [`preprocess_input`].
///
/// ```
/// assert_eq!(engraft::applications::inception_resnet_v2().architecture().parameters(), 54_336_736);
/// ```
pub fn inception_resnet_v2() -> Network {
    Network::new(&INCEPTION_RESNET_V2)
}

/// Adds the preprocessing of InceptionResNetV2 to a model: RGB (0 to 255) becomes `x / 127.5 - 1`.
///
/// ```
/// use engraft::{applications::inception_resnet_v2, prelude::*};
/// let photo = Input::new([1, 1, 3]);
/// let model = Model::new(&photo, &inception_resnet_v2::preprocess_input(&photo)?)?;
/// let pixel = Tensor::new([1, 1, 1, 3], vec![0.0, 127.5, 255.0])?;
/// assert_eq!(model.predict(&pixel, 1)?.data(), [-1.0, 0.0, 1.0]);
/// # Ok::<(), engraft::Error>(())
/// ```
///
/// # Errors
/// None: it takes any number of channels.
pub fn preprocess_input(x: &SymbolicTensor) -> Result<SymbolicTensor> {
    INCEPTION_RESNET_V2.preprocessing.call(x)
}

fn layers(network: &Network, body: &mut Body, x: &SymbolicTensor) -> Result<SymbolicTensor> {
    let mut x = stem(body, x)?;
    let branches: [&Branch; 3] =
        [&[(96, [1, 1])], &[(48, [1, 1]), (64, [5, 5])], &[(64, [1, 1]), (96, [3, 3]), (96, [3, 3])]];
    x = inception(body, &x, &branches, 64, "mixed_5b")?;
    x = stage(body, &x, &BLOCK35)?;
    x = reduction(body, &x, &[&[(384, [3, 3])], &[(256, [1, 1]), (256, [3, 3]), (384, [3, 3])]], "mixed_6a")?;
    x = stage(body, &x, &BLOCK17)?;
    let branches: [&Branch; 3] = [
        &[(256, [1, 1]), (384, [3, 3])],
        &[(256, [1, 1]), (288, [3, 3])],
        &[(256, [1, 1]), (288, [3, 3]), (320, [3, 3])],
    ];
    x = reduction(body, &x, &branches, "mixed_7a")?;
    x = stage(body, &x, &BLOCK8)?;
    x = body.call(&x, Conv2D::new(1536, 1).padding(Padding::Same).use_bias(false).named("conv_7b"))?;
    x = body.call(&x, BatchNormalization::new().scale(false).named("conv_7b_bn"))?;
    x = body.call(&x, Activation::new(Relu).named("conv_7b_ac"))?;
    if network.include_top { body.pooled_top(network, &x) } else { body.pool(network, &x) }
}

fn stage(body: &mut Body, x: &SymbolicTensor, stage: &Stage) -> Result<SymbolicTensor> {
    let mut x = x.clone();
    for number in 1..=stage.blocks {
        let name = format!("{}_{number}", stage.name);
        // The last block before `conv_7b` is neither scaled nor activated.
        let last = name == "block8_10";
        let residual = residual(body, &x, stage.branches, &name)?;
        x = body.call([&x, &residual], CustomScaleLayer::new(if last { 1.0 } else { stage.scale }))?;
        if !last {
            x = body.call(&x, Activation::new(Relu).named(format!("{name}_ac")))?;
        }
    }
    Ok(x)
}

/// The branches, concatenated, and a 1x1 convolution with as many filters as the input has channels.
fn residual(body: &mut Body, x: &SymbolicTensor, branches: &[&Branch], name: &str) -> Result<SymbolicTensor> {
    let channels = x.shape().last().copied().unwrap_or(0);
    let outputs = branches.iter().map(|convolutions| branch(body, x, convolutions)).collect::<Result<Vec<_>>>()?;
    let mixed = body.call(&outputs, Concatenate::new().named(format!("{name}_mixed")))?;
    body.call(&mixed, Conv2D::new(channels, 1).padding(Padding::Same).named(format!("{name}_conv")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn untrained() -> Network {
        inception_resnet_v2().weights("none")
    }

    #[test]
    fn with_its_top_it_has_the_published_size() {
        let model = untrained().input_shape([75, 75, 3]).build().unwrap();
        assert_eq!((model.name(), model.count_params()), ("inception_resnet_v2", 55_873_736));
    }

    #[test]
    fn the_base_ends_in_its_last_convolution() {
        let base = untrained().include_top(false).input_shape([99, 76, 3]).build().unwrap();
        assert_eq!((base.output_shape(), base.layers().last().unwrap().name()), (&vec![1, 1, 1536], "conv_7b_ac"));
        assert!(base.layers()[1..].iter().all(Layer::in_base));
        assert!(base.get_layer("block8_10_ac").is_err() && base.get_layer("block8_9_ac").is_ok());
    }

    #[test]
    fn arguments_of_other_networks_are_refused_by_name() {
        let error = untrained().include_preprocessing(false).build().unwrap_err().to_string();
        assert!(error.contains("no arguments of other networks, received include_preprocessing"), "{error}");
    }
}
