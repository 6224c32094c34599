//! The saved state of an optimizer: its variables, in the order in which Keras creates them.
//!
//! The first variable counts the steps. The second is the learning rate, unless that follows a schedule. The rest are
//! the slots (momentum, moments) of all trainable weights. In a `.keras` file the variables are the arrays
//! `optimizer/vars/0`, …; in an `.h5` they are in the group `optimizer_weights`, which lists their names.

use std::borrow::Cow;

use engraft_nn::{Compiled, Error, LearningRate, Model, Optimizer, OptimizerState, Result, Slots, Weight};

use crate::error::at;
use crate::h5::{H5Error, H5File, H5Writer};

const VARS: &str = "optimizer/vars";
const LEGACY: &str = "optimizer_weights";

/// The place named in errors about a saved optimizer state.
const STATE: &str = "optimizer state";

/// Number of variables before the slots: steps and learning rate, or only steps if the rate follows a schedule.
fn variables_before_slots(optimizer: &Optimizer) -> usize {
    match optimizer.learning_rate() {
        LearningRate::Constant(_) => 2,
        LearningRate::Schedule(_) => 1,
    }
}

/// The position of a slot in Keras' order: slot `slot` of trainable weight `index`, among the slots of all `count` weights.
fn slot_position(optimizer: &Optimizer, slot: usize, index: usize, count: usize) -> usize {
    match optimizer {
        // Both moments of a weight are adjacent.
        Optimizer::Adam(_) | Optimizer::AdamW(_) => index * optimizer.slots() + slot,
        Optimizer::Sgd(_) | Optimizer::RmsProp(_) => slot * count + index,
    }
}

/// A variable of an optimizer to be written.
enum Variable<'a> {
    Steps(i64),
    Array(Vec<usize>, Cow<'a, [f32]>),
}

/// All variables in order. Without `slots`: the variables of a fresh optimizer, as Keras writes them for
/// a model that was never trained.
fn variables<'a>(
    optimizer: &Optimizer,
    state: &OptimizerState,
    trainable: &[Weight],
    slots: Option<&'a Slots>,
) -> Vec<Variable<'a>> {
    let steps = if slots.is_some() { state.iterations() } else { 0 };
    let mut variables = vec![Variable::Steps(i64::try_from(steps).unwrap_or(i64::MAX))];
    if let Some(rate) = optimizer.learning_rate().constant() {
        variables.push(Variable::Array(Vec::new(), vec![rate as f32].into()));
    }
    let Some(slots) = slots else { return variables };
    let mut positioned = Vec::new();
    for (index, weight) in trainable.iter().enumerate() {
        let saved = slots.get(&weight.id());
        for slot in 0..optimizer.slots() {
            let values = match saved.and_then(|saved| saved.get(slot)) {
                Some(values) => values.as_slice().into(),
                // A weight that was never trained: slots start at zero.
                None => vec![0.0; weight.count()].into(),
            };
            let position = slot_position(optimizer, slot, index, trainable.len());
            positioned.push((position, Variable::Array(weight.shape().to_vec(), values)));
        }
    }
    positioned.sort_by_key(|&(position, _)| position);
    variables.extend(positioned.into_iter().map(|(_, variable)| variable));
    variables
}

impl<'a> Variable<'a> {
    fn write(self, path: &str, to: &mut H5Writer<'a>) -> std::result::Result<(), H5Error> {
        match self {
            Self::Steps(steps) => to.i64(path, &[], vec![steps]),
            Self::Array(shape, values) => to.f32(path, &shape, values),
        }
    }
}

/// Adds the optimizer state in the layout of a `.weights.h5`; see [`variables`]. Nothing without an optimizer.
pub(super) fn write<'a>(
    compiled: &Compiled,
    trainable: &[Weight],
    slots: Option<&'a Slots>,
    to: &mut H5Writer<'a>,
) -> std::result::Result<(), H5Error> {
    let Some(optimizer) = &compiled.optimizer else { return Ok(()) };
    to.attr_string(VARS, "name", &name(optimizer))?;
    for (number, variable) in variables(optimizer, &compiled.state, trainable, slots).into_iter().enumerate() {
        variable.write(&format!("{VARS}/{number}"), to)?;
    }
    Ok(())
}

/// Adds the optimizer state in the layout of an `.h5`. Keras reads the variables by order and ignores their names.
pub(super) fn write_legacy<'a>(
    compiled: &Compiled,
    trainable: &[Weight],
    slots: Option<&'a Slots>,
    to: &mut H5Writer<'a>,
) -> std::result::Result<(), H5Error> {
    let Some(optimizer) = &compiled.optimizer else { return Ok(()) };
    let mut names = Vec::new();
    for (number, variable) in variables(optimizer, &compiled.state, trainable, slots).into_iter().enumerate() {
        let name = format!("{}/{number}", name(optimizer));
        variable.write(&format!("{LEGACY}/{name}"), to)?;
        names.push(name);
    }
    to.attr_strings(LEGACY, "weight_names", &names)
}

