//! Replays plans of random models without computing: each step must find in its buffers what earlier steps wrote.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod random_graphs;

use std::collections::{HashMap, HashSet};

use engraft_ir::{Activation as Function, Op, PoolKind, ValueId};
use engraft_nn::Program;
use engraft_nn::prelude::*;
use engraft_plan::{GradientRequest, Plan, PlanOptions, Purpose, Slot};
use random_graphs::{Kinds, random_classifier, random_model};

/// What was last written to a buffer.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Content {
    Value(ValueId),
    Gradient(ValueId),
    WeightGradient(usize),
    Contribution,
}

/// Runs a plan as an executor does, but records only what is written to each buffer.
struct Replay<'a> {
    plan: &'a Plan,
    buffers: HashMap<Slot, Content>,
    /// Roots whose gradients have a first contribution already. Further contributions are added to the first.
    started: HashSet<ValueId>,
    /// The number of gradients that overwrote their values.
    in_place: usize,
    /// Whether the backward pass is running.
    in_backward_pass: bool,
    /// The number of steps that were recomputed for the backward pass.
    recomputed: usize,
}

impl<'a> Replay<'a> {
    /// Replays a whole plan.
    fn of(plan: &'a Plan) -> Self {
        let outputs = &plan.program().outputs;
        let started = outputs.iter().map(|&output| plan.root(output)).collect();
        let mut replay =
            Replay { plan, buffers: HashMap::new(), started, in_place: 0, in_backward_pass: false, recomputed: 0 };
        for first in (0..plan.batch()).step_by(plan.chunk()) {
            plan.prefix().for_each(|step| replay.forward(step, first));
        }
        (plan.prefix().end..plan.program().steps.len()).for_each(|step| replay.forward(step, 0));
        outputs.iter().for_each(|&output| replay.read_value(output));
        for &output in outputs {
            if let Some(slot) = plan.gradient_slot(output) {
                replay.write(slot, Content::Gradient(plan.root(output)), plan.batch() * plan.program().size(output));
            }
        }
        let differentiated = (0..plan.program().steps.len()).rev().filter(|&step| plan.differentiates(step));
        replay.in_backward_pass = true;
        differentiated.for_each(|step| replay.backward(step));
        replay.update();
        replay.read_results();
        replay
    }

    fn write(&mut self, slot: Slot, content: Content, length: usize) {
        assert!(self.plan.buffers()[slot] >= length, "{content:?} needs {length} of {}", self.plan.buffers()[slot]);
        self.buffers.insert(slot, content);
    }

    fn read(&self, slot: Slot, content: Content) {
        assert_eq!(self.buffers.get(&slot), Some(&content), "in {:#?}", self.plan.program().steps);
    }

    fn slot(&self, value: ValueId) -> Option<Slot> {
        if self.in_backward_pass { self.plan.slot_backward(value) } else { self.plan.slot(value) }
    }

    fn read_value(&self, value: ValueId) {
        match self.slot(value) {
            Some(slot) => self.read(slot, Content::Value(self.plan.root(value))),
            None => assert!(self.plan.program().inputs.contains(&value)),
        }
    }

    fn forward(&mut self, index: usize, first: usize) {
        let plan = self.plan;
        let step = &plan.program().steps[index];
        step.inputs.iter().for_each(|&input| self.read_value(input));
        let slot = self.slot(step.output).unwrap();
        if plan.root(step.output) != step.output {
            return;
        }
        assert!(step.inputs.iter().all(|&input| self.slot(input) != Some(slot)), "{:?} in place", step.op);
        // A value of the whole batch must survive from one chunk of the prefix to the next.
        if plan.leaves_prefix(step.output) && first > 0 {
            self.read(slot, Content::Value(step.output));
        }
        let is_whole_batch = !plan.prefix().contains(&index) || plan.leaves_prefix(step.output);
        let samples = if is_whole_batch { plan.batch() } else { plan.chunk() };
        self.write(slot, Content::Value(step.output), samples * plan.program().size(step.output));
    }

