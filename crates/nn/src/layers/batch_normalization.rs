//! `BatchNormalization`: normalization of each channel, with moving statistics.

use engraft_ir::{Op, ValueId};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::axis_option::sample_axis;
use super::normalization_options::{scale_and_center_options, with_axes_in_order};
use super::options::{config_of, single, yes};
use crate::Shape;
use crate::layer_def::LayerDef;
use crate::lowering::Lowering;
use crate::weight::WeightSpec;
use crate::{Constraint, Error, ErrorKind, Initializer, Regularizer, Result, constraint, initializer, regularizer};

/// Normalizes each channel to mean 0 and variance 1, then scales and shifts it (Keras' `BatchNormalization`).
///
/// A training step uses the mean and variance of the batch, and updates the moving statistics with them. Outside training,
/// and in a frozen layer, the moving statistics are used and stay unchanged. Source: Ioffe and Szegedy 2015, arXiv:1502.03167.
///
/// ```
/// use engraft_nn::prelude::*;
/// let y = BatchNormalization::new().call(&Input::new([8, 8, 16]))?;
/// let names: Vec<String> = y.layer().weights().iter().map(|w| w.name().to_owned()).collect();
/// assert_eq!(names, ["gamma", "beta", "moving_mean", "moving_variance"]);
///
/// // Without a trainable scale and offset.
/// let y = BatchNormalization::new().momentum(0.9).epsilon(1e-5).scale(false).center(false).call(&y)?;
/// assert!(y.layer().trainable_weights().is_empty());
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BatchNormalization {
    #[serde(default = "last_axis", deserialize_with = "one_axis")]
    axis: i64,
    #[serde(default = "momentum")]
    momentum: f32,
    #[serde(default = "epsilon")]
    epsilon: f32,
    #[serde(default = "yes")]
    center: bool,
    #[serde(default = "yes")]
    scale: bool,
    #[serde(default = "Initializer::zeros", with = "initializer::object")]
    beta_initializer: Initializer,
    #[serde(default = "Initializer::ones", with = "initializer::object")]
    gamma_initializer: Initializer,
    #[serde(default = "Initializer::zeros", with = "initializer::object")]
    moving_mean_initializer: Initializer,
    #[serde(default = "Initializer::ones", with = "initializer::object")]
    moving_variance_initializer: Initializer,
    #[serde(default, with = "regularizer::object")]
    beta_regularizer: Option<Regularizer>,
    #[serde(default, with = "regularizer::object")]
    gamma_regularizer: Option<Regularizer>,
    #[serde(default, with = "constraint::object")]
    beta_constraint: Option<Constraint>,
    #[serde(default, with = "constraint::object")]
    gamma_constraint: Option<Constraint>,
    #[serde(default)]
    synchronized: bool,
    /// Whether training normalizes with corrected statistics (Ioffe 2017, arXiv:1702.03275), which is refused here.
    #[serde(default)]
    renorm: bool,
    #[serde(default)]
    renorm_clipping: Value,
    #[serde(default)]
    renorm_momentum: Option<f32>,
}

/// Reads the axis of a config: Keras 3 has a number, Keras 2 a list of one number, which Keras 3 refuses.
fn one_axis<'de, D: Deserializer<'de>>(d: D) -> std::result::Result<i64, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "one axis")]
    enum Form {
        One(i64),
        List([i64; 1]),
    }
    let (Form::One(axis) | Form::List([axis])) = Form::deserialize(d)?;
    Ok(axis)
}

fn last_axis() -> i64 {
    -1
}

fn momentum() -> f32 {
    0.99
}

fn epsilon() -> f32 {
    0.001
}

impl Default for BatchNormalization {
    fn default() -> Self {
        Self::new()
    }
}

impl BatchNormalization {
    /// A layer for channels along the last axis, with momentum 0.99 and epsilon 0.001.
    pub fn new() -> Self {
        Self {
            axis: last_axis(),
            momentum: momentum(),
            epsilon: epsilon(),
            center: true,
            scale: true,
            beta_initializer: Initializer::zeros(),
            gamma_initializer: Initializer::ones(),
            moving_mean_initializer: Initializer::zeros(),
            moving_variance_initializer: Initializer::ones(),
            beta_regularizer: None,
            gamma_regularizer: None,
            beta_constraint: None,
            gamma_constraint: None,
            synchronized: false,
            renorm: false,
            renorm_clipping: Value::Null,
            renorm_momentum: None,
        }
    }

    /// Sets the axis of the channels: 1 is the first after the batch, -1 is the last (default).
    #[must_use]
    pub fn axis(mut self, axis: i64) -> Self {
        self.axis = axis;
        self
    }

    /// Sets the share of the moving statistics that remains after a training step; 0.99 by default.
    #[must_use]
    pub fn momentum(mut self, momentum: f32) -> Self {
        self.momentum = momentum;
        self
    }

