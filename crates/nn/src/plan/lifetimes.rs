//! From when to when everything that a plan computes is needed.
//!
//! Time runs through the `n` forward steps, 1 to `n`, and back through them, `n + 1` to `2n`; at `2n + 1` the caller reads
//! results.

mod recomputing;

use std::collections::{BTreeMap, HashMap};
use std::ops::RangeInclusive;

use engraft_kernels::Activation;

use super::{Band, Op, Program, ValueId};

/// What needs a place in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Tenant {
    /// A value, under the name of its root.
    Value(ValueId),
    /// A value that is computed again for the backward pass, under the name of its root.
    Recomputed(ValueId),
    /// The gradient by a value, under the name of its root.
    Gradient(ValueId),
    /// What a step adds to a gradient that others have begun.
    Contribution(usize),
    /// The gradient by the weight of this id.
    WeightGradient(usize),
}

/// A tenant, how many f32 it needs, and the first and last time it is needed.
#[derive(Debug)]
pub(super) struct Lifetime {
    pub(super) tenant: Tenant,
    pub(super) length: usize,
    pub(super) from: usize,
    pub(super) to: usize,
}

/// A value with its reshaped forms, which all stand in its buffer: who makes it and who reads it under any name.
#[derive(Clone, Debug, Default)]
struct Family {
    maker: Option<usize>,
    readers: Vec<usize>,
    is_output: bool,
}

/// The steps that use a trainable weight.
#[derive(Clone, Debug)]
pub(super) struct Uses {
    pub(super) weight: usize,
    /// The step that adds to the gradient first in the backward pass.
    pub(super) first: usize,
    /// The step that adds to it last.
    pub(super) last: usize,
    length: usize,
    /// Whether the update is made as the gradient's rows are computed: by a Dense kernel used once.
    folded: bool,
}

/// Lifetimes in a program, of which some steps are differentiated and the first `prefix` run in chunks.
pub(super) struct Lifetimes<'a> {
    program: &'a Program,
    differentiated: &'a [bool],
    prefix: usize,
    roots: Vec<ValueId>,
    /// By root.
    families: Vec<Family>,
    /// By root, whether the gradient is written over the value.
    replaced: Vec<bool>,
    /// By root, from when to when it lives again, where it is not kept for the backward pass but recomputed.
    second_lives: Vec<Option<RangeInclusive<usize>>>,
}

impl<'a> Lifetimes<'a> {
    pub(super) fn new(program: &'a Program, differentiated: &'a [bool], prefix: usize) -> Self {
        let mut roots: Vec<ValueId> = (0..program.shapes.len()).collect();
        let mut is_input = vec![false; roots.len()];
        program.inputs.iter().for_each(|&input| is_input[input] = true);
        let mut families = vec![Family::default(); roots.len()];
        for (index, step) in program.steps.iter().enumerate() {
            // An input is borrowed and has no buffer to share: its reshaped copy is a value of its own.
            if matches!(step.op, Op::Reshape) && !is_input[step.inputs[0]] {
                roots[step.output] = roots[step.inputs[0]];
            } else {
                families[step.output].maker = Some(index);
                step.inputs.iter().for_each(|&input| families[roots[input]].readers.push(index));
            }
        }
        program.outputs.iter().for_each(|&output| families[roots[output]].is_output = true);
        let replaced = families.iter().map(|family| gradient_replaces(program, differentiated, family)).collect();
        let second_lives = vec![None; families.len()];
        Self { program, differentiated, prefix, roots, families, replaced, second_lives }
    }

    /// For every root, whether the gradient by it is written over it.
    pub(super) fn replaced(&self) -> &[bool] {
        &self.replaced
    }

    /// For every root, the step that makes it.
    pub(super) fn makers(&self) -> Vec<Option<usize>> {
        self.families.iter().map(|family| family.maker).collect()
    }

    /// For every value, the one whose buffer it stands in.
    pub(super) fn roots(&self) -> &[ValueId] {
        &self.roots
    }

    /// For every root, whether it is made in the prefix and read after it: it then holds the whole batch.
    pub(super) fn leaving_prefix(&self) -> Vec<bool> {
        self.families.iter().map(|family| self.leaves_prefix(family)).collect()
    }

    fn leaves_prefix(&self, family: &Family) -> bool {
        let read_after = || family.is_output || family.readers.iter().any(|&reader| reader >= self.prefix);
        family.maker.is_some_and(|maker| maker < self.prefix) && read_after()
    }

    fn forward(&self, step: usize) -> usize {
        step + 1
    }

    fn backward(&self, step: usize) -> usize {
        2 * self.program.steps.len() - step
    }

