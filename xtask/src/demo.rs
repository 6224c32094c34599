//! `cargo xtask demo`: the main job on real photos, by the program a user has.

use std::path::Path;

use crate::process::{cargo, step};
use crate::{TaskError, assets};

/// Fetches the assets and builds `engraft` to train and evaluate on them.
///
/// # Errors
/// The first step that fails.
pub(crate) fn run(root: &Path) -> Result<(), TaskError> {
    assets::run(root)?;
    step("building engraft", cargo().args(["build", "--release"]).current_dir(root))
}
