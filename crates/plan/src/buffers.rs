//! Buffer assignment: arrays whose live ranges don't overlap may share a buffer.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap};

use engraft_ir::ValueId;

use crate::liveness::{LiveRange, Liveness, Storage};

/// Index of a buffer in [`Plan::buffers`](crate::Plan::buffers). A buffer may be longer than a value in it: the value begins at
/// the start of the buffer.
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

/// The slot of every array that a plan stores.
#[derive(Clone, Debug)]
pub(crate) struct BufferAssignment {
    lengths: Vec<usize>,
    slots: HashMap<Storage, Slot>,
    /// By value, its root: the value whose buffer it shares.
    roots: Vec<ValueId>,
    leaving_prefix: Vec<bool>,
    /// By root, the step that computes it; none for an input.
    producers: Vec<Option<usize>>,
    /// By root, whether the gradient overwrites the value.
    in_place: Vec<bool>,
    /// By step, the steps that are recomputed before its backward pass.
    recomputed_steps: HashMap<usize, Vec<usize>>,
    /// By weight id, the first and last step in backward order that contribute to its gradient. Folded kernels have none.
    uses: HashMap<usize, (usize, usize)>,
}

impl BufferAssignment {
    pub(crate) fn new(liveness: &Liveness<'_>) -> Self {
        let mut all = liveness.values();
        all.extend(liveness.recomputed_values());
        let mut uses = Vec::new();
        if liveness.annotated.purpose.has_backward() {
            all.extend(liveness.gradients());
            uses = liveness.weight_uses();
            all.extend(liveness.weight_gradients(&uses));
        }
        let (lengths, slots) = assign(all);
        Self {
            lengths,
            slots,
            roots: liveness.roots().to_vec(),
            leaving_prefix: liveness.leaving_prefix(),
            producers: liveness.producers(),
            in_place: liveness.in_place().to_vec(),
            recomputed_steps: liveness.recomputed_steps(),
            uses: uses.into_iter().map(|uses| (uses.weight, (uses.first, uses.last))).collect(),
        }
    }

    pub(crate) fn lengths(&self) -> &[usize] {
        &self.lengths
    }

    /// The length of all buffers together, in f32.
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

    pub(crate) fn producer(&self, value: ValueId) -> Option<usize> {
        self.producers[self.root(value)]
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

    pub(crate) fn weight_uses(&self, weight: usize) -> Option<(usize, usize)> {
        self.uses.get(&weight).copied()
    }

    fn slot(&self, storage: Storage) -> Option<Slot> {
        self.slots.get(&storage).copied()
    }
}

/// The length of every slot, and the slot of each range.
type Slots = (Vec<usize>, HashMap<Storage, Slot>);

/// The smaller of two greedy assignments. Which one is smaller depends on the network.
fn assign(mut ranges: Vec<LiveRange>) -> Slots {
    let total = |(lengths, _): &Slots| lengths.iter().sum::<usize>();
    let [by_start, by_size] = [assign_by_start(&mut ranges), assign_by_size(&mut ranges)];
    if total(&by_size) < total(&by_start) { by_size } else { by_start }
}

/// Linear scan by start time. A range takes the smallest free slot that is large enough. If none is, the largest free slot grows,
/// or a new slot is added.
fn assign_by_start(ranges: &mut [LiveRange]) -> Slots {
    ranges.sort_by_key(|range| (range.from, Reverse(range.length), range.to));
    let mut lengths: Vec<usize> = Vec::new();
    let mut slots = HashMap::new();
    // Slots in use, ordered by the time at which they become free. Free slots, ordered by length.
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
            Some(entry) => {
                free.remove(&entry);
                entry.1
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

/// Greedy by size. Arrays are taken from the longest to the shortest. Each gets the smallest slot that is free during its whole
/// live range, else a new slot (Pisarchyk and Lee 2020, "Efficient Memory Management for Deep Neural Net Inference", arXiv
/// 2001.03288, section 4.3).
fn assign_by_size(ranges: &mut [LiveRange]) -> Slots {
    /// Maximum number of slots that are tried for one range. Without this limit, the time would grow with the square of the
    /// program's length.
    const MAX_SLOTS_TRIED: usize = 256;
    ranges.sort_by_key(|range| (Reverse(range.length), range.from, range.to));
    let mut lengths: Vec<usize> = Vec::new();
    let mut slots = HashMap::new();
    // By slot, the live ranges of its arrays: a map from the start of a range to its end.
    let mut occupied: Vec<BTreeMap<usize, usize>> = Vec::new();
    for range in ranges {
        let is_free = |slot: &usize| {
            let before = occupied[*slot].range(..=range.to).next_back();
            before.is_none_or(|(_, &to)| to < range.from)
        };
        // Slots were added in order of falling length, so the last free slot is the smallest.
        let slot = (0..lengths.len()).rev().take(MAX_SLOTS_TRIED).find(is_free).unwrap_or_else(|| {
            lengths.push(range.length);
            occupied.push(BTreeMap::new());
            lengths.len() - 1
        });
        occupied[slot].insert(range.from, range.to);
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
    fn ranges_that_overlap_have_different_slots_and_others_share() {
        let (lengths, slots) =
            assign_by_start(&mut [range(0, 4, 1, 2), range(1, 2, 2, 3), range(2, 3, 3, 4), range(3, 9, 4, 4)]);
        let slot = |value| slots[&Storage::Value(value)];
        // Ranges 0 and 1 overlap at time 2, ranges 1 and 2 at time 3, ranges 2 and 3 at time 4. So range 2 reuses the slot of
        // range 0. Range 3 reuses the slot of range 1, which grows.
        assert_eq!((slot(0), slot(1), slot(2), slot(3)), (0, 1, 0, 1));
        assert_eq!(lengths, [4, 9]);
    }

    #[test]
    fn the_smallest_that_is_large_enough_is_taken() {
        let (_, slots) =
            assign_by_start(&mut [range(0, 9, 1, 1), range(1, 5, 1, 1), range(2, 2, 1, 1), range(3, 3, 2, 2)]);
        assert_eq!(slots[&Storage::Value(3)], slots[&Storage::Value(1)]);
    }

    #[test]
    fn something_small_that_stays_takes_no_large_place() {
        // In order of start, the small range 1 takes the large slot of range 0 and keeps it to the end. So range 2 needs a new
        // slot.
        let ranges = || vec![range(0, 9, 1, 1), range(1, 2, 2, 9), range(2, 9, 3, 3)];
        assert_eq!(assign_by_start(&mut ranges()).0, [9, 9]);
        assert_eq!(assign(ranges()).0, [9, 2]);
    }
}
