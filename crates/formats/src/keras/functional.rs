//! The reader of functional models: builds the layers, resolves the references between calls, and calls the layers.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet, VecDeque};

use engraft_nn::layers::{InputLayer, ListOutput, known_classes};
use engraft_nn::{Error, Layer, Model, Result, SymbolicTensor};
use serde_json::{Map, Value};

use super::nodes::{self, CallArguments, Reference};
use super::serialized_object::{ARGUMENTS, KEYWORDS, excerpt, is_operation, layer_objects, model_name};
use super::{batch_axis, keras2_calls, named_arguments, open_input, tf_operations};

/// Builds the layers of a functional model and calls them.
///
/// A layer may be a functional model in turn, so the implementation of [`layer`](Self::layer) calls [`read`].
pub(super) trait LayerReader {
    /// Builds the layer that an object describes, at this depth of nested models.
    fn layer(&mut self, object: &Value, depth: usize) -> Result<Layer>;

    /// Calls a layer.
    fn call(&self, layer: &Layer, inputs: &[SymbolicTensor]) -> Result<SymbolicTensor>;

    /// Says that the model resizes an input to this height and width. An input of open size gets this size.
    fn resize(&mut self, input: &Layer, size: [usize; 2]);

    /// Says that a file of Keras 2 calls these layers with `training=True`.
    fn calls_in_training(&mut self, layers: &[Layer]);
}

/// Builds the functional model of a config.
pub(super) fn read(reader: &mut dyn LayerReader, config: &Map<String, Value>, depth: usize) -> Result<Layer> {
    let name = model_name(config, &["layers", "input_layers", "output_layers"])?;
    let build = |reader: &mut dyn LayerReader| {
        let config = tf_operations::converted(config)?;
        build(reader, &*batch_axis::in_front(&config)?, &name, depth)
    };
    build(reader).map_err(|error| error.within(format_args!("model `{name}`")))
}

fn build(reader: &mut dyn LayerReader, config: &Map<String, Value>, name: &str, depth: usize) -> Result<Layer> {
    let entries = layer_objects(config)?.iter().map(LayerEntry::new).collect::<Result<Vec<_>>>()?;
    let ends = |name| nodes::ends(config.get(name).unwrap_or(&Value::Null));
    let (inputs, outputs) = (ends("input_layers")?, ends("output_layers")?);
    let layers = read_layers(reader, &entries, depth)?;
    let in_training = entries.iter().zip(&layers).filter(|(entry, _)| entry.in_training);
    reader.calls_in_training(&in_training.map(|(_, layer)| layer.clone()).collect::<Vec<_>>());
    let resolver = CallResolver::new(&entries, &layers, &outputs)?;
    let reads = entries
        .iter()
        .map(|entry| entry.calls.iter().map(|call| resolver.inputs(call)).collect::<Result<Vec<_>>>())
        .collect::<Result<Vec<_>>>()?;
    let mut results = make_calls(reader, &layers, &reads)?;
    let mut tensors = |ends: &[Reference]| {
        ends.iter().map(|end| results.tensor(reader, &resolver.end(end)?)).collect::<Result<Vec<_>>>()
    };
    let model = Model::named(name, &tensors(&inputs)?, &tensors(&outputs)?)?;
    Ok(model.layer().clone())
}

/// A layer in the config of a functional model, with its calls.
struct LayerEntry<'a> {
    object: &'a Value,
    name: &'a str,
    /// The inputs of each of its calls.
    calls: Vec<Vec<Reference>>,
    /// The arguments that all calls of an operation share, with a placeholder for each input; `None` for a layer.
    arguments: Option<CallArguments>,
    /// The arguments of all calls that aren't tensors, which become options of the layer.
    options: Map<String, Value>,
    /// Whether its nodes have the form of Keras 2.
    legacy: bool,
    /// Whether Keras 2 calls it with `training=True`.
    in_training: bool,
}

