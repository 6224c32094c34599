//! `cargo xtask test`: all checks of CI, in CI's order.

use std::path::Path;

use crate::process::{cargo, step};
use crate::{TaskError, assets, dependencies, peers};

/// Name and cargo arguments of each step. Unit tests and doc tests are separate steps, to show their durations.
const STEPS: &[(&str, &[&str])] = &[
    ("formatting", &["fmt", "--all", "--check"]),
    ("lints", &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]),
    ("features: no downloads", &["test", "--package", "engraft-hub", "--no-default-features", "--lib"]),
    ("features: none", &["check", "--package", "engraft", "--package", "engraft-cli", "--no-default-features"]),
    ("tests", &["test", "--workspace", "--lib", "--bins", "--tests", "--examples"]),
    ("documentation tests", &["test", "--workspace", "--doc"]),
    ("documentation", &["doc", "--workspace", "--no-deps", "--all-features"]),
];

/// Flags of docs.rs, with warnings denied.
const DOC_FLAGS: &str = "-D warnings --cfg docsrs";

/// Tests that are repeated with each instruction set that `ENGRAFT_ISA` can force.
const KERNELS: &[&str] = &["test", "--package", "engraft-kernels", "--package", "engraft-cpu", "--lib", "--tests"];

/// Tests of the crate with most `unsafe` code, run with the address sanitizer.
const SANITIZED: &[&str] = &["test", "--package", "engraft-kernels", "--lib", "--target", "x86_64-unknown-linux-gnu"];

/// Downloads the assets and the programs for comparison tests, then runs every step.
///
/// # Errors
/// The first step that fails, with its exit code.
pub(crate) fn run(root: &Path) -> Result<(), TaskError> {
    skip_if_unreachable(assets::run(root), "on the real weights and photos")?;
    let python = skip_if_unreachable(peers::prepare(root), "that compares with another program")?;
    if let Some(deny) = skip_if_unreachable(dependencies::prepare(root), "of licences, bans and sources")? {
        dependencies::check(root, &deny)?;
    }
    for (name, arguments) in STEPS {
        let mut command = cargo();
        command.args(*arguments).current_dir(root).env("RUSTDOCFLAGS", DOC_FLAGS);
        if let Some(python) = &python {
            command.env(peers::VARIABLE, python);
        }
        step(name, &mut command)?;
    }
    for isa in isas() {
        let mut command = cargo();
        command.args(KERNELS).current_dir(root).env("ENGRAFT_ISA", isa);
        step(&format!("kernels with {isa}"), &mut command)?;
    }
    sanitize(root)
}

/// The instruction sets that this CPU supports.
fn isas() -> Vec<&'static str> {
    let mut isas = vec!["portable"];
    #[cfg(target_arch = "x86_64")]
    {
        isas.extend((is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")).then_some("avx2"));
        isas.extend(is_x86_feature_detected!("avx512f").then_some("avx512"));
    }
    isas
}

/// Runs the kernels' tests with the address sanitizer on x86-64 Linux; elsewhere it does nothing.
fn sanitize(root: &Path) -> Result<(), TaskError> {
    if !cfg!(all(target_arch = "x86_64", target_os = "linux")) {
        return Ok(());
    }
    let mut command = cargo();
    command.args(SANITIZED).current_dir(root);
    // Stable toolchains contain the sanitizer, but its flag is unstable. RUSTC_BOOTSTRAP allows the flag.
    command.env("RUSTC_BOOTSTRAP", "1").env("RUSTFLAGS", "-Zsanitizer=address");
    step("kernels with the address sanitizer", &mut command)
}

/// Returns the result of a download, or `None` with a warning if the registry can't be reached.
///
/// `tests` describes the tests that are skipped then.
fn skip_if_unreachable<T>(downloaded: Result<T, TaskError>, tests: &str) -> Result<Option<T>, TaskError> {
    match downloaded {
        Err(TaskError::Unreachable(reason)) => {
            eprintln!(
                "\n!!! {reason}\n!!! SKIPPED: every test {tests}. The other tests run; this is not a full pass.\n"
            );
            Ok(None)
        }
        other => other.map(Some),
    }
}
