//! Inputs of any size (`[null, null, null, 3]`), where the model itself makes them one size.

use serde_json::{Value, json};

/// An input whose size was fixed.
pub(super) struct Fixed {
    /// The `InputLayer` with the size that its Resizing makes.
    pub(super) object: Value,
    /// What a user should know of it.
    pub(super) warning: String,
}

/// The first layer, if it is an input of open size and the second resizes it.
pub(super) fn of_sequential(objects: &[Value]) -> Option<Fixed> {
    match objects {
        [input, resizing, ..] => fix(input, std::iter::once(resizing)),
        _ => None,
    }
}

/// The input with the size that its readers, all of them Resizing layers of one size, make of it:
/// images resized to that size before they are fed pass through such a layer unchanged.
pub(super) fn fix<'a>(input: &Value, readers: impl IntoIterator<Item = &'a Value>) -> Option<Fixed> {
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
        "input `{name}` takes images of any size; here it takes {height} by {width} pixels, to which the model resizes them"
    );
    Some(Fixed { object, warning })
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
        let fixed = of_sequential(&[input(json!([null, null, null, 3])), resizing(4, 6)]).unwrap();
        assert_eq!(fixed.object["config"]["batch_shape"], json!([null, 4, 6, 3]));
        assert!(fixed.warning.contains("`photo`") && fixed.warning.contains("4 by 6"), "{}", fixed.warning);
    }

    #[test]
    fn other_inputs_stay_as_they_are() {
        let open = input(json!([null, null, null, 3]));
        let flatten = json!({"class_name": "Flatten", "config": {}});
        assert!(of_sequential(&[open.clone(), flatten]).is_none());
        assert!(of_sequential(&[input(json!([null, 8, 8, 3])), resizing(4, 4)]).is_none());
        assert!(fix(&open, [&resizing(4, 4), &resizing(4, 5)]).is_none());
        assert!(fix(&open, []).is_none());
    }
}
