//! The reasons why a command ends early, with their exit codes.

use std::process::ExitCode;

use engraft::Error;

use crate::output;

/// The reason why a command ended early.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Invalid arguments.
    Usage(Error),
    /// Any other error.
    Failed(Error),
    /// An error that was printed already.
    Reported,
    /// Training was stopped by Ctrl-C, and the model is saved.
    Interrupted,
    /// The reader of standard output is gone, as after `| head`; not an error.
    ClosedPipe,
}

impl Failure {
    /// Prints the error. Returns the exit code.
    pub(crate) fn report(self) -> ExitCode {
        if let Self::Usage(error) | Self::Failed(error) = &self {
            output::note(format_args!("error: {error}"));
        }
        match self {
            Self::ClosedPipe => ExitCode::SUCCESS,
            Self::Failed(_) | Self::Reported => ExitCode::from(1),
            Self::Usage(_) => ExitCode::from(2),
            // 128 + SIGINT, as in shells.
            Self::Interrupted => ExitCode::from(130),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}
