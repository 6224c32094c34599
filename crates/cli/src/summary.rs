//! `engraft summary`: prints the layers of a saved model, or of a model that `engraft train` would build.

use std::path::PathBuf;

use engraft::Model;
use engraft::applications::Weights;
use engraft::formats::keras;
use engraft::recipe::{Backbone, Freeze, Recipe};

use crate::failure::Failure;
use crate::misplaced::check_model;
use crate::options::{self, Count, RecipeArgs};
use crate::output::{line, note};
use crate::weights;

const EXAMPLES: &str = "\
Examples:
  engraft summary model.keras --show-trainable
  engraft summary --backbone vgg16 --image-size 128 --classes 3 --freeze 15";

/// Print the layers of a model with output shapes and numbers of parameters, like Keras' summary()
///
/// Prints a saved model, or, with --backbone, the model that `engraft train` would build with these options.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Model file to read: `.keras`, or an `.h5` that holds layers and weights, written by engraft or Keras
    #[arg(value_name = "MODEL", required_unless_present = "backbone", conflicts_with = "backbone")]
    model: Option<PathBuf>,
    /// Describe a new model on this pretrained network, by its name in `engraft backbones`, instead of a saved one
    #[arg(long, value_name = "NAME", value_parser = options::backbone, help_heading = "Model")]
    backbone: Option<Backbone>,
    /// Initial weights: imagenet (downloaded if missing), none (random), or a weights file; the summary is the same for all
    #[arg(
        long,
        value_name = "imagenet|none|FILE",
        value_parser = options::weights,
        default_value = "none",
        conflicts_with = "model",
        help_heading = "Model"
    )]
    weights: Weights,
    /// Number of classes of a new model
    #[arg(long, value_name = "N", default_value = "5", conflicts_with = "model", help_heading = "Model")]
    classes: Count,
    #[command(flatten)]
    recipe: RecipeArgs,
    /// Layers to freeze (not to train): all of the base, none, its first N layers, or all layers before LAYER
    /// [default: all for a new model, unchanged for a saved one]
    ///
    /// N counts the input and the augmentation as layers 0 and 1, so `--freeze 15` leaves the last block of VGG16 and the head
    /// trainable. The option makes all layers that it doesn't freeze trainable.
    #[arg(long, value_name = "all|none|N|LAYER", value_parser = options::freeze, help_heading = "Model")]
    freeze: Option<Freeze>,
    /// Also print the layers inside nested models (models that are layers of the model)
    #[arg(long, help_heading = "Output")]
    expand_nested: bool,
    /// Also print which layers are trainable (Y) and which are frozen (N)
    #[arg(long, help_heading = "Output")]
    show_trainable: bool,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let model = model(args)?;
    line(model.summary().expand_nested(args.expand_nested).show_trainable(args.show_trainable))
}

fn model(args: &Args) -> Result<Model, Failure> {
    if let Some(path) = &args.model {
        check_model(path, [])?;
        let archive = keras::load_with(path, &args.recipe.load_options())?;
        archive.warnings.iter().for_each(|warning| note(format_args!("warning: {warning}")));
        if let Some(freeze) = &args.freeze {
            freeze.apply(&archive.model)?;
        }
        return Ok(archive.model);
    }
    let recipe = Recipe {
        weights: args.weights.clone(),
        freeze: args.freeze.clone().unwrap_or(Freeze::All),
        ..args.recipe.recipe(args.backbone.unwrap_or(Backbone::VGG16), args.classes.0)
    };
    weights::announce(&recipe);
    Ok(recipe.build(Box::new(|_, _| {})).map_err(weights::advise)?)
}
