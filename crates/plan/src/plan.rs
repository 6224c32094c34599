//! A whole computation, decided.

use std::ops::Range;

use engraft_ir::{Activation, Precision, ValueId};
use engraft_nn::{Error, ErrorKind, Head, Loss, Model, Optimizer, Program, Result};

use crate::buffers::{Layout, Slot};
use crate::draft::Draft;
use crate::liveness::Liveness;
use crate::passes::{self, RowStream};
use crate::{GradientRequest, Memory, PlanOptions, Purpose};

/// A whole computation, decided: an executor needs nothing else to run it.
///
/// ```
/// use engraft_nn::prelude::*;
/// use engraft_plan::{Plan, PlanOptions};
/// let model = Sequential::new().add(Input::new([8, 8, 3])).add(Flatten::new()).add(Dense::new(2)).build()?;
/// let plan = Plan::predict(&model, 16, &PlanOptions::default())?;
/// assert_eq!(plan.memory().weights, 4 * (8 * 8 * 3 * 2 + 2));
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Plan {
    draft: Draft,
    options: PlanOptions,
    layout: Layout,
}

impl Plan {
    /// The plan of `predict` for up to `batch` samples at a time.
    ///
    /// # Errors
    /// Those of [`new`](Self::new).
    pub fn predict(model: &Model, batch: usize, options: &PlanOptions) -> Result<Self> {
        Self::new(Program::of(model, false, 0)?, Purpose::Predict, batch, options)
    }

    /// The plan of the outputs of layer `layer`, of a nested model's too.
    ///
    /// # Errors
    /// No such layer, and those of [`new`](Self::new).
    pub fn features(model: &Model, layer: &str, batch: usize, options: &PlanOptions) -> Result<Self> {
        Self::new(Program::of(model, false, 0)?.until(layer)?, Purpose::Predict, batch, options)
    }

    /// The plan of outputs and loss of up to `batch` samples at a time, outside training.
    ///
    /// # Errors
    /// Those of [`new`](Self::new).
    pub fn evaluate(model: &Model, loss: Loss, batch: usize, options: &PlanOptions) -> Result<Self> {
        Self::new(Program::of(model, false, 0)?, Purpose::Evaluate { loss }, batch, options)
    }

    /// The plan of a training step of up to `batch` samples, by what is trainable now.
    ///
    /// `seed` decides what the random layers without a seed of their own draw.
    ///
    /// # Errors
    /// Those of [`new`](Self::new).
    pub fn train(
        model: &Model,
        optimizer: Optimizer,
        loss: Loss,
        batch: usize,
        seed: u64,
        options: &PlanOptions,
    ) -> Result<Self> {
        Self::new(Program::of(model, true, seed)?, Purpose::Train { optimizer, loss }, batch, options)
    }

    /// The plan of outputs and of gradients with respect to what `request` names.
    ///
    /// ```
    /// use engraft_nn::prelude::*;
    /// use engraft_plan::{GradientRequest, Plan, PlanOptions};
    /// let layers = Sequential::new().add(Input::new([4])).add(Dense::new(3).named("hidden")).add(Dense::new(2));
    /// let request = GradientRequest { layers: vec!["hidden".into()], ..GradientRequest::default() };
    /// let plan = Plan::gradients(&layers.build()?, &request, 1, &PlanOptions::default())?;
    /// assert!(!plan.differentiates(0) && plan.differentiates(1));
    /// # Ok::<(), engraft_nn::Error>(())
    /// ```
    ///
    /// # Errors
    /// No such layer, and those of [`new`](Self::new).
    pub fn gradients(model: &Model, request: &GradientRequest, batch: usize, options: &PlanOptions) -> Result<Self> {
        let mut program = Program::of(model, request.training, request.seed)?;
        if !request.weights {
            let params = program.steps.iter_mut().flat_map(|step| &mut step.weights);
            params.for_each(|param| param.trainable = false);
        }
        let values = request.layers.iter().map(|layer| program.layer_output(layer)).collect::<Result<_>>()?;
        Self::new(program, Purpose::Gradients { inputs: request.inputs, values }, batch, options)
    }

