//! The axes of a multi-head attention: those that are attended over become one, the others count as separate problems.

use engraft_ir::ValueId;

use super::super::axis_option::sample_axis;
use super::super::rearranged::{inverse, permuted, reshaped};
use crate::Shape;
use crate::lowering::Lowering;
use crate::{Error, Result};

/// The order in which a projected sample `[axes.., heads, width]` is arranged as `[others.., heads, attended.., width]`.
pub(super) struct HeadAxes {
    /// The axes of the sample before heads and width that are attended over, ascending.
    attended: Vec<usize>,
    /// The other axes before heads and width, ascending.
    others: Vec<usize>,
}

impl HeadAxes {
    /// The axes for samples with `rank` axes, of which the last one is the features. `attention_axes` are in Keras' numbering;
    /// `None` for all but the last.
    ///
    /// # Errors
    /// Axes that a sample doesn't have, the batch, the features, or an axis twice.
    pub(super) fn new(attention_axes: Option<&[i64]>, rank: usize) -> Result<Self> {
        let all: Vec<usize> = (0..rank.saturating_sub(1)).collect();
        let Some(axes) = attention_axes else { return Self::of(all.clone(), &all) };
        let attended = axes.iter().map(|&axis| sample_axis(axis, rank)).collect::<Result<Vec<_>>>();
        Self::of(attended.map_err(|error| error.within("attention_axes"))?, &all)
    }

    fn of(mut attended: Vec<usize>, all: &[usize]) -> Result<Self> {
        attended.sort_unstable();
        let distinct = attended.windows(2).all(|pair| pair[0] != pair[1]);
        if attended.is_empty() || !distinct || attended.iter().any(|axis| !all.contains(axis)) {
            let expected = "one or more axes between the batch and the features, each once";
            let axes: Vec<usize> = attended.iter().map(|axis| axis + 1).collect();
            return Err(Error::new("attention_axes", expected, format_args!("{axes:?}")));
        }
        let others = all.iter().copied().filter(|axis| !attended.contains(axis)).collect();
        Ok(Self { attended, others })
    }

    /// The number of places that are attended over in a sample of this shape.
    pub(super) fn places(&self, sample: &[usize]) -> usize {
        self.attended.iter().map(|&axis| sample[axis]).product()
    }

    /// The sizes of the other axes of a sample.
    pub(super) fn others(&self, sample: &[usize]) -> Shape {
        self.others.iter().map(|&axis| sample[axis]).collect()
    }

    /// The order of axes `[others.., heads, attended.., width]`.
    fn order(&self) -> Vec<usize> {
        let heads = self.attended.len() + self.others.len();
        self.others.iter().copied().chain([heads]).chain(self.attended.iter().copied()).chain([heads + 1]).collect()
    }

    /// Arranges a projected sample `[axes.., heads * width]` as `[others.., heads, places, width]`.
    pub(super) fn split(&self, to: &mut Lowering<'_>, x: ValueId, heads: usize) -> ValueId {
        let sample = to.shape(x).clone();
        let (axes, features) = sample.split_at(sample.len() - 1);
        let width = features[0] / heads;
        let x = reshaped(to, x, [axes, &[heads, width]].concat());
        let x = permuted(to, x, self.order());
        reshaped(to, x, [self.others(axes).as_slice(), &[heads, self.places(axes), width]].concat())
    }

    /// Arranges `[others.., heads, places, width]` as a sample `[axes.., heads * width]`, whose axes have the sizes `axes`.
    pub(super) fn merge(&self, to: &mut Lowering<'_>, x: ValueId, axes: &[usize]) -> ValueId {
        let shape = to.shape(x);
        let (heads, width) = (shape[shape.len() - 3], shape[shape.len() - 1]);
        let whole = [axes, &[heads, width]].concat();
        let order = self.order();
        let arranged: Shape = order.iter().map(|&axis| whole[axis]).collect();
        let x = reshaped(to, x, arranged);
        let x = permuted(to, x, inverse(&order));
        reshaped(to, x, [axes, &[heads * width]].concat())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_are_attended_over_or_separate() {
        let all = HeadAxes::new(None, 3).unwrap();
        assert_eq!((all.places(&[4, 5, 6]), all.others(&[4, 5, 6])), (20, vec![]));
        let one = HeadAxes::new(Some(&[-2]), 3).unwrap();
        assert_eq!((one.places(&[4, 5, 6]), one.others(&[4, 5, 6]), one.order()), (5, vec![4], vec![0, 2, 1, 3]));
        for axes in [&[0][..], &[3], &[1, 1], &[]] {
            assert!(HeadAxes::new(Some(axes), 3).is_err(), "{axes:?}");
        }
        assert!(HeadAxes::new(None, 1).is_err());
    }
}
