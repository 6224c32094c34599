//! `compile_config` of a model: its optimizer, loss and metrics.
//!
//! The readers of `.keras` files and of the older `.h5` use `read`; `config_writer` uses `write`.

use engraft_ir::{Activation, Op};
use engraft_nn::{
    Compiled, Error, ErrorKind, Loss, Metric, Model, Optimizer, OptimizerState, OutputActivation, Program, Result,
    UnknownParts,
};
use serde_json::{Map, Value, json};

/// Options of `compile` that never change a result: they affect speed only, or nothing at all.
const WITHOUT_EFFECT: &[&str] = &["run_eagerly", "steps_per_execution", "jit_compile", "auto_scale_loss"];

/// Compiles the model by the `compile_config` of a file, part by part. Returns an error for each part that isn't known and
/// therefore left out; all others stay.
pub(super) fn read(config: &Map<String, Value>, model: &Model) -> Vec<Error> {
    let mut left_out: Vec<Error> = config.iter().filter_map(|(name, value)| unknown_option(name, value)).collect();
    let mut unknown = UnknownParts::default();
    let part = |name: &str| config.get(name).filter(|value| !value.is_null());
    let optimizer = part("optimizer").and_then(|value| {
        let (optimizer, errors) = Optimizer::known_part(value);
        left_out.extend(errors);
        unknown.optimizer = (optimizer.is_none() && is_of_keras(value)).then(|| value.clone());
        optimizer
    });
    let loss = part("loss").and_then(|value| {
        let value = of_one_output(value);
        if let Some(by_output) = losses_by_output(value) {
            unknown.loss = Some(by_output);
            return None;
        }
        let (loss, errors) = Loss::known_part(value);
        left_out.extend(errors);
        let loss =
            loss.filter(|loss| check_loss(loss, model.output_shape()).map_err(|error| left_out.push(error)).is_ok());
        let loss = loss.map(|loss| of_output(loss, model, 0));
        unknown.loss = loss.is_none().then(|| with_name(value)).filter(is_of_keras);
        loss
    });
    let mut metrics = Vec::new();
    for value in part("metrics").into_iter().flat_map(metrics_of) {
        match Metric::from_keras(value) {
            Ok(metric) => metrics.push(metric),
            Err(error) => {
                left_out.push(error);
                unknown.metrics.extend(is_of_keras(value).then(|| value.clone()));
            }
        }
    }
    let state = OptimizerState::default();
    model.set_compiled(Some(Compiled { optimizer, loss, metrics, state, unknown: unknown.into() }));
    left_out
}

/// The loss as it acts on output `index`. If this output is the result of the loss' own softmax or sigmoid, `from_logits` doesn't
/// count: Keras then computes the loss from what the activation is applied to (`_get_logits` of its TensorFlow backend).
fn of_output(loss: Loss, model: &Model, index: usize) -> Loss {
    if !loss.is_from_logits() {
        return loss;
    }
    let of_probabilities = loss.from_logits(false);
    let activation = match of_probabilities.output_activation() {
        OutputActivation::Softmax => Op::Softmax,
        OutputActivation::Sigmoid => Op::Activation(Activation::Sigmoid),
        OutputActivation::None => return loss,
    };
    let ends_in_it = Program::of(model, false, 0).is_ok_and(|program| {
        program
            .outputs
            .get(index)
            .is_some_and(|&output| program.steps.iter().any(|step| step.output == output && step.op == activation))
    });
    if ends_in_it { of_probabilities } else { loss }
}

/// The settings of a compiled model with several outputs for one of them, number `index`: its loss, and those that all share.
///
/// `name` is that by which Keras gives the output its loss: its key in a dictionary of outputs ([`output_names`](super::output_names)),
/// else the name of its layer.
///
/// Metrics aren't kept: Keras has them by output, too.
///
/// ```
/// use engraft_formats::keras;
/// use engraft_nn::prelude::*;
/// let x = Input::new([4]);
/// let (kind, age) = (Dense::new(3).named("kind").call(&x)?, Dense::new(1).named("age").call(&x)?);
/// let model = Model::new(&x, [&kind, &age])?;
/// model.compile(Sgd::new(0.1), Loss::categorical_crossentropy().from_logits(true), [])?;
/// let kind = keras::compiled_of_output(&model, 0, "kind").and_then(|compiled| compiled.loss);
/// assert_eq!(kind, Some(Loss::categorical_crossentropy().from_logits(true)));
/// # Ok::<(), engraft_nn::Error>(())
/// ```
pub fn compiled_of_output(model: &Model, index: usize, name: &str) -> Option<Compiled> {
    let compiled = model.compiled()?;
    let output = model.outputs().get(index)?;
    let object = match &compiled.unknown.loss {
        Some(Value::Array(losses)) => losses.get(index),
        Some(Value::Object(losses)) if !losses.contains_key("class_name") => losses.get(name),
        other => other.as_ref(),
    };
    let known = compiled.loss.or_else(|| object.and_then(|object| Loss::known_part(object).0));
    let loss = known.filter(|loss| check_loss(loss, output.shape()).is_ok()).map(|loss| of_output(loss, model, index));
    let unknown = UnknownParts {
        loss: object.filter(|object| loss.is_none() && !object.is_null()).cloned(),
        metrics: Vec::new(),
        optimizer: compiled.unknown.optimizer.clone(),
    };
    Some(Compiled { loss, metrics: Vec::new(), unknown: unknown.into(), ..compiled })
}