    /// The plan of any program: of a part of a model, from a [boundary](Program::starting_at) on, say.
    ///
    /// # Errors
    /// A batch of no samples, a loss that doesn't fit the output, a random layer above a trainable one, sizes that can't be
    /// addressed.
    pub fn new(program: Program, purpose: Purpose, batch: usize, options: &PlanOptions) -> Result<Self> {
        if batch == 0 {
            return Err(Error::new("batch size", "at least 1", 0));
        }
        check_countable(&program, batch)?;
        if let Some(loss) = purpose.loss() {
            check_loss(&program, loss)?;
        }
        let mut draft = Draft::new(program, purpose, batch);
        passes::run(&mut draft, options)?;
        let layout = Layout::new(&Liveness::new(&draft, options));
        Ok(Self { draft, options: options.clone(), layout })
    }

    /// The same plan, which needs less memory and takes longer: see [`PlanOptions::low_memory`]. Results are the same, bit for bit.
    ///
    /// ```
    /// use engraft_nn::prelude::*;
    /// use engraft_plan::{Plan, PlanOptions};
    /// let x = Input::new([64, 64, 3]);
    /// let y = Conv2D::new(8, 3).call(&x)?;
    /// let options = PlanOptions { chunk_bytes: 1 << 20, unchunked_bytes: 0, ..PlanOptions::default() };
    /// let plan = Plan::predict(&Model::new(&x, &y)?, 16, &options)?;
    /// assert!(plan.chunk() > 1 && plan.low_memory()?.chunk() == 1);
    /// # Ok::<(), engraft_nn::Error>(())
    /// ```
    ///
    /// # Errors
    /// None that planning has not given before.
    pub fn low_memory(self) -> Result<Self> {
        let options = self.options.low_memory(true);
        let mut draft = self.draft;
        passes::save_memory(&mut draft, &options)?;
        let layout = Layout::new(&Liveness::new(&draft, &options));
        Ok(Self { draft, options, layout })
    }

    /// The same plan with products in another number format: nothing else of a plan depends on it.
    #[must_use]
    pub fn in_precision(self, precision: Precision) -> Self {
        Self { options: self.options.precision(precision), ..self }
    }

    /// What was wanted of the plan.
    pub fn options(&self) -> &PlanOptions {
        &self.options
    }

    /// The number format of its products.
    pub fn precision(&self) -> Precision {
        self.options.precision
    }

    /// The operations.
    pub fn program(&self) -> &Program {
        &self.draft.program
    }

    /// What the plan is for.
    pub fn purpose(&self) -> &Purpose {
        &self.draft.purpose
    }

    /// The function between the program's last value and the model's output, split off so that the loss can be computed from
    /// logits, as Keras does in a compiled step.
    pub fn head(&self) -> Head {
        self.draft.head
    }

    /// The largest number of samples a call may hold.
    pub fn batch(&self) -> usize {
        self.draft.batch
    }

    /// The steps that run [`chunk`](Self::chunk) samples at a time, before all others.
    pub fn prefix(&self) -> Range<usize> {
        0..self.draft.prefix
    }

    /// Samples that the prefix runs at a time.
    pub fn chunk(&self) -> usize {
        self.draft.chunk
    }

    /// Whether step `index` hands its outputs to the next a few rows at a time, and how. Its output then has room for
    /// [`held`](RowStream::held) rows.
    pub fn stream(&self, index: usize) -> Option<RowStream> {
        self.draft.streams[index]
    }

    /// Whether the backward pass goes through step `index`.
    pub fn differentiates(&self, index: usize) -> bool {
        self.draft.differentiated[index]
    }

    /// Whether the update of the kernel of step `index` is made as its gradient is computed, from the step's input and the gradient
    /// with respect to its output, which stay until then.
    pub fn folds_update(&self, index: usize) -> bool {
        self.draft.folded[index]
    }

