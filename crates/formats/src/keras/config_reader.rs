//! The reader of `config.json`: builds a model from Keras' serialized objects.
//!
//! Class names are looked up in a fixed list. Nothing that a file names is imported or run.
//! Functional models are read in `functional`; `config_writer` writes the same format.

use std::borrow::Cow;
use std::collections::HashMap;

use engraft_nn::layers::{CustomLayers, Input, InputLayer, from_config, operation_from_call};
use engraft_nn::{DTypePolicy, Error, ErrorKind, IntoLayer, Layer, Model, Result, Sequential, SymbolicTensor};
use serde_json::{Map, Value, json};

use super::functional::{self, LayerReader};
use super::load_options::LoadOptions;
use super::open_input::{self, OpenInputs};
use super::serialized_object::{
    ARGUMENTS, KEYWORDS, excerpt, is_module_of_keras, is_operation, layer_objects, model_name,
};
use super::{keras1, keras2, keras2_calls, version};

/// Limit on the depth of nested models, so that the recursion can't overflow the stack. No real model is nested as deep.
const MAX_NESTING: usize = 32;

/// Limit on the layer calls of a model with all nested models inlined.
///
/// If each level of nesting calls the next one twice, the number of calls is exponential in the depth.
const MAX_CALLS: usize = 100_000;

/// Limit on integers in a layer's config (units, filters, window sizes, …).
const MAX_NUMBER: u64 = 1 << 24;

/// Limit on the values in a layer's output for one sample: 1 GiB, or 4096 x 4096 pixels of 16 channels.
const MAX_VALUES: usize = 1 << 28;

/// Builds the layers of one file. The fields carry state from one object to later ones and to the finished model.
#[derive(Default)]
pub(super) struct ConfigReader {
    /// The layers built so far that have a `shared_object_id`, by this id. Keras gives an id to a layer in several models.
    shared: HashMap<u64, Layer>,
    /// Whether Keras 1 wrote the file.
    keras_1: bool,
    /// Whether Keras 2 or 1 wrote the file.
    keras_2: bool,
    /// The number of Sequential models without a name so far.
    unnamed: usize,
    /// The sizes of inputs whose size is open.
    open_inputs: OpenInputs,
    /// The layers of the program's own that the file may contain.
    custom_layers: CustomLayers,
    /// Warnings for the caller: what this reader changed in the model that the file describes, such as an input of open size that
    /// got a size.
    warnings: Vec<String>,
}

impl ConfigReader {
    /// A reader of files of this version of Keras.
    pub(super) fn new(version: Option<&str>, options: &LoadOptions) -> Self {
        let custom_layers = options.custom_layers.clone();
        let (keras_1, keras_2) = (version::is_keras_1(version), version::is_keras_2(version));
        Self { keras_1, keras_2, custom_layers, ..Self::default() }
    }

    /// Sets the sizes of inputs whose size is open.
    pub(super) fn open_inputs(self, open_inputs: OpenInputs) -> Self {
        Self { open_inputs, ..self }
    }

    /// Builds the model that a JSON object describes; also returns the warnings.
    pub(super) fn model(mut self, object: &Value) -> Result<(Model, Vec<String>)> {
        let object = if self.keras_1 { Cow::Owned(keras1::object(object)?) } else { Cow::Borrowed(object) };
        let layer = self.layer(&object, 0)?;
        let model = Model::from_layer(layer)?;
        let calls = count_calls(model.layer(), &mut HashMap::new());
        if calls > MAX_CALLS {
            return Err(Error::new(
                place(&model),
                format_args!("at most {MAX_CALLS} calls, nested models included"),
                calls,
            ));
        }
        if let Some(weight) = model.weights().iter().find(|weight| values(weight.shape()).is_none()) {
            let place = format!("weight `{}`", weight.path());
            return Err(Error::new(place, "a size that can be counted", format_args!("{:?}", weight.shape())));
        }
        self.warnings.extend(self.open_inputs.warnings(&model));
        Ok((model, self.warnings))
    }

