//! Calls of layers that take several named arguments, such as `attention(query, value, use_causal_mask=True)`.
//!
//! A file has such arguments by position or by name. The tensors among them become the inputs of the call. The others become
//! options of the layer, since all calls of a layer here have the same options.

use engraft_nn::{Error, Result};
use serde_json::{Map, Value};

use super::nodes::{Reference, collect, history, is_null};

/// The arguments of a class's calls, in the order of their positions.
struct Parameters {
    /// The tensors, of which the last ones may be left out.
    tensors: &'static [&'static str],
    others: &'static [&'static str],
}

const MULTI_HEAD: Parameters = Parameters {
    tensors: &["query", "value", "key"],
    others: &[
        "query_mask",
        "value_mask",
        "key_mask",
        "attention_mask",
        "return_attention_scores",
        "training",
        "use_causal_mask",
    ],
};

const SINGLE_HEAD: Parameters =
    Parameters { tensors: &["inputs"], others: &["mask", "training", "return_attention_scores", "use_causal_mask"] };

/// The parameters of a class; `None` for a class whose calls have only tensors, `training` and `mask`.
fn parameters(class_name: &str) -> Option<&'static Parameters> {
    match class_name {
        "MultiHeadAttention" | "GroupQueryAttention" | "GroupedQueryAttention" => Some(&MULTI_HEAD),
        "Attention" | "AdditiveAttention" => Some(&SINGLE_HEAD),
        _ => None,
    }
}

/// The inputs of each call of a layer, and the options that all calls share.
pub(super) type Calls = (Vec<Vec<Reference>>, Map<String, Value>);

/// The calls that a layer's nodes describe; `None` for a class without such arguments.
pub(super) fn calls(class_name: &str, nodes: &[Value]) -> Option<Result<Calls>> {
    let parameters = parameters(class_name)?;
    Some(calls_with(parameters, nodes))
}

fn calls_with(parameters: &Parameters, nodes: &[Value]) -> Result<Calls> {
    let mut calls = Vec::with_capacity(nodes.len());
    let mut options: Option<Map<String, Value>> = None;
    for node in nodes {
        let mut arguments = arguments(parameters, node)?;
        let mut inputs = Vec::new();
        for name in parameters.tensors {
            if let Some(tensors) = arguments.remove(*name) {
                collect(&tensors, &mut inputs)?;
            }
        }
        if inputs.is_empty() {
            return Err(Error::new("inbound_nodes", "at least one tensor per call", node));
        }
        // The whole model's call says whether it trains. The scores are a second output, which is refused only where it is used.
        arguments.remove("training");
        arguments.remove("return_attention_scores");
        if let Some(first) = options.as_ref().filter(|first| **first != arguments) {
            let (expected, received) = (Value::from(first.clone()), Value::from(arguments));
            return Err(Error::new("inbound_nodes", format_args!("the first call's options {expected}"), received));
        }
        options = Some(arguments);
        calls.push(inputs);
    }
    Ok((calls, options.unwrap_or_default()))
}

/// The arguments of a call by name, without those that have no value. Tensors have the form of Keras 3.
fn arguments(parameters: &Parameters, node: &Value) -> Result<Map<String, Value>> {
    let mut found = match node {
        Value::Array(inputs) => legacy_arguments(parameters, inputs)?,
        Value::Object(node) => {
            let mut names = parameters.tensors.iter().chain(parameters.others);
            let mut found = Map::new();
            for argument in node.get("args").and_then(Value::as_array).into_iter().flatten() {
                let Some(name) = names.next() else {
                    return Err(Error::new("call", "arguments that the layer has", argument));
                };
                found.insert((*name).to_owned(), argument.clone());
            }
            found.extend(node.get("kwargs").and_then(Value::as_object).cloned().unwrap_or_default());
            found
        }
        other => return Err(Error::new("inbound_nodes", "objects with args and kwargs, or lists", other)),
    };
    found.retain(|_, value| !is_null(value));
    Ok(found)
}

