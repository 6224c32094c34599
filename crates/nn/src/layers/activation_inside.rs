//! A layer whose activation is a layer that no function stands for: `Conv2D(8, 3, activation=PReLU())` in Keras.

use std::sync::OnceLock;

use engraft_ir::ValueId;
use serde_json::{Map, Value, json};

use super::registry::{from_object, is_known};
use crate::activation::ActivationFn;
use crate::layer::Layer;
use crate::layer_def::LayerDef;
use crate::lowering::Lowering;
use crate::weight::WeightSpec;
use crate::{Error, Result, Shape};

/// A layer and its activation, which follow each other. All weights belong to the pair, so neither is ever built. As in Keras, the
/// pair and its activation have a `trainable` flag each.
#[derive(Debug)]
pub(super) struct ActivationInside {
    /// The layer, with a linear activation.
    layer: Layer,
    activation: Layer,
    /// The policy of the activation as the file has it.
    dtype: Option<Value>,
    /// Whether Keras had created the weights of the activation when it saved the pair: it writes their shape then.
    is_created: bool,
    built: OnceLock<Built>,
}

/// What depends on the shape of the first input.
#[derive(Debug)]
struct Built {
    /// Number of weights of the layer, which precede those of the activation.
    layer_weights: usize,
    /// The shape of the layer's output, the input of the activation.
    shape: Shape,
}

/// Removes an activation that is a layer from a config, if [`ActivationFn`] doesn't have it.
pub(super) fn take_activation(config: &mut Map<String, Value>) -> Option<Value> {
    let object = config.get("activation").filter(|value| value.is_object())?;
    let known = object["class_name"].as_str().is_some_and(is_known);
    let inside = known && serde_json::from_value::<ActivationFn>(object.clone()).is_err();
    inside.then(|| config.insert("activation".into(), "linear".into())).flatten()
}

impl ActivationInside {
    /// A layer with the activation of a serialized object.
    pub(super) fn new(layer: Layer, object: &Value) -> Result<Self> {
        let activation = from_object("activation", object)?;
        let dtype = object["config"].get("dtype").cloned();
        let is_created = object.get("build_config").is_some_and(|config| !config.is_null());
        Ok(Self { layer, activation, dtype, is_created, built: OnceLock::new() })
    }

    /// Keras' object of the activation. Its `build_config` makes Keras create the weights when it opens a file.
    fn object(&self) -> Value {
        let def = self.activation.def();
        let common =
            [("name", Some(self.activation.name().into())), ("trainable", Some(self.activation.trainable().into()))];
        let common = common.into_iter().chain([("dtype", self.dtype.clone())]);
        let common = common.filter(|(option, _)| *option == "name" || def.common_options().contains(option));
        let mut config: Map<_, _> = common.filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
        config.extend(def.config());
        let (module, class_name) = (def.module(), def.class_name());
        let mut object = json!({"module": module, "class_name": class_name, "config": config, "registered_name": null});
        if let Some(Built { shape, .. }) = self.built.get() {
            let sizes = std::iter::once(Value::Null).chain(shape.iter().map(|&size| size.into()));
            object["build_config"] = json!({"input_shape": sizes.collect::<Vec<_>>()});
        }
        object
    }

    fn layer_weights(&self) -> usize {
        self.built.get().map_or(usize::MAX, |built| built.layer_weights)
    }

    fn in_activation(&self, error: Error) -> Error {
        error.within(format_args!("activation {}", self.activation.class_name()))
    }
}

