//! Keras' methods on a model.

use std::sync::OnceLock;

use engraft_cpu::CpuExecutor;
use engraft_data::Dataset;
use engraft_nn::plan::Plan;
use engraft_nn::{Error, LabelledBatch, Layer, Model, Prepared, Result, Session, StepOutput, Tensor};

use crate::epochs::train_step;
use crate::evaluate::{Evaluation, evaluate};
use crate::fit::{Fit, compiled_of};
use crate::history::History;
use crate::memory::session_within;
use crate::precision::precision;

static EXECUTOR: OnceLock<CpuExecutor> = OnceLock::new();

/// Sets how many threads the shared executor works with; all cores unless called.
///
/// An error once the executor has been used.
pub fn set_threads(threads: usize) -> Result<()> {
    let executor = CpuExecutor::new(Some(threads))?;
    EXECUTOR.set(executor).map_err(|_| {
        Error::because("set_threads", "the executor is already in use").hint("call it before the first fit or predict")
    })
}

/// How many threads the shared executor works with.
pub fn threads() -> Result<usize> {
    Ok(default_executor()?.threads())
}

/// The executor that is used unless another is given.
pub(crate) fn default_executor() -> Result<&'static CpuExecutor> {
    if let Some(executor) = EXECUTOR.get() {
        return Ok(executor);
    }
    let executor = CpuExecutor::new(None)?;
    Ok(EXECUTOR.get_or_init(|| executor))
}

/// Training, evaluation and prediction, under Keras' names.
///
/// ```
/// use engraft_data::Arrays;
/// use engraft_nn::prelude::*;
/// use engraft_train::{Fit, Train};
///
/// let model = Sequential::new().add(Input::new([2])).add(Dense::new(2).activation(Softmax)).build()?;
/// model.compile(Adam::new(0.1), Loss::categorical_crossentropy(), [Metric::Accuracy])?;
/// let x = Tensor::new([4, 2], vec![0.0, 1.0, 1.0, 0.0, 0.1, 0.9, 0.8, 0.0])?;
/// let y = Tensor::new([4, 2], vec![1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0])?;
/// let history = model.fit(&Arrays::new(x.clone(), y)?, Fit::new().epochs(50))?;
/// assert_eq!(history.last("accuracy"), Some(1.0));
/// assert_eq!(model.predict(&x, 32)?.shape(), [4, 2]);
/// # Ok::<(), engraft_nn::Error>(())
/// ```
pub trait Train {
    /// Trains on a dataset (Keras' `fit`). Which layers learn is decided by their flags when it begins.
    ///
    /// # Errors
    /// A model not compiled, shapes that don't fit, a plan larger than memory, a sample that can't be read, a loss that
    /// is not finite. What was learned before stays in the model.
    fn fit(&self, data: &dyn Dataset, options: Fit<'_>) -> Result<History>;

    /// Loss and metrics on a dataset (Keras' `evaluate`).
    fn evaluate(&self, data: &dyn Dataset, batch_size: usize) -> Result<Evaluation>;

    /// The outputs for `x: [n, ..]` (Keras' `predict`), computed `batch_size` samples at a time.
    fn predict(&self, x: &Tensor, batch_size: usize) -> Result<Tensor>;

    /// One step of training on a batch (Keras' `train_on_batch`); tells loss and output as they were before the update.
    fn train_on_batch(&self, x: &Tensor, y: &Tensor) -> Result<StepOutput>;

    /// The output of a layer for `x: [n, ..]`, layers of nested models included.
    fn features(&self, x: &Tensor, layer: &str) -> Result<Tensor>;
}

impl Train for Model {
    fn fit(&self, data: &dyn Dataset, options: Fit<'_>) -> Result<History> {
        options.run(self, data)
    }

    fn evaluate(&self, data: &dyn Dataset, batch_size: usize) -> Result<Evaluation> {
        let compiled = compiled_of(self)?;
        let batch_size = batch_size.min(data.len().max(1));
        let plan = |batch| Plan::evaluate(self, compiled.loss, batch);
        let (mut session, _) = session_within(default_executor()?, None, batch_size, plan)?;
        evaluate(&mut *session, data, batch_size, &compiled.loss, &compiled.metrics)
    }

    fn predict(&self, x: &Tensor, batch_size: usize) -> Result<Tensor> {
        let batch = batch_size.min(x.batch().max(1));
        with_session(
            self,
            format!("predict {batch}"),
            batch,
            |batch| Plan::predict(self, batch),
            |session| {
                let mut output: Vec<f32> = Vec::new();
                for first in (0..x.batch()).step_by(batch) {
                    output.extend(predict_some(session, &samples(x, first, batch)?)?.data());
                }
                let shape: Vec<usize> = std::iter::once(x.batch()).chain(self.output_shape().iter().copied()).collect();
                Tensor::new(shape, output)
            },
        )
    }

