//! Another program, asked by a script in `peers/`.

use std::path::{Path, PathBuf};
use std::process::Command;

use engraft::Tensor;
use engraft::formats::npy;
use tempfile::TempDir;

/// A folder to exchange files in, and the Python that has the other programs.
pub(crate) struct Peers {
    python: PathBuf,
    folder: TempDir,
}

impl Peers {
    /// `None`, said loudly, where the programs aren't installed.
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

    /// Writes an array and gives its path.
    pub(crate) fn array(&self, name: &str, tensor: &Tensor) -> PathBuf {
        let path = self.path(name);
        npy::save(&path, tensor).unwrap();
        path
    }

    /// Runs a script, which fails where the programs don't agree.
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
