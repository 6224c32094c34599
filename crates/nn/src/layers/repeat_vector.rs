//! `RepeatVector`: copies of a vector along a new axis.

use engraft_ir::ValueId;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::expression::{self, Expression, Operand};
use super::options::config_of;
use crate::Shape;
use crate::layer_def::LayerDef;
use crate::lowering::Lowering;
use crate::{DType, Error, Result};

/// Repeats a vector `n` times: `[features]` to `[n, features]` (Keras' `RepeatVector`).
///
/// ```
/// use engraft_nn::prelude::*;
/// assert_eq!(RepeatVector::new(4).call(&Input::new([8]))?.shape(), &[4, 8]);
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RepeatVector {
    n: usize,
}

impl RepeatVector {
    /// A layer that makes `n` copies.
    pub fn new(n: usize) -> Self {
        Self { n }
    }

    fn compute(&self, e: &mut Expression, x: &[Operand]) -> Result<Operand> {
        match x {
            &[x] if e.shape(x).len() == 1 => {
                let features = e.shape(x)[0];
                let row = e.reshape_to(x, vec![1, features])?;
                e.gather(row, 0, self.n, |_| 0)
            }
            _ => {
                let shapes: Vec<&Shape> = x.iter().map(|&x| e.shape(x)).collect();
                Err(Error::new("inputs", "one vector", format_args!("{shapes:?}")))
            }
        }
    }
}

impl LayerDef for RepeatVector {
    fn class_name(&self) -> &'static str {
        "RepeatVector"
    }

    fn config(&self) -> Map<String, Value> {
        config_of(self)
    }

    fn output_shape(&self, inputs: &[Shape]) -> Result<Shape> {
        expression::output_shape(inputs, |e, x| self.compute(e, x))
    }

    fn output_dtype(&self, inputs: &[DType]) -> Result<DType> {
        Ok(DType::common(inputs))
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
    fn vectors_alone_are_repeated() {
        let error = RepeatVector::new(2).call(&Input::new([4, 4])).unwrap_err().to_string();
        assert!(error.contains("one vector"), "{error}");
        assert!(RepeatVector::new(usize::MAX).call(&Input::new([4])).is_err());
    }
}
