//! The pretrained networks that a recipe can build on, and the settings that suit each.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::DownloadProgress;
use crate::applications::{EfficientNetLite0, Pooling, Vgg16, Weights, efficientnet_lite, vgg16};
use crate::hub::{Hub, VGG16_NOTOP};
use crate::{Error, Model, Result, SymbolicTensor};

/// A pretrained network that a [`Recipe`](super::Recipe) can build on.
///
/// ```
/// use engraft::recipe::{Backbone, Recipe};
/// let backbone: Backbone = "vgg16".parse()?;
/// assert_eq!(backbone, Recipe::new(5).backbone);
/// assert!("vgg61".parse::<Backbone>().is_err());
/// for backbone in Backbone::ALL {
///     let (size, pooling, head) = (backbone.image_size(), backbone.pooling(), backbone.head());
///     let rate = backbone.learning_rate();
///     println!("at hand: {}, last blocks: {:?}", backbone.is_at_hand(), backbone.last_blocks());
///     println!("{backbone}: {size} x {size} pixels, pooling {pooling:?}, head {head:?}, learning rate {rate}");
/// }
/// # Ok::<(), engraft::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Backbone {
    /// [`Vgg16`] without its top.
    #[serde(rename = "vgg16")]
    Vgg16,
    /// [`EfficientNetLite0`] without its top. Its ImageNet weights are part of the program.
    #[serde(rename = "efficientnet-lite0")]
    EfficientNetLite0,
}

impl Backbone {
    /// All backbones, the program's default first.
    pub const ALL: [Self; 2] = [Self::EfficientNetLite0, Self::Vgg16];

    /// Default height and width of photos, in pixels.
    pub fn image_size(self) -> usize {
        match self {
            Self::Vgg16 => 256,
            Self::EfficientNetLite0 => 224,
        }
    }

    /// Default global pooling of the base's output; `None` for flattening it.
    pub fn pooling(self) -> Option<Pooling> {
        match self {
            Self::Vgg16 => None,
            Self::EfficientNetLite0 => Some(Pooling::Avg),
        }
    }

    /// The layers whose outputs a head can use beside the network's own: the ends of the last blocks, without the very last.
    ///
    /// Their pooled outputs raise the accuracy on photos that differ from ImageNet's, such as drawings (`bench/recipes`).
    pub fn last_blocks(self) -> &'static [&'static str] {
        match self {
            Self::Vgg16 => &["block4_pool"],
            Self::EfficientNetLite0 => &["block6d_add", "block5c_add"],
        }
    }

    /// The first layer of the last block, from which fine-tuning trains.
    pub fn last_block(self) -> &'static str {
        match self {
            Self::Vgg16 => "block5_conv1",
            Self::EfficientNetLite0 => "block7a_expand_conv",
        }
    }

    /// Number of parameters of the network without its top, such as 14,714,688 of VGG16.
    pub fn parameters(self) -> usize {
        match self {
            Self::Vgg16 => 14_714_688,
            Self::EfficientNetLite0 => 3_413_024,
        }
    }

    /// Whether its ImageNet weights are in the program or on this machine, so that nothing is downloaded.
    pub fn is_at_hand(self) -> bool {
        match self {
            Self::Vgg16 => Hub::from_env().is_ok_and(|hub| hub.has(&VGG16_NOTOP)),
            Self::EfficientNetLite0 => true,
        }
    }

    /// Default units of the hidden layers of the head.
    pub fn head(self) -> Vec<usize> {
        match self {
            Self::Vgg16 => vec![4096, 4096],
            Self::EfficientNetLite0 => Vec::new(),
        }
    }

    /// Default learning rate of Adam for the default head. SGD takes ten times as much.
    pub fn learning_rate(self) -> f64 {
        match self {
            // Larger steps make the loss of the large head grow.
            Self::Vgg16 => 1e-4,
            Self::EfficientNetLite0 => 1e-3,
        }
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
        match self {
            Self::Vgg16 => {
                let network = Vgg16::new().input_tensor(&vgg16::preprocess_input(x)?).progress(progress);
                let network = network.include_top(false).weights(weights);
                pooling.into_iter().fold(network, Vgg16::pooling).build()
            }
            Self::EfficientNetLite0 => {
                let network = EfficientNetLite0::new().input_tensor(&efficientnet_lite::preprocess_input(x)?);
                let network = network.include_top(false).weights(weights);
                pooling.into_iter().fold(network, EfficientNetLite0::pooling).build()
            }
        }
    }
}

impl fmt::Display for Backbone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Vgg16 => "vgg16",
            Self::EfficientNetLite0 => "efficientnet-lite0",
        })
    }
}

impl FromStr for Backbone {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|backbone| backbone.to_string() == name).ok_or_else(|| {
            let known = Self::ALL.map(|backbone| backbone.to_string());
            Error::new("backbone", known.join(" or "), name)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_same_on_the_command_line_and_in_files() {
        for backbone in Backbone::ALL {
            assert_eq!(backbone.to_string().parse(), Ok(backbone));
            assert_eq!(serde_json::to_value(backbone).unwrap(), backbone.to_string());
        }
        let error = "vgg".parse::<Backbone>().unwrap_err().to_string();
        assert!(error.contains("expected efficientnet-lite0 or vgg16, received vgg"), "{error}");
    }

    #[test]
    fn parameters_are_those_of_the_built_network() {
        for backbone in Backbone::ALL {
            let x = crate::prelude::Input::new([32, 32, 3]);
            let network = backbone.build(&x, Weights::None, None, Box::new(|_, _| {})).unwrap();
            assert_eq!(network.count_params(), backbone.parameters(), "{backbone}");
        }
    }
}
