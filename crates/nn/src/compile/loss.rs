//! Losses: their options, targets and Keras' serialized form. Executors compute their values and gradients.

use serde_json::{Map, Value, json};

use crate::decimals::shorten;
use crate::{Error, ErrorKind, Result};

/// The kinds of losses.
///
/// ```
/// use engraft_nn::{Loss, LossKind};
/// let loss = Loss::from_keras(&"sparse_categorical_crossentropy".into())?;
/// assert_eq!(loss.kind(), LossKind::SparseCategoricalCrossentropy);
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LossKind {
    /// Cross-entropy over classes. Targets are rows of class probabilities, usually one-hot.
    CategoricalCrossentropy,
    /// Cross-entropy over classes. Targets are class indices.
    SparseCategoricalCrossentropy,
    /// Cross-entropy of each output as an independent yes or no. Targets are 0 or 1.
    BinaryCrossentropy,
}

/// A loss with its options (Keras' `keras.losses`), averaged over the batch.
///
/// ```
/// use engraft_nn::{LossKind, OutputActivation, prelude::*};
/// let loss = Loss::categorical_crossentropy().label_smoothing(0.1);
/// assert_eq!((loss.kind(), loss.name()), (LossKind::CategoricalCrossentropy, "categorical_crossentropy"));
/// // It fits a model that ends in a softmax over five classes.
/// assert!(!loss.is_from_logits() && loss.output_activation() == OutputActivation::Softmax);
/// loss.check(&[5])?;
/// assert_eq!(Loss::from_keras(&loss.to_keras())?, loss);
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Loss {
    kind: LossKind,
    from_logits: bool,
    label_smoothing: f32,
}

/// The last activation of a model, from logits to probabilities.
///
/// The loss is computed from the logits where possible: a probability that has rounded to 0 or 1 no longer shows how wrong a
/// logit is. A plan therefore splits this activation off the end of the program, as Keras does in a compiled step.
///
/// ```
/// use engraft_nn::{Loss, OutputActivation};
/// assert_eq!(Loss::categorical_crossentropy().output_activation(), OutputActivation::Softmax);
/// assert_eq!(Loss::binary_crossentropy().output_activation(), OutputActivation::Sigmoid);
/// // The outputs are logits already.
/// assert_eq!(Loss::categorical_crossentropy().from_logits(true).output_activation(), OutputActivation::None);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OutputActivation {
    /// No activation: the loss expects logits as the outputs, or the plan splits no activation off.
    #[default]
    None,
    /// Softmax over each row: the outputs of a row sum to 1.
    Softmax,
    /// Sigmoid of each output.
    Sigmoid,
}

impl Loss {
    fn new(kind: LossKind) -> Self {
        Self { kind, from_logits: false, label_smoothing: 0.0 }
    }

    /// Cross-entropy for one-hot targets. Expects a softmax at the end of the model.
    ///
    /// ```
    /// use engraft_nn::prelude::*;
    /// let model = Sequential::new().add(Input::new([4])).add(Dense::new(3).activation(Softmax)).build()?;
    /// model.compile(Adam::new(1e-4), Loss::categorical_crossentropy(), [Metric::Accuracy])?;
    /// # Ok::<(), engraft_nn::Error>(())
    /// ```
    pub fn categorical_crossentropy() -> Self {
        Self::new(LossKind::CategoricalCrossentropy)
    }

    /// Cross-entropy for class indices as targets. Expects a softmax at the end of the model.
    ///
    /// ```
    /// use engraft_nn::prelude::*;
    /// let loss = Loss::sparse_categorical_crossentropy();
    /// assert_eq!(loss.dense_targets(&[2.0], 1, 3)?, [0.0, 0.0, 1.0]);
    /// # Ok::<(), engraft_nn::Error>(())
    /// ```
    pub fn sparse_categorical_crossentropy() -> Self {
        Self::new(LossKind::SparseCategoricalCrossentropy)
    }

