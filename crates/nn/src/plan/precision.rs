//! What products are computed with.

use std::fmt;

/// The numbers that an executor multiplies. Weights, activations, sums and updates are f32 always.
///
/// ```
/// use engraft_nn::plan::{Plan, Precision};
/// use engraft_nn::prelude::*;
/// let model = Sequential::new().add(Input::new([2])).add(Dense::new(1)).build()?;
/// let plan = Plan::predict(&model, 1)?;
/// assert_eq!(plan.precision(), Precision::F32);
/// assert_eq!(plan.in_precision(Precision::Bf16).precision(), Precision::Bf16);
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// 24 bits.
    #[default]
    F32,
    /// Where it pays, f32 rounded to bf16: their range, with 8 bits. On the CPU these are operands of convolutions, forward and
    /// in the gradient by their input: of 3x3 ones, or of all of stride 1 where there is a matrix unit.
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
