//! The VGG16 network and its preprocessing.

mod preprocess;

pub use preprocess::{preprocess, preprocess_input};

use super::imagenet_arguments::ImageSizes;
use super::network::{Body, NetworkOptions, network_options};
use super::weights::{Pretrained, PretrainedFile};
use crate::Result;
use crate::hub::{VGG16, VGG16_NOTOP};
use crate::prelude::*;

/// Number of convolutions and filters of each block. A 2x2 max pooling ends each block.
const BLOCKS: [(usize, usize); 5] = [(2, 64), (2, 128), (3, 256), (3, 512), (3, 512)];

/// The minimum is 32 because five poolings reduce 32 pixels to one.
const SIZES: ImageSizes = ImageSizes { default: 224, min: 32 };

const IMAGENET: PretrainedFile = PretrainedFile { file: &VGG16, fingerprint: None };
const IMAGENET_NOTOP: PretrainedFile = PretrainedFile {
    file: &VGG16_NOTOP,
    fingerprint: Some("d9a27cc1fc7f975ef8cff49180e794ccd7c4bc868ebb49740803b3bbaa8dbefd"),
};

/// Builds VGG16 (Simonyan and Zisserman 2014, <https://arxiv.org/abs/1409.1556>; Keras' `applications.VGG16`).
///
/// VGG16 has thirteen 3x3 convolutions in five blocks. Its layers are `block1_conv1` to `block5_pool` and, with the top,
/// `flatten`, `fc1`, `fc2` and `predictions`. The eighteen layers of the blocks are recorded as the
/// [base](crate::recipe::Base) of every model that contains them. The ImageNet weights expect images preprocessed by
/// [`preprocess_input`].
///
/// The convolutional base, for transfer learning:
///
/// ```
/// use engraft::prelude::*;
/// let base = Vgg16::new().include_top(false).weights("none").input_shape([128, 128, 3]).build()?;
/// assert_eq!(base.output_shape(), &[4, 4, 512]);
/// assert_eq!(base.count_params(), 14_714_688);
/// # Ok::<(), engraft::Error>(())
/// ```
///
/// The whole network, to train from scratch on classes of your own:
///
/// ```
/// use engraft::{ActivationFn, prelude::*};
/// let network = Vgg16::new().weights("none").input_shape([64, 64, 3]).name("flowers");
/// let model = network.classes(5).classifier_activation(ActivationFn::Linear).build()?;
/// assert_eq!((model.name(), model.output_shape()), ("flowers", &vec![5]));
/// # Ok::<(), engraft::Error>(())
/// ```
///
/// ImageNet weights from a mirror, with a progress line. No server listens at this address, so the download fails:
///
/// ```
/// use engraft::{ErrorKind, hub::Hub, prelude::*};
/// let cache = tempfile::tempdir()?;
/// let mut hub = Hub::new(cache.path(), cache.path());
/// hub.mirror = Some("http://127.0.0.1:9".into());
/// let network = Vgg16::new().include_top(false).hub(hub);
/// let network = network.progress(|received, total| eprint!("\r{received} of {total:?} bytes"));
/// assert_eq!(network.build().map(drop).unwrap_err().kind(), ErrorKind::Network);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// The base applied to a tensor, with global pooling at its end:
///
/// ```
/// use engraft::prelude::*;
/// let x = RandomFlip::horizontal().call(&Input::new([64, 64, 3]))?;
/// let base = Vgg16::new().include_top(false).weights("none").input_tensor(&x).pooling(Pooling::Max).build()?;
/// assert_eq!((base.layers()[1].class_name(), base.output_shape()), ("RandomFlip", &vec![512]));
/// # Ok::<(), engraft::Error>(())
/// ```
#[must_use = "describes a network until build() is called"]
pub struct Vgg16 {
    options: NetworkOptions,
}

network_options!(Vgg16, "vgg16", "512");

impl Default for Vgg16 {
    fn default() -> Self {
        Self::new()
    }
}

impl Vgg16 {
    /// VGG16 with its top and the ImageNet weights, for images of 224 by 224 pixels.
    pub fn new() -> Self {
        Self { options: NetworkOptions::new("vgg16") }
    }

    /// Builds the model and loads its weights.
    ///
    /// Input: `[height, width, channels]`. Output: `[classes]` with the top, `[512]` with pooling, else
    /// `[height / 32, width / 32, 512]`.
    ///
    /// # Errors
    /// - The arguments contradict each other, by Keras' rules. Images must have at least 32 pixels per side.
    ///   The ImageNet weights need 3 channels and, with the top, the default shape and 1000 classes.
    ///   Pretrained weights with the top need the activation `Softmax` or `Linear`.
    /// - The weights can't be found or downloaded, or their shapes differ.
    pub fn build(self) -> Result<Model> {
        let pretrained = [IMAGENET, IMAGENET_NOTOP].map(|file| Some(Pretrained::File(file)));
        self.options.build("Vgg16", &SIZES, pretrained, network)
    }
}

fn network(options: &NetworkOptions, body: &mut Body, x: &SymbolicTensor) -> Result<SymbolicTensor> {
    let mut x = x.clone();
    for (block, (convolutions, filters)) in (1..).zip(BLOCKS) {
        for convolution in 1..=convolutions {
            let layer = Conv2D::new(filters, 3).padding(Padding::Same).activation(Relu);
            x = body.base(&x, layer.named(format!("block{block}_conv{convolution}")))?;
        }
        x = body.base(&x, MaxPooling2D::new(2).named(format!("block{block}_pool")))?;
    }
    if !options.include_top {
        return body.pool(&x, options.pooling);
    }
    x = body.call(&x, Flatten::new().named("flatten"))?;
    for name in ["fc1", "fc2"] {
        x = body.call(&x, Dense::new(4096).activation(Relu).named(name))?;
    }
    body.call(&x, Dense::new(options.classes).activation(options.classifier_activation).named("predictions"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn untrained() -> Vgg16 {
        Vgg16::new().weights("none")
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
        let trained = Vgg16::new;
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
}
