//! Regularizers: penalties on weights (Keras' `keras.regularizers`).

use serde::{Deserialize, Serialize};

use crate::keras_object::{Kept, UnknownObject};

crate::keras_object::optional_object!(object, crate::Regularizer);

/// A penalty on a weight that is added to the loss: `l1 Σ|w| + l2 Σw²`, as in `keras.regularizers`.
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
    /// Another penalty of a file. Training a weight with it is refused.
    #[serde(skip)]
    Unknown(UnknownObject),
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

    /// The factors `(l1, l2)`; 0 for an unknown penalty, which no plan with a loss contains.
    pub fn factors(&self) -> (f32, f32) {
        match *self {
            Self::L1 { l1 } => (l1, 0.0),
            Self::L2 { l2 } => (0.0, l2),
            Self::L1L2 { l1, l2 } => (l1, l2),
            Self::Unknown(_) => (0.0, 0.0),
        }
    }
}
