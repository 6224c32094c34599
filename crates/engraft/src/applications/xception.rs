//! Xception and its preprocessing.

use super::body::Body;
use super::imagenet_arguments::ImageSizes;
use super::weights::keras_file;
use super::{Architecture, Network, Preprocessing};
use crate::Result;
use crate::prelude::*;

pub(super) static XCEPTION: Architecture = Architecture {
    name: "xception",
    keras: Some("Xception"),
    model_name: "xception",
    sizes: ImageSizes { default: 299, min: 71, also_pretrained: &[] },
    preprocessing: Preprocessing::Tf,
    layers,
    weights: |network, _| {
        let md5 = ["0a58e3b7378bc2990ea3b43d5981f1f6", "b0042744bf5b25fce3cb969f33bebb97"];
        Some(keras_file(network, "xception", "xception_weights_tf_dim_ordering_tf_kernels", md5))
    },
    parameters: 20_861_480,
    macs: 8_357_403_496,
    top_1: Some(79.0),
    // The sums at the end of the middle and of the entry flow have automatic names. The next block activates them first.
    last_blocks: &["block13_sepconv1_act", "block4_sepconv1_act"],
    last_block: "block13_sepconv1",
    ..Architecture::DEFAULT
};

/// Xception (Chollet 2016, <https://arxiv.org/abs/1610.02357>; Keras' `applications.Xception`): 36 convolutions in 14 blocks, nearly
/// all of them depthwise separable, with residual connections.
///
/// The base ends in `block14_sepconv2_act`. The ImageNet weights expect images of 299 x 299 pixels, preprocessed by
/// [`preprocess_input`].
///
/// ```
/// assert_eq!(engraft::applications::xception().architecture().parameters(), 20_861_480);
/// ```
pub fn xception() -> Network {
    Network::new(&XCEPTION)
}

/// Adds the preprocessing of Xception to a model: RGB (0 to 255) becomes `x / 127.5 - 1`.
///
/// ```
/// use engraft::{applications::xception, prelude::*};
/// let photo = Input::new([1, 1, 3]);
/// let model = Model::new(&photo, &xception::preprocess_input(&photo)?)?;
/// let pixel = Tensor::new([1, 1, 1, 3], vec![0.0, 127.5, 255.0])?;
/// assert_eq!(model.predict(&pixel, 1)?.data(), [-1.0, 0.0, 1.0]);
/// # Ok::<(), engraft::Error>(())
/// ```
///
/// # Errors
/// None: it takes any number of channels.
pub fn preprocess_input(x: &SymbolicTensor) -> Result<SymbolicTensor> {
    XCEPTION.preprocessing.call(x)
}

/// The entry flow (blocks 1 to 4), the middle flow (5 to 12) and the exit flow (13 and 14) of the paper's figure 5.
fn layers(network: &Network, body: &mut Body, x: &SymbolicTensor) -> Result<SymbolicTensor> {
    let mut x = convolution(body, x, 32, 2, "block1_conv1")?;
    x = convolution(body, &x, 64, 1, "block1_conv2")?;
    for (block, filters) in (2..).zip([128, 256, 728]) {
        x = halving_block(body, &x, block, [filters, filters])?;
    }
    for block in 5..=12 {
        x = middle_block(body, &x, block)?;
    }
    x = halving_block(body, &x, 13, [728, 1024])?;
    for (number, filters) in (1..).zip([1536, 2048]) {
        x = separable(body, &x, filters, &format!("block14_sepconv{number}"))?;
        x = relu(body, &x, &format!("block14_sepconv{number}"))?;
    }
    if network.include_top { body.pooled_top(network, &x) } else { body.pool(network, &x) }
}

/// Two separable convolutions with these filters and a pooling, which halves the image, added to a 1x1 convolution of stride 2.
fn halving_block(body: &mut Body, input: &SymbolicTensor, block: usize, filters: [usize; 2]) -> Result<SymbolicTensor> {
    let project = Conv2D::new(filters[1], 1).strides(2).padding(Padding::Same).use_bias(false);
    let mut residual = body.call(input, project)?;
    residual = body.call(&residual, BatchNormalization::new())?;
    let mut x = input.clone();
    for (number, filters) in (1..).zip(filters) {
        let name = format!("block{block}_sepconv{number}");
        // The first block is activated already.
        if (block, number) != (2, 1) {
            x = relu(body, &x, &name)?;
        }
        x = separable(body, &x, filters, &name)?;
    }
    let pool = MaxPooling2D::new(3).strides(2).padding(Padding::Same);
    x = body.call(&x, pool.named(format!("block{block}_pool")))?;
    body.call([&x, &residual], Add::new())
}

/// Three separable convolutions, added to the input.
fn middle_block(body: &mut Body, input: &SymbolicTensor, block: usize) -> Result<SymbolicTensor> {
    let mut x = input.clone();
    for number in 1..=3 {
        let name = format!("block{block}_sepconv{number}");
        x = relu(body, &x, &name)?;
        x = separable(body, &x, 728, &name)?;
    }
    body.call([&x, input], Add::new())
}

/// A 3x3 convolution `{name}`, normalized and activated.
fn convolution(
    body: &mut Body,
    x: &SymbolicTensor,
    filters: usize,
    strides: usize,
    name: &str,
) -> Result<SymbolicTensor> {
    let x = body.call(x, Conv2D::new(filters, 3).strides(strides).use_bias(false).named(name))?;
    let x = body.call(&x, BatchNormalization::new().named(format!("{name}_bn")))?;
    relu(body, &x, name)
}

/// A separable 3x3 convolution `{name}`, normalized.
fn separable(body: &mut Body, x: &SymbolicTensor, filters: usize, name: &str) -> Result<SymbolicTensor> {
    let conv = SeparableConv2D::new(filters, 3).padding(Padding::Same).use_bias(false);
    let x = body.call(x, conv.named(name))?;
    body.call(&x, BatchNormalization::new().named(format!("{name}_bn")))
}

fn relu(body: &mut Body, x: &SymbolicTensor, name: &str) -> Result<SymbolicTensor> {
    body.call(x, Activation::new(Relu).named(format!("{name}_act")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn untrained() -> Network {
        xception().weights("none")
    }

    #[test]
    fn with_its_top_it_has_the_published_size() {
        let model = untrained().input_shape([71, 71, 3]).build().unwrap();
        assert_eq!((model.name(), model.count_params()), ("xception", 22_910_480));
    }

    #[test]
    fn the_smallest_and_odd_sizes_leave_pixels_at_its_end() {
        for (size, end) in [([71, 71, 3], [3, 3, 2048]), ([97, 160, 3], [3, 5, 2048])] {
            let base = untrained().include_top(false).input_shape(size).build().unwrap();
            assert_eq!(base.output_shape(), &end);
            assert_eq!(base.layers().last().unwrap().name(), "block14_sepconv2_act");
        }
    }

    #[test]
    fn arguments_that_do_not_fit_are_refused_by_name() {
        let error = untrained().input_shape([71, 70, 3]).build().unwrap_err().to_string();
        assert!(
            error.contains("Xception: expected images of at least 71 by 71 pixels, received [71, 70, 3]"),
            "{error}"
        );
        let error = untrained().minimalistic(true).build().unwrap_err().to_string();
        assert!(error.contains("no arguments of other networks, received minimalistic"), "{error}");
    }
}
