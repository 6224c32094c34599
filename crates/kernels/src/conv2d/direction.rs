//! Forward and back.

/// Which of two convolutions filters are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    /// From inputs to outputs.
    Forward,
    /// Gradients from outputs to inputs: channels exchanged, taps turned by half.
    Backward,
}
