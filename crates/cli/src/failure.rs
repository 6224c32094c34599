//! The reasons why a command ends early, with their exit codes.

use std::process::ExitCode;

use engraft::Error;

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
    /// The error to print; `None` if there is none, or if it was printed already.
    pub(crate) fn error(&self) -> Option<&Error> {
        match self {
            Self::Usage(error) | Self::Failed(error) => Some(error),
            Self::Reported | Self::Interrupted | Self::ClosedPipe => None,
        }
    }

    /// The exit code of the program.
    pub(crate) fn exit_code(&self) -> ExitCode {
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
