//! The `axis` options of operations: a number, a list of numbers, or null.

use serde::Deserialize;

use super::super::axis_option::sample_axis;
use crate::{Error, Result};

/// One axis or several, in Keras' numbering: 0 is the batch, -1 is the last axis.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(untagged, expecting = "an axis or a list of axes")]
pub(super) enum Axes {
    One(i64),
    Several(Vec<i64>),
}

impl Axes {
    pub(super) fn list(&self) -> &[i64] {
        match self {
            Self::One(axis) => std::slice::from_ref(axis),
            Self::Several(axes) => axes,
        }
    }

    /// Indices into the shape of a sample of `rank` axes, in the order of the option.
    ///
    /// # Errors
    /// An axis that is the batch, doesn't exist, or is given twice.
    pub(super) fn of_sample(&self, rank: usize) -> Result<Vec<usize>> {
        let mut found = Vec::with_capacity(self.list().len());
        for &axis in self.list() {
            let index = sample_axis(axis, rank)?;
            if found.contains(&index) {
                return Err(Error::new("axis", "each axis once", format_args!("{:?}", self.list())));
            }
            found.push(index);
        }
        Ok(found)
    }
}

/// The axes of an option that may be null, which stands for all axes, the batch included.
///
/// # Errors
/// Null: the results of samples would depend on each other.
pub(super) fn without_batch(axes: Option<Axes>) -> Result<Axes> {
    axes.ok_or_else(|| {
        Error::new("axis", "axes of a sample", "null, which includes the batch")
            .hint("name the axes after the batch, such as axis=[1, 2, 3]")
    })
}

/// An integer, or one for each of several axes.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(untagged, expecting = "an integer or a list of integers")]
pub(super) enum Counts {
    One(i64),
    Several(Vec<i64>),
}

impl Counts {
    pub(super) fn list(&self) -> &[i64] {
        match self {
            Self::One(count) => std::slice::from_ref(count),
            Self::Several(counts) => counts,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_and_lists() {
        let axes = |value| serde_json::from_value::<Axes>(value).unwrap().of_sample(3);
        assert_eq!(axes(json!(-1)).unwrap(), [2]);
        assert_eq!(axes(json!([1, -1])).unwrap(), [0, 2]);
        for (value, expected) in [(json!([1, 1]), "each axis once"), (json!(0), "0 is the batch"), (json!(4), "1 to 3")]
        {
            let error = axes(value).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        assert!(without_batch(None).unwrap_err().to_string().contains("includes the batch"));
    }
}
