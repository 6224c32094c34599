//! Options that several commands share, parsed and validated.

use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;
use engraft::Error;
use engraft::applications::{Pooling, Preprocessing, Weights};
use engraft::formats::keras::LoadOptions;
use engraft::ir::Precision;
use engraft::linear::ClassWeights;
use engraft::recipe::{Augment, Backbone, Budget, Freeze, Recipe};
use engraft::runtime::Runtime;

use crate::failure::Failure;
use crate::open::OpenArgs;

/// Largest accepted count: units of a layer, epochs, photos per batch. Model files have the same limit on units.
const MAX_UNITS: usize = 1 << 24;

/// Accepted image sizes in pixels. VGG16's five poolings reduce 32 pixels to 1; at 2048 its first layer's output takes 1 GiB.
const IMAGE_SIZES: std::ops::RangeInclusive<usize> = 32..=2048;

/// A whole number from 1 to [`MAX_UNITS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Count(pub(crate) usize);

impl FromStr for Count {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(number @ 1..=MAX_UNITS) => Ok(Self(number)),
            _ => Err(format!("expected a whole number from 1 to {MAX_UNITS}")),
        }
    }
}

/// A number of threads: a whole number from 1 to [`MAX_THREADS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Threads(pub(crate) usize);

/// More threads than any computer has cores for; each takes memory for its stack.
const MAX_THREADS: usize = 1024;

impl FromStr for Threads {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(number @ 1..=MAX_THREADS) => Ok(Self(number)),
            _ => Err(format!("expected a whole number from 1 to {MAX_THREADS}")),
        }
    }
}

/// A number of bytes, written as [`engraft::cache::parse_size`] reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bytes(pub(crate) usize);

impl FromStr for Bytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bytes = engraft::cache::parse_size(text).and_then(|bytes| usize::try_from(bytes).ok());
        bytes.map(Self).ok_or_else(|| "expected a number and a unit, such as 2GB or 500MiB".to_owned())
    }
}

/// Number of units of each hidden layer of the head, as text `4096,4096`, or `none` for no hidden layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HiddenUnits(pub(crate) Vec<usize>);

impl FromStr for HiddenUnits {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "none" {
            return Ok(Self(Vec::new()));
        }
        let units = text.split(',').map(|part| part.trim().parse().map(|Count(units)| units));
        let units: Result<Vec<usize>, String> = units.collect();
        units.map(Self).map_err(|_| format!("expected `none` or numbers from 1 to {MAX_UNITS} such as 4096,4096"))
    }
}

/// A learning rate: finite and above 0.
pub(crate) fn learning_rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate > 0.0 && rate.is_finite() => Ok(rate),
        _ => Err("expected a number above 0, such as 0.0001".to_owned()),
    }
}

/// A fraction: at least 0 and below 1.
pub(crate) fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(share) if (0.0..1.0).contains(&share) => Ok(share),
        _ => Err("expected a number of at least 0 and below 1, such as 0.2".to_owned()),
    }
}

/// An image size: height and width in pixels.
pub(crate) fn image_size(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(size) if IMAGE_SIZES.contains(&size) => Ok(size),
        _ => Err(format!("expected a whole number from {} to {}", IMAGE_SIZES.start(), IMAGE_SIZES.end())),
    }
}

/// Parses `text`. The error is joined to one line, because clap prints it inside a sentence.
fn parsed<T: FromStr<Err = Error>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error: Error| error.to_string().replace("\nhint:", ";"))
}

pub(crate) fn freeze(text: &str) -> Result<Freeze, String> {
    parsed(text)
}

/// Parses initial weights: `imagenet`, `none` or the path of a file.
pub(crate) fn weights(text: &str) -> Result<Weights, String> {
    match text {
        "" => Err("expected imagenet, none or a file".to_owned()),
        text => Ok(Weights::from(text)),
    }
}

