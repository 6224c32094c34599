//! Conversion of Keras 1 configs to those of Keras 2, whose reader takes them from there.
//!
//! Keras 1.2.2 names classes and options differently: `Convolution2D(nb_filter, nb_row, nb_col, border_mode, subsample)`,
//! `Dense(output_dim)`, `Dropout(p)`. The arrays of weights have the same shapes and order as in Keras 2, if the axes of images
//! are those of TensorFlow (`dim_ordering` of `tf`).

use engraft_nn::{Error, ErrorKind, Result};
use serde_json::{Map, Value, json};

/// Limit on the depth of nested models.
const MAX_NESTING: usize = 32;

/// Classes of Keras 1 with another name in Keras 2.
const CLASSES: [(&str, &str); 4] = [
    ("Convolution2D", "Conv2D"),
    ("AtrousConvolution2D", "Conv2D"),
    ("SeparableConvolution2D", "SeparableConv2D"),
    ("Model", "Functional"),
];

/// Options of Keras 1 with another name in Keras 2, of whatever class.
const OPTIONS: [(&str, &str); 11] = [
    ("nb_filter", "filters"),
    ("output_dim", "units"),
    ("border_mode", "padding"),
    ("subsample", "strides"),
    ("atrous_rate", "dilation_rate"),
    ("bias", "use_bias"),
    ("p", "rate"),
    ("W_regularizer", "kernel_regularizer"),
    ("b_regularizer", "bias_regularizer"),
    ("W_constraint", "kernel_constraint"),
    ("b_constraint", "bias_constraint"),
];

/// Options that are left out: initializers, which a trained model doesn't need, and sizes that the weights have.
const WITHOUT_EFFECT: [&str; 8] =
    ["init", "input_dtype", "input_dim", "depthwise_init", "pointwise_init", "beta_init", "gamma_init", "input_length"];

/// Converts a model, or a layer, to its form in Keras 2.
///
/// # Errors
/// An option without an equivalent, such as the axes of Theano (`dim_ordering` of `th`). The error names the layer.
pub(super) fn object(object: &Value) -> Result<Value> {
    converted(object, 0)
}

fn converted(object: &Value, depth: usize) -> Result<Value> {
    if depth > MAX_NESTING {
        return Err(Error::because("model_config", format_args!("models nested more than {MAX_NESTING} deep")));
    }
    let class_name = object.get("class_name").and_then(Value::as_str).unwrap_or_default();
    let mut result = object.clone();
    match (class_name, object.get("config")) {
        ("Sequential", Some(Value::Array(layers))) => {
            let layers = layers.iter().map(|layer| converted(layer, depth + 1)).collect::<Result<Vec<_>>>()?;
            let name = object.get("name").cloned().unwrap_or_else(|| json!("sequential_1"));
            result["config"] = json!({"name": name, "layers": layers});
        }
        (_, Some(Value::Object(config))) => match config.get("layers").and_then(Value::as_array) {
            Some(layers) => {
                let layers = layers.iter().map(|layer| converted(layer, depth + 1)).collect::<Result<Vec<_>>>()?;
                result["config"]["layers"] = Value::Array(layers);
                result["class_name"] = json!(new_name(&CLASSES, class_name));
            }
            None => {
                let name = config.get("name").and_then(Value::as_str).unwrap_or_default();
                let within = |error: Error| error.within(format_args!("layer `{name}` ({class_name})"));
                let (class_name, config) = layer(class_name, config.clone()).map_err(within)?;
                result["class_name"] = class_name.into();
                result["config"] = Value::Object(config);
            }
        },
        _ => {}
    }
    Ok(result)
}

/// The class and config of a layer in Keras 2.
fn layer(class_name: &str, mut config: Map<String, Value>) -> Result<(String, Map<String, Value>)> {
    axes_of_tensorflow(config.remove("dim_ordering"))?;
    if !config.contains_key("batch_input_shape")
        && let Some(size) = config.get("input_dim").filter(|size| !size.is_null())
    {
        config.insert("batch_input_shape".into(), json!([null, size]));
    }
    config.retain(|option, _| !WITHOUT_EFFECT.contains(&option.as_str()));
    let rows = config.remove("nb_row").zip(config.remove("nb_col"));
    config.extend(rows.map(|(rows, columns)| ("kernel_size".to_owned(), json!([rows, columns]))));
    let class_name = match class_name {
        "Merge" => merge(&mut config)?,
        "BatchNormalization" => {
            normalization(&mut config)?;
            class_name
        }
        other => new_name(&CLASSES, other),
    };
    let renamed = config.into_iter().map(|(option, value)| {
        let value =
            if option.ends_with("regularizer") || option.ends_with("constraint") { tagged(value) } else { value };
        (new_name(&OPTIONS, &option).to_owned(), value)
    });
    Ok((class_name.to_owned(), renamed.collect()))
}

/// Refuses images with the axes of Theano, `[channels, height, width]`.
fn axes_of_tensorflow(dim_ordering: Option<Value>) -> Result<()> {
    match dim_ordering {
        None | Some(Value::Null) => Ok(()),
        Some(order) if order == "tf" => Ok(()),
        Some(other) => Err(Error::new("option `dim_ordering`", "tf", other)
            .with_kind(ErrorKind::Unsupported)
            .hint("convert the model in Keras: with dim_ordering=\"tf\", set its weights, and save it again")),
    }
}

