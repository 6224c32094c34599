//! Constraints: projections of weights after each training step (Keras' `keras.constraints`).

use serde::{Deserialize, Serialize};

use crate::keras_object::{Kept, UnknownObject};

crate::keras_object::optional_object!(object, crate::Constraint);

/// A constraint on a weight (Keras' `keras.constraints`). Each training step that changes the weight ends with it.
///
/// Norms are Euclidean, along `axis`: 0 for a Dense kernel and `[0, 1, 2]` for a convolution's kernel give one norm for each unit.
///
/// ```
/// use engraft_nn::{Constraint, prelude::*};
/// let dense = Dense::new(2).kernel_constraint(Constraint::max_norm(3.0)).into_layer();
/// dense.call(&Input::new([4]))?;
/// assert_eq!(dense.weights()[0].constraint().unwrap().axes(2), [0]);
/// assert_eq!(dense.def().config()["kernel_constraint"]["config"]["max_value"], 3.0);
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "class_name", content = "config", deny_unknown_fields)]
#[expect(missing_docs, reason = "fields are Keras' arguments of the same names")]
pub enum Constraint {
    /// Norms of at most `max_value`.
    MaxNorm {
        #[serde(default = "two")]
        max_value: f32,
        #[serde(default)]
        axis: Axes,
    },
    /// No negative values: they become 0.
    NonNeg {},
    /// Norms of 1.
    UnitNorm {
        #[serde(default)]
        axis: Axes,
    },
    /// Norms from `min_value` to `max_value`. Each step covers the share `rate` of the way there.
    MinMaxNorm {
        #[serde(default)]
        min_value: f32,
        #[serde(default = "one")]
        max_value: f32,
        #[serde(default = "one")]
        rate: f32,
        #[serde(default)]
        axis: Axes,
    },
    /// Another constraint of a file. Training a weight with it is refused.
    #[serde(skip)]
    Unknown(UnknownObject),
}

/// The axes of a weight along which a norm is computed. Negative numbers count from the last axis.
///
/// ```
/// use engraft_nn::{Axes, Constraint};
/// let of_filters = Constraint::UnitNorm { axis: Axes::Several(vec![0, 1, -2]) };
/// assert_eq!(of_filters.axes(4), [0, 1, 2]);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Axes {
    /// One axis.
    One(i64),
    /// Several axes.
    Several(Vec<i64>),
}

impl Default for Axes {
    /// The first axis.
    fn default() -> Self {
        Self::One(0)
    }
}

fn one() -> f32 {
    1.0
}

fn two() -> f32 {
    2.0
}

impl Kept for Constraint {
    const MODULE: &'static str = "keras.constraints";

    fn keep(object: UnknownObject) -> Self {
        Self::Unknown(object)
    }

    fn kept(&self) -> Option<&UnknownObject> {
        match self {
            Self::Unknown(object) => Some(object),
            _ => None,
        }
    }
}

impl Constraint {
    /// Norms of at most `max_value` along the first axis.
    ///
    /// ```
    /// use engraft_nn::{Axes, Constraint};
    /// assert_eq!(Constraint::max_norm(2.0), Constraint::MaxNorm { max_value: 2.0, axis: Axes::One(0) });
    /// ```
    pub fn max_norm(max_value: f32) -> Self {
        Self::MaxNorm { max_value, axis: Axes::default() }
    }

    /// No negative values.
    ///
    /// ```
    /// use engraft_nn::Constraint;
    /// assert!(Constraint::non_neg().axes(2).is_empty());
    /// ```
    pub fn non_neg() -> Self {
        Self::NonNeg {}
    }

    /// The axes of a weight with `rank` axes along which norms are computed, without those that the weight doesn't have.
    pub fn axes(&self, rank: usize) -> Vec<usize> {
        self.declared_axes().iter().filter_map(|&axis| resolve(axis, rank)).collect()
    }

    /// Whether a weight with `rank` axes has all axes of the constraint.
    ///
    /// ```
    /// use engraft_nn::Constraint;
    /// assert!(Constraint::max_norm(1.0).fits(1) && !Constraint::max_norm(1.0).fits(0));
    /// ```
    pub fn fits(&self, rank: usize) -> bool {
        self.declared_axes().iter().all(|&axis| resolve(axis, rank).is_some())
    }

    fn declared_axes(&self) -> &[i64] {
        match self {
            Self::MaxNorm { axis, .. } | Self::UnitNorm { axis } | Self::MinMaxNorm { axis, .. } => match axis {
                Axes::One(axis) => std::slice::from_ref(axis),
                Axes::Several(axes) => axes,
            },
            Self::NonNeg {} | Self::Unknown(_) => &[],
        }
    }
}

fn resolve(axis: i64, rank: usize) -> Option<usize> {
    let axis = if axis < 0 { axis + rank as i64 } else { axis };
    usize::try_from(axis).ok().filter(|&axis| axis < rank)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::keras_object::{read_kept, write_kept};

    #[test]
    fn known_ones_are_read_and_others_kept() {
        let of = |class: &str, config: Value| json!({"module": "keras.constraints", "class_name": class, "config": config, "registered_name": null});
        for known in [
            of("MaxNorm", json!({"max_value": 2.0, "axis": 0})),
            of("MinMaxNorm", json!({"min_value": 0.0, "max_value": 1.0, "rate": 0.5, "axis": [0, 1, 2]})),
            of("UnitNorm", json!({"axis": -1})),
            of("NonNeg", json!({})),
        ] {
            let read: Constraint = read_kept(known.clone());
            assert_eq!((read.kept(), write_kept(&read)), (None, known));
        }
        let mut own = of("MaxNorm", json!({"max_value": 2.0, "axis": 0}));
        own["module"] = json!("my_package");
        for other in [own, of("RadialConstraint", json!({})), json!("centered"), of("MaxNorm", json!({"axis": "rows"}))]
        {
            let read: Constraint = read_kept(other.clone());
            assert!(read.kept().is_some() && write_kept(&read) == other, "{other}");
        }
        assert_eq!(read_kept::<Constraint>(json!("non_neg")), Constraint::non_neg());
    }
}
