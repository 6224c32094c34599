//! [`Binary`]: elementwise functions of two operands.

/// An elementwise function of two operands `a` and `b`, with NumPy's definition (`keras.ops`).
///
/// Comparisons give 1 for true and 0 for false. Gradients are TensorFlow's.
///
/// ```
/// use engraft_ir::Binary;
/// // The gradients of a difference are 1 and -1, those of a product are the other operand.
/// assert!(!Binary::Subtract.gradient_from_inputs() && Binary::Multiply.gradient_from_inputs());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binary {
    /// `a + b`
    Add,
    /// `a - b`
    Subtract,
    /// `a * b`
    Multiply,
    /// `a / b`
    Divide,
    /// `floor(a / b)`; its gradients are 0.
    FloorDivide,
    /// `a - b * floor(a / b)`, which has the sign of `b`
    Mod,
    /// `a^b`
    Power,
    /// The greater of both. Where both are equal, the gradient goes to `a`.
    Maximum,
    /// The smaller of both. Where both are equal, the gradient goes to `a`.
    Minimum,
    /// `a == b`
    Equal,
    /// `a != b`
    NotEqual,
    /// `a > b`
    Greater,
    /// `a >= b`
    GreaterEqual,
    /// `a < b`
    Less,
    /// `a <= b`
    LessEqual,
    /// `a` where `b` isn't 0, else 0, also where `a` is NaN or infinite
    Mask,
}

impl Binary {
    /// Whether the backward pass reads the inputs.
    pub fn gradient_from_inputs(self) -> bool {
        match self {
            Self::Multiply | Self::Divide | Self::Mod | Self::Power => true,
            Self::Maximum | Self::Minimum | Self::Mask => true,
            Self::Add | Self::Subtract => false,
            // A comparison is constant but for jumps: its derivative is 0.
            Self::FloorDivide | Self::Equal | Self::NotEqual => false,
            Self::Greater | Self::GreaterEqual | Self::Less | Self::LessEqual => false,
        }
    }
}
