//! The session's copies of weights and optimizer slots, which imitate the memory of a device.
//!
//! `upload` copies from the model (the host) to the session, `download` back. Versions show which side is newer.

use std::collections::HashMap;

use engraft_nn::{Error, Optimizer, OptimizerState, Param, Result, Weight};
use engraft_plan::checks;

use crate::array::Array;

/// The session's f64 copies of the weights that a program uses.
///
/// At the beginning of every call, weights that changed in the model are uploaded. `synchronize` downloads the weights that the
/// session changed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Weights(HashMap<usize, WeightCopy>);

#[derive(Clone, Debug)]
struct WeightCopy {
    /// The model's weight.
    host: Weight,
    values: Array,
    /// The host's version when it was last copied in either direction.
    version: u64,
    /// Whether the session has changed the copy since then.
    changed: bool,
}

impl Weights {
    /// Copies every weight that changed in the model since the last copy. The session's changes to such a weight are lost.
    pub(crate) fn upload<'a>(&mut self, params: impl IntoIterator<Item = &'a Param>) {
        for Param { weight, .. } in params {
            // The version is read before the values. If another thread changes the weight in between, the next upload notices.
            let version = weight.version();
            if self.0.get(&weight.id()).is_none_or(|copy| copy.version != version) {
                let values = Array::from_f32(weight.shape(), &weight.values());
                let copy = WeightCopy { host: weight.clone(), values, version, changed: false };
                self.0.insert(weight.id(), copy);
            }
        }
    }

    /// The values of a weight.
    ///
    /// # Errors
    /// Where the weight was never uploaded.
    pub(crate) fn get(&self, weight: &Weight) -> Result<&Array> {
        self.0.get(&weight.id()).map(|copy| &copy.values).ok_or_else(|| not_uploaded(weight))
    }

    /// The values of a weight, to be changed; marks the copy as changed.
    ///
    /// # Errors
    /// Where the weight was never uploaded.
    pub(crate) fn get_mut(&mut self, weight: &Weight) -> Result<&mut Array> {
        let copy = self.0.get_mut(&weight.id()).ok_or_else(|| not_uploaded(weight))?;
        copy.changed = true;
        Ok(&mut copy.values)
    }

    /// Writes the changed copies back to the model, rounded to f32.
    pub(crate) fn download(&mut self) {
        for copy in self.0.values_mut().filter(|copy| copy.changed) {
            let mut host_values = copy.host.values_mut();
            host_values.copy_from_slice(&copy.values.to_f32());
            // The version is read while this thread holds the write lock, before another thread can change the weight.
            copy.version = copy.host.version();
            copy.changed = false;
        }
    }
}

fn not_uploaded(weight: &Weight) -> Error {
    Error::because(format_args!("weight `{}`", weight.path()), "the program doesn't use it")
}

/// The session's f64 copies of an optimizer's slots, by the weight's id.
#[derive(Clone, Debug, Default)]
pub(crate) struct OptimizerSlots {
    slots: HashMap<usize, Vec<Vec<f64>>>,
    /// The model's optimizer state that the slots are copies of, with its version when they were last copied in either direction.
    host: Option<(OptimizerState, u64)>,
    changed: bool,
}

impl OptimizerSlots {
    /// Copies all slots if `state` is another one than before, or has changed. Slots that `state` lacks become zeros.
    ///
    /// # Errors
    /// Where the state belongs to another optimizer. Nothing is changed then.
    pub(crate) fn upload(&mut self, optimizer: &Optimizer, params: &[&Param], state: &OptimizerState) -> Result<()> {
        let version = state.version();
        if self.host.as_ref().is_some_and(|(host, known)| host.id() == state.id() && *known == version) {
            return Ok(());
        }
        let host_slots = state.slots();
        let mut slots = HashMap::new();
        for Param { weight, .. } in params.iter().filter(|param| param.trainable) {
            let copy = match host_slots.get(&weight.id()) {
                None => vec![vec![0.0; weight.count()]; optimizer.slots()],
                Some(found) => {
                    checks::slots(optimizer, weight, found)?;
                    found.iter().map(|slot| slot.iter().copied().map(f64::from).collect()).collect()
                }
            };
            slots.insert(weight.id(), copy);
        }
        *self = Self { slots, host: Some((state.clone(), version)), changed: false };
        Ok(())
    }

    /// The slots of a weight, to be changed; marks the copies as changed.
    pub(crate) fn get_mut(&mut self, weight: &Weight) -> &mut [Vec<f64>] {
        self.changed = true;
        self.slots.entry(weight.id()).or_default()
    }

    /// Writes the slots back to `state`, rounded to f32. Does nothing if no slot has changed, or if `state` itself has changed
    /// since the last copy.
    ///
    /// # Errors
    /// Where the copies were made from another state.
    pub(crate) fn download(&mut self, state: &OptimizerState) -> Result<()> {
        let Some((host, version)) = self.host.as_mut().filter(|_| self.changed) else { return Ok(()) };
        if host.id() != state.id() {
            return Err(Error::because("synchronize", "the optimizer's state is not the one of the last apply")
                .hint("call synchronize with the state that apply was given"));
        }
        self.changed = false;
        if *version != host.version() {
            return Ok(());
        }
        let rounded = |slot: &Vec<f64>| slot.iter().map(|&value| value as f32).collect();
        let copies = self.slots.iter().map(|(&weight, copy)| (weight, copy.iter().map(rounded).collect()));
        // The version is read while nobody else can change the slots.
        *version = host.update_slots(|slots| {
            slots.extend(copies);
            host.version()
        });
        Ok(())
    }
}
