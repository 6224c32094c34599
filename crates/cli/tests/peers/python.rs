//! Runs the Python scripts in `peers/`, which compare engraft with other programs.

use std::path::{Path, PathBuf};
use std::process::Command;

use engraft::Tensor;
use engraft::formats::npy;
use tempfile::TempDir;

/// A temporary folder to exchange files, and the Python interpreter in whose environment the other programs are installed.
pub(crate) struct Peers {
    python: PathBuf,
    folder: TempDir,
}

impl Peers {
    /// Finds the environment. If it is missing, prints that the test is skipped, and returns `None`.
    pub(crate) fn find() -> Option<Self> {
        let Some(python) = std::env::var_os("ENGRAFT_PEER_PYTHON") else {
            eprintln!("SKIPPED: ENGRAFT_PEER_PYTHON isn't set; `cargo xtask peers` installs the other programs");
            return None;
        };
        Some(Self { python: python.into(), folder: tempfile::tempdir().unwrap() })
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes an array to the folder and returns the path of its file.
    pub(crate) fn array(&self, name: &str, tensor: &Tensor) -> PathBuf {
        let path = self.path(name);
        npy::save(&path, tensor).unwrap();
        path
    }

    /// Runs a script, which fails if the results of engraft and of the other program differ. Panics if the script fails.
    #[track_caller]
    pub(crate) fn agree(&self, script: &str, arguments: &[&Path]) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../peers").join(script);
        let mut command = Command::new(&self.python);
        command.arg(&script).args(arguments).env("KERAS_BACKEND", "tensorflow").env("KERAS_HOME", self.folder.path());
        command.env("TF_CPP_MIN_LOG_LEVEL", "3");
        let output = command.output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let said = format!("{}\n{}{}", script.display(), text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{said}");
    }
}