    /// When the loss is taken from the outputs.
    fn turn(&self) -> usize {
        self.program.steps.len() + 1
    }

    /// When the caller reads results.
    fn end(&self) -> usize {
        2 * self.program.steps.len() + 1
    }

    /// Every value from when it is made to when it is read last, forward or back, or forward only if it is recomputed.
    pub(super) fn values(&self, bands: &[Option<Band>], chunk: usize, batch: usize) -> Vec<Lifetime> {
        let made = self.families.iter().enumerate().filter_map(|(value, family)| Some((value, family, family.maker?)));
        made.map(|(value, family, maker)| {
            let leaves_prefix = self.leaves_prefix(family);
            // The prefix runs once for each chunk: what leaves it must not be overwritten by its own first steps.
            let from = if leaves_prefix { self.forward(0) } else { self.forward(maker) };
            // In a band, what the first step reads is read while the second writes.
            let last = |reader: usize| self.forward(reader + usize::from(bands[reader].is_some()));
            let read = family.readers.iter().map(|&reader| last(reader)).max();
            let result = family.is_output.then(|| self.end());
            let kept = self.second_lives[value].is_none().then(|| self.needed_backward(value)).flatten();
            let kept = kept.map(|needed| *needed.end());
            let times = [Some(self.forward(maker)), read, kept, result];
            let to = times.into_iter().flatten().max().unwrap_or(from);
            let samples = if maker < self.prefix && !leaves_prefix { chunk } else { batch };
            let size = self.program.size(value);
            let length = match bands[maker] {
                Some(band) => size / self.program.shapes[value][0] * band.held,
                None => samples * size,
            };
            Lifetime { tenant: Tenant::Value(value), length, from, to }
        })
        .collect()
    }

    /// From the first backward step that needs a value to the last: reads it, or the gradient that was written over it.
    fn needed_backward(&self, value: ValueId) -> Option<RangeInclusive<usize>> {
        let (family, steps) = (&self.families[value], &self.program.steps);
        let needs = |step: usize, reads: bool| self.differentiated[step] && (reads || self.replaced[value]);
        let readers = family.readers.iter().copied().filter(|&step| needs(step, steps[step].reads_inputs_backward()));
        let maker = family.maker.filter(|&step| needs(step, steps[step].reads_output_backward()));
        let times = readers.chain(maker).map(|step| self.backward(step));
        Some(times.clone().min()?..=times.max()?)
    }

    /// Every gradient that has a place of its own, from its first contribution to when the maker of its value has read it;
    /// those by inputs, where wanted, to the end. Contributions but the first are computed beside the sum, then added.
    pub(super) fn gradients(&self, batch: usize, by_inputs: bool) -> Vec<Lifetime> {
        let mut lifetimes = Vec::new();
        let mut contributions: BTreeMap<usize, usize> = BTreeMap::new();
        let made = self
            .families
            .iter()
            .enumerate()
            .filter(|(_, family)| family.maker.is_some_and(|maker| self.differentiated[maker]))
            .filter(|(value, _)| !self.replaced[*value]);
        let inputs = self.program.inputs.iter().filter(|_| by_inputs).map(|&input| (input, &self.families[input]));
        for (value, family) in made.chain(inputs) {
            let length = batch * self.program.size(value);
            let mut readers = family.readers.iter().rev().copied().filter(|&reader| self.differentiated[reader]);
            let from = if family.is_output { Some(self.turn()) } else { readers.next().map(|r| self.backward(r)) };
            // By an input that nothing reads there is no gradient.
            let Some(from) = from else { continue };
            let to = family.maker.map_or(self.end(), |maker| self.backward(maker));
            lifetimes.push(Lifetime { tenant: Tenant::Gradient(value), length, from, to });
            for reader in readers {
                let longest = contributions.entry(reader).or_default();
                *longest = length.max(*longest);
            }
        }
        lifetimes.extend(contributions.into_iter().map(|(step, length)| {
            let at = self.backward(step);
            Lifetime { tenant: Tenant::Contribution(step), length, from: at, to: at }
        }));
        lifetimes
    }

    /// The uses of every trainable weight; updates are folded where `fold` allows it.
    pub(super) fn uses(&self, fold: bool) -> Vec<Uses> {
        let mut all: Vec<Uses> = Vec::new();
        let mut places: HashMap<usize, usize> = HashMap::new();
        for (index, step) in self.program.steps.iter().enumerate() {
            for (position, param) in step.weights.iter().enumerate().filter(|(_, param)| param.trainable) {
                let weight = param.weight.id();
                match places.get(&weight) {
                    Some(&place) => {
                        all[place].first = index;
                        all[place].folded = false;
                    }
                    None => {
                        places.insert(weight, all.len());
                        let folded = fold && position == 0 && matches!(step.op, Op::Dense);
                        let length = param.weight.count();
                        all.push(Uses { weight, first: index, last: index, length, folded });
                    }
                }
            }
        }
        all
    }

