//! Which values share a buffer.
//!
//! Time runs through the forward steps 0..n and back through n..2n. Every value, gradient and weight gradient lives from
//! when it is made to when it is read last; those that never live at once may share a slot.

use std::collections::{HashMap, HashSet};

use super::{Op, Program, Purpose, Step, ValueId};
use crate::{Error, Result};

/// A place for a value: the first numbers of a buffer.
pub type Slot = usize;

/// The slots of a plan.
#[derive(Clone, Debug, Default)]
pub(super) struct Layout {
    lengths: Vec<usize>,
    values: HashMap<ValueId, Slot>,
    gradients: HashMap<ValueId, Slot>,
    contributions: HashMap<usize, Slot>,
    weight_gradients: HashMap<usize, Slot>,
    /// For each weight, the steps that use it: first and last in backward order.
    uses: HashMap<usize, (usize, usize)>,
    roots: HashMap<ValueId, ValueId>,
    leaving_prefix: HashSet<ValueId>,
}

/// What asks for a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tenant {
    Value(ValueId),
    Gradient(ValueId),
    Contribution(usize),
    WeightGradient(usize),
}

/// A tenant, how many f32 it needs, and from when to when.
struct Request {
    tenant: Tenant,
    length: usize,
    from: usize,
    to: usize,
}

impl Layout {
    pub(super) fn new(
        program: &Program,
        purpose: &Purpose,
        differentiated: &[bool],
        prefix: usize,
        chunk: usize,
        batch: usize,
    ) -> Result<Self> {
        let mut layout = Self::default();
        let timeline = Timeline::new(program, differentiated, prefix);
        let mut requests = timeline.values(chunk, batch);
        requests.extend(timeline.gradients(batch, matches!(purpose, Purpose::Gradients)));
        requests.extend(layout.weight_gradients_of(&timeline, purpose));
        let total = requests.iter().try_fold(0usize, |sum, request| sum.checked_add(request.length));
        if total.and_then(|floats| floats.checked_mul(4)).is_none() {
            return Err(Error::because("plan", "this model and batch size need more memory than can be addressed")
                .hint("use smaller images or a smaller batch"));
        }
        layout.assign(requests);
        // A reshaped value stands where the original does.
        for (value, root) in &timeline.roots {
            if let Some(&slot) = layout.values.get(root) {
                layout.values.insert(*value, slot);
            }
            if let Some(&slot) = layout.gradients.get(root) {
                layout.gradients.insert(*value, slot);
            }
        }
        layout.leaving_prefix = timeline.leaving_prefix();
        layout.roots = timeline.roots;
        Ok(layout)
    }

    pub(super) fn slots(&self) -> &[usize] {
        &self.lengths
    }

    pub(super) fn value(&self, value: ValueId) -> Option<Slot> {
        self.values.get(&value).copied()
    }

    /// The value whose buffer this one shares.
    pub(super) fn root(&self, value: ValueId) -> ValueId {
        self.roots.get(&value).copied().unwrap_or(value)
    }

    pub(super) fn leaves_prefix(&self, value: ValueId) -> bool {
        self.leaving_prefix.contains(&self.root(value))
    }

    pub(super) fn gradient(&self, value: ValueId) -> Option<Slot> {
        self.gradients.get(&value).copied()
    }

    pub(super) fn contribution(&self, step: usize) -> Option<Slot> {
        self.contributions.get(&step).copied()
    }

    pub(super) fn weight_gradient(&self, weight: usize) -> Option<Slot> {
        self.weight_gradients.get(&weight).copied()
    }

    pub(super) fn uses(&self, weight: usize) -> Option<(usize, usize)> {
        self.uses.get(&weight).copied()
    }

    /// Gathers the gradient by each trainable weight from its first contribution to its last; by a Dense kernel used
    /// once no gradient is ever written out, since the update is made as its rows are computed.
    fn weight_gradients_of(&mut self, timeline: &Timeline<'_>, purpose: &Purpose) -> Vec<Request> {
        let keep = matches!(purpose, Purpose::Gradients);
        let mut uses: HashMap<usize, (Vec<usize>, usize, bool)> = HashMap::new();
        for (i, step) in timeline.program.steps.iter().enumerate() {
            for (position, param) in step.weights.iter().enumerate().filter(|(_, param)| param.trainable) {
                let folds = position == 0 && matches!(step.op, Op::Dense);
                let entry = uses.entry(param.weight.id()).or_insert((Vec::new(), param.weight.count(), folds));
                entry.0.push(i);
            }
        }
        let mut requests = Vec::new();
        for (weight, (steps, length, folds)) in uses {
            let (first, last) = (steps[0], steps[steps.len() - 1]);
            self.uses.insert(weight, (last, first));
            if folds && steps.len() == 1 && !keep {
                continue;
            }
            let to = if keep { timeline.end() } else { timeline.backward(first) };
            // A slot twice as long for shared weights: a further contribution is computed beside the sum.
            let length = if steps.len() > 1 { 2 * length } else { length };
            requests.push(Request {
                tenant: Tenant::WeightGradient(weight),
                length,
                from: timeline.backward(last),
                to,
            });
        }
        requests
    }

