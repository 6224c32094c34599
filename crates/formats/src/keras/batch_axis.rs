//! Operations that move the batch from the front, such as `ops.transpose(qkv, (2, 0, 3, 1, 4))` in vision transformers.
//!
//! Here the batch is always the first axis. Operations on a tensor whose batch is elsewhere become operations on the same values with
//! the batch in front, up to the operation that moves it back: `qkv[0]` becomes `qkv[:, 0]`.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use engraft_nn::{Error, ErrorKind, Result};
use serde_json::{Map, Value, json};

use super::nodes;
use super::serialized_object::layer_objects;

/// The config of a functional model in which the batch is the first axis of every tensor.
///
/// # Errors
/// A tensor whose batch axis isn't first, and that is an output or is read by an operation that can't be rewritten here.
pub(super) fn in_front(config: &Map<String, Value>) -> Result<Cow<'_, Map<String, Value>>> {
    let layers = layer_objects(config)?;
    if !layers.iter().any(|layer| Rewritten::first(layer).is_some()) {
        return Ok(Cow::Borrowed(config));
    }
    let mut config = config.clone();
    let rewritten = rewrite(layers, config.get("output_layers").unwrap_or(&Value::Null))?;
    config.insert("layers".into(), rewritten.into());
    Ok(Cow::Owned(config))
}

/// The layers with the batch in front.
///
/// Layers with several inputs have no place in the order. One of them may come before the operation that moves the batch of its input;
/// the check at the end finds it.
fn rewrite(layers: &[Value], outputs: &Value) -> Result<Vec<Value>> {
    let inputs: Vec<Vec<String>> = layers.iter().map(inputs).collect();
    let mut layouts: HashMap<&str, Layout> = HashMap::new();
    let mut rewritten = layers.to_vec();
    let mut has_moved_input = vec![false; layers.len()];
    for index in inputs_first(layers, &inputs) {
        let moved = inputs[index].iter().find_map(|input| layouts.get(&**input)).copied();
        let operation = match moved {
            Some(layout) => Rewritten::of(&layers[index], layout),
            None => Rewritten::first(&layers[index]),
        };
        let (Some(operation), Some(name)) = (operation, name(&layers[index])) else { continue };
        if operation.layout.batch != 0 {
            layouts.insert(name, operation.layout);
        }
        (rewritten[index], has_moved_input[index]) = (operation.object, moved.is_some());
    }
    let moved = |name: &String| layouts.get(&**name).map(|layout| layout.batch);
    for (index, inputs) in inputs.iter().enumerate().filter(|(index, _)| !has_moved_input[*index]) {
        if let Some(batch) = inputs.iter().find_map(moved) {
            return Err(moved_batch(format_args!("`{}`", name(&layers[index]).unwrap_or_default()), batch));
        }
    }
    let outputs = nodes::ends(outputs).unwrap_or_default();
    match outputs.iter().find_map(|end| moved(&end.layer)) {
        Some(batch) => Err(moved_batch(format_args!("output_layers"), batch)),
        None => Ok(rewritten),
    }
}

fn moved_batch(place: fmt::Arguments<'_>, batch: usize) -> Error {
    let received = format!("one with the batch as axis {batch}");
    Error::new(place, "a tensor with the batch as its first axis", received)
        .with_kind(ErrorKind::Unsupported)
        .hint("transpose, move or stack along later axes, or first bring the batch back to the front")
}

fn name(layer: &Value) -> Option<&str> {
    layer.get("name").and_then(Value::as_str)
}

/// The names of the layers and operations whose results a layer's calls take: the start of each reference in its nodes.
fn inputs(layer: &Value) -> Vec<String> {
    let mut names = Vec::new();
    let mut rest = vec![layer.get("inbound_nodes").unwrap_or(&Value::Null)];
    while let Some(value) = rest.pop() {
        match value {
            Value::Array(list) => match list.as_slice() {
                [Value::String(name), Value::Number(_), Value::Number(_), options @ ..] => {
                    names.push(name.clone());
                    rest.extend(options);
                }
                list => rest.extend(list),
            },
            Value::Object(members) => rest.extend(members.values()),
            _ => {}
        }
    }
    names
}