    fn train_on_batch(&self, x: &Tensor, y: &Tensor) -> Result<StepOutput> {
        let compiled = compiled_of(self)?;
        let batch = x.batch();
        let mut flags = Vec::new();
        trainable_flags(self.layer(), &mut flags);
        let key = format!("train {batch} {:?} {:?} {flags:?}", compiled.optimizer, compiled.loss);
        let plan = |batch| Plan::train(self, compiled.optimizer.clone(), compiled.loss, batch, 0);
        with_session(self, key, batch, plan, |session| {
            train_step(self, session, &LabelledBatch { inputs: &[x], targets: y, sample_weights: None })
        })
    }

    fn features(&self, x: &Tensor, layer: &str) -> Result<Tensor> {
        let plan = |batch| Plan::features(self, layer, batch);
        let (mut session, _) = session_within(default_executor()?, None, x.batch(), plan)?;
        predict_some(&mut *session, x)
    }
}

/// Runs `work` with the model's kept session where it was made for `key`, else with a new one, kept from then on.
fn with_session<R>(
    model: &Model,
    key: String,
    batch: usize,
    plan: impl Fn(usize) -> Result<Plan>,
    work: impl FnOnce(&mut dyn Session) -> Result<R>,
) -> Result<R> {
    let key = format!("{key} {}", precision());
    let kept = model.prepared().take().filter(|prepared| prepared.key == key);
    let mut prepared = match kept {
        Some(prepared) => prepared,
        None => Prepared { key, session: session_within(default_executor()?, None, batch, plan)?.0 },
    };
    let result = work(&mut *prepared.session);
    *model.prepared() = Some(prepared);
    result
}

/// Whether each layer may be trained, for it and for all inside: what a plan of training depends on beside the graph.
fn trainable_flags(layer: &Layer, flags: &mut Vec<bool>) {
    flags.push(layer.trainable());
    layer.layers().iter().for_each(|layer| trainable_flags(layer, flags));
}

fn predict_some(session: &mut dyn Session, x: &Tensor) -> Result<Tensor> {
    let mut outputs = session.predict(&[x])?;
    match outputs.len() {
        1 => Ok(outputs.remove(0)),
        several => Err(Error::new("predict", "a model with one output", several)
            .hint("take one of them: Model::new(model.inputs(), &model.outputs()[0])")),
    }
}

/// Samples `first..first + count` of `x`, fewer at the end.
fn samples(x: &Tensor, first: usize, count: usize) -> Result<Tensor> {
    let last = (first + count).min(x.batch());
    let data: Vec<f32> = (first..last).flat_map(|sample| x.row(sample)).copied().collect();
    let shape: Vec<usize> = std::iter::once(last - first).chain(x.shape().iter().skip(1).copied()).collect();
    Tensor::new(shape, data)
}

#[cfg(test)]
mod tests {
    use engraft_nn::prelude::*;

    use super::*;

    #[test]
    fn freezing_a_layer_without_trained_weights_counts_at_once() {
        let x = Input::new([1]);
        let normalise = BatchNormalization::new().center(false).scale(false).into_layer();
        let y = Dense::new(2).activation(Softmax).call(&normalise.call(&x).unwrap()).unwrap();
        let model = Model::new(&x, &y).unwrap();
        model.compile(Sgd::new(0.1), Loss::sparse_categorical_crossentropy(), []).unwrap();
        let (x, y) = (Tensor::new([2, 1], vec![4.0, 6.0]).unwrap(), Tensor::new([2, 1], vec![0.0, 1.0]).unwrap());
        let mean = || normalise.weights()[0].values()[0];
        model.train_on_batch(&x, &y).unwrap();
        let moved = mean();
        assert!(moved > 0.0);
        normalise.set_trainable(false);
        model.train_on_batch(&x, &y).unwrap();
        assert_eq!(mean(), moved);
    }

    #[test]
    fn batches_of_nothing() {
        let x = Input::new([2]);
        let model = Model::new(&x, &Dense::new(3).call(&x).unwrap()).unwrap();
        assert_eq!(model.predict(&Tensor::zeros([0, 2]), 8).unwrap().shape(), [0, 3]);
        assert!(model.predict(&Tensor::zeros([4, 2]), 0).unwrap_err().to_string().contains("batch size"));
        assert!(model.predict(&Tensor::zeros([]), 1).is_err());
    }
}
