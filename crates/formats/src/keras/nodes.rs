//! Parser of `inbound_nodes`: the inputs of each call of a layer, in the forms of Keras 2 and 3.

use std::borrow::Cow;

use engraft_nn::layers::tensor_argument;
use engraft_nn::{Error, ErrorKind, Result};
use serde_json::{Map, Value};

/// A reference to the output of a layer's call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reference {
    /// The name of the layer.
    pub(super) layer: String,
    /// The number that Keras gives to the call. Numbers of a layer start at 0, those of some nested models at 1.
    pub(super) call: usize,
    /// The position in the list that the call returns; 0 if it returns a single tensor.
    pub(super) output: usize,
}

/// Whether a node has the form of Keras 2: a list such as `[["conv", 0, 0, {}]]`.
///
/// Keras 2 counts the calls of a nested model from 1, since the construction of the model is call 0.
pub(super) fn is_legacy(node: &Value) -> bool {
    node.is_array()
}

/// The inputs of the call that a layer's node describes, in order.
pub(super) fn references(node: &Value) -> Result<Vec<Reference>> {
    let mut found = Vec::new();
    match node {
        Value::Array(inputs) => {
            for input in inputs {
                found.push(history(input)?);
                check_options(input.get(3).unwrap_or(&Value::Null))?;
            }
        }
        Value::Object(node) => {
            let no_arguments = Vec::new();
            let arguments = node.get("args").and_then(Value::as_array).unwrap_or(&no_arguments);
            for argument in arguments.iter().filter(|argument| !argument.is_null()) {
                collect(argument, &mut found)?;
            }
            let options = node.get("kwargs").unwrap_or(&Value::Null);
            if let Some(inputs) = options.get("inputs").filter(|_| arguments.is_empty()) {
                collect(inputs, &mut found)?;
            }
            check_options(options)?;
        }
        other => return Err(Error::new("inbound_nodes", "objects with args and kwargs, or lists", other)),
    }
    if found.is_empty() {
        return Err(Error::new("inbound_nodes", "at least one tensor per call", node));
    }
    Ok(found)
}

/// The arguments of an operation's call, with a placeholder for each tensor.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct CallArguments {
    pub(super) positional: Vec<Value>,
    /// Keyword arguments, which are constants.
    pub(super) keywords: Map<String, Value>,
}

/// The inputs of the call that an operation's node describes, and the call's arguments.
///
/// Tensors that are given by keyword follow the positional arguments in the order of their names: `condition`, `x1`, `x2`.
pub(super) fn operands(node: &Value) -> Result<(Vec<Reference>, CallArguments)> {
    let mut found = Vec::new();
    let Some(positional) = node.get("args").and_then(Value::as_array) else {
        return Err(Error::new("inbound_nodes", "objects with args and kwargs", node));
    };
    let positional = positional.iter().map(|argument| operand(argument, &mut found)).collect::<Result<_>>()?;
    let mut arguments = CallArguments { positional, ..CallArguments::default() };
    let mut keywords: Vec<_> = node.get("kwargs").and_then(Value::as_object).into_iter().flatten().collect();
    keywords.sort_by_key(|(name, _)| *name);
    for (name, value) in keywords {
        let known = found.len();
        let argument = operand(value, &mut found)?;
        if found.len() > known {
            arguments.positional.push(argument);
        } else {
            arguments.keywords.insert(name.clone(), argument);
        }
    }
    if found.is_empty() {
        return Err(Error::new("inbound_nodes", "at least one tensor per call", node));
    }
    Ok((found, arguments))
}

fn operand(argument: &Value, found: &mut Vec<Reference>) -> Result<Value> {
    match argument {
        Value::Array(list) => list.iter().map(|argument| operand(argument, found)).collect(),
        tensor if tensor["class_name"] == "__keras_tensor__" => {
            collect(tensor, found)?;
            Ok(tensor_argument())
        }
        constant => Ok(constant.clone()),
    }
}

/// The references in `input_layers` or `output_layers`: one, a list of several, or a mapping from names to references.
pub(super) fn ends(value: &Value) -> Result<Vec<Reference>> {
    match value {
        Value::Array(list) if list.first().is_some_and(Value::is_string) => Ok(vec![history(value)?]),
        Value::Array(list) => Ok(list.iter().map(ends).collect::<Result<Vec<_>>>()?.concat()),
        Value::Object(named) => {
            // Keras flattens a mapping in the order of its keys.
            let mut named: Vec<_> = named.iter().collect();
            named.sort_by_key(|(name, _)| *name);
            Ok(named.into_iter().map(|(_, value)| ends(value)).collect::<Result<Vec<_>>>()?.concat())
        }
        other => Err(Error::new("input_layers and output_layers", "[layer, call, 0]", other)),
    }
}