/// Checks a loss of an output such as `[1, 1, classes]` as that of `[classes]`. Both are the same in Keras, which takes the last axis.
fn check_loss(loss: &Loss, output: &[usize]) -> Result<()> {
    let places = output.iter().take(output.len().saturating_sub(1)).take_while(|&&size| size == 1).count();
    // An output without axes, such as `p[:, 1]`, is a single number.
    loss.check(if output.is_empty() { &[1] } else { &output[places..] })
}

/// The losses of several outputs, a list or a dictionary; null in place of those that don't name a part of Keras.
fn losses_by_output(value: &Value) -> Option<Value> {
    let kept = |value: &Value| Some(with_name(value)).filter(is_of_keras).unwrap_or_default();
    match value {
        Value::Array(list) => Some(list.iter().map(kept).collect()),
        Value::Object(by_output) if !by_output.contains_key("class_name") => {
            Some(by_output.iter().map(|(name, value)| (name.clone(), kept(value))).collect())
        }
        _ => None,
    }
}

/// A function of Keras for regression, which is serialized as one of `builtins`, by its name; any other value as it is.
fn with_name(value: &Value) -> Value {
    let name = value.get("config").filter(|name| value["class_name"] == "function" && name.is_string());
    let named = UnknownParts { loss: name.cloned(), ..UnknownParts::default() };
    let is_known = named.has_regression_loss();
    named.loss.filter(|_| is_known).unwrap_or_else(|| value.clone())
}

/// Whether a serialized value names nothing but parts of Keras. Anything else, such as a function of another module, isn't handed on
/// into files that we write.
fn is_of_keras(value: &Value) -> bool {
    match value {
        Value::Object(object) => {
            let module = object.get("module").and_then(Value::as_str);
            let is_code = object.get("class_name").is_some_and(|name| name == "__lambda__");
            !is_code && module.is_none_or(|module| module.starts_with("keras")) && object.values().all(is_of_keras)
        }
        Value::Array(list) => list.iter().all(is_of_keras),
        _ => true,
    }
}

/// An error for an option of `compile` that would change training and isn't known.
fn unknown_option(name: &str, value: &Value) -> Option<Error> {
    let is_known = ["optimizer", "loss", "metrics"].contains(&name) || WITHOUT_EFFECT.contains(&name);
    let error = || Error::new("compile_config", format_args!("no `{name}`"), value).with_kind(ErrorKind::Unsupported);
    (!is_known && !is_empty(value)).then(error)
}

/// The only element of a list or of a dictionary, of which Keras writes one for each output; otherwise the value itself.
fn of_one_output(value: &Value) -> &Value {
    match value {
        Value::Array(list) if list.len() == 1 => &list[0],
        Value::Object(by_output) if by_output.len() == 1 && !by_output.contains_key("class_name") => {
            by_output.values().next().unwrap_or(value)
        }
        value => value,
    }
}

/// The metrics of one value, of a list, or of a list or dictionary with a value or list for each output.
fn metrics_of(value: &Value) -> Vec<&Value> {
    match value {
        Value::Null => Vec::new(),
        Value::Array(list) => list.iter().flat_map(metrics_of).collect(),
        Value::Object(by_output) if !by_output.contains_key("class_name") => {
            by_output.values().flat_map(metrics_of).collect()
        }
        metric => vec![metric],
    }
}

fn is_empty(value: &Value) -> bool {
    value.is_null() || value.as_array().is_some_and(Vec::is_empty)
}

