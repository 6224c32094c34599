//! How a model is trained: optimizer, loss, and the phases of training.

use clap::ValueEnum;
use engraft::prelude::*;
use engraft::recipe::Trainable;
use engraft::{Error, Result};

use super::Args;

/// Optimizers by Keras' names, with its defaults but for the learning rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OptimizerKind {
    Sgd,
    Adam,
    Adamw,
    Rmsprop,
}

impl OptimizerKind {
    fn optimizer(self, learning_rate: Option<f64>) -> Optimizer {
        // What leaves a pretrained base intact: a tenth of Keras' defaults.
        let rate = learning_rate.unwrap_or(if self == Self::Sgd { 1e-3 } else { 1e-4 });
        match self {
            Self::Sgd => Sgd::new(rate).into(),
            Self::Adam => Adam::new(rate).into(),
            Self::Adamw => Optimizer::AdamW(Adam::new(rate).weight_decay(0.004)),
            Self::Rmsprop => RmsProp::new(rate).into(),
        }
    }
}

/// Compiles a model that a recipe made.
pub(super) fn compile_new(args: &Args, model: &Model) -> Result<()> {
    let optimizer = args.optimizer.unwrap_or(OptimizerKind::Adam).optimizer(args.learning_rate);
    model.compile(optimizer, Loss::categorical_crossentropy(), [Metric::Accuracy])
}

/// Compiles a saved model if it isn't, and sets what the arguments name.
pub(super) fn compile_saved(args: &Args, model: &Model) -> Result<()> {
    compile_if_needed(model)?;
    let stored = model.compiled().clone();
    let Some(stored) = stored else { return Ok(()) };
    if let Some(kind) = args.optimizer {
        let rate = args.learning_rate.or(Some(stored.optimizer.learning_rate()));
        return model.compile(kind.optimizer(rate), stored.loss, stored.metrics);
    }
    if let (Some(rate), Some(compiled)) = (args.learning_rate, model.compiled().as_mut()) {
        compiled.optimizer.set_learning_rate(rate);
    }
    Ok(())
}

/// Compiles a model that was saved without optimizer and loss, by what it gives: one yes or no, or a number a class.
pub(crate) fn compile_if_needed(model: &Model) -> Result<()> {
    if model.compiled().is_some() {
        return Ok(());
    }
    let loss = match model.output_shape()[..] {
        [1] => Loss::binary_crossentropy(),
        _ => Loss::categorical_crossentropy(),
    };
    model.compile(OptimizerKind::Adam.optimizer(None), loss, [Metric::Accuracy])
}

/// The compiled model's loss.
pub(super) fn loss(model: &Model) -> Result<Loss> {
    let loss = model.compiled().as_ref().map(|compiled| compiled.loss);
    loss.ok_or_else(|| Error::because(format_args!("model `{}`", model.name()), "not compiled"))
}

/// A stretch of training: what learns, for how long, and how fast.
pub(super) struct Phase {
    /// Empty for the first.
    pub(super) name: &'static str,
    pub(super) epochs: usize,
    pub(super) optimizer: Optimizer,
    pub(super) trainable: Trainable,
    pub(super) seed: u64,
}

/// The phases that the arguments ask for, of a compiled model.
pub(super) fn phases(args: &Args, model: &Model) -> Result<Vec<Phase>> {
    let compiled = model.compiled().as_ref().map(|compiled| compiled.optimizer.clone());
    let optimizer = compiled.ok_or_else(|| Error::because("train", "the model is not compiled"))?;
    let first = Phase {
        name: "",
        epochs: args.epochs.0,
        optimizer: optimizer.clone(),
        trainable: Trainable::of(model),
        seed: args.seed,
    };
    let Some(from) = &args.fine_tune_from else { return Ok(vec![first]) };
    from.apply(model).map_err(|error| error.within("--fine-tune-from"))?;
    let mut slower = optimizer;
    slower.set_learning_rate(args.fine_tune_learning_rate.unwrap_or(slower.learning_rate() / 10.0));
    let second = Phase {
        name: "fine-tuning",
        epochs: args.fine_tune_epochs.0,
        optimizer: slower,
        trainable: Trainable::of(model),
        // Another order and other augmentation than in the first epochs.
        seed: args.seed.wrapping_add(1),
    };
    first.trainable.restore();
    Ok(vec![first, second])
}