impl<'a> LayerEntry<'a> {
    fn new(object: &'a Value) -> Result<Self> {
        let name = object.get("name").or_else(|| object.pointer("/config/name")).and_then(Value::as_str);
        let (Some(name), Some(nodes)) = (name, object.get("inbound_nodes").and_then(Value::as_array)) else {
            return Err(Error::new("layers", "objects with a name and inbound_nodes", excerpt(object)));
        };
        let within = |error: Error| error.within(format_args!("layer `{name}`"));
        let module = object.get("module").and_then(Value::as_str).unwrap_or_default();
        let operation = is_operation(module) || is_unmarked_operation(object, nodes);
        let named = named_arguments::calls(object["class_name"].as_str().unwrap_or_default(), nodes);
        let mut options = Map::new();
        let (mut calls, arguments) = if let Some(named) = named {
            let (calls, shared) = named.map_err(within)?;
            options = shared;
            (calls, None)
        } else if operation {
            operation_calls(nodes).map_err(within)?
        } else if matches!(object["class_name"].as_str(), Some("Functional" | "Model")) {
            let nodes = nodes::with_listed_inputs(object, nodes).map_err(within)?;
            (nodes.iter().map(nodes::references).collect::<Result<_>>().map_err(within)?, None)
        } else {
            (nodes.iter().map(nodes::references).collect::<Result<_>>().map_err(within)?, None)
        };
        if object["class_name"] == "InputLayer" {
            if !calls.is_empty() {
                return Err(within(Error::new("inbound_nodes", "none for an input", calls.len())));
            }
            calls.push(Vec::new());
        }
        let legacy = nodes.iter().any(nodes::is_legacy);
        let in_training = nodes.iter().any(keras2_calls::is_training);
        Ok(Self { object, name, calls, arguments, options, legacy, in_training })
    }

    /// The object that describes the layer, with the arguments of an operation under [`ARGUMENTS`] and options of the calls in its
    /// config.
    fn object_with_arguments(&self) -> Cow<'a, Value> {
        if self.arguments.is_none() && self.options.is_empty() {
            return Cow::Borrowed(self.object);
        }
        let mut object = self.object.clone();
        if let Some(arguments) = &self.arguments {
            if object.get("module").is_none() {
                object["module"] = Value::from("keras.ops");
            }
            object[ARGUMENTS] = Value::Array(arguments.positional.clone());
            object[KEYWORDS] = Value::Object(arguments.keywords.clone());
        }
        if let Some(config) = object.get_mut("config").and_then(Value::as_object_mut) {
            config.extend(self.options.clone());
        }
        Cow::Owned(object)
    }
}

/// Classes that are layers, which take a list of tensors, and operations, which take tensors and numbers.
const MERGING: [&str; 6] = ["Add", "Average", "Maximum", "Minimum", "Multiply", "Subtract"];

/// Whether an object without a module is an operation. Keras writes no modules to an `.h5`, and can't read operations from it; a layer
/// has an option `trainable` or a data type, an operation never.
fn is_unmarked_operation(object: &Value, nodes: &[Value]) -> bool {
    let (class_name, config) = (object["class_name"].as_str().unwrap_or_default(), &object["config"]);
    let marks = [object.get("module"), config.get("dtype"), config.get("trainable")];
    let marked = marks.iter().flatten().any(|mark| !mark.is_null());
    let arguments = nodes.first().and_then(|node| node.get("args")).and_then(Value::as_array);
    let Some(arguments) = arguments.filter(|_| !marked) else { return false };
    let takes_list = arguments.first().is_some_and(Value::is_array);
    !known_classes().any(|class| class == class_name) || MERGING.contains(&class_name) && !takes_list
}

/// The inputs of each call of an operation, and the arguments, which all calls must share.
fn operation_calls(nodes: &[Value]) -> Result<(Vec<Vec<Reference>>, Option<CallArguments>)> {
    let mut calls = Vec::with_capacity(nodes.len());
    let mut arguments: Option<CallArguments> = None;
    for node in nodes {
        let (call, own) = nodes::operands(node)?;
        if let Some(first) = arguments.as_ref().filter(|first| **first != own) {
            let [expected, received] = [first, &own].map(|call| Value::from(call.positional.clone()));
            return Err(Error::new("inbound_nodes", format_args!("the first call's arguments {expected}"), received));
        }
        calls.push(call);
        arguments = Some(own);
    }
    Ok((calls, arguments))
}

