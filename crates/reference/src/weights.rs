//! The session's own copies of weights and optimizer slots.

use std::collections::HashMap;

use engraft_nn::{Error, Optimizer, OptimizerState, Param, Result, Weight};

use crate::array::Array;

/// Copies in f64 of the weights that a program uses. Their home is the model; what is newer there is copied at the beginning of
/// every call, and what changed here goes home when the session is synchronized.
#[derive(Clone, Debug, Default)]
pub(crate) struct Weights(HashMap<usize, WeightCopy>);

#[derive(Clone, Debug)]
struct WeightCopy {
    home: Weight,
    values: Array,
    /// The version at home that the copy agrees with, but for changes made here.
    version: u64,
    changed: bool,
}

impl Weights {
    /// Copies every weight that is newer at home; changes made here to an older version of it are lost.
    pub(crate) fn upload<'a>(&mut self, params: impl IntoIterator<Item = &'a Param>) {
        for Param { weight, .. } in params {
            // Before the values: a change while they are read is then seen next time.
            let version = weight.version();
            if self.0.get(&weight.id()).is_none_or(|copy| copy.version != version) {
                let values = Array::from_f32(weight.shape(), &weight.values());
                let copy = WeightCopy { home: weight.clone(), values, version, changed: false };
                self.0.insert(weight.id(), copy);
            }
        }
    }

    /// The values of a weight.
    ///
    /// # Errors
    /// It was never uploaded.
    pub(crate) fn get(&self, weight: &Weight) -> Result<&Array> {
        self.0.get(&weight.id()).map(|copy| &copy.values).ok_or_else(|| not_uploaded(weight))
    }

    /// The values of a weight, to change here.
    ///
    /// # Errors
    /// It was never uploaded.
    pub(crate) fn get_mut(&mut self, weight: &Weight) -> Result<&mut Array> {
        let copy = self.0.get_mut(&weight.id()).ok_or_else(|| not_uploaded(weight))?;
        copy.changed = true;
        Ok(&mut copy.values)
    }

    /// Brings what changed here home, rounded.
    pub(crate) fn bring_home(&mut self) {
        for copy in self.0.values_mut().filter(|copy| copy.changed) {
            let mut home = copy.home.values_mut();
            home.copy_from_slice(&copy.values.to_f32());
            // While the guard still keeps others from changing it.
            copy.version = copy.home.version();
            copy.changed = false;
        }
    }
}

fn not_uploaded(weight: &Weight) -> Error {
    Error::because(format_args!("weight `{}`", weight.path()), "the program doesn't use it")
}

/// Copies in f64 of an optimizer's slots, for each weight by its id.
#[derive(Clone, Debug, Default)]
pub(crate) struct OptimizerSlots {
    slots: HashMap<usize, Vec<Vec<f64>>>,
    /// The state that they are copies of, and the version that they agree with, but for changes made here.
    home: Option<(OptimizerState, u64)>,
    changed: bool,
}

impl OptimizerSlots {
    /// Copies all slots if they are of another state or newer at home; slots that `state` lacks are zeros.
    ///
    /// # Errors
    /// A state that belongs to another optimizer. Nothing is changed.
    pub(crate) fn upload(&mut self, optimizer: &Optimizer, params: &[&Param], state: &OptimizerState) -> Result<()> {
        let version = state.version();
        if self.home.as_ref().is_some_and(|(home, known)| home.id() == state.id() && *known == version) {
            return Ok(());
        }
        let home = state.slots();
        let mut slots = HashMap::new();
        for Param { weight, .. } in params.iter().filter(|param| param.trainable) {
            let (count, length) = (optimizer.slots(), weight.count());
            let copy = match home.get(&weight.id()) {
                None => vec![vec![0.0; length]; count],
                Some(home) if home.len() == count && home.iter().all(|slot| slot.len() == length) => {
                    home.iter().map(|slot| slot.iter().copied().map(f64::from).collect()).collect()
                }
                Some(home) => {
                    let place = format!("the optimizer's state of `{}`", weight.path());
                    let received: Vec<usize> = home.iter().map(Vec::len).collect();
                    let expected = format!("{count} arrays of {length} numbers");
                    return Err(Error::new(place, expected, format_args!("arrays of {received:?}"))
                        .hint("it belongs to another optimizer: compile the model again"));
                }
            };
            slots.insert(weight.id(), copy);
        }
        *self = Self { slots, home: Some((state.clone(), version)), changed: false };
        Ok(())
    }

    /// The slots of a weight, to change here.
    pub(crate) fn get_mut(&mut self, weight: &Weight) -> &mut [Vec<f64>] {
        self.changed = true;
        self.slots.entry(weight.id()).or_default()
    }

    /// Brings all slots home, rounded, if any changed here and `state` has not changed since.
    ///
    /// # Errors
    /// They are copies of another state.
    pub(crate) fn bring_home(&mut self, state: &OptimizerState) -> Result<()> {
        let Some((home, version)) = self.home.as_mut().filter(|_| self.changed) else { return Ok(()) };
        if home.id() != state.id() {
            return Err(Error::because("synchronize", "the optimizer's state is not the one of the last apply")
                .hint("call synchronize with the state that apply was given"));
        }
        self.changed = false;
        if *version != home.version() {
            return Ok(());
        }
        let mut slots = home.slots_mut();
        let rounded = |slot: &Vec<f64>| slot.iter().map(|&value| value as f32).collect();
        slots.extend(self.slots.iter().map(|(&weight, copy)| (weight, copy.iter().map(rounded).collect())));
        *version = home.version();
        Ok(())
    }
}
