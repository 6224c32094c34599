//! The writer of `config.json`: serializes a model as Keras 3.15 does.

use std::collections::{HashMap, HashSet};

use engraft_nn::layers::{InputLayer, ListOutput};
use engraft_nn::{CustomClass, Graph, Layer, Model, OpenShape, OpenShapes, SymbolicTensor};
use serde_json::{Map, Value, json};

use super::compile_config;
use super::serialized_object::is_operation;

/// Serializes a model, its layers and the settings of `compile`.
pub(super) fn model(model: &Model) -> Value {
    let mut shared = SharedLayers { shapes: OpenShapes::of(model), ..SharedLayers::default() };
    shared.count(model.layer(), &mut HashSet::new());
    let mut object = shared.object(model.layer());
    if let Some(compiled) = model.compiled().as_ref() {
        object.insert("compile_config".into(), compile_config::write(compiled));
    }
    Value::Object(object)
}

/// The layers of a graph, including inputs that no layer reads.
fn layers_of(graph: &Graph) -> Vec<Layer> {
    let is_written = |layer: &&Layer| layer.def_as::<ListOutput>().is_none();
    let mut layers: Vec<Layer> = graph.layers().iter().filter(is_written).cloned().collect();
    let unread = graph.inputs().iter().map(SymbolicTensor::layer).filter(|input| !graph.layers().contains(input));
    layers.extend(unread.cloned());
    layers
}

/// Counts in how many models each layer occurs, by layer id. A layer in several models gets a
/// `shared_object_id`, so that a reader builds it once.
#[derive(Default)]
struct SharedLayers {
    models: HashMap<usize, usize>,
    /// The shapes of all calls, with `null` for open sizes.
    shapes: OpenShapes,
}

impl SharedLayers {
    fn count(&mut self, model: &Layer, seen: &mut HashSet<usize>) {
        let Some(graph) = model.def().graph().filter(|_| seen.insert(model.id())) else { return };
        for layer in layers_of(graph) {
            *self.models.entry(layer.id()).or_default() += 1;
            self.count(&layer, seen);
        }
    }

    fn object(&self, layer: &Layer) -> Map<String, Value> {
        let mut object = match (layer.class_name(), layer.def().graph()) {
            ("Functional", Some(graph)) => self.functional(layer, graph),
            ("Sequential", Some(graph)) => self.sequential(layer, graph),
            _ => self.leaf(layer),
        };
        if self.models.get(&layer.id()).is_some_and(|&models| models > 1) {
            object.insert("shared_object_id".into(), json!(layer.id()));
        }
        object
    }

    fn functional(&self, layer: &Layer, graph: &Graph) -> Map<String, Value> {
        let calls = CallNumbers::of(graph);
        let layers: Vec<Value> = layers_of(graph).iter().map(|inner| self.layer_entry(inner, graph, &calls)).collect();
        let config = json!({
            "name": layer.name(),
            "trainable": layer.trainable(),
            "layers": layers,
            "input_layers": calls.ends(graph.inputs()),
            "output_layers": calls.ends(graph.outputs()),
        });
        let mut object = object("keras.src.models.functional", "Functional", config, json!("Functional"));
        object.insert("build_config".into(), json!({"input_shape": null}));
        object.insert("compile_config".into(), json!({}));
        object
    }

    /// A layer in the config of a functional model, with the inputs of its calls.
    fn layer_entry(&self, layer: &Layer, graph: &Graph, calls: &CallNumbers) -> Value {
        let own = graph.calls().iter().filter(|call| call.layer() == layer && !call.inputs().is_empty());
        let nodes: Vec<Value> = own
            .map(|call| {
                let tensors: Vec<Value> = call.inputs().iter().map(|input| calls.tensor(input, &self.shapes)).collect();
                json!({"args": layer.def().call_arguments(tensors), "kwargs": layer.def().keyword_arguments()})
            })
            .collect();
        let mut object = self.object(layer);
        object.insert("name".into(), json!(layer.name()));
        object.insert("inbound_nodes".into(), Value::Array(nodes));
        Value::Object(object)
    }

    fn sequential(&self, layer: &Layer, graph: &Graph) -> Map<String, Value> {
        let input = graph.inputs()[0].layer().clone();
        let shape = batch_shape(&self.shapes.of_call(&graph.inputs()[0]));
        let layers: Vec<_> = std::iter::once(input).chain(layer.layers()).map(|inner| self.object(&inner)).collect();
        let mut config = common_config(layer);
        config.insert("layers".into(), json!(layers));
        config.insert("build_input_shape".into(), shape.clone());
        let mut object = object("keras", "Sequential", Value::Object(config), Value::Null);
        object.insert("build_config".into(), json!({"input_shape": shape}));
        object.insert("compile_config".into(), json!({}));
        object
    }

    /// Serializes a layer that contains no other layers.
    fn leaf(&self, layer: &Layer) -> Map<String, Value> {
        let (def, name) = (layer.def(), layer.name());
        if is_operation(def.module()) || layer.def_as::<InputLayer>().is_some() {
            let mut config = def.config();
            config.insert("name".into(), json!(name));
            let registered_name = if is_operation(def.module()) { json!(def.class_name()) } else { Value::Null };
            return object(def.module(), def.class_name(), Value::Object(config), registered_name);
        }
        let mut config = common_config(layer);
        config.extend(def.config());
        // Keras registers the classes that its API doesn't export under their own names.
        let registered_name = if def.module() == "keras.layers" { Value::Null } else { json!(def.class_name()) };
        let mut object = object(def.module(), def.class_name(), Value::Object(config), registered_name);
        if let Some(CustomClass { module, registered_name, .. }) = layer.custom_class() {
            object.insert("module".into(), module);
            object.insert("registered_name".into(), registered_name);
        }
        let shapes: Vec<Value> = self.shapes.inputs_of_layer(layer).iter().map(batch_shape).collect();
        object.insert("build_config".into(), build_config(def.argument_names(), shapes));
        object
    }
}

