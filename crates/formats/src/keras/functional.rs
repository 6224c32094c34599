//! Functional models out of Keras' config: layers, and calls that refer to each other.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet, VecDeque};

use engraft_nn::layers::{InputLayer, known_classes};
use engraft_nn::{Error, Layer, Model, Result, SymbolicTensor};
use serde_json::{Map, Value};

use super::config::{ARGUMENTS, Reader, excerpt, is_operation, layer_objects, model_name};
use super::nodes::{self, Reference};
use super::open_size;

/// The functional model of this config.
pub(super) fn read(reader: &mut Reader, config: &Map<String, Value>, depth: usize) -> Result<Layer> {
    let name = model_name(config, &["layers", "input_layers", "output_layers"])?;
    build(reader, config, &name, depth).map_err(|error| error.within(format_args!("model `{name}`")))
}

fn build(reader: &mut Reader, config: &Map<String, Value>, name: &str, depth: usize) -> Result<Layer> {
    let listings = layer_objects(config)?.iter().map(Listing::new).collect::<Result<Vec<_>>>()?;
    let ends = |name| nodes::ends(config.get(name).unwrap_or(&Value::Null));
    let (inputs, outputs) = (ends("input_layers")?, ends("output_layers")?);
    let layers = read_layers(reader, &listings, depth)?;
    let places = Places::new(&listings, &layers, &outputs)?;
    let reads = listings
        .iter()
        .map(|listing| listing.calls.iter().map(|call| places.of_call(call)).collect::<Result<Vec<_>>>())
        .collect::<Result<Vec<_>>>()?;
    let made = make_calls(reader, &layers, &reads)?;
    let tensors = |ends: &[Reference]| {
        ends.iter()
            .map(|end| places.of_end(end).map(|(layer, call)| made[layer][call].clone()))
            .collect::<Result<Vec<_>>>()
    };
    let model = Model::named(name, &tensors(&inputs)?, &tensors(&outputs)?)?;
    Ok(model.layer().clone())
}

/// A layer as the file lists it.
struct Listing<'a> {
    object: &'a Value,
    name: &'a str,
    /// What each of its calls reads.
    calls: Vec<Vec<Reference>>,
    /// The arguments of an operation's call, constants included.
    arguments: Option<Vec<Value>>,
    legacy: bool,
}

impl<'a> Listing<'a> {
    fn new(object: &'a Value) -> Result<Self> {
        let name = object.get("name").or_else(|| object.pointer("/config/name")).and_then(Value::as_str);
        let (Some(name), Some(nodes)) = (name, object.get("inbound_nodes").and_then(Value::as_array)) else {
            return Err(Error::new("layers", "objects with a name and inbound_nodes", excerpt(object)));
        };
        let within = |error: Error| error.within(format_args!("layer `{name}`"));
        let module = object.get("module").and_then(Value::as_str).unwrap_or_default();
        let (mut calls, arguments) = if is_operation(module) {
            operation_calls(nodes).map_err(within)?
        } else {
            let calls = nodes.iter().map(nodes::references).collect::<Result<Vec<_>>>();
            (calls.map_err(|error| within(perhaps_an_operation(error, object)))?, None)
        };
        if object["class_name"] == "InputLayer" {
            if !calls.is_empty() {
                return Err(within(Error::new("inbound_nodes", "none for an input", calls.len())));
            }
            calls.push(Vec::new());
        }
        Ok(Self { object, name, calls, arguments, legacy: nodes.iter().any(nodes::is_legacy) })
    }

    /// The object that describes the layer, with the arguments of an operation beside it.
    fn described(&self) -> Cow<'a, Value> {
        let Some(arguments) = &self.arguments else { return Cow::Borrowed(self.object) };
        let mut object = self.object.clone();
        object[ARGUMENTS] = Value::Array(arguments.clone());
        Cow::Owned(object)
    }
}

/// Adds to an error that an `.h5` doesn't say what is an operation, where this may be one.
fn perhaps_an_operation(error: Error, object: &Value) -> Error {
    let class_name = object["class_name"].as_str().unwrap_or_default();
    if object.get("module").is_some() || known_classes().any(|class| class == class_name) {
        return error;
    }
    error.hint(format_args!(
        "{class_name} may be an operation, which Keras can't open in an .h5 either; save the model as .keras"
    ))
}

/// What each call of an operation reads, and the arguments that all of them were made with.
#[expect(clippy::type_complexity, reason = "the two halves of a listing")]
fn operation_calls(nodes: &[Value]) -> Result<(Vec<Vec<Reference>>, Option<Vec<Value>>)> {
    let mut calls = Vec::with_capacity(nodes.len());
    let mut arguments: Option<Vec<Value>> = None;
    for node in nodes {
        let (call, own) = nodes::operands(node)?;
        if let Some(first) = arguments.as_ref().filter(|first| **first != own) {
            let (expected, received) = (Value::from(first.clone()), Value::from(own));
            return Err(Error::new("inbound_nodes", format_args!("the first call's arguments {expected}"), received));
        }
        calls.push(call);
        arguments = Some(own);
    }
    Ok((calls, arguments))
}