fn read_layers(reader: &mut dyn LayerReader, entries: &[LayerEntry], depth: usize) -> Result<Vec<Layer>> {
    let mut readers: HashMap<&str, Vec<&Value>> = HashMap::new();
    for entry in entries {
        for reference in entry.calls.iter().flatten() {
            readers.entry(&reference.layer).or_default().push(entry.object);
        }
    }
    let mut layers = Vec::with_capacity(entries.len());
    for entry in entries {
        let layer = reader.layer(&entry.object_with_arguments(), depth + 1)?;
        if let Some(size) = open_input::resized_to(readers.get(entry.name).into_iter().flatten().copied()) {
            reader.resize(&layer, size);
        }
        layers.push(layer);
    }
    Ok(layers)
}

/// A resolved reference to a tensor.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Source {
    /// Index of the layer.
    layer: usize,
    /// Index of the call among the layer's calls.
    call: usize,
    /// The position in the list that the call returns; 0 if it returns a single tensor.
    output: usize,
}

/// Resolves each reference to a layer and one of its calls.
struct CallResolver<'a> {
    layers: HashMap<&'a str, LayerCalls>,
}

/// The calls of a layer, and where Keras starts to count them.
struct LayerCalls {
    /// Index of the layer.
    index: usize,
    calls: usize,
    /// The number that references in `inbound_nodes` give to the first call.
    first_call: usize,
    /// The number that `input_layers` and `output_layers` give to the first call.
    first_end: usize,
}

impl<'a> CallResolver<'a> {
    fn new(entries: &'a [LayerEntry], layers: &[Layer], outputs: &[Reference]) -> Result<Self> {
        let legacy = entries.iter().any(|entry| entry.legacy);
        let referred = entries.iter().flat_map(|entry| entry.calls.iter().flatten()).chain(outputs);
        let from_zero: HashSet<&str> = referred.filter(|r| r.call == 0).map(|r| r.layer.as_str()).collect();
        let mut by_name = HashMap::new();
        for (index, (entry, layer)) in entries.iter().zip(layers).enumerate() {
            let model = matches!(layer.class_name(), "Functional" | "Sequential");
            let in_legacy = usize::from(legacy && model && !from_zero.contains(entry.name));
            // In `input_layers` and `output_layers` alone, Keras 3 counts the construction of a Functional as a call.
            let in_ends = if legacy { in_legacy } else { usize::from(layer.class_name() == "Functional") };
            let layer_calls = LayerCalls { index, calls: entry.calls.len(), first_call: in_legacy, first_end: in_ends };
            if by_name.insert(entry.name, layer_calls).is_some() {
                return Err(Error::because("layers", format_args!("two are called `{}`", entry.name)));
            }
        }
        Ok(Self { layers: by_name })
    }

    fn inputs(&self, references: &[Reference]) -> Result<Vec<Source>> {
        references.iter().map(|reference| self.find(reference, |layer_calls| layer_calls.first_call)).collect()
    }

    fn end(&self, reference: &Reference) -> Result<Source> {
        self.find(reference, |layer_calls| layer_calls.first_end)
    }

    fn find(&self, reference: &Reference, first: impl Fn(&LayerCalls) -> usize) -> Result<Source> {
        let received = || format!("call {} of `{}`", reference.call, reference.layer);
        let Some(layer_calls) = self.layers.get(reference.layer.as_str()) else {
            return Err(Error::new("inbound_nodes", "calls of layers of this model", received()));
        };
        let first = first(layer_calls);
        let source = |call| Ok(Source { layer: layer_calls.index, call, output: reference.output });
        match reference.call.checked_sub(first) {
            // A layer with a single call: 0 and `first` both mean this call, so both ways of counting are accepted.
            _ if layer_calls.calls == 1 && reference.call <= first => source(0),
            Some(call) if call < layer_calls.calls => source(call),
            _ => Err(Error::new("inbound_nodes", format_args!("one of {} calls", layer_calls.calls), received())),
        }
    }
}