    /// Greedy interval colouring in order of birth: the smallest free slot that is large enough, else the largest free
    /// one grown, else a new one.
    fn assign(&mut self, mut requests: Vec<Request>) {
        requests.sort_by_key(|r| (r.from, std::cmp::Reverse(r.length), r.to));
        let mut busy_until: Vec<usize> = Vec::new();
        for request in requests {
            let free = |slot: &usize| busy_until[*slot] < request.from;
            let candidates: Vec<Slot> = (0..self.lengths.len()).filter(free).collect();
            let fitting = candidates.iter().copied().filter(|&s| self.lengths[s] >= request.length);
            let slot = fitting
                .min_by_key(|&s| self.lengths[s])
                .or_else(|| candidates.iter().copied().max_by_key(|&s| self.lengths[s]))
                .unwrap_or_else(|| {
                    self.lengths.push(0);
                    busy_until.push(0);
                    self.lengths.len() - 1
                });
            self.lengths[slot] = self.lengths[slot].max(request.length);
            busy_until[slot] = request.to;
            match request.tenant {
                Tenant::Value(value) => self.values.insert(value, slot),
                Tenant::Gradient(value) => self.gradients.insert(value, slot),
                Tenant::Contribution(step) => self.contributions.insert(step, slot),
                Tenant::WeightGradient(weight) => self.weight_gradients.insert(weight, slot),
            };
        }
    }
}

/// When everything happens.
struct Timeline<'a> {
    program: &'a Program,
    differentiated: &'a [bool],
    prefix: usize,
    readers: HashMap<ValueId, Vec<usize>>,
    makers: HashMap<ValueId, usize>,
    /// A reshaped value and the one whose buffer it shares.
    roots: HashMap<ValueId, ValueId>,
}

impl<'a> Timeline<'a> {
    fn new(program: &'a Program, differentiated: &'a [bool], prefix: usize) -> Self {
        let mut roots = HashMap::new();
        for step in program.steps.iter().filter(|step| matches!(step.op, Op::Reshape)) {
            let input = step.inputs[0];
            // An input has no slot to share: its reshaped copy is a value of its own.
            if !program.inputs.contains(&input) {
                let root = roots.get(&input).copied().unwrap_or(input);
                roots.insert(step.output, root);
            }
        }
        let makers = program.steps.iter().enumerate().map(|(i, step)| (step.output, i)).collect();
        Self { program, differentiated, prefix, readers: program.readers(), makers, roots }
    }

    /// One past the last backward step, when the caller reads results. Times start at 1: slots are free at 0.
    fn end(&self) -> usize {
        2 * self.program.steps.len() + 1
    }

    fn forward(&self, step: usize) -> usize {
        step + 1
    }

    fn backward(&self, step: usize) -> usize {
        2 * self.program.steps.len() - step
    }

    /// All names of a buffer: the value itself and its reshaped forms.
    fn names(&self, root: ValueId) -> Vec<ValueId> {
        let aliases = self.roots.iter().filter(|(_, r)| **r == root).map(|(value, _)| *value);
        std::iter::once(root).chain(aliases).collect()
    }

    fn values(&self, chunk: usize, batch: usize) -> Vec<Request> {
        let steps = self.program.steps.iter().enumerate();
        steps
            .filter(|(_, step)| !self.roots.contains_key(&step.output))
            .map(|(maker, step)| {
                let names = self.names(step.output);
                let readers = self.readers_of(&names);
                let mut to = readers.iter().map(|&r| self.forward(r)).max().unwrap_or(self.forward(maker));
                let is_output = names.iter().any(|v| self.program.outputs.contains(v));
                let leaves_prefix = self.leaves_prefix(maker, &names, &readers);
                let saved = self.saved_until(maker, &readers);
                to = to.max(saved).max(if is_output { self.end() } else { 0 });
                // The prefix runs once for each chunk: what leaves it must not be overwritten by its own first steps.
                let from = if leaves_prefix { self.forward(0) } else { self.forward(maker) };
                let samples = if maker < self.prefix && !leaves_prefix { chunk } else { batch };
                Request {
                    tenant: Tenant::Value(step.output),
                    length: samples * self.program.size(step.output),
                    from,
                    to,
                }
            })
            .collect()
    }

