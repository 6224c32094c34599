//! [`Plan`]: how a program runs, decided before it runs. The passes decide it, executors read it.

use std::ops::Range;

use engraft_ir::{Activation, Precision, ValueId};
use engraft_nn::{Error, ErrorKind, Loss, Model, Optimizer, OutputActivation, Program, Result};

use crate::annotated_program::AnnotatedProgram;
use crate::buffers::{BufferAssignment, Slot};
use crate::liveness::Liveness;
use crate::passes::{self, RowStream};
use crate::{GradientRequest, Memory, PlanOptions, Purpose};

/// How a program runs: everything that an executor needs to run it, decided in advance.
///
/// ```
/// use engraft_ir::Precision;
/// use engraft_nn::prelude::*;
/// use engraft_plan::{Plan, PlanOptions, Purpose};
/// let model = Sequential::new().add(Input::new([8, 8, 3])).add(Flatten::new()).add(Dense::new(2)).build()?;
/// let plan = Plan::predict(&model, 16, &PlanOptions::default())?;
/// assert_eq!(plan.memory().weights, 4 * (8 * 8 * 3 * 2 + 2));
/// assert!(matches!(plan.purpose(), Purpose::Predict));
/// assert_eq!((plan.batch(), plan.precision()), (16, Precision::F32));
/// assert!(!plan.options().low_memory);
/// # Ok::<(), engraft_nn::Error>(())
/// ```
///
/// # The forward pass
/// The first steps, the [prefix](Self::prefix), run once for each chunk of samples. All other steps run once for the whole batch.
///
/// ```
/// use engraft_nn::prelude::*;
/// use engraft_plan::{Plan, PlanOptions};
/// let conv = Conv2D::new(8, 3).padding(Padding::Same);
/// let layers = Sequential::new().add(Input::new([64, 64, 3])).add(conv).add(GlobalAveragePooling2D::new());
/// let options = PlanOptions { chunk_bytes: 512 << 10, unchunked_bytes: 0, ..PlanOptions::default() };
/// let plan = Plan::predict(&layers.add(Dense::new(2)).build()?, 4, &options)?;
///
/// // Pairs of a step and its first sample, in the order in which they run.
/// let mut order = Vec::new();
/// for first in (0..plan.batch()).step_by(plan.chunk()) {
///     order.extend(plan.prefix().map(|step| (step, first)));
/// }
/// order.extend((plan.prefix().end..plan.program().steps.len()).map(|step| (step, 0)));
/// assert_eq!(order, [(0, 0), (1, 0), (0, 2), (1, 2), (2, 0)]);
///
/// // A chunk's convolution outputs are overwritten by the next chunk's. The pooled values of the whole batch are kept.
/// let [conv, pooled] = [0, 1].map(|step| plan.program().steps[step].output);
/// assert!(!plan.leaves_prefix(conv) && plan.leaves_prefix(pooled));
/// let slot = plan.slot(conv).expect("a value that a step computes");
/// assert_eq!(plan.buffers()[slot], 2 * (64 * 64 * 8));
/// // These options don't stream rows.
/// assert_eq!(plan.stream(0), None);
/// # Ok::<(), engraft_nn::Error>(())
/// ```
///
/// # The backward pass
/// It goes through the differentiated steps in reverse. The gradient with respect to a weight is final after the last step that
/// contributes to it.
///
/// ```
/// use engraft_nn::OutputActivation;
/// use engraft_nn::prelude::*;
/// use engraft_plan::{Plan, PlanOptions};
/// let layers = Sequential::new().add(Input::new([4])).add(Dense::new(3).activation(Relu).named("hidden"));
/// let model = layers.add(Dense::new(2).activation(Softmax).named("top")).build()?;
/// let loss = Loss::categorical_crossentropy();
/// let plan = Plan::train(&model, Sgd::new(0.1).into(), loss, 8, 0, &PlanOptions::default())?;
/// // The loss is computed from logits: the softmax is split off the program.
/// assert_eq!(plan.output_activation(), OutputActivation::Softmax);
///
/// let steps = &plan.program().steps;
/// let mut finished = Vec::new();
/// for index in (0..steps.len()).rev().filter(|&index| plan.differentiates(index)) {
///     assert!(plan.gradient_slot(steps[index].output).is_some());
///     for weight in steps[index].weights.iter().map(|param| &param.weight) {
///         assert!(plan.weight_gradient_slot(weight.id()).is_some());
///         if plan.last_use(weight.id()) == Some(index) {
///             finished.push(weight.path());
///         }
///     }
/// }
/// assert_eq!(finished, ["top/kernel", "top/bias", "hidden/kernel", "hidden/bias"]);
/// // Training needs no gradient with respect to the input.
/// assert_eq!(plan.gradient_slot(plan.program().inputs[0]), None);
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Plan {
    annotated: AnnotatedProgram,
    options: PlanOptions,
    assignment: BufferAssignment,
}