/// The arguments of a node of Keras 2: a list of the first argument's tensors, each `[layer, call, 0, keywords]`.
fn legacy_arguments(parameters: &Parameters, inputs: &[Value]) -> Result<Map<String, Value>> {
    let mut found = Map::new();
    let tensors = inputs.iter().map(|input| tensor(input, &mut found)).collect::<Result<Vec<_>>>()?;
    for name in parameters.tensors {
        if let Some(keyword) = found.get_mut(*name).filter(|value| !value.is_null()) {
            *keyword = tensor(keyword, &mut Map::new())?;
        }
    }
    found.insert(parameters.tensors[0].to_owned(), tensors.into());
    Ok(found)
}

/// A reference of Keras 2 as a tensor of Keras 3; adds its keywords to `keywords`.
fn tensor(reference: &Value, keywords: &mut Map<String, Value>) -> Result<Value> {
    history(reference)?;
    keywords.extend(reference.get(3).and_then(Value::as_object).cloned().unwrap_or_default());
    let place: Vec<&Value> = reference.as_array().into_iter().flatten().take(3).collect();
    Ok(serde_json::json!({"class_name": "__keras_tensor__", "config": {"keras_history": place}}))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn x(layer: &str) -> Value {
        json!({"class_name": "__keras_tensor__", "config": {"keras_history": [layer, 0, 0]}})
    }

    fn read(class_name: &str, nodes: &Value) -> Result<(Vec<Vec<String>>, Value)> {
        let (calls, options) = calls(class_name, nodes.as_array().unwrap()).unwrap()?;
        let names = |call: Vec<Reference>| call.into_iter().map(|reference| reference.layer).collect();
        Ok((calls.into_iter().map(names).collect(), options.into()))
    }

    #[test]
    fn tensors_are_given_by_position_or_by_name() {
        let expected = |names: &[&str]| vec![names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>()];
        for (node, names, options) in [
            (json!({"args": [x("q"), x("v")], "kwargs": {}}), &["q", "v"][..], json!({})),
            (json!({"args": [x("q")], "kwargs": {"key": x("k"), "value": x("v")}}), &["q", "v", "k"], json!({})),
            (
                json!({"args": [], "kwargs": {"query": x("q"), "value": x("v"), "training": false, "use_causal_mask": true,
                    "return_attention_scores": true}}),
                &["q", "v"],
                json!({"use_causal_mask": true}),
            ),
            (
                json!({"args": [x("q"), x("v"), null, null, null, null, [[[true]]]]}),
                &["q", "v"],
                json!({"attention_mask": [[[true]]]}),
            ),
            (json!([["q", 0, 0, {"value": ["v", 0, 0], "key": null, "training": null}]]), &["q", "v"], json!({})),
        ] {
            assert_eq!(read("MultiHeadAttention", &json!([node])).unwrap(), (expected(names), options));
        }
        let list = json!({"args": [[x("q"), x("v")]], "kwargs": {"use_causal_mask": true}});
        assert_eq!(
            read("Attention", &json!([list])).unwrap(),
            (expected(&["q", "v"]), json!({"use_causal_mask": true}))
        );
        let legacy = json!([["q", 0, 0, {"mask": null}], ["v", 0, 0, {"mask": null}]]);
        assert_eq!(read("Attention", &json!([legacy])).unwrap(), (expected(&["q", "v"]), json!({})));
        assert!(calls("Dense", &[]).is_none());
    }

    #[test]
    fn calls_that_differ_in_options_are_refused() {
        let plain = json!({"args": [x("q"), x("v")]});
        let causal = json!({"args": [x("q"), x("v")], "kwargs": {"use_causal_mask": true}});
        let error = read("MultiHeadAttention", &json!([plain, causal])).unwrap_err().to_string();
        assert!(error.contains("expected the first call's options {}"), "{error}");
        for node in [json!({"args": []}), json!({"args": [2]}), json!("a")] {
            assert!(read("MultiHeadAttention", &json!([node])).is_err(), "{node}");
        }
    }
}
