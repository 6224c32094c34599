//! Compares random models with Keras.
//!
//! Keras (`oracle.py`) makes a model of random layers and options, saves it, and computes predictions, gradients and one step of
//! SGD. This program opens the file, computes the same, writes the model back, and Keras loads that. Every model must agree, or be
//! of a kind that is refused by name.

mod check;
mod networks;
mod oracle;
mod record;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use engraft_nn::{Error, ErrorKind, Result};

use check::{Difference, check};
use oracle::{Made, Oracle, Reply};
use record::{Outcome, Record};

/// Compares random models with Keras.
#[derive(Parser)]
struct Arguments {
    /// Compare the networks of keras.applications instead, as `.keras` and as `.h5`; or only those whose name contains this text.
    #[arg(long, num_args = 0..=1, default_missing_value = "", value_name = "NAME")]
    applications: Option<String>,
    /// Number of models.
    #[arg(long, default_value_t = 200)]
    models: usize,
    /// Seed of the models.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Make models whose images have their channels first; their training isn't compared.
    #[arg(long)]
    channels_first: bool,
    /// Number of the first model; with --record, the first one that the record doesn't have yet.
    #[arg(long)]
    first: Option<usize>,
    /// A file of results, one line for each range of 100 models or each file of a network. The run goes on where the record ends:
    /// delete lines to compare their models again.
    #[arg(long)]
    record: Option<PathBuf>,
    /// With --applications: a Markdown file for the table of all results.
    #[arg(long, requires = "applications")]
    table: Option<PathBuf>,
    /// Folder that keeps the files of the models that differ.
    #[arg(long)]
    keep: Option<PathBuf>,
    /// The Python that has Keras.
    #[arg(long)]
    python: PathBuf,
}

/// Models of one line of the record.
const RANGE: usize = 100;

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

/// Runs all models; returns whether none differs, in the record and now. With `--first`, only the models from there on count.
fn run(arguments: &Arguments) -> Result<bool> {
    if let Some(part) = &arguments.applications {
        return applications(arguments, part);
    }
    let mut record = Record::open(arguments.record.as_deref(), arguments.seed)?;
    let mut agreed = arguments.first.is_some() || record.agrees();
    let Some(first) = first(arguments, &record)? else {
        println!(
            "the record has all {} models; nothing was compared; delete its lines or give --first",
            arguments.models
        );
        println!("{}", record.total);
        return Ok(agreed);
    };
    let mut oracle = Oracle::start(&arguments.python, arguments.channels_first)?;
    for start in (first..arguments.models).step_by(RANGE) {
        let end = (start + RANGE).min(arguments.models);
        let mut outcomes = Vec::new();
        for index in start..end {
            let outcome = compare(&mut oracle, arguments, index)?;
            if let Outcome::Differs(_) | Outcome::Refused(_) = outcome {
                println!("{index}: {outcome}");
            }
            outcomes.push((index, outcome));
        }
        agreed &= record.add(start..end, &outcomes)?;
    }
    println!("{}", record.total);
    Ok(agreed)
}

/// The number of the first model to compare; `None` if the record has all models.
fn first(arguments: &Arguments, record: &Record) -> Result<Option<usize>> {
    let models = arguments.models;
    match arguments.first {
        Some(first) if first >= models => {
            let error = Error::new("--first", format_args!("a number below --models {models}"), first);
            Err(error.hint("models are numbered from 0: give a larger --models"))
        }
        Some(first) => Ok(Some(first)),
        None => Ok(Some(record.next).filter(|&next| next < models)),
    }
}

/// Compares the networks of `keras.applications` whose names contain `part`; returns whether all of these agree.
fn applications(arguments: &Arguments, part: &str) -> Result<bool> {
    let mut oracle = Oracle::start(&arguments.python, arguments.channels_first)?;
    let rows = networks::compare(&mut oracle, part, arguments.record.as_deref())?;
    if let Some(path) = &arguments.table {
        std::fs::write(path, networks::table(&rows)).map_err(|error| Error::from_source(path.display(), error))?;
    }
    Ok(rows.iter().filter(|row| row.is_of(part)).all(networks::Row::agrees))
}

fn temporary() -> Result<tempfile::TempDir> {
    tempfile::tempdir().map_err(|error| Error::from_source("temporary folder", error))
}

/// What came out for a model that the oracle made, with its files in `folder`.
fn outcome(reply: Reply<Made>, folder: &Path, oracle: &mut Oracle) -> Outcome {
    match reply {
        Reply::Failed(reason) => Outcome::Unusable(reason),
        Reply::Answer(made) => match check(&made, folder, oracle) {
            Ok(differences) if differences.is_empty() => Outcome::Agrees,
            Ok(differences) => Outcome::Differs(differences.iter().map(Difference::to_string).collect()),
            Err(error) if error.kind() == ErrorKind::Unsupported => Outcome::Refused(without_hint(&error)),
            Err(error) => Outcome::Differs(vec![error.to_string()]),
        },
    }
}

/// Compares model number `index`.
fn compare(oracle: &mut Oracle, arguments: &Arguments, index: usize) -> Result<Outcome> {
    let folder = temporary()?;
    let reply = oracle.make(arguments.seed, index, folder.path())?;
    let outcome = outcome(reply, folder.path(), oracle);
    if let (Some(keep), Outcome::Differs(_)) = (&arguments.keep, &outcome) {
        keep_files(folder.path(), &keep.join(format!("{}-{index}", arguments.seed)))
            .map_err(|error| Error::from_source(keep.display(), error))?;
    }
    Ok(outcome)
}

/// The first line of an error, without the file and the hints.
fn without_hint(error: &Error) -> String {
    let text = error.to_string();
    let line = text.lines().next().unwrap_or_default();
    line.split_once(", ").map_or(line, |(_, rest)| rest).to_owned()
}

/// Copies the files of a folder to another one.
fn keep_files(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        std::fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}