impl Plan {
    /// A plan that computes a model's outputs in inference mode, for up to `batch` samples at a time.
    ///
    /// # Errors
    /// Those of [`new`](Self::new).
    pub fn predict(model: &Model, batch: usize, options: &PlanOptions) -> Result<Self> {
        Self::new(Program::of(model, false, 0)?, Purpose::Predict, batch, options)
    }

    /// A plan that computes the outputs of the layer called `layer`, which may be inside a nested model.
    ///
    /// ```
    /// use engraft_nn::prelude::*;
    /// use engraft_plan::{Plan, PlanOptions};
    /// let layers = Sequential::new().add(Input::new([4])).add(Dense::new(3).named("hidden")).add(Dense::new(2));
    /// let plan = Plan::features(&layers.build()?, "hidden", 16, &PlanOptions::default())?;
    /// assert_eq!(plan.program().shapes[plan.program().outputs[0]], [3]);
    /// # Ok::<(), engraft_nn::Error>(())
    /// ```
    ///
    /// # Errors
    /// No such layer, and those of [`new`](Self::new).
    pub fn features(model: &Model, layer: &str, batch: usize, options: &PlanOptions) -> Result<Self> {
        Self::new(Program::of(model, false, 0)?.until(layer)?, Purpose::Predict, batch, options)
    }

    /// A plan that computes outputs and loss in inference mode, for up to `batch` samples at a time.
    ///
    /// ```
    /// use engraft_nn::prelude::*;
    /// use engraft_plan::{Plan, PlanOptions};
    /// let model = Sequential::new().add(Input::new([4])).add(Dense::new(2).activation(Softmax)).build()?;
    /// let plan = Plan::evaluate(&model, Loss::categorical_crossentropy(), 16, &PlanOptions::default())?;
    /// assert!(plan.purpose().loss().is_some() && !plan.purpose().has_backward());
    /// # Ok::<(), engraft_nn::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`new`](Self::new).
    pub fn evaluate(model: &Model, loss: Loss, batch: usize, options: &PlanOptions) -> Result<Self> {
        Self::new(Program::of(model, false, 0)?, Purpose::Evaluate { loss }, batch, options)
    }

    /// A plan of one training step for up to `batch` samples. It uses the `trainable` flags as they are now.
    ///
    /// `seed` is for the random layers that have no seed of their own.
    ///
    /// ```
    /// use engraft_nn::prelude::*;
    /// use engraft_plan::{Plan, PlanOptions};
    /// let layers = Sequential::new().add(Input::new([4])).add(Dense::new(3).named("hidden")).add(Dense::new(2));
    /// let model = layers.build()?;
    /// model.get_layer("hidden")?.set_trainable(false);
    /// let loss = Loss::categorical_crossentropy().from_logits(true);
    /// let plan = Plan::train(&model, Adam::new(1e-3).into(), loss, 16, 0, &PlanOptions::default())?;
    /// assert!(!plan.differentiates(0) && plan.differentiates(1));
    /// // Adam keeps two moments for each trainable weight.
    /// assert_eq!(plan.memory().optimizer, 4 * 2 * (3 * 2 + 2));
    /// # Ok::<(), engraft_nn::Error>(())
    /// ```
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

    /// A plan that computes a model's outputs and the gradients that `request` lists.
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

