//! [`Evaluation`]: loss and metrics of a model on a dataset, and the loop that computes them.

use engraft_data::Dataset;
use engraft_nn::{Error, Loss, Metric, Result};
use engraft_plan::{LabelledBatch, Session};

use crate::history::Averages;
use crate::prefetch::Prefetcher;

/// Loss and metrics of a model on a dataset, the result of [`Train::evaluate`](crate::Train::evaluate).
///
/// ```
/// # use engraft_data::Arrays;
/// # use engraft_nn::prelude::*;
/// use engraft_train::{Evaluation, Train};
/// # let model = Sequential::new().add(Input::new([2])).add(Dense::new(2).activation(Softmax)).build()?;
/// # model.compile(Adam::new(0.1), Loss::categorical_crossentropy(), [Metric::Accuracy])?;
/// # let x = Tensor::new([4, 2], vec![0.0, 1.0, 1.0, 0.0, 0.1, 0.9, 0.8, 0.0])?;
/// # let y = Tensor::new([4, 2], vec![1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0])?;
/// # let data = Arrays::new(x, y)?;
/// // `model` is compiled with accuracy; `data` holds 4 samples.
/// let evaluation: Evaluation = model.evaluate(&data, 32)?;
/// assert_eq!(evaluation.samples, 4);
/// assert!(evaluation.loss.is_finite());
/// assert!(evaluation.get("accuracy").is_some_and(|accuracy| (0.0..=1.0).contains(&accuracy)));
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    /// Mean loss, including regularization penalties.
    pub loss: f64,
    /// The metrics, by name.
    pub metrics: Vec<(String, f64)>,
    /// The number of samples.
    pub samples: usize,
}

impl Evaluation {
    /// The value of the metric called `name`.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.metrics.iter().find(|(metric, _)| metric == name).map(|(_, value)| *value)
    }
}

/// Evaluates all samples with a session whose plan has a loss.
pub(crate) fn evaluate(
    session: &mut dyn Session,
    prefetcher: &Prefetcher,
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
    prefetcher.for_each_batch(data, &order, batch_size, |_, batch| {
        let step = session.evaluate(&LabelledBatch::new(&[&batch.x], &batch.y))?;
        averages.add(step.loss, loss.kind(), step.output.data(), batch.y.data(), batch.x.batch());
        Ok(true)
    })?;
    let metrics = averages.numbers().into_iter().skip(1).collect();
    Ok(Evaluation { loss: averages.loss(), metrics, samples: averages.samples() })
}
