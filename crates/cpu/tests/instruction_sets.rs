//! Errors about unknown or missing instruction sets. The executor's error has the kind of the kernels' error, and has that error
//! as its `source()`.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::error::Error as _;
use std::process::Command;

use engraft_cpu::CpuExecutor;
use engraft_ir::Precision;
use engraft_kernels::{Bf16Error, Isa, IsaError};
use engraft_nn::ErrorKind;
use engraft_plan::Executor;

/// Runs the ignored test `name` of this file in a process of its own: `ENGRAFT_ISA` is read once per process.
#[track_caller]
fn run_with(isa: &str, name: &str) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let output = command.args(["--exact", name, "--ignored"]).env(Isa::VARIABLE, isa).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

#[test]
fn an_unknown_instruction_set_is_an_invalid_argument() {
    run_with("mmx", "with_an_unknown_instruction_set");
}

#[test]
#[ignore = "another test runs it with an environment of its own"]
fn with_an_unknown_instruction_set() {
    let error = CpuExecutor::new(Some(1)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    assert!(error.source().is_some_and(|source| source.is::<IsaError>()), "{error}");
    assert!(error.to_string().contains("received `mmx`"), "{error}");
}

#[test]
fn bf16_without_its_instructions_is_unsupported() {
    run_with("portable", "with_portable_vectors");
}

#[test]
#[ignore = "another test runs it with an environment of its own"]
fn with_portable_vectors() {
    let error = CpuExecutor::new(Some(1)).unwrap().check_precision(Precision::Bf16).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    assert!(error.source().is_some_and(|source| source.is::<Bf16Error>()), "{error}");
}