    /// A plan of any program, such as a part of a model that [starts at a layer](Program::starting_at).
    ///
    /// ```
    /// use engraft_nn::Program;
    /// use engraft_nn::prelude::*;
    /// use engraft_plan::{Plan, PlanOptions, Purpose};
    /// let layers = Sequential::new().add(Input::new([4])).add(Dense::new(3).named("base")).add(Dense::new(2));
    /// let head = Program::of(&layers.build()?, false, 0)?.starting_at("base")?;
    /// let plan = Plan::new(head, Purpose::Predict, 16, &PlanOptions::default())?;
    /// assert_eq!(plan.program().shapes[plan.program().inputs[0]], [3]);
    /// # Ok::<(), engraft_nn::Error>(())
    /// ```
    ///
    /// # Errors
    /// A batch of 0 samples; a loss with several outputs, or one that doesn't fit the output; a random transformation of images
    /// in the backward pass, such as augmentation above a trainable layer; an option that a loss or training needs and that isn't
    /// implemented; sizes too large to be addressed.
    pub fn new(mut program: Program, purpose: Purpose, batch: usize, options: &PlanOptions) -> Result<Self> {
        if batch == 0 {
            return Err(Error::new("batch size", "at least 1", 0));
        }
        program.cancel_transpositions(purpose.requested_values());
        check_countable(&program, batch)?;
        if let Some(loss) = purpose.loss() {
            check_loss(&program, loss)?;
            program.check_implemented(matches!(purpose, Purpose::Train { .. }))?;
            program = program.with_penalties();
        }
        let mut annotated = AnnotatedProgram::new(program, purpose, batch);
        passes::run(&mut annotated, options)?;
        let assignment = BufferAssignment::new(&Liveness::new(&annotated, options));
        Ok(Self { annotated, options: options.clone(), assignment })
    }

    /// The same plan with less memory and more computation: see [`PlanOptions::low_memory`]. Results are the same, bit for bit.
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
    /// Errors of the planner. A plan that was made without errors gives none here.
    pub fn low_memory(self) -> Result<Self> {
        let options = self.options.low_memory(true);
        let mut annotated = self.annotated;
        passes::save_memory(&mut annotated, &options)?;
        let assignment = BufferAssignment::new(&Liveness::new(&annotated, &options));
        Ok(Self { annotated, options, assignment })
    }

    /// The same plan with matrix products and convolutions in another number format. Nothing else in a plan depends on it.
    ///
    /// ```
    /// use engraft_ir::Precision;
    /// use engraft_nn::prelude::*;
    /// use engraft_plan::{Plan, PlanOptions};
    /// let model = Sequential::new().add(Input::new([4])).add(Dense::new(2)).build()?;
    /// let plan = Plan::predict(&model, 16, &PlanOptions::default())?.in_precision(Precision::Bf16);
    /// assert_eq!(plan.precision(), Precision::Bf16);
    /// # Ok::<(), engraft_nn::Error>(())
    /// ```
    #[must_use]
    pub fn in_precision(self, precision: Precision) -> Self {
        Self { options: self.options.precision(precision), ..self }
    }

    /// The options that the plan was made with.
    pub fn options(&self) -> &PlanOptions {
        &self.options
    }

    /// The number format of matrix products and convolutions.
    pub fn precision(&self) -> Precision {
        self.options.precision
    }

    /// The operations, after the passes have changed them: fused, for instance.
    ///
    /// With a loss, the outputs after the first are penalties on the outputs of layers: one number for each sample.
    pub fn program(&self) -> &Program {
        &self.annotated.program
    }

    /// What the plan computes: predictions, a loss, a training step, or gradients.
    pub fn purpose(&self) -> &Purpose {
        &self.annotated.purpose
    }

    /// The softmax or sigmoid that is split off the end of the program, so that the loss is computed from logits. Keras does the
    /// same in a compiled step.
    pub fn output_activation(&self) -> OutputActivation {
        self.annotated.output_activation
    }

    /// The maximum number of samples in a call.
    pub fn batch(&self) -> usize {
        self.annotated.batch
    }

    /// The first steps: they run [`chunk`](Self::chunk) samples at a time, before all other steps.
    pub fn prefix(&self) -> Range<usize> {
        0..self.annotated.prefix
    }

    /// The number of samples that the prefix processes at a time.
    pub fn chunk(&self) -> usize {
        self.annotated.chunk
    }

    /// How step `index` streams its outputs to the next step, a few rows at a time; `None` if it writes them in full. The buffer
    /// of a streamed output has [`buffered_rows`](RowStream::buffered_rows) rows.
    pub fn stream(&self, index: usize) -> Option<RowStream> {
        self.annotated.streams[index]
    }

    /// Whether the backward pass goes through step `index`.
    pub fn differentiates(&self, index: usize) -> bool {
        self.annotated.differentiated[index]
    }