/// The options that describe a new model. They can't be combined with a saved model.
#[derive(Args, Debug)]
pub(crate) struct RecipeArgs {
    /// Height and width to which photos are resized, in pixels, from 32 to 2048; smaller is faster, larger shows more detail
    /// [default: 256 for vgg16 and vgg19, for other networks the size that they were trained with, which `engraft backbones` lists;
    /// that of a saved model, which only one that takes images of any size changes]
    #[arg(long, value_name = "PIXELS", value_parser = image_size, help_heading = "Model")]
    image_size: Option<usize>,
    /// With --model: what happens to the pixels, 0 to 255, in front of a model that was trained on other numbers and doesn't scale them
    /// itself: scale (to 0 to 1), tf (to -1 to 1), caffe, torch, a network such as resnet50, or none
    // An option that conflicts with --model waives that it is required: each of them conflicts here, too.
    #[arg(
        long,
        value_name = "HOW",
        requires = "model",
        conflicts_with_all = ["backbone", "weights", "pooling", "head", "dropout", "normalize_features", "augment"],
        help_heading = "Model"
    )]
    preprocess: Option<Preprocessing>,
    /// How the base's output, an image, becomes a vector for the head: the mean or maximum of each channel, or `none` for all
    /// values [default: avg; none for vgg16 and vgg19 in gradient training]
    #[arg(long, value_enum, conflicts_with = "model", help_heading = "Model")]
    pooling: Option<PoolingArg>,
    /// Units (outputs) of each hidden Dense layer between base and output layer, such as 256 or 4096,4096, or `none` for a
    /// linear classifier; fewer units are faster and take less memory
    /// [default: 4096,4096 for vgg16 and vgg19, none for other networks]
    #[arg(long, value_name = "UNITS,...", conflicts_with = "model", help_heading = "Model")]
    pub(crate) head: Option<HiddenUnits>,
    /// Dropout rate before each Dense layer of the head, at least 0 and below 1; acts in gradient training
    #[arg(long, value_name = "RATE", value_parser = share, conflicts_with = "model", help_heading = "Model")]
    pub(crate) dropout: Option<f64>,
    /// Standardize the features that the head sees to mean 0 and variance 1, by those of the training photos; helps where features
    /// have very different scales. The linear classifier, the default, always does
    ///
    /// In gradient training, a Normalization layer of Keras between base and head computes it. Its mean and variance stay as they
    /// are in training.
    #[arg(long, conflicts_with = "model", help_heading = "Model")]
    pub(crate) normalize_features: bool,
    /// Data augmentation: random changes of each photo during training, applied in the given order, or `none`
    ///
    /// flip mirrors half of the photos left to right. rotate=0.1 turns by up to a tenth of a full turn (36 degrees). zoom=0.2
    /// zooms in or out by up to 20 %. The model sees other versions of each photo in each epoch, so it generalizes better to new
    /// photos.
    /// [default: flip,rotate=0.1,zoom=0.2]
    #[arg(
        long,
        value_name = "flip,rotate=F,zoom=F",
        value_parser = parsed::<Augment>,
        conflicts_with = "model",
        help_heading = "Model"
    )]
    pub(crate) augment: Option<Augment>,
}

/// The values of `--pooling`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum PoolingArg {
    /// The mean of each channel
    Avg,
    /// The maximum of each channel
    Max,
    /// All values
    None,
}

impl PoolingArg {
    pub(crate) fn pooling(self) -> Option<Pooling> {
        match self {
            Self::Avg => Some(Pooling::Avg),
            Self::Max => Some(Pooling::Max),
            Self::None => None,
        }
    }
}

impl RecipeArgs {
    /// How a saved model is opened: with `--image-size` and `--preprocess`.
    pub(crate) fn open(&self) -> OpenArgs {
        OpenArgs::of_size(self.image_size).preprocess(self.preprocess)
    }

    /// How the layers of a saved model are read: with the image size of `--image-size`.
    pub(crate) fn load_options(&self) -> LoadOptions {
        let size = self.image_size.map(|size| [size, size]);
        size.map_or_else(LoadOptions::new, |size| LoadOptions::new().image_size(size))
    }

    /// Checks `--image-size` for a new model on this backbone.
    pub(crate) fn check_image_size(&self, backbone: Backbone) -> Result<(), Error> {
        let min = backbone.architecture().min_image_size();
        match self.image_size {
            Some(size) if size < min => Err(Error::new("--image-size", format!("at least {min} for {backbone}"), size)
                .hint(format_args!("leave it out for photos of {0} x {0} pixels", backbone.image_size()))),
            _ => Ok(()),
        }
    }

    /// A recipe with these options. Options that aren't given have the defaults of `backbone`.
    pub(crate) fn recipe(&self, backbone: Backbone, classes: usize) -> Recipe {
        let default = Recipe::with_backbone(backbone, classes);
        Recipe {
            image_size: self.image_size.unwrap_or(default.image_size),
            pooling: self.pooling.map_or(default.pooling, PoolingArg::pooling),
            head: self.head.as_ref().map_or(default.head, |HiddenUnits(units)| units.clone()),
            normalize_features: self.normalize_features,
            dropout: self.dropout.unwrap_or(0.0) as f32,
            augment: self.augment.clone().unwrap_or_default(),
            ..default
        }
    }

    /// A recipe of a linear probe with these options.
    pub(crate) fn linear_probe(&self, backbone: Backbone, classes: usize) -> Recipe {
        let default = Recipe::linear_probe(backbone, classes);
        let pooling = self.pooling.map_or(default.pooling, PoolingArg::pooling);
        Recipe {
            image_size: self.image_size.unwrap_or(default.image_size),
            pooling,
            pooled_blocks: pooling.is_some(),
            dropout: self.dropout.unwrap_or(0.0) as f32,
            ..default
        }
    }
}

/// Parses the name of a pretrained network.
pub(crate) fn backbone(text: &str) -> Result<Backbone, String> {
    parsed(text)
}

/// The value of `--backbone` in training: a network, or the best of those at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BackboneChoice {
    Auto,
    One(Backbone),
}

