//! `engraft export`: converts a model to a file for another program, and verifies the file against the model.

mod check;
mod target;

use std::path::{Path, PathBuf};

use clap::ValueEnum;
use engraft::formats::safetensors::Naming;
use engraft::formats::{FloatType, atomic};
use engraft::recipe::{Classifier, Outputs as ModelOutputs};
use engraft::runtime::Runtime;
use engraft::{Error, OutputActivation};

use self::check::{Agreement, Decisions, Samples, tolerance};
use self::target::Target;
use crate::destination::{self, Outputs};
use crate::failure::Failure;
use crate::misplaced::{check_model, check_photos};
use crate::open::OpenArgs;
use crate::options::{ForceArg, PhotosArg};
use crate::output::{self, line, note};
use crate::photos;

const EXAMPLES: &str = "\
Examples:
  engraft export model.keras held-out-photos --to onnx
  engraft export model.keras --to safetensors --names torchvision";

/// Convert a model to a file for another program, and verify the file
///
/// Reads the new file back, compares its predictions with those of the model, on PHOTOS or on synthetic images, and prints the
/// largest difference. Keeps an f32 file only if no probability differs by more than 0.0001, and an f16 file only if all its
/// predictions are finite numbers.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Model file to read: `.keras`, or an `.h5` that holds layers and weights, written by engraft or Keras
    #[arg(value_name = "MODEL")]
    model: PathBuf,
    #[command(flatten)]
    open: OpenArgs,
    /// Folder of photos to compare predictions on, with one folder per class [default: synthetic images]
    #[arg(value_name = "PHOTOS")]
    photos: Option<PathBuf>,
    /// File format: onnx and h5 hold the whole model; weights.h5 and safetensors hold weights only, without layers
    #[arg(long, value_enum, help_heading = "Output")]
    to: Target,
    /// Number format of the weights in the file; f16 takes about half the space and changes predictions slightly
    #[arg(long, value_enum, default_value = "f32", help_heading = "Output")]
    precision: Number,
    /// Naming and axis order of the weights, only for --to safetensors
    #[arg(long, value_enum, default_value = "keras", help_heading = "Output")]
    names: Names,
    /// File to write [default: MODEL with the extension of the format, such as model.onnx for model.keras]
    #[arg(short, long, value_name = "FILE", help_heading = "Output")]
    output: Option<PathBuf>,
    #[command(flatten)]
    force: ForceArg,
}

/// The values of `--precision`: [`FloatType`] on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Number {
    /// 32-bit floating point, as in the model
    F32,
    /// 16-bit floating point, about three significant decimal digits
    F16,
}

/// The values of `--names`: [`Naming`] on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Names {
    /// Names and axes of Keras, such as block1_conv1/kernel
    Keras,
    /// Names and axes of torchvision's VGG, such as features.0.weight, for PyTorch
    Torchvision,
}

impl Args {
    fn float_type(&self) -> FloatType {
        match self.precision {
            Number::F32 => FloatType::F32,
            Number::F16 => FloatType::F16,
        }
    }

    fn bytes_per_parameter(&self) -> u64 {
        match self.precision {
            Number::F32 => 4,
            Number::F16 => 2,
        }
    }

    fn naming(&self) -> Naming {
        match self.names {
            Names::Keras => Naming::Keras,
            Names::Torchvision => Naming::Torchvision,
        }
    }
}

pub(crate) fn run(args: &Args, runtime: &Runtime) -> Result<(), Failure> {
    if args.names == Names::Torchvision && args.to != Target::Safetensors {
        let error = Error::new("--names torchvision", "--to safetensors", args.to.name());
        return Err(Failure::Usage(error.hint("the other formats have fixed names")));
    }
    check_model(&args.model, args.photos.as_deref())?;
    args.photos.as_deref().map_or(Ok(()), check_photos)?;
    let path = args.output.clone().unwrap_or_else(|| args.model.with_extension(args.to.name()));
    let mut outputs = Outputs::new(args.force.force).reads("MODEL", [&args.model]);
    let output = outputs.check("--output", &path, args.to.content())?;
    // The exported file has the outputs as they are, too.
    let classifier = args.open.classifier(&args.model)?.raw_outputs();
    output.require_space(args.bytes_per_parameter() * classifier.model().count_params() as u64)?;
    let scan = |photos| photos::scan_for(&PhotosArg { photos, labels: None }, &classifier, runtime);
    let folder = args.photos.clone().map(scan).transpose()?;
    let samples = match folder {
        Some(folder) => Samples::photos(folder, &classifier)?,
        None => Samples::synthetic(&classifier)?,
    };
    // The file is first written to a temporary folder next to the output. Once verified, it is renamed into place.
    // A link at the output stays, and its target is replaced.
    let target = atomic::target(output.path());
    let beside = target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let trial = tempfile::Builder::new().prefix(".engraft").tempdir_in(beside);
    let trial = trial.map_err(|error| Error::from_io(output.path().display(), error))?;
    let written = trial.path().join(target.file_name().unwrap_or_default());
    args.to.write(&classifier, &written, args.float_type(), args.naming()).map_err(destination::advise)?;
    let source = || Ok(args.open.silently(&args.model)?.model().clone());
    let predict = args.to.read(&source, &written, args.naming(), runtime)?;
    let agreement = samples.compare(&classifier, &predict, runtime)?;
    agreement.must_hold(args.float_type(), tolerance(classifier.model())?)?;
    std::fs::rename(&written, &target).map_err(|error| Error::from_io(output.path().display(), error))?;
    if classifier.metadata().is_some_and(|metadata| metadata.unknown.is_some()) {
        note("note: only the .keras file answers \"unknown\"; the exported file gives the probabilities alone");
    }
    report(args, &classifier, output.path(), &samples, &agreement)
}

fn report(
    args: &Args,
    classifier: &Classifier,
    path: &Path,
    samples: &Samples,
    agreement: &Agreement,
) -> Result<(), Failure> {
    let bytes = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
    let parameters = output::thousands(classifier.model().count_params());
    line(format_args!("Saved {}: {parameters} parameters, {:.1} MB", path.display(), bytes as f64 / 1e6))?;
    let output = match classifier.outputs() {
        ModelOutputs::Probabilities => "a probability",
        ModelOutputs::Logits(_) => "a logit",
        ModelOutputs::Values | ModelOutputs::Features => "an output",
    };
    line(format_args!("Largest difference of {output} on {samples}: {:.1e}", agreement.difference))?;
    match agreement.decisions {
        Some(Decisions::Accuracy(accuracies)) => {
            let [before, after] = accuracies.map(|accuracy| 100.0 * accuracy);
            line(format_args!("Accuracy {after:.1} %, of the model itself {before:.1} % ({:+.1})", after - before))?;
        }
        Some(Decisions::SameLabels(same, photos)) => {
            line(format_args!(
                "{same} of {} have the labels that the model gives them",
                output::count(photos, "photo")
            ))?;
        }
        None => {}
    }
    if let ModelOutputs::Logits(activation) = classifier.outputs() {
        let activation = if activation == OutputActivation::Sigmoid { "sigmoid" } else { "softmax" };
        note(format_args!(
            "note: the file's outputs are logits, as the model's: a {activation} makes probabilities of them"
        ));
    }
    if args.to.holds_weights_alone() {
        note("The file holds weights only: load it into a model with the same layers");
    }
    Ok(())
}
