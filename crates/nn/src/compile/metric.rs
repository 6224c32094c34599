//! Metrics, which training and evaluation report besides the loss.

use serde_json::{Value, json};

use super::LossKind;
use crate::{Error, ErrorKind, Result};

/// A metric (Keras' `keras.metrics`), averaged over all samples of an epoch or an evaluation.
///
/// ```
/// use engraft_nn::prelude::*;
/// let model = Sequential::new().add(Input::new([4])).add(Dense::new(10).activation(Softmax)).build()?;
/// model.compile(Sgd::new(0.1), Loss::categorical_crossentropy(), [Metric::Accuracy, Metric::TopKAccuracy(3)])?;
/// let names: Vec<&str> = model.compiled_or_error()?.metrics.iter().map(|metric| metric.name()).collect();
/// assert_eq!(names, ["accuracy", "top_k_categorical_accuracy"]);
/// assert_eq!(Metric::from_keras(&Metric::TopKAccuracy(3).to_keras())?, Metric::TopKAccuracy(3));
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    /// Fraction of samples whose largest output is that of the target class. With `binary_crossentropy`, the fraction of outputs
    /// on the same side of 0.5 as their targets.
    Accuracy,
    /// Fraction of outputs on the same side of 0.5 as their targets (Keras' `BinaryAccuracy`), for several labels a sample.
    ///
    /// Keras compares the largest outputs where a model with several outputs is compiled with `accuracy`.
    BinaryAccuracy,
    /// Fraction of samples whose target class has one of the `k` largest outputs.
    TopKAccuracy(usize),
}

impl Metric {
    /// Keras' name of the metric: `accuracy`, `binary_accuracy` or `top_k_categorical_accuracy`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Accuracy => "accuracy",
            Self::BinaryAccuracy => "binary_accuracy",
            Self::TopKAccuracy(_) => "top_k_categorical_accuracy",
        }
    }

    /// Keras' serialized form (`keras.metrics.serialize`).
    pub fn to_keras(self) -> Value {
        match self {
            Self::Accuracy | Self::BinaryAccuracy => json!(self.name()),
            Self::TopKAccuracy(k) => json!({
                "module": "keras.metrics",
                "class_name": "TopKCategoricalAccuracy",
                "config": {"name": self.name(), "dtype": "float32", "k": k},
                "registered_name": null,
            }),
        }
    }

    /// Reads Keras' serialized form: a name, or an object with a config.
    ///
    /// # Errors
    /// An unknown metric, a threshold other than 0.5, or a `k` that isn't a whole number of at least 1.
    pub fn from_keras(value: &Value) -> Result<Self> {
        let name = value.as_str().or_else(|| value.get("class_name").and_then(Value::as_str)).unwrap_or_default();
        let k = || match value.pointer("/config/k") {
            // Keras' default.
            None => Ok(5),
            Some(k) => match k.as_u64().and_then(|k| usize::try_from(k).ok()).filter(|k| *k > 0) {
                Some(k) => Ok(k),
                None => Err(Error::new(format_args!("metric `{name}`"), "a `k` of 1 or more", k)),
            },
        };
        let threshold = value.pointer("/config/threshold").and_then(Value::as_f64);
        match name {
            _ if threshold.is_some_and(|threshold| threshold != 0.5) => {
                let (place, threshold) = (format_args!("metric `{name}`"), threshold.unwrap_or_default());
                Err(Error::new(place, "a threshold of 0.5", threshold).with_kind(ErrorKind::Unsupported))
            }
            "accuracy"
            | "acc"
            | "categorical_accuracy"
            | "CategoricalAccuracy"
            | "sparse_categorical_accuracy"
            | "SparseCategoricalAccuracy" => Ok(Self::Accuracy),
            "binary_accuracy" | "BinaryAccuracy" => Ok(Self::BinaryAccuracy),
            "top_k_categorical_accuracy"
            | "TopKCategoricalAccuracy"
            | "sparse_top_k_categorical_accuracy"
            | "SparseTopKCategoricalAccuracy" => k().map(Self::TopKAccuracy),
            _ => {
                let received = if name.is_empty() { value.to_string() } else { name.to_owned() };
                Err(Error::new("metric", "accuracy, binary_accuracy or top_k_categorical_accuracy", received)
                    .with_kind(ErrorKind::Unsupported))
            }
        }
    }
}