/// The indices of all layers. A layer with one input comes after the layer that computes it.
fn inputs_first(layers: &[Value], inputs: &[Vec<String>]) -> Vec<usize> {
    let indices: HashMap<&str, usize> =
        layers.iter().enumerate().filter_map(|(index, layer)| Some((name(layer)?, index))).collect();
    let (mut order, mut is_listed) = (Vec::with_capacity(layers.len()), vec![false; layers.len()]);
    for index in 0..layers.len() {
        let (mut next, mut chain) = (Some(index), Vec::new());
        while let Some(index) = next.filter(|&index| !is_listed[index]) {
            is_listed[index] = true;
            chain.push(index);
            next = match inputs[index].as_slice() {
                [input] => indices.get(&**input).copied(),
                _ => None,
            };
        }
        order.extend(chain.into_iter().rev());
    }
    order
}

/// Most axes of a tensor whose batch is moved. Each rewritten operation of a file may list them all.
const MAX_RANK: usize = 16;

/// Where the batch of a tensor is among its axes.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Layout {
    /// Number of axes, the batch included.
    rank: usize,
    batch: usize,
}

impl Layout {
    /// The axis of an option as an index; `None` for one that doesn't exist.
    fn axis(self, axis: &Value) -> Option<usize> {
        let axis = axis.as_i64()?;
        let axis = if axis < 0 { axis.checked_add(i64::try_from(self.rank).ok()?)? } else { axis };
        usize::try_from(axis).ok().filter(|&axis| axis < self.rank)
    }

    /// As [`axis`](Self::axis); `None` for the batch.
    fn sample_axis(self, axis: &Value) -> Option<usize> {
        self.axis(axis).filter(|&axis| axis != self.batch)
    }

    /// The place of an axis once the batch is in front.
    fn in_front(self, axis: usize) -> usize {
        match axis.cmp(&self.batch) {
            std::cmp::Ordering::Less => axis + 1,
            std::cmp::Ordering::Equal => 0,
            std::cmp::Ordering::Greater => axis,
        }
    }

    /// The layout after the removal of `axis`, which must not be the batch.
    fn without(self, axis: usize) -> Self {
        Self { rank: self.rank - 1, batch: self.batch - usize::from(axis < self.batch) }
    }
}

fn single_node(object: &Value) -> Option<&Value> {
    match object.get("inbound_nodes")?.as_array()?.as_slice() {
        [node] => Some(node),
        _ => None,
    }
}

/// The order in which an operation puts the axes of its argument.
fn permutation(object: &Value, from: Layout) -> Option<Vec<usize>> {
    let option = |name: &str| object["config"].get(name);
    let mut axes: Vec<usize> = (0..from.rank).collect();
    match object["class_name"].as_str()? {
        "Transpose" => axes = option("axes")?.as_array()?.iter().map(|axis| from.axis(axis)).collect::<Option<_>>()?,
        "Moveaxis" => {
            let (source, destination) = (from.axis(option("source")?)?, from.axis(option("destination")?)?);
            axes.remove(source);
            axes.insert(destination, source);
        }
        _ => axes.swap(from.axis(option("axis1")?)?, from.axis(option("axis2")?)?),
    }
    let mut sorted = axes.clone();
    sorted.sort_unstable();
    sorted.into_iter().eq(0..from.rank).then_some(axes)
}

/// Elementwise operations on one tensor.
const ELEMENTWISE: [&str; 18] = [
    "Absolute",
    "Cast",
    "Clip",
    "Elu",
    "Exp",
    "Gelu",
    "LeakyRelu",
    "Log",
    "Negative",
    "Relu",
    "Relu6",
    "Selu",
    "Sigmoid",
    "Silu",
    "Softplus",
    "Sqrt",
    "Square",
    "Tanh",
];

/// Whether an operation is elementwise: one of [`ELEMENTWISE`], or arithmetic on a tensor and a number.
fn is_elementwise(class_name: &str, node: &Value) -> bool {
    let has_number = || node["args"].as_array().is_some_and(|arguments| arguments.iter().any(Value::is_number));
    let is_arithmetic = matches!(class_name, "Add" | "Subtract" | "Multiply" | "Divide" | "TrueDivide");
    ELEMENTWISE.contains(&class_name) || is_arithmetic && has_number()
}

