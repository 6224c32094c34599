//! [`History`]: loss and metrics of each epoch. [`Averages`]: their means during an epoch.

use engraft_nn::{LossKind, Metric, MetricState};
use serde_json::{Map, Value, json};

/// Loss and metrics of each epoch (Keras' `History`), by name: `loss`, `accuracy`, `val_loss`, …
///
/// ```
/// use engraft_train::History;
/// let mut history = History::default();
/// history.push([("loss".to_owned(), 0.5)]);
/// history.push([("loss".to_owned(), 0.25)]);
/// assert_eq!(history.get("loss"), [0.5, 0.25]);
/// assert_eq!((history.last("loss"), history.epochs()), (Some(0.25), 2));
/// assert_eq!(history.to_json().to_string(), r#"{"loss":[0.5,0.25]}"#);
///
/// // Fine-tuning adds epochs.
/// let mut fine_tuning = History::default();
/// fine_tuning.push([("loss".to_owned(), 0.125)]);
/// history.extend(&fine_tuning);
/// assert_eq!(history.get("loss"), [0.5, 0.25, 0.125]);
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History {
    metrics: Vec<(String, Vec<f64>)>,
}

impl History {
    /// The values of a loss or metric, one per epoch; empty if there is none of that name.
    pub fn get(&self, metric: &str) -> &[f64] {
        self.metrics.iter().find(|(name, _)| name == metric).map_or(&[], |(_, values)| values)
    }

    /// The value of a loss or metric in the last epoch.
    pub fn last(&self, metric: &str) -> Option<f64> {
        self.get(metric).last().copied()
    }

    /// The number of epochs.
    pub fn epochs(&self) -> usize {
        self.metrics.first().map_or(0, |(_, values)| values.len())
    }

    /// Adds the loss and metrics of an epoch.
    pub fn push(&mut self, numbers: impl IntoIterator<Item = (String, f64)>) {
        for (name, number) in numbers {
            match self.metrics.iter_mut().find(|(metric, _)| *metric == name) {
                Some((_, values)) => values.push(number),
                None => self.metrics.push((name, vec![number])),
            }
        }
    }

    /// Adds the epochs of a later run, such as fine-tuning.
    pub fn extend(&mut self, later: &History) {
        for (name, values) in &later.metrics {
            values.iter().for_each(|&value| self.push([(name.clone(), value)]));
        }
    }

    /// The history as JSON, in the form of Keras' `History.history`: an object of lists. Numbers that aren't finite become null,
    /// as JSON can't express them.
    pub fn to_json(&self) -> Value {
        let lists = self.metrics.iter().map(|(name, values)| (name.clone(), json!(values)));
        Value::Object(lists.collect::<Map<_, _>>())
    }
}

/// Mean loss and metrics over the samples of an epoch so far.
///
/// ```
/// # use engraft_data::Arrays;
/// # use engraft_nn::prelude::*;
/// use engraft_nn::Result;
/// use engraft_train::{BatchEnd, Callback, Fit, Train, Training};
///
/// /// The names of loss and metrics, for a progress line.
/// struct Shown(Vec<String>);
///
/// impl Callback for Shown {
///     fn on_batch_end(&mut self, end: &BatchEnd<'_>, _: &mut Training<'_>) -> Result<()> {
///         assert!(end.averages.loss().is_finite() && end.averages.samples() <= 4);
///         self.0 = end.averages.numbers().into_iter().map(|(name, _)| name).collect();
///         Ok(())
///     }
/// }
/// # let model = Sequential::new().add(Input::new([2])).add(Dense::new(2).activation(Softmax)).build()?;
/// # model.compile(Adam::new(0.1), Loss::categorical_crossentropy(), [Metric::Accuracy])?;
/// # let x = Tensor::new([4, 2], vec![0.0, 1.0, 1.0, 0.0, 0.1, 0.9, 0.8, 0.0])?;
/// # let y = Tensor::new([4, 2], vec![1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0])?;
/// # let data = Arrays::new(x, y)?;
/// let mut shown = Shown(Vec::new());
/// model.fit(&data, Fit::new().callback(&mut shown))?;
/// assert_eq!(shown.0, ["loss", "accuracy"]);
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Averages {
    loss: f64,
    samples: usize,
    metrics: Vec<MetricState>,
}

impl Averages {
    pub(crate) fn new(metrics: &[Metric]) -> Self {
        Self { loss: 0.0, samples: 0, metrics: metrics.iter().map(|&metric| MetricState::new(metric)).collect() }
    }

    pub(crate) fn add(&mut self, loss: f64, kind: LossKind, outputs: &[f32], targets: &[f32], samples: usize) {
        self.loss += loss * samples as f64;
        self.samples += samples;
        let width = outputs.len() / samples.max(1);
        self.metrics.iter_mut().for_each(|metric| metric.update(kind, outputs, targets, width));
    }

    /// The number of samples so far.
    pub fn samples(&self) -> usize {
        self.samples
    }

    /// The mean loss over these samples.
    pub fn loss(&self) -> f64 {
        self.loss / self.samples.max(1) as f64
    }

    /// The mean loss, named `loss`, then each metric by name.
    pub fn numbers(&self) -> Vec<(String, f64)> {
        let metrics = self.metrics.iter().map(|state| (state.metric().name().to_owned(), state.result()));
        std::iter::once(("loss".to_owned(), self.loss())).chain(metrics).collect()
    }
}
