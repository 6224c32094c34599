//! [`Backbone`]: a pretrained network that a recipe can build on, and the settings that suit it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::DownloadProgress;
use crate::applications::{Architecture, Network, Pooling, PublishedWeights, Weights};
use crate::{Error, Model, Result, SymbolicTensor};

/// A pretrained network that a [`Recipe`](super::Recipe) can build on: any of [`Architecture::all`], without its top.
///
/// ```
/// use engraft::recipe::{Backbone, Recipe};
/// let backbone: Backbone = "vgg16".parse()?;
/// assert_eq!(backbone, Recipe::new(5).backbone);
/// assert_eq!("EfficientNetB0".parse::<Backbone>()?.to_string(), "efficientnet-b0");
/// assert!("vgg61".parse::<Backbone>().is_err());
/// for backbone in [Backbone::VGG16, Backbone::EFFICIENTNET_LITE0] {
///     let (size, pooling, head) = (backbone.image_size(), backbone.pooling(), backbone.head());
///     let rate = backbone.learning_rate();
///     println!("at hand: {}, {} parameters", backbone.is_at_hand(size), backbone.architecture().parameters());
///     println!("{backbone}: {size} x {size} pixels, pooling {pooling:?}, head {head:?}, learning rate {rate}");
/// }
/// # Ok::<(), engraft::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Backbone(&'static Architecture);

impl Backbone {
    /// [`vgg16`](crate::applications::vgg16()).
    pub const VGG16: Self = Self(Architecture::VGG16);

    /// [`efficientnet_lite0`](crate::applications::efficientnet_lite0), whose ImageNet weights are part of the program: the
    /// program's default.
    pub const EFFICIENTNET_LITE0: Self = Self(Architecture::EFFICIENTNET_LITE0);

    /// All backbones, ordered by family and size.
    ///
    /// ```
    /// use engraft::recipe::Backbone;
    /// assert!(Backbone::all().any(|backbone| backbone == Backbone::VGG16));
    /// ```
    pub fn all() -> impl Iterator<Item = Self> {
        Architecture::all().iter().copied().map(Self)
    }

    /// What is known of the network before it is built.
    pub fn architecture(self) -> &'static Architecture {
        self.0
    }

    /// Default height and width of photos, in pixels.
    pub fn image_size(self) -> usize {
        // The recipe of Keras' tutorials, which began with VGG16.
        if self.has_large_head() { 256 } else { self.0.image_size() }
    }

    /// Default global pooling of the base's output; `None` for flattening it.
    pub fn pooling(self) -> Option<Pooling> {
        (!self.has_large_head()).then_some(Pooling::Avg)
    }

    /// Default units of the hidden layers of the head.
    pub fn head(self) -> Vec<usize> {
        if self.has_large_head() { vec![4096, 4096] } else { Vec::new() }
    }

    /// Default learning rate of Adam for the default head. SGD takes ten times as much.
    pub fn learning_rate(self) -> f64 {
        // Larger steps make the loss of the large head grow.
        if self.has_large_head() { 1e-4 } else { 1e-3 }
    }

    /// Whether the default head is that of the VGG networks: flattened, with two hidden layers.
    fn has_large_head(self) -> bool {
        ["vgg16", "vgg19"].contains(&self.0.name())
    }

    /// Whether its ImageNet weights for photos of this height and width are in the program or on this machine, so that nothing is
    /// downloaded.
    pub fn is_at_hand(self, image_size: usize) -> bool {
        self.without_top(image_size).has_weights()
    }

    /// Its ImageNet weights, without the top, for photos of this height and width; `None` if nobody publishes them.
    ///
    /// ```
    /// use engraft::{applications::PublishedWeights, recipe::Backbone};
    /// assert_eq!(Backbone::EFFICIENTNET_LITE0.published_weights(224), Some(PublishedWeights::Embedded));
    /// ```
    pub fn published_weights(self, image_size: usize) -> Option<PublishedWeights> {
        self.without_top(image_size).published_weights()
    }

    fn without_top(self, image_size: usize) -> Network {
        Network::new(self.0).include_top(false).input_shape([image_size, image_size, 3])
    }

    /// Applies the network's preprocessing, and then the network without its top, to `x`.
    ///
    /// The model includes the layers before `x`.
    pub(super) fn build(
        self,
        x: &SymbolicTensor,
        weights: Weights,
        pooling: Option<Pooling>,
        progress: DownloadProgress,
    ) -> Result<Model> {
        let x = self.0.preprocessing().call(x)?;
        let network = Network::new(self.0).include_top(false).weights(weights).input_tensor(&x).progress(progress);
        pooling.into_iter().fold(network, Network::pooling).build()
    }
}

impl PartialEq for Backbone {
    fn eq(&self, other: &Self) -> bool {
        self.0.name() == other.0.name()
    }
}

impl Eq for Backbone {}

impl fmt::Display for Backbone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name())
    }
}

impl FromStr for Backbone {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Architecture::find(name).map(Self)
    }
}

impl Serialize for Backbone {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Backbone {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_same_on_the_command_line_and_in_files() {
        for backbone in Backbone::all() {
            assert_eq!(backbone.to_string().parse(), Ok(backbone));
            let value = serde_json::to_value(backbone).unwrap();
            assert_eq!(value, backbone.to_string());
            assert_eq!(serde_json::from_value::<Backbone>(value).unwrap(), backbone);
        }
        let error = "vgg".parse::<Backbone>().unwrap_err().to_string();
        assert!(error.contains("expected vgg16 or vgg19, received vgg"), "{error}");
    }

    #[test]
    fn the_head_of_every_backbone_is_on_layers_that_it_has() {
        for backbone in Backbone::all() {
            let size = backbone.architecture().min_image_size().max(32);
            let x = crate::prelude::Input::new([size, size, 3]);
            let network = backbone.build(&x, Weights::None, None, Box::new(|_, _| {})).unwrap();
            assert_eq!(network.count_params(), backbone.architecture().parameters(), "{backbone}");
            for layer in backbone.architecture().last_blocks().iter().chain([&backbone.architecture().last_block()]) {
                assert!(network.get_layer(layer).is_ok_and(|layer| layer.in_base()), "{backbone}: {layer}");
            }
        }
    }
}
