//! Operations that return a list of tensors, such as `keras.ops.split`: one operation `x[...]` for each tensor that is used.
//!
//! A layer here has one output. Keras' references to outputs have an index; the rewritten config has index 0 in all of them.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap, HashSet};

use engraft_nn::{Error, ErrorKind, Result};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::serialized_object::{is_operation, layer_objects};

/// The config of a functional model in which no operation returns a list.
pub(super) fn expanded(config: &Map<String, Value>) -> Result<Cow<'_, Map<String, Value>>> {
    let layers = layer_objects(config)?;
    if !layers.iter().any(returns_list) {
        return Ok(Cow::Borrowed(config));
    }
    let mut taken: HashSet<String> = layers.iter().map(|layer| name(layer).to_owned()).collect();
    let mut used: HashMap<&str, BTreeSet<usize>> = HashMap::new();
    let lists: HashSet<&str> = layers.iter().filter(|layer| returns_list(layer)).map(name).collect();
    let mut note = |history: &[Value]| {
        if let [Value::String(layer), _, index] = history
            && let (Some(&layer), Some(index)) = (lists.get(layer.as_str()), index.as_u64())
        {
            used.entry(layer).or_default().insert(usize::try_from(index).unwrap_or(usize::MAX));
        }
    };
    for value in layers.iter().filter_map(|layer| layer.get("inbound_nodes")).chain(config.get("output_layers")) {
        visit_histories(value, &mut note);
    }
    let mut renamed: HashMap<(String, usize), String> = HashMap::new();
    let mut rewritten = Vec::with_capacity(layers.len());
    for layer in layers {
        if !returns_list(layer) {
            rewritten.push(layer.clone());
            continue;
        }
        for &index in used.get(name(layer)).into_iter().flatten() {
            let mut part_name = format!("{}_{index}", name(layer));
            while !taken.insert(part_name.clone()) {
                part_name.push('_');
            }
            let within = |error: Error| error.within(format_args!("operation `{}`", name(layer)));
            rewritten.push(part(layer, index, &part_name).map_err(within)?);
            renamed.insert((name(layer).to_owned(), index), part_name);
        }
    }
    let mut config = config.clone();
    let mut layers = Value::Array(rewritten);
    rename_histories(&mut layers, &renamed);
    config.insert("layers".into(), layers);
    if let Some(outputs) = config.get_mut("output_layers") {
        rename_histories(outputs, &renamed);
    }
    Ok(Cow::Owned(config))
}

fn name(layer: &Value) -> &str {
    layer.get("name").or_else(|| layer.pointer("/config/name")).and_then(Value::as_str).unwrap_or_default()
}

fn returns_list(layer: &Value) -> bool {
    layer.get("module").and_then(Value::as_str).is_some_and(is_operation)
        && (layer["class_name"] == "Split" || layer["class_name"] == "Unstack")
}

/// Calls `visit` with each reference `[layer, call, output]` that a value contains, at any depth.
fn visit_histories<'a>(value: &'a Value, visit: &mut impl FnMut(&'a [Value])) {
    match value {
        Value::Array(list) if is_history(list) => visit(list),
        Value::Array(list) => list.iter().for_each(|value| visit_histories(value, visit)),
        Value::Object(object) => object.values().for_each(|value| visit_histories(value, visit)),
        _ => {}
    }
}

fn rename_histories(value: &mut Value, renamed: &HashMap<(String, usize), String>) {
    match value {
        Value::Array(list) if is_history(list) => {
            let index = list[2].as_u64().and_then(|index| usize::try_from(index).ok()).unwrap_or(usize::MAX);
            if let Some(name) = renamed.get(&(list[0].as_str().unwrap_or_default().to_owned(), index)) {
                (list[0], list[2]) = (json!(name), json!(0));
            }
        }
        Value::Array(list) => list.iter_mut().for_each(|value| rename_histories(value, renamed)),
        Value::Object(object) => object.values_mut().for_each(|value| rename_histories(value, renamed)),
        _ => {}
    }
}

fn is_history(list: &[Value]) -> bool {
    matches!(list, [Value::String(_), Value::Number(_), Value::Number(_)])
}

/// The operation `x[...]` that computes output `index` of an operation that returns a list.
fn part(layer: &Value, index: usize, name: &str) -> Result<Value> {
    let nodes = layer.get("inbound_nodes").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let nodes = nodes.iter().map(|node| {
        let tensor = node.pointer("/args/0").cloned().unwrap_or_default();
        let key = key(layer, &tensor, index)?;
        Ok(json!({"args": [tensor, key], "kwargs": {}}))
    });
    let nodes = nodes.collect::<Result<Vec<Value>>>()?;
    Ok(json!({
        "module": "keras.src.ops.numpy", "class_name": "GetItem", "config": {"name": name},
        "registered_name": "GetItem", "name": name, "inbound_nodes": nodes,
    }))
}