    fn sequential(&mut self, config: &Map<String, Value>, depth: usize) -> Result<Layer> {
        let name = model_name(config, &["layers", "build_input_shape"])?;
        let within = |error: Error| error.within(format_args!("model `{name}`"));
        let objects = layer_objects(config).map_err(within)?;
        let mut sequential = Sequential::with_name(name.as_str());
        let mut input = None;
        for (index, object) in objects.iter().enumerate() {
            let layer = self.layer(object, depth + 1).map_err(within)?;
            if index == 0 && layer.def_as::<InputLayer>().is_some() {
                if let Some(size) = open_input::resized_to(objects.get(1)) {
                    self.resize(&layer, size);
                }
                input = Some(self.call(&layer, &[]).map_err(within)?);
            } else if let Some(open) = open_input::of_nested(&layer).filter(|_| index == 0) {
                let open = open.map_err(within)?;
                sequential = sequential.add(open.clone());
                input = Some(open);
            } else if index == 0
                && let Some(shape) = layer.input_shapes().and_then(|shapes| shapes.first())
            {
                input = Some(Input::new(shape.clone()));
            }
            sequential = sequential.add(layer);
        }
        let layer = sequential.into_layer();
        // Keras 2 has the input shape in the config of the first layer. A model that was never called has no input shape.
        let shape = config.get("build_input_shape").or_else(|| objects.first()?.pointer("/config/batch_input_shape"));
        if input.is_none() {
            input = shape.and_then(sample_shape).map(Input::new);
        }
        if let Some(input) = input {
            self.call(&layer, &[input]).map_err(within)?;
        }
        Ok(layer)
    }

    /// Calls the layers of a sequential model one by one, to refuse what they compute of `input`.
    fn check_chain(&self, model: &Layer, input: SymbolicTensor) -> Result<()> {
        let call = |x: SymbolicTensor, layer: &Layer| {
            if self.keras_2 {
                keras2_calls::check_chained(layer, &x)?;
            }
            self.call(layer, &[x])
        };
        model.layers().iter().try_fold(input, call).map(drop)
    }

    /// Converts a `Sequential` of Keras 2.0 to 2.2.2, whose config is the list of its layers, to the form of later versions: an object
    /// with `name` and `layers`. Returns `None` for any other object.
    fn with_named_layers(&mut self, class_name: &str, object: &Value) -> Option<Value> {
        let layers = object.get("config").filter(|config| config.is_array() && class_name == "Sequential")?;
        // Its file may lack the version.
        self.keras_2 = true;
        // As a layer of a functional model, the object has a name beside its config. Elsewhere the file has no name for it.
        let name = object.get("name").filter(|name| name.is_string()).cloned().unwrap_or_else(|| {
            self.unnamed += 1;
            format!("sequential_{}", self.unnamed).into()
        });
        let mut named = object.clone();
        named["config"] = json!({"name": name, "layers": layers});
        Some(named)
    }

    /// Builds a layer of the program's own.
    fn custom(&self, object: &Value, config: &Map<String, Value>) -> Result<Layer> {
        check_options(&object["class_name"].to_string(), config)?;
        self.custom_layers.read(object)?.ok_or_else(|| unknown_class("", object))
    }

    /// Builds a layer that contains no other layers.
    fn leaf(&self, class_name: &str, object: &Value, config: &Map<String, Value>) -> Result<Layer> {
        check_options(class_name, config)?;
        let (mut class_name, mut config) = (class_name, config.clone());
        if self.keras_2 {
            let name = config.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
            class_name = keras2::layer(class_name, &mut config)
                .map_err(|error| error.within(format_args!("layer `{name}` ({class_name})")))?;
        }
        if class_name == "InputLayer" {
            // An input has no weights, so the option `trainable` has no effect.
            config.remove("trainable");
        }
        if is_operation(object.get("module").and_then(Value::as_str).unwrap_or_default()) {
            // Keras writes the names of a few operations beside their configs alone.
            if let Some(name) = object.get("name").filter(|name| name.is_string() && !config.contains_key("name")) {
                config.insert("name".into(), name.clone());
            }
            let arguments = object.get(ARGUMENTS).and_then(Value::as_array).cloned().unwrap_or_default();
            let keywords = object.get(KEYWORDS).and_then(Value::as_object).cloned().unwrap_or_default();
            return operation_from_call(class_name, config, arguments, keywords);
        }
        from_config(class_name, config)
    }
}

