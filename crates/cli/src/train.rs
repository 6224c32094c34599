//! `engraft train`: from photos to a model.

mod interrupt;
mod plan;
mod progress;
mod settings;
mod start;

use std::path::PathBuf;

use engraft::Error;
use engraft::applications::Weights;
use engraft::data::{Photo, PhotoFolder, Split, split};
use engraft::formats::atomic;
use engraft::ir::Precision;
use engraft::recipe::{Backbone, Freeze, Interrupt, Outcome, Phase, TrainingJob};
use engraft::runtime::Runtime;
use engraft::train::{Callback, History};

use crate::compile::{OptimizerKind, with_accuracy};
use crate::destination::Destination;
use crate::failure::Failure;
use crate::options::{self, Count, PhotosArg, PrecisionArg, RecipeArgs};
use crate::output::{count, line, note};
use crate::photos;
use crate::score::{Score, change};
use progress::Progress;
use start::Start;

/// Train a classifier on a folder of photos
///
/// The plan is shown first. Ctrl-C stops after the current step and saves what has been learned; once more stops at once.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    #[command(flatten)]
    photos: PhotosArg,
    /// The model file to write, named `.keras`
    #[arg(short, long, value_name = "MODEL")]
    output: PathBuf,
    /// Go on with this model, its frozen layers and settings as stored
    #[arg(long, value_name = "MODEL")]
    model: Option<PathBuf>,
    /// The network to build on
    #[arg(long, value_parser = options::backbone, default_value = "vgg16", conflicts_with = "model")]
    backbone: Backbone,
    /// Its first weights: imagenet, none for random ones, or a file
    #[arg(long, value_name = "imagenet|none|FILE", value_parser = options::weights, default_value = "imagenet", conflicts_with = "model")]
    weights: Weights,
    #[command(flatten)]
    recipe: RecipeArgs,
    /// What doesn't learn: all of the base, none, its first N layers, or everything before a layer
    /// [default: all for a new model, as stored for a saved one]
    #[arg(long, value_name = "all|none|N|LAYER", value_parser = options::freeze)]
    freeze: Option<Freeze>,
    /// Passes over the photos
    #[arg(long, value_name = "N", default_value = "10")]
    epochs: Count,
    /// Photos a step
    #[arg(long, value_name = "N", default_value = "32")]
    batch_size: Count,
    /// How weights are updated [default: adam for a new model, as stored for a saved one]
    #[arg(long, value_enum)]
    optimizer: Option<OptimizerKind>,
    /// How far each update goes [default: 0.0001, for sgd 0.001; as stored for a saved model]
    #[arg(long, value_name = "X", value_parser = options::learning_rate)]
    learning_rate: Option<f64>,
    /// Share of each class' photos to hold out and validate on; 0 to train on all
    #[arg(long, value_name = "SHARE", value_parser = options::share, default_value = "0.2", conflicts_with = "validation")]
    validation_split: f64,
    /// A folder of photos to validate on instead
    #[arg(long, value_name = "DIR")]
    validation: Option<PathBuf>,
    /// Decides first weights, held-out photos, their order and augmentation: the same seed, the same model
    #[arg(long, value_name = "N", default_value = "0")]
    seed: u64,
    /// Take photos by class and name in every epoch, as Keras does with shuffle=False
    #[arg(long)]
    no_shuffle: bool,
    /// Afterwards train on with this layer and all above it unfrozen
    #[arg(long, value_name = "LAYER|N", value_parser = options::freeze)]
    fine_tune_from: Option<Freeze>,
    /// Passes of that
    #[arg(long, value_name = "N", default_value = "5", requires = "fine_tune_from")]
    fine_tune_epochs: Count,
    /// Its learning rate [default: a tenth of the first]
    #[arg(long, value_name = "X", value_parser = options::learning_rate, requires = "fine_tune_from")]
    fine_tune_learning_rate: Option<f64>,
    #[command(flatten)]
    precision: PrecisionArg,
    /// Save the optimizer's memory, too, so that training can go on where it stopped, here and in Keras
    #[arg(long)]
    save_optimizer: bool,
    /// Write loss and accuracy of each epoch, as Keras' History.history
    #[arg(long, value_name = "FILE.json")]
    history: Option<PathBuf>,
}

