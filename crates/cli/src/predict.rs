//! `engraft predict`: classifies photos.

mod done;
mod lines;
mod parquet;
mod rows;
mod sink;
mod sources;
mod table;

use std::collections::BTreeMap;
use std::io::{self, BufReader, IsTerminal};
use std::path::{Path, PathBuf};

use engraft::recipe::{Answer, Classifier, Outputs as ModelOutputs};
use engraft::runtime::Runtime;
use engraft::{Error, OutputActivation};

use self::done::Done;
use self::rows::{Format, Rows};
use self::sink::Sink;
use self::sources::{Source, Sources};
use crate::classify::{BATCH, classify, ranked};
use crate::compile::no_classes;
use crate::decode_pool::decode_pool;
use crate::destination::{Content, Destination, Outputs, first_line};
use crate::failure::Failure;
use crate::meter::{Meter, Unit};
use crate::misplaced::check_model;
use crate::open::OpenArgs;
use crate::options::{Count, ForceArg, Threads};
use crate::output::{self, line, note, thousands};
use crate::photos::report_skipped;

const EXAMPLES: &str = "\
Examples:
  engraft predict model.keras photo.jpg
  engraft predict model.keras photos --recursive --csv -o answers.csv
  engraft predict model.keras photos --recursive --parquet answers.parquet
  find photos -name '*.jpg' | engraft predict model.keras - --json > answers.jsonl
  engraft predict model.keras photos --csv -o a.csv --skip-done a.csv";

/// Classify photos: print the most likely classes of each photo with their probabilities
///
/// A model that gives a photo several labels (trained with --labels) prints all labels whose probability reaches their threshold.
///
/// A photo that can't be read doesn't stop the others. Its error is printed, and is a row of --json, --csv and --parquet, too; the
/// command fails at the end.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Model file to read: `.keras`, or an `.h5` that holds layers and weights, written by engraft or Keras
    #[arg(value_name = "MODEL")]
    model: PathBuf,
    #[command(flatten)]
    open: OpenArgs,
    /// Photos to read: JPEG, PNG, GIF, BMP, TIFF or WebP; folders of photos; patterns such as 'photos/*.jpg'; or - for standard input, a
    /// photo or paths, one a line
    #[arg(value_name = "IMAGE|FOLDER|-", required = true)]
    images: Vec<PathBuf>,
    /// Look into the subfolders of folders, too
    #[arg(short, long, help_heading = "Input")]
    recursive: bool,
    /// Leave out photos that have an answer in this file, an earlier output with --csv or --json; with the same file as --output,
    /// new answers are added to it
    #[arg(long, value_name = "FILE", help_heading = "Input")]
    skip_done: Option<PathBuf>,
    /// Number of threads that decode photos [default: --threads]
    #[arg(long, value_name = "N", help_heading = "Computation")]
    jobs: Option<Threads>,
    /// Number of classes to print per photo, the most likely first; --json, --csv and --parquet always have all, and a model with several
    /// labels a photo prints those that reach their thresholds
    #[arg(long, value_name = "K", default_value = "3", help_heading = "Output")]
    top: Count,
    /// Print the model's outputs as they are, such as logits, instead of the probabilities that they mean; also those of a model that
    /// doesn't tell what they mean
    #[arg(long, help_heading = "Output")]
    raw: bool,
    /// Print one JSON object per photo, one per line, instead of text, for scripts
    #[arg(long, conflicts_with = "csv", help_heading = "Output")]
    json: bool,
    /// Print a CSV table instead of text, for spreadsheets: image, class, probability, unknown, error, and the probability of each
    /// class
    ///
    /// The probability of a class that is called like one of the other columns, such as unknown, is in the column class_unknown.
    #[arg(long, help_heading = "Output")]
    csv: bool,
    /// Write a Parquet file with the columns of --csv, for DuckDB, pandas, Polars or Spark: text, 32-bit floats and booleans,
    /// Snappy-compressed
    ///
    /// Unlike CSV, it keeps class names such as 007 or NA, which readers of CSV take for a number or an empty cell.
    /// The file appears once all photos are classified. If the run is stopped, there is no file; to go on where a run stopped, use
    /// --csv with --skip-done.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["json", "csv", "output"], help_heading = "Output")]
    parquet: Option<PathBuf>,
    /// Write to this file instead of standard output
    #[arg(short, long, value_name = "FILE", help_heading = "Output")]
    output: Option<PathBuf>,
    #[command(flatten)]
    force: ForceArg,
}

