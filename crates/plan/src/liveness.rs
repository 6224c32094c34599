//! Liveness analysis: the live range of each value, gradient and weight gradient. Buffer assignment uses it.
//!
//! A program of `n` steps has these points in time: 1 to `n` for the forward pass, `n + 1` to `2n` for the backward pass, and one
//! at the end, at which weights are updated and the caller reads the results.
//!
//! The *root* of a value is the value whose buffer it shares. The output of a reshape has the root of its input. Any other value
//! is its own root.

use std::collections::{BTreeMap, HashMap};
use std::ops::RangeInclusive;

use engraft_ir::{Activation, Op, PoolKind, ValueId};
use engraft_nn::Step;

use crate::annotated_program::AnnotatedProgram;
use crate::{PlanOptions, Purpose};

/// An array that a plan stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Storage {
    /// A value, by its root.
    Value(ValueId),
    /// A value that is recomputed for the backward pass, by its root.
    Recomputed(ValueId),
    /// The gradient with respect to a value, by the value's root.
    Gradient(ValueId),
    /// A contribution to the gradient with respect to an input of a step, by step. It is computed here if another step has
    /// written the first contribution, and then added to the gradient.
    Contribution(usize),
    /// The gradient with respect to a weight, by its id.
    WeightGradient(usize),
}

/// The length of an array in f32, and the first and last time at which it is needed.
#[derive(Debug)]
pub(crate) struct LiveRange {
    pub(crate) storage: Storage,
    pub(crate) length: usize,
    pub(crate) from: usize,
    pub(crate) to: usize,
}

/// A value and its reshaped aliases, which share one buffer.
#[derive(Clone, Debug, Default)]
pub(crate) struct AliasSet {
    /// The step that computes the value; none for an input.
    pub(crate) producer: Option<usize>,
    /// The steps that read the value or one of its aliases.
    pub(crate) readers: Vec<usize>,
    /// Whether it is an output of the program. The first contribution to its gradient then comes from the loss or the caller.
    is_output: bool,
    /// Whether the caller reads it.
    pub(crate) is_read_by_caller: bool,
}

/// The steps that contribute first and last, in the backward pass, to the gradient with respect to a trainable weight.
///
/// Folded kernels have no such entry.
#[derive(Clone, Debug)]
pub(crate) struct WeightUses {
    pub(crate) weight: usize,
    /// The step that contributes first in the backward pass.
    pub(crate) first: usize,
    /// The step that contributes last in the backward pass.
    pub(crate) last: usize,
    length: usize,
}

/// The analysis of one program.
pub(crate) struct Liveness<'a> {
    pub(crate) annotated: &'a AnnotatedProgram,
    /// By value, its root.
    roots: Vec<ValueId>,
    /// The alias sets, by root.
    pub(crate) alias_sets: Vec<AliasSet>,
    /// By root, whether the gradient overwrites the value.
    in_place: Vec<bool>,
    /// By root, the live range of the recomputed value in the backward pass; none if it isn't recomputed.
    recomputed: Vec<Option<RangeInclusive<usize>>>,
}

impl<'a> Liveness<'a> {
    pub(crate) fn new(annotated: &'a AnnotatedProgram, options: &PlanOptions) -> Self {
        let program = &annotated.program;
        let mut roots: Vec<ValueId> = (0..program.shapes.len()).collect();
        let mut is_input = vec![false; roots.len()];
        program.inputs.iter().for_each(|&input| is_input[input] = true);
        let mut alias_sets = vec![AliasSet::default(); roots.len()];
        for (index, step) in program.steps.iter().enumerate() {
            // A reshape copies in two cases. An input of the program is borrowed, so there is no buffer to share. And if the
            // caller requests the gradient with respect to the reshaped value, that gradient needs a buffer of its own: it lacks
            // the contributions of other steps that read the original.
            let reads_input = step.inputs.first().is_some_and(|&value| is_input[value]);
            let copies = reads_input || annotated.purpose.requested_values().contains(&step.output);
            if matches!(step.op, Op::Reshape) && !copies {
                roots[step.output] = roots[step.inputs[0]];
            } else {
                alias_sets[step.output].producer = Some(index);
                step.inputs.iter().for_each(|&input| alias_sets[roots[input]].readers.push(index));
            }
        }
        program.outputs.iter().for_each(|&output| alias_sets[roots[output]].is_output = true);
        annotated.read_by_caller().for_each(|value| alias_sets[roots[value]].is_read_by_caller = true);
        let in_place = alias_sets.iter().map(|aliases| gradient_in_place(annotated, aliases, options)).collect();
        let recomputed = vec![None; alias_sets.len()];
        let mut liveness = Self { annotated, roots, alias_sets, in_place, recomputed };
        liveness.recomputed = liveness.recomputed_ranges();
        liveness
    }