    /// Whether the kernel of step `index` is updated while its gradient is computed, so that the gradient needs no buffer.
    ///
    /// The update reads the step's input and the gradient with respect to its output. Both stay in their buffers until then.
    ///
    /// ```
    /// use engraft_nn::prelude::*;
    /// use engraft_plan::{Plan, PlanOptions};
    /// let model = Sequential::new().add(Input::new([64])).add(Dense::new(256).activation(Softmax)).build()?;
    /// let options = PlanOptions::default().fold_updates(true);
    /// let plan = Plan::train(&model, Sgd::new(0.1).into(), Loss::categorical_crossentropy(), 4, 0, &options)?;
    /// let kernel = &plan.program().steps[0].weights[0].weight;
    /// assert!(plan.folds_update(0));
    /// assert_eq!(plan.weight_gradient_slot(kernel.id()), None);
    /// # Ok::<(), engraft_nn::Error>(())
    /// ```
    pub fn folds_update(&self, index: usize) -> bool {
        self.annotated.folded[index]
    }

    /// Whether a folded update reads this input of the program. The executor then copies the caller's data, as the update runs
    /// after the call that gave them.
    ///
    /// ```
    /// use engraft_nn::prelude::*;
    /// use engraft_plan::{Plan, PlanOptions};
    /// let model = Sequential::new().add(Input::new([64])).add(Dense::new(256).activation(Softmax)).build()?;
    /// let keeps_input = |fold_updates| {
    ///     let (loss, options) = (Loss::categorical_crossentropy(), PlanOptions::default().fold_updates(fold_updates));
    ///     let plan = Plan::train(&model, Sgd::new(0.1).into(), loss, 4, 0, &options)?;
    ///     Ok::<bool, engraft_nn::Error>(plan.keeps_input(plan.program().inputs[0]))
    /// };
    /// assert!(keeps_input(true)? && !keeps_input(false)?);
    /// # Ok::<(), engraft_nn::Error>(())
    /// ```
    pub fn keeps_input(&self, value: ValueId) -> bool {
        let steps = self.program().steps.iter().zip(&self.annotated.folded);
        self.slot(value).is_none() && steps.filter(|(_, folded)| **folded).any(|(step, _)| step.inputs[0] == value)
    }

    /// The buffer of a value in the forward pass; `None` for an input of the program, which is borrowed from the caller.
    pub fn slot(&self, value: ValueId) -> Option<Slot> {
        self.assignment.value(value)
    }

    /// The buffer of a value in the backward pass: its [slot](Self::slot), or another one if the value is recomputed.
    ///
    /// ```
    /// use engraft_nn::prelude::*;
    /// use engraft_plan::{Plan, PlanOptions};
    /// let layers = Sequential::new().add(Input::new([4])).add(Dense::new(3).activation(Relu));
    /// let (model, loss) = (layers.add(Dense::new(2).activation(Softmax)).build()?, Loss::categorical_crossentropy());
    /// let plan = Plan::train(&model, Sgd::new(0.1).into(), loss, 8, 0, &PlanOptions::default())?;
    /// // Nothing is recomputed here.
    /// let hidden = plan.program().steps[0].output;
    /// assert_eq!(plan.slot_backward(hidden), plan.slot(hidden));
    /// # Ok::<(), engraft_nn::Error>(())
    /// ```
    pub fn slot_backward(&self, value: ValueId) -> Option<Slot> {
        self.assignment.value_backward(value)
    }

    /// The steps to run again, in this order, right before the backward pass of step `index`: their outputs were not kept.
    /// Their inputs and outputs use the [slots of the backward pass](Self::slot_backward).
    ///
    /// ```
    /// use engraft_nn::prelude::*;
    /// use engraft_plan::{Plan, PlanOptions};
    /// let conv = |filters| Conv2D::new(filters, 3).padding(Padding::Same).activation(Relu);
    /// let layers = Sequential::new().add(Input::new([64, 64, 3])).add(conv(8)).add(MaxPooling2D::new(2));
    /// let layers = layers.add(conv(64)).add(conv(64)).add(GlobalAveragePooling2D::new());
    /// let (model, loss) = (layers.add(Dense::new(2).activation(Softmax)).build()?, Loss::categorical_crossentropy());
    /// let options = PlanOptions { fuses_activation: |_, _| true, ..PlanOptions::default() };
    /// let plan = Plan::train(&model, Sgd::new(0.1).into(), loss, 4, 0, &options)?;
    /// assert!(plan.recomputed_steps(2).is_empty());
    /// // To save memory, step 1 (the pooling) runs again before the backward pass of step 2 (the second convolution).
    /// assert_eq!(plan.low_memory()?.recomputed_steps(2), [1]);
    /// # Ok::<(), engraft_nn::Error>(())
    /// ```
    pub fn recomputed_steps(&self, index: usize) -> &[usize] {
        self.assignment.recomputed_steps(index)
    }