    /// Whether a folded update reads this input of the program: what the caller feeds must then be kept until it is made.
    pub fn keeps_input(&self, value: ValueId) -> bool {
        let steps = self.program().steps.iter().zip(&self.draft.folded);
        self.slot(value).is_none() && steps.filter(|(_, folded)| **folded).any(|(step, _)| step.inputs[0] == value)
    }

    /// Where a value stands; `None` for an input, which is borrowed.
    pub fn slot(&self, value: ValueId) -> Option<Slot> {
        self.layout.value(value)
    }

    /// Where a value stands in the backward pass: in its [slot](Self::slot), or elsewhere if it is recomputed.
    pub fn slot_backward(&self, value: ValueId) -> Option<Slot> {
        self.layout.value_backward(value)
    }

    /// The steps to recompute, in this order, right before the backward pass of step `index`: what they make was not kept.
    /// Both what they read and what they make stands where the [backward pass](Self::slot_backward) wants it.
    pub fn recomputed_steps(&self, index: usize) -> &[usize] {
        self.layout.recomputed_steps(index)
    }

    /// The value whose buffer this one shares: itself, unless it is a reshaped form.
    pub fn root(&self, value: ValueId) -> ValueId {
        self.layout.root(value)
    }

    /// Whether a value of the prefix is read after it; it then holds the whole batch, not a chunk.
    pub fn leaves_prefix(&self, value: ValueId) -> bool {
        self.layout.leaves_prefix(value)
    }

    /// Where the gradient with respect to a value stands; `None` where it isn't wanted.
    pub fn gradient_slot(&self, value: ValueId) -> Option<Slot> {
        self.layout.gradient(value)
    }

    /// Whether the gradient with respect to a value is written over the value. The step that does it takes the gradient of the ReLU
    /// that made the value too, if one did.
    pub fn gradient_in_place(&self, value: ValueId) -> bool {
        self.layout.gradient_in_place(value)
    }

    /// Whether a ReLU made a value, within the step of a convolution or a Dense.
    pub fn made_by_relu(&self, value: ValueId) -> bool {
        self.layout.maker(value).is_some_and(|maker| self.program().steps[maker].activation == Activation::Relu)
    }

    /// Where a second and later contribution to a gradient is computed before it is added, for step `index`.
    pub fn contribution_slot(&self, index: usize) -> Option<Slot> {
        self.layout.contribution(index)
    }

    /// Where the gradient with respect to a weight is gathered; `None` where the update is [folded](Self::folds_update).
    pub fn weight_gradient_slot(&self, weight: usize) -> Option<Slot> {
        self.layout.weight_gradient(weight)
    }

    /// The step that contributes first to the gradient with respect to a weight in the backward pass.
    pub fn first_use(&self, weight: usize) -> Option<usize> {
        self.layout.uses(weight).map(|(first, _)| first)
    }

    /// The step after which the gradient with respect to a weight is final.
    pub fn last_use(&self, weight: usize) -> Option<usize> {
        self.layout.uses(weight).map(|(_, last)| last)
    }

    /// Length in f32 of every buffer.
    pub fn buffers(&self) -> &[usize] {
        self.layout.lengths()
    }

    /// What it takes to run, before an executor adds its working space.
    pub fn memory(&self) -> Memory {
        let program = self.program();
        let trainable: usize = program.weights().iter().filter(|p| p.trainable).map(|p| p.weight.count()).sum();
        let slots = match self.purpose() {
            Purpose::Train { optimizer, .. } => optimizer.slots(),
            _ => 0,
        };
        let bytes = |value: ValueId| 4 * self.batch() * program.size(value);
        let kept_inputs = program.inputs.iter().filter(|&&input| self.keeps_input(input));
        Memory {
            weights: program.weights().iter().map(|p| 4 * p.weight.count()).sum(),
            optimizer: 4 * trainable * slots,
            buffers: 4 * self.layout.length() + kept_inputs.map(|&input| bytes(input)).sum::<usize>(),
            // A batch in use and the next being read.
            photos: 2 * program.inputs.iter().map(|&input| bytes(input)).sum::<usize>(),
            scratch: 0,
        }
    }
}

