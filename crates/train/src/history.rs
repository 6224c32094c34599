//! What training looked like, epoch by epoch.

use engraft_nn::{LossKind, Metric, MetricState};
use serde_json::{Map, Value, json};

/// Keras' `History`: for each measure (`loss`, `accuracy`, `val_loss`, …) one number an epoch.
///
/// ```
/// use engraft_train::History;
/// let mut history = History::default();
/// history.push([("loss".to_owned(), 0.5)]);
/// history.push([("loss".to_owned(), 0.25)]);
/// assert_eq!(history.get("loss"), [0.5, 0.25]);
/// assert_eq!(history.to_json().to_string(), r#"{"loss":[0.5,0.25]}"#);
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History {
    measures: Vec<(String, Vec<f64>)>,
}

impl History {
    /// The numbers of a measure; empty if there is none of that name.
    pub fn get(&self, measure: &str) -> &[f64] {
        self.measures.iter().find(|(name, _)| name == measure).map_or(&[], |(_, values)| values)
    }

    /// The last epoch's number of a measure.
    pub fn last(&self, measure: &str) -> Option<f64> {
        self.get(measure).last().copied()
    }

    /// Epochs recorded.
    pub fn epochs(&self) -> usize {
        self.measures.first().map_or(0, |(_, values)| values.len())
    }

    /// Adds an epoch's numbers.
    pub fn push(&mut self, numbers: impl IntoIterator<Item = (String, f64)>) {
        for (name, number) in numbers {
            match self.measures.iter_mut().find(|(measure, _)| *measure == name) {
                Some((_, values)) => values.push(number),
                None => self.measures.push((name, vec![number])),
            }
        }
    }

    /// Adds the epochs of a later run, as fine-tuning after training.
    pub fn extend(&mut self, later: &History) {
        for (name, values) in &later.measures {
            values.iter().for_each(|&value| self.push([(name.clone(), value)]));
        }
    }

    /// Keras' `History.history`: an object of lists. A number that isn't finite is null, JSON having no word for it.
    pub fn to_json(&self) -> Value {
        let lists = self.measures.iter().map(|(name, values)| (name.clone(), json!(values)));
        Value::Object(lists.collect::<Map<_, _>>())
    }
}

/// Running means of loss and metrics over the samples seen.
///
/// ```
/// # use engraft_data::Arrays;
/// # use engraft_nn::prelude::*;
/// use engraft_nn::Result;
/// use engraft_train::{BatchEnd, Callback, Fit, Train, Training};
///
/// /// The measures shown after the latest step.
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

    /// Samples seen.
    pub fn samples(&self) -> usize {
        self.samples
    }

    /// Mean loss.
    pub fn loss(&self) -> f64 {
        self.loss / self.samples.max(1) as f64
    }

    /// `loss`, then each metric by name.
    pub fn numbers(&self) -> Vec<(String, f64)> {
        let metrics = self.metrics.iter().map(|state| (state.metric().name().to_owned(), state.result()));
        std::iter::once(("loss".to_owned(), self.loss())).chain(metrics).collect()
    }
}
