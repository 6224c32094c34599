//! Calls in files of Keras 2 that compute something else than the same calls in Keras 3.

use std::borrow::Cow;

use engraft_nn::layers::{operation_from_config, tensor_argument};
use engraft_nn::{DType, Error, ErrorKind, Layer, Result, SymbolicTensor};
use serde_json::{Map, Value, json};

/// The arguments of a call, with a cast to float32 where Keras 2 returns floats for integer inputs and Keras 3 rounds to integers.
///
/// # Errors
/// A result that Keras 2 computes in the integers of the arguments, and Keras 3 in others: a mean, a sum of small integers, arithmetic
/// with an array of constants.
pub(super) fn arguments<'a>(layer: &Layer, inputs: &'a [SymbolicTensor]) -> Result<Cow<'a, [SymbolicTensor]>> {
    let Some(integers) = inputs.iter().map(SymbolicTensor::dtype).find(|dtype| dtype.is_integer()) else {
        return Ok(Cow::Borrowed(inputs));
    };
    let is_small = matches!(integers, DType::Integer { bits: 8 | 16, .. });
    match layer.class_name() {
        "LayerNormalization" => inputs.iter().map(|input| as_floats(input, layer)).collect(),
        "Resize" | "UpSampling2D" if layer.def().config()["interpolation"] != "nearest" => {
            inputs.iter().map(|input| as_floats(input, layer)).collect()
        }
        "GlobalAveragePooling1D" | "GlobalAveragePooling2D" | "Mean" | "RGBToGrayscale" => {
            Err(refused(layer, integers))
        }
        "Prod" | "Sum" if is_small => Err(refused(layer, integers)),
        _ if layer.def().call_arguments(Vec::new()).iter().any(is_array) => Err(refused(layer, integers)),
        _ => Ok(Cow::Borrowed(inputs)),
    }
}

/// Refuses a layer of a sequential model of Keras 2 whose argument would have to become floats: a chain has no place for that.
pub(super) fn check_chained(layer: &Layer, input: &SymbolicTensor) -> Result<()> {
    match arguments(layer, std::slice::from_ref(input))? {
        Cow::Borrowed(_) => Ok(()),
        Cow::Owned(_) => Err(refused(layer, input.dtype())),
    }
}

fn refused(layer: &Layer, integers: DType) -> Error {
    let received = format!("integers of type {integers}, of which Keras 2 computes something else than Keras 3");
    Error::new(format_args!("layer `{}`, inputs", layer.name()), "floats", received)
        .with_kind(ErrorKind::Unsupported)
        .hint("convert the pixels before, in Python: x = tf.cast(x, tf.float32)")
}

fn is_array(argument: &Value) -> bool {
    argument["class_name"] == "__numpy__"
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

/// Whether a node calls its layer with `training=True`.
pub(super) fn is_training(node: &Value) -> bool {
    let inputs = node.as_array().map(Vec::as_slice).unwrap_or_default();
    let flags = inputs.iter().filter_map(|input| input.get(3)?.get("training"));
    flags.into_iter().any(|flag| *flag == true || *flag == 1)
}

/// A warning about layers that Keras 2 calls with `training=True` in predictions, too; `None` if training doesn't change them.
pub(super) fn training_warning(layers: &[Layer]) -> Option<String> {
    let changes = |leaf: &Layer| {
        let class = leaf.class_name();
        let is_random = class.contains("Dropout") || class.contains("Noise") || class.starts_with("Random");
        // A frozen normalization is in inference.
        is_random || class == "BatchNormalization" && leaf.trainable()
    };
    let changed = layers.iter().filter(|layer| layer.leaves().iter().any(changes));
    let names: Vec<String> = changed.map(|layer| format!("`{}`", layer.name())).collect();
    let shown = match names.as_slice() {
        [] => return None,
        [first, second, third, _, ..] => format!("{first}, {second}, {third} and {} more", names.len() - 3),
        few => few.join(", "),
    };
    Some(format!(
        "the model calls {shown} with training=True: Keras 2 predicts there as in training, with the statistics of the batch, random \
         dropout or random images; predictions here, as in Keras 3, are those without training"
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
    fn what_keras_2_computes_in_integers_is_refused() {
        let operation = |class: &str, config: Value, arguments: Vec<Value>| {
            let mut config = config.as_object().unwrap().clone();
            config.insert("name".into(), "f".into());
            operation_from_config(class, config, arguments).unwrap()
        };
        let x = tensor_argument;
        let array = json!({"class_name": "__numpy__", "config": {"value": [1, 2, 3], "dtype": "float32"}});
        let axis = json!({"axis": -1, "keepdims": false});
        for (layer, dtype, is_refused) in [
            (layer("GlobalAveragePooling2D", json!({})), "int32", true),
            (operation("Sum", axis.clone(), vec![x()]), "uint8", true),
            (operation("Sum", axis.clone(), vec![x()]), "int32", false),
            (operation("Prod", axis, vec![x()]), "uint8", true),
            (operation("Multiply", json!({}), vec![x(), array]), "uint8", true),
            (operation("Multiply", json!({}), vec![x(), 2.into()]), "uint8", false),
        ] {
            let found = arguments(&layer, &[input(dtype)]).map(|_| ()).map_err(|error| error.to_string());
            assert_eq!(found.is_err(), is_refused, "{layer:?}");
            if let Err(error) = found {
                assert!(
                    error.contains(&format!("expected floats, received integers of type {dtype}, of which")),
                    "{error}"
                );
            }
            assert!(arguments(&layer, &[input("float16")]).is_ok());
        }
    }

    #[test]
    fn a_chain_has_no_place_for_a_conversion() {
        for (class, config, is_refused) in [
            ("UpSampling2D", json!({"interpolation": "bilinear"}), true),
            ("UpSampling2D", json!({}), false),
            ("LayerNormalization", json!({}), true),
            ("Resizing", json!({"height": 4, "width": 4}), false),
        ] {
            let layer = layer(class, config);
            assert_eq!(check_chained(&layer, &input("uint8")).is_err(), is_refused, "{class}");
            assert!(check_chained(&layer, &input("float32")).is_ok(), "{class}");
        }
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
        let warning = training_warning(&[norm.clone(), norm.clone(), norm.clone(), norm.clone()]).unwrap();
        assert!(warning.contains("`batchnormalization` and 1 more with"), "{warning}");
        norm.set_trainable(false);
        assert_eq!(training_warning(&[norm]), None, "it is in inference");
    }
}
