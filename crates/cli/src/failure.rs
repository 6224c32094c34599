//! Why a command ended early, and the exit code that says so.

use std::process::ExitCode;

use engraft::Error;

use crate::output;

/// Why a command ended early.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Arguments that don't go together.
    Usage(Error),
    /// Something else went wrong.
    Failed(Error),
    /// Something went wrong and was told already.
    Reported,
    /// The user wanted it to end.
    Interrupted,
    /// Nobody reads the output any more, as after `| head`: no reason to complain.
    ClosedPipe,
}

impl Failure {
    /// Tells the user and gives the exit code.
    pub(crate) fn report(self) -> ExitCode {
        if let Self::Usage(error) | Self::Failed(error) = &self {
            output::note(format_args!("error: {error}"));
        }
        match self {
            Self::ClosedPipe => ExitCode::SUCCESS,
            Self::Failed(_) | Self::Reported => ExitCode::from(1),
            Self::Usage(_) => ExitCode::from(2),
            // What shells give for a program ended by this signal.
            Self::Interrupted => ExitCode::from(130),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}
