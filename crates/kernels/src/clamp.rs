//! Activations that limit their input to a range. Kernels apply them to vectors in registers.

use crate::Activation;
use crate::simd::Simd;

/// An activation of the form `min(max(x, lower), upper)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Clamp {
    lower: f32,
    upper: f32,
}

impl Clamp {
    /// The identity: the range of all numbers.
    pub(crate) const IDENTITY: Self = Self { lower: f32::NEG_INFINITY, upper: f32::INFINITY };

    /// The clamp that computes `activation`; `None` for an activation of another form.
    pub(crate) fn of(activation: Activation) -> Option<Self> {
        match activation {
            Activation::Linear => Some(Self::IDENTITY),
            Activation::Relu => Some(Self { lower: 0.0, ..Self::IDENTITY }),
            Activation::Relu6 => Some(Self { lower: 0.0, upper: 6.0 }),
            _ => None,
        }
    }

    /// Clamps every lane. NaN stays NaN.
    #[inline(always)]
    pub(crate) fn apply<S: Simd>(self, simd: S, x: S::Vector) -> S::Vector {
        simd.clamp(x, simd.splat(self.lower), simd.splat(self.upper))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::activation::activate_serial;

    #[test]
    fn a_clamp_gives_the_values_of_its_activation() {
        for activation in [Activation::Linear, Activation::Relu, Activation::Relu6] {
            let Clamp { lower, upper } = Clamp::of(activation).unwrap();
            for x in [f32::NEG_INFINITY, -7.0, -0.5, 0.0, 0.5, 6.0, 7.0, f32::INFINITY] {
                let mut y = [x];
                activate_serial(activation, &mut y);
                assert_eq!(x.clamp(lower, upper), y[0], "{activation:?} of {x}");
            }
        }
        assert_eq!(Clamp::of(Activation::Silu), None);
    }
}