impl Args {
    fn format(&self) -> Format {
        match (self.json, self.csv) {
            (true, _) => Format::Json,
            (_, true) => Format::Csv,
            _ => Format::Text,
        }
    }

    /// The output file, if there is one: its option, path and content.
    fn file(&self) -> Option<(&'static str, &Path, Content)> {
        let content = match self.format() {
            Format::Text => Content::Text,
            Format::Json => Content::JsonLines,
            Format::Csv => Content::Csv,
        };
        let parquet = self.parquet.as_deref().map(|path| ("--parquet", path, Content::Parquet));
        parquet.or_else(|| self.output.as_deref().map(|path| ("--output", path, content)))
    }

    /// Whether new answers are added to an earlier output.
    fn adds(&self) -> bool {
        let same = |one: &Path, other: &Path| {
            one == other || one.canonicalize().is_ok_and(|one| other.canonicalize().is_ok_and(|other| one == other))
        };
        matches!((&self.output, &self.skip_done), (Some(output), Some(done)) if same(output, done))
    }
}

/// Classifies each photo. A photo that can't be read doesn't stop the others, but the command fails at the end.
pub(crate) fn run(args: &Args, runtime: &Runtime) -> Result<(), Failure> {
    check_model(&args.model, args.images.iter().map(PathBuf::as_path))?;
    let mut outputs = Outputs::new(args.force.force).reads("MODEL", [&args.model]).reads("IMAGE", &args.images);
    let output = args.file().map(|(option, path, content)| outputs.check(option, path, content)).transpose()?;
    let done = args.skip_done.as_deref().map(Done::read).transpose()?.unwrap_or_default();
    let classifier = args.open.classifier(&args.model)?;
    let classifier = classifier_of_answers(args, classifier)?;
    let mut sources = Sources::find(&args.images, args.recursive, &mut BufReader::new(io::stdin()))?;
    report_skipped(&sources.skipped);
    let found = sources.photos.len();
    sources.photos.retain(|photo| !done.has(photo.path()));
    if found > sources.photos.len() {
        note(format_args!(
            "{} of {} done already",
            thousands(found - sources.photos.len()),
            output::count(found, "photo")
        ));
    }
    let classifier = classifier.runtime(runtime).batch_size(sources.photos.len().min(BATCH));
    let rows = Rows { classifier: &classifier, format: args.format(), top: args.top.0 };
    output.iter().try_for_each(|output| check_replaced(args, &rows, output))?;
    let mut sink = match (&args.parquet, &output) {
        (Some(_), Some(output)) => Sink::parquet(rows, output)?,
        _ => Sink::lines(rows, output.as_ref(), args.adds().then_some(&done))?,
    };
    let threads = match args.jobs {
        Some(Threads(jobs)) => rayon::ThreadPoolBuilder::new()
            .num_threads(jobs)
            .build()
            .map_err(|error| Error::from_source("--jobs", error))?,
        None => decode_pool(runtime)?,
    };
    let (meter, mut done) = (meter(sources.photos.len(), output.is_some()), 0);
    let mut summary = Summary::default();
    let mut each = |photo: &Source, answer: engraft::Result<Answer>| {
        if let Err(error) = &answer {
            meter.suspend(|| note(format_args!("error: {error}")));
        }
        summary.count(&classifier, answer.as_ref().ok());
        sink.add(photo.path(), answer.as_ref())?;
        done += 1;
        meter.set(done, sources.photos.len() as u64);
        Ok(())
    };
    let classified = classify(&classifier, &sources.photos, &threads, &mut each);
    meter.finish();
    match classified {
        // A Parquet file without all answers isn't kept; lines are.
        Err(failure) => {
            sink.abandon()?;
            return Err(failure);
        }
        Ok(()) => sink.finish()?,
    }
    summary.end(sources.photos.len(), output.as_ref())
}