    /// The axis of a sample's channels.
    fn channel_axis(&self, shape: &Shape) -> Result<usize> {
        sample_axis(self.axis, shape.len())
    }
}

scale_and_center_options!(BatchNormalization);

impl LayerDef for BatchNormalization {
    fn class_name(&self) -> &'static str {
        "BatchNormalization"
    }

    fn config(&self) -> Map<String, Value> {
        let mut config = config_of(self);
        if !self.renorm {
            // Not every Keras 3 has these options.
            config.retain(|option, _| !option.starts_with("renorm"));
        }
        config
    }

    fn output_shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let shape = single(inputs)?;
        self.channel_axis(shape)?;
        Ok(shape.clone())
    }

    fn weights(&self, inputs: &[Shape]) -> Result<Vec<WeightSpec>> {
        let shape = single(inputs)?;
        let channels = shape[self.channel_axis(shape)?];
        let statistics = |name: &'static str, initializer: &Initializer| WeightSpec {
            name: name.into(),
            shape: vec![channels],
            initializer: initializer.clone(),
            trainable: false,
            regularizer: None,
            constraint: None,
        };
        let mut weights = self.gamma_and_beta(self.scale, self.center, vec![channels]);
        weights.push(statistics("moving_mean", &self.moving_mean_initializer));
        weights.push(statistics("moving_variance", &self.moving_variance_initializer));
        if self.renorm {
            weights.push(statistics("moving_stddev", &Initializer::ones()));
            weights.push(statistics("renorm_mean", &Initializer::zeros()));
            weights.push(statistics("renorm_stddev", &Initializer::ones()));
        }
        Ok(weights)
    }

    fn lower(&self, to: &mut Lowering<'_>, inputs: &[ValueId]) -> Result<ValueId> {
        let shape = to.shape(inputs[0]).clone();
        let batch_statistics = to.training() && to.layer_trainable();
        if self.renorm && batch_statistics {
            return Err(Error::new("renorm", "false, to train the layer", "true")
                .with_kind(ErrorKind::Unsupported)
                .hint("the model predicts as it is; to train the rest of it here, freeze this layer"));
        }
        let op = Op::BatchNorm {
            epsilon: self.epsilon,
            momentum: self.momentum,
            scale: self.scale,
            center: self.center,
            batch_statistics,
        };
        let channels = self.channel_axis(&shape)?;
        let order: Vec<usize> = (0..shape.len()).filter(|&axis| axis != channels).chain([channels]).collect();
        // The weights of `renorm` are used in training alone.
        let weights = 2 + usize::from(self.scale) + usize::from(self.center);
        let push = |to: &mut Lowering<'_>, input, shape| to.push_with(op, &[input], shape, 0..weights);
        Ok(with_axes_in_order(to, inputs[0], &order, push))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::Program;
    use crate::layers::from_config;
    use crate::prelude::*;

    fn layer(options: serde_json::Value) -> Layer {
        let mut config = options.as_object().unwrap().clone();
        config.insert("name".into(), "norm".into());
        from_config("BatchNormalization", config).unwrap()
    }

    #[test]
    fn renorm_predicts_with_the_moving_statistics_and_its_training_is_refused() {
        let options = json!({"renorm": true, "renorm_clipping": {"rmax": 3.0}, "renorm_momentum": 0.5});
        let norm = layer(options.clone());
        options.as_object().unwrap().iter().for_each(|(option, value)| assert_eq!(norm.def().config()[option], *value));
        let x = Input::new([2, 3]);
        let model = Model::new(&x, &norm.call(&x).unwrap()).unwrap();
        let names: Vec<String> = norm.weights().iter().map(|weight| weight.name().to_owned()).collect();
        assert_eq!(names[2..], ["moving_mean", "moving_variance", "moving_stddev", "renorm_mean", "renorm_stddev"]);
        assert_eq!(Program::of(&model, false, 0).unwrap().steps[0].weights.len(), 4);
        let error = Program::of(&model, true, 0).unwrap_err().to_string();
        assert!(error.starts_with("layer `norm` (BatchNormalization), renorm: expected false, to train"), "{error}");
        norm.set_trainable(false);
        assert_eq!(Program::of(&model, true, 0).unwrap().steps[0].weights.len(), 4);
    }

    #[test]
    fn the_axis_is_written_as_a_number() {
        for axis in [json!(3), json!([3])] {
            assert_eq!(layer(json!({"axis": axis})).def().config()["axis"], 3);
        }
    }

    #[test]
    fn options_of_renorm_are_written_with_it_alone() {
        let norm = layer(json!({"renorm": false, "renorm_clipping": null, "renorm_momentum": 0.99}));
        assert!(norm.def().config().keys().all(|option| !option.starts_with("renorm")));
    }
}
