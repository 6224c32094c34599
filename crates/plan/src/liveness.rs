//! Live ranges: from when to when everything that a plan computes needs a place in memory.
//!
//! Time runs through the `n` forward steps, 1 to `n`, and back through them, `n + 1` to `2n`; at `2n + 1` weights are updated and
//! the caller reads results.

use std::collections::{BTreeMap, HashMap};
use std::ops::RangeInclusive;

use engraft_ir::{Activation, Op, PoolKind, ValueId};
use engraft_nn::Step;

use crate::draft::Draft;
use crate::{PlanOptions, Purpose};

/// What needs a place in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Storage {
    /// A value, under the name of its root.
    Value(ValueId),
    /// A value that is recomputed for the backward pass, under the name of its root.
    Recomputed(ValueId),
    /// The gradient with respect to a value, under the name of its root.
    Gradient(ValueId),
    /// What a step adds to a gradient that others have begun.
    Contribution(usize),
    /// The gradient with respect to the weight of this id.
    WeightGradient(usize),
}

/// How many f32 something needs, and the first and last time it is needed.
#[derive(Debug)]
pub(crate) struct LiveRange {
    pub(crate) storage: Storage,
    pub(crate) length: usize,
    pub(crate) from: usize,
    pub(crate) to: usize,
}

/// A value with its reshaped forms, which all stand in its buffer: who makes it and who reads it under any name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Family {
    pub(crate) maker: Option<usize>,
    pub(crate) readers: Vec<usize>,
    /// Whether the upstream gradient begins here.
    is_output: bool,
    /// Whether the caller reads it.
    pub(crate) is_read_by_caller: bool,
}

/// The steps that use a trainable weight whose gradient is gathered.
#[derive(Clone, Debug)]
pub(crate) struct Uses {
    pub(crate) weight: usize,
    /// The step that adds to the gradient first in the backward pass.
    pub(crate) first: usize,
    /// The step that adds to it last.
    pub(crate) last: usize,
    length: usize,
}

/// Live ranges of a draft.
pub(crate) struct Liveness<'a> {
    pub(crate) draft: &'a Draft,
    roots: Vec<ValueId>,
    /// By root.
    pub(crate) families: Vec<Family>,
    /// By root, whether the gradient is written over the value.
    in_place: Vec<bool>,
    /// By root, from when to when it is there again, where it is not kept for the backward pass but recomputed.
    recomputed: Vec<Option<RangeInclusive<usize>>>,
}

impl<'a> Liveness<'a> {
    pub(crate) fn new(draft: &'a Draft, options: &PlanOptions) -> Self {
        let program = &draft.program;
        let mut roots: Vec<ValueId> = (0..program.shapes.len()).collect();
        let mut is_input = vec![false; roots.len()];
        program.inputs.iter().for_each(|&input| is_input[input] = true);
        let mut families = vec![Family::default(); roots.len()];
        for (index, step) in program.steps.iter().enumerate() {
            // An input is borrowed and has no buffer to share, and the gradient with respect to a reshaped form that is asked for
            // isn't that of the original: their copies are values of their own.
            let own = is_input[step.inputs[0]] || draft.purpose.wanted_values().contains(&step.output);
            if matches!(step.op, Op::Reshape) && !own {
                roots[step.output] = roots[step.inputs[0]];
            } else {
                families[step.output].maker = Some(index);
                step.inputs.iter().for_each(|&input| families[roots[input]].readers.push(index));
            }
        }
        program.outputs.iter().for_each(|&output| families[roots[output]].is_output = true);
        draft.read_by_caller().for_each(|value| families[roots[value]].is_read_by_caller = true);
        let in_place = families.iter().map(|family| gradient_in_place(draft, family, options)).collect();
        let recomputed = vec![None; families.len()];
        let mut liveness = Self { draft, roots, families, in_place, recomputed };
        liveness.recomputed = liveness.recomputed_ranges();
        liveness
    }

    /// By root, whether the gradient with respect to it is written over it.
    pub(crate) fn in_place(&self) -> &[bool] {
        &self.in_place
    }

    /// By root, the step that makes it.
    pub(crate) fn makers(&self) -> Vec<Option<usize>> {
        self.families.iter().map(|family| family.maker).collect()
    }

    /// For every value, the one whose buffer it stands in.
    pub(crate) fn roots(&self) -> &[ValueId] {
        &self.roots
    }

    /// By root, whether it is made in the prefix and read after it: it then holds the whole batch.
    pub(crate) fn leaving_prefix(&self) -> Vec<bool> {
        self.families.iter().map(|family| self.leaves_prefix(family)).collect()
    }

