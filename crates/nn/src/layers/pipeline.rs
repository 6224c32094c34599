//! `Pipeline`: preprocessing layers that follow each other.

use engraft_ir::ValueId;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::options::single;
use super::registry::from_object;
use crate::layer::Layer;
use crate::layer_def::LayerDef;
use crate::lowering::Lowering;
use crate::{DType, Error, ErrorKind, Result, Shape};

/// Layers without weights that follow each other (Keras' `Pipeline`). Keras counts them as one layer.
///
/// ```
/// use engraft_nn::{Program, prelude::*, layers::from_config};
/// let rescaling = serde_json::json!({"class_name": "Rescaling", "config": {"name": "scale", "scale": 0.5}});
/// let config = serde_json::json!({"name": "preprocessing", "layers": [rescaling, rescaling]});
/// let pipeline = from_config("Pipeline", config.as_object().unwrap().clone())?;
/// let x = Input::new([8, 8, 3]);
/// assert_eq!(Program::of(&Model::new(&x, &pipeline.call(&x)?)?, false, 0)?.steps.len(), 2);
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Debug, Deserialize)]
#[serde(try_from = "Config")]
pub struct Pipeline {
    /// The layers as the file has them, which are written back.
    objects: Vec<Value>,
    layers: Vec<Layer>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    layers: Vec<Value>,
}

impl TryFrom<Config> for Pipeline {
    type Error = Error;

    fn try_from(Config { layers: objects }: Config) -> Result<Self> {
        let layers = objects.iter().map(|object| from_object("layers", object)).collect::<Result<_>>()?;
        Ok(Self { objects, layers })
    }
}

impl LayerDef for Pipeline {
    fn class_name(&self) -> &'static str {
        "Pipeline"
    }

    fn common_options(&self) -> &'static [&'static str] {
        &[]
    }

    fn config(&self) -> Map<String, Value> {
        Map::from_iter([("layers".to_owned(), Value::from(self.objects.clone()))])
    }

    fn build(&self, inputs: &[Shape]) -> Result<()> {
        let mut shape = single(inputs)?.clone();
        for layer in &self.layers {
            layer.build(std::slice::from_ref(&shape))?;
            if !layer.weights().is_empty() {
                return Err(Error::new(layer.place(), "a layer without weights in a Pipeline", "weights")
                    .with_kind(ErrorKind::Unsupported)
                    .hint("save the model with the layers one by one instead of a Pipeline"));
            }
            shape = layer.def().output_shape(&[shape])?;
        }
        Ok(())
    }

    fn output_shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let first = single(inputs)?.clone();
        self.layers.iter().try_fold(first, |shape, layer| layer.def().output_shape(&[shape]))
    }

    fn output_dtype(&self, inputs: &[DType]) -> Result<DType> {
        let first = DType::common(inputs);
        self.layers.iter().try_fold(first, |dtype, layer| layer.def().output_dtype(&[dtype]))
    }

    fn lower(&self, to: &mut Lowering<'_>, inputs: &[ValueId]) -> Result<ValueId> {
        let first = (inputs[0], to.input_dtypes().to_vec());
        let last = self.layers.iter().try_fold(first, |(value, dtypes), layer| {
            let dtype = layer.def().output_dtype(&dtypes)?;
            Ok::<_, Error>((to.call(layer, &[value], dtypes)?, vec![dtype]))
        });
        Ok(last?.0)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::Program;
    use crate::layers::from_config;
    use crate::prelude::*;

    fn pipeline(layers: Value) -> Result<Layer> {
        let config = json!({"name": "p", "layers": layers});
        from_config("Pipeline", config.as_object().unwrap().clone())
    }

    #[test]
    fn random_layers_act_in_training_alone() {
        let flip = json!({"module": "keras.layers", "class_name": "RandomFlip", "config": {"name": "flip"}, "registered_name": null});
        let crop = json!({"class_name": "CenterCrop", "config": {"name": "crop", "height": 4, "width": 4}});
        let layer = pipeline(json!([flip, crop])).unwrap();
        assert_eq!(layer.def().config()["layers"], json!([flip, crop]));
        let x = Input::new([8, 8, 3]);
        let model = Model::new(&x, &layer.call(&x).unwrap()).unwrap();
        assert_eq!(model.output_shape(), &[4, 4, 3]);
        let steps = |training| Program::of(&model, training, 0).unwrap().steps.len();
        assert_eq!((steps(false), steps(true)), (1, 2));
    }

    #[test]
    fn other_classes_and_weights_are_refused() {
        let custom = json!({"module": "my", "class_name": "Rescaling", "config": {"name": "r", "scale": 1}});
        let adapted = json!({"class_name": "Normalization", "config": {"name": "n"}});
        let nested = json!({"class_name": "Lambda", "config": {"name": "f"}});
        for (layers, expected) in [
            (json!([custom]), "layers of Keras itself"),
            (json!([adapted]), "layer `n` (Normalization): expected a layer without weights in a Pipeline"),
            (json!([nested]), "a Lambda layer holds Python code"),
            (json!([3]), "layers of Keras itself"),
        ] {
            let error = pipeline(layers).and_then(|layer| layer.call(&Input::new([8, 8, 3]))).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
