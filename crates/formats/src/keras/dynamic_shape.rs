//! Inputs of dynamic height and width (`[null, null, null, 3]`) that the model resizes to a fixed size.
//!
//! Our shapes are fixed, so such an input gets the size to which the `Resizing` layer resizes it. Other dynamic inputs are
//! refused elsewhere.

use serde_json::{Value, json};

/// An input that got a fixed size in place of its dynamic size.
pub(super) struct FixedInput {
    /// The JSON object of the `InputLayer`, with the size of the `Resizing` layer that reads it.
    pub(super) object: Value,
    /// A warning for the user: here the input takes only images of this size, in Keras images of any size.
    pub(super) warning: String,
}

/// Gives the input of a Sequential model a fixed size, if its size is dynamic and a `Resizing` follows. `None` otherwise.
pub(super) fn fix_sequential(objects: &[Value]) -> Option<FixedInput> {
    match objects {
        [input, resizing, ..] => fix(input, std::iter::once(resizing)),
        _ => None,
    }
}

/// Gives an input of dynamic size a fixed size, if all layers that read it are `Resizing` layers of the same size. `None`
/// otherwise.
///
/// Images of the fixed size pass through the `Resizing` unchanged, so their results are the same as in Keras.
pub(super) fn fix<'a>(input: &Value, readers: impl IntoIterator<Item = &'a Value>) -> Option<FixedInput> {
    let shape =
        input.pointer("/config/batch_shape").or_else(|| input.pointer("/config/batch_input_shape"))?.as_array()?;
    let [_, Value::Null, Value::Null, channels] = shape.as_slice() else { return None };
    let sizes: Option<Vec<(&Value, &Value)>> = readers
        .into_iter()
        .map(|reader| {
            let size = (reader.pointer("/config/height")?, reader.pointer("/config/width")?);
            (reader["class_name"] == "Resizing").then_some(size)
        })
        .collect();
    let sizes = sizes?;
    let &(height, width) = sizes.first()?;
    if sizes.iter().any(|&size| size != (height, width)) {
        return None;
    }
    let mut object = input.clone();
    let config = object.get_mut("config")?.as_object_mut()?;
    config.remove("batch_input_shape");
    config.insert("batch_shape".into(), json!([null, height, width, channels]));
    let name = input.pointer("/config/name").and_then(Value::as_str).unwrap_or_default();
    let warning = format!(
        "input `{name}` takes images of any size in Keras; here it takes only {height} by {width} pixels, the size to which the model resizes them"
    );
    Some(FixedInput { object, warning })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(shape: Value) -> Value {
        json!({"class_name": "InputLayer", "config": {"name": "photo", "batch_shape": shape}})
    }

    fn resizing(height: usize, width: usize) -> Value {
        json!({"class_name": "Resizing", "config": {"height": height, "width": width}})
    }

    #[test]
    fn the_size_is_that_of_the_resizing() {
        let fixed = fix_sequential(&[input(json!([null, null, null, 3])), resizing(4, 6)]).unwrap();
        assert_eq!(fixed.object["config"]["batch_shape"], json!([null, 4, 6, 3]));
        assert!(fixed.warning.contains("`photo`") && fixed.warning.contains("4 by 6"), "{}", fixed.warning);
    }

    #[test]
    fn other_inputs_stay_as_they_are() {
        let open = input(json!([null, null, null, 3]));
        let flatten = json!({"class_name": "Flatten", "config": {}});
        assert!(fix_sequential(&[open.clone(), flatten]).is_none());
        assert!(fix_sequential(&[input(json!([null, 8, 8, 3])), resizing(4, 4)]).is_none());
        assert!(fix(&open, [&resizing(4, 4), &resizing(4, 5)]).is_none());
        assert!(fix(&open, []).is_none());
    }
}
