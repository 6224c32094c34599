//! The [`Train`] trait: Keras' methods `fit`, `evaluate`, `predict` and `train_on_batch` on a model.

use engraft_data::Dataset;
use engraft_nn::{Model, Program, Result, Tensor};
use engraft_plan::{LabelledBatch, Plan, PlanOptions, Purpose, StepOutput};
use engraft_runtime::{SessionKey, predict_in_batches};

use crate::evaluate::{Evaluation, evaluate};
use crate::fit::Fit;
use crate::history::History;
use crate::prefetch::Prefetcher;
use crate::run_options::{RunOptions, StepOptions, runtime_or_shared};

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
/// let data = Arrays::new(x.clone(), y.clone())?;
/// let history = model.fit(&data, Fit::new().epochs(50))?;
/// assert_eq!(history.last("accuracy"), Some(1.0));
/// assert_eq!(model.evaluate(&data, 32)?.get("accuracy"), Some(1.0));
/// assert_eq!(model.predict(&x, 32)?.shape(), [4, 2]);
///
/// // One more step. The loss is computed before the update.
/// let step = model.train_on_batch(&x, &y)?;
/// assert!(step.loss < history.get("loss")[0]);
/// # Ok::<(), engraft_nn::Error>(())
/// ```
pub trait Train {
    /// Trains on a dataset (Keras' `fit`). The `trainable` flags at the start of the call decide which layers are trained.
    ///
    /// # Errors
    /// A model that isn't compiled, shapes that don't fit, not enough memory, a sample that can't be read, a loss (of a step or
    /// of the validation set) that is not finite. The model keeps the weights trained so far.
    fn fit(&self, data: &dyn Dataset, options: Fit<'_>) -> Result<History>;

    /// Computes loss and metrics on a dataset, in batches (Keras' `evaluate`): `model.evaluate(&data, 32)`.
    ///
    /// # Errors
    /// A model that isn't compiled, no samples, shapes that don't fit, not enough memory, a sample that can't be read.
    fn evaluate<'a>(&self, data: &dyn Dataset, options: impl Into<RunOptions<'a>>) -> Result<Evaluation>;

    /// Computes the outputs for `x: [n, ..]`, in batches (Keras' `predict`): `model.predict(&x, 32)`.
    ///
    /// # Errors
    /// A model of several inputs or outputs, a shape that doesn't fit, not enough memory.
    fn predict<'a>(&self, x: &Tensor, options: impl Into<RunOptions<'a>>) -> Result<Tensor>;

    /// Runs one training step on a batch (Keras' `train_on_batch`). Returns the loss and output from before the update.
    ///
    /// # Errors
    /// Those of [`fit`](Self::fit).
    fn train_on_batch(&self, x: &Tensor, y: &Tensor) -> Result<StepOutput> {
        self.train_on_batch_with(x, y, StepOptions::new())
    }

    /// Runs one training step as [`train_on_batch`](Self::train_on_batch) does, with options.
    ///
    /// When it returns, the model has the new weights and optimizer state. An executor that keeps them elsewhere copies them back
    /// after every step, as nothing else would do so before the model is read, saved or run. [`fit`](Self::fit) copies them only
    /// when a callback or validation reads them, and at the end.
    ///
    /// ```
    /// use engraft_nn::prelude::*;
    /// use engraft_runtime::Runtime;
    /// use engraft_train::{StepOptions, Train};
    /// let model = Sequential::new().add(Input::new([2])).add(Dense::new(1)).build()?;
    /// model.compile(Sgd::new(0.1), Loss::binary_crossentropy().from_logits(true), [])?;
    /// let (x, y) = (Tensor::new([2, 2], vec![1.0, 0.0, 0.0, 1.0])?, Tensor::new([2, 1], vec![1.0, 0.0])?);
    /// let runtime = Runtime::cpu(Some(1))?;
    /// // The second sample doesn't count.
    /// let options = StepOptions::new().runtime(&runtime).sample_weights(&[1.0, 0.0]);
    /// let before = model.weights()[0].values().clone();
    /// model.train_on_batch_with(&x, &y, options)?;
    /// let after = model.weights()[0].values().clone();
    /// assert!(after[0] > before[0] && after[1] == before[1]);
    /// # Ok::<(), engraft_nn::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`fit`](Self::fit), and sample weights that are not one per sample.
    fn train_on_batch_with(&self, x: &Tensor, y: &Tensor, options: StepOptions<'_>) -> Result<StepOutput>;

    /// Computes the outputs of a layer for `x: [n, ..]`, in batches. The layer may be inside a nested model.
    ///
    /// ```
    /// use engraft_nn::prelude::*;
    /// use engraft_train::Train;
    /// let layers = Sequential::new().add(Input::new([4])).add(Dense::new(3).named("base")).add(Dense::new(2));
    /// let features = layers.build()?.features(&Tensor::zeros([10, 4]), "base", 32)?;
    /// assert_eq!(features.shape(), [10, 3]);
    /// # Ok::<(), engraft_nn::Error>(())
    /// ```
    ///
    /// # Errors
    /// No such layer, and those of [`predict`](Self::predict).
    fn features<'a>(&self, x: &Tensor, layer: &str, options: impl Into<RunOptions<'a>>) -> Result<Tensor>;
}