/// The results of the calls made so far.
struct Results<'a> {
    layers: &'a [Layer],
    /// By layer, then by call.
    calls: Vec<Vec<SymbolicTensor>>,
    /// The layers that select from the lists of operations, by the index of the operation and the position in the list.
    selections: HashMap<(usize, usize), Layer>,
    /// Tensors of lists that were used.
    selected: HashMap<Source, SymbolicTensor>,
}

impl<'a> Results<'a> {
    fn new(layers: &'a [Layer]) -> Self {
        let calls = vec![Vec::new(); layers.len()];
        Self { layers, calls, selections: HashMap::new(), selected: HashMap::new() }
    }

    /// Whether the call of a source was made.
    fn contain(&self, source: &Source) -> bool {
        source.call < self.calls[source.layer].len()
    }

    /// The tensor of a source whose call was made.
    fn tensor(&mut self, reader: &dyn LayerReader, source: &Source) -> Result<SymbolicTensor> {
        if let Some(tensor) = self.selected.get(source) {
            return Ok(tensor.clone());
        }
        let &Source { layer, call, output } = source;
        let result = &self.calls[layer][call];
        let Some(selection) = ListOutput::of(&self.layers[layer], output) else {
            let place = || format!("layer `{}`", self.layers[layer].name());
            return if output == 0 {
                Ok(result.clone())
            } else {
                Err(Error::new(place(), "one output, number 0", output))
            };
        };
        let selection = self.selections.entry((layer, output)).or_insert(selection).clone();
        let tensor = reader.call(&selection, std::slice::from_ref(result))?;
        self.selected.insert(*source, tensor.clone());
        Ok(tensor)
    }
}

/// Makes all calls of all layers, each after the calls that produce its inputs. The calls of one layer keep their order.
///
/// `reads` has the inputs of each call of each layer.
fn make_calls<'a>(reader: &dyn LayerReader, layers: &'a [Layer], reads: &[Vec<Vec<Source>>]) -> Result<Results<'a>> {
    let mut results = Results::new(layers);
    let mut waiting: HashMap<(usize, usize), Vec<usize>> = HashMap::new();
    let mut ready: VecDeque<usize> = (0..layers.len()).collect();
    while let Some(index) = ready.pop_front() {
        while let Some(read) = reads[index].get(results.calls[index].len()) {
            if let Some(missing) = read.iter().find(|source| !results.contain(source)) {
                waiting.entry((missing.layer, missing.call)).or_default().push(index);
                break;
            }
            let inputs =
                read.iter().map(|source| results.tensor(reader, source)).collect::<Result<Vec<SymbolicTensor>>>()?;
            if inputs.is_empty() && layers[index].def_as::<InputLayer>().is_none() {
                return Err(Error::new(format_args!("layer `{}`", layers[index].name()), "an input", "none"));
            }
            let call = (index, results.calls[index].len());
            results.calls[index].push(reader.call(&layers[index], &inputs)?);
            ready.extend(waiting.remove(&call).into_iter().flatten());
        }
    }
    match (0..layers.len()).find(|&index| results.calls[index].len() < reads[index].len()) {
        None => Ok(results),
        Some(stuck) => Err(Error::because(
            format_args!("layer `{}`", layers[stuck].name()),
            "its inputs depend on its own output: the graph has a cycle",
        )),
    }
}

#[cfg(test)]
mod tests {
    use engraft_nn::layers::from_config;
    use serde_json::json;

    use super::*;

    fn dense(name: &str, nodes: &Value) -> Value {
        json!({"class_name": "Dense", "name": name, "config": {"name": name, "units": 4}, "inbound_nodes": nodes})
    }

    fn input() -> Value {
        let config = json!({"name": "x", "batch_input_shape": [null, 4]});
        json!({"class_name": "InputLayer", "name": "x", "config": config, "inbound_nodes": []})
    }

