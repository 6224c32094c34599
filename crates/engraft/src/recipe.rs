//! High-level transfer learning: build, train, save and use an image classifier.
//!
//! - [`Recipe`] builds a model of augmentation, preprocessing, a pretrained base and a new head.
//! - [`TrainingJob`] trains it in [`Phase`]s, such as training the head and fine-tuning.
//! - [`Classifier`] applies it to photos, loads and saves it. Class names and provenance are its [`Metadata`],
//!   with the photos that it was trained on in a [`SplitRecord`].
//! - [`Base`] and [`Freeze`] select the layers to freeze.
//! - A [`FeatureExtractor`] computes the outputs of frozen layers once, and a [`Partition`] trains the layers above on them.
//!
//! Preprocessing is part of the model: the model takes raw RGB photos (0 to 255), here and in Keras.

mod augment;
mod backbone;
mod base;
mod channels_last_input;
mod class_names;
mod classifier;
mod classifier_options;
mod features;
mod freeze;
mod interrupt;
mod job;
mod linear_probe;
mod macs;
mod metadata;
mod near_duplicates;
mod outputs;
mod partition;
mod phase;
mod split_record;
mod unknown;
mod unscaled;
mod vector_output;

pub use augment::{Augment, Augmentation};
pub use backbone::Backbone;
pub use base::Base;
pub use class_names::ClassNames;
pub use classifier::{Answer, Classifier};
pub use classifier_options::ClassifierOptions;
pub use features::{FeatureDataset, FeatureExtractor, PhotoFeatures, feature_cache};
pub use freeze::Freeze;
pub use interrupt::Interrupt;
pub use job::{CallbackFactory, Checkpoint, Outcome, TrainingJob, TrainingReport};
pub use linear_probe::{
    Budget, CandidateScore, FineTuning, HeldOutScore, LabelReport, LinearProbe, ProbeProgress, ProbeReport,
};
pub use metadata::Metadata;
pub use near_duplicates::NearDuplicates;
pub use outputs::Outputs;
pub use partition::Partition;
pub use phase::Phase;
pub use split_record::SplitRecord;
pub use unknown::UnknownRule;
pub use unscaled::{Unscaled, preprocessed};

use crate::prelude::*;
use crate::{Error, Result};

/// Callback for download progress. Its arguments are the bytes received so far and, if known, the total.
///
/// ```
/// use engraft::recipe::{DownloadProgress, Recipe};
/// let progress: DownloadProgress = Box::new(|received, total| eprint!("\r{received} of {total:?} bytes"));
/// let recipe = Recipe { image_size: 32, head: vec![], ..Recipe::new(2) };
/// let model = recipe.weights("none").build(progress)?;
/// assert_eq!(model.output_shape(), &[2]);
/// # Ok::<(), engraft::Error>(())
/// ```
pub type DownloadProgress = Box<dyn FnMut(u64, Option<u64>)>;

/// Settings of an image classifier: backbone, initial weights, image size, head, augmentation and frozen layers.
///
/// Here VGG16 with random weights is frozen, and the head has one hidden layer:
///
/// ```
/// use engraft::recipe::{Freeze, Recipe};
/// let recipe = Recipe { image_size: 64, head: vec![16], freeze: Freeze::All, ..Recipe::new(3) };
/// let model = recipe.weights("none").build(Box::new(|_, _| {}))?;
/// assert_eq!(model.output_shape(), &[3]);
/// assert_eq!(model.trainable_weights().len(), 4);
/// # Ok::<(), engraft::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Recipe {
    /// The network below the head.
    pub backbone: Backbone,
    /// The backbone's initial weights.
    pub weights: Weights,
    /// Height and width of the input, in pixels.
    pub image_size: usize,
    /// Global pooling of the backbone's output; `None` to flatten it.
    pub pooling: Option<Pooling>,
    /// Whether the head also sees the pooled outputs of the last blocks (Evci et al. 2022, arXiv 2201.03529). Needs `pooling`.
    pub pooled_blocks: bool,
    /// Whether a `Normalization` layer, named [`FEATURE_NORMALIZATION`](Self::FEATURE_NORMALIZATION), standardizes what the head sees.
    ///
    /// It changes nothing until [`TrainingJob::adapt`] sets its mean and variance. A [`LinearProbe`] needs none, as it standardizes
    /// features itself and folds that into the head.
    pub normalize_features: bool,
    /// Dropout rate before each Dense layer of the head, at least 0 and below 1; 0 adds no layer.
    pub dropout: f32,
    /// Units of each hidden Dense layer of the head; may be empty.
    pub head: Vec<usize>,
    /// Augmentation of the training photos.
    pub augment: Augment,
    /// Number of classes, at least 2.
    pub classes: usize,
    /// Whether a photo may have several of the classes or none: the output is then a sigmoid for each class.
    pub multi_label: bool,
    /// The layers to freeze.
    pub freeze: Freeze,
}