pub(crate) fn run(args: &Args, runtime: &Runtime) -> Result<(), Failure> {
    let output = Destination::check("--output", &args.output)?;
    let history = args.history.as_deref().map(|path| Destination::check("--history", path)).transpose()?;
    if output.path().extension().is_none_or(|extension| extension != "keras") {
        note("warning: Keras opens model files only where their name ends in .keras");
    }
    let chosen = args.precision.of(runtime)?;
    let start = Start::of(args)?;
    let photos = Photos::read(args, &start)?;
    let classifier = start.classifier(args, photos.folder.classes.clone())?;
    let phases = settings::phases(args, classifier.model())?;

    let Split { training, validation } = photos.parts;
    let job = TrainingJob::new(&classifier, training, validation, phases)?;
    let job = job.batch_size(args.batch_size.0).shuffle(!args.no_shuffle).runtime(&chosen);
    let job = job.save_to(output.path(), args.save_optimizer);
    let memory = job.memory()?;
    plan::lines(args, &job, &photos.folder, &memory, &chosen).into_iter().try_for_each(line)?;
    job.ensure_fits()?;

    let job = job.keep_photos_in_memory()?;
    let interrupt = interrupt::watch();
    let mut observe = |phase: &Phase| Some(Box::new(Progress::new(&phase.name)) as Box<dyn Callback>);
    let report = job.run(&interrupt, &mut observe);
    let written = history.map_or(Ok(()), |history| write_history(&history, &report.history));
    let outcome = report.outcome.inspect_err(|_| note(what_is_left(&output, report.phases_saved)))?;
    written?;
    match outcome {
        Outcome::Complete => {
            line(format_args!("Saved {}", output.path().display()))?;
            match change_by_precision(args, &job, &interrupt, runtime, &chosen) {
                Ok(change) => change.map_or(Ok(()), line),
                // The model is trained and saved.
                Err(error) => {
                    note(format_args!("warning: what bf16 changes could not be measured: {error}"));
                    Ok(())
                }
            }
        }
        Outcome::Interrupted { phase, epoch, step } => {
            let epoch =
                progress::epoch_name(&job.phases()[phase].name, epoch, job.phases()[phase].epochs).to_lowercase();
            let (step, path) = (step + 1, output.path().display());
            line(format_args!("Stopped at {epoch}, step {step}; what has been learned is saved in {path}"))?;
            Err(Failure::Interrupted)
        }
    }
}

/// What a failure leaves on the disk, after so many phases were saved.
fn what_is_left(output: &Destination, phases_saved: usize) -> String {
    let path = output.path().display();
    match phases_saved {
        0 if output.path().exists() => format!("{path} is as it was before"),
        0 => format!("{path} was not written"),
        _ => format!("{path} holds what was learned before fine-tuning"),
    }
}

/// What computing in fewer bits than f32 changes for the model that was trained, where that was asked for: on the validation set or,
/// without one, on the training set.
fn change_by_precision(
    args: &Args,
    job: &TrainingJob<'_>,
    interrupt: &Interrupt,
    in_f32: &Runtime,
    chosen: &Runtime,
) -> Result<Option<String>, Error> {
    if args.precision.get() == Precision::F32 || interrupt.is_requested() {
        return Ok(None);
    }
    with_accuracy(job.classifier().model())?;
    let which = if job.validation_set().is_some() { "to validate on" } else { "to learn from" };
    let [now, in_f32] = [chosen, in_f32].map(|runtime| job.evaluate(runtime).map(|found| Score::of(&found)));
    let (now, in_f32) = (now?, in_f32?);
    let change = change(now.accuracy, now.loss, in_f32);
    let photos = count(now.images, "photo");
    let accuracy = 100.0 * now.accuracy;
    Ok(Some(format!("accuracy {accuracy:.1} %, loss {:.4} on {photos} {which} {change}", now.loss)))
}

fn write_history(file: &Destination, history: &History) -> Result<(), Error> {
    let json = history.to_json().to_string();
    let written = atomic::write(file.path(), |file| std::io::Write::write_all(file, json.as_bytes()));
    written.map_err(|error| Error::because("history", &error).with_kind(error.kind()).caused_by(error))
}

/// The training set and the validation set.
struct Photos {
    folder: PhotoFolder,
    parts: Split,
}

impl Photos {
    fn read(args: &Args, start: &Start) -> Result<Self, Failure> {
        let folder = photos::scan(&args.photos.photos)?;
        start.check_classes(&args.photos.photos, &folder.classes)?;
        let parts = match &args.validation {
            None => split(&folder.photos, args.validation_split, args.seed)?,
            Some(dir) => {
                let validation = photos::scan_as(dir, &folder.classes)?.photos;
                warn_of_leaks(&folder.photos, &validation);
                Split { training: folder.photos.clone(), validation }
            }
        };
        Ok(Self { folder, parts })
    }
}

fn warn_of_leaks(training: &[Photo], validation: &[Photo]) {
    let known: std::collections::HashSet<_> = training.iter().map(|photo| photo.digest).collect();
    match validation.iter().filter(|photo| known.contains(&photo.digest)).count() {
        0 => {}
        both => note(format_args!(
            "warning: {both} of {} photos to validate on are among those to learn from: accuracy will look too good",
            validation.len()
        )),
    }
}