    fn backward(&mut self, index: usize) {
        let plan = self.plan;
        let step = &plan.program().steps[index];
        if plan.root(step.output) != step.output {
            return;
        }
        let dy = plan.gradient_slot(step.output).unwrap();
        for &again in plan.recomputed_steps(index) {
            self.forward(again, 0);
            self.recomputed += 1;
        }
        self.read(dy, Content::Gradient(step.output));
        // If the gradient overwrites this step's output, the step that wrote it has applied the activation's gradient already.
        if step.activation != Function::Linear && !plan.gradient_in_place(step.output) {
            self.read_value(step.output);
        }
        self.weight_gradients(index, dy, true);
        for &input in &step.inputs {
            self.read_saved(index);
            self.input_gradient(index, input, dy);
        }
        self.weight_gradients(index, dy, false);
    }

    /// Computes the gradients with respect to a step's weights: the ones with a buffer, or the ones whose update is folded.
    fn weight_gradients(&mut self, index: usize, dy: Slot, has_buffer: bool) {
        let plan = self.plan;
        let step = &plan.program().steps[index];
        for (position, param) in step.weights.iter().enumerate().filter(|(_, param)| param.trainable) {
            if plan.weight_gradient_slot(param.weight.id()).is_some() != has_buffer {
                continue;
            }
            if position == 0 || matches!(step.op, Op::BatchNorm { .. } | Op::Normalize(_)) {
                step.inputs.iter().for_each(|&input| self.read_value(input));
            }
            self.read(dy, Content::Gradient(step.output));
            self.weight_gradient(index, param.weight.id(), param.weight.count());
        }
    }

    /// Reads the values that the gradient with respect to a step's inputs is computed from.
    fn read_saved(&self, index: usize) {
        let step = &self.plan.program().steps[index];
        match step.op {
            Op::BatchNorm { .. } | Op::Normalize(_) | Op::Scale { .. } => self.read_value(step.inputs[0]),
            Op::Pool2d { kind: PoolKind::Max, .. } => {
                self.read_value(step.inputs[0]);
                self.read_value(step.output);
            }
            Op::Activation(_) | Op::Softmax | Op::LogSoftmax => self.read_value(step.output),
            _ => {}
        }
    }

    fn input_gradient(&mut self, index: usize, input: ValueId, dy: Slot) {
        let plan = self.plan;
        let Some(slot) = plan.gradient_slot(input) else { return };
        let length = plan.batch() * plan.program().size(input);
        let gradient = Content::Gradient(plan.root(input));
        if plan.gradient_in_place(input) {
            self.in_place += 1;
            self.read_value(input);
        }
        if self.started.insert(plan.root(input)) {
            self.write(slot, gradient, length);
        } else {
            let contribution = plan.contribution_slot(index).unwrap();
            self.write(contribution, Content::Contribution, length);
            self.read(slot, gradient);
        }
        self.read(dy, Content::Gradient(plan.program().steps[index].output));
    }

    fn weight_gradient(&mut self, index: usize, weight: usize, count: usize) {
        let plan = self.plan;
        let Some(slot) = plan.weight_gradient_slot(weight) else {
            assert!(plan.folds_update(index));
            return;
        };
        match plan.first_use(weight) == Some(index) {
            true => self.write(slot, Content::WeightGradient(weight), count),
            false => {
                self.read(slot, Content::WeightGradient(weight));
                self.write(slot, Content::WeightGradient(weight), 2 * count);
            }
        }
    }

    /// Updates the weights. A folded update reads the step's input and the gradient with respect to its output; other updates
    /// read the weight's gradient.
    fn update(&self) {
        let steps = self.plan.program().steps.iter().enumerate();
        for (index, step) in steps.filter(|(index, _)| self.plan.differentiates(*index)) {
            if self.plan.folds_update(index) {
                self.read_value(step.inputs[0]);
                self.read(self.plan.gradient_slot(step.output).unwrap(), Content::Gradient(step.output));
            }
            let trained = step.weights.iter().filter(|param| param.trainable).map(|param| param.weight.id());
            for (weight, slot) in trained.filter_map(|id| Some((id, self.plan.weight_gradient_slot(id)?))) {
                self.read(slot, Content::WeightGradient(weight));
            }
        }
    }

    /// Reads the results as the caller does: outputs, requested values, and gradients with respect to requested values and
    /// inputs.
    fn read_results(&self) {
        let program = self.plan.program();
        let mut with_gradient = program.inputs.clone();
        if let Purpose::Gradients { values, .. } = self.plan.purpose() {
            values.iter().for_each(|&value| self.read_value(value));
            with_gradient.extend(values);
        }
        program.outputs.iter().for_each(|&output| self.read_value(output));
        for value in with_gradient {
            if let Some(slot) = self.plan.gradient_slot(value) {
                self.read(slot, Content::Gradient(self.plan.root(value)));
            }
        }
    }
}

