//! `SpectralNormalization`: a layer whose kernel training divides by its spectral norm.

use engraft_ir::ValueId;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::registry::from_object;
use crate::layer::Layer;
use crate::layer_def::LayerDef;
use crate::lowering::Lowering;
use crate::weight::WeightSpec;
use crate::{Error, ErrorKind, Initializer, Result, Shape};

/// The place of `vector_u` among the weights: Keras lists it after the kernel.
const VECTOR_U: usize = 1;

/// A layer with a kernel of spectral norm 1 (Keras' `SpectralNormalization`; Miyato et al. 2018, arXiv:1802.05957).
///
/// Predictions are those of the layer inside: Keras normalizes the kernel in training alone, before each step. Training
/// is refused here, as it changes weights during the forward pass.
///
/// ```
/// use engraft_nn::{Program, prelude::*, layers::from_config};
/// let dense = serde_json::json!({"class_name": "Dense", "config": {"name": "dense", "units": 2}});
/// let config = serde_json::json!({"name": "top", "layer": dense, "power_iterations": 1});
/// let top = from_config("SpectralNormalization", config.as_object().unwrap().clone())?;
/// let model = Sequential::new().add(Input::new([4])).add(&top).build()?;
/// let names: Vec<String> = top.weights().iter().map(|weight| weight.path()).collect();
/// assert_eq!(names, ["top/kernel", "top/vector_u", "top/bias"]);
/// assert_eq!(Program::of(&model, false, 0)?.steps.len(), 1);
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Debug, Deserialize)]
#[serde(try_from = "Config")]
pub struct SpectralNormalization {
    /// The layer inside as the file has it, which is written back.
    object: Value,
    /// The layer inside. Its weights belong to the wrapper, so it is never built.
    layer: Layer,
    power_iterations: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    layer: Value,
    #[serde(default = "one")]
    power_iterations: usize,
}

fn one() -> usize {
    1
}

impl TryFrom<Config> for SpectralNormalization {
    type Error = Error;

    fn try_from(Config { layer: object, power_iterations }: Config) -> Result<Self> {
        if power_iterations == 0 {
            return Err(Error::new("power_iterations", "at least 1", 0));
        }
        let layer = from_object("layer", &object)?;
        if layer.def_as::<Self>().is_some() {
            return Err(Error::new(
                layer.place(),
                "a layer that is wrapped once",
                "another SpectralNormalization inside",
            )
            .with_kind(ErrorKind::Unsupported));
        }
        Ok(Self { object, layer, power_iterations })
    }
}

impl SpectralNormalization {
    /// The layer that the wrapper normalizes.
    pub fn layer(&self) -> &Layer {
        &self.layer
    }

    /// The layer inside as files have it, with its `trainable` flags of now.
    fn object(&self) -> Value {
        let mut object = self.object.clone();
        if object["config"]["trainable"] != Value::Null || !self.layer.trainable() {
            object["config"]["trainable"] = self.layer.trainable().into();
        }
        if !self.layer.def().layers_inside().is_empty() {
            object["config"]["activation"] = self.layer.def().config()["activation"].clone();
        }
        object
    }

    /// The number of the weight in the layer inside; `None` for `vector_u`.
    fn inner_index(index: usize) -> Option<usize> {
        match index {
            0 => Some(0),
            VECTOR_U => None,
            after => Some(after - 1),
        }
    }
}

