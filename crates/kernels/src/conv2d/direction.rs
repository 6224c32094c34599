//! The direction of a convolution: forward pass, or the backward pass with respect to the input.

/// The pass that filters are packed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    /// The forward pass, with unchanged filters.
    Forward,
    /// The gradient with respect to the input: input and output channels swapped, taps rotated by 180°.
    Backward,
}
