//! `cargo xtask dependencies`: checks dependencies against `deny.toml` with cargo-deny (licences, bans, sources, advisories).

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::process::{cargo, step};
use crate::{TaskError, client, peers};

/// The version to install if cargo-deny isn't on the `PATH`.
const VERSION: &str = "0.20.2";

/// Checks that can fail the task. Their results change only with `Cargo.lock`.
const CHECKS: &[&str] = &["check", "--hide-inclusion-graph", "bans", "licenses", "sources"];

/// Checks that are only reported, because new advisories appear without a change in this repository.
const ADVISORIES: &[&str] = &["check", "--hide-inclusion-graph", "advisories"];

/// Finds cargo-deny on the `PATH` or in the target folder, or installs it into the target folder. Returns its path.
///
/// # Errors
/// [`TaskError::Unreachable`] if crates.io can't be reached; [`TaskError::Failed`] if the installation fails for another reason.
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
    // A debug build: optimization takes longer than it saves in one check.
    install
        .args(["install", "cargo-deny", "--version", VERSION, "--locked", "--debug", "--force", "--quiet", "--root"])
        .arg(tools);
    install.env("CARGO_PROFILE_DEV_DEBUG", "0");
    // Without these variables, cargo builds in a temporary folder and deletes it: the build files are larger than those of this
    // workspace.
    install.env_remove("CARGO_TARGET_DIR").env_remove("RUSTFLAGS");
    client::run("cargo-deny", &mut install)?;
    Ok(installed)
}

/// The version that `program --version` prints, or `None` if the program doesn't run.
fn version(program: &Path) -> Option<String> {
    let output = Command::new(program).arg("--version").stderr(Stdio::null()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().rsplit(' ').next().unwrap_or_default().to_owned())
}

/// Checks the workspace's dependencies. Known vulnerabilities are reported if the advisory database can be reached.
///
/// # Errors
/// [`TaskError::Step`] if a licence, crate or source isn't allowed by `deny.toml`.
pub(crate) fn check(root: &Path, deny: &Path) -> Result<(), TaskError> {
    step("dependencies", Command::new(deny).args(CHECKS).current_dir(root))?;
    if let Err(error) = client::run("advisories", Command::new(deny).args(ADVISORIES).current_dir(root)) {
        eprintln!("\n!!! {error}\n!!! Advisories are only reported; the task doesn't fail.\n");
    }
    Ok(())
}
