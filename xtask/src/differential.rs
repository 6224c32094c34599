//! `cargo xtask differential`: compares random models with Keras (`tests/differential`).

use std::path::Path;

use crate::process::{cargo, step};
use crate::{TaskError, peers};

/// Runs the comparison with these arguments, such as `--models 200 --seed 1`.
///
/// # Errors
/// The programs for comparison tests can't be installed, or a model differs.
pub(crate) fn run(root: &Path, arguments: &[&str]) -> Result<(), TaskError> {
    let python = peers::prepare(root)?;
    let mut command = cargo();
    command.args(["run", "--quiet", "--release", "--package", "engraft-differential", "--", "--python"]).arg(python);
    step("differential", command.args(arguments).current_dir(root))
}
