//! Runs commands as named steps, with their output and duration shown.

use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Instant;

use crate::TaskError;

/// A command of the cargo that runs this task.
pub(crate) fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from))
}

/// Runs a command as a named step, and shows its output and duration.
///
/// # Errors
/// [`TaskError::Step`] with the command's exit code if the command fails.
pub(crate) fn step(name: &str, command: &mut Command) -> Result<(), TaskError> {
    eprintln!("==> {name}");
    let start = Instant::now();
    let status = command.status().map_err(|error| TaskError::at(command.get_program().display(), error))?;
    let seconds = start.elapsed().as_secs_f64();
    if !status.success() {
        return Err(TaskError::Step { step: format!("{name} (after {seconds:.1} s)"), code: code(status) });
    }
    eprintln!("<== {name}: {seconds:.1} s");
    Ok(())
}

/// Runs a command as a named step and returns its standard output.
///
/// # Errors
/// [`TaskError::Step`] with the command's exit code if the command fails.
pub(crate) fn output_of(name: &str, command: &mut Command) -> Result<String, TaskError> {
    eprintln!("==> {name}");
    let output = command.stderr(Stdio::inherit()).output();
    let output = output.map_err(|error| TaskError::at(command.get_program().display(), error))?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(TaskError::Step { step: name.to_owned(), code: code(output.status) }),
    }
}

/// The exit code, or 1 for a process that a signal ended.
fn code(status: ExitStatus) -> u8 {
    status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}
