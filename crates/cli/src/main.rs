//! The program `engraft`: parses the command line and runs one command. The work is done by the library crate `engraft`.

mod backbones;
mod bench;
mod cache;
mod classify;
mod command_line;
mod compile;
mod csv;
mod decode_pool;
mod destination;
mod evaluate;
mod export;
mod failure;
mod features;
mod file_kind;
mod inspect;
mod interrupt;
mod meter;
mod misplaced;
mod open;
mod options;
mod output;
mod photos;
mod predict;
mod score;
mod split_root;
mod suggestion;
mod summary;
mod train;
mod weights;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use engraft::runtime::Runtime;

use crate::failure::Failure;
use crate::options::{Bytes, Threads};

/// The commands of a first use. Printed at the top of the help, and when `engraft` is called without a command.
const START: &str = "\
To start, put your photos into one folder per class (photos/cat/, photos/dog/), then:

  engraft train photos -o model.keras        train a classifier
  engraft predict model.keras photo.jpg      classify a photo
  engraft evaluate model.keras more-photos   measure accuracy on other photos";

/// Exit codes, for scripts.
const EXIT_CODES: &str = "\
Exit codes:
  0    success
  1    failure
  2    mistake on the command line, such as an unknown option
  130  stopped by Ctrl-C: training saves a model that can be used so far, except after a second Ctrl-C";

/// Transfer learning for image classifiers: adapts a network that was pretrained on ImageNet to the classes of your photos.
#[derive(Parser)]
#[command(name = "engraft", version, before_help = START, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    /// Number of CPU threads that compute and decode photos; no effect on summary, inspect, cache and backbones [default: one per core]
    #[arg(long, global = true, value_name = "N", help_heading = "General")]
    threads: Option<Threads>,
    /// Maximum memory to use, such as 2GB or 500MiB; no effect on summary, inspect, cache and backbones [default: the free memory]
    ///
    /// Photos may take half of it: one that needs more to be decoded is refused.
    #[arg(long, global = true, value_name = "SIZE", help_heading = "General")]
    memory_limit: Option<Bytes>,
}

#[derive(Subcommand)]
enum Command {
    Summary(summary::Args),
    Train(Box<train::Args>),
    Evaluate(evaluate::Args),
    Predict(predict::Args),
    Features(features::Args),
    Export(export::Args),
    Inspect(inspect::Args),
    Cache(cache::Args),
    Backbones(backbones::Args),
    Bench(bench::Args),
}

fn main() -> ExitCode {
    let cli = parse();
    let Some(command) = cli.command else {
        output::note(format_args!("{START}\n\n`engraft --help` lists all commands."));
        return ExitCode::from(2);
    };
    let has_batch_size = matches!(command, Command::Train(_) | Command::Bench(_));
    match run(command, cli.threads, cli.memory_limit) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let failure = if has_batch_size { failure } else { failure.without_batch_size() };
            if let Some(error) = failure.error() {
                output::note(format_args!("error: {error}"));
            }
            failure.exit_code()
        }
    }
}

/// Parses the command line. For `--help` or a mistake, prints a text and exits, as [`Cli::parse`] does. Unlike there, the text
/// suggests the nearest name for a misspelled one.
fn parse() -> Cli {
    let arguments: Vec<String> =
        std::env::args_os().skip(1).map(|argument| argument.to_string_lossy().into()).collect();
    let parsed = Cli::command().try_get_matches().and_then(|matches| Cli::from_arg_matches(&matches));
    parsed.unwrap_or_else(|error| suggestion::suggest(error, &Cli::command(), &arguments).exit())
}

fn run(command: Command, threads: Option<Threads>, memory_limit: Option<Bytes>) -> Result<(), Failure> {
    let runtime = Runtime::cpu(threads.map(|Threads(threads)| threads))?;
    let runtime = runtime.memory_limit(memory_limit.map(|Bytes(limit)| limit));
    // Photos may take half of the limit; the other half is left to the model that computes on them.
    let photos = memory_limit.and(runtime.available_memory()).map(|bytes| bytes as u64 / 2);
    engraft::data::limit_decode_memory(photos);
    match command {
        Command::Summary(args) => summary::run(&args),
        Command::Train(args) => train::run(&args, &runtime),
        Command::Evaluate(args) => evaluate::run(&args, &runtime),
        Command::Predict(args) => predict::run(&args, &runtime),
        Command::Features(args) => features::run(&args, &runtime),
        Command::Export(args) => export::run(&args, &runtime),
        Command::Inspect(args) => inspect::run(&args),
        Command::Cache(args) => cache::run(&args),
        Command::Backbones(args) => backbones::run(&args),
        Command::Bench(args) => bench::run(&args, &runtime),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    /// The source of a command: `src/NAME.rs` and the files in `src/NAME/`.
    fn source(command: &str) -> String {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut files = vec![root.join(format!("{command}.rs"))];
        let mut folders = vec![root.join(command)];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                let path = entry.path();
                if path.is_dir() { folders.push(path) } else { files.push(path) }
            }
        }
        files.iter().map(|file| std::fs::read_to_string(file).unwrap()).collect()
    }

    /// The options that the hints in a source name, except in other commands, which stand in backticks.
    fn options_in_hints(source: &str) -> BTreeSet<String> {
        let tests = source.find("#[cfg(test)]").unwrap_or(source.len());
        let mut options = BTreeSet::new();
        for hint in source[..tests].split(".hint(").skip(1) {
            // The longest hint, and some of the code after it, which names options of the same command.
            let text: String = hint.chars().take(300).collect();
            let outside = text.split('`').step_by(2).collect::<String>();
            let words = outside.split(|c: char| !(c.is_ascii_lowercase() || c == '-'));
            options.extend(words.filter(|word| word.len() > 3 && word.starts_with("--")).map(str::to_owned));
        }
        options
    }

    #[test]
    fn hints_name_only_options_that_their_command_has() {
        let program = Cli::command();
        let long = |argument: &clap::Arg| argument.get_long().map(|name| format!("--{name}"));
        let global: BTreeSet<String> = program.get_arguments().filter_map(long).collect();
        let mut found = 0;
        for command in program.get_subcommands() {
            let own: BTreeSet<String> = command.get_arguments().filter_map(long).collect();
            for option in options_in_hints(&source(command.get_name())) {
                found += 1;
                let name = command.get_name();
                assert!(
                    own.contains(&option) || global.contains(&option),
                    "{name} has no {option}, but a hint names it"
                );
            }
        }
        assert!(found >= 4, "{found} options found in hints: does the search still work?");
    }
}