/// The shapes that Keras builds a layer with, by the names of the arguments if its calls have several.
fn build_config(arguments: &[&str], mut shapes: Vec<Value>) -> Value {
    if arguments.is_empty() {
        let shape = if shapes.len() == 1 { shapes.remove(0) } else { Value::Array(shapes) };
        return json!({"input_shape": shape});
    }
    let named = arguments.iter().map(|name| format!("{name}_shape")).zip(shapes);
    json!({"shapes_dict": named.collect::<Map<String, Value>>()})
}

fn object(module: &str, class_name: &str, config: Value, registered_name: Value) -> Map<String, Value> {
    let members = [
        ("module", json!(module)),
        ("class_name", json!(class_name)),
        ("config", config),
        ("registered_name", registered_name),
    ];
    members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn common_config(layer: &Layer) -> Map<String, Value> {
    let members =
        [("name", json!(layer.name())), ("trainable", json!(layer.trainable())), ("dtype", dtype_policy(layer))];
    let common = layer.def().common_options();
    let members = members.into_iter().filter(|(name, _)| *name == "name" || common.contains(name));
    members.map(|(name, value)| (name.to_owned(), value)).collect()
}

/// The dtype policy of a layer. Weights that a file had quantized are written as floats, so the policy is one of floats.
fn dtype_policy(layer: &Layer) -> Value {
    let float32 = || json!(object("keras", "DTypePolicy", json!({"name": "float32"}), Value::Null));
    match layer.dtype_policy() {
        None => float32(),
        // A map has the policies of the layers inside, such as those of a MultiHeadAttention.
        Some(policy) if policy.quantizes(layer.class_name()) || policy.name().starts_with("map_") => {
            policy.dequantized()
        }
        Some(policy) => policy.to_keras().clone(),
    }
}

/// The shape of a batch: a sample's shape after a batch axis of unknown size. An open size is null.
fn batch_shape(shape: &OpenShape) -> Value {
    std::iter::once(Value::Null).chain(shape.iter().map(|&size| json!(size))).collect()
}

/// Keras' numbers for the calls of a graph: the position of each call among the calls of the same layer, from 0.
struct CallNumbers {
    /// The number of each call, by the call's id.
    numbers: HashMap<usize, usize>,
}

impl CallNumbers {
    fn of(graph: &Graph) -> Self {
        let mut calls_of_layer: HashMap<usize, usize> = HashMap::new();
        let numbers = graph.calls().iter().map(|call| {
            let next = calls_of_layer.entry(call.layer().id()).or_default();
            *next += 1;
            (call.id(), *next - 1)
        });
        Self { numbers: numbers.collect() }
    }

    fn number(&self, tensor: &SymbolicTensor) -> usize {
        // An input that no layer reads isn't among the calls of the graph. It has a single call, number 0.
        self.numbers.get(&tensor.id()).copied().unwrap_or(0)
    }

    fn tensor(&self, tensor: &SymbolicTensor, shapes: &OpenShapes) -> Value {
        let (source, output) = tensor.history();
        let history = json!([source.layer().name(), self.number(source), output]);
        json!({
            "class_name": "__keras_tensor__",
            "config": {"shape": batch_shape(&shapes.of_call(tensor)), "dtype": "float32", "keras_history": history},
        })
    }

    /// The value of `input_layers` or `output_layers`: a single reference, or a list of several.
    ///
    /// In these two lists alone, Keras counts the construction of a functional model as its call 0. So references to such a
    /// model are one higher.
    fn ends(&self, tensors: &[SymbolicTensor]) -> Value {
        let ends: Vec<Value> = tensors
            .iter()
            .map(|tensor| {
                let (source, output) = tensor.history();
                let first = usize::from(source.layer().class_name() == "Functional");
                json!([source.layer().name(), self.number(source) + first, output])
            })
            .collect();
        match <[Value; 1]>::try_from(ends) {
            Ok([end]) => end,
            Err(several) => Value::Array(several),
        }
    }
}

#[cfg(test)]
mod tests {
    use engraft_nn::layers::from_config;
    use engraft_nn::prelude::*;

    use super::*;

    #[test]
    fn a_frozen_layer_has_a_frozen_activation() {
        let prelu = json!({"class_name": "PReLU", "config": {"name": "p_re_lu", "trainable": true}});
        let config = json!({"name": "dense", "units": 2, "activation": prelu});
        let dense = from_config("Dense", config.as_object().unwrap().clone()).unwrap();
        let written = super::model(&Sequential::new().add(Input::new([3])).add(&dense).build().unwrap());
        let flag = "/config/layers/1/config/activation/config/trainable";
        assert_eq!(written.pointer(flag), Some(&json!(true)));
        dense.set_trainable(false);
        let written = super::model(&Sequential::new().add(Input::new([3])).add(&dense).build().unwrap());
        assert_eq!(written.pointer(flag), Some(&json!(false)));
    }
}