    /// By root, whether the gradient overwrites the value.
    pub(crate) fn in_place(&self) -> &[bool] {
        &self.in_place
    }

    /// By root, the step that computes it.
    pub(crate) fn producers(&self) -> Vec<Option<usize>> {
        self.alias_sets.iter().map(|aliases| aliases.producer).collect()
    }

    /// By value, its root.
    pub(crate) fn roots(&self) -> &[ValueId] {
        &self.roots
    }

    /// By root, whether it is computed in the prefix and read after it. It then needs a buffer for the whole batch.
    pub(crate) fn leaving_prefix(&self) -> Vec<bool> {
        self.alias_sets.iter().map(|aliases| self.leaves_prefix(aliases)).collect()
    }

    fn leaves_prefix(&self, aliases: &AliasSet) -> bool {
        let prefix = self.annotated.prefix;
        let read_after = || aliases.is_read_by_caller || aliases.readers.iter().any(|&reader| reader >= prefix);
        aliases.producer.is_some_and(|producer| producer < prefix) && read_after()
    }

    fn forward(&self, step: usize) -> usize {
        step + 1
    }

    fn backward(&self, step: usize) -> usize {
        2 * self.annotated.program.steps.len() - step
    }

    /// The time at which the loss is computed from the outputs: the first time of the backward pass.
    fn loss_time(&self) -> usize {
        self.annotated.program.steps.len() + 1
    }

    /// The time at which weights are updated and the caller reads the results.
    fn end(&self) -> usize {
        2 * self.annotated.program.steps.len() + 1
    }

    /// The live range of each value: from the step that computes it to its last reader, forward or backward. A value that is
    /// recomputed is live in the forward pass only.
    pub(crate) fn values(&self) -> Vec<LiveRange> {
        let AnnotatedProgram { program, streams, prefix, chunk, batch, .. } = self.annotated;
        let made =
            self.alias_sets.iter().enumerate().filter_map(|(value, aliases)| Some((value, aliases, aliases.producer?)));
        made.map(|(value, aliases, producer)| {
            let leaves_prefix = self.leaves_prefix(aliases);
            // A value that leaves the prefix is live from the first step on. The prefix runs once for each chunk, and its first
            // steps must not overwrite what an earlier chunk has written.
            let from = if leaves_prefix { self.forward(0) } else { self.forward(producer) };
            // Of two streamed steps, the first still reads while the second writes.
            let last = |reader: usize| self.forward(reader + usize::from(streams[reader].is_some()));
            let read = aliases.readers.iter().map(|&reader| last(reader)).max();
            let result = aliases.is_read_by_caller.then(|| self.end());
            let kept = self.recomputed[value].is_none().then(|| self.needed_backward(value)).flatten();
            let kept = kept.map(|needed| *needed.end());
            let times = [Some(self.forward(producer)), read, kept, result];
            let to = times.into_iter().flatten().max().unwrap_or(from);
            let samples = if producer < *prefix && !leaves_prefix { *chunk } else { *batch };
            let size = program.size(value);
            let length = match streams[producer] {
                Some(stream) => size / program.shapes[value][0] * stream.buffered_rows,
                None => samples * size,
            };
            LiveRange { storage: Storage::Value(value), length, from, to }
        })
        .collect()
    }

    /// The first and last time at which the backward pass needs a value, or the gradient that overwrites it.
    ///
    /// Folded updates run at the end. They read the input of their step and the gradient with respect to its output.
    pub(crate) fn needed_backward(&self, value: ValueId) -> Option<RangeInclusive<usize>> {
        let AnnotatedProgram { program, differentiated, folded, .. } = self.annotated;
        let (aliases, in_place) = (&self.alias_sets[value], self.in_place[value]);
        let needs = |step: usize, reads: bool| differentiated[step] && (reads || in_place);
        let readers =
            aliases.readers.iter().copied().filter(|&step| needs(step, reads_inputs_backward(&program.steps[step])));
        let producer = aliases.producer.filter(|&step| needs(step, reads_output_backward(&program.steps[step])));
        let updated = aliases.readers.iter().any(|&reader| folded[reader])
            || in_place && aliases.producer.is_some_and(|producer| folded[producer]);
        let times = readers.chain(producer).map(|step| self.backward(step));
        let last = if updated { Some(self.end()) } else { times.clone().max() };
        Some(times.min()?..=last?)
    }

