//! VGG16 and its preprocessing; [`vgg19`](super::vgg19()) shares its blocks.

use super::body::Body;
use super::weights::Pretrained;
use super::{Architecture, Network, Preprocessing};
use crate::hub::{VGG16 as WEIGHTS, VGG16_NOTOP as WEIGHTS_NOTOP};
use crate::prelude::*;
use crate::{Error, Result};

pub(super) static VGG16: Architecture = Architecture {
    name: "vgg16",
    keras: Some("VGG16"),
    model_name: "vgg16",
    layers: |network, body, x| layers([2, 2, 3, 3, 3], network, body, x),
    weights: |network, _| {
        Some(match network.include_top {
            true => Pretrained::file(WEIGHTS),
            false => Pretrained::file(WEIGHTS_NOTOP)
                .fingerprint("d9a27cc1fc7f975ef8cff49180e794ccd7c4bc868ebb49740803b3bbaa8dbefd"),
        })
    },
    top: &["fc1", "fc2", "predictions"],
    parameters: 14_714_688,
    macs: 15_470_264_320,
    top_1: Some(71.3),
    ..VGG
};

/// What both VGG networks have in common.
pub(super) const VGG: Architecture = Architecture {
    preprocessing: Preprocessing::Caffe,
    last_blocks: &["block4_pool"],
    last_block: "block5_conv1",
    ..Architecture::DEFAULT
};

/// VGG16 (Simonyan and Zisserman 2014, <https://arxiv.org/abs/1409.1556>; Keras' `applications.VGG16`).
///
/// VGG16 has thirteen 3x3 convolutions in five blocks. Its layers are `block1_conv1` to `block5_pool` and, with the top,
/// `flatten`, `fc1`, `fc2` and `predictions`. The eighteen layers of the blocks are recorded as the
/// [base](crate::recipe::Base) of every model that contains them. The ImageNet weights expect images preprocessed by
/// [`preprocess_input`].
///
/// ```
/// use engraft::prelude::*;
/// let base = vgg16().include_top(false).weights("none").input_shape([128, 128, 3]).build()?;
/// assert_eq!(base.output_shape(), &[4, 4, 512]);
/// assert_eq!(base.count_params(), 14_714_688);
/// # Ok::<(), engraft::Error>(())
/// ```
pub fn vgg16() -> Network {
    Network::new(&VGG16)
}

/// The five blocks, with this number of convolutions each, and the top.
pub(super) fn layers(
    convolutions: [usize; 5],
    network: &Network,
    body: &mut Body,
    x: &SymbolicTensor,
) -> Result<SymbolicTensor> {
    let mut x = x.clone();
    for (block, (convolutions, filters)) in (1..).zip(convolutions.into_iter().zip([64, 128, 256, 512, 512])) {
        for convolution in 1..=convolutions {
            let layer = Conv2D::new(filters, 3).padding(Padding::Same).activation(Relu);
            x = body.call(&x, layer.named(format!("block{block}_conv{convolution}")))?;
        }
        x = body.call(&x, MaxPooling2D::new(2).named(format!("block{block}_pool")))?;
    }
    if !network.include_top {
        return body.pool(network, &x);
    }
    body.end_of_base();
    x = body.call(&x, Flatten::new().named("flatten"))?;
    for name in ["fc1", "fc2"] {
        x = body.call(&x, Dense::new(4096).activation(Relu).named(name))?;
    }
    body.classifier(network, &x)
}

/// Adds VGG16's preprocessing to a model: RGB (0 to 255) becomes BGR, minus the ImageNet mean of each channel, not scaled.
///
/// The values are those of `keras.applications.vgg16.preprocess_input`. The preprocessing is two layers, `Flip` and `Rescaling`,
/// which are saved with the model. So the saved model takes raw RGB photos, in Keras too.
///
/// Shapes: `[height, width, 3]` to `[height, width, 3]`.
///
/// ```
/// use engraft::{applications::vgg16, prelude::*};
/// let photo = Input::new([1, 1, 3]);
/// let model = Model::new(&photo, &vgg16::preprocess_input(&photo)?)?;
/// let red = Tensor::new([1, 1, 1, 3], vec![255.0, 0.0, 0.0])?;
/// assert_eq!(model.predict(&red, 1)?.data(), [-103.939, -116.779, 255.0 - 123.68]);
/// # Ok::<(), engraft::Error>(())
/// ```
///
/// # Errors
/// The last axis doesn't have 3 channels.
pub fn preprocess_input(x: &SymbolicTensor) -> Result<SymbolicTensor> {
    VGG16.preprocessing.call(x)
}

