//! The DenseNets of Keras, and their preprocessing.

use super::body::Body;
use super::weights::{Pretrained, keras_file};
use super::{Architecture, Network, Preprocessing};
use crate::Result;
use crate::prelude::*;

/// Channels that each block adds (`k` in the paper).
const GROWTH_RATE: usize = 32;

pub(super) static DENSENET121: Architecture = Architecture {
    name: "densenet121",
    keras: Some("DenseNet121"),
    model_name: "densenet121",
    layers: |network, body, x| layers([6, 12, 24, 16], network, body, x),
    weights: |network, _| {
        Some(weights(network, ["9d60b8095a5708f2dcce2bca79d332c7", "30ee3e1110167f948a6b9946edeeb738"]))
    },
    parameters: 7_037_504,
    macs: 2_834_161_664,
    top_1: Some(75.0),
    ..DENSENET
};

pub(super) static DENSENET169: Architecture = Architecture {
    name: "densenet169",
    keras: Some("DenseNet169"),
    model_name: "densenet169",
    layers: |network, body, x| layers([6, 12, 32, 32], network, body, x),
    weights: |network, _| {
        Some(weights(network, ["d699b8f76981ab1b30698df4c175e90b", "b8c4d4c20dd625c148057b9ff1c1176b"]))
    },
    parameters: 12_642_880,
    macs: 3_359_843_328,
    top_1: Some(76.2),
    ..DENSENET
};

pub(super) static DENSENET201: Architecture = Architecture {
    name: "densenet201",
    keras: Some("DenseNet201"),
    model_name: "densenet201",
    layers: |network, body, x| layers([6, 12, 48, 32], network, body, x),
    weights: |network, _| {
        Some(weights(network, ["1ceb130c1ea1b78c3bf6114dbdfd8807", "c13680b51ded0fb44dff2d8f86ac8bb1"]))
    },
    parameters: 18_321_984,
    macs: 4_291_365_888,
    top_1: Some(77.3),
    ..DENSENET
};

/// What the networks of the family have in common.
const DENSENET: Architecture = Architecture {
    preprocessing: Preprocessing::Torch,
    // The output of a dense block, normalized and activated, before the transition halves its channels and its size.
    last_blocks: &["pool4_relu", "pool3_relu"],
    last_block: "conv5_block1_0_bn",
    ..Architecture::DEFAULT
};

/// DenseNet121 (Huang et al. 2016, <https://arxiv.org/abs/1608.06993>; Keras' `applications.DenseNet121`): four dense blocks, in
/// which each convolution sees the outputs of all convolutions before it.
///
/// The base ends in `relu`, after the last normalization `bn`. The ImageNet weights expect images preprocessed by
/// [`preprocess_input`].
///
/// ```
/// use engraft::prelude::*;
/// let network = engraft::applications::densenet121();
/// let base = network.include_top(false).weights("none").input_shape([32, 32, 3]).build()?;
/// assert_eq!((base.output_shape(), base.count_params()), (&vec![1, 1, 1024], 7_037_504));
/// # Ok::<(), engraft::Error>(())
/// ```
pub fn densenet121() -> Network {
    Network::new(&DENSENET121)
}

/// DenseNet169 (Keras' `applications.DenseNet169`): a [`densenet121`] with 32 convolutions in its last two dense blocks.
///
/// ```
/// assert_eq!(engraft::applications::densenet169().architecture().parameters(), 12_642_880);
/// ```
pub fn densenet169() -> Network {
    Network::new(&DENSENET169)
}

/// DenseNet201 (Keras' `applications.DenseNet201`): a [`densenet121`] with 48 and 32 convolutions in its last two dense blocks.
///
/// ```
/// assert_eq!(engraft::applications::densenet201().architecture().parameters(), 18_321_984);
/// ```
pub fn densenet201() -> Network {
    Network::new(&DENSENET201)
}

/// Adds the preprocessing of the DenseNets to a model: RGB (0 to 255) is scaled to 0 to 1, minus the ImageNet mean of each channel,
/// divided by its standard deviation.
///
/// ```
/// use engraft::{applications::densenet, prelude::*};
/// let photo = Input::new([1, 1, 3]);
/// let model = Model::new(&photo, &densenet::preprocess_input(&photo)?)?;
/// let white = model.predict(&Tensor::new([1, 1, 1, 3], vec![255.0; 3])?, 1)?;
/// assert!((white.data()[0] - (1.0 - 0.485) / 0.229).abs() < 1e-6);
/// # Ok::<(), engraft::Error>(())
/// ```
///
/// # Errors
/// The last axis doesn't have 3 channels.
pub fn preprocess_input(x: &SymbolicTensor) -> Result<SymbolicTensor> {
    DENSENET.preprocessing.call(x)
}