    /// Whether a value made in the prefix is read after it: it then holds the whole batch.
    fn leaves_prefix(&self, maker: usize, names: &[ValueId], readers: &[usize]) -> bool {
        maker < self.prefix
            && (names.iter().any(|v| self.program.outputs.contains(v)) || readers.iter().any(|&r| r >= self.prefix))
    }

    fn leaving_prefix(&self) -> HashSet<ValueId> {
        let roots =
            self.program.steps[..self.prefix].iter().enumerate().filter(|(_, s)| !self.roots.contains_key(&s.output));
        roots
            .filter(|(maker, step)| {
                let names = self.names(step.output);
                self.leaves_prefix(*maker, &names, &self.readers_of(&names))
            })
            .map(|(_, step)| step.output)
            .collect()
    }

    /// The steps that read a value under any of its names.
    fn readers_of(&self, names: &[ValueId]) -> Vec<usize> {
        names.iter().flat_map(|v| self.readers.get(v)).flatten().copied().collect()
    }

    /// The last backward step that reads a value under any of its names; 0 if none does.
    fn saved_until(&self, maker: usize, readers: &[usize]) -> usize {
        let by_readers = readers
            .iter()
            .filter(|&&r| self.differentiated[r] && reads_inputs_backward(&self.program.steps[r]))
            .map(|&r| self.backward(r));
        // Reshaped forms are made by steps that read nothing backward, so the maker is that of the root.
        let by_maker = (self.differentiated[maker] && reads_output_backward(&self.program.steps[maker]))
            .then(|| self.backward(maker));
        by_readers.chain(by_maker).max().unwrap_or(0)
    }

    fn gradients(&self, batch: usize, by_inputs: bool) -> Vec<Request> {
        let mut requests = Vec::new();
        let carrying: Vec<ValueId> =
            self.program.steps.iter().zip(self.differentiated).filter(|(_, d)| **d).map(|(s, _)| s.output).collect();
        let inputs: &[ValueId] = if by_inputs { &self.program.inputs } else { &[] };
        for &value in carrying.iter().chain(inputs).filter(|v| !self.roots.contains_key(v)) {
            let names = self.names(value);
            let mut readers = self.readers_of(&names);
            readers.retain(|&r| self.differentiated[r] && !self.roots.contains_key(&self.program.steps[r].output));
            readers.sort_unstable_by(|a, b| b.cmp(a));
            let is_output = names.iter().any(|v| self.program.outputs.contains(v));
            let first = readers.first().map(|&r| self.backward(r));
            let from = if is_output { self.forward(self.program.steps.len()) } else { first.unwrap_or(self.end()) };
            let to = self.makers.get(&value).map_or(self.end(), |&maker| self.backward(maker));
            let length = batch * self.program.size(value);
            requests.push(Request { tenant: Tenant::Gradient(value), length, from: from.min(to), to });
            // Every contribution but the first is computed beside the sum, then added.
            for &reader in readers.iter().skip(usize::from(!is_output)) {
                let at = self.backward(reader);
                requests.push(Request { tenant: Tenant::Contribution(reader), length, from: at, to: at });
            }
        }
        merge_contributions(requests)
    }
}

/// One slot a step for further contributions, as long as the longest.
fn merge_contributions(requests: Vec<Request>) -> Vec<Request> {
    let mut merged: Vec<Request> = Vec::new();
    for request in requests {
        let same =
            merged.iter_mut().find(|m| matches!(m.tenant, Tenant::Contribution(_)) && m.tenant == request.tenant);
        match same {
            Some(earlier) => earlier.length = earlier.length.max(request.length),
            None => merged.push(request),
        }
    }
    merged
}

/// Whether the backward pass of a step reads what the forward pass read.
fn reads_inputs_backward(step: &Step) -> bool {
    match &step.op {
        Op::Conv2d { .. } | Op::Dense => step.weights.first().is_some_and(|kernel| kernel.trainable),
        Op::Pool2d { kind, .. } | Op::GlobalPool { kind } => matches!(kind, engraft_kernels::PoolKind::Max),
        Op::BatchNorm { .. } => true,
        Op::Activation(function) => !function.gradient_from_output(),
        _ => false,
    }
}

/// Whether the backward pass of a step reads what the forward pass made.
fn reads_output_backward(step: &Step) -> bool {
    match &step.op {
        Op::Conv2d { .. } | Op::Dense => step.activation != engraft_kernels::Activation::Linear,
        Op::Pool2d { kind, .. } | Op::GlobalPool { kind } => matches!(kind, engraft_kernels::PoolKind::Max),
        Op::Activation(function) => function.gradient_from_output(),
        Op::Softmax => true,
        _ => false,
    }
}
