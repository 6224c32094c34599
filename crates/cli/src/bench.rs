//! `engraft bench`: measures prediction and training speed on this machine.

mod mode;
mod report;

use engraft::applications::Weights;
use engraft::prelude::*;
use engraft::recipe::{Augment, Backbone, Recipe};
use engraft::runtime::Runtime;
use engraft::train::Speed;
use engraft::{Error, Model};

use crate::failure::Failure;
use crate::options::{self, Count, HiddenUnits, PrecisionArg};
use crate::output::line;
use mode::Mode;
use report::Report;

/// Number of classes of the measured model; its cost is negligible.
const CLASSES: usize = 5;

/// Learning rate small enough that training on noise doesn't diverge.
const LEARNING_RATE: f64 = 1e-6;

const EXAMPLES: &str = "\
Examples:
  engraft bench --mode predict --batch 1
  engraft bench --mode fine-tune=15 --batch 16 --image-size 128 --layers";

/// Measure prediction or training speed on this machine
///
/// Uses random pixels and random weights, which take the same time as real ones. Runs two warm-up steps first, which are not
/// counted.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Network to measure (vgg16)
    #[arg(long, value_parser = options::backbone, default_value = "vgg16", help_heading = "Model")]
    backbone: Backbone,
    /// What to measure: prediction, or a training step with more or fewer layers frozen (not trained)
    ///
    /// predict: prediction. frozen: a training step with the whole base frozen, as by default in `engraft train`. fine-tune=N: a
    /// training step with the first N layers of the base frozen. full: a training step with all layers trainable.
    #[arg(
        long,
        value_name = "predict|frozen|fine-tune=N|full",
        default_value = "frozen",
        help_heading = "Measurement"
    )]
    mode: Mode,
    /// Batch size: images per step
    #[arg(long, value_name = "N", default_value = "16", help_heading = "Measurement")]
    batch: Count,
    /// Height and width of the images, in pixels, from 32 to 2048
    #[arg(long, value_name = "PIXELS", value_parser = options::image_size, default_value = "256", help_heading = "Model")]
    image_size: usize,
    /// Units (outputs) of each hidden Dense layer between base and output layer, such as 256 or 4096,4096, or `none` for a
    /// linear classifier
    #[arg(long, value_name = "UNITS,...", default_value = "4096,4096", help_heading = "Model")]
    head: HiddenUnits,
    #[command(flatten)]
    precision: PrecisionArg,
    /// Number of steps to measure; the printed time is their median
    #[arg(long, value_name = "N", default_value = "5", help_heading = "Measurement")]
    steps: Count,
    /// Also print the time of each layer
    #[arg(long, help_heading = "Output")]
    layers: bool,
    /// Print one JSON object instead of text, for scripts
    #[arg(long, help_heading = "Output")]
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
