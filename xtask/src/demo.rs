//! `cargo xtask demo`: the `engraft` program on the drawings of this repository, from photos to predictions.

use std::path::Path;
use std::process::Command;

use crate::TaskError;
use crate::process::{cargo, step};
use crate::tutorial::engraft_build;

/// The model file, relative to the root of the repository.
const MODEL: &str = "target/demo/drawings.keras";

/// Drawings that aren't trained on.
const NEW: [&str; 3] = ["drawings/new/elephant.jpg", "drawings/new/tulips.jpg", "drawings/new/yellow-house.jpg"];

/// Trains on the drawings, and classifies drawings that the model has not seen. Nothing is downloaded but crates.
///
/// # Errors
/// The first step that fails.
pub(crate) fn run(root: &Path) -> Result<(), TaskError> {
    step("building engraft", engraft_build().current_dir(root))?;
    let model = root.join(MODEL);
    let folder = model.parent().unwrap_or(root);
    std::fs::create_dir_all(folder).map_err(|error| TaskError::at(folder.display(), error))?;
    step("training on the drawings", engraft(root).args(["train", "drawings/train", "-o", MODEL]))?;
    step("classifying new drawings", engraft(root).args(["predict", MODEL]).args(NEW))?;
    println!("\nThe model is {}", model.display());
    Ok(())
}

fn engraft(root: &Path) -> Command {
    let mut command = cargo();
    command.args(["run", "--quiet", "--release", "-p", "engraft-cli", "--"]).current_dir(root);
    command
}
