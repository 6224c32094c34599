//! Other programs, run in the open.

use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Instant;

use crate::TaskError;

/// The cargo that runs this task.
pub(crate) fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from))
}

/// Runs a command as a named step, showing its output and how long it took.
///
/// # Errors
/// [`TaskError::Step`] with the exit code of a command that fails.
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

/// Runs a command as a named step and gives what it prints.
///
/// # Errors
/// [`TaskError::Step`] with the exit code of a command that fails.
pub(crate) fn output_of(name: &str, command: &mut Command) -> Result<String, TaskError> {
    eprintln!("==> {name}");
    let output = command.stderr(Stdio::inherit()).output();
    let output = output.map_err(|error| TaskError::at(command.get_program().display(), error))?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(TaskError::Step { step: name.to_owned(), code: code(output.status) }),
    }
}

/// A process ended by a signal has no code; 1 says as much.
fn code(status: ExitStatus) -> u8 {
    status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}