    fn leaves_prefix(&self, family: &Family) -> bool {
        let prefix = self.draft.prefix;
        let read_after = || family.is_read_by_caller || family.readers.iter().any(|&reader| reader >= prefix);
        family.maker.is_some_and(|maker| maker < prefix) && read_after()
    }

    fn forward(&self, step: usize) -> usize {
        step + 1
    }

    fn backward(&self, step: usize) -> usize {
        2 * self.draft.program.steps.len() - step
    }

    /// When the loss is computed from the outputs.
    fn turn(&self) -> usize {
        self.draft.program.steps.len() + 1
    }

    /// When weights are updated and the caller reads results.
    fn end(&self) -> usize {
        2 * self.draft.program.steps.len() + 1
    }

    /// Every value from when it is made to when it is read last, forward or back, or forward only if it is recomputed.
    pub(crate) fn values(&self) -> Vec<LiveRange> {
        let Draft { program, streams, prefix, chunk, batch, .. } = self.draft;
        let made = self.families.iter().enumerate().filter_map(|(value, family)| Some((value, family, family.maker?)));
        made.map(|(value, family, maker)| {
            let leaves_prefix = self.leaves_prefix(family);
            // The prefix runs once for each chunk: what leaves it must not be overwritten by its own first steps.
            let from = if leaves_prefix { self.forward(0) } else { self.forward(maker) };
            // While rows are streamed, the first step still reads while the second writes.
            let last = |reader: usize| self.forward(reader + usize::from(streams[reader].is_some()));
            let read = family.readers.iter().map(|&reader| last(reader)).max();
            let result = family.is_read_by_caller.then(|| self.end());
            let kept = self.recomputed[value].is_none().then(|| self.needed_backward(value)).flatten();
            let kept = kept.map(|needed| *needed.end());
            let times = [Some(self.forward(maker)), read, kept, result];
            let to = times.into_iter().flatten().max().unwrap_or(from);
            let samples = if maker < *prefix && !leaves_prefix { *chunk } else { *batch };
            let size = program.size(value);
            let length = match streams[maker] {
                Some(stream) => size / program.shapes[value][0] * stream.held,
                None => samples * size,
            };
            LiveRange { storage: Storage::Value(value), length, from, to }
        })
        .collect()
    }

    /// From the first backward step that needs a value to the last: reads it, or the gradient that was written over it. What a
    /// folded update needs, its kernel's input and the gradient of its output, is needed until the end.
    pub(crate) fn needed_backward(&self, value: ValueId) -> Option<RangeInclusive<usize>> {
        let Draft { program, differentiated, folded, .. } = self.draft;
        let (family, in_place) = (&self.families[value], self.in_place[value]);
        let needs = |step: usize, reads: bool| differentiated[step] && (reads || in_place);
        let readers =
            family.readers.iter().copied().filter(|&step| needs(step, reads_inputs_backward(&program.steps[step])));
        let maker = family.maker.filter(|&step| needs(step, reads_output_backward(&program.steps[step])));
        let updated = family.readers.iter().any(|&reader| folded[reader])
            || in_place && family.maker.is_some_and(|maker| folded[maker]);
        let times = readers.chain(maker).map(|step| self.backward(step));
        let last = if updated { Some(self.end()) } else { times.clone().max() };
        Some(times.min()?..=last?)
    }

