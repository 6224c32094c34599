//! [`Network`]: builds a network of [`applications`](super) with the arguments of Keras.

use std::collections::HashSet;

use super::body::Body;
use super::imagenet_arguments::{CLASSES, ImagenetArguments};
use super::weights::{self, Pretrained};
use super::{Architecture, Pooling, PublishedWeights, Weights, weights_file};
use crate::hub::Hub;
use crate::prelude::*;
use crate::{ActivationFn, Error, Result, Shape};

/// A network of `keras.applications`, or one like them, that is being described: [`build`](Self::build) makes the model.
///
/// The functions of [`applications`](super) return it, such as [`vgg16`](super::vgg16()) and [`resnet50`](super::resnet50()). Its
/// methods are the arguments of those functions in Keras.
///
/// The convolutional base, for transfer learning:
///
/// ```
/// use engraft::applications::mobilenet_v2;
/// use engraft::prelude::*;
/// let network = mobilenet_v2().include_top(false).weights("none").input_shape([96, 96, 3]).pooling(Pooling::Avg);
/// let base = network.build()?;
/// assert_eq!((base.output_shape(), base.count_params()), (&vec![1280], 2_257_984));
/// # Ok::<(), engraft::Error>(())
/// ```
///
/// The whole network, to train from scratch on classes of your own:
///
/// ```
/// use engraft::{ActivationFn, prelude::*};
/// let network = vgg16().weights("none").input_shape([64, 64, 3]).name("flowers");
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
/// let network = vgg16().include_top(false).hub(hub);
/// let network = network.progress(|received, total| eprint!("\r{received} of {total:?} bytes"));
/// assert_eq!(network.build().map(drop).unwrap_err().kind(), ErrorKind::Network);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Raw photos, mirrored at random, preprocessed as the network expects:
///
/// ```
/// use engraft::prelude::*;
/// let x = RandomFlip::horizontal().call(&Input::new([64, 64, 3]))?;
/// let network = vgg16().include_top(false).weights("none").pooling(Pooling::Max);
/// let base = network.input_tensor(&vgg16::preprocess_input(&x)?).build()?;
/// assert_eq!((base.layers()[1].class_name(), base.output_shape()), ("RandomFlip", &vec![512]));
/// # Ok::<(), engraft::Error>(())
/// ```
#[must_use = "describes a network until build() is called"]
pub struct Network {
    pub(super) architecture: &'static Architecture,
    pub(super) include_top: bool,
    pub(super) weights: Weights,
    input_tensor: Option<SymbolicTensor>,
    input_shape: Option<[usize; 3]>,
    pub(super) pooling: Option<Pooling>,
    pub(super) classes: usize,
    pub(super) classifier_activation: ActivationFn,
    name: Option<String>,
    pub(super) alpha: f64,
    pub(super) depth_multiplier: usize,
    pub(super) minimalistic: bool,
    pub(super) include_preprocessing: bool,
    pub(super) dropout: Option<f32>,
    /// The arguments given that only some networks have.
    given: Vec<&'static str>,
    hub: Option<Hub>,
    progress: Box<dyn FnMut(u64, Option<u64>)>,
}

impl Network {
    /// A network with Keras' defaults: with its top and the ImageNet weights.
    ///
    /// ```
    /// use engraft::applications::{Architecture, Network};
    /// let model = Network::new(Architecture::find("ResNet50")?).weights("none").input_shape([32, 32, 3]).build()?;
    /// assert_eq!(model.output_shape(), &[1000]);
    /// # Ok::<(), engraft::Error>(())
    /// ```
    pub fn new(architecture: &'static Architecture) -> Self {
        Self {
            architecture,
            include_top: true,
            weights: Weights::Imagenet,
            input_tensor: None,
            input_shape: None,
            pooling: None,
            classes: CLASSES,
            classifier_activation: Softmax,
            name: None,
            alpha: 1.0,
            depth_multiplier: 1,
            minimalistic: false,
            include_preprocessing: true,
            dropout: None,
            given: Vec::new(),
            hub: None,
            progress: Box::new(|_, _| {}),
        }
    }