/// Parses the name of a pretrained network, or `auto`.
pub(crate) fn backbone_choice(text: &str) -> Result<BackboneChoice, String> {
    match text.eq_ignore_ascii_case("auto") {
        true => Ok(BackboneChoice::Auto),
        false => backbone(text).map(BackboneChoice::One),
    }
}

/// A number of folds: at least 2.
pub(crate) fn folds(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(folds @ 2..=100) => Ok(folds),
        _ => Err("expected a whole number from 2 to 100".to_owned()),
    }
}

/// A budget of fine-tuning.
pub(crate) fn budget(text: &str) -> Result<Budget, String> {
    text.parse()
        .map_err(|_: engraft::Error| "expected a multiple such as 10x, a time such as 90s or 5m, or 0".to_owned())
}

/// A number of variants of each photo: at least 2.
pub(crate) fn variants(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(variants @ 2..=100) => Ok(variants),
        _ => Err("expected a whole number from 2 to 100".to_owned()),
    }
}

/// The values of `--class-weights`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ClassWeightsArg {
    /// Each photo counts the same
    None,
    /// Each class counts the same
    Balanced,
}

impl From<ClassWeightsArg> for ClassWeights {
    fn from(class_weights: ClassWeightsArg) -> Self {
        match class_weights {
            ClassWeightsArg::None => Self::None,
            ClassWeightsArg::Balanced => Self::Balanced,
        }
    }
}

/// The values of `--precision`: [`Precision`] on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Number {
    /// 32-bit floating point, on every CPU
    F32,
    /// bfloat16 (16 bits), on CPUs with AVX-512 and its BF16 instructions
    Bf16,
}

/// The option `--precision`.
#[derive(Args, Debug)]
pub(crate) struct PrecisionArg {
    /// Number format of matrix products: f32; or bf16, which needs a CPU with bf16 instructions, is faster there, and changes
    /// results in the third significant digit
    #[arg(long, value_enum, default_value = "f32", help_heading = "Computation")]
    precision: Number,
}

impl PrecisionArg {
    pub(crate) fn get(&self) -> Precision {
        match self.precision {
            Number::F32 => Precision::F32,
            Number::Bf16 => Precision::Bf16,
        }
    }

    /// The runtime, set to compute in this format. If the CPU has no instructions for it, returns [`Failure::Usage`].
    pub(crate) fn of(&self, runtime: &Runtime) -> Result<Runtime, Failure> {
        runtime.clone().precision(self.get()).map_err(Failure::Usage)
    }
}

/// The option `--force`.
#[derive(Args, Debug)]
pub(crate) struct ForceArg {
    /// Replace existing files that engraft didn't write, too; photos and files that the command reads are never replaced
    #[arg(long, help_heading = "Output")]
    pub(crate) force: bool,
}

/// The argument PHOTOS: a folder with one folder per class, or any folder with the option `--labels`.
#[derive(Args, Debug)]
pub(crate) struct PhotosArg {
    /// Folder with one folder of photos per class, named after the class, or any folder of photos with --labels; photos are JPEG,
    /// PNG, GIF, BMP, TIFF or WebP
    #[arg(value_name = "PHOTOS")]
    pub(crate) photos: PathBuf,
    /// CSV file with the labels of the photos instead of class folders: a row `path,label` for each label of a photo
    ///
    /// Paths are relative to PHOTOS, or absolute, and photos may lie anywhere below PHOTOS. Photos without a row are left out. A
    /// first row `path,label` is a header. If a photo has several rows, each photo can have several labels (multi-label
    /// classification); a row with an empty label then stands for a photo without any.
    #[arg(long, value_name = "FILE.csv", help_heading = "Data")]
    pub(crate) labels: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_checked_where_they_are_read() {
        assert_eq!("4096,16".parse(), Ok(HiddenUnits(vec![4096, 16])));
        assert_eq!("none".parse(), Ok(HiddenUnits(Vec::new())));
        for head in ["", "0", "12,", "a", "16777217"] {
            assert!(head.parse::<HiddenUnits>().is_err(), "{head}");
        }
        assert_eq!("2G".parse(), Ok(Bytes(2_000_000_000)));
        assert!("2".parse::<Bytes>().is_err_and(|error| error.contains("a unit")));
        assert!(["0", "-1", "", "99999999999999999999"].iter().all(|text| text.parse::<Count>().is_err()));
        assert_eq!(learning_rate("1e-4"), Ok(1e-4));
        assert!(["0", "-1", "nan", "inf", "x"].iter().all(|text| learning_rate(text).is_err()));
        assert_eq!([share("0"), share("0.2")], [Ok(0.0), Ok(0.2)]);
        assert!(["1", "-0.1", "nan"].iter().all(|text| share(text).is_err()));
        assert_eq!(image_size("32"), Ok(32));
        assert!(["31", "2049", "x"].iter().all(|text| image_size(text).is_err()));
    }

    #[test]
    fn a_reason_is_one_line() {
        let reason = parsed::<Augment>("rotate").unwrap_err();
        assert!(reason.ends_with("received ``; write rotate=0.1, for example"), "{reason}");
    }
}
