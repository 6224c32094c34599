//! [`Architecture`]: what is known of a network before it is built.

use super::body::Body;
use super::imagenet_arguments::ImageSizes;
use super::weights::Pretrained;
use super::{Network, Preprocessing};
use crate::{Error, Result, SymbolicTensor};

/// A network of [`applications`](super): its name, size and published accuracy. [`Network`] builds it.
///
/// ```
/// use engraft::applications::Architecture;
/// let resnet = Architecture::find("ResNet50")?;
/// assert_eq!((resnet.name(), resnet.image_size()), ("resnet50", 224));
/// // Parameters without the top, multiply-accumulates of one image, and ImageNet top-1 accuracy in percent.
/// assert_eq!((resnet.parameters(), resnet.macs(), resnet.top_1()), (23_587_712, 3_857_973_248, Some(74.9)));
/// assert!(Architecture::find("resnet51").is_err());
/// # Ok::<(), engraft::Error>(())
/// ```
pub struct Architecture {
    /// Its name on the command line and in metadata, in kebab case, such as `mobilenet-v2`.
    pub(super) name: &'static str,
    /// The name of the function in `keras.applications`; `None` for a network that Keras doesn't have.
    pub(super) keras: Option<&'static str>,
    /// Keras' name of the model. `{alpha}` and `{rows}` stand for the width multiplier and the image height.
    pub(super) model_name: &'static str,
    pub(super) sizes: ImageSizes,
    /// Whether Keras loads the ImageNet weights with the top for images of any size.
    pub(super) any_size_with_top: bool,
    pub(super) preprocessing: Preprocessing,
    /// The arguments that only some networks have, such as `alpha`.
    pub(super) arguments: &'static [&'static str],
    /// Adds the network's layers to an input.
    pub(super) layers: fn(&Network, &mut Body, &SymbolicTensor) -> Result<SymbolicTensor>,
    /// The published weights for images of the given shape.
    pub(super) weights: fn(&Network, &[usize]) -> Option<Pretrained>,
    /// The module of a PyTorch state dict whose tensors a layer of this name has, such as `blocks.1.0.conv_dw`; `None` if there is
    /// no table of such names for this network, and for a layer without such a module.
    pub(super) torch_module: Option<fn(&str) -> Option<String>>,
    /// The layers with weights in its top. `{name}` stands for the name of the model.
    pub(super) top: &'static [&'static str],
    /// Number of parameters without the top.
    pub(super) parameters: usize,
    /// Multiply-accumulates of one image of the default size, with the top.
    pub(super) macs: u64,
    /// ImageNet top-1 accuracy in percent, as its publisher measured it.
    pub(super) top_1: Option<f32>,
    /// The address where this accuracy is published.
    pub(super) top_1_source: &'static str,
    /// A file that a user can get, with weights that aren't in the program or on Keras' server; empty if those are.
    pub(super) other_weights: &'static str,
    /// The ends of the blocks before the last one, for a head on several outputs; the last one first.
    pub(super) last_blocks: &'static [&'static str],
    /// The first layer of the last block.
    pub(super) last_block: &'static str,
}

impl Architecture {
    /// What the tables of the families leave out: an image size of 224 pixels, no arguments and weights of its own.
    pub(super) const DEFAULT: Self = Self {
        name: "",
        keras: None,
        model_name: "",
        sizes: ImageSizes { default: 224, min: 32, also_pretrained: &[] },
        any_size_with_top: false,
        preprocessing: Preprocessing::None,
        arguments: &[],
        layers: |_, _, x| Ok(x.clone()),
        weights: |_, _| None,
        torch_module: None,
        top: &["predictions"],
        parameters: 0,
        macs: 0,
        top_1: None,
        top_1_source: "https://keras.io/api/applications",
        other_weights: "",
        last_blocks: &[],
        last_block: "",
    };

    pub(crate) const VGG16: &'static Self = &super::vgg16::VGG16;
    pub(crate) const EFFICIENTNET_LITE0: &'static Self = &super::efficientnet_lite::LITE0;

