//! The engraft program: from a folder of photos to a trained classifier.

mod bench;
mod compile;
mod destination;
mod evaluate;
mod export;
mod failure;
mod features;
mod inspect;
mod options;
mod output;
mod photos;
mod predict;
mod score;
mod summary;
mod train;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use engraft::runtime::Runtime;

use crate::failure::Failure;
use crate::options::{Bytes, Count};

/// Transfer learning for image classifiers: a network trained on ImageNet learns to tell your own photos apart.
///
/// Exit codes: 0 when all went well, 1 when something failed, 2 for a mistake on the command line, 130 when Ctrl-C ended
/// training early (the model is saved then).
#[derive(Parser)]
#[command(name = "engraft", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Threads to work with [default: one for each core]
    #[arg(long, global = true, value_name = "N")]
    threads: Option<Count>,
    /// Memory to stay within, such as 2GB or 500MiB [default: what the machine has free]
    #[arg(long, global = true, value_name = "SIZE")]
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
    Bench(bench::Args),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn run(cli: Cli) -> Result<(), Failure> {
    if let Some(Count(threads)) = cli.threads {
        // Photos are decoded by rayon's own threads. They can be set only once, and nothing has started them yet.
        let _ = rayon::ThreadPoolBuilder::new().num_threads(threads).build_global();
    }
    let runtime = Runtime::cpu(cli.threads.map(|Count(threads)| threads))?;
    let runtime = runtime.memory_limit(cli.memory_limit.map(|Bytes(limit)| limit));
    match cli.command {
        Command::Summary(args) => summary::run(&args),
        Command::Train(args) => train::run(&args, &runtime),
        Command::Evaluate(args) => evaluate::run(&args, &runtime),
        Command::Predict(args) => predict::run(&args, &runtime),
        Command::Features(args) => features::run(&args, &runtime),
        Command::Export(args) => export::run(&args, &runtime),
        Command::Inspect(args) => inspect::run(&args),
        Command::Bench(args) => bench::run(&args, &runtime),
    }
}
