//! Compiles the model of `engraft train` with the optimizer and learning rate of its arguments, and makes the training phases:
//! one, or two with `--fine-tune-from`.
//!
//! No option sets the loss: a new model gets categorical crossentropy, or binary crossentropy where a photo can have several
//! labels. A saved model keeps its loss, or gets a crossentropy if it was saved without one.

use engraft::Result;
use engraft::prelude::*;
use engraft::recipe::Phase;

use super::Args;
use crate::compile::{OptimizerKind, compile_if_needed};
use crate::options::Count;

/// Compiles a new model with the optimizer and learning rate of the arguments.
pub(super) fn compile_new(args: &Args, recipe: &Recipe, model: &Model) -> Result<()> {
    let kind = args.optimizer.unwrap_or(OptimizerKind::Adam);
    let default = args.backbone()?.learning_rate() * if kind == OptimizerKind::Sgd { 10.0 } else { 1.0 };
    let optimizer = kind.optimizer(Some(args.learning_rate.unwrap_or(default).into()));
    let (loss, metric) = recipe.loss();
    model.compile(optimizer, loss, [metric])
}

/// Compiles a saved model unless it is compiled, then applies `--optimizer` and `--learning-rate`.
pub(super) fn compile_saved(args: &Args, classifier: &Classifier) -> Result<()> {
    compile_if_needed(classifier)?;
    let model = classifier.model();
    let stored = model.compiled_or_error()?;
    if let Some(kind) = args.optimizer {
        let stored_rate = || stored.optimizer_or_error().map(|optimizer| optimizer.learning_rate().clone());
        let rate = args.learning_rate.map_or_else(stored_rate, |rate| Ok(LearningRate::from(rate)))?;
        return model.compile(kind.optimizer(Some(rate)), stored.loss_or_error()?, stored.metrics);
    }
    if let Some(rate) = args.learning_rate {
        let set = |optimizer: &mut Optimizer| optimizer.set_learning_rate(rate);
        model.update_compiled(|compiled| compiled.optimizer.iter_mut().for_each(set))?;
    }
    Ok(())
}

/// The training phases of a compiled model: one, or two with `--fine-tune-from`.
pub(super) fn phases(args: &Args, model: &Model) -> Result<Vec<Phase>> {
    let first = Phase::first(model, args.epochs(), args.seed)?;
    let Some(from) = &args.fine_tune_from else { return Ok(vec![first]) };
    let second = first.fine_tuning(
        model,
        from,
        args.fine_tune_epochs.map_or(5, |Count(epochs)| epochs),
        args.fine_tune_learning_rate,
    );
    Ok(vec![first, second.map_err(|error| error.within("--fine-tune-from"))?])
}