impl LayerReader for ConfigReader {
    fn layer(&mut self, object: &Value, depth: usize) -> Result<Layer> {
        if depth > MAX_NESTING {
            return Err(Error::because("config.json", format_args!("models nested more than {MAX_NESTING} deep")));
        }
        let Some(class_name) = object.get("class_name").and_then(Value::as_str) else {
            return Err(Error::new("config.json", "an object with a class_name", excerpt(object)));
        };
        let id = object.get("shared_object_id").and_then(Value::as_u64);
        if let Some(layer) = id.and_then(|id| self.shared.get(&id)) {
            return Ok(layer.clone());
        }
        if let Some(named) = self.with_named_layers(class_name, object) {
            return self.layer(&named, depth);
        }
        let Some(config) = object.get("config").and_then(Value::as_object) else {
            return Err(Error::new(format_args!("{class_name} in config.json"), "a config", excerpt(object)));
        };
        let taught = self.custom_layers.contains(object);
        if self.keras_2
            && !taught
            && let Some(own) = keras2::registered_class(object)
        {
            return self.layer(&own, depth);
        }
        if let Some(base) = custom_model_base(class_name, config).filter(|_| !taught) {
            return Err(custom_model(class_name, object, base));
        }
        let custom = is_custom(object);
        if custom && !taught {
            let error = unknown_class(class_name, object);
            return Err(match config.get("name").and_then(Value::as_str) {
                Some(name) => error.within(format_args!("layer `{name}`")),
                None => error,
            });
        }
        let layer = match class_name {
            _ if custom => self.custom(object, config)?,
            "Functional" | "Model" => functional::read(self, config, depth)?,
            "Sequential" => self.sequential(config, depth)?,
            _ => self.leaf(class_name, object, config)?,
        };
        let trainable = match config.get("trainable") {
            None => true,
            Some(Value::Bool(trainable)) => *trainable,
            Some(other) => {
                let place = format!("layer `{}` ({class_name})", layer.name());
                return Err(Error::new(place, "trainable to be true or false", excerpt(other)));
            }
        };
        if matches!(class_name, "Functional" | "Model" | "Sequential") {
            let policy = DTypePolicy::parse(config.get("dtype").unwrap_or(&Value::Null));
            layer.set_dtype_policy(policy.map_err(|error| error.within(format_args!("model `{}`", layer.name())))?);
        }
        // A model's flag sets no flags of its layers here: the file has one for each. Keras' `Sequential.from_config` ignores the
        // model's own flag.
        layer.set_own_trainable(trainable || class_name == "Sequential");
        if let Some(id) = id {
            self.shared.insert(id, layer.clone());
        }
        Ok(layer)
    }

    /// Calls a layer. Refuses outputs that are empty or larger than [`MAX_VALUES`].
    fn call(&self, layer: &Layer, inputs: &[SymbolicTensor]) -> Result<SymbolicTensor> {
        let inputs = &*if self.keras_2 { keras2_calls::arguments(layer, inputs)? } else { Cow::Borrowed(inputs) };
        if layer.output_shape().is_none()
            && let [input] = inputs
        {
            // The first call of a Sequential builds all its layers. They are called one by one first, so that the size of each
            // output is checked before the next layer is built.
            self.check_chain(layer, input.clone())?;
        }
        let open = self.open_inputs.tensor(layer).filter(|_| inputs.is_empty());
        let output = open.unwrap_or_else(|| layer.call(inputs))?;
        match values(output.shape()) {
            Some(1..=MAX_VALUES) => Ok(output),
            _ => {
                let expected = format!("an output of 1 to {MAX_VALUES} numbers");
                Err(Error::new(
                    format_args!("layer `{}`", layer.name()),
                    expected,
                    format_args!("{:?}", output.shape()),
                ))
            }
        }
    }

    fn resize(&mut self, input: &Layer, size: [usize; 2]) {
        self.warnings.extend(self.open_inputs.resize(input, size));
    }

    fn calls_in_training(&mut self, layers: &[Layer]) {
        self.warnings.extend(keras2_calls::training_warning(layers));
    }
}

/// Whether a class isn't Keras' own: a registered class of the same name may compute anything.
fn is_custom(object: &Value) -> bool {
    let own_module = match object.get("module") {
        None => true,
        Some(Value::String(module)) => is_module_of_keras(module),
        Some(_) => false,
    };
    let class_name = &object["class_name"];
    let own_name = match object.get("registered_name") {
        None | Some(Value::Null) => true,
        Some(name) => name == class_name,
    };
    // An `.h5` has the registered name of a custom class in place of its class name.
    !own_module || !own_name || class_name.as_str().is_some_and(|name| name.contains('>'))
}