    /// The gradient by each weight from its first contribution to its last, or to the end where the caller wants it; a
    /// folded one is never written out.
    pub(super) fn weight_gradients(&self, uses: &[Uses], keep: bool) -> Vec<Lifetime> {
        let gathered = uses.iter().filter(|uses| !uses.folded);
        gathered
            .map(|uses| Lifetime {
                tenant: Tenant::WeightGradient(uses.weight),
                // Twice as long for shared weights: a further contribution is computed beside the sum.
                length: if uses.first == uses.last { uses.length } else { 2 * uses.length },
                from: self.backward(uses.first),
                to: if keep { self.end() } else { self.backward(uses.last) },
            })
            .collect()
    }
}

/// Whether the gradient by a value can be written over it: by the only step that reads it, which then takes the gradient of its
/// maker's ReLU too, as nothing else in the backward pass reads the value.
fn gradient_replaces(program: &Program, differentiated: &[bool], family: &Family) -> bool {
    let (Some(maker), &[reader], false) = (family.maker, family.readers.as_slice(), family.is_output) else {
        return false;
    };
    let (maker, step) = (&program.steps[maker], &program.steps[reader]);
    let shape = |value: ValueId| &program.shapes[value];
    let with_relu = matches!(maker.op, Op::Conv2d { .. } | Op::Dense) && maker.activation == Activation::Relu;
    // What the backward pass doesn't read is gone by then.
    let read = with_relu || (step.reads_inputs_backward() && !maker.reads_output_backward());
    family.maker.is_some_and(|maker| differentiated[maker])
        && read
        && step.op.gradient_replaces_input(shape(step.inputs[0]), shape(step.output))
}

#[cfg(test)]
mod tests {
    use super::{Lifetimes, Program, Tenant};
    use crate::Model;
    use crate::layers::{Activation, Concatenate, Dense, Flatten, Input};
    use crate::{ActivationFn::Tanh, IntoLayer, LayerDefExt};

    /// From when to when each value, gradient and weight gradient lives, as a training plan has it.
    fn lives(model: &Model) -> Vec<(Tenant, usize, usize)> {
        let program = Program::of(model, true, 0).unwrap();
        let differentiated = program.differentiated(false);
        let prefix = program.prefix(&differentiated);
        let lifetimes = Lifetimes::new(&program, &differentiated, prefix);
        let mut all = lifetimes.values(&program.bands(prefix), 1, 1);
        all.extend(lifetimes.gradients(1, false));
        all.extend(lifetimes.weight_gradients(&lifetimes.uses(true), false));
        all.into_iter().map(|life| (life.tenant, life.from, life.to)).collect()
    }

    #[test]
    fn what_a_frozen_layer_reads_is_not_kept_for_the_way_back() {
        let x = Input::new([4]);
        let first = Dense::new(4).use_bias(false).into_layer();
        let second = Dense::new(4).use_bias(false).into_layer();
        let y = first.call(&x).unwrap();
        let model = Model::new(&x, &second.call(&y).unwrap()).unwrap();
        // Two steps, 1 and 2 forward, 3 (the second's) and 4 back; results are read at 5. Kernels' gradients are folded.
        let gradients = [(Tenant::Gradient(1), 3, 4), (Tenant::Gradient(2), 3, 3)];
        let expected = |kept| [&[(Tenant::Value(1), 1, kept), (Tenant::Value(2), 2, 5)], &gradients[..]].concat();
        assert_eq!(lives(&model), expected(3));
        second.set_trainable(false);
        assert_eq!(lives(&model), expected(2));
    }

    #[test]
    fn a_reshaped_form_extends_the_life_of_the_original() {
        let x = Input::new([2, 2]);
        let y = Activation::new(Tanh).call(&x).unwrap();
        let flat = Flatten::new().call(&y).unwrap();
        let z = Activation::new(Tanh).call(&y).unwrap();
        let z = Concatenate::new().call([&flat, &Flatten::new().call(&z).unwrap()]).unwrap();
        // tanh, flatten, tanh, flatten, concatenate: the first is read at 5 under its other name.
        let values: Vec<_> = lives(&Model::new(&x, &z).unwrap()).into_iter().map(|(t, _, to)| (t, to)).collect();
        assert_eq!(values, [(Tenant::Value(1), 5), (Tenant::Value(3), 5), (Tenant::Value(5), 11)]);
    }
}