/// The index into a tensor that selects output `index`.
fn key(layer: &Value, tensor: &Value, index: usize) -> Result<Value> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Sections {
        Equal(i64),
        Bounds(Vec<i64>),
    }
    let wrong = || Error::new("config", "an axis and sections", &layer["config"]).with_kind(ErrorKind::Unsupported);
    let axis = layer.pointer("/config/axis").and_then(Value::as_i64).ok_or_else(wrong)?;
    if layer["class_name"] == "Unstack" {
        return Ok(along(axis, json!(index)));
    }
    let sections = layer.pointer("/config/indices_or_sections").cloned().unwrap_or_default();
    let position = i64::try_from(index).map_err(|_| wrong())?;
    let (start, stop) = match serde_json::from_value(sections).map_err(|_| wrong())? {
        Sections::Bounds(bounds) => {
            if index > bounds.len() {
                return Err(wrong());
            }
            (index.checked_sub(1).map(|before| bounds[before]), bounds.get(index).copied())
        }
        Sections::Equal(count) => {
            let size = size_along(tensor, axis).filter(|size| count > 0 && position < count && size % count == 0);
            let size = size.ok_or_else(|| {
                Error::new("split", format_args!("a tensor whose known size is a multiple of {count}"), tensor)
                    .with_kind(ErrorKind::Unsupported)
            })?;
            let length = size / count;
            (Some(position * length), Some((position + 1) * length))
        }
    };
    Ok(along(axis, json!({"class_name": "__slice__", "config": {"start": start, "stop": stop, "step": null}})))
}

/// The size of a tensor along an axis, from the shape that Keras writes with the tensor.
fn size_along(tensor: &Value, axis: i64) -> Option<i64> {
    let shape = tensor.pointer("/config/shape")?.as_array()?;
    let axis = if axis < 0 { axis.checked_add(shape.len() as i64)? } else { axis };
    shape.get(usize::try_from(axis).ok()?)?.as_i64()
}

/// An index that selects `selection` along an axis, and everything along the others.
fn along(axis: i64, selection: Value) -> Value {
    let full = json!({"class_name": "__slice__", "config": {"start": null, "stop": null, "step": null}});
    // No tensor has as many axes; a hostile file could name any number.
    let others = usize::try_from(if axis < 0 { -(axis + 1) } else { axis }).unwrap_or(usize::MAX).min(64);
    let others = std::iter::repeat_n(full, others);
    match axis < 0 {
        true => [json!({"class_name": "__ellipsis__", "config": {}}), selection].into_iter().chain(others).collect(),
        false => others.chain([selection]).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(layer: &str, index: usize) -> Value {
        json!({"class_name": "__keras_tensor__",
               "config": {"shape": [null, 4, 6], "dtype": "float32", "keras_history": [layer, 0, index]}})
    }

    fn config(class_name: &str, options: Value) -> Map<String, Value> {
        let mut options = options.as_object().unwrap().clone();
        options.insert("name".into(), json!("s"));
        let split = json!({"module": "keras.src.ops.numpy", "class_name": class_name, "config": options, "name": "s",
                           "inbound_nodes": [{"args": [tensor("x", 0)], "kwargs": {}}]});
        let add = json!({"module": "keras.src.ops.numpy", "class_name": "Add", "config": {"name": "a"}, "name": "a",
                         "inbound_nodes": [{"args": [tensor("s", 0), tensor("s", 2)], "kwargs": {}}]});
        let taken = json!({"class_name": "Dense", "name": "s_0", "config": {"name": "s_0"}});
        let config = json!({"name": "m", "layers": [split, add, taken], "output_layers": ["s", 0, 2]});
        config.as_object().unwrap().clone()
    }

    fn slice(start: Value, stop: Value) -> Value {
        json!({"class_name": "__slice__", "config": {"start": start, "stop": stop, "step": null}})
    }

    #[test]
    fn each_tensor_that_is_used_becomes_an_operation() {
        let config = config("Split", json!({"indices_or_sections": 3, "axis": -1}));
        let expanded = expanded(&config).unwrap();
        let layers = expanded["layers"].as_array().unwrap();
        let names: Vec<&str> = layers.iter().map(name).collect();
        assert_eq!(names, ["s_0_", "s_2", "a", "s_0"], "a name that is taken gets another ending");
        assert_eq!(layers[1]["inbound_nodes"][0]["args"][1][1], slice(json!(4), json!(6)));
        let histories = layers[2].pointer("/inbound_nodes/0/args").unwrap();
        assert_eq!(histories[0]["config"]["keras_history"], json!(["s_0_", 0, 0]));
        assert_eq!(histories[1]["config"]["keras_history"], json!(["s_2", 0, 0]));
        assert_eq!(expanded["output_layers"], json!(["s_2", 0, 0]));
    }

    #[test]
    fn bounds_and_single_slices() {
        let at = |class_name: &str, options: Value| {
            let config = config(class_name, options);
            let expanded = expanded(&config).unwrap();
            expanded["layers"][1]["inbound_nodes"][0]["args"][1].clone()
        };
        let whole = slice(Value::Null, Value::Null);
        let split = at("Split", json!({"indices_or_sections": [1, 3], "axis": 1}));
        assert_eq!(split, json!([whole, slice(json!(3), Value::Null)]));
        assert_eq!(at("Unstack", json!({"num": null, "axis": 2})), json!([whole, whole, 2]));
    }

    #[test]
    fn sections_that_do_not_fit_are_refused() {
        for sections in [json!(4), json!(2), json!([1]), json!("x"), json!(0)] {
            let config = config("Split", json!({"indices_or_sections": sections, "axis": 2}));
            let error = expanded(&config).unwrap_err().to_string();
            assert!(error.starts_with("operation `s`"), "{error}");
        }
    }
}
