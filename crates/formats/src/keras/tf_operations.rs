//! TensorFlow's functions in models of Keras 2, as the operations of Keras 3 that compute the same.
//!
//! Keras 2 wraps a function of TensorFlow on a symbolic tensor, such as `x / 127.5` or `tf.nn.relu(x)`, in a `TFOpLambda` layer,
//! and an index such as `x[..., ::-1]` in a `SlicingOpLambda`. Here they become operations, which Keras 3 can open.

mod functions;

use std::borrow::Cow;
use std::collections::HashSet;

use engraft_nn::{Error, ErrorKind, Result};
use serde_json::{Map, Value, json};

use super::serialized_object::{excerpt, layer_objects};
use functions::Operation;

/// The config of a functional model in which operations of Keras 3 replace TensorFlow's functions.
pub(super) fn converted(config: &Map<String, Value>) -> Result<Cow<'_, Map<String, Value>>> {
    let layers = layer_objects(config)?;
    if layers.iter().all(|layer| function(layer).is_none()) {
        return Ok(Cow::Borrowed(config));
    }
    let names: HashSet<&str> = layers.iter().filter_map(name).collect();
    let shapes = shape_values(layers);
    let mut rewritten = Vec::with_capacity(layers.len());
    for layer in layers.iter().filter(|layer| name(layer).is_none_or(|name| !shapes.contains(name))) {
        rewritten.push(match function(layer) {
            None => layer.clone(),
            Some(function) => {
                Context { names: &names, shapes: &shapes }.operation(layer, function).map_err(|error| {
                    error.within(format_args!("operation `{}` (tf.{function})", name(layer).unwrap_or_default()))
                })?
            }
        });
    }
    let mut config = config.clone();
    config.insert("layers".into(), Value::Array(rewritten));
    Ok(Cow::Owned(config))
}

fn name(layer: &Value) -> Option<&str> {
    layer.get("name").or_else(|| layer.pointer("/config/name"))?.as_str()
}

/// The function that a layer wraps; `None` for another layer.
fn function(layer: &Value) -> Option<&str> {
    match layer["class_name"].as_str()? {
        "TFOpLambda" | "SlicingOpLambda" => layer.pointer("/config/function")?.as_str(),
        _ => None,
    }
}

/// The layers whose result is the shape of a tensor or a part of it.
///
/// Such a value is the size of the batch in `tf.reshape(x, [tf.shape(x)[0], 72])`. Shapes here leave the batch open.
fn shape_values(layers: &[Value]) -> HashSet<&str> {
    let mut shapes = HashSet::new();
    for layer in layers {
        let from_shape = || match first_node(layer) {
            Some([Value::String(input), ..]) => shapes.contains(input.as_str()),
            _ => false,
        };
        let is_shape = match function(layer) {
            Some("compat.v1.shape" | "shape") => true,
            Some("__operators__.getitem") => from_shape(),
            _ => false,
        };
        shapes.extend(name(layer).filter(|_| is_shape));
    }
    shapes
}

fn first_node(layer: &Value) -> Option<&[Value]> {
    layer.get("inbound_nodes")?.as_array()?.first()?.as_array().map(Vec::as_slice)
}

/// The layers of the model that a function's arguments may refer to.
struct Context<'a> {
    names: &'a HashSet<&'a str>,
    shapes: &'a HashSet<&'a str>,
}