/// Options that turn on everything but row streaming, which has its own tests.
fn options() -> PlanOptions {
    PlanOptions {
        fold_updates: true,
        chunk_bytes: 40 << 20,
        unchunked_bytes: 32 << 20,
        folds_batch_norm: |_| true,
        fuses_activation: |_, _| true,
        fuses_pooling: |_| true,
        gradient_in_place: |op, input, output| match op {
            Op::Conv2d { kernel, groups, .. } => *kernel == [3, 3] && *groups == 1,
            op => op.pool2d_shape(1, input, output).is_some_and(|(_, shape)| shape.windows_are_disjoint()),
        },
        ..PlanOptions::default()
    }
}

/// Requests gradients with respect to inputs, weights and the outputs of some layers.
fn everything(model: &Model, seed: usize) -> GradientRequest {
    // Input layers have no step, so they have no output to request.
    let program = Program::of(model, true, 0).unwrap();
    let names = model.layers().iter().map(|layer| layer.name().to_owned()).collect::<Vec<_>>();
    let computed = names.into_iter().filter(|name| program.layer_output(name).is_ok());
    let layers = computed.skip(seed % 3).step_by(3).collect();
    GradientRequest { training: true, inputs: true, weights: true, layers, ..GradientRequest::default() }
}

/// A plan allocates nothing, so a batch may have millions of samples: its prefix then has several chunks.
const BATCHES: [usize; 2] = [3, 4_000_000];

#[test]
fn whatever_is_read_still_stands() {
    let (mut chunked, mut in_place, mut recomputed) = (0, 0, 0);
    for (seed, batch) in (0..300).flat_map(|seed| BATCHES.map(|batch| (seed, batch))) {
        let (model, classifier) = (random_model(seed, Kinds::All), random_classifier(seed));
        let (loss, options) = (Loss::categorical_crossentropy(), options());
        let adam = || Adam::new(1e-3).into();
        for plan in [
            Plan::predict(&model, batch, &options),
            Plan::gradients(&model, &everything(&model, seed as usize), batch, &options),
            Plan::evaluate(&classifier, loss, batch, &options),
            Plan::train(&classifier, adam(), loss, batch, 0, &options),
            Plan::train(&classifier, adam(), loss, batch, 0, &PlanOptions::default()),
        ] {
            let plan = plan.unwrap();
            chunked += usize::from(plan.chunk() < batch && plan.prefix().len() > 1);
            in_place += Replay::of(&plan).in_place;
            // A low-memory prefix runs one sample at a time: millions of samples would take minutes.
            if batch == BATCHES[0] {
                recomputed += Replay::of(&plan.low_memory().unwrap()).recomputed;
            }
        }
    }
    assert!(chunked > 300, "only {chunked} plans had chunks");
    assert!(recomputed > 100, "only {recomputed} steps were recomputed");
    assert!(in_place > 50, "only {in_place} gradients overwrote their values");
}

#[test]
fn the_same_model_has_the_same_plan() {
    for seed in 0..20 {
        let plans = [(); 2].map(|()| {
            let model = random_model(seed, Kinds::All);
            Plan::gradients(&model, &everything(&model, 0), 3, &options()).unwrap()
        });
        assert_eq!(plans[0].buffers(), plans[1].buffers());
    }
}

#[test]
fn a_prediction_has_no_buffers_for_gradients() {
    let x = Input::new([8, 8, 1]);
    let y = Conv2D::new(1, 8).call(&x).unwrap();
    let plan = Plan::predict(&Model::new(&x, &Flatten::new().call(&y).unwrap()).unwrap(), 1, &options()).unwrap();
    assert_eq!(plan.buffers(), [1]);
}

#[test]
fn plans_of_long_chains_take_no_square_of_their_length() {
    // An algorithm of quadratic time would take minutes at this length.
    let x = Input::new([2]);
    let (flat, tanh) = (Flatten::new().into_layer(), Activation::new(Tanh).into_layer());
    let mut y = Dense::new(2).call(&x).unwrap();
    for _ in 0..60_000 {
        y = flat.call(&tanh.call(&y).unwrap()).unwrap();
    }
    let model = Model::new(&x, &y).unwrap();
    let plan = Plan::gradients(&model, &everything(&model, 0), 1, &options()).unwrap();
    assert_eq!(plan.program().steps.len(), 120_001);
}
