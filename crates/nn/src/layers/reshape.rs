//! `Reshape` and `Permute`: the same values in another shape, or with their axes in another order.

use engraft_ir::{Op, ValueId};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::options::{config_of, single};
use crate::Shape;
use crate::layer_def::LayerDef;
use crate::lowering::Lowering;
use crate::{DType, Error, Result};

/// Changes the shape and keeps the values in row-major order (Keras' `Reshape`).
///
/// ```
/// use engraft_nn::prelude::*;
/// assert_eq!(Reshape::new([-1, 6]).call(&Input::new([4, 3]))?.shape(), &[2, 6]);
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reshape {
    target_shape: Vec<i64>,
}

impl Reshape {
    /// A layer with these output sizes. One of them may be -1; it follows from the input's size.
    pub fn new(target_shape: impl Into<Vec<i64>>) -> Self {
        Self { target_shape: target_shape.into() }
    }
}

/// The shape that `target` stands for, for samples of shape `from`. One size may be -1; it follows from the others.
pub(super) fn resolve(target: &[i64], from: &Shape) -> Result<Shape> {
    let wrong = || {
        let expected = format!("sizes for the {} numbers of {from:?}, at most one of them -1", count(from));
        Error::new("target_shape", expected, format_args!("{target:?}"))
    };
    let open = target.iter().filter(|&&size| size == -1).count();
    let known = target.iter().filter(|&&size| size != -1);
    let known = known.map(|&size| usize::try_from(size).map_err(|_| wrong())).collect::<Result<Vec<_>>>()?;
    let known = known.iter().try_fold(1usize, |product, &size| product.checked_mul(size)).ok_or_else(wrong)?;
    let fits = match open {
        0 => known == count(from),
        1 => known > 0 && count(from).is_multiple_of(known),
        _ => false,
    };
    if open == 0 && !fits && known > 0 && (count(from).is_multiple_of(known) || known.is_multiple_of(count(from))) {
        return Err(wrong().hint(
            "parts of a sample, such as windows, can't join the batch here: keep an axis for them, (-1, windows, size, channels)",
        ));
    }
    if !fits {
        return Err(wrong());
    }
    Ok(target.iter().map(|&size| usize::try_from(size).unwrap_or_else(|_| count(from) / known)).collect())
}

fn count(shape: &Shape) -> usize {
    shape.iter().product()
}

impl LayerDef for Reshape {
    fn class_name(&self) -> &'static str {
        "Reshape"
    }

    fn config(&self) -> Map<String, Value> {
        config_of(self)
    }

    fn output_shape(&self, inputs: &[Shape]) -> Result<Shape> {
        resolve(&self.target_shape, single(inputs)?)
    }

    fn output_dtype(&self, inputs: &[DType]) -> Result<DType> {
        Ok(DType::common(inputs))
    }

    fn lower(&self, to: &mut Lowering<'_>, inputs: &[ValueId]) -> Result<ValueId> {
        let shape = resolve(&self.target_shape, to.shape(inputs[0]))?;
        Ok(to.push(Op::Reshape, inputs, shape))
    }
}

/// Reorders the axes of samples, counted from 1 (Keras' `Permute`). The batch stays the first axis.
///
/// ```
/// use engraft_nn::prelude::*;
/// assert_eq!(Permute::new([2, 3, 1]).call(&Input::new([4, 5, 3]))?.shape(), &[5, 3, 4]);
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Permute {
    dims: Vec<usize>,
}

impl Permute {
    /// A layer whose output axis `i` is the input's axis `dims[i]`.
    pub fn new(dims: impl Into<Vec<usize>>) -> Self {
        Self { dims: dims.into() }
    }

    /// The order of axes, counted from 0; an error unless it is a permutation.
    fn axes(&self, rank: usize) -> Result<Vec<usize>> {
        let mut sorted = self.dims.clone();
        sorted.sort_unstable();
        if sorted != (1..=rank).collect::<Vec<_>>() {
            return Err(Error::new("dims", format_args!("each of 1 to {rank} once"), format_args!("{:?}", self.dims)));
        }
        Ok(self.dims.iter().map(|dim| dim - 1).collect())
    }
}

impl LayerDef for Permute {
    fn class_name(&self) -> &'static str {
        "Permute"
    }

    fn config(&self) -> Map<String, Value> {
        config_of(self)
    }

    fn output_shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let shape = single(inputs)?;
        Ok(self.axes(shape.len())?.into_iter().map(|axis| shape[axis]).collect())
    }

    fn output_dtype(&self, inputs: &[DType]) -> Result<DType> {
        Ok(DType::common(inputs))
    }

    fn lower(&self, to: &mut Lowering<'_>, inputs: &[ValueId]) -> Result<ValueId> {
        let shape = self.output_shape(std::slice::from_ref(to.shape(inputs[0])))?;
        let axes = self.axes(shape.len())?;
        Ok(to.push(Op::Permute { axes }, inputs, shape))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer_def::LayerDefExt;
    use crate::layers::Input;

    #[test]
    fn an_open_size_takes_what_is_left() {
        assert_eq!(resolve(&[2, -1, 3], &vec![4, 6]).unwrap(), [2, 4, 3]);
        assert_eq!(resolve(&[24], &vec![4, 6]).unwrap(), [24]);
    }

    #[test]
    fn shapes_that_do_not_fit_are_refused() {
        for target in [&[5, 5][..], &[-1, 7], &[-1, -1], &[-2, 12], &[0, -1], &[i64::MAX, i64::MAX, -1]] {
            let error = resolve(target, &vec![4, 6]).unwrap_err().to_string();
            assert!(error.contains("expected sizes for the 24 numbers of [4, 6]"), "{error}");
        }
        for (target, folds) in [(&[3, 2][..], true), (&[5, 5], false)] {
            let error = resolve(target, &vec![4, 6]).unwrap_err().to_string();
            assert_eq!(error.contains("can't join the batch"), folds, "{error}");
        }
        let error = Permute::new([1, 1]).call(&Input::new([4, 6])).unwrap_err().to_string();
        assert!(error.contains("each of 1 to 2 once"), "{error}");
    }
}
