//! The number format that products are computed in.

use std::fmt;

/// The number format of the operands of products. Weights, activations, sums and updates are f32 always.
///
/// ```
/// use engraft_ir::Precision;
/// assert_eq!(Precision::default(), Precision::F32);
/// assert_eq!(Precision::Bf16.to_string(), "bf16");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// 24 bits.
    #[default]
    F32,
    /// Where it pays, f32 rounded to bf16: their range, with 8 bits. On the CPU these are operands of convolutions, forward and
    /// in the gradient with respect to their input: of 3x3 ones, or of all of stride 1 where there is a matrix unit.
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