impl Train for Model {
    fn fit(&self, data: &dyn Dataset, options: Fit<'_>) -> Result<History> {
        options.run(self, data)
    }

    fn evaluate<'a>(&self, data: &dyn Dataset, options: impl Into<RunOptions<'a>>) -> Result<Evaluation> {
        let (options, compiled) = (options.into(), self.compiled_or_error()?);
        let batch_size = options.batch_size.min(data.len().max(1));
        let loss = compiled.loss_or_error()?;
        let purpose = Purpose::Evaluate { loss };
        let runtime = runtime_or_shared(options.runtime)?;
        let (mut session, _) = runtime.session(batch_size, |batch, plan_options| {
            Plan::new(program(self, options.from_layer)?, purpose.clone(), batch, plan_options)
        })?;
        evaluate(&mut *session, &Prefetcher::new(&runtime)?, data, batch_size, &loss, &compiled.metrics)
    }

    fn predict<'a>(&self, x: &Tensor, options: impl Into<RunOptions<'a>>) -> Result<Tensor> {
        let options = options.into();
        let batch = options.batch_size.min(x.batch().max(1));
        let plan = |batch, plan_options: &PlanOptions| {
            Plan::new(program(self, options.from_layer)?, Purpose::Predict, batch, plan_options)
        };
        let runtime = runtime_or_shared(options.runtime)?;
        match options.from_layer {
            // A model caches sessions of the whole model only.
            Some(_) => predict_in_batches(&mut *runtime.session(batch, plan)?.0, &[x]),
            None => runtime
                .with_session(self, SessionKey::Predict { batch }, plan, |session| predict_in_batches(session, &[x])),
        }
    }

    fn train_on_batch_with(&self, x: &Tensor, y: &Tensor, options: StepOptions<'_>) -> Result<StepOutput> {
        let compiled = self.compiled_or_error()?;
        let (optimizer, loss) = (compiled.optimizer_or_error()?, compiled.loss_or_error()?);
        let key = SessionKey::train(self, &compiled, x.batch())?;
        let plan =
            |batch, plan_options: &PlanOptions| Plan::train(self, optimizer.clone(), loss, batch, 0, plan_options);
        runtime_or_shared(options.runtime)?.with_session(self, key, plan, |session| {
            let rate = optimizer.learning_rate().at(compiled.state.iterations());
            let batch = LabelledBatch { inputs: &[x], targets: y, sample_weights: options.sample_weights };
            let output = session.train_step(&batch, rate, &compiled.state)?;
            session.synchronize(&compiled.state)?;
            Ok(output)
        })
    }

    fn features<'a>(&self, x: &Tensor, layer: &str, options: impl Into<RunOptions<'a>>) -> Result<Tensor> {
        let options = options.into();
        let batch = options.batch_size.min(x.batch().max(1));
        let program = || program(self, options.from_layer)?.until(layer);
        let plan = |batch, plan_options: &PlanOptions| Plan::new(program()?, Purpose::Predict, batch, plan_options);
        let (mut session, _) = runtime_or_shared(options.runtime)?.session(batch, plan)?;
        predict_in_batches(&mut *session, &[x])
    }
}

/// The program of a model, or of the part after the layer `boundary`.
fn program(model: &Model, boundary: Option<&str>) -> Result<Program> {
    let program = Program::of(model, false, 0)?;
    match boundary {
        Some(layer) => program.starting_at(layer),
        None => Ok(program),
    }
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