fn read_layers(reader: &mut Reader, listings: &[Listing], depth: usize) -> Result<Vec<Layer>> {
    let mut readers: HashMap<&str, Vec<&Value>> = HashMap::new();
    for listing in listings {
        for reference in listing.calls.iter().flatten() {
            readers.entry(&reference.layer).or_default().push(listing.object);
        }
    }
    let mut layers = Vec::with_capacity(listings.len());
    for listing in listings {
        let fixed = open_size::fix(listing.object, readers.get(listing.name).into_iter().flatten().copied());
        let object = fixed.as_ref().map_or(listing.described(), |fixed| Cow::Borrowed(&fixed.object));
        layers.push(reader.layer(&object, depth + 1)?);
        reader.warnings.extend(fixed.map(|fixed| fixed.warning));
    }
    Ok(layers)
}

/// Where references lead: to a layer and one of its calls, both by index.
struct Places<'a> {
    layers: HashMap<&'a str, Place>,
}

struct Place {
    index: usize,
    calls: usize,
    /// The number of the first call, where layers read it and where it is an end of the model.
    first_call: usize,
    first_end: usize,
}

impl<'a> Places<'a> {
    fn new(listings: &'a [Listing], layers: &[Layer], outputs: &[Reference]) -> Result<Self> {
        let legacy = listings.iter().any(|listing| listing.legacy);
        let referred = listings.iter().flat_map(|listing| listing.calls.iter().flatten()).chain(outputs);
        let from_zero: HashSet<&str> = referred.filter(|r| r.call == 0).map(|r| r.layer.as_str()).collect();
        let mut places = HashMap::new();
        for (index, (listing, layer)) in listings.iter().zip(layers).enumerate() {
            let model = matches!(layer.class_name(), "Functional" | "Sequential");
            let in_legacy = usize::from(legacy && model && !from_zero.contains(listing.name));
            // Keras 3 counts the making of a Functional as a call, but only where it is an end.
            let in_ends = if legacy { in_legacy } else { usize::from(layer.class_name() == "Functional") };
            let place = Place { index, calls: listing.calls.len(), first_call: in_legacy, first_end: in_ends };
            if places.insert(listing.name, place).is_some() {
                return Err(Error::because("layers", format_args!("two are called `{}`", listing.name)));
            }
        }
        Ok(Self { layers: places })
    }

    fn of_call(&self, references: &[Reference]) -> Result<Vec<(usize, usize)>> {
        references.iter().map(|reference| self.find(reference, |place| place.first_call)).collect()
    }

    fn of_end(&self, reference: &Reference) -> Result<(usize, usize)> {
        self.find(reference, |place| place.first_end)
    }

    fn find(&self, reference: &Reference, first: impl Fn(&Place) -> usize) -> Result<(usize, usize)> {
        let received = || format!("call {} of `{}`", reference.call, reference.layer);
        let Some(place) = self.layers.get(reference.layer.as_str()) else {
            return Err(Error::new("inbound_nodes", "calls of layers of this model", received()));
        };
        let first = first(place);
        match reference.call.checked_sub(first) {
            // With one call there is no doubt which is meant.
            _ if place.calls == 1 && reference.call <= first => Ok((place.index, 0)),
            Some(call) if call < place.calls => Ok((place.index, call)),
            _ => Err(Error::new("inbound_nodes", format_args!("one of {} calls", place.calls), received())),
        }
    }
}

/// Makes the calls, each after those it reads, and a layer's own in their order.
fn make_calls(
    reader: &Reader,
    layers: &[Layer],
    reads: &[Vec<Vec<(usize, usize)>>],
) -> Result<Vec<Vec<SymbolicTensor>>> {
    let mut made: Vec<Vec<SymbolicTensor>> = vec![Vec::new(); layers.len()];
    let mut waiting: HashMap<(usize, usize), Vec<usize>> = HashMap::new();
    let mut ready: VecDeque<usize> = (0..layers.len()).collect();
    while let Some(index) = ready.pop_front() {
        while let Some(read) = reads[index].get(made[index].len()) {
            if let Some(&missing) = read.iter().find(|&&(layer, call)| call >= made[layer].len()) {
                waiting.entry(missing).or_default().push(index);
                break;
            }
            let inputs: Vec<SymbolicTensor> = read.iter().map(|&(layer, call)| made[layer][call].clone()).collect();
            if inputs.is_empty() && layers[index].def_as::<InputLayer>().is_none() {
                return Err(Error::new(format_args!("layer `{}`", layers[index].name()), "an input", "none"));
            }
            let call = (index, made[index].len());
            made[index].push(reader.call(&layers[index], &inputs)?);
            ready.extend(waiting.remove(&call).into_iter().flatten());
        }
    }
    match (0..layers.len()).find(|&index| made[index].len() < reads[index].len()) {
        None => Ok(made),
        Some(stuck) => Err(Error::because(
            format_args!("layer `{}`", layers[stuck].name()),
            "its inputs depend on its own output: the graph has a cycle",
        )),
    }
}

#[cfg(test)]
mod tests {
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

    fn model(object: &Value) -> Model {
        Reader::default().model(object).unwrap().0
    }

    /// Every call, with the numbers of those it reads.
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
}
