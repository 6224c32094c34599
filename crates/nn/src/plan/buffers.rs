//! Which values share a buffer: those that never live at once may.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap};

use super::lifetimes::{Lifetime, Lifetimes, Tenant};
use super::{Band, Purpose, ValueId};

/// A place for a value: the first numbers of a buffer.
pub type Slot = usize;

/// The slots of a plan.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    lengths: Vec<usize>,
    slots: HashMap<Tenant, Slot>,
    /// For every value, the one whose buffer it stands in.
    roots: Vec<ValueId>,
    leaving_prefix: Vec<bool>,
    /// For every root, the step that makes it; none makes an input.
    makers: Vec<Option<usize>>,
    /// For every root, whether the gradient by it is written over it.
    replaced: Vec<bool>,
    /// By a step, those that run again before its backward pass.
    running_again: HashMap<usize, Vec<usize>>,
    /// For each trainable weight, the steps that use it: first and last in backward order.
    uses: HashMap<usize, (usize, usize)>,
}

impl Layout {
    pub(super) fn new(
        lifetimes: &Lifetimes<'_>,
        purpose: &Purpose,
        bands: &[Option<Band>],
        chunk: usize,
        batch: usize,
    ) -> Self {
        let keep = matches!(purpose, Purpose::Gradients);
        let mut all = lifetimes.values(bands, chunk, batch);
        all.extend(lifetimes.recomputed(batch));
        let mut uses = Vec::new();
        if matches!(purpose, Purpose::Gradients | Purpose::Train { .. }) {
            all.extend(lifetimes.gradients(batch, keep));
            uses = lifetimes.uses(!keep);
            all.extend(lifetimes.weight_gradients(&uses, keep));
        }
        let (lengths, slots) = assign(all);
        Self {
            lengths,
            slots,
            roots: lifetimes.roots().to_vec(),
            leaving_prefix: lifetimes.leaving_prefix(),
            makers: lifetimes.makers(),
            replaced: lifetimes.replaced().to_vec(),
            running_again: lifetimes.running_again(),
            uses: uses.into_iter().map(|uses| (uses.weight, (uses.first, uses.last))).collect(),
        }
    }

    pub(super) fn lengths(&self) -> &[usize] {
        &self.lengths
    }

    /// Of all slots together.
    pub(super) fn length(&self) -> usize {
        self.lengths.iter().sum()
    }

    pub(super) fn root(&self, value: ValueId) -> ValueId {
        self.roots[value]
    }

    pub(super) fn leaves_prefix(&self, value: ValueId) -> bool {
        self.leaving_prefix[self.root(value)]
    }

    pub(super) fn value(&self, value: ValueId) -> Option<Slot> {
        self.slot(Tenant::Value(self.root(value)))
    }

    pub(super) fn value_backward(&self, value: ValueId) -> Option<Slot> {
        self.slot(Tenant::Recomputed(self.root(value))).or_else(|| self.value(value))
    }

    pub(super) fn maker(&self, value: ValueId) -> Option<usize> {
        self.makers[self.root(value)]
    }

    pub(super) fn running_again(&self, step: usize) -> &[usize] {
        self.running_again.get(&step).map(Vec::as_slice).unwrap_or_default()
    }

    pub(super) fn gradient(&self, value: ValueId) -> Option<Slot> {
        match self.replaced(value) {
            true => self.value_backward(value),
            false => self.slot(Tenant::Gradient(self.root(value))),
        }
    }

    pub(super) fn replaced(&self, value: ValueId) -> bool {
        self.replaced[self.root(value)]
    }

    pub(super) fn contribution(&self, step: usize) -> Option<Slot> {
        self.slot(Tenant::Contribution(step))
    }

    pub(super) fn weight_gradient(&self, weight: usize) -> Option<Slot> {
        self.slot(Tenant::WeightGradient(weight))
    }

    pub(super) fn uses(&self, weight: usize) -> Option<(usize, usize)> {
        self.uses.get(&weight).copied()
    }

    fn slot(&self, tenant: Tenant) -> Option<Slot> {
        self.slots.get(&tenant).copied()
    }
}

/// Greedy interval colouring in order of birth: the smallest free slot that is large enough, else the largest free one
/// grown, else a new one. Gives the length of every slot, and each tenant's.
fn assign(mut lifetimes: Vec<Lifetime>) -> (Vec<usize>, HashMap<Tenant, Slot>) {
    lifetimes.sort_by_key(|life| (life.from, Reverse(life.length), life.to));
    let mut lengths: Vec<usize> = Vec::new();
    let mut slots = HashMap::new();
    // Slots in use by when they fall free, and free ones by length.
    let mut busy: BinaryHeap<Reverse<(usize, Slot)>> = BinaryHeap::new();
    let mut free: BTreeSet<(usize, Slot)> = BTreeSet::new();
    for life in lifetimes {
        while let Some(&Reverse((until, slot))) = busy.peek()
            && until < life.from
        {
            busy.pop();
            free.insert((lengths[slot], slot));
        }
        let found = free.range((life.length, 0)..).next().or_else(|| free.last()).copied();
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
        lengths[slot] = lengths[slot].max(life.length);
        busy.push(Reverse((life.to, slot)));
        slots.insert(life.tenant, slot);
    }
    (lengths, slots)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn life(value: ValueId, length: usize, from: usize, to: usize) -> Lifetime {
        Lifetime { tenant: Tenant::Value(value), length, from, to }
    }

    #[test]
    fn those_that_meet_stand_apart_and_others_share() {
        let (lengths, slots) = assign(vec![life(0, 4, 1, 2), life(1, 2, 2, 3), life(2, 3, 3, 4), life(3, 9, 4, 4)]);
        let slot = |value| slots[&Tenant::Value(value)];
        // 0 and 1 meet at 2, 1 and 2 at 3, 2 and 3 at 4; 2 takes the place of 0, and 3 that of 1, grown.
        assert_eq!((slot(0), slot(1), slot(2), slot(3)), (0, 1, 0, 1));
        assert_eq!(lengths, [4, 9]);
    }

    #[test]
    fn the_smallest_that_is_large_enough_is_taken() {
        let (_, slots) = assign(vec![life(0, 9, 1, 1), life(1, 5, 1, 1), life(2, 2, 1, 1), life(3, 3, 2, 2)]);
        assert_eq!(slots[&Tenant::Value(3)], slots[&Tenant::Value(1)]);
    }
}
