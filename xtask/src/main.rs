//! Development tasks: `cargo xtask assets`, `demo`, `dependencies`, `differential`, `peers`, `sets`, `test`,
//! `tutorial`.

mod assets;
mod client;
mod demo;
mod dependencies;
mod differential;
#[cfg(test)]
mod glossary;
mod peers;
mod process;
mod test;
mod tutorial;

use std::path::PathBuf;
use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask <task>

  assets        download the real VGG16 weights and the food photos into assets/
  demo          train on the drawings of this repository and classify three new ones
  dependencies  check dependencies against deny.toml with cargo-deny
  differential  compare random models with Keras: --models N --seed S, or --applications (--help lists all options)
  peers         install Keras, onnxruntime and others for comparison tests, and print the path of their Python
  sets          download the four sets of photos of bench/recipes into assets/sets (300 MB)
  test          run what CI runs: formatting, lints, dependencies, tests, documentation
  tutorial      download weights and food photos, train VGG16 as Keras' tutorials do, evaluate it on held-out photos";

/// Why a task failed.
#[derive(Debug, thiserror::Error)]
enum TaskError {
    #[error("{0}")]
    Failed(String),
    /// A package registry can't be reached. `test` then skips the tests that need the package.
    #[error("{0}")]
    Unreachable(String),
    #[error("{step} failed with exit code {code}")]
    Step { step: String, code: u8 },
}

impl TaskError {
    /// A failure with its place, such as a file or a command.
    fn at(place: impl std::fmt::Display, error: impl std::fmt::Display) -> Self {
        Self::Failed(format!("{place}: {error}"))
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match arguments[..] {
        ["assets"] => root().and_then(|root| assets::run(&root)),
        ["demo"] => root().and_then(|root| demo::run(&root)),
        ["dependencies"] => root().and_then(|root| dependencies::check(&root, &dependencies::prepare(&root)?)),
        ["differential", ref rest @ ..] => root().and_then(|root| differential::run(&root, rest)),
        ["peers"] => root()
            .and_then(|root| peers::prepare(&root))
            .map(|python| println!("{}={}", peers::VARIABLE, python.display())),
        ["sets"] => root().and_then(|root| assets::sets(&root)),
        ["tutorial"] => root().and_then(|root| tutorial::run(&root)),
        ["test"] => root().and_then(|root| test::run(&root)),
        ["help" | "--help" | "-h"] => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            match error {
                TaskError::Step { code, .. } => ExitCode::from(code),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

/// The root of the repository: the parent folder of this package.
fn root() -> Result<PathBuf, TaskError> {
    let package = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let root = package.and_then(|package| package.parent().map(PathBuf::from));
    root.ok_or_else(|| TaskError::Failed("CARGO_MANIFEST_DIR is not set; run `cargo xtask` in the repository".into()))
}