/// Collects the references in a tensor or in nested lists of tensors.
pub(super) fn collect(argument: &Value, found: &mut Vec<Reference>) -> Result<()> {
    if let Value::Array(list) = argument {
        return list.iter().try_for_each(|argument| collect(argument, found));
    }
    match argument.pointer("/config/keras_history") {
        Some(place) if argument["class_name"] == "__keras_tensor__" => found.push(history(place)?),
        _ => return Err(Error::new("call", "symbolic tensors (`__keras_tensor__`) as arguments", argument)),
    }
    Ok(())
}

/// Parses `[layer, call, output]`.
pub(super) fn history(value: &Value) -> Result<Reference> {
    let number = |index: usize| value.get(index)?.as_u64().and_then(|number| usize::try_from(number).ok());
    match (value.get(0).and_then(Value::as_str), number(1), number(2)) {
        (Some(layer), Some(call), Some(output)) => Ok(Reference { layer: layer.to_owned(), call, output }),
        _ => Err(Error::new("call", "[layer, call, output]", value)),
    }
}

/// Refuses keyword arguments of a call that have a value, except `training` and `inputs`.
///
/// A `training` in the file has no effect: the whole model's call says whether it trains, and that overrules the file.
fn check_options(options: &Value) -> Result<()> {
    for (option, value) in options.as_object().into_iter().flatten() {
        match option.as_str() {
            "training" | "inputs" => {}
            _ if is_null(value) => {}
            _ => {
                return Err(Error::new("call", "no options but `training`", format_args!("`{option}` = {value}"))
                    .with_kind(ErrorKind::Unsupported));
            }
        }
    }
    Ok(())
}

/// Whether an argument has no value: null, or a list or mapping of nulls, such as the masks of several inputs.
pub(super) fn is_null(value: &Value) -> bool {
    match value {
        Value::Array(list) => !list.is_empty() && list.iter().all(is_null),
        Value::Object(named) => !named.is_empty() && named.values().all(is_null),
        other => other.is_null(),
    }
}

/// The nodes of a nested functional model, with inputs that are given by name as a list in the order of the model's inputs.
///
/// Keras finds such inputs by the keys of the mapping that the model was built from, or else by the names of its inputs.
pub(super) fn with_listed_inputs<'a>(model: &Value, nodes: &'a [Value]) -> Result<Cow<'a, [Value]>> {
    let places = ["/args/0", "/kwargs/inputs"];
    let is_named = |inputs: &Value| inputs.is_object() && inputs["class_name"] != "__keras_tensor__";
    let mut nodes = Cow::Borrowed(nodes);
    for index in 0..nodes.len() {
        for place in places {
            let Some(Value::Object(named)) = nodes[index].pointer(place).filter(|inputs| is_named(inputs)) else {
                continue;
            };
            let list = in_order_of_inputs(model, named)?;
            if let Some(inputs) = nodes.to_mut()[index].pointer_mut(place) {
                *inputs = list;
            }
        }
    }
    Ok(nodes)
}

