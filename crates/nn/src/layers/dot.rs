//! `Dot`: products of two tensors, summed along an axis of each.

use engraft_ir::{Binary, Reduction, ValueId};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::axis_option::sample_axis;
use super::expression::{self, Expression, Operand};
use super::operation::l2_normalized;
use super::options::config_of;
use crate::Shape;
use crate::layer_def::LayerDef;
use crate::lowering::Lowering;
use crate::{DType, Error, Result};

/// The sum of the products of two inputs along one axis of each (Keras' `Dot`).
///
/// The result has the other axes of the first input, then those of the second; it has the shape `[1]` if there are none.
///
/// ```
/// use engraft_nn::prelude::*;
/// let (a, b) = (Input::new([8]), Input::new([8]));
/// // The cosine of the angle between two vectors.
/// assert_eq!(Dot::new(-1).normalize(true).call([&a, &b])?.shape(), &[1]);
/// let (queries, keys) = (Input::new([5, 8]), Input::new([7, 8]));
/// assert_eq!(Dot::new([2, 2]).call([&queries, &keys])?.shape(), &[5, 7]);
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dot {
    axes: DotAxes,
    #[serde(default)]
    normalize: bool,
}

/// The axis of each input along which [`Dot`] sums: one for both, or one for each. 1 is the first after the batch, -1 the last.
///
/// ```
/// use engraft_nn::layers::DotAxes;
/// assert_eq!(DotAxes::from(1), DotAxes::Both(1));
/// assert_eq!(DotAxes::from([1, 2]), DotAxes::Each([1, 2]));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "an axis or two of them")]
pub enum DotAxes {
    /// The same axis of both inputs.
    Both(i64),
    /// An axis of each input.
    Each([i64; 2]),
}

impl From<i64> for DotAxes {
    fn from(axis: i64) -> Self {
        Self::Both(axis)
    }
}

impl From<[i64; 2]> for DotAxes {
    fn from(axes: [i64; 2]) -> Self {
        Self::Each(axes)
    }
}

impl Dot {
    /// A layer that sums along an axis (`1`), or along one axis of each input (`[1, 2]`).
    pub fn new(axes: impl Into<DotAxes>) -> Self {
        Self { axes: axes.into(), normalize: false }
    }

    /// Sets whether both inputs are divided by their Euclidean norm along the axis first; false by default.
    #[must_use]
    pub fn normalize(mut self, normalize: bool) -> Self {
        self.normalize = normalize;
        self
    }

    fn compute(&self, e: &mut Expression, x: &[Operand]) -> Result<Operand> {
        let &[a, b] = x else { return Err(Error::new("inputs", "two", x.len())) };
        let axes = match self.axes {
            DotAxes::Both(axis) => [axis; 2],
            DotAxes::Each(axes) => axes,
        };
        let axes = [sample_axis(axes[0], e.shape(a).len())?, sample_axis(axes[1], e.shape(b).len())?];
        let sizes = [e.shape(a)[axes[0]], e.shape(b)[axes[1]]];
        if sizes[0] != sizes[1] {
            return Err(Error::new("axes", "axes of the same size", format_args!("{sizes:?}")));
        }
        let (rows, outer_a) = self.rows(e, a, axes[0])?;
        let (columns, outer_b) = self.rows(e, b, axes[1])?;
        let [count_a, count_b] = [&outer_a, &outer_b].map(|outer| outer.iter().product::<usize>());
        let rows = e.reshape_to(rows, vec![count_a, 1, sizes[0]])?;
        let columns = e.reshape_to(columns, vec![1, count_b, sizes[0]])?;
        let products = e.binary(Binary::Multiply, rows, columns)?;
        let sums = e.reduce(Reduction::Sum, products, &[2], false)?;
        let shape: Shape = [outer_a, outer_b].concat();
        e.reshape_to(sums, if shape.is_empty() { vec![1] } else { shape })
    }

    /// The input, normalized if the option says so, with its axis `axis` last; and its other sizes.
    fn rows(&self, e: &mut Expression, x: Operand, axis: usize) -> Result<(Operand, Shape)> {
        /// The reciprocal of Keras' smallest norm.
        const LIMIT: f32 = 1e7;
        let x = if self.normalize { l2_normalized(e, x, &[axis], LIMIT)? } else { x };
        let others: Vec<usize> = (0..e.shape(x).len()).filter(|&other| other != axis).collect();
        let outer = others.iter().map(|&other| e.shape(x)[other]).collect();
        let order = others.into_iter().chain([axis]).collect();
        Ok((e.permute(x, order)?, outer))
    }
}

impl LayerDef for Dot {
    fn class_name(&self) -> &'static str {
        "Dot"
    }

    fn config(&self) -> Map<String, Value> {
        config_of(self)
    }

    fn output_shape(&self, inputs: &[Shape]) -> Result<Shape> {
        expression::output_shape(inputs, |e, x| self.compute(e, x))
    }

    fn output_dtype(&self, inputs: &[DType]) -> Result<DType> {
        DType::of_arithmetic(inputs)
    }

    fn lower(&self, to: &mut Lowering<'_>, inputs: &[ValueId]) -> Result<ValueId> {
        expression::lower(to, inputs, |e, x| self.compute(e, x))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer_def::LayerDefExt;
    use crate::layers::Input;

    #[test]
    fn axes_must_agree() {
        let call = |axes: [i64; 2], a: &[usize], b: &[usize]| Dot::new(axes).call([&Input::new(a), &Input::new(b)]);
        assert_eq!(call([2, 1], &[3, 5], &[5, 4]).unwrap().shape(), &[3, 4]);
        assert_eq!(call([1, 1], &[5], &[5, 4]).unwrap().shape(), &[4]);
        assert_eq!(call([-1, -1], &[2, 3, 5], &[5]).unwrap().shape(), &[2, 3]);
        for (axes, expected) in [([1, 1], "axes of the same size"), ([0, 1], "0 is the batch"), ([3, 1], "1 to 2")] {
            let error = call(axes, &[3, 5], &[5, 4]).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
