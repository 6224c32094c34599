//! Arithmetic on small integers, which wraps around in Keras: `x * 2` of a uint8 input is 144 for 200.

use std::collections::HashMap;

use engraft_nn::{Error, ErrorKind, Result};
use serde_json::{Map, Value};

use super::serialized_object::{is_operation, layer_objects};

/// Integer types that arithmetic on pixels can overflow.
const SMALL: [&str; 4] = ["int16", "int8", "uint16", "uint8"];

/// Layers and operations whose result can overflow an integer type.
const ARITHMETIC: [&str; 7] = ["Add", "Average", "Multiply", "Negative", "Power", "Square", "Subtract"];

/// Refuses arithmetic on small integers in a functional model of Keras 3: here all numbers are floats.
///
/// # Errors
/// A layer or operation of [`ARITHMETIC`] that Keras computes in a type of [`SMALL`].
pub(super) fn refuse(config: &Map<String, Value>) -> Result<()> {
    let layers = layer_objects(config)?;
    let types: HashMap<&str, &str> = layers.iter().flat_map(tensors).collect();
    for layer in layers {
        let name = layer["name"].as_str().unwrap_or_default();
        let is_arithmetic = layer["class_name"].as_str().is_some_and(|class| ARITHMETIC.contains(&class));
        let Some(found) = type_of(layer, &types).filter(|found| is_arithmetic && SMALL.contains(found)) else {
            continue;
        };
        if found == "uint8" && is_inversion(layer) {
            continue;
        }
        let received = format!("integers of type {found}, which wrap around in Keras");
        return Err(Error::new(format_args!("`{name}`"), "arithmetic with floats", received)
            .with_kind(ErrorKind::Unsupported)
            .hint("cast the pixels before: x = keras.ops.cast(x, \"float32\")"));
    }
    Ok(())
}

/// The type in which Keras computes a layer or operation: that of an operation's result, as the operations say that use it. A layer
/// that merges tensors calls its result a float and computes in the type of its inputs.
fn type_of<'a>(layer: &'a Value, types: &HashMap<&str, &'a str>) -> Option<&'a str> {
    if is_operation(layer["module"].as_str().unwrap_or_default()) {
        return types.get(layer["name"].as_str()?).copied();
    }
    let mut inputs = tensors(layer).into_iter().map(|(_, found)| found);
    let first = inputs.next()?;
    inputs.all(|other| other == first).then_some(first)
}

/// The tensors in the calls of a layer: the name of the layer that each comes from, and its type.
fn tensors(layer: &Value) -> Vec<(&str, &str)> {
    let mut tensors = Vec::new();
    let mut rest: Vec<&Value> = layer.get("inbound_nodes").into_iter().collect();
    while let Some(value) = rest.pop() {
        match value {
            Value::Array(list) => rest.extend(list),
            Value::Object(members) => {
                let config = members.get("config");
                let name = config.and_then(|config| config.pointer("/keras_history/0")?.as_str());
                let found = config.and_then(|config| config.get("dtype")?.as_str());
                tensors.extend(name.zip(found));
                rest.extend(members.values());
            }
            _ => {}
        }
    }
    tensors
}

/// Whether an operation is `255 - x`, which stays within uint8.
fn is_inversion(layer: &Value) -> bool {
    let first = layer.pointer("/inbound_nodes/0/args/0").and_then(Value::as_i64);
    layer["class_name"] == "Subtract" && first == Some(255)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// `operation` of `arguments` beside the tensor `x`, whose result has a type; then a layer that uses it.
    fn refused(class_name: &str, arguments: Value, found: &str) -> Option<String> {
        let tensor = |name: &str, found: &str| {
            json!({"class_name": "__keras_tensor__",
                "config": {"shape": [null, 4], "dtype": found, "keras_history": [name, 0, 0]}})
        };
        let mut list = vec![tensor("x", "uint8")];
        list.splice(..0, arguments["before"].as_array().cloned().unwrap_or_default());
        list.extend(arguments["after"].as_array().cloned().unwrap_or_default());
        let layers = json!([
            {"module": "keras.src.ops.numpy", "class_name": class_name, "name": "a", "config": {}, "inbound_nodes": [{"args": list, "kwargs": {}}]},
            {"class_name": "Dense", "name": "d", "config": {}, "inbound_nodes": [{"args": [tensor("a", found)]}]},
        ]);
        refuse(json!({"layers": layers}).as_object().unwrap()).err().map(|error| error.to_string())
    }

    #[test]
    fn a_layer_that_merges_computes_in_the_type_of_its_inputs() {
        let add = |found: &str| {
            let x = json!({"class_name": "__keras_tensor__", "config": {"dtype": found, "keras_history": ["x", 0, 0]}});
            let layer = json!({"module": "keras.layers", "class_name": "Add", "name": "a", "config": {},
                "inbound_nodes": [{"args": [[x, x]], "kwargs": {}}]});
            refuse(json!({"layers": [layer]}).as_object().unwrap())
        };
        assert!(add("uint8").is_err() && add("float32").is_ok());
    }

    #[test]
    fn what_wraps_around_in_keras_is_refused() {
        let number = |value: i64| json!({"after": [value]});
        let error = refused("Multiply", number(2), "uint8").unwrap();
        assert!(error.starts_with("`a`: expected arithmetic with floats, received integers of type uint8"), "{error}");
        assert!(refused("Square", json!({}), "int16").is_some());
        assert!(refused("Subtract", json!({"before": [254]}), "uint8").is_some());
        for (class_name, arguments, found) in [
            ("Multiply", number(2), "int32"),
            ("Multiply", json!({"after": [0.5]}), "float32"),
            ("Subtract", json!({"before": [255]}), "uint8"),
            ("Add", json!({"after": [1.5]}), "float32"),
            ("GetItem", number(0), "uint8"),
        ] {
            assert_eq!(refused(class_name, arguments, found), None, "{class_name}");
        }
    }
}
