//! Conversion of Keras 2 configs to those of Keras 3.

use engraft_nn::{Error, ErrorKind, Result};
use serde_json::{Map, Value};

/// Removes options of Keras 2 that have no effect and that Keras 3 doesn't have. Refuses the activation `hard_sigmoid`, which
/// is another function in Keras 3.
pub(super) fn layer_config(class_name: &str, config: &mut Map<String, Value>) -> Result<()> {
    config.retain(|option, value| !has_no_effect(class_name, option, value));
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
        ("RandomFlip" | "RandomRotation" | "RandomZoom", "rng_type") => true,
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
            layer_config(class_name, &mut config).map(|()| Value::Object(config)).map_err(|error| error.to_string())
        };
        assert_eq!(
            read("RandomFlip", json!({"mode": "vertical", "rng_type": "stateful"})),
            Ok(json!({"mode": "vertical"}))
        );
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