    /// By root, the live ranges of recomputed values: [`needed_backward`](Self::needed_backward), extended to the times at which
    /// other values are recomputed from them.
    fn recomputed_ranges(&self) -> Vec<Option<RangeInclusive<usize>>> {
        let mut ranges = vec![None; self.alias_sets.len()];
        let mut needed: Vec<_> = (0..self.alias_sets.len()).map(|value| self.needed_backward(value)).collect();
        for (_, step) in self.producing_steps().rev() {
            let recomputed = self.annotated.rematerialized[step.output];
            let Some(range) = needed[step.output].clone().filter(|_| recomputed) else { continue };
            for &input in &step.inputs {
                let needed = &mut needed[self.roots[input]];
                let (from, to) = needed.clone().map_or((usize::MAX, 0), |needed| needed.into_inner());
                *needed = Some(from.min(*range.start())..=to.max(*range.start()));
            }
            ranges[step.output] = Some(range);
        }
        ranges
    }

    /// The live range of each recomputed value in the backward pass.
    pub(crate) fn recomputed_values(&self) -> impl Iterator<Item = LiveRange> {
        let ranges = self.recomputed.iter().enumerate().filter_map(|(value, range)| Some((value, range.as_ref()?)));
        ranges.map(move |(value, range)| {
            let length = self.annotated.batch * self.annotated.program.size(value);
            LiveRange { storage: Storage::Recomputed(value), length, from: *range.start(), to: *range.end() }
        })
    }

    /// By step, the steps that are recomputed right before its backward pass, in order. Steps without any are left out.
    pub(crate) fn recomputed_steps(&self) -> HashMap<usize, Vec<usize>> {
        let mut steps: HashMap<usize, Vec<usize>> = HashMap::new();
        for (index, step) in self.producing_steps() {
            if let Some(range) = &self.recomputed[step.output] {
                let before = 2 * self.annotated.program.steps.len() - range.start();
                steps.entry(before).or_default().push(index);
            }
        }
        steps
    }

    /// The steps that compute a value, with their indices. Reshapes that share a buffer are left out.
    pub(crate) fn producing_steps(&self) -> impl DoubleEndedIterator<Item = (usize, &Step)> {
        let steps = self.annotated.program.steps.iter().enumerate();
        steps.filter(|(_, step)| self.roots[step.output] == step.output)
    }

    /// The live range of each gradient that doesn't overwrite its value: from its first contribution to the backward pass of the
    /// step that computed the value. Gradients that the caller or a folded update reads live to the end.
    ///
    /// Contributions after the first need buffers of their own: each is computed there, then added to the gradient.
    pub(crate) fn gradients(&self) -> Vec<LiveRange> {
        let mut ranges = Vec::new();
        let mut contributions: BTreeMap<usize, usize> = BTreeMap::new();
        for value in self.values_with_gradient() {
            let aliases = &self.alias_sets[value];
            let length = self.annotated.batch * self.annotated.program.size(value);
            let mut readers =
                aliases.readers.iter().rev().copied().filter(|&reader| self.annotated.differentiated[reader]);
            let from =
                if aliases.is_output { Some(self.loss_time()) } else { readers.next().map(|r| self.backward(r)) };
            // A value that no differentiated step reads has no gradient.
            let Some(from) = from else { continue };
            ranges.push(LiveRange { storage: Storage::Gradient(value), length, from, to: self.last_read(value) });
            for reader in readers {
                let longest = contributions.entry(reader).or_default();
                *longest = length.max(*longest);
            }
        }
        ranges.extend(contributions.into_iter().map(|(step, length)| {
            let at = self.backward(step);
            LiveRange { storage: Storage::Contribution(step), length, from: at, to: at }
        }));
        ranges
    }

    /// The roots whose gradient has a buffer of its own.
    fn values_with_gradient(&self) -> Vec<ValueId> {
        let differentiated =
            |aliases: &AliasSet| aliases.producer.is_some_and(|producer| self.annotated.differentiated[producer]);
        let requested_gradients = self.requested_gradients();
        let wanted = |value: &ValueId| differentiated(&self.alias_sets[*value]) || requested_gradients.contains(value);
        (0..self.alias_sets.len()).filter(wanted).filter(|&value| !self.in_place[value]).collect()
    }