fn weights(network: &Network, md5: [&'static str; 2]) -> Pretrained {
    let name = network.architecture().name();
    keras_file(network, "densenet", &format!("{name}_weights_tf_dim_ordering_tf_kernels"), md5)
}

/// The network with this number of convolutions in each dense block.
fn layers(blocks: [usize; 4], network: &Network, body: &mut Body, x: &SymbolicTensor) -> Result<SymbolicTensor> {
    let mut x = body.call(x, ZeroPadding2D::new(3))?;
    x = body.call(&x, Conv2D::new(64, 7).strides(2).use_bias(false).named("conv1_conv"))?;
    x = normalize(body, &x, "conv1_bn", "conv1_relu")?;
    x = body.call(&x, ZeroPadding2D::new(1))?;
    x = body.call(&x, MaxPooling2D::new(3).strides(2).named("pool1"))?;
    for (stage, blocks) in (2..).zip(blocks) {
        if stage > 2 {
            x = transition(body, &x, &format!("pool{}", stage - 1))?;
        }
        for block in 1..=blocks {
            x = dense_layer(body, &x, &format!("conv{stage}_block{block}"))?;
        }
    }
    x = normalize(body, &x, "bn", "relu")?;
    if network.include_top { body.pooled_top(network, &x) } else { body.named_pool(network, &x) }
}

/// A layer of a dense block: a 1x1 and a 3x3 convolution, whose output is concatenated to the input.
fn dense_layer(body: &mut Body, input: &SymbolicTensor, name: &str) -> Result<SymbolicTensor> {
    let mut x = normalize(body, input, &format!("{name}_0_bn"), &format!("{name}_0_relu"))?;
    x = body.call(&x, Conv2D::new(4 * GROWTH_RATE, 1).use_bias(false).named(format!("{name}_1_conv")))?;
    x = normalize(body, &x, &format!("{name}_1_bn"), &format!("{name}_1_relu"))?;
    let conv = Conv2D::new(GROWTH_RATE, 3).padding(Padding::Same).use_bias(false);
    x = body.call(&x, conv.named(format!("{name}_2_conv")))?;
    body.call([input, &x], Concatenate::new().named(format!("{name}_concat")))
}

/// A transition between two dense blocks: halves the channels, then height and width.
fn transition(body: &mut Body, x: &SymbolicTensor, name: &str) -> Result<SymbolicTensor> {
    let channels = x.shape().last().copied().unwrap_or(0);
    let mut x = normalize(body, x, &format!("{name}_bn"), &format!("{name}_relu"))?;
    x = body.call(&x, Conv2D::new(channels / 2, 1).use_bias(false).named(format!("{name}_conv")))?;
    body.call(&x, AveragePooling2D::new(2).strides(2).named(format!("{name}_pool")))
}

/// Batch normalization and ReLU of these names.
fn normalize(body: &mut Body, x: &SymbolicTensor, bn: &str, relu: &str) -> Result<SymbolicTensor> {
    let x = body.call(x, BatchNormalization::new().epsilon(1.001e-5).named(bn))?;
    body.call(&x, Activation::new(Relu).named(relu))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn untrained() -> Network {
        densenet121().weights("none")
    }

    #[test]
    fn with_its_top_it_has_the_published_size() {
        let model = untrained().build().unwrap();
        assert_eq!((model.count_params(), model.output_shape()), (8_062_504, &vec![1000]));
        assert_eq!(model.get_layer("conv5_block16_concat").unwrap().output_shape().unwrap(), &[7, 7, 1024]);
    }

    #[test]
    fn the_base_ends_before_the_pooling() {
        let base = untrained().include_top(false).pooling(Pooling::Max).build().unwrap();
        let outside: Vec<String> =
            base.layers()[1..].iter().filter(|layer| !layer.in_base()).map(|layer| layer.name().to_owned()).collect();
        assert_eq!(outside, ["max_pool"]);
    }

    #[test]
    fn odd_sizes_are_rounded_down_by_each_transition() {
        let base = untrained().include_top(false).input_shape([97, 65, 3]).build().unwrap();
        assert_eq!(base.output_shape(), &[3, 2, 1024]);
    }

    #[test]
    fn arguments_of_other_networks_are_refused_by_name() {
        let error = untrained().alpha(0.5).build().unwrap_err().to_string();
        assert!(error.contains("DenseNet121: expected no arguments of other networks, received alpha"), "{error}");
        let error = untrained().include_top(false).input_shape([31, 64, 3]).build().unwrap_err().to_string();
        assert!(error.contains("at least 32 by 32 pixels, received [31, 64, 3]"), "{error}");
    }
}