    /// The value whose buffer this value shares: another one for the output of a reshape, else the value itself.
    ///
    /// ```
    /// use engraft_nn::prelude::*;
    /// use engraft_plan::{Plan, PlanOptions};
    /// let layers = Sequential::new().add(Input::new([8, 8, 3])).add(Conv2D::new(4, 3)).add(Flatten::new());
    /// let plan = Plan::predict(&layers.add(Dense::new(2)).build()?, 16, &PlanOptions::default())?;
    /// let [conv, flat] = [0, 1].map(|step| plan.program().steps[step].output);
    /// assert_eq!(plan.root(flat), conv);
    /// assert_eq!(plan.slot(flat), plan.slot(conv));
    /// # Ok::<(), engraft_nn::Error>(())
    /// ```
    pub fn root(&self, value: ValueId) -> ValueId {
        self.assignment.root(value)
    }

    /// Whether a value of the prefix is read after the prefix. Its buffer then has the whole batch instead of one chunk.
    pub fn leaves_prefix(&self, value: ValueId) -> bool {
        self.assignment.leaves_prefix(value)
    }

    /// The buffer of the gradient with respect to a value; `None` if that gradient isn't needed.
    pub fn gradient_slot(&self, value: ValueId) -> Option<Slot> {
        self.assignment.gradient(value)
    }

    /// Whether the gradient with respect to a value overwrites the value.
    ///
    /// If the value is the [output of a fused ReLU](Self::is_fused_relu_output), the step that overwrites it applies the gradient
    /// of that ReLU as well: the sign of the value is lost afterwards.
    ///
    /// ```
    /// use engraft_ir::Op;
    /// use engraft_nn::prelude::*;
    /// use engraft_plan::{Plan, PlanOptions};
    /// let conv = || Conv2D::new(8, 3).activation(Relu);
    /// let layers = Sequential::new().add(Input::new([16, 16, 3])).add(conv()).add(conv());
    /// let model = layers.add(GlobalAveragePooling2D::new()).add(Dense::new(2).activation(Softmax)).build()?;
    /// // This executor's convolutions can write the gradient over their input.
    /// let options = PlanOptions {
    ///     fuses_activation: |_, _| true,
    ///     gradient_in_place: |op, _, _| matches!(op, Op::Conv2d { .. }),
    ///     ..PlanOptions::default()
    /// };
    /// let plan = Plan::train(&model, Sgd::new(0.1).into(), Loss::categorical_crossentropy(), 4, 0, &options)?;
    /// let between = plan.program().steps[0].output;
    /// assert!(plan.gradient_in_place(between));
    /// assert_eq!(plan.gradient_slot(between), plan.slot(between));
    /// # Ok::<(), engraft_nn::Error>(())
    /// ```
    pub fn gradient_in_place(&self, value: ValueId) -> bool {
        self.assignment.gradient_in_place(value)
    }

    /// Whether a value is the output of a convolution or Dense step with a fused ReLU.
    ///
    /// ```
    /// use engraft_nn::prelude::*;
    /// use engraft_plan::{Plan, PlanOptions};
    /// let layers = Sequential::new().add(Input::new([4])).add(Dense::new(3).activation(Relu)).add(Dense::new(2));
    /// let options = PlanOptions { fuses_activation: |_, _| true, ..PlanOptions::default() };
    /// let plan = Plan::predict(&layers.build()?, 16, &options)?;
    /// let [hidden, output] = [0, 1].map(|step| plan.program().steps[step].output);
    /// assert!(plan.is_fused_relu_output(hidden) && !plan.is_fused_relu_output(output));
    /// # Ok::<(), engraft_nn::Error>(())
    /// ```
    pub fn is_fused_relu_output(&self, value: ValueId) -> bool {
        self.assignment
            .producer(value)
            .is_some_and(|producer| self.program().steps[producer].activation == Activation::Relu)
    }