    /// What is known of the network before it is built.
    pub fn architecture(&self) -> &'static Architecture {
        self.architecture
    }

    /// Whether to include the classifier at the end; true by default.
    pub fn include_top(mut self, include_top: bool) -> Self {
        self.include_top = include_top;
        self
    }

    /// Initial weights: `"imagenet"` (the default), `"none"` for random ones, or the path of a file; see [`Weights`].
    pub fn weights(mut self, weights: impl Into<Weights>) -> Self {
        self.weights = weights.into();
        self
    }

    /// Applies the network to `tensor` instead of a new input. The model then includes the layers that produced `tensor`.
    ///
    /// Deviation from Keras: a MobileNet or MobileNetV2 gets the ImageNet weights for the image size of `tensor`. Keras loads those
    /// for 224 pixels if `input_shape` isn't given too (MobileNetV2: without the top).
    ///
    /// Every network refuses an [`input_shape`](Self::input_shape) other than the shape of `tensor`; Keras checks it for some only.
    pub fn input_tensor(mut self, tensor: &SymbolicTensor) -> Self {
        self.input_tensor = Some(tensor.clone());
        self
    }

    /// Height and width of the input in pixels, and its number of channels.
    ///
    /// By default, the size at which the network was trained, with 3 channels. Keras' default without the top leaves height and
    /// width open; here they are fixed. With an [`input_tensor`](Self::input_tensor), it must be the shape of that tensor.
    pub fn input_shape(mut self, shape: [usize; 3]) -> Self {
        self.input_shape = Some(shape);
        self
    }

    /// Adds global pooling to a network without its top: the output is one number for each channel.
    pub fn pooling(mut self, pooling: Pooling) -> Self {
        self.pooling = Some(pooling);
        self
    }

    /// Number of classes of the top; 1000 by default.
    pub fn classes(mut self, classes: usize) -> Self {
        self.classes = classes;
        self
    }

    /// Activation of the last layer of the top: `Softmax` by default, `ActivationFn::Linear` for logits.
    pub fn classifier_activation(mut self, activation: ActivationFn) -> Self {
        self.classifier_activation = activation;
        self
    }

    /// The model's name; Keras' name of the network by default.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Width multiplier of a MobileNet: the number of filters of each layer is multiplied by it; above 0, at most 1000; 1 by default.
    pub fn alpha(mut self, alpha: f64) -> Self {
        self.alpha = alpha;
        self.given.push("alpha");
        self
    }

    /// Filters per channel of MobileNet's depthwise convolutions; 1 by default.
    pub fn depth_multiplier(mut self, depth_multiplier: usize) -> Self {
        self.depth_multiplier = depth_multiplier;
        self.given.push("depth_multiplier");
        self
    }

    /// Whether a MobileNetV3 has neither 5x5 convolutions, hard-swish nor squeeze-and-excitation; false by default.
    pub fn minimalistic(mut self, minimalistic: bool) -> Self {
        self.minimalistic = minimalistic;
        self.given.push("minimalistic");
        self
    }

    /// Whether a MobileNetV3, EfficientNetV2 or ConvNeXt begins with layers that scale pixels from 0 to 255; true by default.
    pub fn include_preprocessing(mut self, include_preprocessing: bool) -> Self {
        self.include_preprocessing = include_preprocessing;
        self.given.push("include_preprocessing");
        self
    }

    /// Dropout rate before the classifier of a MobileNet or MobileNetV3; Keras' default if not given.
    pub fn dropout(mut self, rate: f32) -> Self {
        self.dropout = Some(rate);
        self.given.push("dropout");
        self
    }

    /// Finds, downloads and caches the ImageNet weights; [`Hub::from_env`] by default.
    pub fn hub(mut self, hub: Hub) -> Self {
        self.hub = Some(hub);
        self
    }

    /// Callback for download progress. Its arguments are the bytes received so far and, if known, the total.
    pub fn progress(mut self, progress: impl FnMut(u64, Option<u64>) + 'static) -> Self {
        self.progress = Box::new(progress);
        self
    }

    /// Builds the model and loads its weights.
    ///
    /// Input: `[height, width, channels]`, with the pixels that the network's `preprocess_input` returns. Output: `[classes]` with
    /// the top, one number for each channel with pooling, else `[height, width, channels]` of the last feature map.
    ///
    /// # Errors
    /// - The arguments contradict each other, by Keras' rules. The ImageNet weights need 3 channels and, with the top, 1000 classes
    ///   and, but for MobileNetV3, the default shape. Pretrained weights with the top need the activation `Softmax` or `Linear`. Images must have at
    ///   least [`min_image_size`](Architecture::min_image_size) pixels per side.
    /// - An argument is given that this network doesn't have.
    /// - The weights can't be found or downloaded, or their shapes differ.
    pub fn build(mut self) -> Result<Model> {
        let shape = self.check()?;
        let input = self.input_tensor.take().unwrap_or_else(|| Input::new(shape.clone()));
        let mut body = Body::default();
        let output = (self.architecture.layers)(&self, &mut body, &input)?;
        let model = Model::named(self.model_name(&shape), &input.sources(), &output)?;
        // Weight files have the order of the model, which isn't the order of calls where a network branches.
        let ids: HashSet<usize> = body.layers.iter().map(Layer::id).collect();
        let layers: Vec<Layer> = model.layers().into_iter().filter(|layer| ids.contains(&layer.id())).collect();
        self.load(&shape, &layers, &model)?;
        Ok(model)
    }

    /// The ImageNet weights that [`build`](Self::build) loads: part of the program, or a file that is found or downloaded. `None` if
    /// nobody publishes weights for these arguments. Some networks have a file for each image size.
    ///
    /// ```
    /// use engraft::applications::{PublishedWeights, efficientnet_lite0};
    /// assert_eq!(efficientnet_lite0().include_top(false).published_weights(), Some(PublishedWeights::Embedded));
    /// assert_eq!(efficientnet_lite0().published_weights(), None);
    /// ```
    pub fn published_weights(&self) -> Option<PublishedWeights> {
        let size = self.architecture.sizes.default;
        let called_on = self.input_tensor.as_ref().map(|tensor| tensor.shape().as_slice());
        let given = self.input_shape.as_ref().map(|shape| &shape[..]);
        let shape = called_on.or(given).unwrap_or(&[size, size, 3]).to_vec();
        self.published(&shape).map(PublishedWeights::from)
    }

    /// Whether the ImageNet weights are in the program or on this machine, so that nothing is downloaded. The content of a file
    /// isn't verified.
    ///
    /// ```
    /// use engraft::{applications::resnet50, hub::Hub};
    /// let empty = tempfile::tempdir()?;
    /// assert!(!resnet50().hub(Hub::new(empty.path(), empty.path())).has_weights());
    /// assert!(engraft::applications::efficientnet_lite0().include_top(false).has_weights());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn has_weights(&self) -> bool {
        match self.published_weights() {
            Some(PublishedWeights::Embedded) => true,
            Some(PublishedWeights::File { file, .. }) => {
                let hub = self.hub.clone().map_or_else(Hub::from_env, Ok);
                hub.is_ok_and(|hub| hub.has(&file))
            }
            None => false,
        }
    }

    /// What the file of [`weights`](Self::weights) is taken for, where its content doesn't tell: a state dict of PyTorch may be of
    /// another network with the same names and shapes, which gives other features.
    ///
    /// ```
    /// assert_eq!(engraft::applications::efficientnet_b0().weights("imagenet").assumption(), None);
    /// ```
    pub fn assumption(&self) -> Option<String> {
        match &self.weights {
            Weights::File(path) => weights_file::assumption(path, self),
            _ => None,
        }
    }

    /// The published ImageNet weights for images of this shape.
    fn published(&self, shape: &[usize]) -> Option<Pretrained> {
        let has_known_classes = !self.include_top || self.classes == CLASSES;
        has_known_classes.then(|| (self.architecture.weights)(self, shape)).flatten()
    }

    /// The place of its errors.
    pub(super) fn place(&self) -> &'static str {
        self.architecture.keras.unwrap_or(self.architecture.name)
    }

    /// Names of the layers with weights in its top.
    pub(super) fn top_layers(&self) -> Vec<String> {
        self.architecture.top.iter().map(|layer| layer.replace("{name}", self.prefix())).collect()
    }

    /// The name that a layer has where the model has its own name, if the names of layers begin with that of the model.
    pub(super) fn published_name(&self, layer: &str) -> String {
        let has_prefix = self.architecture.top.iter().any(|name| name.contains("{name}"));
        match layer.strip_prefix(self.prefix()).filter(|_| has_prefix) {
            Some(rest) => format!("{}{rest}", self.architecture.model_name),
            None => layer.to_owned(),
        }
    }

    /// What the names of the layers begin with in networks that are named after the model.
    pub(super) fn prefix(&self) -> &str {
        self.name.as_deref().unwrap_or(self.architecture.model_name)
    }

    fn model_name(&self, shape: &[usize]) -> String {
        // Keras names a network after the images that its ImageNet weights were trained with.
        let rows = match self.weights {
            Weights::Imagenet => self.architecture.sizes.pretrained(shape),
            _ => shape.first().copied().unwrap_or_default(),
        };
        let default = || {
            let name = self.architecture.model_name.replace("{alpha}", &format!("{:.2}", self.alpha));
            name.replace("{rows}", &rows.to_string())
        };
        self.name.clone().unwrap_or_else(default)
    }

    /// Checks all arguments and returns the shape of one image.
    fn check(&self) -> Result<Shape> {
        let place = self.place();
        let known = self.architecture.arguments;
        if let Some(other) = self.given.iter().find(|argument| !known.contains(argument)) {
            let expected = if known.is_empty() { "no arguments of other networks".into() } else { known.join(", ") };
            return Err(Error::new(place, expected, other).hint("leave it out: this network doesn't have it"));
        }
        let arguments = ImagenetArguments {
            place,
            include_top: self.include_top,
            weights: &self.weights,
            classes: self.classes,
            classifier_activation: self.classifier_activation,
            any_size_with_top: self.architecture.any_size_with_top,
        };
        arguments.check()?;
        let given = self.input_shape.as_ref().map(|shape| &shape[..]);
        let called_on = self.input_tensor.as_ref().map(|tensor| tensor.shape().as_slice());
        if let (Some(given), Some(called_on)) = (given, called_on)
            && given != called_on
        {
            let expected = format!("input_tensor of input_shape {given:?}");
            return Err(Error::new(place, expected, format_args!("{called_on:?}")).hint("give only one of the two"));
        }
        arguments.input_shape(called_on.or(given), &self.architecture.sizes)
    }

    /// What to do where the ImageNet weights are neither in the program nor on Keras' server.
    fn where_weights_are(&self) -> String {
        match self.architecture.other_weights {
            "" => {
                "its ImageNet weights are neither in the program nor on Keras' server: pass `--weights FILE`".to_owned()
            }
            file => format!("pass `--weights FILE` with {file}"),
        }
    }

    fn load(mut self, shape: &[usize], layers: &[Layer], model: &Model) -> Result<()> {
        let place = self.place();
        match &self.weights {
            Weights::None => Ok(()),
            Weights::File(path) => weights_file::load(path, &self, layers, model),
            Weights::Imagenet => match self.published(shape) {
                Some(Pretrained::Embedded(file)) => weights::load_embedded(file, layers),
                Some(Pretrained::File(file)) => {
                    let hub =
                        self.hub.map_or_else(Hub::from_env, Ok).map_err(|error| weights::from_hub(place, error))?;
                    weights::load_pretrained(&file, layers, &hub, &mut self.progress)
                }
                None if self.include_top
                    && Self::new(self.architecture).include_top(false).published(shape).is_some() =>
                {
                    Err(Error::new(place, "weights `none` or a file with the top", "imagenet")
                        .hint("its ImageNet weights are published without the top: use include_top(false)"))
                }
                None => Err(Error::new(place, "weights `none` or a file", "imagenet").hint(self.where_weights_are())),
            },
        }
    }
}
