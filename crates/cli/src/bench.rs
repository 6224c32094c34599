//! `engraft bench`: what this machine will do for a user.

mod mode;
mod report;

use engraft::applications::Weights;
use engraft::prelude::*;
use engraft::recipe::{Augment, Backbone, Recipe};
use engraft::runtime::Runtime;
use engraft::train::Speed;
use engraft::{Error, Model};

use crate::failure::Failure;
use crate::options::{self, Count, Head, PrecisionArg};
use crate::output::line;
use mode::Mode;
use report::Report;

/// Classes of the model that is measured: they hardly count beside everything below them.
const CLASSES: usize = 5;

/// Small enough that noise for photos doesn't make the weights run away.
const LEARNING_RATE: f64 = 1e-6;

/// Measure how fast a model predicts or trains on this machine
///
/// On noise and from random weights, which take the same time as photos and trained ones. Two steps warm up and aren't
/// counted.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The network to build on
    #[arg(long, value_parser = options::backbone, default_value = "vgg16")]
    backbone: Backbone,
    /// What is measured: predicting, or a step of training with the base frozen, with its first N layers frozen, or whole
    #[arg(long, value_name = "predict|frozen|fine-tune=N|full", default_value = "frozen")]
    mode: Mode,
    /// Photos a step
    #[arg(long, value_name = "N", default_value = "16")]
    batch: Count,
    /// Pixels a side of the photos
    #[arg(long, value_name = "PIXELS", value_parser = options::image_size, default_value = "256")]
    image_size: usize,
    /// Units of the hidden layers between the base and the classes, or `none`
    #[arg(long, value_name = "UNITS,...", default_value = "4096,4096")]
    head: Head,
    #[command(flatten)]
    precision: PrecisionArg,
    /// Steps to measure
    #[arg(long, value_name = "N", default_value = "5")]
    steps: Count,
    /// Also show every layer
    #[arg(long)]
    layers: bool,
    /// One JSON object instead of text
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args, runtime: &Runtime) -> Result<(), Failure> {
    let runtime = args.precision.of(runtime)?;
    let model = model(args)?;
    let speed = Speed::measure(&model, args.mode.task(), args.batch.0, args.steps.0, &runtime)?;
    drop(model);
    let report = Report { args, speed: &speed, threads: runtime.threads(), peak_bytes: engraft::memory::peak() };
    match args.json {
        true => line(report.to_json()),
        false => line(report.to_text()),
    }
}

fn model(args: &Args) -> Result<Model, Error> {
    let recipe = Recipe {
        backbone: args.backbone,
        weights: Weights::None,
        image_size: args.image_size,
        head: args.head.0.clone(),
        augment: Augment::none(),
        freeze: args.mode.freeze(),
        ..Recipe::new(CLASSES)
    };
    let model = recipe.build(Box::new(|_, _| {}))?;
    model.compile(Adam::new(LEARNING_RATE), Loss::categorical_crossentropy(), [])?;
    Ok(model)
}
