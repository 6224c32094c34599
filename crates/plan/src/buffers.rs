//! Buffer assignment: what is never alive at the same time may share a buffer.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap};

use engraft_ir::ValueId;

use crate::liveness::{LiveRange, Liveness, Storage};

/// A place for a value: the first numbers of a buffer.
///
/// ```
/// use engraft_nn::prelude::*;
/// use engraft_plan::{Plan, PlanOptions, Slot};
/// let model = Sequential::new().add(Input::new([4])).add(Dense::new(3)).add(Dense::new(2)).build()?;
/// let plan = Plan::predict(&model, 16, &PlanOptions::default())?;
/// let output: Slot = plan.slot(plan.program().outputs[0]).expect("outputs have a buffer");
/// assert!(plan.buffers()[output] >= 16 * 2);
/// // The caller's input is borrowed.
/// assert_eq!(plan.slot(plan.program().inputs[0]), None);
/// # Ok::<(), engraft_nn::Error>(())
/// ```
pub type Slot = usize;

/// The slots of a plan.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    lengths: Vec<usize>,
    slots: HashMap<Storage, Slot>,
    /// For every value, the one whose buffer it stands in.
    roots: Vec<ValueId>,
    leaving_prefix: Vec<bool>,
    /// For every root, the step that makes it; none makes an input.
    makers: Vec<Option<usize>>,
    /// For every root, whether the gradient with respect to it is written over it.
    in_place: Vec<bool>,
    /// By a step, those that are recomputed before its backward pass.
    recomputed_steps: HashMap<usize, Vec<usize>>,
    /// For each weight whose gradient is gathered, the steps that use it: first and last in backward order.
    uses: HashMap<usize, (usize, usize)>,
}

impl Layout {
    pub(crate) fn new(liveness: &Liveness<'_>) -> Self {
        let mut all = liveness.values();
        all.extend(liveness.recomputed_values());
        let mut uses = Vec::new();
        if liveness.draft.purpose.has_backward() {
            all.extend(liveness.gradients());
            uses = liveness.uses();
            all.extend(liveness.weight_gradients(&uses));
        }
        let (lengths, slots) = assign(all);
        Self {
            lengths,
            slots,
            roots: liveness.roots().to_vec(),
            leaving_prefix: liveness.leaving_prefix(),
            makers: liveness.makers(),
            in_place: liveness.in_place().to_vec(),
            recomputed_steps: liveness.recomputed_steps(),
            uses: uses.into_iter().map(|uses| (uses.weight, (uses.first, uses.last))).collect(),
        }
    }

    pub(crate) fn lengths(&self) -> &[usize] {
        &self.lengths
    }

    /// Of all slots together.
    pub(crate) fn length(&self) -> usize {
        self.lengths.iter().sum()
    }

    pub(crate) fn root(&self, value: ValueId) -> ValueId {
        self.roots[value]
    }

    pub(crate) fn leaves_prefix(&self, value: ValueId) -> bool {
        self.leaving_prefix[self.root(value)]
    }

    pub(crate) fn value(&self, value: ValueId) -> Option<Slot> {
        self.slot(Storage::Value(self.root(value)))
    }

    pub(crate) fn value_backward(&self, value: ValueId) -> Option<Slot> {
        self.slot(Storage::Recomputed(self.root(value))).or_else(|| self.value(value))
    }

    pub(crate) fn maker(&self, value: ValueId) -> Option<usize> {
        self.makers[self.root(value)]
    }

    pub(crate) fn recomputed_steps(&self, step: usize) -> &[usize] {
        self.recomputed_steps.get(&step).map(Vec::as_slice).unwrap_or_default()
    }

    pub(crate) fn gradient(&self, value: ValueId) -> Option<Slot> {
        match self.gradient_in_place(value) {
            true => self.value_backward(value),
            false => self.slot(Storage::Gradient(self.root(value))),
        }
    }

    pub(crate) fn gradient_in_place(&self, value: ValueId) -> bool {
        self.in_place[self.root(value)]
    }

    pub(crate) fn contribution(&self, step: usize) -> Option<Slot> {
        self.slot(Storage::Contribution(step))
    }

    pub(crate) fn weight_gradient(&self, weight: usize) -> Option<Slot> {
        self.slot(Storage::WeightGradient(weight))
    }

    pub(crate) fn uses(&self, weight: usize) -> Option<(usize, usize)> {
        self.uses.get(&weight).copied()
    }

    fn slot(&self, storage: Storage) -> Option<Slot> {
        self.slots.get(&storage).copied()
    }
}

/// The length of every slot, and the slot of each range.
type Assignment = (Vec<usize>, HashMap<Storage, Slot>);

