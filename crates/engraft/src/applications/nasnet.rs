//! The NASNet-A networks of Keras, and their preprocessing.

use super::body::Body;
use super::correct_pad::correct_pad;
use super::imagenet_arguments::ImageSizes;
use super::weights::{KERAS_SERVER, Pretrained, file_at};
use super::{Architecture, Network, Preprocessing};
use crate::Result;
use crate::prelude::*;

/// How a network of the family is scaled.
struct Scale {
    /// Filters of the first convolution.
    stem_filters: usize,
    /// Filters of a cell of the first stage; each stage has twice as many as the one before.
    filters: usize,
    /// Normal cells of each stage (`N` in the paper).
    cells: usize,
    /// Whether the first normal cell of a stage reads, beside the reduction cell, the cell two before that instead of the one
    /// before (Keras' `skip_reduction`).
    skip_reduction: bool,
}

const MOBILE: Scale = Scale { stem_filters: 32, filters: 44, cells: 4, skip_reduction: false };
const LARGE: Scale = Scale { stem_filters: 96, filters: 168, cells: 6, skip_reduction: true };

pub(super) static NASNET_MOBILE: Architecture = Architecture {
    name: "nasnet-mobile",
    keras: Some("NASNetMobile"),
    model_name: "nasnet_mobile",
    sizes: ImageSizes { default: 224, min: 32, also_pretrained: &[] },
    layers: |network, body, x| layers(&MOBILE, network, body, x),
    weights: |network, _| {
        Some(weights(network, "mobile", ["020fb642bf7360b370c678b08e0adf61", "1ed92395b5b598bdda52abe5c0dbfd63"]))
    },
    parameters: 4_269_716,
    macs: 563_638_816,
    top_1: Some(74.4),
    last_blocks: &["normal_concat_8", "normal_concat_3"],
    last_block: "reduction_conv_1_reduce_8",
    ..NASNET
};

pub(super) static NASNET_LARGE: Architecture = Architecture {
    name: "nasnet-large",
    keras: Some("NASNetLarge"),
    model_name: "nasnet_large",
    sizes: ImageSizes { default: 331, min: 32, also_pretrained: &[] },
    layers: |network, body, x| layers(&LARGE, network, body, x),
    weights: |network, _| {
        Some(weights(network, "large", ["11577c9a518f0070763c2b964a382f17", "d81d89dc07e6e56530c4e77faddd61b5"]))
    },
    parameters: 84_916_818,
    macs: 23_783_414_658,
    top_1: Some(82.5),
    last_blocks: &["normal_concat_12", "normal_concat_5"],
    last_block: "reduction_conv_1_reduce_12",
    ..NASNET
};

/// What the networks of the family have in common.
const NASNET: Architecture = Architecture { preprocessing: Preprocessing::Tf, ..Architecture::DEFAULT };

