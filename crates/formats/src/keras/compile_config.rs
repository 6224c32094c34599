//! `compile_config` of a model: its optimizer, loss and metrics.
//!
//! The readers of `.keras` files and of the older `.h5` use `read`; `config_writer` uses `write`.

use engraft_nn::{Compiled, Error, ErrorKind, Loss, Metric, Model, Optimizer, Result};
use serde_json::{Map, Value, json};

/// Options of `compile` that never change a result: they affect speed only, or nothing at all.
const WITHOUT_EFFECT: &[&str] = &["run_eagerly", "steps_per_execution", "jit_compile", "auto_scale_loss"];

/// Compiles the model by the `compile_config` of a file. If any part isn't supported, it returns an error and
/// leaves the model uncompiled.
pub(super) fn read(config: &Map<String, Value>, model: &Model) -> Result<()> {
    let part =
        |name: &str| config.get(name).ok_or_else(|| Error::new("compile_config", format_args!("`{name}`"), "none"));
    for (name, value) in config {
        let known =
            ["optimizer", "loss", "metrics"].contains(&name.as_str()) || WITHOUT_EFFECT.contains(&name.as_str());
        if !known && !is_empty(value) {
            return Err(
                Error::new("compile_config", format_args!("no `{name}`"), value).with_kind(ErrorKind::Unsupported)
            );
        }
    }
    let optimizer = Optimizer::from_keras(part("optimizer")?)?;
    let loss = match part("loss")? {
        Value::Array(list) if list.len() == 1 => Loss::from_keras(&list[0])?,
        loss => Loss::from_keras(loss)?,
    };
    let mut metrics = Vec::new();
    read_metrics(config.get("metrics").unwrap_or(&Value::Null), &mut metrics)?;
    model.compile(optimizer, loss, metrics)
}

/// Reads one metric, a list of metrics, or a list with one list per output; adds the metrics to `metrics`.
fn read_metrics(value: &Value, metrics: &mut Vec<Metric>) -> Result<()> {
    match value {
        Value::Null => Ok(()),
        Value::Array(list) => list.iter().try_for_each(|value| read_metrics(value, metrics)),
        metric => {
            metrics.push(Metric::from_keras(metric)?);
            Ok(())
        }
    }
}

fn is_empty(value: &Value) -> bool {
    value.is_null() || value.as_array().is_some_and(Vec::is_empty)
}

/// The `compile_config` of a compiled model, as Keras writes it.
pub(super) fn write(compiled: &Compiled) -> Value {
    json!({
        "optimizer": compiled.optimizer.to_keras(),
        "loss": compiled.loss.to_keras(),
        "loss_weights": null,
        "metrics": compiled.metrics.iter().map(|metric| metric.to_keras()).collect::<Vec<_>>(),
        "weighted_metrics": null,
        "run_eagerly": false,
        "steps_per_execution": 1,
        "jit_compile": false,
    })
}

#[cfg(test)]
mod tests {
    use engraft_nn::prelude::*;

    use super::*;

    fn model() -> Model {
        Sequential::new().add(Input::new([4])).add(Dense::new(3).activation(Softmax)).build().unwrap()
    }

    #[test]
    fn what_is_written_reads_back() {
        let model = model();
        model.compile(Adam::new(1e-4), Loss::categorical_crossentropy(), [Metric::Accuracy]).unwrap();
        let written = write(model.compiled().as_ref().unwrap());
        let again = self::model();
        read(written.as_object().unwrap(), &again).unwrap();
        let (first, second) = (model.compiled(), again.compiled());
        let (first, second) = (first.as_ref().unwrap(), second.as_ref().unwrap());
        assert_eq!((&first.optimizer, first.loss, &first.metrics), (&second.optimizer, second.loss, &second.metrics));
    }

    #[test]
    fn a_part_that_is_not_supported_leaves_the_model_uncompiled() {
        for (part, value, expected) in [
            ("optimizer", json!({"class_name": "Lion", "config": {}}), "Lion"),
            ("optimizer", json!({"class_name": "Adam", "config": {"learning_rate": {"class_name": "Noam"}}}), "Noam"),
            ("loss", json!("mse"), "mse"),
            ("metrics", json!(["auc"]), "auc"),
            ("loss_weights", json!([0.5]), "loss_weights"),
        ] {
            let mut config = json!({"optimizer": "adam", "loss": "categorical_crossentropy", "metrics": ["accuracy"]});
            config[part] = value;
            let model = model();
            let error = read(config.as_object().unwrap(), &model).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
            assert!(model.compiled().is_none(), "{part}");
        }
    }
}