/// Preprocesses photos in memory, `[.., 3]`, in place; the values are those of [`preprocess_input`].
///
/// ```
/// use engraft::{Tensor, applications::vgg16};
/// let mut pixel = Tensor::new([1, 1, 1, 3], vec![255.0, 0.0, 103.939])?;
/// vgg16::preprocess(&mut pixel)?;
/// assert_eq!(pixel.data(), [0.0, -116.779, 255.0 - 123.68]);
/// # Ok::<(), engraft::Error>(())
/// ```
///
/// # Errors
/// The last axis doesn't have 3 channels.
pub fn preprocess(photos: &mut Tensor) -> Result<()> {
    if photos.shape().last() != Some(&3) {
        return Err(Error::new("vgg16::preprocess", "RGB photos, [.., 3]", format_args!("{:?}", photos.shape())));
    }
    for pixel in photos.data_mut().chunks_exact_mut(3) {
        pixel.reverse();
        pixel.iter_mut().zip(super::preprocessing::MEAN_BGR).for_each(|(value, mean)| *value -= mean);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn untrained() -> Network {
        vgg16().weights("none")
    }

    fn names(model: &Model) -> Vec<String> {
        model.layers().iter().map(|layer| layer.name().to_owned()).collect()
    }

    #[test]
    fn with_its_top_it_has_the_published_size() {
        let model = untrained().build().unwrap();
        assert_eq!(model.count_params(), 138_357_544);
        assert_eq!((model.name(), model.output_shape()), ("vgg16", &vec![1000]));
        assert_eq!(names(&model)[18..], ["block5_pool", "flatten", "fc1", "fc2", "predictions"]);
    }

    #[test]
    fn its_base_is_recorded_up_to_the_last_pooling() {
        for network in [untrained(), untrained().include_top(false).pooling(Pooling::Avg)] {
            let model = network.build().unwrap();
            let layers = model.layers();
            let base: Vec<&str> = layers.iter().filter(|layer| layer.in_base()).map(Layer::name).collect();
            assert_eq!((base.len(), base[0], base[17]), (18, "block1_conv1", "block5_pool"));
        }
    }

    #[test]
    fn without_its_top_it_ends_in_an_image_or_is_pooled() {
        let bare = || untrained().include_top(false).input_shape([64, 96, 3]);
        assert_eq!(bare().build().unwrap().output_shape(), &[2, 3, 512]);
        for (pooling, last) in [(Pooling::Avg, "global_average_pooling2d"), (Pooling::Max, "global_max_pooling2d")] {
            let model = bare().pooling(pooling).build().unwrap();
            assert_eq!(model.output_shape(), &[512]);
            assert!(names(&model).last().unwrap().starts_with(last));
        }
        assert_eq!(untrained().include_top(false).build().unwrap().input_shape(), &[224, 224, 3]);
    }

    #[test]
    fn called_on_a_tensor_it_begins_where_that_comes_from() {
        let inputs = Input::named("photo", [64, 64, 3]);
        let x = RandomFlip::horizontal().named("mirror").call(&inputs).unwrap();
        let base = untrained().include_top(false).input_tensor(&x).build().unwrap();
        assert_eq!(names(&base)[..3], ["photo", "mirror", "block1_conv1"]);
    }

    #[test]
    fn arguments_that_do_not_fit_are_named() {
        let trained = vgg16;
        let x = Input::new([64, 64, 3]);
        for (network, expected) in [
            (
                trained().classes(5),
                "expected 1000 classes with include_top and the ImageNet weights, received 5\nhint: ",
            ),
            (trained().input_shape([128, 128, 3]), "expected [224, 224, 3] with include_top and the ImageNet weights"),
            (trained().classifier_activation(Relu), "expected classifier_activation Softmax or Linear"),
            (trained().include_top(false).input_shape([64, 64, 1]), "expected 3 channels with the ImageNet weights"),
            (untrained().include_top(false).input_shape([64, 31, 3]), "at least 32 by 32 pixels, received [64, 31, 3]"),
            (untrained().input_tensor(&Input::new([7])), "expected images, [height, width, channels], received [7]"),
            (untrained().input_tensor(&x).input_shape([32, 32, 3]), "expected input_tensor of input_shape [32, 32, 3]"),
            (
                untrained().weights("imagnet"),
                "expected `imagenet`, `none` or the path of a weights file, received imagnet",
            ),
        ] {
            let error = network.build().unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn a_random_network_takes_any_classes_channels_and_activation() {
        let model = untrained().classes(7).input_shape([32, 32, 1]).classifier_activation(Sigmoid).build().unwrap();
        assert_eq!((model.input_shape(), model.output_shape()), (&vec![32, 32, 1], &vec![7]));
    }

    #[test]
    fn preprocessing_is_two_layers() {
        let x = preprocess_input(&Input::new([8, 8, 3])).unwrap();
        assert_eq!((x.layer().class_name(), x.inputs()[0].layer().class_name()), ("Rescaling", "Flip"));
        assert!(preprocess_input(&Input::new([8, 8, 1])).is_err());
        assert!(preprocess(&mut Tensor::zeros([1, 2])).is_err());
    }
}
