//! `cargo xtask peers`: installs the Python programs that interoperability tests compare with.
//!
//! Keras, Keras 2, onnxruntime, safetensors, NumPy, torchvision, timm, pandas and DuckDB at pinned versions. They are installed into a
//! virtual environment in the target folder, again whenever `peers/requirements.txt` changes.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{TaskError, client};

/// The environment variable that tells tests the path of the environment's Python.
pub(crate) const VARIABLE: &str = "ENGRAFT_PEER_PYTHON";

/// Creates the environment, unless it is up to date, and returns the path of its Python.
///
/// # Errors
/// [`TaskError::Unreachable`] if the package registry can't be reached. [`TaskError::Failed`] if the installation fails for
/// another reason, or if Python can't create virtual environments.
pub(crate) fn prepare(root: &Path) -> Result<PathBuf, TaskError> {
    let list = root.join("peers/requirements.txt");
    let requirements = std::fs::read_to_string(&list).map_err(|error| TaskError::at(list.display(), error))?;
    let folder = target(root).join("peers");
    let (python, stamp) = (folder.join("bin/python"), folder.join("installed.txt"));
    if std::fs::read_to_string(&stamp).is_ok_and(|installed| installed == requirements) {
        return Ok(python);
    }
    eprintln!("installing the programs for comparison tests into {}", folder.display());
    let created = Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder).status();
    if !created.is_ok_and(|status| status.success()) {
        return Err(TaskError::Failed(
            "`python3 -m venv` failed; install Python 3.11 or later with venv (Debian: apt-get install python3-venv)"
                .into(),
        ));
    }
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--requirement"];
    client::run("peers/requirements.txt", Command::new(&python).args(pip).arg(&list))?;
    let without_gpu = Command::new(&python).arg(root.join("peers/without_gpu.py")).status();
    if !without_gpu.is_ok_and(|status| status.success()) {
        return Err(TaskError::Failed(
            "peers/without_gpu.py failed; it needs gcc and binutils (Debian: apt-get install gcc binutils)".into(),
        ));
    }
    std::fs::write(&stamp, requirements).map_err(|error| TaskError::at(stamp.display(), error))?;
    Ok(python)
}

/// Cargo's target folder.
pub(crate) fn target(root: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |folder| root.join(folder))
}