impl LayerDef for SpectralNormalization {
    fn class_name(&self) -> &'static str {
        "SpectralNormalization"
    }

    fn config(&self) -> Map<String, Value> {
        let options = [("layer", self.object()), ("power_iterations", self.power_iterations.into())];
        options.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    fn weight_path(&self, index: usize) -> String {
        match Self::inner_index(index) {
            Some(inner) => format!("layer/{}", self.layer.def().weight_path(inner)),
            None => format!("vars/{VECTOR_U}"),
        }
    }

    fn layers_inside(&self) -> Vec<Layer> {
        vec![self.layer.clone()]
    }

    fn layer_of_weight(&self, index: usize) -> Option<Layer> {
        let index = Self::inner_index(index)?;
        self.layer.def().layer_of_weight(index).or_else(|| Some(self.layer.clone()))
    }

    fn may_lack_weight(&self, index: usize) -> bool {
        Self::inner_index(index).is_some_and(|index| self.layer.def().may_lack_weight(index))
    }

    /// The kernel is an array of the wrapper, too.
    fn copied_weights(&self) -> &'static [(usize, &'static str)] {
        &[(0, "vars/0")]
    }

    fn build(&self, inputs: &[Shape]) -> Result<()> {
        self.layer.def().build(inputs).map_err(|error| error.within(self.layer.place()))
    }

    fn output_shape(&self, inputs: &[Shape]) -> Result<Shape> {
        self.layer.def().output_shape(inputs).map_err(|error| error.within(self.layer.place()))
    }

    fn weights(&self, inputs: &[Shape]) -> Result<Vec<WeightSpec>> {
        let within = |error: Error| error.within(self.layer.place());
        let mut weights = self.layer.def().weights(inputs).map_err(within)?;
        let kernel = weights.first().filter(|weight| matches!(&*weight.name, "kernel" | "embeddings"));
        let Some(columns) = kernel.and_then(|kernel| kernel.shape.last().copied()) else {
            let names: Vec<&str> = weights.iter().map(|weight| &*weight.name).collect();
            return Err(within(Error::new("weights", "a kernel or embeddings", format_args!("{names:?}"))));
        };
        let vector_u = WeightSpec {
            name: "vector_u".into(),
            shape: vec![1, columns],
            initializer: Initializer::TruncatedNormal { mean: 0.0, stddev: 0.02, seed: None },
            trainable: false,
            regularizer: None,
            constraint: None,
        };
        weights.insert(VECTOR_U, vector_u);
        Ok(weights)
    }

    fn lower(&self, to: &mut Lowering<'_>, inputs: &[ValueId]) -> Result<ValueId> {
        if to.training() {
            return Err(Error::because("training", "spectral normalization is not implemented")
                .with_kind(ErrorKind::Unsupported)
                .hint("the model predicts as it is; to train it here, save it in Keras with the layer alone, without the wrapper"));
        }
        let mut weights = to.own_weights().to_vec();
        weights.remove(VECTOR_U);
        to.part(weights, Some(&self.layer), |to| self.layer.def().lower(to, inputs))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::Program;
    use crate::layers::from_config;
    use crate::prelude::*;

    fn wrapped(class: &str, config: Value) -> Result<Layer> {
        let inner = json!({"module": "keras.layers", "class_name": class, "config": config, "registered_name": null});
        let config = json!({"name": "s", "layer": inner, "power_iterations": 2});
        from_config("SpectralNormalization", config.as_object().unwrap().clone())
    }

    fn conv() -> Value {
        json!({"name": "conv", "filters": 4, "kernel_size": 3, "activation": "relu"})
    }

    #[test]
    fn the_kernel_has_a_vector_beside_it() {
        let layer = wrapped("Conv2D", conv()).unwrap();
        let x = Input::new([8, 8, 3]);
        let model = Model::new(&x, &layer.call(&x).unwrap()).unwrap();
        let shapes: Vec<_> = layer.weights().iter().map(|weight| weight.shape().to_vec()).collect();
        assert_eq!(shapes, [vec![3, 3, 3, 4], vec![1, 4], vec![4]]);
        assert_eq!(layer.trainable_weights().len(), 2);
        assert_eq!([0, 1, 2].map(|index| layer.def().weight_path(index)), ["layer/vars/0", "vars/1", "layer/vars/1"]);
        let program = Program::of(&model, false, 0).unwrap();
        let used: Vec<String> = program.weights().iter().map(|param| param.weight.path()).collect();
        assert_eq!(used, ["s/kernel", "s/bias"]);
        let config = layer.def().config();
        assert_eq!((&config["layer"]["config"], &config["power_iterations"]), (&conv(), &json!(2)));
    }

    // As Keras 3.15, where the wrapper's option doesn't reach the weights of the layer inside.
    #[test]
    fn the_flag_of_the_layer_inside_decides() {
        for (of_wrapper, of_layer) in [(true, false), (false, true)] {
            let mut config = conv();
            config["trainable"] = of_layer.into();
            let layer = wrapped("Conv2D", config).unwrap();
            layer.set_own_trainable(of_wrapper);
            let model = Sequential::new().add(Input::new([8, 8, 3])).add(&layer).build().unwrap();
            assert_eq!(model.trainable_weights().len(), if of_layer { 2 } else { 0 });
            for flag in [true, false] {
                layer.set_trainable(flag);
                assert_eq!(model.trainable_weights().len(), if flag { 2 } else { 0 });
                assert_eq!(layer.def().config()["layer"]["config"]["trainable"], flag);
            }
        }
    }

    #[test]
    fn training_and_layers_without_a_kernel_are_refused() {
        let model = |layer: Layer| Sequential::new().add(Input::new([8, 8, 3])).add(layer).build();
        let trained = wrapped("Conv2D", conv()).and_then(model).and_then(|model| Program::of(&model, true, 0));
        let dense = json!({"class_name": "Dense", "config": {"name": "d", "units": 2}});
        let twice = json!({"name": "t", "layer": dense});
        for (error, expected) in [
            (
                trained.unwrap_err(),
                "layer `s` (SpectralNormalization), training: spectral normalization is not implemented",
            ),
            (
                wrapped("BatchNormalization", json!({"name": "b"})).and_then(model).unwrap_err(),
                "layer `b` (BatchNormalization), weights: expected a kernel or embeddings, received [\"gamma\"",
            ),
            (wrapped("SpectralNormalization", twice).unwrap_err(), "expected a layer that is wrapped once"),
            (wrapped("Lambda", json!({"name": "f"})).unwrap_err(), "a Lambda layer holds Python code"),
        ] {
            assert!(error.to_string().contains(expected), "{error}");
        }
    }
}