fn unknown_class(class_name: &str, object: &Value) -> Error {
    let received = format!("module {}, registered name {}", object["module"], object["registered_name"]);
    Error::new(format_args!("class `{class_name}` in config.json"), "a class of Keras itself", received)
        .with_kind(ErrorKind::Unsupported)
        .hint("a Rust program can teach a custom layer: keras::LoadOptions::custom_layers; otherwise rebuild the model from Keras' own layers and save it again")
}

/// The class of Keras that a custom model class derives from, by the options of its config; `None` for any other class.
fn custom_model_base(class_name: &str, config: &Map<String, Value>) -> Option<&'static str> {
    let has = |options: &[&str]| options.iter().all(|option| config.contains_key(*option));
    match class_name {
        "Functional" | "Model" | "Sequential" => None,
        _ if has(&["layers", "input_layers", "output_layers"]) => Some("keras.Model"),
        _ if has(&["layers", "build_input_shape"]) => Some("keras.Sequential"),
        _ => None,
    }
}

/// Why a subclass of `keras.Model` is refused, although its file has the layers: its Python code may compute something else.
fn custom_model(class_name: &str, object: &Value, base: &str) -> Error {
    let registered_name = object.get("registered_name").and_then(Value::as_str).unwrap_or(class_name);
    Error::because(
        format_args!("class `{class_name}` in config.json"),
        "this is a custom model class, whose `call` is Python code, which is never run here",
    )
    .with_kind(ErrorKind::Unsupported)
    .hint(format_args!(
        "if the class changes the training alone (train_step), save it as a plain model in Python: keras.models.load_model(file, custom_objects={{\"{registered_name}\": {base}}}).save(\"plain.keras\")"
    ))
}

/// Checks the numbers in a layer's config.
fn check_options(class_name: &str, config: &Map<String, Value>) -> Result<()> {
    for (option, value) in config.iter().filter(|(option, _)| *option != "seed" && *option != "dtype") {
        check_numbers(value).map_err(|error| error.within(format_args!("{class_name} option `{option}`")))?;
    }
    Ok(())
}

fn check_numbers(value: &Value) -> Result<()> {
    match value {
        Value::Number(number) if number.as_i64().map_or(number.is_u64(), |n| n.unsigned_abs() > MAX_NUMBER) => {
            Err(Error::new("number", format_args!("at most {MAX_NUMBER}"), number))
        }
        Value::Array(list) => list.iter().try_for_each(check_numbers),
        Value::Object(object) => {
            let exempt = ["seed", "shared_object_id"];
            object
                .iter()
                .filter(|(name, _)| !exempt.contains(&name.as_str()))
                .try_for_each(|(_, value)| check_numbers(value))
        }
        _ => Ok(()),
    }
}

/// The sample shape of a batch shape such as `[null, 32, 32, 3]`.
///
/// `None` if a size after the batch axis is null or above [`MAX_NUMBER`].
fn sample_shape(batch_shape: &Value) -> Option<Vec<usize>> {
    let sizes = batch_shape.as_array()?.get(1..)?;
    sizes.iter().map(|size| size.as_u64().filter(|&n| n <= MAX_NUMBER).map(|n| n as usize)).collect()
}

fn values(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1, |product: usize, &size| product.checked_mul(size))
}

fn count_calls(layer: &Layer, known: &mut HashMap<usize, usize>) -> usize {
    let Some(graph) = layer.def().graph() else { return 1 };
    if let Some(&calls) = known.get(&layer.id()) {
        return calls;
    }
    let calls = graph.calls().iter().fold(1, |sum: usize, call| sum.saturating_add(count_calls(call.layer(), known)));
    known.insert(layer.id(), calls);
    calls
}

