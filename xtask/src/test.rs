//! `cargo xtask test`: what CI runs, in its order.

use std::path::Path;

use crate::process::{cargo, step};
use crate::{TaskError, assets, dependencies, peers};

/// Name and cargo arguments of each step. Tests and doc tests are told apart so that each shows
/// its own time.
const STEPS: &[(&str, &[&str])] = &[
    ("formatting", &["fmt", "--all", "--check"]),
    ("lints", &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]),
    ("tests", &["test", "--workspace", "--lib", "--bins", "--tests", "--examples"]),
    ("documentation tests", &["test", "--workspace", "--doc"]),
    ("documentation", &["doc", "--workspace", "--no-deps", "--all-features"]),
];

/// How docs.rs builds documentation, and no warning.
const DOC_FLAGS: &str = "-D warnings --cfg docsrs";

/// What computes, for each instruction set that `ENGRAFT_ISA` can force.
const KERNELS: &[&str] = &["test", "--package", "engraft-kernels", "--package", "engraft-cpu", "--lib", "--tests"];

/// The one crate with `unsafe`, under the address sanitizer.
const SANITIZED: &[&str] = &["test", "--package", "engraft-kernels", "--lib", "--target", "x86_64-unknown-linux-gnu"];

/// Runs every step, after bringing the real weights and photos and the programs that files must agree with.
///
/// # Errors
/// The first step that fails, with its exit code.
pub(crate) fn run(root: &Path) -> Result<(), TaskError> {
    unless_unreachable(assets::run(root), "on the real weights and photos")?;
    let python = unless_unreachable(peers::prepare(root), "that asks another program about our files")?;
    if let Some(deny) = unless_unreachable(dependencies::prepare(root), "of licences, bans and sources")? {
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
        step(&format!("kernels held to {isa}"), &mut command)?;
    }
    sanitize(root)
}

/// The instruction sets of this CPU.
fn isas() -> Vec<&'static str> {
    let mut isas = vec!["portable"];
    #[cfg(target_arch = "x86_64")]
    {
        isas.extend((is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")).then_some("avx2"));
        isas.extend(is_x86_feature_detected!("avx512f").then_some("avx512"));
    }
    isas
}

/// Runs the kernels' tests under the address sanitizer, where Rust has one.
fn sanitize(root: &Path) -> Result<(), TaskError> {
    if !cfg!(all(target_arch = "x86_64", target_os = "linux")) {
        return Ok(());
    }
    let mut command = cargo();
    command.args(SANITIZED).current_dir(root);
    // The sanitizer comes with every toolchain; only the flag is not stable.
    command.env("RUSTC_BOOTSTRAP", "1").env("RUSTFLAGS", "-Zsanitizer=address");
    step("kernels under the address sanitizer", &mut command)
}

/// What was brought; nothing, said loudly, where its registry can't be reached.
fn unless_unreachable<T>(brought: Result<T, TaskError>, tests: &str) -> Result<Option<T>, TaskError> {
    match brought {
        Err(TaskError::Unreachable(reason)) => {
            eprintln!("\n!!! {reason}\n!!! SKIPPED: every test {tests}. The rest runs; this is not a full pass.\n");
            Ok(None)
        }
        other => other.map(Some),
    }
}
