//! `engraft bench`: measures prediction and training speed on this machine.

mod mode;
mod report;

use engraft::applications::Weights;
use engraft::prelude::*;
use engraft::recipe::{Augment, Backbone, Recipe};
use engraft::runtime::Runtime;
use engraft::train::Speed;

use crate::failure::Failure;
use crate::options::{self, Count, HiddenUnits, PrecisionArg};
use crate::output::line;
use mode::Mode;
use report::Report;

/// Number of classes of the measured model. The output layer is so small that the number hardly changes the measured time.
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
    /// Network to measure, by its name in `engraft backbones`
    #[arg(long, value_name = "NAME", value_parser = options::backbone, default_value = "vgg16", help_heading = "Model")]
    backbone: Backbone,
    /// What to measure: prediction, or a training step with more or fewer layers frozen (not trained)
    ///
    /// predict: prediction. frozen: a training step with the whole base frozen, as by default in `engraft train`. fine-tune=N: a
    /// training step with the first N layers of the base frozen, as with `engraft train --freeze N`. full: a training step with
    /// all layers trainable.
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
    /// [default: 256 for vgg16 and vgg19, for other networks the size that they were trained with]
    #[arg(long, value_name = "PIXELS", value_parser = options::image_size, help_heading = "Model")]
    image_size: Option<usize>,
    /// Units (outputs) of each hidden Dense layer between base and output layer, such as 256 or 4096,4096, or `none` for a
    /// linear classifier
    /// [default: 4096,4096 for vgg16 and vgg19, none for other networks]
    #[arg(long, value_name = "UNITS,...", help_heading = "Model")]
    head: Option<HiddenUnits>,
    #[command(flatten)]
    precision: PrecisionArg,
    /// Number of steps to measure; the printed time of a step is the median
    #[arg(long, value_name = "N", default_value = "5", help_heading = "Measurement")]
    steps: Count,
    /// Also print the time and the GFLOP/s of each layer
    #[arg(long, help_heading = "Output")]
    layers: bool,
    /// Print one JSON object instead of text, for scripts
    #[arg(long, help_heading = "Output")]
    json: bool,
}

pub(crate) fn run(args: &Args, runtime: &Runtime) -> Result<(), Failure> {
    let runtime = args.precision.of(runtime)?;
    let recipe = args.recipe();
    let model = recipe.build(Box::new(|_, _| {}))?;
    model.compile(Adam::new(LEARNING_RATE), Loss::categorical_crossentropy(), [])?;
    let speed = Speed::measure(&model, args.mode.task(), args.batch.0, args.steps.0, &runtime)?;
    drop(model);
    let peak_bytes = engraft::memory::peak();
    let report = Report { args, recipe: &recipe, speed: &speed, threads: runtime.threads(), peak_bytes };
    match args.json {
        true => line(report.to_json()),
        false => line(report.to_text()),
    }
}

impl Args {
    /// The recipe of the model to measure.
    fn recipe(&self) -> Recipe {
        let default = Recipe::with_backbone(self.backbone, CLASSES);
        Recipe {
            weights: Weights::None,
            image_size: self.image_size.unwrap_or(default.image_size),
            head: self.head.as_ref().map_or(default.head, |HiddenUnits(units)| units.clone()),
            augment: Augment::none(),
            freeze: self.mode.freeze(),
            ..default
        }
    }
}
