//! Conversion of Keras 2 configs to those of Keras 3.

use engraft_nn::{Error, ErrorKind, Result};
use serde_json::{Map, Value};

use super::serialized_object::is_module_of_keras;

/// Converts the config of a layer; returns the layer's class in Keras 3.
///
/// Removes options of Keras 2 that have no effect and that Keras 3 doesn't have. Refuses the activation `hard_sigmoid` and the
/// layer `RandomCrop`, which compute something else in Keras 3.
pub(super) fn layer<'a>(class_name: &'a str, config: &mut Map<String, Value>) -> Result<&'a str> {
    config.retain(|option, value| !has_no_effect(class_name, option, value));
    check_meaning(class_name, config)?;
    Ok(match class_name {
        // TensorFlow 1.13 and 1.14 wrote the names of two implementations.
        "SyncBatchNormalization" | "BatchNormalizationV1" | "BatchNormalizationV2" => "BatchNormalization",
        // The class of the package `efficientnet`: a Dropout whose noise_shape may have open sizes, as in every Dropout of Keras 3.
        "FixedDropout" => "Dropout",
        "ThresholdedReLU" => {
            if let Some(theta) = config.remove("theta") {
                config.insert("threshold".into(), theta);
            }
            "ReLU"
        }
        _ => class_name,
    })
}

/// Converts Keras 2's `Custom>CustomScaleLayer` to the class of Keras 3. Returns `None` for any other object.
///
/// It is the scaled addition in InceptionResNetV2 of `keras.applications`, which Keras 2 registers like a user's own class. An `.h5`
/// doesn't name a class' module, so there the options must be exactly those of Keras' class.
pub(super) fn registered_class(object: &Value) -> Option<Value> {
    let registered = |key: &str| object.get(key).is_some_and(|name| *name == "Custom>CustomScaleLayer");
    let options = object.get("config").and_then(Value::as_object)?;
    let known = ["name", "trainable", "dtype", "scale", "batch_input_shape"];
    let own = match object.get("module") {
        None => registered("class_name") && options.keys().all(|option| known.contains(&option.as_str())),
        Some(module) => {
            let network = ".applications.inception_resnet_v2";
            let inception = |module: &str| is_module_of_keras(module) && module.ends_with(network);
            registered("registered_name") && module.as_str().is_some_and(inception)
        }
    };
    own.then(|| {
        let mut own = object.clone();
        own["class_name"] = "CustomScaleLayer".into();
        own.as_object_mut().into_iter().for_each(|own| {
            own.remove("module");
            own.remove("registered_name");
        });
        own
    })
}

/// Refuses what Keras 3 computes in another way than Keras 2.
fn check_meaning(class_name: &str, config: &Map<String, Value>) -> Result<()> {
    if class_name == "RandomCrop" {
        return Err(Error::because(
            "prediction",
            "Keras 2, which wrote this file, crops and resizes photos in prediction, too; Keras 3 and engraft crop in training alone",
        )
        .with_kind(ErrorKind::Unsupported)
        .hint("replace it by Resizing(height, width, crop_to_aspect_ratio=True), which predicts the same, and save the model again"));
    }
    match config.get("activation").and_then(Value::as_str) {
        Some("hard_sigmoid") => Err(Error::because(
            "option `activation`",
            "hard_sigmoid is x / 5 + 1/2 between 0 and 1 in Keras 2, which wrote this file, but x / 6 + 1/2 in Keras 3 and engraft",
        )
        .with_kind(ErrorKind::Unsupported)
        .hint("build the model in Keras 3 and train it there")),
        _ => Ok(()),
    }
}

fn has_no_effect(class_name: &str, option: &str, value: &Value) -> bool {
    match (class_name, option) {
        // All random layers of images: how TensorFlow draws random numbers.
        (_, "rng_type") => class_name.starts_with("Random"),
        // Keras 2 computes the shape from the input and writes the option of the base class Dropout.
        ("SpatialDropout1D" | "SpatialDropout2D" | "SpatialDropout3D", "noise_shape") => true,
        // Options of the base class Conv, which these layers ignore.
        ("DepthwiseConv2D" | "SeparableConv2D", "kernel_initializer") => true,
        ("DepthwiseConv2D" | "SeparableConv2D", "kernel_regularizer" | "kernel_constraint") => value.is_null(),
        ("DepthwiseConv2D" | "SeparableConv2D", "groups") => *value == 1,
        // Shapes that the layer was built with, which its calls have, too.
        ("MultiHeadAttention", "query_shape" | "value_shape" | "key_shape") => true,
        // Two ways to apply a mask, with the same result.
        ("MultiHeadAttention", "softmax_robust_masking") => true,
        _ => false,
    }
}