    /// Every network, ordered by family and size.
    ///
    /// ```
    /// use engraft::applications::Architecture;
    /// let smallest = Architecture::all().iter().min_by_key(|network| network.parameters()).unwrap();
    /// assert_eq!(smallest.name(), "mobilenet-v3-small");
    /// ```
    pub fn all() -> &'static [&'static Self] {
        super::catalog::ALL
    }

    /// The network of this name. Case, `-` and `_` don't matter: `EfficientNetB0` is `efficientnet-b0`. A path of Python and timm's
    /// prefix `tf_` may precede it: `keras.applications.ResNet50`, `tf_efficientnet_b0`.
    ///
    /// ```
    /// use engraft::applications::Architecture;
    /// assert_eq!(Architecture::find("keras.applications.ResNet50")?.name(), "resnet50");
    /// assert_eq!(Architecture::find("MobileNetV1")?.name(), "mobilenet");
    /// # Ok::<(), engraft::Error>(())
    /// ```
    ///
    /// # Errors
    /// There is no such network. The error lists the names that are closest.
    pub fn find(name: &str) -> Result<&'static Self> {
        let plain = canonical(name);
        Self::all().iter().copied().find(|network| self::plain(network.name) == plain).ok_or_else(|| {
            let expected = match nearest(&plain)[..] {
                [] => "the name of a network, such as resnet50".to_owned(),
                [one] => one.to_owned(),
                [ref others @ .., last] => format!("{} or {last}", others.join(", ")),
            };
            let received = if name.trim().is_empty() { "an empty name" } else { name };
            Error::new("network", expected, received).hint("`engraft backbones` lists all networks")
        })
    }

    /// Its name on the command line and in metadata, such as `mobilenet-v2`.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The name of its function in `keras.applications`, such as `MobileNetV2`; `None` if Keras doesn't have it.
    pub fn keras_name(&self) -> Option<&'static str> {
        self.keras
    }

    /// Height and width in pixels of the images that it was trained with.
    pub fn image_size(&self) -> usize {
        self.sizes.default
    }

    /// The smallest height and width in pixels that it takes.
    pub fn min_image_size(&self) -> usize {
        self.sizes.min
    }

    /// What happens to pixels from 0 to 255 before its first layer.
    pub fn preprocessing(&self) -> Preprocessing {
        self.preprocessing
    }

    /// Number of parameters without the top.
    pub fn parameters(&self) -> usize {
        self.parameters
    }

    /// Multiply-accumulates of one image of the default size, with the top.
    pub fn macs(&self) -> u64 {
        self.macs
    }

    /// ImageNet top-1 accuracy in percent, as published in [`top_1_source`](Self::top_1_source); `None` if nobody published one.
    pub fn top_1(&self) -> Option<f32> {
        self.top_1
    }

    /// The address of the page or file that says the [`top_1`](Self::top_1) accuracy: Keras' list of models; Keras' source for
    /// MobileNetV3, which isn't in the list; torchvision's list for its ResNets; the authors' for EfficientNet-Lite.
    ///
    /// ```
    /// use engraft::applications::Architecture;
    /// assert_eq!(Architecture::find("ResNet50")?.top_1_source(), "https://keras.io/api/applications");
    /// # Ok::<(), engraft::Error>(())
    /// ```
    pub fn top_1_source(&self) -> &'static str {
        self.top_1_source
    }

    /// The layers whose pooled outputs a head can use beside the network's own: the ends of the blocks before the last one. Their
    /// names are those in a model with Keras' name, as for [`last_block`](Self::last_block).
    pub fn last_blocks(&self) -> &'static [&'static str] {
        self.last_blocks
    }

    /// The first layer of the last block, from which fine-tuning trains. The layers of a ConvNeXt are named after the model; this is
    /// the layer's name in a model with Keras' name.
    pub fn last_block(&self) -> &'static str {
        self.last_block
    }
}

impl std::fmt::Debug for Architecture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Architecture").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The [plain](plain()) name of a network that other programs name in another way.
fn canonical(name: &str) -> String {
    let name = plain(name.rsplit('.').next().unwrap_or(name));
    match name.strip_prefix("tf").unwrap_or(&name) {
        "mobilenetv1" => "mobilenet".to_owned(),
        name => name.to_owned(),
    }
}