impl LayerDef for ActivationInside {
    fn class_name(&self) -> &'static str {
        self.layer.class_name()
    }

    fn config(&self) -> Map<String, Value> {
        let mut config = self.layer.def().config();
        config.insert("activation".into(), self.object());
        config
    }

    fn weight_path(&self, index: usize) -> String {
        match index.checked_sub(self.layer_weights()) {
            None => self.layer.def().weight_path(index),
            Some(index) => format!("activation/{}", self.activation.def().weight_path(index)),
        }
    }

    fn may_lack_weight(&self, index: usize) -> bool {
        !self.is_created && index >= self.layer_weights()
    }

    fn layers_inside(&self) -> Vec<Layer> {
        vec![self.activation.clone()]
    }

    fn layer_of_weight(&self, index: usize) -> Option<Layer> {
        let index = index.checked_sub(self.layer_weights())?;
        self.activation.def().layer_of_weight(index).or_else(|| Some(self.activation.clone()))
    }

    fn build(&self, inputs: &[Shape]) -> Result<()> {
        self.layer.def().build(inputs)?;
        let shape = self.layer.def().output_shape(inputs)?;
        self.activation.def().build(std::slice::from_ref(&shape)).map_err(|error| self.in_activation(error))?;
        let layer_weights = self.layer.def().weights(inputs)?.len();
        self.built.get_or_init(|| Built { layer_weights, shape });
        Ok(())
    }

    fn output_shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let shape = [self.layer.def().output_shape(inputs)?];
        self.activation.def().output_shape(&shape).map_err(|error| self.in_activation(error))
    }

    fn weights(&self, inputs: &[Shape]) -> Result<Vec<WeightSpec>> {
        let mut weights = self.layer.def().weights(inputs)?;
        let shape = [self.layer.def().output_shape(inputs)?];
        let inside = self.activation.def().weights(&shape).map_err(|error| self.in_activation(error))?;
        weights.extend(
            inside.into_iter().map(|weight| WeightSpec {
                name: format!("{}/{}", self.activation.name(), weight.name).into(),
                ..weight
            }),
        );
        Ok(weights)
    }

    fn lower(&self, to: &mut Lowering<'_>, inputs: &[ValueId]) -> Result<ValueId> {
        let mut weights = to.own_weights().to_vec();
        let inside = weights.split_off(self.layer_weights().min(weights.len()));
        let y = to.part(weights, None, |to| self.layer.def().lower(to, inputs))?;
        let activated = to.part(inside, Some(&self.activation), |to| self.activation.def().lower(to, &[y]));
        activated.map_err(|error| self.in_activation(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::from_config;
    use crate::prelude::*;
    use crate::{Program, Trainability, layers::SpectralNormalization};

    fn conv(activation: &Value) -> Value {
        json!({"name": "conv", "filters": 4, "kernel_size": 3, "activation": activation})
    }

    fn object(class: &str, config: Value) -> Value {
        json!({"module": "keras.layers", "class_name": class, "config": config, "registered_name": null})
    }

    fn read(class: &str, config: Value) -> Result<Layer> {
        from_config(class, config.as_object().unwrap().clone())
    }

    fn prelu() -> Value {
        object("PReLU", json!({"name": "p_re_lu_1", "trainable": true, "dtype": "float32", "shared_axes": [1, 2]}))
    }

    #[test]
    fn weights_follow_those_of_the_layer() {
        let layer = read("Conv2D", conv(&prelu())).unwrap();
        let y = layer.call(&Input::new([8, 8, 3])).unwrap();
        assert_eq!((y.shape(), layer.class_name()), (&[6, 6, 4][..].to_vec(), "Conv2D"));
        let paths: Vec<String> = layer.weights().iter().map(|weight| weight.path()).collect();
        assert_eq!(paths, ["conv/kernel", "conv/bias", "conv/p_re_lu_1/alpha"]);
        assert_eq!([1, 2].map(|index| layer.def().weight_path(index)), ["vars/1", "activation/vars/0"]);
        let model = Sequential::new().add(Input::new([8, 8, 3])).add(&layer).build().unwrap();
        let program = Program::of(&model, true, 0).unwrap();
        let weights: Vec<usize> = program.steps.iter().map(|step| step.weights.len()).collect();
        assert_eq!(weights, [2, 1]);
    }

    #[test]
    fn the_activation_is_written_with_the_shape_of_its_input() {
        let layer = read("Conv2D", conv(&prelu())).unwrap();
        layer.build(&[vec![8, 8, 3]]).unwrap();
        let mut config = layer.def().config();
        let written = &config["activation"];
        assert_eq!(written["build_config"], json!({"input_shape": [null, 6, 6, 4]}));
        let inside = &written["config"];
        assert_eq!((&inside["name"], &inside["trainable"]), (&json!("p_re_lu_1"), &json!(true)));
        assert_eq!((&inside["dtype"], &inside["shared_axes"]), (&json!("float32"), &json!([1, 2])));
        config.insert("name".into(), "again".into());
        let again = from_config("Conv2D", config).unwrap();
        again.build(&[vec![8, 8, 3]]).unwrap();
        assert_eq!(again.def().config(), layer.def().config());
    }

    /// The weights that a step trains.
    fn trained(model: &Model) -> Vec<String> {
        let trained: Vec<String> = model.trainable_weights().iter().map(|weight| weight.path()).collect();
        let program = Program::of(model, true, 0).unwrap();
        let used = program.weights().into_iter().filter(|param| param.trainable).map(|param| param.weight.path());
        assert_eq!(used.collect::<Vec<_>>(), trained);
        trained
    }

    // Keras 3.15 lists these weights as trainable.
    #[test]
    fn the_layer_and_its_activation_have_a_flag_each() {
        let outer = |inside: &Value| object("Activation", json!({"name": "outer", "activation": inside}));
        for (of_layer, of_activation) in [(true, true), (true, false), (false, true), (false, false)] {
            let mut inside = prelu();
            inside["config"]["trainable"] = of_activation.into();
            for (activation, alpha) in
                [(&inside, "conv/p_re_lu_1/alpha"), (&outer(&inside), "conv/outer/p_re_lu_1/alpha")]
            {
                let mut config = conv(activation);
                config["trainable"] = of_layer.into();
                let layer = read("Conv2D", config).unwrap();
                let model = Sequential::new().add(Input::new([8, 8, 3])).add(&layer).build().unwrap();
                let of = |of_layer: bool, of_activation: bool| {
                    let kernel = ["conv/kernel", "conv/bias"].into_iter().filter(|_| of_layer);
                    kernel.chain([alpha].into_iter().filter(|_| of_activation)).map(String::from).collect::<Vec<_>>()
                };
                assert_eq!(trained(&model), of(of_layer, of_activation));
                assert_eq!(layer.def().config()["activation"].to_string().contains("false"), !of_activation);
                let loaded = Trainability::of(&model);
                for flag in [true, false] {
                    layer.set_trainable(flag);
                    assert_eq!(trained(&model), of(flag, flag));
                    assert_eq!(layer.def().config()["activation"].to_string().contains("true"), flag);
                }
                loaded.apply(&model);
                assert_eq!(trained(&model), of(of_layer, of_activation));
            }
        }
    }

    #[test]
    fn a_batch_normalization_frozen_alone_keeps_its_statistics() {
        for trainable in [true, false] {
            let config = json!({"name": "norm", "trainable": trainable});
            let layer = read("Conv2D", conv(&object("BatchNormalization", config))).unwrap();
            let model = Sequential::new().add(Input::new([8, 8, 3])).add(layer).build().unwrap();
            let program = Program::of(&model, true, 0).unwrap();
            let batch_statistics =
                |step: &crate::Step| matches!(step.op, engraft_ir::Op::BatchNorm { batch_statistics: true, .. });
            assert_eq!(program.steps.iter().any(batch_statistics), trainable);
        }
    }

    #[test]
    fn a_file_may_lack_weights_that_keras_had_not_created() {
        let mut created = prelu();
        created["build_config"] = json!({"input_shape": [null, 6, 6, 4]});
        for (activation, may_lack) in [(prelu(), true), (created, false)] {
            let wrapped = json!({"name": "s", "layer": object("Conv2D", conv(&activation))});
            for (layer, alpha) in
                [(read("Conv2D", conv(&activation)).unwrap(), 2), (read("SpectralNormalization", wrapped).unwrap(), 3)]
            {
                layer.build(&[vec![8, 8, 3]]).unwrap();
                let lacks = |index| layer.def().may_lack_weight(index);
                assert_eq!((lacks(alpha - 2), lacks(alpha)), (false, may_lack));
            }
        }
    }

    #[test]
    fn layers_nest() {
        let twice = object("Activation", json!({"name": "outer", "activation": prelu()}));
        let layer = read("Activation", json!({"name": "a", "activation": twice})).unwrap();
        layer.build(&[vec![4, 4, 2]]).unwrap();
        assert_eq!(layer.weights()[0].path(), "a/outer/p_re_lu_1/alpha");
        assert_eq!(layer.def().weight_path(0), "activation/activation/vars/0");

        let wrapped = json!({"name": "s", "layer": object("Conv2D", conv(&prelu()))});
        let layer = read("SpectralNormalization", wrapped).unwrap();
        assert!(layer.def_as::<SpectralNormalization>().is_some());
        layer.build(&[vec![8, 8, 3]]).unwrap();
        assert_eq!(layer.def().weight_path(3), "layer/activation/vars/0");
    }

    #[test]
    fn errors_name_the_activation() {
        for (activation, expected) in [
            (object("PReLU", json!({"name": "p", "slope": 1})), "option `slope`: unknown field"),
            (object("Blur", json!({"name": "p"})), "received an object of class `Blur`"),
            (
                object("PReLU", json!({"name": "p", "shared_axes": [7]})),
                "layer `conv` (Conv2D), activation PReLU, shared_axes: expected 1 to 3",
            ),
        ] {
            let built = read("Conv2D", conv(&activation)).and_then(|layer| layer.build(&[vec![8, 8, 3]]));
            let error = built.unwrap_err().to_string();
            assert!(error.starts_with("layer `conv` (Conv2D)") && error.contains(expected), "{error}");
        }
    }
}