    /// The last time at which the gradient with respect to a value is read.
    fn last_read(&self, value: ValueId) -> usize {
        let producer = self.alias_sets[value].producer.filter(|&producer| self.annotated.differentiated[producer]);
        match producer {
            Some(producer) if !self.annotated.folded[producer] && !self.requested_gradients().contains(&value) => {
                self.backward(producer)
            }
            _ => self.end(),
        }
    }

    /// The roots whose gradients the caller requests.
    fn requested_gradients(&self) -> Vec<ValueId> {
        match &self.annotated.purpose {
            Purpose::Gradients { inputs, values } => {
                let inputs = self.annotated.program.inputs.iter().filter(|_| *inputs);
                inputs.chain(values).map(|&value| self.roots[value]).collect()
            }
            _ => Vec::new(),
        }
    }

    /// The uses of each trainable weight, without folded kernels.
    pub(crate) fn weight_uses(&self) -> Vec<WeightUses> {
        let mut all: Vec<WeightUses> = Vec::new();
        let mut positions: HashMap<usize, usize> = HashMap::new();
        for (index, step) in self.annotated.program.steps.iter().enumerate() {
            let folded = |position: usize| position == 0 && self.annotated.folded[index];
            let trained = step.weights.iter().enumerate().filter(|(_, param)| param.trainable);
            for (_, param) in trained.filter(|(position, _)| !folded(*position)) {
                let (weight, length) = (param.weight.id(), param.weight.count());
                match positions.get(&weight) {
                    Some(&at) => all[at].first = index,
                    None => {
                        positions.insert(weight, all.len());
                        all.push(WeightUses { weight, first: index, last: index, length });
                    }
                }
            }
        }
        // The loop goes through the steps in forward order. The first step that it finds for a weight is the last one in the
        // backward pass.
        all
    }

    /// The live range of each weight gradient: from its first contribution to the end, when it is applied or read.
    pub(crate) fn weight_gradients(&self, uses: &[WeightUses]) -> Vec<LiveRange> {
        let range = |uses: &WeightUses| LiveRange {
            storage: Storage::WeightGradient(uses.weight),
            // Shared weights need twice the length: later contributions are computed next to the sum, then added.
            length: if uses.first == uses.last { uses.length } else { 2 * uses.length },
            from: self.backward(uses.first),
            to: self.end(),
        };
        uses.iter().map(range).collect()
    }
}

/// Whether the backward pass of a step reads the step's inputs.
fn reads_inputs_backward(step: &Step) -> bool {
    match &step.op {
        Op::Conv2d { .. } | Op::Conv2dTranspose { .. } | Op::Dense | Op::Embedding => {
            step.weights.first().is_some_and(|kernel| kernel.trainable)
        }
        Op::Pool2d { kind, .. } | Op::GlobalPool { kind } | Op::AdaptivePool2d { kind } => *kind == PoolKind::Max,
        Op::BatchNorm { .. } | Op::Normalize(_) | Op::Scale { .. } | Op::Sparsemax | Op::Multiply => true,
        Op::MatMul { .. } | Op::Penalty { .. } => true,
        Op::Activation(function) => !function.gradient_from_output(),
        Op::Unary(function) => function.gradient_from_input(),
        Op::Binary(function) => function.gradient_from_inputs(),
        Op::Reduce { reduction, .. } => reduction.gradient_from_values(),
        _ => false,
    }
}

/// Whether the backward pass of a step reads the step's output.
fn reads_output_backward(step: &Step) -> bool {
    match &step.op {
        Op::Conv2d { .. } | Op::Dense => step.activation != Activation::Linear,
        Op::Pool2d { kind, .. } | Op::GlobalPool { kind } => *kind == PoolKind::Max,
        Op::Activation(function) => function.gradient_from_output(),
        Op::Softmax | Op::LogSoftmax => true,
        Op::Reduce { reduction, .. } => reduction.gradient_from_values(),
        _ => false,
    }
}

