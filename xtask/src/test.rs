//! `cargo xtask test`: what CI runs, in its order.

use std::path::Path;

use crate::process::{cargo, step};
use crate::{TaskError, assets, peers};

/// Name and cargo arguments of each step. Tests and doc tests are told apart so that each shows
/// its own time.
const STEPS: &[(&str, &[&str])] = &[
    ("formatting", &["fmt", "--all", "--check"]),
    ("lints", &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]),
    ("tests", &["test", "--workspace", "--lib", "--bins", "--tests", "--examples"]),
    ("documentation tests", &["test", "--workspace", "--doc"]),
    ("documentation", &["doc", "--workspace", "--no-deps"]),
];

/// Runs every step, after bringing the real weights and photos and the programs that files must agree with.
///
/// # Errors
/// The first step that fails, with its exit code.
pub(crate) fn run(root: &Path) -> Result<(), TaskError> {
    unless_unreachable(assets::run(root), "on the real weights and photos")?;
    let python = unless_unreachable(peers::prepare(root), "that asks another program about our files")?;
    for (name, arguments) in STEPS {
        let mut command = cargo();
        command.args(*arguments).current_dir(root).env("RUSTDOCFLAGS", "-D warnings");
        if let Some(python) = &python {
            command.env(peers::VARIABLE, python);
        }
        step(name, &mut command)?;
    }
    Ok(())
}

/// What was brought; nothing, said loudly, where its registry can't be reached.
fn unless_unreachable<T>(brought: Result<T, TaskError>, tests: &str) -> Result<Option<T>, TaskError> {
    match brought {
        Err(TaskError::Unreachable(reason)) => {
            eprintln!("\n!!! {reason}\n!!! SKIPPED: every test {tests}. The rest runs; this is not a full pass.\n");
            Ok(None)
        }
        other => other.map(Some),
    }
}