/// The name of an optimizer in Keras: `adam`.
fn name(optimizer: &Optimizer) -> String {
    optimizer.to_keras()["config"]["name"].as_str().unwrap_or_default().to_owned()
}

/// The optimizer's variables in a file.
pub(super) struct SavedOptimizer<'a> {
    file: &'a H5File,
    /// The paths of the variables, in order; empty if none were saved.
    arrays: Vec<String>,
}

impl<'a> SavedOptimizer<'a> {
    /// The variables in a `.weights.h5` of Keras 3.
    pub(super) fn in_weights_h5(file: &'a H5File) -> Result<Self> {
        let count = if file.contains(VARS).map_err(failed)? { file.children(VARS).map_err(failed)?.len() } else { 0 };
        Ok(Self { file, arrays: (0..count).map(|number| format!("{VARS}/{number}")).collect() })
    }

    /// The variables in an `.h5`.
    pub(super) fn in_legacy_h5(file: &'a H5File) -> Result<Self> {
        let names = match file.contains(LEGACY).map_err(failed)? {
            true => file.attr_strings(LEGACY, "weight_names").map_err(failed)?.unwrap_or_default(),
            false => Vec::new(),
        };
        Ok(Self { file, arrays: names.iter().map(|name| format!("{LEGACY}/{name}")).collect() })
    }

    /// Sets the optimizer state of the compiled model; does nothing if none was saved. If the saved state doesn't
    /// match the weights that are trainable now, it returns an error and changes nothing.
    pub(super) fn read(&self, model: &Model) -> Result<()> {
        let trainable = model.trainable_weights();
        let Some(mut compiled) = model.compiled() else { return Ok(()) };
        let Some(optimizer) = &mut compiled.optimizer else { return Ok(()) };
        let (count, most_before) = (self.slots(optimizer) * trainable.len(), variables_before_slots(optimizer));
        if self.arrays.is_empty() || (count > 0 && self.arrays.len() <= most_before) {
            // The file was saved without the optimizer state, or the model was never trained.
            return Ok(());
        }
        let before = self.arrays.len().saturating_sub(count);
        // Keras 2 writes only the steps before the slots, even with a constant learning rate.
        if before == 0 || before > most_before {
            return Err(Error::new(STATE, format_args!("{} arrays", most_before + count), self.arrays.len()));
        }
        let steps = self.steps()?;
        let learning_rate = if before == 2 { Some(self.learning_rate()?) } else { None };
        let mut slots = Slots::new();
        for (index, weight) in trainable.iter().enumerate() {
            let slot =
                |slot| self.slot(&self.arrays[before + slot_position(optimizer, slot, index, trainable.len())], weight);
            slots.insert(weight.id(), (0..optimizer.slots()).map(slot).collect::<Result<_>>()?);
        }
        // The saved rate is rounded to f32, so it replaces the rate of the config (f64) only if they differ as f32.
        let own = optimizer.learning_rate().constant().map(|rate| rate as f32);
        if let Some(rate) = learning_rate.filter(|&rate| own != Some(rate)) {
            optimizer.set_learning_rate(f64::from(rate));
        }
        compiled.state = OptimizerState::new(steps, slots);
        model.set_compiled(Some(compiled));
        Ok(())
    }

    /// Number of slots per trainable weight in the file, if it has slots at all.
    fn slots(&self, optimizer: &Optimizer) -> usize {
        match optimizer {
            // Keras 2 saves a momentum of zeros for SGD without momentum.
            Optimizer::Sgd(_) if self.arrays.len() > variables_before_slots(optimizer) => 1,
            _ => optimizer.slots(),
        }
    }

    fn steps(&self) -> Result<u64> {
        match self.file.read_i64(&self.arrays[0]).map_err(failed)?.1[..] {
            [steps] => u64::try_from(steps).map_err(|_| Error::new(STATE, "a count of steps", steps)),
            _ => Err(Error::new(STATE, "one count of steps", "several")),
        }
    }

    fn learning_rate(&self) -> Result<f32> {
        match self.file.read_f32(&self.arrays[1]).map_err(failed)?.1[..] {
            [rate] if rate.is_finite() && rate >= 0.0 => Ok(rate),
            [rate] => Err(Error::new(STATE, "a learning rate of 0 or more", rate)),
            _ => Err(Error::new(STATE, "one learning rate", "several")),
        }
    }

    fn slot(&self, path: &str, weight: &Weight) -> Result<Vec<f32>> {
        let shape = self.file.dataset_shape(path).map_err(failed)?;
        if shape != weight.shape() {
            let expected = format!("{:?} for `{}`", weight.shape(), weight.path());
            return Err(Error::new(STATE, expected, format_args!("{shape:?} in `{path}`")));
        }
        Ok(self.file.read_f32(path).map_err(failed)?.1)
    }
}

fn failed(error: H5Error) -> Error {
    at(STATE, error)
}
