//! The `noise_shape` option of dropout layers: along which axes values share their noise.

use engraft_ir::{Noise, Op, ValueId};
use serde::{Deserialize, Serialize};

use crate::Shape;
use crate::lowering::Lowering;
use crate::{Error, Result};

/// Keras' `noise_shape`: a size for every axis, the batch first. Values share their noise along axes of size 1; `null` stands for
/// the size of the input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct NoiseShape(Vec<Option<usize>>);

impl NoiseShape {
    pub(super) fn new(sizes: Vec<Option<usize>>) -> Self {
        Self(sizes)
    }

    /// The shape in a sample of shape `sample`, and whether all samples share their noise.
    ///
    /// # Errors
    /// A size other than 1 and the input's. The size of the batch may be any: Keras accepts batches of that size alone.
    fn resolve(&self, sample: &[usize]) -> Result<(Shape, bool)> {
        let wrong = || {
            let expected = format!("null, 1 or the input's size for each axis of a batch of {sample:?}");
            Error::new("noise_shape", expected, format_args!("{:?}", self.0))
        };
        let (batch, sizes) = self.0.split_first().filter(|(_, sizes)| sizes.len() == sample.len()).ok_or_else(wrong)?;
        let size = |(&noise, &size): (&Option<usize>, &usize)| match noise {
            None => Ok(size),
            Some(noise) if noise == size || noise == 1 => Ok(noise),
            Some(_) => Err(wrong()),
        };
        Ok((sizes.iter().zip(sample).map(size).collect::<Result<_>>()?, *batch == Some(1)))
    }
}

/// Adds noise to `input`, with the seed `seed` or one derived from the program's; every value has its own without `shape`.
pub(super) fn push_noise(
    to: &mut Lowering<'_>,
    input: ValueId,
    noise: Noise,
    shape: Option<&NoiseShape>,
    seed: Option<u64>,
) -> Result<ValueId> {
    let sample = to.shape(input).clone();
    let (shape, across_samples) = match shape {
        Some(shape) => shape.resolve(&sample)?,
        None => (sample.clone(), false),
    };
    let seed = to.random_seed(seed);
    Ok(to.push(Op::Noise { noise, shape, across_samples, seed }, &[input], sample))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_of_the_sample_or_one() {
        let resolved = |sizes: &[Option<usize>]| NoiseShape(sizes.to_vec()).resolve(&[4, 5, 3]);
        assert_eq!(resolved(&[None, Some(1), Some(1), None]).unwrap(), (vec![1, 1, 3], false));
        assert_eq!(resolved(&[Some(1), Some(4), Some(1), Some(3)]).unwrap(), (vec![4, 1, 3], true));
        assert_eq!(resolved(&[Some(32), None, None, None]).unwrap(), (vec![4, 5, 3], false));
        for wrong in [&[None, Some(2), None, None][..], &[None, None, None], &[]] {
            assert!(resolved(wrong).unwrap_err().to_string().contains("noise_shape: expected null, 1"));
        }
    }
}
