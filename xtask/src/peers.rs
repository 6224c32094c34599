//! `cargo xtask peers`: an environment with the other programs that our files must agree with.
//!
//! Keras, Keras 2, onnxruntime, safetensors, NumPy and torchvision at pinned versions, in a Python
//! environment of their own under the target folder. It is made once for each list of requirements.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{TaskError, client};

/// The variable by which tests find it.
pub(crate) const VARIABLE: &str = "ENGRAFT_PEER_PYTHON";

/// Makes the environment unless it is there, and gives its Python.
///
/// # Errors
/// [`TaskError::Unreachable`] when the packages' registry can't be reached; [`TaskError::Failed`] when they can't be
/// installed for another reason, and without a Python that can make environments.
pub(crate) fn prepare(root: &Path) -> Result<PathBuf, TaskError> {
    let list = root.join("peers/requirements.txt");
    let requirements = std::fs::read_to_string(&list).map_err(|error| TaskError::at(list.display(), error))?;
    let folder = target(root).join("peers");
    let (python, stamp) = (folder.join("bin/python"), folder.join("installed.txt"));
    if std::fs::read_to_string(&stamp).is_ok_and(|installed| installed == requirements) {
        return Ok(python);
    }
    eprintln!("installing the programs that tests compare with, into {}", folder.display());
    let made = Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder).status();
    if !made.is_ok_and(|status| status.success()) {
        return Err(TaskError::Failed(
            "`python3 -m venv` failed; install Python 3.11 or later with venv (Debian: apt-get install python3-venv)"
                .into(),
        ));
    }
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--requirement"];
    client::bring("peers/requirements.txt", Command::new(&python).args(pip).arg(&list))?;
    let without_gpu = Command::new(&python).arg(root.join("peers/without_gpu.py")).status();
    if !without_gpu.is_ok_and(|status| status.success()) {
        return Err(TaskError::Failed(
            "peers/without_gpu.py failed; it needs gcc and binutils (Debian: apt-get install gcc binutils)".into(),
        ));
    }
    std::fs::write(&stamp, requirements).map_err(|error| TaskError::at(stamp.display(), error))?;
    Ok(python)
}

/// Where cargo puts what it builds.
pub(crate) fn target(root: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |folder| root.join(folder))
}
