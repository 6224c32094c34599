//! `cargo xtask test`: what CI runs, in its order.

use std::path::Path;

use crate::process::{cargo, step};
use crate::{TaskError, assets};

/// Name and cargo arguments of each step. Tests and doc tests are told apart so that each shows
/// its own time.
const STEPS: &[(&str, &[&str])] = &[
    ("formatting", &["fmt", "--all", "--check"]),
    ("lints", &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]),
    ("tests", &["test", "--workspace", "--lib", "--bins", "--tests", "--examples"]),
    ("documentation tests", &["test", "--workspace", "--doc"]),
    ("documentation", &["doc", "--workspace", "--no-deps"]),
];

/// Runs every step, the assets first, so that tests on real weights and photos find them.
///
/// # Errors
/// The first step that fails, with its exit code.
pub(crate) fn run(root: &Path) -> Result<(), TaskError> {
    match assets::run(root) {
        Err(TaskError::Unreachable(reason)) => eprintln!(
            "\n!!! {reason}\n!!! SKIPPED: every test on the real weights and photos. The rest runs; this is not a full pass.\n"
        ),
        other => other?,
    }
    for (name, arguments) in STEPS {
        step(name, cargo().args(*arguments).current_dir(root).env("RUSTDOCFLAGS", "-D warnings"))?;
    }
    Ok(())
}