/// Gives the optimizer and metrics in a `compile_config` their names in Keras 3, and removes options of the optimizer that
/// have no effect.
pub(super) fn compile_config(config: &mut Map<String, Value>) {
    if let Some(optimizer) = config.get_mut("optimizer") {
        if let Some(name) = optimizer["class_name"].as_str().and_then(|name| name.strip_prefix("Custom>")) {
            optimizer["class_name"] = name.into();
        }
        if let Some(options) = optimizer.get_mut("config").and_then(Value::as_object_mut) {
            let averaged = options.get("use_ema").is_some_and(|value| *value != false);
            options.retain(|option, value| match option.as_str() {
                "decay" => *value != 0.0,
                "ema_overwrite_frequency" => averaged,
                _ => true,
            });
        }
    }
    if let Some(metrics) = config.get_mut("metrics") {
        unwrap_metrics(metrics);
    }
}

/// Replaces a `MeanMetricWrapper` by the name of its function, as Keras 3 writes it.
fn unwrap_metrics(metrics: &mut Value) {
    match metrics {
        Value::Array(list) => list.iter_mut().for_each(unwrap_metrics),
        metric => {
            let function = metric.pointer("/config/fn").and_then(Value::as_str).map(str::to_owned);
            if let Some(function) = function.filter(|_| metric["class_name"] == "MeanMetricWrapper") {
                *metric = function.into();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_says_nothing_is_left_out() {
        let read = |class_name, config: Value| {
            let Value::Object(mut config) = config else { panic!("no object") };
            layer(class_name, &mut config).map(|_| Value::Object(config)).map_err(|error| error.to_string())
        };
        assert_eq!(
            read("RandomFlip", json!({"mode": "vertical", "rng_type": "stateful"})),
            Ok(json!({"mode": "vertical"}))
        );
        assert_eq!(read("RandomContrast", json!({"factor": 0.1, "rng_type": "stateful"})), Ok(json!({"factor": 0.1})));
        assert_eq!(read("SpatialDropout2D", json!({"rate": 0.1, "noise_shape": null})), Ok(json!({"rate": 0.1})));
        let more = json!({"groups": 1, "kernel_regularizer": null, "kernel_initializer": {"class_name": "Zeros"}});
        assert_eq!(read("SeparableConv2D", more), Ok(json!({})));
        for kept in [json!({"groups": 2}), json!({"kernel_regularizer": {"class_name": "L2"}})] {
            assert_eq!(
                read("DepthwiseConv2D", kept.clone()),
                Ok(kept),
                "left to the reader of the layer, which refuses it"
            );
        }
        assert_eq!(read("Conv2D", json!({"groups": 1})), Ok(json!({"groups": 1})));
        let error = read("Dense", json!({"activation": "hard_sigmoid"})).unwrap_err();
        assert!(error.starts_with("option `activation`: hard_sigmoid is x / 5 + 1/2"), "{error}");
        let error = read("RandomCrop", json!({"height": 8, "width": 8})).unwrap_err();
        assert!(error.contains("crops and resizes photos in prediction"), "{error}");
    }

    #[test]
    fn classes_that_keras_3_lacks_become_others() {
        let class = |class_name, config: Value| {
            let Value::Object(mut config) = config else { panic!("no object") };
            layer(class_name, &mut config).map(|class| (class, Value::Object(config))).unwrap()
        };
        assert_eq!(class("ThresholdedReLU", json!({"theta": 0.25})), ("ReLU", json!({"threshold": 0.25})));
        for name in ["SyncBatchNormalization", "BatchNormalizationV1", "BatchNormalizationV2"] {
            assert_eq!(class(name, json!({"axis": 3})), ("BatchNormalization", json!({"axis": 3})));
        }
        let drop = json!({"rate": 0.2, "noise_shape": [null, 1, 1, 1], "seed": null});
        assert_eq!(class("FixedDropout", drop.clone()), ("Dropout", drop));
    }

    #[test]
    fn optimizers_and_metrics_get_their_names_of_today() {
        let mut config = json!({
            "optimizer": {"class_name": "Custom>Adam", "config": {
                "learning_rate": 0.1, "decay": 0.0, "use_ema": false, "ema_overwrite_frequency": 100}},
            "metrics": [["auc", {"class_name": "MeanMetricWrapper", "config": {"fn": "categorical_accuracy"}}]],
        });
        compile_config(config.as_object_mut().unwrap());
        let expected = json!({
            "optimizer": {"class_name": "Adam", "config": {"learning_rate": 0.1, "use_ema": false}},
            "metrics": [["auc", "categorical_accuracy"]],
        });
        assert_eq!(config, expected);
    }
}
