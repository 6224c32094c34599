//! Loss and metrics on a dataset.

use engraft_data::Dataset;
use engraft_nn::{Error, Loss, Metric, Result};
use engraft_plan::{LabelledBatch, Session};

use crate::history::Averages;
use crate::prefetch::for_each_batch;

/// What `evaluate` found.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    /// Mean loss, penalties included.
    pub loss: f64,
    /// Each metric by name.
    pub metrics: Vec<(String, f64)>,
    /// Samples seen.
    pub samples: usize,
}

impl Evaluation {
    /// The metric called `name`.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.metrics.iter().find(|(metric, _)| metric == name).map(|(_, value)| *value)
    }
}

/// Runs a session planned for evaluation over all samples.
pub(crate) fn evaluate(
    session: &mut dyn Session,
    data: &dyn Dataset,
    batch_size: usize,
    loss: &Loss,
    metrics: &[Metric],
) -> Result<Evaluation> {
    if data.is_empty() {
        return Err(Error::new("evaluate", "at least one sample", 0));
    }
    let mut averages = Averages::new(metrics);
    let order: Vec<usize> = (0..data.len()).collect();
    for_each_batch(data, &order, batch_size, |_, _, batch| {
        let step = session.evaluate(&LabelledBatch::new(&[&batch.x], &batch.y))?;
        averages.add(step.loss, loss.kind(), step.output.data(), batch.y.data(), batch.x.batch());
        Ok(true)
    })?;
    let metrics = averages.numbers().into_iter().skip(1).collect();
    Ok(Evaluation { loss: averages.loss(), metrics, samples: averages.samples() })
}