/// The `compile_config` of a compiled model, as Keras writes it.
pub(super) fn write(compiled: &Compiled) -> Value {
    let Compiled { optimizer, loss, metrics, unknown, .. } = compiled;
    let metrics = metrics.iter().map(|metric| metric.to_keras()).chain(unknown.metrics.iter().cloned());
    json!({
        "optimizer": optimizer.as_ref().map(Optimizer::to_keras).or_else(|| unknown.optimizer.clone()),
        "loss": loss.map(|loss| loss.to_keras()).or_else(|| unknown.loss.clone()),
        "loss_weights": null,
        "metrics": metrics.collect::<Vec<_>>(),
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
        assert!(read(written.as_object().unwrap(), &again).is_empty());
        let (first, second) = (model.compiled().unwrap(), again.compiled().unwrap());
        assert_eq!((first.optimizer, first.loss, first.metrics), (second.optimizer, second.loss, second.metrics));
    }

    #[test]
    fn the_loss_of_an_image_of_one_pixel_is_kept() {
        let model =
            |size: usize| Sequential::new().add(Input::new([size, size, 4])).add(Conv2D::new(3, 1)).build().unwrap();
        let config = json!({"loss": "categorical_crossentropy"});
        let of_pixel = model(1);
        assert!(read(config.as_object().unwrap(), &of_pixel).is_empty());
        assert_eq!(of_pixel.compiled().unwrap().loss, Some(Loss::categorical_crossentropy()));
        assert_eq!(read(config.as_object().unwrap(), &model(2)).len(), 1);
    }

    /// Reads a `compile_config` in which one part is `value`.
    fn read_with(part: &str, value: Value) -> (Compiled, Vec<String>) {
        let loss = json!({"class_name": "CategoricalCrossentropy", "config": {"from_logits": true}});
        let optimizer = json!({"class_name": "SGD", "config": {"learning_rate": 0.5}});
        let mut config = json!({"optimizer": optimizer, "loss": loss, "metrics": ["accuracy"]});
        config[part] = value;
        let model = Sequential::new().add(Input::new([4])).add(Dense::new(3)).build().unwrap();
        let left_out = read(config.as_object().unwrap(), &model).iter().map(Error::to_string).collect();
        (model.compiled().unwrap(), left_out)
    }

    #[test]
    fn a_part_that_is_not_known_is_left_out_and_named_and_the_others_stay() {
        let (optimizer, loss) = (Optimizer::from(Sgd::new(0.5)), Loss::categorical_crossentropy().from_logits(true));
        let lion = json!({"class_name": "Lion", "config": {}});
        for (part, value, expected) in [
            ("optimizer", lion, "Lion"),
            ("loss", json!("focal"), "focal"),
            ("loss", json!({"class_name": "my_loss", "config": {}, "registered_name": "mine>my_loss"}), "my_loss"),
            ("metrics", json!(["accuracy", {"class_name": "AUC", "config": {}}]), "AUC"),
            ("metrics", json!({"top": ["accuracy", "my_metric"]}), "my_metric"),
            ("loss_weights", json!([0.5]), "loss_weights"),
            ("weighted_metrics", json!(["accuracy"]), "weighted_metrics"),
        ] {
            let (compiled, left_out) = read_with(part, value.clone());
            assert!(left_out.len() == 1 && left_out[0].contains(expected), "{part}: {left_out:?}");
            assert_eq!(compiled.optimizer, (part != "optimizer").then(|| optimizer.clone()), "{part}");
            assert_eq!(compiled.loss, (part != "loss").then_some(loss), "{part}");
            assert_eq!(compiled.metrics, [Metric::Accuracy], "{part}");
            let written = write(&compiled);
            match part {
                "metrics" => assert!(written[part][1] == "my_metric" || written[part][1]["class_name"] == "AUC"),
                "optimizer" | "loss" => assert_eq!(written[part], value, "what isn't known is written back"),
                _ => {}
            }
        }
    }

    #[test]
    fn what_names_no_part_of_keras_is_not_written_back() {
        let function = json!({"class_name": "function", "module": "builtins", "config": "eval"});
        let wrapped = json!({"class_name": "MeanMetricWrapper", "module": "keras.metrics", "config": {"fn": function}});
        let code = json!({"class_name": "__lambda__", "config": {"value": "4wEA"}});
        for (part, value) in [("optimizer", &function), ("loss", &code), ("metrics", &wrapped)] {
            let (compiled, left_out) = read_with(part, value.clone());
            assert_eq!(left_out.len(), 1, "{part}");
            assert_eq!(*compiled.unknown, UnknownParts::default(), "{part}");
        }
    }

    #[test]
    fn an_option_that_is_not_known_leaves_the_rest_of_its_part() {
        let noam = json!({"class_name": "Noam", "module": "mine", "config": {}});
        let config = json!({"learning_rate": 0.25, "clipnorm": 1.0, "amsgrad": true});
        let (compiled, left_out) = read_with("optimizer", json!({"class_name": "Adam", "config": config}));
        assert_eq!((compiled.optimizer, left_out.len()), (Some(Adam::new(0.25).into()), 2));
        let config = json!({"learning_rate": noam, "momentum": 0.9});
        let (compiled, left_out) = read_with("optimizer", json!({"class_name": "SGD", "config": config}));
        assert_eq!(compiled.optimizer, Some(Sgd::default().momentum(0.9).into()), "Keras' default learning rate");
        assert!(left_out.len() == 1 && left_out[0].contains("Noam"), "{left_out:?}");
        let config = json!({"from_logits": true, "reduction": "sum", "axis": 1});
        let (compiled, left_out) =
            read_with("loss", json!({"class_name": "CategoricalCrossentropy", "config": config}));
        assert_eq!(compiled.loss, Some(Loss::categorical_crossentropy().from_logits(true)));
        assert_eq!(left_out.len(), 2, "{left_out:?}");
    }

    #[test]
    fn logits_are_what_a_softmax_or_sigmoid_at_the_end_is_applied_to() {
        let loss_of = |class: &str, activation: ActivationFn| {
            let layers = Sequential::new().add(Input::new([4])).add(Dense::new(3));
            let model = layers.add(engraft_nn::prelude::Activation::new(activation)).build().unwrap();
            let loss = json!({"loss": {"class_name": class, "config": {"from_logits": true}}});
            assert!(super::read(loss.as_object().unwrap(), &model).is_empty());
            model.compiled().unwrap().loss.unwrap()
        };
        let categorical = Loss::categorical_crossentropy();
        assert_eq!(loss_of("CategoricalCrossentropy", ActivationFn::Softmax), categorical);
        assert_eq!(loss_of("CategoricalCrossentropy", ActivationFn::Sigmoid), categorical.from_logits(true));
        assert_eq!(loss_of("CategoricalCrossentropy", ActivationFn::Linear), categorical.from_logits(true));
        assert_eq!(loss_of("BinaryCrossentropy", ActivationFn::Sigmoid), Loss::binary_crossentropy());
    }

    #[test]
    fn a_loss_can_be_missing_or_given_by_output() {
        let (compiled, left_out) = read_with("loss", Value::Null);
        assert!(compiled.loss.is_none() && left_out.is_empty());
        assert_eq!(write(&compiled)["loss"], Value::Null);
        let auto = json!({"class_name": "CategoricalCrossentropy", "config": {"reduction": "auto"}});
        let (compiled, left_out) = read_with("loss", auto);
        assert_eq!((compiled.loss, left_out.len()), (Some(Loss::categorical_crossentropy()), 0), "of Keras 2");
        for loss in [json!(["categorical_crossentropy"]), json!({"top": "categorical_crossentropy"})] {
            let (compiled, left_out) = read_with("loss", loss);
            assert_eq!((compiled.loss, left_out.len()), (Some(Loss::categorical_crossentropy()), 0));
        }
        let function = json!({"class_name": "function", "module": "builtins", "config": "mean_squared_error"});
        let (compiled, _) = read_with("loss", function);
        assert!(compiled.unknown.has_regression_loss() && write(&compiled)["loss"] == "mean_squared_error");
        for loss in [json!(["mse"]), json!({"top": "mse"})] {
            assert!(read_with("loss", loss).0.unknown.has_regression_loss());
        }
    }

    #[test]
    fn each_of_several_outputs_has_its_loss() {
        let outputs = |losses: Value| {
            let x = Input::new([4]);
            let output = |name: &'static str, units| Dense::new(units).named(name).call(&x).unwrap();
            let model = Model::new(&x, [&output("age", 1), &output("kind", 3), &output("tags", 4)]).unwrap();
            let left_out = read(json!({"loss": losses}).as_object().unwrap(), &model);
            assert!(left_out.is_empty(), "{left_out:?}");
            [(0, "age"), (1, "kind"), (2, "tags")].map(|(index, name)| compiled_of_output(&model, index, name).unwrap())
        };
        let from_logits = |class: &str| json!({"class_name": class, "config": {"from_logits": true}});
        let (kind, tags) = (from_logits("SparseCategoricalCrossentropy"), from_logits("BinaryCrossentropy"));
        for losses in [json!(["mae", kind, tags]), json!({"tags": tags, "kind": kind, "age": "mae"})] {
            let [age, kind, tags] = outputs(losses);
            assert!(age.loss.is_none() && age.unknown.has_regression_loss());
            assert_eq!(kind.loss, Some(Loss::sparse_categorical_crossentropy().from_logits(true)));
            assert_eq!(tags.loss, Some(Loss::binary_crossentropy().from_logits(true)));
        }
        let [age, kind, tags] = outputs(json!({"kind": tags, "tags": kind}));
        assert!(age.loss.is_none() && age.unknown.loss.is_none(), "it has none");
        assert_eq!(kind.loss, Some(Loss::binary_crossentropy().from_logits(true)));
        assert_eq!(tags.loss, Some(Loss::sparse_categorical_crossentropy().from_logits(true)));
        let code = json!({"class_name": "__lambda__", "config": {"value": "4wEA"}});
        let [age, kind, _] = outputs(json!([code, null, "mse"]));
        assert!(age.loss.is_none() && age.unknown.loss.is_none() && kind.unknown.loss.is_none());
    }
}
