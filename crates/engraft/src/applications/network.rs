//! What the builders of all networks share: the arguments of `keras.applications`, their checks, and loading weights.

use super::imagenet_arguments::{CLASSES, ImageSizes, ImagenetArguments};
use super::weights::{self, Pretrained};
use super::{Pooling, Weights};
use crate::hub::Hub;
use crate::prelude::*;
use crate::{ActivationFn, Error, Result};

/// The arguments of a network's builder, under Keras' names.
pub(super) struct NetworkOptions {
    pub(super) include_top: bool,
    pub(super) weights: Weights,
    pub(super) input_tensor: Option<SymbolicTensor>,
    pub(super) input_shape: Option<[usize; 3]>,
    pub(super) pooling: Option<Pooling>,
    pub(super) classes: usize,
    pub(super) classifier_activation: ActivationFn,
    pub(super) name: String,
    pub(super) hub: Option<Hub>,
    pub(super) progress: Box<dyn FnMut(u64, Option<u64>)>,
}

impl NetworkOptions {
    /// Keras' defaults: the network with its top and the ImageNet weights.
    pub(super) fn new(name: &str) -> Self {
        Self {
            include_top: true,
            weights: Weights::Imagenet,
            input_tensor: None,
            input_shape: None,
            pooling: None,
            classes: CLASSES,
            classifier_activation: Softmax,
            name: name.into(),
            hub: None,
            progress: Box::new(|_, _| {}),
        }
    }

    /// Builds a network: checks the arguments, lets `body` add its layers to the input, and loads the weights.
    ///
    /// `network` is the builder's name in errors. `pretrained` are the published weights with the top and without it.
    pub(super) fn build(
        mut self,
        network: &'static str,
        sizes: &ImageSizes,
        pretrained: [Option<Pretrained>; 2],
        body: impl FnOnce(&Self, &mut Body, &SymbolicTensor) -> Result<SymbolicTensor>,
    ) -> Result<Model> {
        let shape = self.check(network, sizes)?;
        let input = self.input_tensor.take().unwrap_or_else(|| Input::new(shape));
        let mut layers = Body::default();
        let output = body(&self, &mut layers, &input)?;
        let model = Model::named(&self.name, &input.sources(), &output)?;
        let [with_top, without_top] = pretrained;
        let pretrained = if self.include_top { with_top } else { without_top };
        self.load(network, pretrained, &layers.layers, &model)?;
        Ok(model)
    }

    /// Checks all arguments and returns the shape of one image.
    fn check(&self, network: &'static str, sizes: &ImageSizes) -> Result<crate::Shape> {
        let arguments = ImagenetArguments {
            place: network,
            include_top: self.include_top,
            weights: &self.weights,
            classes: self.classes,
            classifier_activation: self.classifier_activation,
        };
        arguments.check()?;
        let given = self.input_shape.as_ref().map(|shape| &shape[..]);
        let called_on = self.input_tensor.as_ref().map(|tensor| tensor.shape().as_slice());
        if let (Some(given), Some(called_on)) = (given, called_on)
            && given != called_on
        {
            let expected = format!("input_tensor of input_shape {given:?}");
            return Err(Error::new(network, expected, format_args!("{called_on:?}")).hint("give only one of the two"));
        }
        arguments.input_shape(called_on.or(given), sizes)
    }

    fn load(
        mut self,
        network: &'static str,
        pretrained: Option<Pretrained>,
        layers: &[Layer],
        model: &Model,
    ) -> Result<()> {
        match (&self.weights, pretrained) {
            (Weights::None, _) => Ok(()),
            (Weights::File(path), _) => weights::load_file(path, layers, model),
            (Weights::Imagenet, Some(Pretrained::Embedded(file))) => weights::load_embedded(file, layers),
            (Weights::Imagenet, Some(Pretrained::File(file))) => {
                let hub = self.hub.map_or_else(Hub::from_env, Ok).map_err(|error| weights::from_hub(network, error))?;
                weights::load_pretrained(&file, layers, &hub, &mut self.progress)
            }
            (Weights::Imagenet, None) => Err(Error::new(network, "weights `none` or a file with the top", "imagenet")
                .hint("its ImageNet weights are published without the top: use include_top(false)")),
        }
    }
}