    /// Cross-entropy for independent outputs, each with a target of 0 or 1. Expects a sigmoid at the end of the model.
    ///
    /// ```
    /// use engraft_nn::prelude::*;
    /// let model = Sequential::new().add(Input::new([4])).add(Dense::new(1).activation(Sigmoid)).build()?;
    /// model.compile(Adam::new(1e-4), Loss::binary_crossentropy(), [Metric::Accuracy])?;
    /// # Ok::<(), engraft_nn::Error>(())
    /// ```
    pub fn binary_crossentropy() -> Self {
        Self::new(LossKind::BinaryCrossentropy)
    }

    /// Whether the model's outputs are logits, without a softmax or sigmoid; false by default.
    ///
    /// ```
    /// use engraft_nn::prelude::*;
    /// // The last layer has no activation.
    /// let model = Sequential::new().add(Input::new([4])).add(Dense::new(3)).build()?;
    /// let loss = Loss::categorical_crossentropy().from_logits(true);
    /// assert!(loss.is_from_logits());
    /// model.compile(Adam::new(1e-4), loss, [Metric::Accuracy])?;
    /// # Ok::<(), engraft_nn::Error>(())
    /// ```
    #[must_use]
    pub fn from_logits(mut self, from_logits: bool) -> Self {
        self.from_logits = from_logits;
        self
    }

    /// Fraction of each target that is spread evenly over all classes (binary cross-entropy: over 0 and 1), in `0.0..=1.0`; 0 by
    /// default.
    #[must_use]
    pub fn label_smoothing(mut self, smoothing: f32) -> Self {
        self.label_smoothing = smoothing;
        self
    }

    /// The kind of the loss.
    pub fn kind(&self) -> LossKind {
        self.kind
    }

    /// Whether the model's outputs are logits.
    pub fn is_from_logits(&self) -> bool {
        self.from_logits
    }

