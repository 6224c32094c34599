//! Options and operations shared by the layers that normalize each sample by itself.

use engraft_ir::{Normalization, NormalizationKind, Op, ValueId};

use super::axis_option::sample_axis;
use crate::Axes;
use crate::Shape;
use crate::lowering::Lowering;
use crate::{Error, Result};

/// Defines the options for scale, offset and epsilon, and the specifications of the weights gamma and beta.
macro_rules! scale_and_center_options {
    ($name:ident) => {
        impl $name {
            /// Sets the constant that is added to the variance before its square root; 0.001 by default.
            #[must_use]
            pub fn epsilon(mut self, epsilon: f32) -> Self {
                self.epsilon = epsilon;
                self
            }

            /// Sets whether a trainable offset `beta` is added; true by default.
            #[must_use]
            pub fn center(mut self, center: bool) -> Self {
                self.center = center;
                self
            }

            /// Sets whether a trainable factor `gamma` is applied; true by default.
            #[must_use]
            pub fn scale(mut self, scale: bool) -> Self {
                self.scale = scale;
                self
            }

            /// Specifications of gamma and beta of this shape, as far as the layer has them.
            fn gamma_and_beta(&self, scale: bool, center: bool, shape: Shape) -> Vec<WeightSpec> {
                let gamma = WeightSpec {
                    name: "gamma".into(),
                    shape: shape.clone(),
                    initializer: self.gamma_initializer.clone(),
                    trainable: true,
                    regularizer: self.gamma_regularizer.clone(),
                    constraint: self.gamma_constraint.clone(),
                };
                let beta = WeightSpec {
                    name: "beta".into(),
                    shape,
                    initializer: self.beta_initializer.clone(),
                    trainable: true,
                    regularizer: self.beta_regularizer.clone(),
                    constraint: self.beta_constraint.clone(),
                };
                scale.then_some(gamma).into_iter().chain(center.then_some(beta)).collect()
            }
        }
    };
}
pub(super) use scale_and_center_options;

/// The axes of a sample that Keras' axes mean, in ascending order.
///
/// # Errors
/// No axis, an axis outside the sample, one that is named twice, or one of size 0.
pub(super) fn normalized_axes(axes: &Axes, shape: &Shape) -> Result<Vec<usize>> {
    let axes = match axes {
        Axes::One(axis) => vec![*axis],
        Axes::Several(axes) => axes.clone(),
    };
    let mut sorted = axes.iter().map(|&axis| sample_axis(axis, shape.len())).collect::<Result<Vec<usize>>>()?;
    sorted.sort_unstable();
    let repeats = sorted.windows(2).any(|pair| pair[0] == pair[1]);
    if sorted.is_empty() || repeats {
        return Err(Error::new("axis", "one axis or several different ones", format_args!("{axes:?}")));
    }
    not_empty(shape)?;
    Ok(sorted)
}

/// Checks that no axis has size 0: the mean of nothing isn't defined.
pub(super) fn not_empty(shape: &Shape) -> Result<()> {
    match shape.contains(&0) {
        true => Err(Error::new("input", "axes of at least 1", format_args!("{shape:?}"))),
        false => Ok(()),
    }
}

/// The shape of weights along Keras' axes: their sizes in the order of the sorted numbers, negative ones first.
pub(super) fn weight_shape(axes: &Axes, shape: &Shape) -> Result<Shape> {
    let mut axes = match axes {
        Axes::One(axis) => vec![*axis],
        Axes::Several(axes) => axes.clone(),
    };
    axes.sort_unstable();
    axes.iter().map(|&axis| sample_axis(axis, shape.len()).map(|axis| shape[axis])).collect()
}

/// Adds a normalization over `axes` of a sample, with all weights of the layer. Other axes than the last ones are moved there, and
/// back.
pub(super) fn normalize_over(
    to: &mut Lowering<'_>,
    input: ValueId,
    axes: &[usize],
    kind: NormalizationKind,
    (epsilon, scale, center): (f32, bool, bool),
) -> ValueId {
    let shape = to.shape(input).clone();
    let width = axes.iter().map(|&axis| shape[axis]).product();
    let others = (0..shape.len()).filter(|axis| !axes.contains(axis));
    let order: Vec<usize> = others.chain(axes.iter().copied()).collect();
    let op = Op::Normalize(Normalization { kind, epsilon, rows: 1, groups: 1, width, scale, center });
    with_axes_in_order(to, input, &order, |to, input, shape| to.push(op, &[input], shape))
}

/// Moves the axes of a sample into this order, adds operations that keep the shape, and moves the axes back.
pub(super) fn with_axes_in_order(
    to: &mut Lowering<'_>,
    input: ValueId,
    order: &[usize],
    add: impl FnOnce(&mut Lowering<'_>, ValueId, Shape) -> ValueId,
) -> ValueId {
    let shape = to.shape(input).clone();
    if order.is_sorted() {
        return add(to, input, shape);
    }
    let moved: Shape = order.iter().map(|&axis| shape[axis]).collect();
    let mut back = vec![0; order.len()];
    order.iter().enumerate().for_each(|(place, &axis)| back[axis] = place);
    let x = to.push_with(Op::Permute { axes: order.to_vec() }, &[input], moved.clone(), 0..0);
    let y = add(to, x, moved);
    to.push_with(Op::Permute { axes: back }, &[y], shape, 0..0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_are_sorted_and_checked() {
        let shape = vec![5, 6, 7];
        let axes = |list: &[i64]| normalized_axes(&Axes::Several(list.to_vec()), &shape);
        assert_eq!(axes(&[-1, 1]).unwrap(), [0, 2]);
        assert_eq!(normalized_axes(&Axes::One(-1), &shape).unwrap(), [2]);
        // Keras sorts the numbers as they are.
        assert_eq!(weight_shape(&Axes::Several(vec![1, -1]), &shape).unwrap(), [7, 5]);
        for wrong in [&[][..], &[0], &[4], &[3, -1]] {
            assert!(axes(wrong).is_err(), "{wrong:?}");
        }
        assert!(normalized_axes(&Axes::One(-1), &vec![0, 3]).is_err());
    }
}
