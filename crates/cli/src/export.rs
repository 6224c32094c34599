//! `engraft export`: a model as a file for another program, compared with the model before it is kept.

mod check;
mod target;

use std::path::{Path, PathBuf};

use clap::ValueEnum;
use engraft::Error;
use engraft::formats::Precision;
use engraft::formats::safetensors::Naming;
use engraft::recipe::Classifier;
use engraft::runtime::Runtime;

use self::check::{Agreement, Samples};
use self::target::Target;
use crate::destination::Destination;
use crate::failure::Failure;
use crate::output::{self, line, note};
use crate::photos;
use crate::predict::warn;

/// What f32 sums in another order may differ by in a probability.
const TOLERANCE: f32 = 1e-4;

/// Write a model for another program, and check it against the model first
///
/// The new file is read back, or run where it is ONNX, and must predict what the model predicts: on PHOTOS, or on pictures
/// made up for it. It takes its place only then.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// A `.keras` file, or a whole-model `.h5`
    #[arg(value_name = "MODEL")]
    model: PathBuf,
    /// Photos to check on, one folder of them per class
    #[arg(value_name = "PHOTOS")]
    photos: Option<PathBuf>,
    /// What to write: a whole model as .onnx or .h5, or weights alone as .weights.h5 or .safetensors
    #[arg(long, value_enum)]
    to: Target,
    /// In which numbers kernels are stored; f16 halves the file
    #[arg(long, value_enum, default_value = "f32")]
    precision: Number,
    /// What weights are called in a .safetensors file, and how they are laid out
    #[arg(long, value_enum, default_value = "keras")]
    names: Names,
    /// The file to write [default: MODEL with another ending]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// [`Precision`] on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Number {
    F32,
    F16,
}

/// [`Naming`] on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Names {
    Keras,
    Torchvision,
}

impl Args {
    fn precision(&self) -> Precision {
        match self.precision {
            Number::F32 => Precision::F32,
            Number::F16 => Precision::F16,
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
        return Err(Failure::Usage(error.hint("other formats have names of their own")));
    }
    let path = args.output.clone().unwrap_or_else(|| args.model.with_extension(args.to.name()));
    let output = Destination::check("--output", &path)?;
    let classifier = Classifier::load(&args.model)?;
    warn(&classifier);
    let folder = args.photos.as_deref().map(|photos| photos::scan_for(photos, &classifier)).transpose()?;
    let samples = match folder {
        Some(folder) => Samples::photos(folder, &classifier)?,
        None => Samples::made_up(&classifier)?,
    };
    // Beside its place and under its name, so that a rename is all that is left to do.
    let beside = output.path().parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let trial = tempfile::Builder::new().prefix(".engraft").tempdir_in(beside);
    let trial = trial.map_err(|error| Error::from_io(output.path().display(), error))?;
    let written = trial.path().join(output.path().file_name().unwrap_or_default());
    args.to.write(&classifier, &written, args.precision(), args.naming())?;
    let predict = args.to.read(&args.model, &written, args.naming(), runtime)?;
    let agreement = samples.compare(classifier.model(), &predict, runtime)?;
    agreement.must_hold(args.precision())?;
    std::fs::rename(&written, output.path()).map_err(|error| Error::from_io(output.path().display(), error))?;
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
    line(format_args!("Largest difference of a probability on {samples}: {:.1e}", agreement.difference))?;
    if let Some([before, after]) = agreement.accuracy {
        let [before, after] = [before, after].map(|accuracy| 100.0 * accuracy);
        line(format_args!("Accuracy {after:.1} %, of the model itself {before:.1} % ({:+.1})", after - before))?;
    }
    if args.to.holds_weights_alone() {
        note("The file holds weights alone: whoever reads it must have a model of the same layers");
    }
    Ok(())
}