/// Refuses sizes that can't be counted in bytes, so that nothing after this needs to look out for overflow.
fn check_countable(program: &Program, batch: usize) -> Result<()> {
    // Values, their gradients, further contributions and what is fed take at most this many times the values; weights, their
    // gradients and the optimizer's state this many times the weights; 4 bytes each.
    const COPIES: usize = 8 * 4;
    let values = (0..program.shapes.len()).try_fold(0usize, |sum, value| sum.checked_add(program.size(value)));
    let weights = program.weights().iter().try_fold(0usize, |sum, param| sum.checked_add(param.weight.count()));
    let total = values.and_then(|values| values.checked_mul(batch)?.checked_add(weights?)?.checked_mul(COPIES));
    total.map(|_| ()).ok_or_else(|| {
        Error::because("plan", "this model and batch size need more memory than can be addressed")
            .with_kind(ErrorKind::OutOfMemory)
            .hint("use smaller images or a smaller batch")
    })
}

fn check_loss(program: &Program, loss: &Loss) -> Result<()> {
    match program.outputs[..] {
        [output] => loss.check(&program.shapes[output]),
        _ => Err(Error::new("model", "one output with a loss", program.outputs.len())),
    }
}

#[cfg(test)]
mod tests {
    use engraft_nn::prelude::*;

    use super::*;

    fn small() -> Model {
        let x = Input::new([16, 16, 3]);
        let y = RandomFlip::horizontal().call(&x).unwrap();
        let y = Conv2D::new(8, 3).padding(Padding::Same).activation(Relu).named("conv1").call(&y).unwrap();
        let y = MaxPooling2D::new(2).call(&y).unwrap();
        let y = Conv2D::new(8, 3).padding(Padding::Same).activation(Relu).named("conv2").call(&y).unwrap();
        let y = Flatten::new().named("flat").call(&y).unwrap();
        let y = Dense::new(10).activation(Relu).call(&y).unwrap();
        let y = Dense::new(3).activation(Softmax).named("top").call(&y).unwrap();
        Model::new(&x, &y).unwrap()
    }

    fn predict(batch: usize) -> Result<Plan> {
        Plan::predict(&small(), batch, &PlanOptions::default())
    }

    #[test]
    fn prediction_needs_no_more_than_its_widest_places() {
        let plan = predict(4).unwrap();
        // conv1's output and the pooled one; conv2's and those of both Dense fit where conv1's stood.
        assert_eq!(plan.buffers().iter().sum::<usize>(), 4 * (16 * 16 * 8 + 8 * 8 * 8));
    }

    #[test]
    fn sizes_beyond_counting_are_refused() {
        for batch in [usize::MAX, usize::MAX / 1000, usize::MAX / (16 * 16 * 8 * 32)] {
            let error = predict(batch).unwrap_err().to_string();
            assert!(error.contains("more memory than can be addressed"), "{error}");
        }
        assert!(predict(0).unwrap_err().to_string().contains("batch size: expected at least 1"));
    }

    #[test]
    fn features_end_at_the_layer() {
        let features = |layer| Plan::features(&small(), layer, 1, &PlanOptions::default());
        let plan = features("conv2").unwrap();
        assert_eq!(plan.program().shapes[plan.program().outputs[0]], [8, 8, 8]);
        let error = features("conv9").unwrap_err().to_string();
        assert!(error.contains("no layer called `conv9`") && error.contains("conv2"), "{error}");
    }

    #[test]
    fn a_fed_input_is_kept_where_a_folded_update_reads_it() {
        let kept = |boundary, fold_updates| {
            let program = Program::of(&small(), true, 0).unwrap().starting_at(boundary).unwrap();
            let purpose = Purpose::Train { optimizer: Sgd::new(0.1).into(), loss: Loss::categorical_crossentropy() };
            let options = PlanOptions::default().fold_updates(fold_updates);
            let plan = Plan::new(program, purpose, 4, &options).unwrap();
            plan.keeps_input(plan.program().inputs[0])
        };
        assert!(kept("flat", true) && !kept("flat", false));
        // Flatten copies what is fed, and the Dense reads the copy.
        assert!(!kept("conv2", true));
    }
}
