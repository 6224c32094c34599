//! `keras.ops.stop_gradient`: the tensor itself, as a constant for training.

use engraft_ir::ValueId;
use serde_json::{Map, Value};

use super::super::options::single;
use super::arithmetic::NoOptions;
use super::{one_tensor, options};
use crate::layer_def::LayerDef;
use crate::lowering::Lowering;
use crate::{Error, ErrorKind, Result, Shape};

pub(super) fn stop_gradient(config: &Map<String, Value>, arguments: &[Value]) -> Result<Box<dyn LayerDef>> {
    options::<NoOptions>(config)?;
    one_tensor(arguments)?;
    Ok(Box::new(StopGradient))
}

/// Passes its input on. Where trainable weights precede it, training is refused: their gradients would pass it.
#[derive(Debug)]
struct StopGradient;

impl LayerDef for StopGradient {
    fn class_name(&self) -> &'static str {
        "StopGradient"
    }

    fn config(&self) -> Map<String, Value> {
        Map::new()
    }

    fn output_shape(&self, inputs: &[Shape]) -> Result<Shape> {
        single(inputs).cloned()
    }

    fn lower(&self, to: &mut Lowering<'_>, inputs: &[ValueId]) -> Result<ValueId> {
        if to.training() && to.depends_on_trainable_weights(inputs[0]) {
            return Err(Error::because("training", "stop_gradient after trainable layers is not implemented")
                .with_kind(ErrorKind::Unsupported)
                .hint("freeze the layers before it; the model predicts as it is"));
        }
        Ok(inputs[0])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Program;
    use crate::layers::{operation_from_config, tensor_argument};
    use crate::prelude::*;

    #[test]
    fn only_frozen_layers_may_precede_it_in_training() {
        let x = Input::new([4]);
        let low = Dense::new(3).named("low");
        let stop = operation_from_config("StopGradient", Map::new(), vec![tensor_argument()]).unwrap();
        let y = stop.call(&low.call(&x).unwrap()).unwrap();
        let model = Model::new(&x, &Dense::new(2).call(&y).unwrap()).unwrap();
        assert_eq!(Program::of(&model, false, 0).unwrap().steps.len(), 2);
        let error = Program::of(&model, true, 0).unwrap_err().to_string();
        assert!(error.contains("stop_gradient after trainable layers") && error.contains("freeze"), "{error}");
        low.set_trainable(false);
        assert_eq!(Program::of(&model, true, 0).unwrap().steps.len(), 2);
    }
}