    /// The buffer for a contribution of step `index` to the gradient with respect to an input, if another step writes the first
    /// contribution. The contribution is computed in this buffer and then added to the gradient.
    ///
    /// ```
    /// use engraft_nn::prelude::*;
    /// use engraft_plan::{Plan, PlanOptions};
    /// let x = Input::new([4]);
    /// let y = Dense::new(4).call(&x)?;
    /// let residual = Dense::new(4).call(&y)?;
    /// let model = Model::new(&x, &Add::new().call([&y, &residual])?)?;
    /// let loss = Loss::categorical_crossentropy().from_logits(true);
    /// let plan = Plan::train(&model, Sgd::new(0.1).into(), loss, 8, 0, &PlanOptions::default())?;
    /// // Backward, the sum (step 2) writes the gradient with respect to `y`; then the second Dense (step 1) adds to it.
    /// assert!(plan.contribution_slot(2).is_none() && plan.contribution_slot(1).is_some());
    /// # Ok::<(), engraft_nn::Error>(())
    /// ```
    pub fn contribution_slot(&self, index: usize) -> Option<Slot> {
        self.assignment.contribution(index)
    }

    /// The buffer of the gradient with respect to a weight, by [`Weight::id`](engraft_nn::Weight::id); `None` if the weight is
    /// frozen or its update is [folded](Self::folds_update).
    pub fn weight_gradient_slot(&self, weight: usize) -> Option<Slot> {
        self.assignment.weight_gradient(weight)
    }

    /// The step that is the first in the backward pass to contribute to the gradient with respect to a weight; `None` if the
    /// weight is frozen or its update is [folded](Self::folds_update).
    ///
    /// ```
    /// use engraft_nn::prelude::*;
    /// use engraft_plan::{Plan, PlanOptions};
    /// let (x, shared) = (Input::new([4]), Dense::new(4).into_layer());
    /// let model = Model::new(&x, &shared.call(&shared.call(&x)?)?)?;
    /// let loss = Loss::categorical_crossentropy().from_logits(true);
    /// let plan = Plan::train(&model, Sgd::new(0.1).into(), loss, 8, 0, &PlanOptions::default())?;
    /// // Steps 0 and 1 use the same kernel, and the backward pass goes through step 1 first.
    /// let kernel = shared.weights()[0].id();
    /// assert_eq!((plan.first_use(kernel), plan.last_use(kernel)), (Some(1), Some(0)));
    /// # Ok::<(), engraft_nn::Error>(())
    /// ```
    pub fn first_use(&self, weight: usize) -> Option<usize> {
        self.assignment.weight_uses(weight).map(|(first, _)| first)
    }

    /// The step that is the last in the backward pass to contribute to the gradient with respect to a weight. After this step,
    /// the gradient is final. `None` if the weight is frozen or its update is [folded](Self::folds_update).
    pub fn last_use(&self, weight: usize) -> Option<usize> {
        self.assignment.weight_uses(weight).map(|(_, last)| last)
    }

    /// The length of every buffer, in f32, by [`Slot`].
    pub fn buffers(&self) -> &[usize] {
        self.assignment.lengths()
    }

    /// The memory that the plan needs, without the executor's own working space.
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
            buffers: 4 * self.assignment.length() + kept_inputs.map(|&input| bytes(input)).sum::<usize>(),
            // Memory for two input batches: the next one is loaded while the current one is computed.
            inputs: 2 * program.inputs.iter().map(|&input| bytes(input)).sum::<usize>(),
            features: 0,
            scratch: 0,
        }
    }
}

/// Refuses sizes whose count of bytes overflows `usize`. Code that runs after this check needs no overflow checks.
fn check_countable(program: &Program, batch: usize) -> Result<()> {
    // Upper bound of the bytes for each number of a value or weight. The values with their gradients, contributions and input
    // batches are at most 8 times as long as the values alone. The weights with their gradients and the optimizer's state are at
    // most 8 times as long as the weights alone. Each number has 4 bytes.
    const MAX_BYTES_PER_NUMBER: usize = 8 * 4;
    let values = (0..program.shapes.len()).try_fold(0usize, |sum, value| sum.checked_add(program.size(value)));
    let weights = program.weights().iter().try_fold(0usize, |sum, param| sum.checked_add(param.weight.count()));
    let total =
        values.and_then(|values| values.checked_mul(batch)?.checked_add(weights?)?.checked_mul(MAX_BYTES_PER_NUMBER));
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
        let options = PlanOptions { fuses_activation: |_, _| true, ..PlanOptions::default() };
        Plan::predict(&small(), batch, &options)
    }

    #[test]
    fn prediction_needs_no_more_than_its_widest_places() {
        let plan = predict(4).unwrap();
        // One buffer has the output of conv1, the other the pooled output. The outputs of conv2 and of both Dense layers reuse
        // the buffer of conv1.
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
        // If the program starts at conv2, Flatten copies the input, and the folded update of the Dense layer reads the copy.
        assert!(!kept("conv2", true));
    }
}