    /// By root, the times of [`needed_backward`](Self::needed_backward) of those that are recomputed, extended to those that need
    /// them for being recomputed themselves.
    fn recomputed_ranges(&self) -> Vec<Option<RangeInclusive<usize>>> {
        let mut ranges = vec![None; self.families.len()];
        let mut needed: Vec<_> = (0..self.families.len()).map(|value| self.needed_backward(value)).collect();
        for (_, step) in self.making().rev() {
            let recomputed = self.draft.rematerialized[step.output];
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

    /// Every recomputed value from when it is made again to when the backward pass needs it last.
    pub(crate) fn recomputed_values(&self) -> impl Iterator<Item = LiveRange> {
        let ranges = self.recomputed.iter().enumerate().filter_map(|(value, range)| Some((value, range.as_ref()?)));
        ranges.map(move |(value, range)| {
            let length = self.draft.batch * self.draft.program.size(value);
            LiveRange { storage: Storage::Recomputed(value), length, from: *range.start(), to: *range.end() }
        })
    }

    /// By a step, the steps that are recomputed right before its backward pass, in order, where there are any.
    pub(crate) fn recomputed_steps(&self) -> HashMap<usize, Vec<usize>> {
        let mut steps: HashMap<usize, Vec<usize>> = HashMap::new();
        for (index, step) in self.making() {
            if let Some(range) = &self.recomputed[step.output] {
                let before = 2 * self.draft.program.steps.len() - range.start();
                steps.entry(before).or_default().push(index);
            }
        }
        steps
    }

    /// Every step that makes a value, by index: not those that only give one another shape.
    pub(crate) fn making(&self) -> impl DoubleEndedIterator<Item = (usize, &Step)> {
        let steps = self.draft.program.steps.iter().enumerate();
        steps.filter(|(_, step)| self.roots[step.output] == step.output)
    }

    /// Every gradient that has a place of its own, from its first contribution to when the maker of its value has read it; those
    /// that the caller or a folded update wants, to the end. Contributions but the first are computed beside the sum, then added.
    pub(crate) fn gradients(&self) -> Vec<LiveRange> {
        let mut ranges = Vec::new();
        let mut contributions: BTreeMap<usize, usize> = BTreeMap::new();
        for value in self.values_with_gradient() {
            let family = &self.families[value];
            let length = self.draft.batch * self.draft.program.size(value);
            let mut readers = family.readers.iter().rev().copied().filter(|&reader| self.draft.differentiated[reader]);
            let from = if family.is_output { Some(self.turn()) } else { readers.next().map(|r| self.backward(r)) };
            // With respect to a value that nothing reads there is no gradient.
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

    /// Roots whose gradient has a place of its own.
    fn values_with_gradient(&self) -> Vec<ValueId> {
        let differentiated = |family: &Family| family.maker.is_some_and(|maker| self.draft.differentiated[maker]);
        let asked_for = self.asked_for();
        let wanted = |value: &ValueId| differentiated(&self.families[*value]) || asked_for.contains(value);
        (0..self.families.len()).filter(wanted).filter(|&value| !self.in_place[value]).collect()
    }

    /// When the gradient with respect to a value is read last.
    fn last_read(&self, value: ValueId) -> usize {
        let maker = self.families[value].maker.filter(|&maker| self.draft.differentiated[maker]);
        match maker {
            Some(maker) if !self.draft.folded[maker] && !self.asked_for().contains(&value) => self.backward(maker),
            _ => self.end(),
        }
    }

    /// The roots with respect to which the caller asks for gradients.
    fn asked_for(&self) -> Vec<ValueId> {
        match &self.draft.purpose {
            Purpose::Gradients { inputs, values } => {
                let inputs = self.draft.program.inputs.iter().filter(|_| *inputs);
                inputs.chain(values).map(|&value| self.roots[value]).collect()
            }
            _ => Vec::new(),
        }
    }

    /// The uses of every trainable weight whose gradient is gathered.
    pub(crate) fn uses(&self) -> Vec<Uses> {
        let mut all: Vec<Uses> = Vec::new();
        let mut places: HashMap<usize, usize> = HashMap::new();
        for (index, step) in self.draft.program.steps.iter().enumerate() {
            let folded = |position: usize| position == 0 && self.draft.folded[index];
            let trained = step.weights.iter().enumerate().filter(|(_, param)| param.trainable);
            for (_, param) in trained.filter(|(position, _)| !folded(*position)) {
                let (weight, length) = (param.weight.id(), param.weight.count());
                match places.get(&weight) {
                    Some(&place) => all[place].first = index,
                    None => {
                        places.insert(weight, all.len());
                        all.push(Uses { weight, first: index, last: index, length });
                    }
                }
            }
        }
        // A weight is met first in the step that uses it last in the backward pass.
        all
    }

    /// The gradient with respect to each weight from its first contribution to the end, when it is applied or read.
    pub(crate) fn weight_gradients(&self, uses: &[Uses]) -> Vec<LiveRange> {
        let range = |uses: &Uses| LiveRange {
            storage: Storage::WeightGradient(uses.weight),
            // Twice as long for shared weights: a further contribution is computed beside the sum.
            length: if uses.first == uses.last { uses.length } else { 2 * uses.length },
            from: self.backward(uses.first),
            to: self.end(),
        };
        uses.iter().map(range).collect()
    }
}

/// Whether the backward pass of a step reads what its forward pass read.
fn reads_inputs_backward(step: &Step) -> bool {
    match &step.op {
        Op::Conv2d { .. } | Op::Dense => step.weights.first().is_some_and(|kernel| kernel.trainable),
        Op::Pool2d { kind, .. } | Op::GlobalPool { kind } => *kind == PoolKind::Max,
        Op::BatchNorm { .. } | Op::Multiply => true,
        Op::Activation(function) => !function.gradient_from_output(),
        _ => false,
    }
}

/// Whether the backward pass of a step reads what its forward pass made.
fn reads_output_backward(step: &Step) -> bool {
    match &step.op {
        Op::Conv2d { .. } | Op::Dense => step.activation != Activation::Linear,
        Op::Pool2d { kind, .. } | Op::GlobalPool { kind } => *kind == PoolKind::Max,
        Op::Activation(function) => function.gradient_from_output(),
        Op::Softmax => true,
        _ => false,
    }
}

/// Whether the gradient with respect to a value can be written over it: by the only step that reads it, which then takes the
/// gradient of its maker's ReLU too, as nothing else in the backward pass reads the value.
fn gradient_in_place(draft: &Draft, family: &Family, options: &PlanOptions) -> bool {
    let (Some(maker), &[reader], false) = (family.maker, family.readers.as_slice(), family.is_read_by_caller) else {
        return false;
    };
    let program = &draft.program;
    let (made_by, step) = (&program.steps[maker], &program.steps[reader]);
    let with_relu = matches!(made_by.op, Op::Conv2d { .. } | Op::Dense) && made_by.activation == Activation::Relu;
    // What the backward pass doesn't read is gone by then.
    let read = with_relu || (reads_inputs_backward(step) && !reads_output_backward(made_by));
    let shape = |value: ValueId| &program.shapes[value];
    draft.differentiated[maker]
        && read
        && (options.gradient_in_place)(&step.op, shape(step.inputs[0]), shape(step.output))
}

#[cfg(test)]
mod tests {
    use engraft_nn::layers::{Activation, Concatenate, Dense, Flatten, Input};
    use engraft_nn::prelude::{Sgd, Tanh};
    use engraft_nn::{IntoLayer, LayerDefExt, Loss, Model, Program};

    use super::{Liveness, Storage};
    use crate::draft::Draft;
    use crate::{PlanOptions, Purpose, passes};

    /// From when to when each value, gradient and weight gradient is needed, in a training plan whose updates are folded or not.
    fn ranges(model: &Model, fold_updates: bool) -> Vec<(Storage, usize, usize)> {
        let loss = Loss::categorical_crossentropy().from_logits(true);
        let purpose = Purpose::Train { optimizer: Sgd::new(0.1).into(), loss };
        let options = PlanOptions::default().fold_updates(fold_updates);
        let mut draft = Draft::new(Program::of(model, true, 0).unwrap(), purpose, 1);
        passes::run(&mut draft, &options).unwrap();
        let liveness = Liveness::new(&draft, &options);
        let mut all = liveness.values();
        all.extend(liveness.gradients());
        all.extend(liveness.weight_gradients(&liveness.uses()));
        all.into_iter().map(|range| (range.storage, range.from, range.to)).collect()
    }

    #[test]
    fn values_that_a_frozen_layer_reads_are_not_kept_for_the_backward_pass() {
        let x = Input::new([4]);
        let first = Dense::new(4).use_bias(false).into_layer();
        let second = Dense::new(4).use_bias(false).into_layer();
        let y = first.call(&x).unwrap();
        let model = Model::new(&x, &second.call(&y).unwrap()).unwrap();
        // Two steps, 1 and 2 forward, 3 (the second's) and 4 back; results are read at 5. Folded updates read at 5, too.
        let gradients = [(Storage::Gradient(1), 3, 5), (Storage::Gradient(2), 3, 5)];
        let values = |kept| [(Storage::Value(1), 1, kept), (Storage::Value(2), 2, 5)];
        assert_eq!(ranges(&model, true), [values(5), gradients].concat());
        let gathered = |first: &Model| {
            let [kernel_1, kernel_2] = [0, 1].map(|weight| Storage::WeightGradient(first.weights()[weight].id()));
            [(kernel_1, 4, 5), (kernel_2, 3, 5)]
        };
        let gradients = [(Storage::Gradient(1), 3, 4), (Storage::Gradient(2), 3, 3)];
        assert_eq!(ranges(&model, false), [values(3), gradients, gathered(&model)].concat());
        second.set_trainable(false);
        assert_eq!(
            ranges(&model, false),
            [values(2), gradients].concat().into_iter().chain([gathered(&model)[0]]).collect::<Vec<_>>()
        );
    }

    #[test]
    fn a_reshaped_form_extends_the_range_of_the_original() {
        let x = Input::new([2, 2]);
        let y = Activation::new(Tanh).call(&x).unwrap();
        let flat = Flatten::new().call(&y).unwrap();
        let z = Activation::new(Tanh).call(&y).unwrap();
        let z = Concatenate::new().call([&flat, &Flatten::new().call(&z).unwrap()]).unwrap();
        // tanh, flatten, tanh, flatten, concatenate: the first is read at 5 under its other name.
        let values: Vec<_> =
            ranges(&Model::new(&x, &z).unwrap(), false).into_iter().map(|(s, _, to)| (s, to)).collect();
        assert_eq!(values, [(Storage::Value(1), 5), (Storage::Value(3), 5), (Storage::Value(5), 11)]);
    }
}
