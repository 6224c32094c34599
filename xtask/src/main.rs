//! What a contributor runs: `cargo xtask assets`, `demo`, `dependencies`, `peers`, `test`.

mod assets;
mod client;
mod demo;
mod dependencies;
mod peers;
mod process;
mod test;

use std::path::PathBuf;
use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask <task>

  assets        fetch the real VGG16 weights and the food photos into assets/
  demo          train VGG16 on the food photos and evaluate it on photos it has not seen
  dependencies  check what the workspace depends on against deny.toml, with cargo-deny
  peers         install the other programs that tests compare with, and print the path of their Python
  test          run what CI runs: formatting, lints, dependencies, tests, documentation";

/// Why a task ended early.
#[derive(Debug, thiserror::Error)]
enum TaskError {
    #[error("{0}")]
    Failed(String),
    /// A package's registry couldn't be reached: the one failure that `test` may pass over.
    #[error("{0}")]
    Unreachable(String),
    #[error("{step} failed with exit code {code}")]
    Step { step: String, code: u8 },
}

impl TaskError {
    /// An error about a place, with what was being done there.
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
        ["peers"] => root()
            .and_then(|root| peers::prepare(&root))
            .map(|python| println!("{}={}", peers::VARIABLE, python.display())),
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

/// The root of the repository, one above this package.
fn root() -> Result<PathBuf, TaskError> {
    let package = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let root = package.and_then(|package| package.parent().map(PathBuf::from));
    root.ok_or_else(|| TaskError::Failed("run this as `cargo xtask`, which tells where the repository is".into()))
}