    /// Keras' name of the loss, such as `categorical_crossentropy`.
    pub fn name(&self) -> &'static str {
        self.names().0
    }

    /// Keras' names of the loss: of its function (`binary_crossentropy`) and of its class (`BinaryCrossentropy`).
    fn names(&self) -> (&'static str, &'static str) {
        NAMES.iter().find(|names| names.2 == self.kind).map(|n| (n.0, n.1)).expect("the table holds every loss")
    }

    /// The last activation that this loss expects of a model.
    pub fn output_activation(&self) -> OutputActivation {
        match self.kind {
            _ if self.from_logits => OutputActivation::None,
            LossKind::BinaryCrossentropy => OutputActivation::Sigmoid,
            _ => OutputActivation::Softmax,
        }
    }

    /// Checks the options, and that the loss fits outputs of this shape (without the batch axis).
    ///
    /// ```
    /// use engraft_nn::prelude::*;
    /// let error = Loss::categorical_crossentropy().check(&[1]).unwrap_err().to_string();
    /// assert!(error.contains("for one output use binary_crossentropy"), "{error}");
    /// ```
    ///
    /// # Errors
    /// An output shape without exactly one axis, fewer than two outputs (binary cross-entropy: fewer than one), or a label
    /// smoothing outside of `0.0..=1.0`.
    pub fn check(&self, output: &[usize]) -> Result<()> {
        if !(0.0..=1.0).contains(&self.label_smoothing) {
            return Err(Error::new("label_smoothing", "a share from 0 to 1", self.label_smoothing));
        }
        match (self.kind, output) {
            (LossKind::BinaryCrossentropy, [units]) if *units >= 1 => Ok(()),
            (LossKind::BinaryCrossentropy, _) => {
                Err(Error::new("binary_crossentropy", "outputs of shape [units]", format_args!("{output:?}")))
            }
            (_, [classes]) if *classes >= 2 => Ok(()),
            (_, [1]) => Err(Error::new(self.name(), "two or more outputs", 1)
                .hint("for one output use binary_crossentropy with a sigmoid")),
            _ => Err(Error::new(self.name(), "outputs of shape [classes]", format_args!("{output:?}"))
                .hint("add Flatten or a pooling layer before the last Dense")),
        }
    }

    /// Targets as `rows` rows of `width` numbers, with class indices made one-hot and label smoothing applied.
    ///
    /// ```
    /// use engraft_nn::prelude::*;
    /// let loss = Loss::categorical_crossentropy().label_smoothing(0.5);
    /// assert_eq!(loss.dense_targets(&[1.0, 0.0], 1, 2)?, [0.75, 0.25]);
    /// # Ok::<(), engraft_nn::Error>(())
    /// ```
    ///
    /// # Errors
    /// A number of targets other than `rows` class indices or `rows * width` values, or class indices that aren't whole numbers
    /// in `0..width`.
    pub fn dense_targets(&self, targets: &[f32], rows: usize, width: usize) -> Result<Vec<f32>> {
        let place = format_args!("targets of {}", self.name()).to_string();
        let mut dense = match self.kind {
            LossKind::SparseCategoricalCrossentropy => {
                if targets.len() != rows {
                    return Err(Error::new(
                        place,
                        format_args!("{rows} class indices"),
                        format_args!("{} numbers", targets.len()),
                    )
                    .hint("for one-hot targets use categorical_crossentropy"));
                }
                let mut dense = vec![0.0; rows * width];
                for (row, &class) in targets.iter().enumerate() {
                    if class < 0.0 || class >= width as f32 || class.fract() != 0.0 {
                        return Err(Error::new(place, format_args!("class indices from 0 to {}", width - 1), class));
                    }
                    dense[row * width + class as usize] = 1.0;
                }
                dense
            }
            _ if targets.len() == rows * width => targets.to_vec(),
            _ => {
                let received = format!("{} numbers", targets.len());
                return Err(Error::new(place, format_args!("{rows} rows of {width} numbers"), received)
                    .hint("for class indices use sparse_categorical_crossentropy"));
            }
        };
        if self.label_smoothing > 0.0 {
            let share = match self.kind {
                LossKind::BinaryCrossentropy => 0.5,
                _ => 1.0 / width as f32,
            };
            dense.iter_mut().for_each(|t| *t = *t * (1.0 - self.label_smoothing) + self.label_smoothing * share);
        }
        Ok(dense)
    }

    /// Keras' serialized form (`keras.losses.serialize`).
    pub fn to_keras(&self) -> Value {
        let (name, class_name) = self.names();
        let mut config = json!({"name": name, "reduction": "sum_over_batch_size", "from_logits": self.from_logits});
        match self.kind {
            LossKind::SparseCategoricalCrossentropy => config["ignore_class"] = Value::Null,
            _ => {
                config["label_smoothing"] = json!(self.label_smoothing);
                config["axis"] = json!(-1);
            }
        }
        shorten(&mut config);
        json!({"module": "keras.losses", "class_name": class_name, "config": config, "registered_name": null})
    }

    /// Reads Keras' serialized form: a name, or an object with a config.
    ///
    /// # Errors
    /// An unknown loss, option or value of an option.
    pub fn from_keras(value: &Value) -> Result<Self> {
        let (loss, unknown) = Self::known_part(value);
        match (loss, unknown.into_iter().next()) {
            (Some(loss), None) => Ok(loss),
            (_, unknown) => Err(unknown.unwrap_or_else(|| unknown_loss(value))),
        }
    }

    /// Reads what is known of Keras' serialized form, and returns an error for each part that isn't: the loss, an option.
    ///
    /// ```
    /// use engraft_nn::prelude::*;
    /// let config = serde_json::json!({"from_logits": true, "reduction": "sum"});
    /// let object = serde_json::json!({"class_name": "CategoricalCrossentropy", "config": config});
    /// let (loss, unknown) = Loss::known_part(&object);
    /// assert_eq!(loss, Some(Loss::categorical_crossentropy().from_logits(true)));
    /// assert!(unknown[0].to_string().contains("reduction"));
    /// assert_eq!(Loss::known_part(&"focal".into()).0, None);
    /// ```
    pub fn known_part(value: &Value) -> (Option<Self>, Vec<Error>) {
        let (name, config) = match value {
            Value::String(name) => (name.as_str(), None),
            // Keras serializes a function of keras.losses with the function's name as the config.
            Value::Object(object) => match (object.get("config"), object.get("class_name")) {
                (Some(Value::String(function)), _) => (function.as_str(), None),
                (config, Some(Value::String(name))) => (name.as_str(), config.and_then(Value::as_object)),
                _ => return (None, vec![unknown_loss(value)]),
            },
            other => return (None, vec![unknown_loss(other)]),
        };
        let Some(row) = NAMES.iter().find(|names| names.0 == name || names.1 == name) else {
            return (None, vec![unknown_loss(&name)]);
        };
        let mut loss = Self::new(row.2);
        let options = config.into_iter().flatten();
        let unknown = options.filter_map(|(option, value)| loss.set_option(option, value).err()).collect();
        (Some(loss), unknown)
    }

    fn set_option(&mut self, option: &str, value: &Value) -> Result<()> {
        let supported = match (option, value) {
            ("name" | "dtype" | "fn", _) | ("ignore_class", Value::Null) => true,
            ("from_logits", Value::Bool(from_logits)) => {
                self.from_logits = *from_logits;
                true
            }
            ("label_smoothing", Value::Number(smoothing)) => {
                self.label_smoothing = smoothing.as_f64().unwrap_or(0.0) as f32;
                true
            }
            ("axis", axis) => axis.as_i64() == Some(-1),
            // `auto` of Keras 2 is `sum_over_batch_size` in `fit`.
            ("reduction", reduction) => reduction == "sum_over_batch_size" || reduction == "auto",
            _ => false,
        };
        if supported {
            return Ok(());
        }
        let options: Map<String, Value> = [(option.to_owned(), value.clone())].into_iter().collect();
        Err(Error::new(
            format_args!("loss `{}`", self.name()),
            "from_logits, label_smoothing, axis -1 and reduction sum_over_batch_size",
            Value::Object(options),
        )
        .with_kind(ErrorKind::Unsupported))
    }
}