fn place(model: &Model) -> String {
    format!("model `{}`", model.name())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(version: Option<&str>) -> ConfigReader {
        ConfigReader::new(version, &LoadOptions::default())
    }

    #[test]
    fn a_custom_model_class_is_told_from_a_custom_layer() {
        let functional = json!({"name": "m", "layers": [], "input_layers": [], "output_layers": []});
        let sequential = json!({"name": "m", "layers": [], "build_input_shape": [null, 4]});
        let in_h5 = json!({"class_name": "Distiller", "config": functional});
        let in_keras = |config: &Value| json!({"module": null, "class_name": "Distiller", "registered_name": "My>Distiller", "config": config});
        for (object, expected) in [
            (in_h5, "custom_objects={\"Distiller\": keras.Model}).save(\"plain.keras\")"),
            (in_keras(&functional), "custom_objects={\"My>Distiller\": keras.Model})"),
            (in_keras(&sequential), "custom_objects={\"My>Distiller\": keras.Sequential})"),
        ] {
            let error = reader(Some("3.15.1")).layer(&object, 0).unwrap_err().to_string();
            assert!(error.starts_with("class `Distiller` in config.json: this is a custom model class"), "{error}");
            assert!(error.contains(expected), "{error}");
        }
        let layer = in_keras(&json!({"name": "b", "layers": []}));
        let error = reader(Some("3.15.1")).layer(&layer, 0).unwrap_err().to_string();
        assert!(error.contains("expected a class of Keras itself"), "{error}");
    }

    #[test]
    fn a_class_that_keras_2_registers_as_custom_is_its_own() {
        let object = |class_name: &str, config: Value| json!({"class_name": class_name, "config": config});
        let scale = json!({"name": "s", "trainable": true, "dtype": "float32", "scale": 0.17});
        let in_h5 = object("Custom>CustomScaleLayer", scale.clone());
        let mut in_keras = object("CustomScaleLayer", scale.clone());
        in_keras["module"] = "tf_keras.src.applications.inception_resnet_v2".into();
        in_keras["registered_name"] = "Custom>CustomScaleLayer".into();
        for object in [&in_h5, &in_keras] {
            let layer = reader(Some("2.15.0")).layer(object, 0).unwrap();
            assert_eq!((layer.class_name(), layer.name()), ("CustomScaleLayer", "s"));
            let scale = layer.def().config()["scale"].as_f64().unwrap();
            assert!((scale - 0.17).abs() < 1e-6, "{scale}");
        }
        let mut of_a_user = in_keras.clone();
        of_a_user["module"] = "my_keras.applications.inception_resnet_v2".into();
        for (version, object) in [
            ("2.15.0", of_a_user),
            ("2.15.0", object("Custom>CustomScaleLayer", json!({"name": "s", "scale": 0.17, "axis": 1}))),
            ("2.15.0", object("My>CustomScaleLayer", scale)),
            ("3.15.1", in_h5),
        ] {
            let error = reader(Some(version)).layer(&object, 0).unwrap_err().to_string();
            assert!(error.contains("expected a class of Keras itself"), "{error}");
        }
    }

    #[test]
    fn a_sequential_model_of_early_keras_2_is_a_list_of_layers() {
        let dense = |name: &str| json!({"class_name": "Dense", "config": {"name": name, "units": 4}});
        let first = |name: &str| {
            let mut dense = dense(name);
            dense["config"]["batch_input_shape"] = json!([null, 4]);
            dense
        };
        let sequential = |layers: &[Value]| json!({"class_name": "Sequential", "config": layers});
        for version in [Some("2.1.6"), Some("2.1.6-tf"), None] {
            let nested = sequential(&[first("a"), dense("b")]);
            let model = sequential(&[nested, sequential(&[first("c")]), dense("d")]);
            let (model, _) = reader(version).model(&model).unwrap();
            let names: Vec<String> = model.layers().iter().map(|layer| layer.name().to_owned()).collect();
            assert_eq!(names, ["sequential_2", "sequential_3", "d"], "{version:?}");
            assert_eq!((model.name(), model.input_shape(), model.count_params()), ("sequential_1", &vec![4], 80));
        }
        let mut nested = sequential(&[first("a")]);
        nested["name"] = "head".into();
        nested["inbound_nodes"] = json!([[["x", 0, 0, {}]]]);
        let input = json!({"name": "x", "batch_input_shape": [null, 4]});
        let input = json!({"class_name": "InputLayer", "name": "x", "config": input, "inbound_nodes": []});
        let config = json!({"name": "m", "layers": [input, nested], "input_layers": [["x", 0, 0]], "output_layers": [["head", 1, 0]]});
        let (model, _) = reader(Some("2.2.2")).model(&json!({"class_name": "Model", "config": config})).unwrap();
        assert_eq!(model.layers().last().unwrap().name(), "head");
        let mut sigmoid = first("a");
        sigmoid["config"]["activation"] = "hard_sigmoid".into();
        let error = reader(None).model(&sequential(&[sigmoid])).unwrap_err().to_string();
        assert!(error.contains("Keras 2, which wrote this file"), "{error}");
    }
}