/// The files with and without the top, which have other names on the server than in Keras' folder.
fn weights(network: &Network, scale: &str, [with_top, without_top]: [&'static str; 2]) -> Pretrained {
    let (on_server, here, md5) = match network.include_top {
        true => ("", "", with_top),
        false => ("-no-top", "_no_top", without_top),
    };
    let url = format!("{KERAS_SERVER}/nasnet/NASNet-{scale}{on_server}.h5");
    file_at(url, format!("nasnet_{scale}{here}.h5"), md5)
}

/// NASNet-A Mobile (Zoph et al. 2017, <https://arxiv.org/abs/1707.07012>; Keras' `applications.NASNetMobile`): cells of separable
/// convolutions and poolings, which a search found.
///
/// A cell reads the outputs of the two cells before it. Three stages of four normal cells, `normal_concat_0` to
/// `normal_concat_12`, each follow a reduction cell. The base ends in an activation with an automatic name. The ImageNet weights
/// expect images preprocessed by [`preprocess_input`].
///
/// ```
/// use engraft::prelude::*;
/// let network = engraft::applications::nasnet_mobile();
/// let base = network.include_top(false).weights("none").input_shape([32, 32, 3]).build()?;
/// assert_eq!((base.output_shape(), base.count_params()), (&vec![1, 1, 1056], 4_269_716));
/// # Ok::<(), engraft::Error>(())
/// ```
pub fn nasnet_mobile() -> Network {
    Network::new(&NASNET_MOBILE)
}

/// NASNet-A Large (Keras' `applications.NASNetLarge`): a [`nasnet_mobile`] with six normal cells in each stage and nearly four
/// times as many filters, for images of 331 x 331 pixels.
///
/// ```
/// assert_eq!(engraft::applications::nasnet_large().architecture().parameters(), 84_916_818);
/// ```
pub fn nasnet_large() -> Network {
    Network::new(&NASNET_LARGE)
}

/// Adds the preprocessing of the NASNets to a model: RGB (0 to 255) becomes `x / 127.5 - 1`.
///
/// ```
/// use engraft::{applications::nasnet, prelude::*};
/// let photo = Input::new([1, 1, 3]);
/// let model = Model::new(&photo, &nasnet::preprocess_input(&photo)?)?;
/// let pixel = Tensor::new([1, 1, 1, 3], vec![0.0, 127.5, 255.0])?;
/// assert_eq!(model.predict(&pixel, 1)?.data(), [-1.0, 0.0, 1.0]);
/// # Ok::<(), engraft::Error>(())
/// ```
///
/// # Errors
/// None: it takes any number of channels.
pub fn preprocess_input(x: &SymbolicTensor) -> Result<SymbolicTensor> {
    NASNET.preprocessing.call(x)
}

fn layers(scale: &Scale, network: &Network, body: &mut Body, x: &SymbolicTensor) -> Result<SymbolicTensor> {
    let conv = Conv2D::new(scale.stem_filters, 3).strides(2).use_bias(false);
    let stem = body.call(x, conv.kernel_initializer(Initializer::he_normal()).named("stem_conv1"))?;
    let stem = normalize(body, &stem, "stem_bn1")?;
    let mut previous = reduction_cell(body, &stem, None, scale.filters / 4, "stem_1")?;
    let mut x = reduction_cell(body, &previous, Some(&stem), scale.filters / 2, "stem_2")?;
    for stage in 0..3 {
        let filters = scale.filters << stage;
        if stage > 0 {
            let reduced =
                reduction_cell(body, &x, Some(&previous), filters, &format!("reduce_{}", stage * scale.cells))?;
            let before = std::mem::replace(&mut x, reduced);
            if !scale.skip_reduction {
                previous = before;
            }
        }
        // Keras counts the reduction cells, but not those of the stem.
        let first = stage * scale.cells + stage.min(1);
        for cell in first..first + scale.cells {
            let y = normal_cell(body, &x, &previous, filters, &cell.to_string())?;
            previous = std::mem::replace(&mut x, y);
        }
    }
    x = body.call(&x, Activation::new(Relu))?;
    if !network.include_top {
        return body.pool(network, &x);
    }
    body.end_of_base();
    x = body.call(&x, GlobalAveragePooling2D::new())?;
    body.classifier(network, &x)
}

/// A normal cell (the paper's figure 4, left), which keeps the size of its input.
fn normal_cell(
    body: &mut Body,
    input: &SymbolicTensor,
    previous: &SymbolicTensor,
    filters: usize,
    cell: &str,
) -> Result<SymbolicTensor> {
    let p = adjust(body, previous, input, filters, cell)?;
    let h = squeeze(body, input, filters, "normal", cell)?;
    let average = || AveragePooling2D::new(3).strides(1).padding(Padding::Same);
    let name = |part: &str| format!("normal_{part}_{cell}");

    let left = separable(body, &h, filters, 5, 1, &name("left1"))?;
    let right = separable(body, &p, filters, 3, 1, &name("right1"))?;
    let x1 = body.call([&left, &right], Add::new().named(name("add_1")))?;

    let left = separable(body, &p, filters, 5, 1, &name("left2"))?;
    let right = separable(body, &p, filters, 3, 1, &name("right2"))?;
    let x2 = body.call([&left, &right], Add::new().named(name("add_2")))?;

    let left = body.call(&h, average().named(name("left3")))?;
    let x3 = body.call([&left, &p], Add::new().named(name("add_3")))?;

    let left = body.call(&p, average().named(name("left4")))?;
    let right = body.call(&p, average().named(name("right4")))?;
    let x4 = body.call([&left, &right], Add::new().named(name("add_4")))?;

    let left = separable(body, &h, filters, 3, 1, &name("left5"))?;
    let x5 = body.call([&left, &h], Add::new().named(name("add_5")))?;
    body.call([&p, &x1, &x2, &x3, &x4, &x5], Concatenate::new().named(name("concat")))
}

/// A reduction cell (the paper's figure 4, right), which halves the size of its input. The first one has no `previous` output.
fn reduction_cell(
    body: &mut Body,
    input: &SymbolicTensor,
    previous: Option<&SymbolicTensor>,
    filters: usize,
    cell: &str,
) -> Result<SymbolicTensor> {
    let p = match previous {
        Some(previous) => adjust(body, previous, input, filters, cell)?,
        None => input.clone(),
    };
    let h = squeeze(body, input, filters, "reduction", cell)?;
    let name = |part: &str| format!("reduction_{part}_{cell}");
    let padded = body.call(&h, correct_pad(&h, 3).named(name("pad_1")))?;

    let left = separable(body, &h, filters, 5, 2, &name("left1"))?;
    let right = separable(body, &p, filters, 7, 2, &name("right1"))?;
    let x1 = body.call([&left, &right], Add::new().named(name("add_1")))?;

    let left = body.call(&padded, MaxPooling2D::new(3).strides(2).named(name("left2")))?;
    let right = separable(body, &p, filters, 7, 2, &name("right2"))?;
    let x2 = body.call([&left, &right], Add::new().named(name("add_2")))?;

    let left = body.call(&padded, AveragePooling2D::new(3).strides(2).named(name("left3")))?;
    let right = separable(body, &p, filters, 5, 2, &name("right3"))?;
    let x3 = body.call([&left, &right], Add::new().named(name("add3")))?;

    let right = body.call(&x1, AveragePooling2D::new(3).strides(1).padding(Padding::Same).named(name("left4")))?;
    let x4 = body.call([&x2, &right], Add::new())?;

    let left = separable(body, &x1, filters, 3, 1, &name("left4"))?;
    let right = body.call(&padded, MaxPooling2D::new(3).strides(2).named(name("right5")))?;
    let x5 = body.call([&left, &right], Add::new().named(name("add4")))?;
    body.call([&x2, &x3, &x4, &x5], Concatenate::new().named(name("concat")))
}

/// The output of the cell before, with the width of `input` and this number of filters.
fn adjust(
    body: &mut Body,
    previous: &SymbolicTensor,
    input: &SymbolicTensor,
    filters: usize,
    cell: &str,
) -> Result<SymbolicTensor> {
    let [width, expected] = [previous, input].map(|x| x.shape().get(1));
    if width != expected {
        return halve(body, previous, filters, cell);
    }
    if previous.shape().last() == Some(&filters) {
        return Ok(previous.clone());
    }
    let x = body.call(previous, Activation::new(Relu))?;
    let x = body.call(&x, pointwise(filters).named(format!("adjust_conv_projection_{cell}")))?;
    normalize(body, &x, &format!("adjust_bn_{cell}"))
}

/// Halves an image: one half of the filters sees the pixels with even indices, the other those with odd indices.
fn halve(body: &mut Body, x: &SymbolicTensor, filters: usize, cell: &str) -> Result<SymbolicTensor> {
    let active = body.call(x, Activation::new(Relu).named(format!("adjust_relu_1_{cell}")))?;
    let even = every_second(body, &active, filters / 2, 1, cell)?;
    let odd = body.call(&active, ZeroPadding2D::new([[0, 1], [0, 1]]))?;
    let odd = body.call(&odd, Cropping2D::new([[1, 0], [1, 0]]))?;
    let odd = every_second(body, &odd, filters / 2, 2, cell)?;
    let x = body.call([&even, &odd], Concatenate::new())?;
    normalize(body, &x, &format!("adjust_bn_{cell}"))
}

/// A 1x1 convolution of every second pixel.
fn every_second(
    body: &mut Body,
    x: &SymbolicTensor,
    filters: usize,
    number: usize,
    cell: &str,
) -> Result<SymbolicTensor> {
    let pool = AveragePooling2D::new(1).strides(2);
    let x = body.call(x, pool.named(format!("adjust_avg_pool_{number}_{cell}")))?;
    body.call(&x, pointwise(filters).named(format!("adjust_conv_{number}_{cell}")))
}

/// ReLU, a 1x1 convolution and normalization at the start of a cell of this `kind`.
fn squeeze(body: &mut Body, x: &SymbolicTensor, filters: usize, kind: &str, cell: &str) -> Result<SymbolicTensor> {
    let x = body.call(x, Activation::new(Relu))?;
    let x = body.call(&x, pointwise(filters).named(format!("{kind}_conv_1_{cell}")))?;
    normalize(body, &x, &format!("{kind}_bn_1_{cell}"))
}

/// ReLU, a separable convolution and normalization, twice. Only the first convolution has `strides`.
fn separable(
    body: &mut Body,
    x: &SymbolicTensor,
    filters: usize,
    kernel: usize,
    strides: usize,
    name: &str,
) -> Result<SymbolicTensor> {
    let conv = || SeparableConv2D::new(filters, kernel).use_bias(false);
    let mut x = body.call(x, Activation::new(Relu))?;
    let first = if strides == 1 {
        conv().padding(Padding::Same)
    } else {
        x = body.call(&x, correct_pad(&x, kernel).named(format!("separable_conv_1_pad_{name}")))?;
        conv().strides(strides)
    };
    x = body.call(&x, first.named(format!("separable_conv_1_{name}")))?;
    x = normalize(body, &x, &format!("separable_conv_1_bn_{name}"))?;
    x = body.call(&x, Activation::new(Relu))?;
    x = body.call(&x, conv().padding(Padding::Same).named(format!("separable_conv_2_{name}")))?;
    normalize(body, &x, &format!("separable_conv_2_bn_{name}"))
}

fn pointwise(filters: usize) -> Conv2D {
    Conv2D::new(filters, 1).padding(Padding::Same).use_bias(false).kernel_initializer(Initializer::he_normal())
}

fn normalize(body: &mut Body, x: &SymbolicTensor, name: &str) -> Result<SymbolicTensor> {
    body.call(x, BatchNormalization::new().momentum(0.9997).named(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn untrained() -> Network {
        nasnet_mobile().weights("none")
    }

    #[test]
    fn with_its_top_it_has_the_published_size() {
        let model = untrained().build().unwrap();
        assert_eq!((model.name(), model.count_params()), ("nasnet_mobile", 5_326_716));
        assert_eq!(model.output_shape(), &[1000]);
    }

    #[test]
    fn the_base_ends_in_an_activation() {
        let base = untrained().include_top(false).pooling(Pooling::Avg).build().unwrap();
        let layers = base.layers();
        let base: Vec<&Layer> = layers[1..].iter().filter(|layer| layer.in_base()).collect();
        assert_eq!(base.len(), layers.len() - 2);
        assert_eq!(base.last().unwrap().output_shape().unwrap(), &[7, 7, 1056]);
        assert_eq!(base.last().unwrap().class_name(), "Activation");
    }

    #[test]
    fn odd_sizes_are_rounded_up_by_each_reduction() {
        // The first convolution, which isn't padded, leaves 48 and 32 pixels.
        let base = untrained().include_top(false).input_shape([97, 65, 3]).build().unwrap();
        assert_eq!(base.output_shape(), &[3, 2, 1056]);
        assert_eq!(base.get_layer("reduction_concat_stem_2").unwrap().output_shape().unwrap()[..2], [12, 8]);
    }

    #[test]
    fn arguments_that_do_not_fit_are_refused_by_name() {
        let error = untrained().input_shape([32, 31, 3]).build().unwrap_err().to_string();
        assert!(
            error.contains("NASNetMobile: expected images of at least 32 by 32 pixels, received [32, 31, 3]"),
            "{error}"
        );
        let error = nasnet_large().depth_multiplier(2).build().unwrap_err().to_string();
        assert!(
            error.contains("NASNetLarge: expected no arguments of other networks, received depth_multiplier"),
            "{error}"
        );
    }
}
