//! Forward and backward pass.

/// The pass that filters are arranged for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    /// From inputs to outputs: filters as they are.
    Forward,
    /// The gradient with respect to the input: input and output channels swapped, taps rotated by 180°.
    Backward,
}