fn unknown_loss(received: &dyn std::fmt::Display) -> Error {
    let known: Vec<&str> = NAMES.iter().map(|names| names.0).collect();
    Error::new("loss", format_args!("one of {}", known.join(", ")), received).with_kind(ErrorKind::Unsupported)
}

/// Keras' function name and class name of each loss.
const NAMES: &[(&str, &str, LossKind)] = &[
    ("categorical_crossentropy", "CategoricalCrossentropy", LossKind::CategoricalCrossentropy),
    ("sparse_categorical_crossentropy", "SparseCategoricalCrossentropy", LossKind::SparseCategoricalCrossentropy),
    ("binary_crossentropy", "BinaryCrossentropy", LossKind::BinaryCrossentropy),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keras_form_reads_back() {
        for loss in [
            Loss::categorical_crossentropy().label_smoothing(0.25),
            Loss::sparse_categorical_crossentropy().from_logits(true),
            Loss::binary_crossentropy(),
        ] {
            assert_eq!(Loss::from_keras(&loss.to_keras()).unwrap(), loss);
            assert_eq!(Loss::from_keras(&loss.name().into()).unwrap().kind(), loss.kind());
        }
        assert!(Loss::from_keras(&"mse".into()).unwrap_err().to_string().contains("categorical_crossentropy"));
    }

    #[test]
    fn indices_become_one_hot_rows_and_targets_are_smoothed() {
        let sparse = Loss::sparse_categorical_crossentropy();
        assert_eq!(sparse.dense_targets(&[2.0, 0.0], 2, 3).unwrap(), [0.0, 0.0, 1.0, 1.0, 0.0, 0.0]);
        assert!(sparse.dense_targets(&[3.0], 1, 3).unwrap_err().to_string().contains("from 0 to 2"));
        let smooth = Loss::categorical_crossentropy().label_smoothing(0.5);
        assert_eq!(smooth.dense_targets(&[1.0, 0.0], 1, 2).unwrap(), [0.75, 0.25]);
    }
}
