//! [`Unary`]: elementwise functions of one operand that aren't activations.

/// An elementwise function of one operand, with NumPy's definition (`keras.ops`).
///
/// ```
/// use engraft_ir::Unary;
/// // The gradient of a step function is 0 wherever it exists, so it needs no input.
/// assert!(Unary::Log.gradient_from_input() && !Unary::Floor.gradient_from_input());
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Unary {
    /// `|x|`
    Absolute,
    /// `-x`
    Negative,
    /// -1, 0 or 1, with the sign of `x`
    Sign,
    /// `x^2`
    Square,
    /// `x^(1/2)`
    Sqrt,
    /// `x^(-1/2)`
    Rsqrt,
    /// `1 / x`
    Reciprocal,
    /// `e^x - 1`, accurate also where `x` is near 0
    Expm1,
    /// `ln(x)`
    Log,
    /// `ln(1 + x)`, accurate also where `x` is near 0
    Log1p,
    /// The sine of `x` radians
    Sin,
    /// The cosine of `x` radians
    Cos,
    /// The tangent of `x` radians
    Tan,
    /// The angle in radians whose tangent is `x`, from -pi/2 to pi/2
    Arctan,
    /// The hyperbolic sine
    Sinh,
    /// The hyperbolic cosine
    Cosh,
    /// The error function
    Erf,
    /// The greatest integer that is at most `x`
    Floor,
    /// The least integer that is at least `x`
    Ceil,
    /// The nearest integer; halves go to the even one
    Round,
    /// `x` without its fraction
    Truncate,
    /// `min(max(x, low), high)`
    Clip {
        /// Lower limit of the output; minus infinity for no limit.
        low: f32,
        /// Upper limit of the output; infinity for no limit.
        high: f32,
    },
    /// 1 where `x` isn't NaN or infinite, else 0
    IsFinite,
    /// 1 where `x` is NaN, else 0
    IsNan,
}

impl Unary {
    /// Whether the backward pass reads the input. The derivative of a rounding is 0, that of a negation -1.
    pub fn gradient_from_input(self) -> bool {
        !matches!(
            self,
            Self::Negative
                | Self::Sign
                | Self::Floor
                | Self::Ceil
                | Self::Round
                | Self::Truncate
                | Self::IsFinite
                | Self::IsNan
        )
    }
}
