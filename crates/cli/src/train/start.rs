//! What training starts from: a recipe, or a saved model.

use std::path::Path;

use engraft::applications::Weights;
use engraft::recipe::{Classifier, Facts, Freeze, Progress, Recipe};
use engraft::{Error, ErrorKind};

use super::{Args, settings};
use crate::failure::Failure;
use crate::photos;
use crate::predict::warn;

/// What training starts from.
pub(super) enum Start {
    /// A new model, built once the classes are known.
    Recipe,
    /// A saved one.
    Saved(Box<Classifier>),
}

impl Start {
    /// Opens the saved model, if there is one; else checks that the weights' file is there.
    pub(super) fn of(args: &Args) -> Result<Self, Failure> {
        if let Some(path) = &args.model {
            let classifier = Classifier::load(path)?;
            warn(&classifier);
            return Ok(Self::Saved(Box::new(classifier)));
        }
        match &args.weights {
            Weights::File(path) if !path.is_file() => {
                let error = Error::new("--weights", "imagenet, none or the path of a weights file", path.display());
                Err(error.with_kind(ErrorKind::NotFound).hint("check the spelling; there is no such file").into())
            }
            _ => Ok(Self::Recipe),
        }
    }

    /// A saved model must know the folder's classes, in their order.
    pub(super) fn check_classes(&self, dir: &Path, folders: &[String]) -> Result<(), Failure> {
        match self {
            Self::Recipe => Ok(()),
            Self::Saved(classifier) if classifier.facts().is_none() => photos::check_count(dir, classifier, folders),
            Self::Saved(classifier) if classifier.classes() == folders => Ok(()),
            Self::Saved(classifier) => {
                let expected = format!("folders of the model's classes {}", classifier.classes().join(", "));
                Err(Error::new(dir.display(), expected, folders.join(", "))
                    .hint("rename the folders; or train a new model for these classes, without --model")
                    .into())
            }
        }
    }

    /// The compiled model, its classes named `classes`.
    pub(super) fn classifier(self, args: &Args, classes: Vec<String>) -> Result<Classifier, Failure> {
        match self {
            Self::Recipe => Ok(new(args, classes)?),
            Self::Saved(classifier) => Ok(saved(args, *classifier, classes)?),
        }
    }
}

fn new(args: &Args, classes: Vec<String>) -> Result<Classifier, Error> {
    engraft::set_random_seed(args.seed);
    let recipe = Recipe {
        backbone: args.backbone,
        weights: args.weights.clone(),
        image_size: args.recipe.image_size,
        head: args.recipe.head.0.clone(),
        augment: args.recipe.augment.clone(),
        classes: classes.len(),
        freeze: args.freeze.clone().unwrap_or(Freeze::All),
    };
    let model = recipe.build(download_bar())?;
    settings::compile_new(args, &model)?;
    let facts = Facts { backbone: Some(args.backbone), seed: Some(args.seed), ..Facts::new(classes) };
    Classifier::new(model, Some(facts))
}

fn saved(args: &Args, classifier: Classifier, classes: Vec<String>) -> Result<Classifier, Error> {
    let model = classifier.model().clone();
    settings::compile_saved(args, &model)?;
    if let Some(freeze) = &args.freeze {
        freeze.apply(&model)?;
    }
    let backbone = classifier.facts().and_then(|facts| facts.backbone);
    Classifier::new(model, Some(Facts { backbone, seed: Some(args.seed), ..Facts::new(classes) }))
}

/// Shows how far a download is, once there is one.
fn download_bar() -> Progress {
    let mut bar = None;
    Box::new(move |received, total| {
        let template = "Downloading weights {bar:24} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left";
        let bar = bar.get_or_insert_with(|| photos::bar(template, 0));
        bar.set_length(total.unwrap_or(received));
        bar.set_position(received);
        if total == Some(received) {
            bar.finish_and_clear();
        }
    })
}
