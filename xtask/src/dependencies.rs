//! `cargo xtask dependencies`: what the workspace depends on, held by cargo-deny to the licences, bans and sources of `deny.toml`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::process::{cargo, step};
use crate::{TaskError, client, peers};

/// The version that is installed where there is none.
const VERSION: &str = "0.20.2";

/// What fails: each changes with `Cargo.lock` alone.
const CHECKS: &[&str] = &["check", "--hide-inclusion-graph", "bans", "licenses", "sources"];

/// What is only reported: advisories appear without a change here.
const ADVISORIES: &[&str] = &["check", "--hide-inclusion-graph", "advisories"];

/// Finds cargo-deny on the `PATH` or under the target folder, or else installs it there.
///
/// # Errors
/// [`TaskError::Unreachable`] when the crates' registry can't be reached; [`TaskError::Failed`] when the installation
/// fails for another reason.
pub(crate) fn prepare(root: &Path) -> Result<PathBuf, TaskError> {
    let on_path = PathBuf::from("cargo-deny");
    let tools = peers::target(root).join("tools");
    let installed = tools.join("bin").join(format!("cargo-deny{}", std::env::consts::EXE_SUFFIX));
    if version(&on_path).is_some() {
        return Ok(on_path);
    }
    if version(&installed).as_deref() == Some(VERSION) {
        return Ok(installed);
    }
    eprintln!("installing cargo-deny {VERSION} into {}", tools.display());
    let mut install = cargo();
    // Without optimization it compiles in less than half the time, and checks in seconds all the same.
    install
        .args(["install", "cargo-deny", "--version", VERSION, "--locked", "--debug", "--force", "--quiet", "--root"])
        .arg(tools);
    install.env("CARGO_PROFILE_DEV_DEBUG", "0");
    // It is built in a temporary folder: what is left of a build is larger than all of ours.
    install.env_remove("CARGO_TARGET_DIR").env_remove("RUSTFLAGS");
    client::bring("cargo-deny", &mut install)?;
    Ok(installed)
}

/// The version that a cargo-deny says it is; `None` where there is none.
fn version(program: &Path) -> Option<String> {
    let output = Command::new(program).arg("--version").stderr(Stdio::null()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().rsplit(' ').next().unwrap_or_default().to_owned())
}

/// Checks what the workspace depends on, and reports known vulnerabilities where their database can be reached.
///
/// # Errors
/// [`TaskError::Step`] for a licence, crate or source that `deny.toml` doesn't allow.
pub(crate) fn check(root: &Path, deny: &Path) -> Result<(), TaskError> {
    step("dependencies", Command::new(deny).args(CHECKS).current_dir(root))?;
    if let Err(error) = client::bring("advisories", Command::new(deny).args(ADVISORIES).current_dir(root)) {
        eprintln!("\n!!! {error}\n!!! Advisories are reported only: this is no failure.\n");
    }
    Ok(())
}