/// A name without what people spell differently.
fn plain(name: &str) -> String {
    name.chars().filter(|c| !matches!(c, '-' | '_' | ' ')).flat_map(char::to_lowercase).collect()
}

/// The names that are most similar to a [plain](plain()) one: those that begin with it, else those with the fewest edits, if these
/// are fewer than half of its letters.
fn nearest(name: &str) -> Vec<&'static str> {
    let names = || Architecture::all().iter().map(|network| network.name);
    let longer: Vec<&str> = names().filter(|other| plain(other).starts_with(name)).take(SUGGESTIONS).collect();
    if !(name.is_empty() || longer.is_empty()) {
        return longer;
    }
    let edits = |other: &str| strsim::osa_distance(name, &plain(other));
    let mut close: Vec<&str> = names().filter(|other| 2 * edits(other) < name.chars().count()).collect();
    close.sort_by_key(|other| edits(other));
    close.truncate(SUGGESTIONS);
    close
}

/// The most names that an error lists.
const SUGGESTIONS: usize = 6;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Plan, PlanOptions};

    #[test]
    fn parameters_and_macs_are_those_of_the_networks() {
        for network in Architecture::all() {
            let build = |include_top| Network::new(network).weights("none").include_top(include_top).build().unwrap();
            let model = build(true);
            let above = model.layers().into_iter().filter(|layer| !layer.in_base() && !layer.weights().is_empty());
            let above: Vec<String> = above.map(|layer| layer.name().to_owned()).collect();
            assert_eq!(above, Network::new(network).top_layers(), "{}", network.name());
            let plan = Plan::predict(&model, 1, &PlanOptions::default()).unwrap();
            let operations: usize = (0..plan.program().steps.len()).map(|step| plan.work(step).forward).sum();
            assert_eq!(network.macs(), operations as u64 / 2, "{}", network.name());
            assert_eq!(network.parameters(), build(false).count_params(), "{}", network.name());
        }
    }

    #[test]
    fn a_file_of_keras_with_open_images_gets_the_size_of_its_network() {
        for network in Architecture::all().iter().filter(|network| network.keras_name().is_some()) {
            let size = network.image_size();
            let model_name = network.model_name.replace("{alpha}", "1.00").replace("{rows}", &size.to_string());
            assert_eq!(crate::formats::keras::usual_image_size(&model_name), [size, size], "{model_name}");
        }
    }

    #[test]
    fn names_are_found_in_every_spelling() {
        for network in Architecture::all() {
            assert_eq!(Architecture::find(network.name()).unwrap().name(), network.name());
            let Some(keras) = network.keras_name() else { continue };
            assert_eq!(Architecture::find(keras).unwrap().name(), network.name());
            assert_eq!(Architecture::find(&network.name().replace('-', "_")).unwrap().name(), network.name());
        }
        for (other, name) in [
            ("MobileNetV1", "mobilenet"),
            ("mobilenet_v1", "mobilenet"),
            ("keras.applications.ResNet50", "resnet50"),
            ("tf.keras.applications.resnet_v2.ResNet50V2", "resnet50-v2"),
            ("tf_efficientnet_lite0", "efficientnet-lite0"),
        ] {
            assert_eq!(Architecture::find(other).unwrap().name(), name);
        }
        let error = |name| Architecture::find(name).unwrap_err().to_string();
        assert!(error(" ").contains("received an empty name"), "{}", error(" "));
        assert!(error("vgg61").contains("network: expected vgg16 or vgg19, received vgg61"), "{}", error("vgg61"));
        assert!(error("VGG").contains("expected vgg16 or vgg19, received VGG"), "{}", error("VGG"));
        // The nearest one is first.
        assert!(error("resnet-51").contains("expected resnet50"), "{}", error("resnet-51"));
        for far in ["transformer", ""] {
            assert!(error(far).contains("expected the name of a network, such as resnet50"), "{}", error(far));
        }
    }
}