/// An operation for tensors with the batch in front, and the layout of the result of the original.
struct Rewritten {
    object: Value,
    layout: Layout,
}

impl Rewritten {
    /// An operation on tensors with the batch in front that moves it; `None` for all others.
    fn first(object: &Value) -> Option<Self> {
        let rank = match object["class_name"].as_str()? {
            "Stack" => return Self::stacked(object),
            "Transpose" => object.pointer("/config/axes")?.as_array()?.len(),
            "Moveaxis" | "Swapaxes" => {
                object.pointer("/inbound_nodes/0/args/0/config/shape").and_then(Value::as_array)?.len()
            }
            _ => return None,
        };
        if rank > MAX_RANK {
            return None;
        }
        Self::of(object, Layout { rank, batch: 0 }).filter(|rewritten| rewritten.layout.batch != 0)
    }

    /// A stack of tensors in front of their batch, which becomes one behind it.
    fn stacked(object: &Value) -> Option<Self> {
        single_node(object)?;
        let shape = object.pointer("/inbound_nodes/0/args/0/0/config/shape")?.as_array()?;
        let layout = Layout { rank: shape.len() + 1, batch: 1 };
        let is_in_front = layout.axis(object["config"].get("axis")?)? == 0;
        (is_in_front && layout.rank <= MAX_RANK).then(|| Self::with_option(object, "axis", 1.into(), layout))
    }

    /// The operation of an object on a tensor of a layout; `None` if it isn't known here.
    fn of(object: &Value, from: Layout) -> Option<Self> {
        let node = single_node(object)?;
        if nodes::operands(node).ok()?.0.len() != 1 {
            return None;
        }
        match object["class_name"].as_str()? {
            "Transpose" | "Moveaxis" | "Swapaxes" => Self::permuted(object, from),
            "GetItem" => Self::indexed(object, from),
            "Unstack" | "Split" | "Squeeze" | "Mean" | "Sum" | "Max" | "Min" => Self::along_axis(object, from),
            class_name if is_elementwise(class_name, node) => Some(Self { object: object.clone(), layout: from }),
            _ => None,
        }
    }

    /// Rewrites an operation along one axis, such as `Unstack` or `Mean`; `None` along the batch.
    fn along_axis(object: &Value, from: Layout) -> Option<Self> {
        let option = |name: &str| object["config"].get(name);
        let axis = match option("axis")? {
            Value::Array(axes) if axes.len() == 1 => &axes[0],
            axis => axis,
        };
        let axis = from.sample_axis(axis)?;
        let keeps_axis = object["class_name"] == "Split" || option("keepdims").is_some_and(|keepdims| keepdims == true);
        let layout = if keeps_axis { from } else { from.without(axis) };
        Some(Self::with_option(object, "axis", from.in_front(axis).into(), layout))
    }

    fn with_option(object: &Value, option: &str, value: Value, layout: Layout) -> Self {
        let mut object = object.clone();
        object["config"][option] = value;
        Self { object, layout }
    }

    fn permuted(object: &Value, from: Layout) -> Option<Self> {
        let axes = permutation(object, from)?;
        let batch = axes.iter().position(|&axis| axis == from.batch)?;
        let others = axes.iter().filter(|&&axis| axis != from.batch).map(|&axis| from.in_front(axis));
        let axes: Vec<usize> = std::iter::once(0).chain(others).collect();
        let mut object = object.clone();
        object["class_name"] = "Transpose".into();
        object["registered_name"] = "Transpose".into();
        object["config"] = json!({"name": object["config"]["name"], "axes": axes});
        Some(Self { object, layout: Layout { rank: from.rank, batch } })
    }

