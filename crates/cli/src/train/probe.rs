//! The default recipe of `engraft train`: a linear probe, trained exactly and scored by cross-validation.

mod report;

use std::path::Path;

use engraft::Error;
use engraft::applications::Weights;
use engraft::cache::FeatureCache;
use engraft::data::{Photo, PhotoFolder, split};
use engraft::ir::Precision;
use engraft::recipe::{
    Backbone, Budget, FineTuning, Interrupt, LinearProbe, ProbeProgress, ProbeReport, Recipe, feature_cache,
};
use engraft::runtime::Runtime;

use super::near_duplicates;
use super::progress::features;
use super::start::download_meter;
use super::{Args, warn_of_leaks};
use crate::destination::{self, Destination};
use crate::failure::Failure;
use crate::interrupt;
use crate::meter::{Meter, Unit};
use crate::options::BackboneChoice;
use crate::output::{line, note};
use crate::photos;
use crate::weights;

/// Trains, scores and saves a classifier.
pub(super) fn run(args: &Args, output: &Destination, runtime: &Runtime) -> Result<(), Failure> {
    check(args).map_err(Failure::Usage)?;
    if args.recipe.dropout.is_some() {
        note("note: --dropout acts in gradient training only, such as a later `engraft train --model`");
    }
    if args.recipe.normalize_features {
        note("note: --normalize-features changes nothing here: the linear classifier always standardizes its features");
    }
    let cache = if args.no_cache { FeatureCache::off() } else { feature_cache()? };
    let (folder, held_out) = read(args, runtime)?;
    // Files that the listing skipped are reported already.
    let (recipes, listed) = (recipes(args, &folder), folder.skipped.len());
    let smallest = recipes.iter().map(|recipe| recipe.backbone.architecture().parameters()).min().unwrap_or(0);
    output.require_space(4 * smallest as u64)?;
    if !args.json {
        report::overview(args, &folder, &held_out, &recipes).into_iter().try_for_each(line)?;
    }
    near_duplicates::note_of_limit(folder.photos.len() + held_out.len());
    recipes.iter().for_each(weights::announce);
    let interrupt = interrupt::watch("Stopping; a linear classifier that is finished will be saved", "without saving");
    let probe = LinearProbe::new(recipes).seed(args.seed).cache(cache.clone()).runtime(runtime);
    let probe = probe.folds(args.folds.unwrap_or(5)).batch_size(args.batch_size.0).class_weights(args.class_weights());
    let probe = probe.budget(args.budget.unwrap_or_default());
    if let Some(Budget::Time(_)) = args.budget {
        note(
            "warning: with a time as --budget, the result depends on the speed of this machine; a multiple such as 10x doesn't",
        );
    }
    let trained = train(&probe, &args.photos.photos, (folder, &held_out), &interrupt).map_err(weights::advise)?;
    cache.note().into_iter().for_each(note);
    let Some(trained) = trained else {
        note(match cache.folder() {
            Some(_) => "Stopped, nothing is saved; the same command continues with the features that are in the cache",
            None => "Stopped, nothing is saved",
        });
        return Err(Failure::Interrupted);
    };
    photos::report_skipped(&trained.folder.skipped[listed..]);
    tell_fewer_folds(args, trained.score.fold_accuracies.len());
    near_duplicates::notes(&trained).into_iter().for_each(note);
    trained.classifier.save(output.path()).map_err(destination::advise)?;
    match args.json {
        true => line(report::to_json(&trained, output.path()))?,
        false => report::results(args, &trained, output.path()).into_iter().try_for_each(line)?,
    }
    match trained.fine_tuning {
        FineTuning::Stopped => Err(Failure::Interrupted),
        _ => Ok(()),
    }
}

