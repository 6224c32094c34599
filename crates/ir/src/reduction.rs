//! [`Reduction`]: how values along some axes become one.

/// How the values along some axes become one value (`keras.ops.sum`, `mean`, `max`, `min` and `prod`).
///
/// ```
/// use engraft_ir::Reduction;
/// // Each term of a sum has the gradient 1. A maximum sends its gradient to where it stands.
/// assert!(!Reduction::Sum.gradient_from_values() && Reduction::Max.gradient_from_values());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reduction {
    /// The sum.
    Sum,
    /// The sum divided by the number of values.
    Mean,
    /// The greatest value. Equal values share its gradient evenly.
    Max,
    /// The smallest value. Equal values share its gradient evenly.
    Min,
    /// The product.
    Prod,
}

impl Reduction {
    /// Whether the backward pass reads the input and the output.
    pub fn gradient_from_values(self) -> bool {
        matches!(self, Self::Max | Self::Min | Self::Prod)
    }
}
