//! The model that training starts from: a new one, or a saved one.

use std::path::Path;

use engraft::applications::Weights;
use engraft::data::PhotoFolder;
use engraft::recipe::{Classifier, DownloadProgress, Freeze, Metadata, Outputs, Recipe, SplitRecord};
use engraft::{Error, ErrorKind};

use super::{Args, settings};
use crate::compile::no_classes;
use crate::failure::Failure;
use crate::file_kind::FileKind;
use crate::meter::{Meter, Unit};
use crate::options::PhotosArg;
use crate::output::note;
use crate::photos;
use crate::weights;

/// The model that training starts from.
pub(super) enum Start {
    /// A new model. It is built later, once the classes are known.
    Recipe,
    /// A saved model.
    Saved(Box<Classifier>),
}

impl Start {
    /// Opens the model of `--model`; without one, checks that the file of `--weights` exists.
    pub(super) fn of(args: &Args) -> Result<Self, Failure> {
        if let Some(path) = &args.model {
            let open = args.recipe.open();
            let classifier = open.classifier(path)?;
            if matches!(classifier.outputs(), Outputs::Values | Outputs::Features) {
                let features = open.features_command(path, &classifier, None);
                return Err(no_classes(&classifier, &features).within(path.display()).into());
            }
            note_of_probe(&classifier);
            return Ok(Self::Saved(Box::new(classifier)));
        }
        args.backbone()?;
        match &args.weights {
            Weights::File(path) => check_weights(path).map(|()| Self::Recipe),
            _ => Ok(Self::Recipe),
        }
    }

    /// Gives the folder the classes of a saved model, if its folders are named after them. If the model has no class names, checks only
    /// that there is one folder per class.
    pub(super) fn with_classes(&self, args: &PhotosArg, mut folder: PhotoFolder) -> Result<PhotoFolder, Failure> {
        let Self::Saved(classifier) = self else { return Ok(folder) };
        photos::check_labels(classifier, &folder)?;
        if classifier.metadata().is_none() {
            return photos::check_count(args, classifier, &folder.classes).map(|()| folder);
        }
        if folder.match_classes(classifier.classes()) {
            return Ok(folder);
        }
        let expected = format!("folders of the model's classes {}", classifier.classes().join(", "));
        Err(Error::new(args.photos.display(), expected, folder.classes.join(", "))
            .hint("rename the folders; or train a new model for these classes, without --model")
            .into())
    }

    /// The saved model, as its file has it.
    pub(super) fn saved(&self) -> Option<&Classifier> {
        match self {
            Self::Recipe => None,
            Self::Saved(classifier) => Some(classifier),
        }
    }

    /// The class names of a saved model that has some.
    pub(super) fn classes(&self) -> Option<&[String]> {
        match self {
            Self::Saved(classifier) if classifier.metadata().is_some() => Some(classifier.classes()),
            _ => None,
        }
    }

    /// Builds the new model or takes the saved one, compiles it by the arguments, and gives it the class names of the photos.
    pub(super) fn classifier(self, args: &Args, folder: &PhotoFolder) -> Result<Classifier, Failure> {
        match self {
            Self::Recipe => Ok(new(args, folder)?),
            Self::Saved(classifier) => Ok(saved(args, *classifier, folder.classes.clone())?),
        }
    }
}

/// Refuses a value of `--weights` that is no file, or a photo.
fn check_weights(path: &Path) -> Result<(), Failure> {
    let expected = "imagenet, none or the path of a weights file";
    match FileKind::of(path) {
        FileKind::Missing => {
            let error = Error::new("--weights", expected, path.display());
            Err(error.with_kind(ErrorKind::NotFound).hint("check the spelling; there is no such file").into())
        }
        kind @ (FileKind::Folder | FileKind::Special | FileKind::Empty | FileKind::Photo) => {
            let error = Error::new("--weights", expected, format_args!("{}, {kind}", path.display()));
            Err(error.hint("give a weights file, or leave --weights out").into())
        }
        FileKind::Model | FileKind::Other => Ok(()),
    }
}

fn new(args: &Args, folder: &PhotoFolder) -> Result<Classifier, Error> {
    engraft::set_random_seed(args.seed);
    let recipe = Recipe {
        weights: args.weights.clone(),
        freeze: args.freeze.clone().unwrap_or(Freeze::All),
        multi_label: folder.is_multi_label(),
        ..args.recipe.recipe(args.backbone()?, folder.classes.len())
    };
    weights::announce(&recipe);
    let model = recipe.build(download_meter()).map_err(weights::advise)?;
    settings::compile_new(args, &recipe, &model)?;
    let (backbone, seed) = (Some(args.backbone()?), Some(args.seed));
    let metadata = Metadata { backbone, seed, ..Metadata::new(folder.classes.clone()) };
    Classifier::new(model, Some(metadata))
}

fn saved(args: &Args, classifier: Classifier, classes: Vec<String>) -> Result<Classifier, Error> {
    let model = classifier.model().clone();
    settings::compile_saved(args, &classifier)?;
    if let Some(freeze) = &args.freeze {
        freeze.apply(&model)?;
    }
    let backbone = classifier.metadata().and_then(|metadata| metadata.backbone);
    let trained_on_all_photos = was_trained_on_all(&classifier);
    let split = classifier.metadata().and_then(|metadata| metadata.split.clone());
    // Without a record, the model may have been trained on any photo.
    let split = Some(split.unwrap_or_else(SplitRecord::partial));
    let metadata = Metadata { backbone, seed: Some(args.seed), trained_on_all_photos, split, ..Metadata::new(classes) };
    Classifier::new(model, Some(metadata))
}

fn was_trained_on_all(classifier: &Classifier) -> bool {
    classifier.metadata().is_some_and(|metadata| metadata.trained_on_all_photos)
}

/// Says what training on changes in a model of the default recipe: its thresholds are gone.
fn note_of_probe(classifier: &Classifier) {
    if classifier.metadata().is_some_and(|metadata| metadata.thresholds.is_some()) {
        note("note: the thresholds of the labels become 0.5, as the old ones don't fit the new weights");
    }
    if classifier.metadata().is_some_and(|metadata| metadata.unknown.is_some()) {
        note("note: the rule of \"unknown\" is dropped, as it doesn't fit the new weights");
    }
}

/// Shows the progress of a download, from its start on.
pub(super) fn download_meter() -> DownloadProgress {
    let meter = Meter::new("Downloading weights", Unit::Bytes);
    Box::new(move |received, total| {
        meter.set(received, total.unwrap_or(received));
        if total == Some(received) {
            meter.finish();
        }
    })
}
