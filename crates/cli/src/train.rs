//! `engraft train`: from photos to a model.

mod interrupt;
mod job;
mod plan;
mod progress;
pub(crate) mod settings;
mod start;

use std::path::PathBuf;

use engraft::Error;
use engraft::applications::Weights;
use engraft::data::{Photo, PhotoDataset, PhotoFolder, Split, split};
use engraft::formats::atomic;
use engraft::recipe::{Backbone, Freeze};
use engraft::train::History;

use crate::destination::Destination;
use crate::failure::Failure;
use crate::options::{self, Count, PhotosArg, PrecisionArg, RecipeArgs};
use crate::output::{line, note};
use crate::photos;
use crate::targets::Targets;
use job::{Job, Outcome};
use settings::OptimizerKind;
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

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let output = Destination::check("--output", &args.output)?;
    let history = args.history.as_deref().map(|path| Destination::check("--history", path)).transpose()?;
    if output.path().extension().is_none_or(|extension| extension != "keras") {
        note("warning: Keras opens model files only where their name ends in .keras");
    }
    args.precision.set()?;
    let start = Start::of(args)?;
    let photos = Photos::read(args, &start)?;
    let classifier = start.classifier(args, photos.folder.classes.clone())?;
    let phases = settings::phases(args, classifier.model())?;

    let (model, [height, width]) = (classifier.model(), classifier.image_size());
    let loss = settings::loss(model)?;
    let dataset = |photos| PhotoDataset::new(photos, classifier.classes().len(), [height, width]);
    let job = Job {
        args,
        classifier: &classifier,
        training: Targets::new(dataset(photos.parts.training)?, model, &loss),
        validation: match photos.parts.validation {
            none if none.is_empty() => None,
            held_out => Some(Targets::new(dataset(held_out)?, model, &loss)),
        },
        phases,
    };
    let memory = job.memory()?;
    let lines = plan::lines(&job, &photos.folder, &memory, output.path());
    lines.into_iter().try_for_each(line)?;
    job.ensure_fits(&memory)?;

    let job = job.keeping_photos(&memory);
    let (recorded, outcome) = job.run(&output);
    let written = history.map_or(Ok(()), |history| write_history(&history, &recorded));
    let outcome = outcome?;
    written?;
    match outcome {
        Outcome::Complete => {
            line(format_args!("Saved {}", output.path().display()))?;
            match job.change_by_precision() {
                Ok(change) => change.map_or(Ok(()), line),
                // The model is trained and saved.
                Err(error) => {
                    note(format_args!("warning: what bf16 changes could not be measured: {error}"));
                    Ok(())
                }
            }
        }
        Outcome::Stopped(place) => {
            line(format_args!("Stopped at {place}; what has been learned is saved in {}", output.path().display()))?;
            Err(Failure::Interrupted)
        }
    }
}

fn write_history(file: &Destination, history: &History) -> Result<(), Error> {
    let json = history.to_json().to_string();
    let written = atomic::write(file.path(), |file| std::io::Write::write_all(file, json.as_bytes()));
    written.map_err(|error| Error::because("history", error))
}

/// What to learn from and what to validate on.
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
