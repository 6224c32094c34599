//! High-level transfer learning: build, train, save and use an image classifier.
//!
//! - [`Recipe`] builds a model of augmentation, preprocessing, a pretrained base and a new head.
//! - [`TrainingJob`] trains it in [`Phase`]s, such as training the head and fine-tuning.
//! - [`Classifier`] applies it to photos, loads and saves it. Class names and provenance are its [`Metadata`].
//! - [`Base`] and [`Freeze`] select the layers to freeze.
//!
//! Preprocessing is part of the model: the model takes raw RGB photos (0 to 255), here and in Keras.

mod augment;
mod base;
mod classifier;
mod freeze;
mod interrupt;
mod job;
mod metadata;
mod phase;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub use augment::{Augment, Augmentation};
pub use base::Base;
pub use classifier::Classifier;
pub use freeze::Freeze;
pub use interrupt::Interrupt;
pub use job::{CallbackFactory, Outcome, TrainingJob, TrainingReport};
pub use metadata::Metadata;
pub use phase::Phase;

use crate::applications::vgg16;
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

/// A pretrained network that a [`Recipe`] can build on.
///
/// ```
/// use engraft::recipe::{Backbone, Recipe};
/// let backbone: Backbone = "vgg16".parse()?;
/// assert_eq!(backbone, Recipe::new(5).backbone);
/// assert!("vgg61".parse::<Backbone>().is_err());
/// # Ok::<(), engraft::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backbone {
    /// [`Vgg16`] without its top.
    Vgg16,
}

impl fmt::Display for Backbone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vgg16 => f.write_str("vgg16"),
        }
    }
}

impl FromStr for Backbone {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "vgg16" => Ok(Self::Vgg16),
            other => Err(Error::new("backbone", "vgg16", other)),
        }
    }
}

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
    /// Units of each hidden Dense layer of the head; may be empty.
    pub head: Vec<usize>,
    /// Augmentation of the training photos.
    pub augment: Augment,
    /// Number of classes, at least 2.
    pub classes: usize,
    /// The layers to freeze.
    pub freeze: Freeze,
}

impl Recipe {
    /// Defaults: VGG16 with ImageNet weights, frozen, at 256 by 256 pixels.
    ///
    /// The head has two hidden layers of 4096 units. The augmentation is [`Augment::default`].
    pub fn new(classes: usize) -> Self {
        Self {
            backbone: Backbone::Vgg16,
            weights: Weights::Imagenet,
            image_size: 256,
            head: vec![4096, 4096],
            augment: Augment::default(),
            classes,
            freeze: Freeze::All,
        }
    }

    /// Sets the backbone's initial weights.
    #[must_use]
    pub fn weights(mut self, weights: impl Into<Weights>) -> Self {
        self.weights = weights.into();
        self
    }

    /// Builds the model, not compiled: `[image_size, image_size, 3]` to `[classes]`, with a softmax.
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
        let mut x = self.base(&x, progress)?.output().clone();
        x = Flatten::new().call(&x)?;
        for &units in &self.head {
            x = Dense::new(units).activation(Relu).call(&x)?;
        }
        let model = Model::new(&inputs, &Dense::new(self.classes).activation(Softmax).call(&x)?)?;
        self.freeze.apply(&model)?;
        Ok(model)
    }

    fn base(&self, x: &SymbolicTensor, progress: DownloadProgress) -> Result<Model> {
        match self.backbone {
            Backbone::Vgg16 => {
                let x = vgg16::preprocess_input(x)?;
                let base = Vgg16::new().include_top(false).weights(self.weights.clone()).input_tensor(&x);
                base.progress(progress).build()
            }
        }
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
    fn what_makes_no_classifier_is_an_error() {
        let error = |recipe: Recipe| recipe.weights("none").build(Box::new(|_, _| {})).unwrap_err().to_string();
        assert!(error(Recipe::new(1)).contains("expected two or more, received 1"));
        assert!(error(Recipe { image_size: 16, ..Recipe::new(2) }).contains("at least 32 by 32 pixels"));
        assert!("vgg".parse::<Backbone>().unwrap_err().to_string().contains("expected vgg16, received vgg"));
    }
}