impl Recipe {
    /// Name of the layer of [`normalize_features`](Self::normalize_features).
    pub const FEATURE_NORMALIZATION: &str = "feature_normalization";

    /// A recipe on VGG16 with the ImageNet weights, frozen, for images of 256 by 256 pixels.
    ///
    /// The head has two hidden layers of 4096 units, like VGG16's own top. The augmentation is [`Augment::default`].
    pub fn new(classes: usize) -> Self {
        Self::with_backbone(Backbone::VGG16, classes)
    }

    /// A recipe on another backbone, with the image size, pooling and head that suit it.
    ///
    /// ```
    /// use engraft::recipe::{Backbone, Recipe};
    /// let model = Recipe::with_backbone(Backbone::EFFICIENTNET_LITE0, 3).build(Box::new(|_, _| {}))?;
    /// assert_eq!((model.input_shape(), model.output_shape()), (&vec![224, 224, 3], &vec![3]));
    /// assert_eq!(model.count_params(), 3_413_024 + 1280 * 3 + 3);
    /// # Ok::<(), engraft::Error>(())
    /// ```
    pub fn with_backbone(backbone: Backbone, classes: usize) -> Self {
        Self {
            backbone,
            weights: Weights::Imagenet,
            image_size: backbone.image_size(),
            pooling: backbone.pooling(),
            pooled_blocks: false,
            normalize_features: false,
            dropout: 0.0,
            head: backbone.head(),
            augment: Augment::default(),
            classes,
            multi_label: false,
            freeze: Freeze::All,
        }
    }

    /// A recipe for a [`LinearProbe`]: no hidden layers, no augmentation, a head on the pooled output and the pooled blocks.
    ///
    /// ```
    /// use engraft::recipe::{Backbone, Recipe};
    /// let model = Recipe::linear_probe(Backbone::EFFICIENTNET_LITE0, 3).build(Box::new(|_, _| {}))?;
    /// assert_eq!(model.trainable_weights()[0].shape(), [1280 + 192 + 112, 3]);
    /// # Ok::<(), engraft::Error>(())
    /// ```
    pub fn linear_probe(backbone: Backbone, classes: usize) -> Self {
        let (pooling, head, augment) = (Some(Pooling::Avg), Vec::new(), Augment::none());
        Self { pooling, pooled_blocks: true, head, augment, ..Self::with_backbone(backbone, classes) }
    }

    /// Sets the backbone's initial weights.
    #[must_use]
    pub fn weights(mut self, weights: impl Into<Weights>) -> Self {
        self.weights = weights.into();
        self
    }

    /// Builds the model, not compiled: `[image_size, image_size, 3]` to `[classes]`, with a softmax or sigmoids.
    ///
    /// `progress` is called during the download of weights.
    ///
    /// # Errors
    /// - There are fewer than two classes, or the image is too small for the backbone.
    /// - The weights can't be found or downloaded, or their shapes differ.
    /// - The model lacks the layers to freeze.
    pub fn build(&self, progress: DownloadProgress) -> Result<Model> {
        if self.classes < 2 {
            return Err(Error::new("classes", "two or more", self.classes));
        }
        let inputs = Input::new([self.image_size, self.image_size, 3]);
        let x = match self.augment.sequential()? {
            Some(augment) => augment.call(&inputs)?,
            None => inputs.clone(),
        };
        let base = self.backbone.build(&x, self.weights.clone(), self.pooling, progress)?;
        let mut x = self.features(&base)?;
        if self.normalize_features {
            x = Normalization::adapted().named(Self::FEATURE_NORMALIZATION).call(&x)?;
        }
        for &units in &self.head {
            x = Dense::new(units).activation(Relu).call(&self.drop(x)?)?;
        }
        let activation = if self.multi_label { Sigmoid } else { Softmax };
        let model = Model::new(&inputs, &Dense::new(self.classes).activation(activation).call(&self.drop(x)?)?)?;
        self.freeze.apply(&model)?;
        Ok(model)
    }

    /// The vector that the head sees: the base's output pooled or flattened, followed by the pooled blocks, if any.
    fn features(&self, base: &Model) -> Result<SymbolicTensor> {
        let output = base.output().clone();
        let Some(pooling) = self.pooling else { return Flatten::new().call(&output) };
        if !self.pooled_blocks {
            return Ok(output);
        }
        let mut pooled = vec![output];
        for &block in self.backbone.architecture().last_blocks() {
            pooled.push(pool(pooling, &layer_output(base, block)?, &format!("{block}_pool"))?);
        }
        Concatenate::new().named("features").call(&pooled)
    }

