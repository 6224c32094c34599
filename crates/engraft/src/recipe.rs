//! A classifier in one step: augmentation, preprocessing, a pretrained base and a new head.
//!
//! Preprocessing stands inside the model: it takes raw RGB photos of 0 to 255, here and in Keras. What else must travel
//! with it, such as the names of its classes, are its [`Facts`].

mod augment;
mod base;
mod classifier;
mod facts;
mod freeze;
mod interrupt;
mod job;
mod leaves;
mod phase;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub use augment::{Augment, Augmentation};
pub use base::Base;
pub use classifier::Classifier;
pub use facts::Facts;
pub use freeze::Freeze;
pub use interrupt::Interrupt;
pub use job::{Observer, Outcome, Report, TrainingJob};
pub use phase::Phase;

use crate::applications::vgg16;
use crate::prelude::*;
use crate::{Error, Result};

/// Called while weights are downloaded, with the bytes that have arrived and, where known, how many there are.
///
/// ```
/// use engraft::recipe::{Progress, Recipe};
/// let progress: Progress = Box::new(|arrived, total| eprint!("\r{arrived} of {total:?} bytes"));
/// let recipe = Recipe { image_size: 32, head: vec![], ..Recipe::new(2) };
/// let model = recipe.weights("none").build(progress)?;
/// assert_eq!(model.output_shape(), &[2]);
/// # Ok::<(), engraft::Error>(())
/// ```
pub type Progress = Box<dyn FnMut(u64, Option<u64>)>;

/// A pretrained network to build on.
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

/// What a classifier is made of.
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
    /// Its first weights.
    pub weights: Weights,
    /// Pixels a side of the photos it takes.
    pub image_size: usize,
    /// Units of the hidden Dense layers of the head; may be empty.
    pub head: Vec<usize>,
    /// Random changes in training.
    pub augment: Augment,
    /// How many classes it tells apart, at least 2.
    pub classes: usize,
    /// What doesn't learn.
    pub freeze: Freeze,
}

impl Recipe {
    /// VGG16 from ImageNet, frozen, at 256 pixels, with a head of two layers of 4096 and Keras' usual augmentation.
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

    /// With other first weights.
    #[must_use]
    pub fn weights(mut self, weights: impl Into<Weights>) -> Self {
        self.weights = weights.into();
        self
    }

    /// The model, not compiled: `[image_size, image_size, 3]` to `[classes]`, a softmax.
    ///
    /// # Errors
    /// Fewer than two classes, an image size that the backbone doesn't take, weights that can't be had or don't fit, a
    /// layer to freeze that isn't there.
    pub fn build(&self, progress: Progress) -> Result<Model> {
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

    fn base(&self, x: &SymbolicTensor, progress: Progress) -> Result<Model> {
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
            // The first convolution is layer 2.
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