/// Checks that a table that is replaced has the columns of the new one: otherwise it is of another model, or somebody added a column.
fn check_replaced(args: &Args, rows: &Rows<'_>, output: &Destination) -> Result<(), Failure> {
    let (Some(header), false) = (rows.header(), args.adds() || args.force.force) else { return Ok(()) };
    match first_line(output.path()).filter(|line| !line.is_empty() && *line != header) {
        None => Ok(()),
        Some(_) => Err(Error::new("--output", "a new file, or a table of the same columns", output.path().display())
            .hint("name another file, or add --force to replace this one")
            .into()),
    }
}

/// The classifier with the outputs that the arguments ask for. Says what became of outputs that aren't probabilities.
///
/// # Errors
/// The model's outputs are features, unless they are a vector and `--raw` asks for it.
fn classifier_of_answers(args: &Args, classifier: Classifier) -> Result<Classifier, Failure> {
    let model = args.model.display();
    match classifier.outputs() {
        ModelOutputs::Features if args.raw && !classifier.classes().is_empty() => {}
        ModelOutputs::Features => {
            let features =
                args.open.features_command(&args.model, &classifier, args.images.first().map(PathBuf::as_path));
            return Err(no_classes(&classifier, &features).within(model).into());
        }
        ModelOutputs::Values => {
            note(format_args!(
                "{model}: the outputs stand for themselves, such as the numbers of a regression; they are no probabilities"
            ));
        }
        ModelOutputs::Logits(activation) if !args.raw => {
            let activation = if activation == OutputActivation::Sigmoid { "sigmoid" } else { "softmax" };
            note(format_args!(
                "{model}: the outputs are logits; a {activation} makes probabilities of them (--raw leaves it out)"
            ));
        }
        ModelOutputs::Probabilities if classifier.outputs().lack_activation(classifier.model())? => {
            note(format_args!(
                "{model}: the loss takes the outputs for probabilities, but the last layer has no activation; they are no \
                 probabilities (in Keras, compile with from_logits=True)"
            ));
        }
        ModelOutputs::Logits(_) | ModelOutputs::Probabilities => {}
    }
    Ok(if args.raw { classifier.raw_outputs() } else { classifier })
}

/// Shows the progress where the answers themselves don't appear on the terminal.
fn meter(photos: usize, has_output: bool) -> Meter {
    match photos > 1 && (has_output || !io::stdout().is_terminal()) {
        true => Meter::new("Classifying", Unit::Photos),
        false => Meter::hidden(),
    }
}

/// The photos of each class, for the line at the end.
#[derive(Debug, Default)]
struct Summary {
    classes: BTreeMap<String, usize>,
    unknown: usize,
    unreadable: usize,
}

impl Summary {
    fn count(&mut self, classifier: &Classifier, answer: Option<&Answer>) {
        let Some(answer) = answer else {
            self.unreadable += 1;
            return;
        };
        self.unknown += usize::from(answer.is_unknown);
        let labels = match (answer.is_unknown, classifier.is_multi_label()) {
            (true, _) => Vec::new(),
            (false, true) => classifier.labels(&answer.probabilities),
            (false, false) => ranked(&answer.probabilities).into_iter().take(1).collect(),
        };
        for label in labels {
            *self.classes.entry(classifier.classes()[label].clone()).or_default() += 1;
        }
    }

    /// Tells the numbers of photos if they went to a file, and fails if some can't be read.
    fn end(self, photos: usize, output: Option<&Destination>) -> Result<(), Failure> {
        if let Some(output) = output {
            let mut parts: Vec<String> =
                self.classes.iter().map(|(class, photos)| format!("{class} {}", thousands(*photos))).collect();
            parts.extend((self.unknown > 0).then(|| format!("unknown {}", thousands(self.unknown))));
            parts.extend((self.unreadable > 0).then(|| format!("unreadable {}", thousands(self.unreadable))));
            let parts = if parts.is_empty() { String::new() } else { format!(" ({})", parts.join(", ")) };
            line(format_args!("{}: {}{parts}", output.path().display(), output::count(photos, "photo")))?;
        }
        match (self.unreadable, photos) {
            (0, _) => Ok(()),
            (_, 1) => Err(Failure::Reported),
            (unreadable, all) => {
                note(format_args!("{unreadable} of {} could not be read", output::count(all, "image")));
                Err(Failure::Reported)
            }
        }
    }
}