    /// Rewrites `x[0, :, 2]` for a tensor with the batch in front; `None` if the index selects a part of the batch.
    fn indexed(object: &Value, from: Layout) -> Option<Self> {
        let key = object.pointer("/inbound_nodes/0/args/1")?;
        let list = match key {
            Value::Array(list) => list.clone(),
            one => vec![one.clone()],
        };
        let whole = json!({"class_name": "__slice__", "config": {"start": null, "stop": null, "step": null}});
        let is_ellipsis = |element: &Value| element["class_name"] == "__ellipsis__";
        let given = list.iter().filter(|element| !element.is_null() && !is_ellipsis(element)).count();
        let mut missing = vec![whole.clone(); from.rank.checked_sub(given)?];
        let mut elements = Vec::new();
        for element in list {
            if is_ellipsis(&element) { elements.append(&mut missing) } else { elements.push(element) }
        }
        elements.append(&mut missing);
        // The batch's element comes first. It is the element of axis `from.batch`; null adds an axis and has none.
        let is_axis = |element: &&Value| !element.is_null();
        let place = elements.iter().enumerate().filter(|(_, element)| is_axis(element)).nth(from.batch)?.0;
        if elements.remove(place) != whole {
            return None;
        }
        let batch = elements[..place].iter().filter(|element| !element.is_number()).count();
        let removed = elements.iter().filter(|element| element.is_number()).count();
        let added = elements.iter().filter(|element| element.is_null()).count();
        elements.insert(0, whole);
        let mut object = object.clone();
        object["inbound_nodes"][0]["args"][1] = elements.into();
        let rank = from.rank + added - removed;
        (rank <= MAX_RANK).then_some(Self { object, layout: Layout { rank, batch } })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(layer: &str, rank: usize) -> Value {
        let shape = vec![Value::Null; rank];
        json!({"class_name": "__keras_tensor__", "config": {"shape": shape, "keras_history": [layer, 0, 0]}})
    }

    fn operation(name: &str, class_name: &str, options: Value, arguments: &[Value]) -> Value {
        let mut config = options;
        config["name"] = name.into();
        json!({"module": "keras.src.ops.numpy", "class_name": class_name, "name": name, "config": config,
            "registered_name": class_name, "inbound_nodes": [{"args": arguments, "kwargs": {}}]})
    }

    fn transpose(name: &str, input: &str, axes: Value) -> Value {
        operation(name, "Transpose", json!({"axes": axes}), &[tensor(input, 5)])
    }

    fn get_item(name: &str, input: &str, key: Value) -> Value {
        operation(name, "GetItem", json!({}), &[tensor(input, 5), key])
    }

    fn model(layers: Vec<Value>, output: &str) -> Map<String, Value> {
        let config = json!({"name": "m", "layers": layers, "output_layers": [[output, 0, 0]]});
        config.as_object().unwrap().clone()
    }

    /// The layers after rewriting; `None` if nothing is rewritten.
    fn rewritten(layers: Vec<Value>, output: &str) -> Option<Vec<Value>> {
        match in_front(&model(layers, output)).unwrap() {
            Cow::Borrowed(_) => None,
            Cow::Owned(config) => Some(config["layers"].as_array().unwrap().clone()),
        }
    }

    fn slice(start: Option<i64>) -> Value {
        json!({"class_name": "__slice__", "config": {"start": start, "stop": null, "step": null}})
    }

    #[test]
    fn an_index_before_the_batch_becomes_one_after_it() {
        let ellipsis = json!({"class_name": "__ellipsis__", "config": {}});
        let all = || slice(None);
        for (key, expected) in [
            (json!(1), json!([all(), 1, all(), all(), all()])),
            (json!([-1]), json!([all(), -1, all(), all(), all()])),
            (json!([0, ellipsis, 2]), json!([all(), 0, all(), all(), 2])),
            (json!([0, all(), slice(Some(1))]), json!([all(), 0, slice(Some(1)), all(), all()])),
        ] {
            // `q` is in front of what it uses.
            let layers = vec![get_item("q", "t", key), transpose("t", "x", json!([2, 0, 3, 1, 4]))];
            let layers = rewritten(layers, "q").unwrap();
            assert_eq!(layers[1]["config"]["axes"], json!([0, 2, 3, 1, 4]));
            assert_eq!(layers[0]["inbound_nodes"][0]["args"][1], expected);
        }
    }

    #[test]
    fn the_batch_moves_back_step_by_step() {
        let layers = vec![
            transpose("t", "x", json!([2, 3, 0, 1, 4])),
            operation("scaled", "Multiply", json!({}), &[tensor("active", 5), json!(0.5)]),
            operation("active", "Relu", json!({}), &[tensor("t", 5)]),
            operation("u", "Unstack", json!({"num": 3, "axis": 0}), &[tensor("scaled", 5)]),
            operation("s", "Swapaxes", json!({"axis1": 0, "axis2": -3}), &[tensor("u", 4)]),
        ];
        let layers = rewritten(layers, "s").unwrap();
        assert_eq!(layers[0]["config"]["axes"], json!([0, 2, 3, 1, 4]));
        assert_eq!(layers[3]["config"]["axis"], json!(1));
        assert_eq!(
            (&layers[4]["class_name"], &layers[4]["config"]["axes"]),
            (&json!("Transpose"), &json!([0, 1, 2, 3]))
        );
    }

    #[test]
    fn a_stack_in_front_of_the_batch_becomes_one_behind_it() {
        let stack =
            |axis: i64| operation("s", "Stack", json!({"axis": axis}), &[json!([tensor("a", 2), tensor("b", 2)])]);
        let mean = |axis: Value| operation("m", "Mean", json!({"axis": axis, "keepdims": false}), &[tensor("s", 3)]);
        for (layers, axes) in [
            (vec![stack(0), mean(json!(0))], Some([json!(1), json!(1)])),
            (vec![stack(-3), mean(json!([0]))], Some([json!(1), json!(1)])),
            (vec![stack(1), mean(json!(1))], None),
        ] {
            let rewritten = rewritten(layers, "m");
            assert_eq!(rewritten.map(|layers| [0, 1].map(|index| layers[index]["config"]["axis"].clone())), axes);
        }
    }

    #[test]
    fn moved_axes_are_those_of_numpy() {
        for (source, destination, axes) in [(2, 0, json!([0, 2, 1, 3, 4])), (0, -1, json!([0, 1, 2, 3, 4]))] {
            let options = json!({"source": source, "destination": destination});
            let layers = vec![
                operation("m", "Moveaxis", options, &[tensor("x", 5)]),
                operation("back", "Moveaxis", json!({"source": destination, "destination": source}), &[tensor("m", 5)]),
            ];
            assert_eq!(rewritten(layers, "back").unwrap()[0]["config"]["axes"], axes);
        }
    }

    #[test]
    fn an_operation_that_needs_the_batch_in_front_is_named() {
        let moved = || transpose("t", "x", json!([2, 0, 3, 1, 4]));
        let add = operation("a", "Add", json!({}), &[tensor("t", 5), tensor("t", 5)]);
        let dense = json!({"class_name": "Dense", "name": "d", "config": {}, "inbound_nodes": [[["t", 0, 0, {}]]]});
        let keyword = json!({"class_name": "MultiHeadAttention", "name": "h", "config": {},
            "inbound_nodes": [[["x", 0, 0, {"value": ["t", 0, 0]}]]]});
        for (layers, output, expected) in [
            (vec![moved()], "t", "output_layers: expected a tensor with the batch as its first axis"),
            (
                vec![add, moved()],
                "a",
                "`a`: expected a tensor with the batch as its first axis, received one with the batch as axis 1",
            ),
            (vec![dense, moved()], "d", "`d`: expected"),
            (vec![keyword, moved()], "h", "`h`: expected"),
            (vec![moved(), get_item("q", "t", json!([0, 0]))], "q", "`q`: expected"),
            (vec![moved(), get_item("q", "t", json!([0, 0, 0, 0, 0, 0]))], "q", "`q`: expected"),
            (vec![moved(), transpose("u", "t", json!([1, 0, 0, 1, 2]))], "u", "`u`: expected"),
        ] {
            let error = in_front(&model(layers, output)).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
        assert!(rewritten(vec![transpose("t", "x", json!([0, 2, 1, 3, 4]))], "t").is_none());
    }

    #[test]
    fn operations_in_a_circle_end() {
        let circle = vec![transpose("t", "u", json!([1, 0])), transpose("u", "t", json!([1, 0]))];
        assert_eq!(rewritten(circle, "x").unwrap().len(), 2);
    }
}