impl Context<'_> {
    /// The operation that replaces a layer.
    fn operation(&self, layer: &Value, function: &str) -> Result<Value> {
        let nodes = layer.get("inbound_nodes").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let mut replacement: Option<Operation> = None;
        let mut calls = Vec::with_capacity(nodes.len());
        for node in nodes {
            let operation = functions::convert(function, self.call(node)?)?;
            calls.push(json!({"args": operation.arguments, "kwargs": operation.keywords}));
            match &replacement {
                Some(first) if first.config != operation.config => {
                    let [expected, received] =
                        [first, &operation].map(|operation| Value::from(operation.config.clone()));
                    return Err(Error::new(
                        "inbound_nodes",
                        format_args!("the first call's options {expected}"),
                        received,
                    ));
                }
                _ => replacement = Some(operation),
            }
        }
        let Some(Operation { module, class_name, mut config, .. }) = replacement else {
            return Err(Error::new("inbound_nodes", "at least one call", excerpt(layer)));
        };
        let name = name(layer).unwrap_or_default();
        config.insert("name".into(), name.into());
        Ok(json!({
            "module": module, "class_name": class_name, "config": config, "registered_name": class_name,
            "name": name, "inbound_nodes": calls,
        }))
    }

    /// The arguments of a call: the first one, and the others by name.
    fn call(&self, node: &Value) -> Result<Call> {
        let wrong = || Error::new("inbound_nodes", "[layer, call, output, options]", excerpt(node));
        let (first, options) = match node.as_array().map(Vec::as_slice) {
            // A constant comes first, as in `1 - x`.
            Some([Value::String(mark), _, constant, options]) if mark == "_CONSTANT_VALUE" => {
                (constant.clone(), options)
            }
            Some([Value::String(_), _, _, options]) => (self.argument(&tensor_part(node).ok_or_else(wrong)?)?, options),
            // A list of tensors. Each has the same options.
            Some(list @ [Value::Array(entry), ..]) => {
                let tensors = list.iter().map(|entry| self.argument(&tensor_part(entry).ok_or_else(wrong)?));
                (tensors.collect::<Result<Value>>()?, entry.get(3).ok_or_else(wrong)?)
            }
            _ => return Err(wrong()),
        };
        let options = options.as_object().ok_or_else(wrong)?.iter().filter(|(name, _)| *name != "name");
        let options = options.map(|(name, value)| Ok((name.clone(), self.argument(value)?)));
        Ok(Call { first, options: options.collect::<Result<_>>()? })
    }

    /// An argument in which references to tensors have the form of Keras 3. The size of the batch is null.
    fn argument(&self, value: &Value) -> Result<Value> {
        let Value::Array(list) = value else { return Ok(value.clone()) };
        match list.as_slice() {
            [Value::String(layer), Value::Number(_), Value::Number(_)] if self.shapes.contains(layer.as_str()) => {
                Ok(Value::Null)
            }
            [Value::String(layer), Value::Number(_), Value::Number(_)] if self.names.contains(layer.as_str()) => {
                Ok(json!({"class_name": "__keras_tensor__", "config": {"keras_history": list}}))
            }
            list => list.iter().map(|value| self.argument(value)).collect(),
        }
    }
}

/// The reference `[layer, call, output]` of an entry `[layer, call, output, options]`.
fn tensor_part(entry: &Value) -> Option<Value> {
    entry.as_array()?.get(..3).map(Value::from)
}

/// The arguments of a call of TensorFlow's function.
#[derive(Debug)]
struct Call {
    first: Value,
    options: Map<String, Value>,
}

impl Call {
    /// Removes an option; `None` if it is null or left out.
    fn take(&mut self, name: &str) -> Option<Value> {
        self.options.remove(name).filter(|value| !value.is_null())
    }

    /// Removes an option that the function must have.
    fn require(&mut self, name: &str) -> Result<Value> {
        self.take(name).ok_or_else(|| Error::new(name, "a value", "none"))
    }

    /// Removes an option that changes nothing if it has one of these values.
    fn expect(&mut self, name: &str, expected: &[Value]) -> Result<()> {
        match self.take(name) {
            Some(value) if !expected.contains(&value) => {
                let expected = Value::from(expected);
                Err(Error::new(name, format_args!("one of {expected}"), value).with_kind(ErrorKind::Unsupported))
            }
            _ => Ok(()),
        }
    }