/// The smaller of two greedy assignments: each has shapes of networks on which it is the better one.
fn assign(mut ranges: Vec<LiveRange>) -> Assignment {
    let total = |(lengths, _): &Assignment| lengths.iter().sum::<usize>();
    let [by_birth, by_size] = [assign_by_birth(&mut ranges), assign_by_size(&mut ranges)];
    if total(&by_size) < total(&by_birth) { by_size } else { by_birth }
}

/// In order of the first use: the smallest free slot that is large enough, else the largest free one grown, else a new one.
fn assign_by_birth(ranges: &mut [LiveRange]) -> Assignment {
    ranges.sort_by_key(|range| (range.from, Reverse(range.length), range.to));
    let mut lengths: Vec<usize> = Vec::new();
    let mut slots = HashMap::new();
    // Slots in use by when they fall free, and free ones by length.
    let mut busy: BinaryHeap<Reverse<(usize, Slot)>> = BinaryHeap::new();
    let mut free: BTreeSet<(usize, Slot)> = BTreeSet::new();
    for range in ranges {
        while let Some(&Reverse((until, slot))) = busy.peek()
            && until < range.from
        {
            busy.pop();
            free.insert((lengths[slot], slot));
        }
        let found = free.range((range.length, 0)..).next().or_else(|| free.last()).copied();
        let slot = match found {
            Some(place) => {
                free.remove(&place);
                place.1
            }
            None => {
                lengths.push(0);
                lengths.len() - 1
            }
        };
        lengths[slot] = lengths[slot].max(range.length);
        busy.push(Reverse((range.to, slot)));
        slots.insert(range.storage, slot);
    }
    (lengths, slots)
}

/// The largest first: the smallest slot that is free all the time, else a new one (Pisarchyk and Lee 2020, "Efficient Memory
/// Management for Deep Neural Net Inference", arXiv 2001.03288, section 4.3).
fn assign_by_size(ranges: &mut [LiveRange]) -> Assignment {
    /// Slots that are looked at for each range: more would take the square of the length of a program.
    const MOST_TRIED: usize = 256;
    ranges.sort_by_key(|range| (Reverse(range.length), range.from, range.to));
    let mut lengths: Vec<usize> = Vec::new();
    let mut slots = HashMap::new();
    // Of each slot, the ranges in it: their ends by their beginnings.
    let mut taken: Vec<BTreeMap<usize, usize>> = Vec::new();
    for range in ranges {
        let is_free = |slot: &usize| {
            let before = taken[*slot].range(..=range.to).next_back();
            before.is_none_or(|(_, &to)| to < range.from)
        };
        // Slots were made in order of their lengths: the last that is free is the smallest.
        let slot = (0..lengths.len()).rev().take(MOST_TRIED).find(is_free).unwrap_or_else(|| {
            lengths.push(range.length);
            taken.push(BTreeMap::new());
            lengths.len() - 1
        });
        taken[slot].insert(range.from, range.to);
        slots.insert(range.storage, slot);
    }
    (lengths, slots)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(value: ValueId, length: usize, from: usize, to: usize) -> LiveRange {
        LiveRange { storage: Storage::Value(value), length, from, to }
    }

    #[test]
    fn those_that_meet_stand_apart_and_others_share() {
        let (lengths, slots) =
            assign_by_birth(&mut [range(0, 4, 1, 2), range(1, 2, 2, 3), range(2, 3, 3, 4), range(3, 9, 4, 4)]);
        let slot = |value| slots[&Storage::Value(value)];
        // 0 and 1 meet at 2, 1 and 2 at 3, 2 and 3 at 4; 2 takes the place of 0, and 3 that of 1, grown.
        assert_eq!((slot(0), slot(1), slot(2), slot(3)), (0, 1, 0, 1));
        assert_eq!(lengths, [4, 9]);
    }

    #[test]
    fn the_smallest_that_is_large_enough_is_taken() {
        let (_, slots) =
            assign_by_birth(&mut [range(0, 9, 1, 1), range(1, 5, 1, 1), range(2, 2, 1, 1), range(3, 3, 2, 2)]);
        assert_eq!(slots[&Storage::Value(3)], slots[&Storage::Value(1)]);
    }

    #[test]
    fn something_small_that_stays_takes_no_large_place() {
        // By birth, 1 takes the place of 0 for good, and 2 needs one of its own.
        let ranges = || vec![range(0, 9, 1, 1), range(1, 2, 2, 9), range(2, 9, 3, 3)];
        assert_eq!(assign_by_birth(&mut ranges()).0, [9, 9]);
        assert_eq!(assign(ranges()).0, [9, 2]);
    }
}