/// The layers of a network in the order in which it calls them.
#[derive(Default)]
pub(super) struct Body {
    layers: Vec<Layer>,
}

impl Body {
    /// Calls a layer of the pretrained base, which is recorded as such.
    pub(super) fn base(&mut self, x: &SymbolicTensor, layer: Layer) -> Result<SymbolicTensor> {
        layer.set_in_base(true);
        self.call(x, layer)
    }

    /// Calls a layer above the base.
    pub(super) fn call(&mut self, x: &SymbolicTensor, layer: Layer) -> Result<SymbolicTensor> {
        let y = layer.call(x)?;
        self.layers.push(layer);
        Ok(y)
    }

    /// Adds the sum of two tensors as a layer of the base.
    pub(super) fn add(&mut self, a: &SymbolicTensor, b: &SymbolicTensor, name: String) -> Result<SymbolicTensor> {
        let layer = Add::new().named(name);
        layer.set_in_base(true);
        let y = layer.call([a, b])?;
        self.layers.push(layer);
        Ok(y)
    }

    /// Global pooling of a network without its top.
    pub(super) fn pool(&mut self, x: &SymbolicTensor, pooling: Option<Pooling>) -> Result<SymbolicTensor> {
        match pooling {
            Some(Pooling::Avg) => self.call(x, GlobalAveragePooling2D::new().into_layer()),
            Some(Pooling::Max) => self.call(x, GlobalMaxPooling2D::new().into_layer()),
            None => Ok(x.clone()),
        }
    }
}

/// Implements the builder methods of a network with a field `options`.
macro_rules! network_options {
    ($network:ident, $name:literal, $features:literal) => {
        impl $network {
            /// Whether to include the classifier at the end; true by default.
            pub fn include_top(mut self, include_top: bool) -> Self {
                self.options.include_top = include_top;
                self
            }

            /// Initial weights: `"imagenet"` (the default), `"none"` for random ones, or the path of a file; see
            /// [`Weights`](crate::applications::Weights).
            pub fn weights(mut self, weights: impl Into<$crate::applications::Weights>) -> Self {
                self.options.weights = weights.into();
                self
            }

            /// Applies the network to `tensor` instead of a new input. The model then includes the layers that produced
            /// `tensor`.
            pub fn input_tensor(mut self, tensor: &$crate::SymbolicTensor) -> Self {
                self.options.input_tensor = Some(tensor.clone());
                self
            }

            /// Height and width of the input in pixels, and its number of channels.
            ///
            /// By default, the size at which the network was trained, with 3 channels. Without the top, Keras' default leaves
            /// height and width undefined; engraft has no undefined sizes.
            pub fn input_shape(mut self, shape: [usize; 3]) -> Self {
                self.options.input_shape = Some(shape);
                self
            }

            #[doc = concat!("Adds global pooling to a network without its top: the output is `[", $features, "]`.")]
            pub fn pooling(mut self, pooling: $crate::applications::Pooling) -> Self {
                self.options.pooling = Some(pooling);
                self
            }

            /// Number of classes of the top; 1000 by default.
            pub fn classes(mut self, classes: usize) -> Self {
                self.options.classes = classes;
                self
            }

            /// Activation of the last layer of the top: `Softmax` by default, `ActivationFn::Linear` for logits.
            pub fn classifier_activation(mut self, activation: $crate::ActivationFn) -> Self {
                self.options.classifier_activation = activation;
                self
            }

            #[doc = concat!("The model's name; `", $name, "` by default.")]
            pub fn name(mut self, name: impl Into<String>) -> Self {
                self.options.name = name.into();
                self
            }

            /// Finds, downloads and caches the ImageNet weights; [`Hub::from_env`](crate::hub::Hub::from_env) by default.
            pub fn hub(mut self, hub: $crate::hub::Hub) -> Self {
                self.options.hub = Some(hub);
                self
            }

            /// Callback for download progress. Its arguments are the bytes received so far and, if known, the total.
            pub fn progress(mut self, progress: impl FnMut(u64, Option<u64>) + 'static) -> Self {
                self.options.progress = Box::new(progress);
                self
            }
        }
    };
}
pub(super) use network_options;
