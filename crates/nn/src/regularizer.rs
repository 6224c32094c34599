//! Regularizers: penalties on weights (Keras' `keras.regularizers`).

use serde::{Deserialize, Serialize};

use crate::keras_object::{Kept, UnknownObject};

crate::keras_object::optional_object!(object, crate::Regularizer);

/// A penalty on a weight that is added to the loss, as in `keras.regularizers`: `l1 Σ|w| + l2 Σw²`, or one on angles.
///
/// ```
/// use engraft_nn::Regularizer;
/// assert_eq!(Regularizer::l1(0.001).factors(), (0.001, 0.0));
/// assert_eq!(Regularizer::l2(0.01).factors(), (0.0, 0.01));
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "class_name", content = "config", deny_unknown_fields)]
#[expect(missing_docs, reason = "fields are Keras' arguments of the same names")]
pub enum Regularizer {
    /// `l1 Σ|w|`
    L1 { l1: f32 },
    /// `l2 Σw²`
    L2 { l2: f32 },
    /// `l1 Σ|w| + l2 Σw²`
    #[serde(rename = "L1L2")]
    L1L2 { l1: f32, l2: f32 },
    /// `factor` times the mean of `|cos|` of the angles between the rows, or the columns, of a matrix.
    #[serde(rename = "OrthogonalRegularizer")]
    Orthogonal {
        #[serde(default = "orthogonal_factor")]
        factor: f32,
        #[serde(default)]
        mode: OrthogonalMode,
    },
    /// Another penalty of a file. Training a weight with it is refused.
    #[serde(skip)]
    Unknown(UnknownObject),
}

/// Which vectors of a matrix an orthogonal regularizer makes orthogonal to each other.
///
/// ```
/// use engraft_nn::{OrthogonalMode, Regularizer};
/// let regularizer = Regularizer::Orthogonal { factor: 0.01, mode: OrthogonalMode::Columns };
/// assert!(!regularizer.is_elementwise());
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrthogonalMode {
    /// The rows.
    #[default]
    Rows,
    /// The columns.
    Columns,
}

/// Keras' default factor of an orthogonal regularizer.
fn orthogonal_factor() -> f32 {
    0.01
}

impl Kept for Regularizer {
    const MODULE: &'static str = "keras.regularizers";

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

impl Regularizer {
    /// `l1 Σ|w|`
    pub fn l1(l1: f32) -> Self {
        Self::L1 { l1 }
    }

    /// `l2 Σw²`
    pub fn l2(l2: f32) -> Self {
        Self::L2 { l2 }
    }

    /// Whether the penalty is a sum over the values of a weight, so that parts of the weight can be updated one by one.
    pub fn is_elementwise(&self) -> bool {
        !matches!(self, Self::Orthogonal { .. })
    }

    /// The factors `(l1, l2)`; 0 for an orthogonal penalty, and for an unknown one, which no plan with a loss contains.
    pub fn factors(&self) -> (f32, f32) {
        match *self {
            Self::L1 { l1 } => (l1, 0.0),
            Self::L2 { l2 } => (0.0, l2),
            Self::L1L2 { l1, l2 } => (l1, l2),
            Self::Orthogonal { .. } | Self::Unknown(_) => (0.0, 0.0),
        }
    }
}