/// The class of a merging layer, by its option `mode`. Leaves only the options of that class.
fn merge(config: &mut Map<String, Value>) -> Result<&'static str> {
    let mode = config.get("mode").cloned().unwrap_or_default();
    let axis = config.get("concat_axis").cloned().unwrap_or_else(|| json!(-1));
    config.retain(|option, _| option == "name" || option == "trainable");
    match mode.as_str() {
        Some("sum") => Ok("Add"),
        Some("mul") => Ok("Multiply"),
        Some("ave") => Ok("Average"),
        Some("concat") => {
            config.insert("axis".into(), axis);
            Ok("Concatenate")
        }
        _ => Err(Error::new("option `mode`", "sum, mul, ave or concat", mode).with_kind(ErrorKind::Unsupported)),
    }
}

/// Removes the option `mode` of a normalization, which must be 0: the statistics of each channel over the training set.
fn normalization(config: &mut Map<String, Value>) -> Result<()> {
    match config.remove("mode") {
        None => Ok(()),
        Some(mode) if mode == 0 => Ok(()),
        Some(other) => Err(Error::new("option `mode`", "0", other).with_kind(ErrorKind::Unsupported)),
    }
}

/// An object of Keras 2, `{"class_name", "config"}`, for one that has its name among its options.
fn tagged(object: Value) -> Value {
    let Value::Object(mut options) = object else { return object };
    match options.remove("name") {
        Some(name) if name == "WeightRegularizer" || name == "L1L2Regularizer" => {
            json!({"class_name": "L1L2", "config": options})
        }
        Some(name) => json!({"class_name": name, "config": options}),
        None => Value::Object(options),
    }
}

fn new_name<'a>(names: &[(&str, &'a str)], name: &'a str) -> &'a str {
    names.iter().find(|(old, _)| *old == name).map_or(name, |(_, new)| new)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn converted_layer(class_name: &str, config: Value) -> std::result::Result<Value, String> {
        object(&json!({"class_name": class_name, "config": config})).map_err(|error| error.to_string())
    }

    #[test]
    fn layers_get_their_names_and_options_of_keras_2() {
        for (class, config, expected) in [
            (
                "Convolution2D",
                json!({"name": "c", "nb_filter": 4, "nb_row": 3, "nb_col": 5, "init": "glorot_uniform", "border_mode": "same",
                    "subsample": [2, 2], "dim_ordering": "tf", "bias": true, "b_regularizer": null,
                    "W_regularizer": {"name": "WeightRegularizer", "l1": 0.0, "l2": 0.01}}),
                json!({"class_name": "Conv2D", "config": {"name": "c", "filters": 4, "kernel_size": [3, 5], "padding": "same",
                    "strides": [2, 2], "use_bias": true, "bias_regularizer": null,
                    "kernel_regularizer": {"class_name": "L1L2", "config": {"l1": 0.0, "l2": 0.01}}}}),
            ),
            (
                "Dense",
                json!({"name": "d", "output_dim": 2, "input_dim": 7, "W_constraint": {"name": "MaxNorm", "m": 2}}),
                json!({"class_name": "Dense", "config": {"name": "d", "units": 2, "batch_input_shape": [null, 7],
                    "kernel_constraint": {"class_name": "MaxNorm", "config": {"m": 2}}}}),
            ),
            (
                "Merge",
                json!({"name": "m", "mode": "concat", "concat_axis": 3, "dot_axes": -1, "mode_type": "raw"}),
                json!({"class_name": "Concatenate", "config": {"name": "m", "axis": 3}}),
            ),
            (
                "BatchNormalization",
                json!({"name": "b", "mode": 0, "axis": 3, "epsilon": 0.001, "momentum": 0.99, "gamma_regularizer": null}),
                json!({"class_name": "BatchNormalization", "config": {"name": "b", "axis": 3, "epsilon": 0.001, "momentum": 0.99,
                    "gamma_regularizer": null}}),
            ),
            (
                "Dropout",
                json!({"name": "o", "p": 0.5}),
                json!({"class_name": "Dropout", "config": {"name": "o", "rate": 0.5}}),
            ),
        ] {
            assert_eq!(converted_layer(class, config).unwrap(), expected);
        }
    }

    #[test]
    fn a_sequential_model_is_a_list_of_layers() {
        let dropout = json!({"class_name": "Dropout", "config": {"name": "o", "p": 0.5}});
        let model = object(&json!({"class_name": "Sequential", "config": [dropout]})).unwrap();
        assert_eq!(model["config"]["name"], "sequential_1");
        assert_eq!(model["config"]["layers"][0]["config"]["rate"], 0.5);
    }

    #[test]
    fn what_has_no_equivalent_is_refused_by_name() {
        for (class, config, expected) in [
            (
                "Convolution2D",
                json!({"name": "c", "dim_ordering": "th"}),
                "layer `c` (Convolution2D), option `dim_ordering`: expected tf, received \"th\"",
            ),
            (
                "Merge",
                json!({"name": "m", "mode": "dot"}),
                "layer `m` (Merge), option `mode`: expected sum, mul, ave or concat",
            ),
            (
                "BatchNormalization",
                json!({"name": "b", "mode": 2}),
                "layer `b` (BatchNormalization), option `mode`: expected 0, received 2",
            ),
        ] {
            let error = converted_layer(class, config).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