    /// An error if an option is left.
    fn finish(&self) -> Result<()> {
        match self.options.iter().find(|(_, value)| !value.is_null()) {
            Some((name, value)) => {
                Err(Error::new("call", "no other options", format_args!("`{name}` = {}", excerpt(value)))
                    .with_kind(ErrorKind::Unsupported))
            }
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(class_name: &str, name: &str, function: &str, node: &Value) -> Value {
        let config = json!({"name": name, "trainable": true, "dtype": "float32", "function": function});
        json!({"class_name": class_name, "module": "tf_keras.src.layers.core.tf_op_layer", "config": config, "name": name,
               "inbound_nodes": [node]})
    }

    /// Converts layers that read the input `x`.
    fn convert(layers: &[Value]) -> Result<Vec<Value>> {
        let input = json!({"class_name": "InputLayer", "name": "x", "config": {"name": "x"}, "inbound_nodes": []});
        let layers: Vec<Value> = std::iter::once(input).chain(layers.iter().cloned()).collect();
        let config = json!({"name": "m", "layers": layers}).as_object().unwrap().clone();
        Ok(converted(&config)?["layers"].as_array().unwrap()[1..].to_vec())
    }

    fn tensor(layer: &str) -> Value {
        json!({"class_name": "__keras_tensor__", "config": {"keras_history": [layer, 0, 0]}})
    }

    #[test]
    fn constants_and_tensors_keep_their_order() {
        let division = layer("TFOpLambda", "d", "math.truediv", &json!(["x", 0, 0, {"y": 127.5, "name": null}]));
        let difference = json!(["_CONSTANT_VALUE", -1, 1.0, {"y": ["d", 0, 0], "name": null}]);
        let found = convert(&[division, layer("TFOpLambda", "s", "math.subtract", &difference)]).unwrap();
        assert_eq!((&found[0]["class_name"], &found[0]["config"]), (&json!("TrueDivide"), &json!({"name": "d"})));
        assert_eq!(found[0]["inbound_nodes"], json!([{"args": [tensor("x"), 127.5], "kwargs": {}}]));
        assert_eq!(found[1]["inbound_nodes"], json!([{"args": [1.0, tensor("d")], "kwargs": {}}]));
    }

    #[test]
    fn lists_of_tensors_and_indices() {
        let node = json!([["x", 0, 0, {"axis": -1}], ["x", 0, 0, {"axis": -1}]]);
        let found = convert(&[layer("TFOpLambda", "c", "concat", &node)]).unwrap();
        assert_eq!(found[0]["config"], json!({"name": "c", "axis": -1}));
        assert_eq!(found[0]["inbound_nodes"][0]["args"], json!([[tensor("x"), tensor("x")]]));
        let spec = json!([{"class_name": "__ellipsis__"}, {"start": null, "stop": null, "step": -1}, null, 0]);
        let node = json!(["x", 0, 0, {"slice_spec": spec}]);
        let found = convert(&[layer("SlicingOpLambda", "i", "__operators__.getitem", &node)]).unwrap();
        let reverse = json!({"class_name": "__slice__", "config": {"start": null, "stop": null, "step": -1}});
        let key = json!([{"class_name": "__ellipsis__", "config": {}}, reverse, null, 0]);
        assert_eq!(found[0]["inbound_nodes"][0]["args"], json!([tensor("x"), key]));
    }

    #[test]
    fn the_size_of_the_batch_is_left_open() {
        let shape = layer("TFOpLambda", "shape", "compat.v1.shape", &json!(["x", 0, 0, {"out_type": "int32"}]));
        let batch = layer("SlicingOpLambda", "n", "__operators__.getitem", &json!(["shape", 0, 0, {"slice_spec": 0}]));
        let rows = layer("TFOpLambda", "r", "reshape", &json!(["x", 0, 0, {"shape": [["n", 0, 0], 72]}]));
        let found = convert(&[shape, batch, rows]).unwrap();
        assert_eq!(found.len(), 1, "the shape isn't a value of the model");
        assert_eq!(found[0]["config"], json!({"name": "r", "newshape": [-1, 72]}));
    }

    #[test]
    fn what_is_not_known_is_named() {
        for (function, options, expected) in [
            (
                "signal.fft",
                json!({}),
                "operation `f` (tf.signal.fft), function: this function of TensorFlow is not known",
            ),
            ("nn.relu", json!({"axis": 1}), "`axis` = 1"),
            ("nn.bias_add", json!({"bias": [1.0], "data_format": "NCHW"}), "received \"NCHW\""),
            ("clip_by_value", json!({"clip_value_min": 0}), "clip_value_max: expected a value"),
        ] {
            let error = convert(&[layer("TFOpLambda", "f", function, &json!(["x", 0, 0, options]))]).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        }
    }
}
