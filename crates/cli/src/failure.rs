//! The reasons why a command ends early, with their exit codes.

use std::process::ExitCode;

use engraft::{Error, ErrorKind};

/// The reason why a command ended early.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Invalid arguments.
    Usage(Error),
    /// Any other error.
    Failed(Error),
    /// An error that was printed already.
    Reported,
    /// Ctrl-C stopped the work. What is saved is printed already.
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

    /// This failure with advice that a command without a batch size can follow: the runtime advises a smaller batch.
    pub(crate) fn without_batch_size(self) -> Self {
        match self {
            Self::Failed(error)
                if error.kind() == ErrorKind::OutOfMemory && error.to_string().contains("batch size") =>
            {
                Self::Failed(error.hint("close other programs, or raise --memory-limit if you set it"))
            }
            other => other,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_on_the_batch_size_is_for_commands_that_have_one() {
        let memory = || Error::because("memory", "the plan needs 3 GiB").with_kind(ErrorKind::OutOfMemory);
        let text = |error: Error| Failure::from(error).without_batch_size().error().map(ToString::to_string);
        let advised = text(memory().hint("a batch size of 8 would fit"));
        assert!(advised.is_some_and(|text| text.ends_with("raise --memory-limit if you set it")));
        let other = memory().hint("give fewer images at a time");
        assert_eq!(text(other.clone()), Some(other.to_string()));
    }
}