/// The running mean of a metric over batches.
///
/// ```
/// use engraft_nn::{LossKind, Metric, MetricState};
/// let mut accuracy = MetricState::new(Metric::Accuracy);
/// // Two samples of two classes: the first is right, the second wrong.
/// accuracy.update(LossKind::SparseCategoricalCrossentropy, &[0.1, 0.9, 0.8, 0.2], &[1.0, 1.0], 2);
/// assert_eq!((accuracy.metric().name(), accuracy.result()), ("accuracy", 0.5));
/// ```
#[derive(Clone, Debug)]
pub struct MetricState {
    metric: Metric,
    hits: f64,
    count: f64,
}

impl MetricState {
    /// A running mean that contains no samples yet.
    pub fn new(metric: Metric) -> Self {
        Self { metric, hits: 0.0, count: 0.0 }
    }

    /// The metric that is averaged.
    pub fn metric(&self) -> Metric {
        self.metric
    }

    /// Adds a batch: rows of `width` outputs, and targets as the loss of this `kind` takes them.
    pub fn update(&mut self, kind: LossKind, outputs: &[f32], targets: &[f32], width: usize) {
        let by_output = match self.metric {
            Metric::Accuracy => kind == LossKind::BinaryCrossentropy,
            Metric::BinaryAccuracy => outputs.len() == targets.len(),
            Metric::TopKAccuracy(_) => false,
        };
        if by_output {
            let right = outputs.iter().zip(targets).filter(|(y, t)| (**y > 0.5) == (**t > 0.5)).count();
            self.hits += right as f64;
            self.count += outputs.len() as f64;
            return;
        }
        for (i, row) in outputs.chunks_exact(width).enumerate() {
            let class = match kind {
                LossKind::SparseCategoricalCrossentropy => targets[i] as usize,
                _ => argmax(&targets[i * width..][..width]),
            };
            let hit = match self.metric {
                Metric::Accuracy | Metric::BinaryAccuracy => argmax(row) == class,
                // A tie at rank k is a hit, as in TensorFlow's in_top_k. A score that isn't finite is never a hit.
                Metric::TopKAccuracy(k) => {
                    row[class].is_finite() && row.iter().filter(|score| **score > row[class]).count() < k
                }
            };
            self.hits += f64::from(u8::from(hit));
            self.count += 1.0;
        }
    }

    /// The mean over the samples so far; 0 without samples.
    pub fn result(&self) -> f64 {
        if self.count > 0.0 { self.hits / self.count } else { 0.0 }
    }
}

/// Index of the largest value, the first one if several are equal.
fn argmax(row: &[f32]) -> usize {
    let mut best = 0;
    for (i, score) in row.iter().enumerate() {
        if *score > row[best] {
            best = i;
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binary_accuracy_counts_outputs_whatever_the_loss() {
        for kind in [LossKind::BinaryCrossentropy, LossKind::CategoricalCrossentropy] {
            let mut state = MetricState::new(Metric::BinaryAccuracy);
            state.update(kind, &[0.9, 0.6, 0.2, 0.1], &[1.0, 0.0, 0.0, 0.0], 2);
            assert_eq!(state.result(), 0.75);
        }
        assert_eq!(Metric::from_keras(&Metric::BinaryAccuracy.to_keras()).unwrap(), Metric::BinaryAccuracy);
    }

    #[test]
    fn a_top_k_with_an_invalid_k_is_refused() {
        let top_k =
            |config: Value| Metric::from_keras(&json!({"class_name": "TopKCategoricalAccuracy", "config": config}));
        assert_eq!(top_k(json!({"k": 3})).unwrap(), Metric::TopKAccuracy(3));
        assert_eq!(top_k(json!({})).unwrap(), Metric::TopKAccuracy(5));
        for k in [json!(0), json!(-1), json!(2.5), json!("3"), Value::Null] {
            let error = top_k(json!({"k": k})).unwrap_err().to_string();
            let expected = format!("metric `TopKCategoricalAccuracy`: expected a `k` of 1 or more, received {k}");
            assert_eq!(error, expected);
        }
    }
}
