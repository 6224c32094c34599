//! `Identity` and `ActivityRegularization`: layers whose output is their input.

use engraft_ir::ValueId;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::options::{config_of, single};
use crate::layer_def::LayerDef;
use crate::lowering::Lowering;
use crate::{DType, Error, Regularizer, Result, Shape};

/// Returns its input (Keras' `Identity`): a place in a model that has a name.
///
/// ```
/// use engraft_nn::{Program, prelude::*, layers::Identity};
/// let x = Input::new([4]);
/// let model = Model::new(&x, &Identity::new().named("features").call(&x)?)?;
/// assert!(Program::of(&model, true, 0)?.steps.is_empty());
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {}

impl Identity {
    /// The layer; it has no options.
    pub fn new() -> Self {
        Self::default()
    }
}

impl LayerDef for Identity {
    fn class_name(&self) -> &'static str {
        "Identity"
    }

    fn config(&self) -> Map<String, Value> {
        Map::new()
    }

    fn output_shape(&self, inputs: &[Shape]) -> Result<Shape> {
        single(inputs).cloned()
    }

    fn output_dtype(&self, inputs: &[DType]) -> Result<DType> {
        Ok(DType::common(inputs))
    }

    fn lower(&self, _: &mut Lowering<'_>, inputs: &[ValueId]) -> Result<ValueId> {
        Ok(inputs[0])
    }
}

/// Returns its input and adds a penalty on it to the loss (Keras' `ActivityRegularization`).
///
/// The penalty is `l1 Σ|x| + l2 Σx²`, divided by the batch size.
///
/// ```
/// use engraft_nn::{LayerDef, prelude::*, layers::ActivityRegularization};
/// let sparse = ActivityRegularization::new().l1(0.01).l2(0.001);
/// assert_eq!(sparse.config()["l2"], 0.001f32);
/// assert_eq!(sparse.call(&Input::new([4]))?.shape(), &[4]);
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ActivityRegularization {
    #[serde(default)]
    l1: f32,
    #[serde(default)]
    l2: f32,
}

impl ActivityRegularization {
    /// A layer without a penalty; set its factors with [`l1`](Self::l1) and [`l2`](Self::l2).
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the factor of the sum of magnitudes, at least 0.
    #[must_use]
    pub fn l1(mut self, factor: f32) -> Self {
        self.l1 = factor;
        self
    }

    /// Sets the factor of the sum of squares, at least 0.
    #[must_use]
    pub fn l2(mut self, factor: f32) -> Self {
        self.l2 = factor;
        self
    }
}

impl LayerDef for ActivityRegularization {
    fn class_name(&self) -> &'static str {
        "ActivityRegularization"
    }

    fn config(&self) -> Map<String, Value> {
        config_of(self)
    }

    fn output_shape(&self, inputs: &[Shape]) -> Result<Shape> {
        match [self.l1, self.l2].iter().find(|factor| **factor < 0.0 || factor.is_nan()) {
            Some(factor) => Err(Error::new("l1 and l2", "factors of at least 0", factor)),
            None => single(inputs).cloned(),
        }
    }

    fn output_dtype(&self, inputs: &[DType]) -> Result<DType> {
        Ok(DType::common(inputs))
    }

    fn lower(&self, to: &mut Lowering<'_>, inputs: &[ValueId]) -> Result<ValueId> {
        to.penalize_output(Some(&Regularizer::L1L2 { l1: self.l1, l2: self.l2 }));
        Ok(inputs[0])
    }
}
