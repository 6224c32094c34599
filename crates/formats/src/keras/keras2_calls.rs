//! Calls in files of Keras 2 that compute something else than the same calls in Keras 3.

use std::borrow::Cow;

use engraft_nn::layers::{operation_from_config, tensor_argument};
use engraft_nn::{DType, Error, ErrorKind, Layer, Result, SymbolicTensor};
use serde_json::{Map, Value, json};

/// The arguments of a call with floats in place of integers where Keras 2 computes floats of integers and Keras 3 rounds.
///
/// # Errors
/// A mean, a sum or a luminance of integers, which Keras 2 computes in integers.
pub(super) fn arguments<'a>(layer: &Layer, inputs: &'a [SymbolicTensor]) -> Result<Cow<'a, [SymbolicTensor]>> {
    let config = layer.def().config();
    let integers = |input: &SymbolicTensor| input.dtype().is_integer();
    match layer.class_name() {
        _ if !inputs.iter().any(integers) => Ok(Cow::Borrowed(inputs)),
        "LayerNormalization" => inputs.iter().map(|input| as_floats(input, layer)).collect(),
        "Resize" | "UpSampling2D" if config["interpolation"] != "nearest" => {
            inputs.iter().map(|input| as_floats(input, layer)).collect()
        }
        "GlobalAveragePooling1D" | "GlobalAveragePooling2D" | "Mean" | "RGBToGrayscale" | "Sum" => {
            let received = format!("integers of type {}, with which Keras 2 computes in integers", inputs[0].dtype());
            Err(Error::new(format_args!("layer `{}`, inputs", layer.name()), "floats", received)
                .with_kind(ErrorKind::Unsupported)
                .hint("cast the pixels before, in Python: x = tf.cast(x, tf.float32)"))
        }
        _ => Ok(Cow::Borrowed(inputs)),
    }
}

/// The argument of a layer as floats.
fn as_floats(input: &SymbolicTensor, layer: &Layer) -> Result<SymbolicTensor> {
    if !input.dtype().is_integer() {
        return Ok(input.clone());
    }
    let name = format!("{}_for_{}", input.layer().name(), layer.name());
    let config = [("name", json!(name)), ("dtype", json!("float32"))];
    let config: Map<String, Value> = config.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    operation_from_config("Cast", config, vec![tensor_argument()])?.call(input)
}

/// The object of a sequential model's input of integers, with floats in their place; `None` for other objects.
///
/// The chain has no place for a conversion, and floats pass through it as the same numbers.
pub(super) fn input_of_floats(object: &Value) -> Option<Value> {
    let dtype = object.pointer("/config/dtype").and_then(Value::as_str).and_then(DType::parse)?;
    let is_input = object["class_name"] == "InputLayer";
    (is_input && dtype.is_integer()).then(|| {
        let mut floats = object.clone();
        floats["config"]["dtype"] = "float32".into();
        floats
    })
}

/// Whether a node calls its layer with `training=True`.
pub(super) fn is_training(node: &Value) -> bool {
    let inputs = node.as_array().map(Vec::as_slice).unwrap_or_default();
    let flags = inputs.iter().filter_map(|input| input.get(3)?.get("training"));
    flags.into_iter().any(|flag| *flag == true || *flag == 1)
}

/// A warning about layers that Keras 2 calls with `training=True` in predictions, too; `None` if training doesn't change them.
pub(super) fn training_warning(layers: &[Layer]) -> Option<String> {
    let changes = |class: &str| {
        class == "BatchNormalization"
            || class.contains("Dropout")
            || class.contains("Noise")
            || class.starts_with("Random")
    };
    let changed = layers.iter().filter(|layer| layer.leaves().iter().any(|leaf| changes(leaf.class_name())));
    let names: Vec<String> = changed.map(|layer| format!("`{}`", layer.name())).collect();
    let shown = match names.as_slice() {
        [] => return None,
        [first, second, third, _, ..] => format!("{first}, {second}, {third} and {} more", names.len() - 3),
        few => few.join(", "),
    };
    Some(format!(
        "the model calls {shown} with training=True: Keras 2 predicts with the statistics of the batch and with random dropout there; \
         predictions here, as in Keras 3, are those without training"
    ))
}

#[cfg(test)]
mod tests {
    use engraft_nn::layers::from_config;

    use super::*;

    fn layer(class: &str, config: Value) -> Layer {
        let mut config = config.as_object().unwrap().clone();
        config.insert("name".into(), class.to_lowercase().into());
        from_config(class, config).unwrap()
    }

    fn input(dtype: &str) -> SymbolicTensor {
        let input = layer("InputLayer", json!({"batch_shape": [null, 8, 8, 3], "dtype": dtype}));
        input.call(&Vec::new()).unwrap()
    }

    #[test]
    fn integers_become_floats_where_keras_2_computes_floats() {
        for (class, config, dtype, converted) in [
            ("UpSampling2D", json!({"interpolation": "bilinear"}), "uint8", true),
            ("UpSampling2D", json!({"interpolation": "bilinear"}), "float32", false),
            ("UpSampling2D", json!({"interpolation": "nearest"}), "uint8", false),
            ("MaxPooling2D", json!({}), "uint8", false),
        ] {
            let found = arguments(&layer(class, config), &[input(dtype)]).unwrap()[0].clone();
            assert_eq!(found.layer().class_name() == "Cast", converted, "{class} of {dtype}");
        }
    }

    #[test]
    fn means_of_integers_are_refused() {
        let mean = layer("GlobalAveragePooling2D", json!({}));
        let error = arguments(&mean, &[input("uint8")]).unwrap_err().to_string();
        assert!(
            error.contains("`globalaveragepooling2d`, inputs: expected floats, received integers of type uint8"),
            "{error}"
        );
        assert!(arguments(&mean, &[input("float16")]).is_ok());
    }

    #[test]
    fn a_warning_names_what_training_changes() {
        let node = |flag: Value| json!([["x", 0, 0, {"training": flag}]]);
        let flags = [json!(true), json!(1), json!(false), json!(null)];
        assert_eq!(flags.map(|flag| is_training(&node(flag))), [true, true, false, false]);
        let dense = layer("Dense", json!({"units": 2}));
        assert_eq!(training_warning(std::slice::from_ref(&dense)), None);
        let norm = layer("BatchNormalization", json!({}));
        let warning = training_warning(&[dense, norm.clone()]).unwrap();
        assert!(warning.starts_with("the model calls `batchnormalization` with training=True"), "{warning}");
        let warning = training_warning(&[norm.clone(), norm.clone(), norm.clone(), norm]).unwrap();
        assert!(warning.contains("`batchnormalization` and 1 more with"), "{warning}");
    }
}