/// Refuses options that only gradient training has.
fn check(args: &Args) -> Result<(), Error> {
    let given = [
        ("--history", args.history.is_some()),
        ("--save-optimizer", args.save_optimizer),
        ("--no-shuffle", args.no_shuffle),
        ("--precision bf16", args.precision.get() != Precision::F32),
    ];
    if args.backbone == BackboneChoice::Auto && args.weights != Weights::Imagenet {
        let error = Error::new("--backbone auto", "the ImageNet weights of each network", "--weights");
        return Err(error.hint("name one network, or leave --weights out"));
    }
    match given.into_iter().find(|(_, is_given)| *is_given) {
        Some((option, _)) => Err(Error::new(option, "gradient training", "the default recipe, which has no epochs")
            .hint("add --epochs 10 to train by gradient descent, or leave the option out")),
        None => Ok(()),
    }
}

/// The training photos and the held-out photos. Decoding is left to the computation of features.
fn read(args: &Args, runtime: &Runtime) -> Result<(PhotoFolder, Vec<Photo>), Failure> {
    let mut folder = photos::list(&args.photos, None, runtime)?;
    photos::warn_of_contradictions(&folder);
    photos::warn_of_classes(&folder);
    if let Some(dir) = &args.validation {
        photos::check_validation(dir, &folder)?;
        let held_out = photos::list_as(dir, &folder.classes, runtime)?;
        photos::note_left_out(dir, &held_out.left_out);
        warn_of_leaks(&folder.photos, &held_out.photos);
        return Ok((folder, held_out.photos));
    }
    let parts = split(&folder.photos, args.validation_split.unwrap_or(0.0), args.seed)?;
    folder.photos = parts.training;
    Ok((folder, parts.validation))
}

/// The recipes to compare: one for the chosen backbone; with `--backbone auto`, one for each backbone whose weights are on this
/// machine.
fn recipes(args: &Args, folder: &PhotoFolder) -> Vec<Recipe> {
    let recipe = |backbone| Recipe {
        weights: args.weights.clone(),
        multi_label: folder.is_multi_label(),
        ..args.recipe.linear_probe(backbone, folder.classes.len())
    };
    match args.backbone {
        BackboneChoice::One(backbone) => vec![recipe(backbone)],
        BackboneChoice::Auto => {
            let is_at_hand = |recipe: &Recipe| recipe.backbone.is_at_hand(recipe.image_size);
            let fitting = Backbone::all().filter(|backbone| args.recipe.check_image_size(*backbone).is_ok());
            let (at_hand, left_out): (Vec<Recipe>, Vec<Recipe>) = fitting.map(recipe).partition(is_at_hand);
            tell_left_out(&left_out);
            at_hand
        }
    }
}

/// Says which networks `--backbone auto` doesn't try, and what changes that.
fn tell_left_out(recipes: &[Recipe]) {
    let networks = match recipes {
        [] => return,
        [one] => format!("{} isn't tried, as its weights aren't", one.backbone),
        several => format!("{} of the networks aren't tried, as their weights aren't", several.len()),
    };
    let remedy = match cfg!(feature = "download") {
        true => "train once with --backbone NAME to download those of a network",
        false => "`engraft train --backbone NAME` tells where to put those of a network",
    };
    note(format_args!("note: {networks} on this machine (`engraft backbones` lists them); {remedy}"));
}

/// Says that there are fewer folds than `--folds` asks for.
fn tell_fewer_folds(args: &Args, folds: usize) {
    if let Some(wanted) = args.folds.filter(|wanted| *wanted > folds) {
        note(format_args!(
            "note: {folds} folds instead of --folds {wanted}: there are no more photos, of which copies count once"
        ));
    }
}

fn train(
    probe: &LinearProbe,
    dir: &Path,
    (folder, held_out): (PhotoFolder, &[Photo]),
    interrupt: &Interrupt,
) -> Result<Option<ProbeReport>, Error> {
    let features = features();
    let [head, tuning] = ["Training the head", "Trying fine-tuning"].map(|title| Meter::new(title, Unit::Parts));
    let mut progress = ProbeProgress {
        download: Box::new(download_meter),
        features: Box::new(&features),
        head: Box::new(|fraction| head.set((1000.0 * fraction) as u64, 1000)),
        fine_tuning: Box::new(|fraction| tuning.set((1000.0 * fraction) as u64, 1000)),
    };
    let trained = probe.run(dir, folder, held_out, interrupt, &mut progress);
    drop(progress);
    [head, tuning].iter().for_each(Meter::finish);
    trained
}