    /// The loss and the metric for the output: crossentropy and accuracy, of the whole softmax or of each sigmoid.
    ///
    /// ```
    /// use engraft::recipe::Recipe;
    /// let (loss, metric) = Recipe { multi_label: true, ..Recipe::new(2) }.loss();
    /// assert_eq!((loss.name(), metric.name()), ("binary_crossentropy", "binary_accuracy"));
    /// ```
    pub fn loss(&self) -> (Loss, Metric) {
        match self.multi_label {
            true => (Loss::binary_crossentropy(), Metric::BinaryAccuracy),
            false => (Loss::categorical_crossentropy(), Metric::Accuracy),
        }
    }

    fn drop(&self, x: SymbolicTensor) -> Result<SymbolicTensor> {
        if self.dropout == 0.0 { Ok(x) } else { Dropout::new(self.dropout).call(&x) }
    }
}

/// The output of a layer in a model that calls it once.
fn layer_output(model: &Model, layer: &str) -> Result<SymbolicTensor> {
    let call = model.graph().calls().iter().find(|call| call.layer().name() == layer);
    call.cloned().ok_or_else(|| Error::new(model.name(), "a layer of this name", layer))
}

fn pool(pooling: Pooling, x: &SymbolicTensor, name: &str) -> Result<SymbolicTensor> {
    match pooling {
        Pooling::Avg => GlobalAveragePooling2D::new().named(name).call(x),
        Pooling::Max => GlobalMaxPooling2D::new().named(name).call(x),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(model: &Model) -> (usize, usize) {
        (model.count_params(), model.trainable_weights().iter().map(crate::Weight::count).sum())
    }

    fn build(recipe: Recipe) -> Model {
        recipe.weights("none").build(Box::new(|_, _| {})).unwrap()
    }

    #[test]
    fn the_sizes_are_those_of_the_same_models_in_keras() {
        for (freeze, trainable) in [
            ("all", 151_023_621),
            ("none", 165_738_309),
            ("15", 158_103_045),
            ("block4_pool", 158_103_045),
            // The first convolution is layer 2, so that freezing 2 layers freezes no weights.
            ("2", 165_738_309),
            ("3", 165_738_309 - 1792),
        ] {
            let freeze = freeze.parse().unwrap();
            for augment in [Augment::default(), Augment::none()] {
                let model = build(Recipe { freeze: Freeze::clone(&freeze), augment, ..Recipe::new(5) });
                assert_eq!(params(&model), (165_738_309, trainable), "{freeze}");
            }
        }
    }

    #[test]
    fn without_augmentation_and_hidden_layers_only_the_last_layer_is_new() {
        crate::clear_session();
        let recipe = Recipe { augment: Augment::none(), head: Vec::new(), image_size: 32, ..Recipe::new(2) };
        let model = build(recipe);
        let names: Vec<String> = model.layers().iter().map(|layer| layer.name().to_owned()).collect();
        assert_eq!(names[..3], ["input_layer", "rescaling", "block1_conv1"]);
        assert_eq!(names[names.len() - 2..], ["flatten", "dense"]);
        assert_eq!(params(&model).1, 512 * 2 + 2);
    }

    #[test]
    fn a_head_on_pooled_blocks_sees_their_channels_too() {
        for (backbone, channels) in [(Backbone::EFFICIENTNET_LITE0, 1280 + 192 + 112), (Backbone::VGG16, 512 + 512)] {
            let pooled = Recipe {
                pooling: Some(Pooling::Max),
                pooled_blocks: true,
                head: vec![],
                image_size: 64,
                ..Recipe::with_backbone(backbone, 3)
            };
            let model = build(Recipe { dropout: 0.2, ..pooled });
            assert_eq!(params(&model).1, channels * 3 + 3, "{backbone}");
            assert_eq!(model.layers().iter().rev().nth(1).unwrap().class_name(), "Dropout");
        }
    }

    #[test]
    fn normalized_features_have_a_mean_and_a_variance_each() {
        let recipe = Recipe { image_size: 32, head: vec![], augment: Augment::none(), ..Recipe::new(2) };
        let plain = params(&build(recipe.clone()));
        let model = build(Recipe { normalize_features: true, ..recipe });
        assert_eq!(params(&model), (plain.0 + 2 * 512 + 1, plain.1));
        let below = model.output().inputs()[0].layer().clone();
        assert_eq!((below.name(), below.class_name()), (Recipe::FEATURE_NORMALIZATION, "Normalization"));
    }

    #[test]
    fn what_makes_no_classifier_is_an_error() {
        let error = |recipe: Recipe| recipe.weights("none").build(Box::new(|_, _| {})).unwrap_err().to_string();
        assert!(error(Recipe::new(1)).contains("expected two or more, received 1"));
        assert!(error(Recipe { image_size: 16, ..Recipe::new(2) }).contains("at least 32 by 32 pixels"));
    }
}