/// Whether the gradient with respect to a value can overwrite it. The backward pass of the value's only reader then does so.
///
/// If the value is the output of a fused ReLU, the backward pass of the reader also applies the ReLU's gradient, because the sign
/// of the value is lost afterwards.
fn gradient_in_place(annotated: &AnnotatedProgram, aliases: &AliasSet, options: &PlanOptions) -> bool {
    let (Some(producer), &[reader], false) = (aliases.producer, aliases.readers.as_slice(), aliases.is_read_by_caller)
    else {
        return false;
    };
    let program = &annotated.program;
    let (producing, reading) = (&program.steps[producer], &program.steps[reader]);
    let fused_relu = matches!(producing.op, Op::Conv2d { .. } | Op::Dense) && producing.activation == Activation::Relu;
    // The value must still be in its buffer when the backward pass of the reader runs, so that pass must read it. The backward
    // pass of the producer must not read it, as it runs after the value is overwritten.
    let is_kept = fused_relu || (reads_inputs_backward(reading) && !reads_output_backward(producing));
    let shape = |value: ValueId| &program.shapes[value];
    annotated.differentiated[producer]
        && is_kept
        && (options.gradient_in_place)(&reading.op, shape(reading.inputs[0]), shape(reading.output))
}

#[cfg(test)]
mod tests {
    use engraft_nn::layers::{Activation, Concatenate, Dense, Flatten, Input};
    use engraft_nn::prelude::{Sgd, Tanh};
    use engraft_nn::{IntoLayer, LayerDefExt, Loss, Model, Program};

    use super::{Liveness, Storage};
    use crate::annotated_program::AnnotatedProgram;
    use crate::{PlanOptions, Purpose, passes};

    /// The live ranges of values, gradients and weight gradients in a training plan, with or without folded updates.
    fn ranges(model: &Model, fold_updates: bool) -> Vec<(Storage, usize, usize)> {
        let loss = Loss::categorical_crossentropy().from_logits(true);
        let purpose = Purpose::Train { optimizer: Sgd::new(0.1).into(), loss };
        let options = PlanOptions::default().fold_updates(fold_updates);
        let mut annotated = AnnotatedProgram::new(Program::of(model, true, 0).unwrap(), purpose, 1);
        passes::run(&mut annotated, &options).unwrap();
        let liveness = Liveness::new(&annotated, &options);
        let mut all = liveness.values();
        all.extend(liveness.gradients());
        all.extend(liveness.weight_gradients(&liveness.weight_uses()));
        all.into_iter().map(|range| (range.storage, range.from, range.to)).collect()
    }

    #[test]
    fn values_that_a_frozen_layer_reads_are_not_kept_for_the_backward_pass() {
        let x = Input::new([4]);
        let first = Dense::new(4).use_bias(false).into_layer();
        let second = Dense::new(4).use_bias(false).into_layer();
        let y = first.call(&x).unwrap();
        let model = Model::new(&x, &second.call(&y).unwrap()).unwrap();
        // Two steps: forward at 1 and 2, backward at 3 (the second step) and 4. Results are read and folded updates run at 5.
        let gradients = [(Storage::Gradient(1), 3, 5), (Storage::Gradient(2), 3, 5)];
        let values = |kept| [(Storage::Value(1), 1, kept), (Storage::Value(2), 2, 5)];
        assert_eq!(ranges(&model, true), [values(5), gradients].concat());
        let weight_gradients = |first: &Model| {
            let [kernel_1, kernel_2] = [0, 1].map(|weight| Storage::WeightGradient(first.weights()[weight].id()));
            [(kernel_1, 4, 5), (kernel_2, 3, 5)]
        };
        let gradients = [(Storage::Gradient(1), 3, 4), (Storage::Gradient(2), 3, 3)];
        assert_eq!(ranges(&model, false), [values(3), gradients, weight_gradients(&model)].concat());
        second.set_trainable(false);
        assert_eq!(
            ranges(&model, false),
            [values(2), gradients].concat().into_iter().chain([weight_gradients(&model)[0]]).collect::<Vec<_>>()
        );
    }

    #[test]
    fn a_reshaped_form_extends_the_range_of_the_original() {
        let x = Input::new([2, 2]);
        let y = Activation::new(Tanh).call(&x).unwrap();
        let flat = Flatten::new().call(&y).unwrap();
        let z = Activation::new(Tanh).call(&y).unwrap();
        let z = Concatenate::new().call([&flat, &Flatten::new().call(&z).unwrap()]).unwrap();
        // tanh, flatten, tanh, flatten, concatenate: the concatenation, at 5, reads the first tanh through its flattened alias.
        let values: Vec<_> =
            ranges(&Model::new(&x, &z).unwrap(), false).into_iter().map(|(s, _, to)| (s, to)).collect();
        assert_eq!(values, [(Storage::Value(1), 5), (Storage::Value(3), 5), (Storage::Value(5), 11)]);
    }
}
