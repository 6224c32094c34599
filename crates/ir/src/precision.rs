//! The number format of the operands of matrix products and convolutions.

use std::fmt;

/// Number format of the operands of matrix products and convolutions. Weights, activations, sums and updates are always f32.
///
/// ```
/// use engraft_ir::Precision;
/// assert_eq!(Precision::default(), Precision::F32);
/// assert_eq!(Precision::Bf16.to_string(), "bf16");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// IEEE 754 single precision, with 24 significant bits.
    #[default]
    F32,
    /// bfloat16: the range of f32, with 8 significant bits. Operands are rounded to bfloat16 where that makes the computation
    /// faster.
    ///
    /// The CPU executor rounds only operands of convolutions, in the forward pass and in the gradient with respect to the input.
    /// It does so for 3x3 convolutions that use Winograd's algorithm. On a CPU with a matrix unit (AMX), it also does so for
    /// ungrouped, undilated convolutions of stride 1 that are large enough to fill the unit.
    Bf16,
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
        })
    }
}
