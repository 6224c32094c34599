//! `engraft summary`: what a model consists of.

use std::path::PathBuf;

use engraft::Model;
use engraft::applications::Weights;
use engraft::formats::keras;
use engraft::recipe::{Backbone, Base, Facts, Freeze, Recipe};

use crate::failure::Failure;
use crate::options::{self, Count, RecipeArgs};
use crate::output::{line, note};

/// Show the layers of a model, their shapes and how many parameters they have
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// A `.keras` file or a whole-model `.h5`, or instead of it:
    #[arg(value_name = "MODEL", required_unless_present = "backbone", conflicts_with = "backbone")]
    model: Option<PathBuf>,
    /// The network to build on
    #[arg(long, value_parser = options::backbone)]
    backbone: Option<Backbone>,
    /// imagenet, none or a file; nothing of them is shown
    #[arg(long, value_parser = options::weights, default_value = "none", conflicts_with = "model")]
    weights: Weights,
    /// How many classes to tell apart
    #[arg(long, value_name = "N", default_value = "5", conflicts_with = "model")]
    classes: Count,
    #[command(flatten)]
    recipe: RecipeArgs,
    /// What doesn't learn: all of the base, none, its first N layers, or everything before a layer
    /// [default: all for a new model, as stored for a saved one]
    #[arg(long, value_name = "all|none|N|LAYER", value_parser = options::freeze)]
    freeze: Option<Freeze>,
    /// Also show the layers inside nested models
    #[arg(long)]
    expand_nested: bool,
    /// Also show which layers learn
    #[arg(long)]
    show_trainable: bool,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let model = model(args)?;
    line(model.summary().expand_nested(args.expand_nested).show_trainable(args.show_trainable))
}

fn model(args: &Args) -> Result<Model, Failure> {
    if let Some(path) = &args.model {
        let archive = keras::load(path)?;
        archive.warnings.iter().for_each(|warning| note(format_args!("warning: {warning}")));
        if let Some(freeze) = &args.freeze {
            let base = Facts::read(path)?.map(|facts| facts.base).unwrap_or_default();
            Base::restore(&archive.model, &base).map_err(|error| error.within(path.display()))?;
            freeze.apply(&archive.model)?;
        }
        return Ok(archive.model);
    }
    let recipe = Recipe {
        backbone: args.backbone.unwrap_or(Backbone::Vgg16),
        weights: args.weights.clone(),
        image_size: args.recipe.image_size,
        head: args.recipe.head.0.clone(),
        augment: args.recipe.augment.clone(),
        classes: args.classes.0,
        freeze: args.freeze.clone().unwrap_or(Freeze::All),
    };
    Ok(recipe.build(Box::new(|_, _| {}))?)
}