    fn functional(name: &str, layers: &[Value], output: &Value) -> Value {
        let config = json!({"name": name, "layers": layers, "input_layers": [["x", 0, 0]], "output_layers": [output]});
        json!({"class_name": "Functional", "name": name, "config": config})
    }

    /// Reads layers without the checks of `ConfigReader`.
    struct Unchecked;

    impl LayerReader for Unchecked {
        fn layer(&mut self, object: &Value, depth: usize) -> Result<Layer> {
            let config = object["config"].as_object().unwrap();
            match object["class_name"].as_str().unwrap() {
                "Functional" => read(self, config, depth),
                class_name => from_config(class_name, config.clone()),
            }
        }

        fn call(&self, layer: &Layer, inputs: &[SymbolicTensor]) -> Result<SymbolicTensor> {
            layer.call(inputs)
        }

        fn resize(&mut self, _: &Layer, _: [usize; 2]) {}

        fn calls_in_training(&mut self, _: &[Layer]) {}
    }

    fn model(object: &Value) -> Model {
        Model::from_layer(Unchecked.layer(object, 0).unwrap()).unwrap()
    }

    /// Every call as `layer[inputs]`, where inputs are indices of calls.
    fn reads(model: &Model) -> Vec<String> {
        let calls = model.graph().calls();
        let number = |id| calls.iter().position(|call| call.id() == id).unwrap();
        let text = |call: &SymbolicTensor| {
            let inputs: Vec<usize> = call.inputs().iter().map(|input| number(input.id())).collect();
            format!("{}{inputs:?}", call.layer().name())
        };
        calls.iter().map(text).collect()
    }

    #[test]
    fn layers_called_in_turn_are_called_in_an_order_that_can_be() {
        // a(b(a(b(x))))
        let a = dense("a", &json!([[["b", 0, 0, {}]], [["b", 1, 0, {}]]]));
        let b = dense("b", &json!([[["x", 0, 0, {}]], [["a", 0, 0, {}]]]));
        let model = model(&functional("m", &[input(), a, b], &json!(["a", 1, 0])));
        assert_eq!(reads(&model), ["x[]", "b[0]", "a[1]", "b[2]", "a[3]"]);
    }

    #[test]
    fn keras_2_counts_calls_of_a_nested_model_from_one() {
        let d = dense("d", &json!([[["x", 0, 0, {}]]]));
        let mut inner = functional("inner", &[input(), d], &json!(["d", 0, 0]));
        inner["inbound_nodes"] = json!([[["x", 0, 0, {}]], [["inner", 1, 0, {}]]]);
        let outer = functional("outer", &[input(), inner], &json!(["inner", 2, 0]));
        assert_eq!(reads(&model(&outer)), ["x[]", "inner[0]", "inner[1]"]);
    }

    #[test]
    fn keras_3_counts_them_from_one_only_where_they_are_ends() {
        let tensor =
            |layer: &str| json!({"class_name": "__keras_tensor__", "config": {"keras_history": [layer, 0, 0]}});
        let d = dense("d", &json!([{"args": [tensor("x")]}]));
        let mut inner = functional("inner", &[input(), d], &json!(["d", 0, 0]));
        inner["inbound_nodes"] = json!([{"args": [tensor("x")]}, {"args": [tensor("inner")]}]);
        let outer = functional("outer", &[input(), inner.clone()], &json!(["inner", 2, 0]));
        assert_eq!(reads(&model(&outer)), ["x[]", "inner[0]", "inner[1]"]);
        let outer = functional("outer", &[input(), inner], &json!(["inner", 1, 0]));
        assert_eq!(reads(&model(&outer)), ["x[]", "inner[0]"]);
    }

    #[test]
    fn a_layer_has_a_single_output() {
        for (first, last) in
            [(json!([[["x", 0, 1]]]), json!(["d", 0, 0])), (json!([[["x", 0, 0]]]), json!(["d", 0, 1]))]
        {
            let object = functional("m", &[input(), dense("d", &first)], &last);
            let error = Unchecked.layer(&object, 0).unwrap_err().to_string();
            assert!(error.contains("expected one output, number 0, received 1"), "{error}");
        }
    }
}