/// The values of a mapping in the order of a functional model's inputs.
fn in_order_of_inputs(model: &Value, named: &Map<String, Value>) -> Result<Value> {
    let names: Vec<String> = match model.pointer("/config/input_layers") {
        Some(Value::Object(inputs)) => {
            let mut keys: Vec<String> = inputs.keys().cloned().collect();
            keys.sort();
            keys
        }
        other => ends(other.unwrap_or(&Value::Null))?.into_iter().map(|input| input.layer).collect(),
    };
    let list = names.iter().map(|name| named.get(name).cloned()).collect::<Option<Vec<_>>>();
    list.map(Value::Array).ok_or_else(|| {
        let received = named.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        Error::new("call", format_args!("inputs of the names {}", names.join(", ")), received)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn names(references: &[Reference]) -> Vec<(&str, usize)> {
        references.iter().map(|reference| (reference.layer.as_str(), reference.call)).collect()
    }

    fn tensor(layer: &str, call: usize) -> Value {
        json!({"class_name": "__keras_tensor__",
               "config": {"shape": [null, 4], "dtype": "float32", "keras_history": [layer, call, 0]}})
    }

    #[test]
    fn both_forms_of_a_node_are_read() {
        let one = json!({"args": [tensor("a", 0)], "kwargs": {"training": false, "mask": null}});
        assert_eq!(names(&references(&one).unwrap()), [("a", 0)]);
        let several = json!({"args": [[tensor("a", 0), tensor("b", 2)]], "kwargs": {}});
        assert_eq!(names(&references(&several).unwrap()), [("a", 0), ("b", 2)]);
        let named = json!({"args": [], "kwargs": {"inputs": tensor("a", 1)}});
        assert_eq!(names(&references(&named).unwrap()), [("a", 1)]);
        let legacy = json!([["a", 0, 0, {}], ["b", 1, 0]]);
        assert_eq!(names(&references(&legacy).unwrap()), [("a", 0), ("b", 1)]);
    }

    #[test]
    fn masks_that_are_all_null_say_nothing() {
        let inputs = [tensor("a", 0), tensor("b", 2)];
        for (mask, is_read) in [
            (json!([null, null]), true),
            (json!({"x": null, "y": [null]}), true),
            (json!([]), false),
            (json!([null, tensor("m", 0)]), false),
            (json!([false, null]), false),
        ] {
            let node = json!({"args": [inputs], "kwargs": {"mask": mask}});
            assert_eq!(references(&node).is_ok(), is_read, "{node}");
        }
    }

    #[test]
    fn inputs_by_name_are_in_the_order_of_the_models_inputs() {
        let named = json!({"y": tensor("b", 0), "x": tensor("a", 0)});
        let by_name = json!({"config": {"input_layers": [["y", 0, 0], ["x", 0, 0]]}});
        let by_key = json!({"config": {"input_layers": {"y": ["first", 0, 0], "x": ["second", 0, 0]}}});
        for (model, expected) in [(&by_name, [("b", 0), ("a", 0)]), (&by_key, [("a", 0), ("b", 0)])] {
            for node in [json!({"args": [named]}), json!({"args": [], "kwargs": {"inputs": named}})] {
                let nodes = [node];
                let listed = with_listed_inputs(model, &nodes).unwrap();
                assert_eq!(names(&references(&listed[0]).unwrap()), expected);
            }
        }
        let nodes = [json!({"args": [{"x": tensor("a", 0), "z": tensor("b", 0)}]})];
        let error = with_listed_inputs(&by_name, &nodes).unwrap_err().to_string();
        assert!(error.contains("expected inputs of the names y, x, received x, z"), "{error}");
        let nodes = [json!({"args": [[tensor("a", 0)]]}), json!([["a", 0, 0, {}]])];
        assert!(matches!(with_listed_inputs(&by_name, &nodes).unwrap(), Cow::Borrowed(_)));
    }

    #[test]
    fn operations_have_constants_among_their_arguments() {
        let (a, b) = (tensor("a", 0), tensor("b", 1));
        let (found, arguments) = operands(&json!({"args": [[a, b], 2.5], "kwargs": {}})).unwrap();
        assert_eq!(names(&found), [("a", 0), ("b", 1)]);
        assert_eq!(arguments.positional, [json!([tensor_argument(), tensor_argument()]), json!(2.5)]);
        let (found, arguments) = operands(&json!({"args": [], "kwargs": {"x2": b, "x1": a, "axis": 1}})).unwrap();
        assert_eq!(names(&found), [("a", 0), ("b", 1)]);
        assert_eq!(arguments.positional, [tensor_argument(), tensor_argument()]);
        assert_eq!(arguments.keywords, *json!({"axis": 1}).as_object().unwrap());
        for node in [json!({"args": [2.5]}), json!({"args": []}), json!([["a", 0, 0, {}]])] {
            assert!(operands(&node).is_err(), "{node}");
        }
    }

    #[test]
    fn ends_of_every_structure_are_read() {
        assert_eq!(names(&ends(&json!(["x", 0, 0])).unwrap()), [("x", 0)]);
        assert_eq!(names(&ends(&json!([["x", 0, 0], ["y", 1, 0]])).unwrap()), [("x", 0), ("y", 1)]);
        assert_eq!(names(&ends(&json!({"b": ["y", 0, 0], "a": ["x", 0, 0]})).unwrap()), [("x", 0), ("y", 0)]);
    }

    #[test]
    fn what_would_change_the_call_is_refused() {
        for node in [
            json!({"args": [tensor("a", 0)], "kwargs": {"axis": 1}}),
            json!({"args": [tensor("a", 0), 2.0], "kwargs": {}}),
            json!({"args": [], "kwargs": {}}),
            json!([["a", -1, 0]]),
            json!([["a", 0, 0, {"initial_state": 1}]]),
            json!("a"),
        ] {
            assert!(references(&node).is_err(), "{node}");
        }
    }
}
