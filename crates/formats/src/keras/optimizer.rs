//! How far an optimizer has come: its variables, in the order in which Keras' optimizers make them.
//!
//! The first counts the steps, the second is the learning rate unless that follows a schedule, and then come the
//! slots of all trained weights. Keras 3 numbers them (`optimizer/vars/0`, …); an `.h5` lists their names.

use std::borrow::Cow;

use engraft_nn::{Compiled, Error, LearningRate, Model, Optimizer, OptimizerState, Result, Slots, Weight};

use crate::error::at;
use crate::h5::{H5Error, H5File, H5Writer};

const VARS: &str = "optimizer/vars";
const LEGACY: &str = "optimizer_weights";

/// How errors name it.
const STATE: &str = "optimizer state";

/// The variables before the slots: steps and learning rate, of a schedule the steps alone.
fn before_slots(optimizer: &Optimizer) -> usize {
    match optimizer.learning_rate() {
        LearningRate::Constant(_) => 2,
        LearningRate::Schedule(_) => 1,
    }
}

/// The number among the slots of `slot` of trained weight `index` of `count`.
fn number(optimizer: &Optimizer, slot: usize, index: usize, count: usize) -> usize {
    match optimizer {
        // Both moments of a weight stand together.
        Optimizer::Adam(_) | Optimizer::AdamW(_) => index * optimizer.slots() + slot,
        Optimizer::Sgd(_) | Optimizer::RmsProp(_) => slot * count + index,
    }
}

/// An optimizer's variable, as it is written.
enum Variable<'a> {
    Steps(i64),
    Numbers(Vec<usize>, Cow<'a, [f32]>),
}

/// All variables in order; without `slots` only how an optimizer begins, as Keras writes it of a
/// model that was never trained.
fn variables<'a>(compiled: &Compiled, trained: &[Weight], slots: Option<&'a Slots>) -> Vec<Variable<'a>> {
    let optimizer = &compiled.optimizer;
    let steps = if slots.is_some() { compiled.state.iterations() } else { 0 };
    let mut variables = vec![Variable::Steps(i64::try_from(steps).unwrap_or(i64::MAX))];
    if let Some(rate) = optimizer.learning_rate().constant() {
        variables.push(Variable::Numbers(Vec::new(), vec![rate as f32].into()));
    }
    let Some(slots) = slots else { return variables };
    let mut numbered = Vec::new();
    for (index, weight) in trained.iter().enumerate() {
        let saved = slots.get(&weight.id());
        for slot in 0..optimizer.slots() {
            let values = match saved.and_then(|saved| saved.get(slot)) {
                Some(values) => values.as_slice().into(),
                // Not trained yet: slots begin at zero.
                None => vec![0.0; weight.count()].into(),
            };
            let number = number(optimizer, slot, index, trained.len());
            numbered.push((number, Variable::Numbers(weight.shape().to_vec(), values)));
        }
    }
    numbered.sort_by_key(|&(number, _)| number);
    variables.extend(numbered.into_iter().map(|(_, variable)| variable));
    variables
}

impl<'a> Variable<'a> {
    fn write(self, path: &str, to: &mut H5Writer<'a>) -> std::result::Result<(), H5Error> {
        match self {
            Self::Steps(steps) => to.i64(path, &[], vec![steps]),
            Self::Numbers(shape, values) => to.f32(path, &shape, values),
        }
    }
}

/// Adds the optimizer's memory as Keras 3 numbers it; see [`variables`].
pub(super) fn write<'a>(
    compiled: &Compiled,
    trained: &[Weight],
    slots: Option<&'a Slots>,
    to: &mut H5Writer<'a>,
) -> std::result::Result<(), H5Error> {
    to.attr_string(VARS, "name", &name(&compiled.optimizer))?;
    for (number, variable) in variables(compiled, trained, slots).into_iter().enumerate() {
        variable.write(&format!("{VARS}/{number}"), to)?;
    }
    Ok(())
}

/// Adds the optimizer's memory as an `.h5` lists it. Names tell nothing; the order does.
pub(super) fn write_legacy<'a>(
    compiled: &Compiled,
    trained: &[Weight],
    slots: Option<&'a Slots>,
    to: &mut H5Writer<'a>,
) -> std::result::Result<(), H5Error> {
    let mut names = Vec::new();
    for (number, variable) in variables(compiled, trained, slots).into_iter().enumerate() {
        let name = format!("{}/{number}", name(&compiled.optimizer));
        variable.write(&format!("{LEGACY}/{name}"), to)?;
        names.push(name);
    }
    to.attr_strings(LEGACY, "weight_names", &names)
}

/// Keras' name of an optimizer: `adam`.
fn name(optimizer: &Optimizer) -> String {
    optimizer.to_keras()["config"]["name"].as_str().unwrap_or_default().to_owned()
}

/// An optimizer's variables in a file: where each stands, in order. None, if none were saved.
pub(super) struct Saved<'a> {
    file: &'a H5File,
    arrays: Vec<String>,
}

impl<'a> Saved<'a> {
    /// Those of Keras 3's layout.
    pub(super) fn of_keras_3(file: &'a H5File) -> Result<Self> {
        let count = if file.contains(VARS).map_err(failed)? { file.children(VARS).map_err(failed)?.len() } else { 0 };
        Ok(Self { file, arrays: (0..count).map(|number| format!("{VARS}/{number}")).collect() })
    }

    /// Those of an `.h5`.
    pub(super) fn of_legacy(file: &'a H5File) -> Result<Self> {
        let names = match file.contains(LEGACY).map_err(failed)? {
            true => file.attr_strings(LEGACY, "weight_names").map_err(failed)?.unwrap_or_default(),
            false => Vec::new(),
        };
        Ok(Self { file, arrays: names.iter().map(|name| format!("{LEGACY}/{name}")).collect() })
    }

    /// Sets the compiled model's optimizer state; an error, and no change, if the file's doesn't
    /// fit the weights that are trained now.
    pub(super) fn read(&self, model: &Model) -> Result<()> {
        let trained = model.trainable_weights();
        let Some(mut compiled) = model.compiled() else { return Ok(()) };
        let optimizer = &compiled.optimizer;
        let (count, most_before) = (self.slots(optimizer) * trained.len(), before_slots(optimizer));
        if self.arrays.is_empty() || (count > 0 && self.arrays.len() <= most_before) {
            // Not kept, or never trained.
            return Ok(());
        }
        let before = self.arrays.len().saturating_sub(count);
        // Keras 2 writes the steps alone, whatever the learning rate.
        if before == 0 || before > most_before {
            return Err(Error::new(STATE, format_args!("{} arrays", most_before + count), self.arrays.len()));
        }
        let steps = self.steps()?;
        let learning_rate = if before == 2 { Some(self.learning_rate()?) } else { None };
        let mut slots = Slots::new();
        for (index, weight) in trained.iter().enumerate() {
            let slot = |slot| self.slot(&self.arrays[before + number(optimizer, slot, index, trained.len())], weight);
            slots.insert(weight.id(), (0..optimizer.slots()).map(slot).collect::<Result<_>>()?);
        }
        // The file's number is rounded to f32: only another one is news.
        let own = compiled.optimizer.learning_rate().constant().map(|rate| rate as f32);
        if let Some(rate) = learning_rate.filter(|&rate| own != Some(rate)) {
            compiled.optimizer.set_learning_rate(f64::from(rate));
        }
        compiled.state = OptimizerState::new(steps, slots);
        model.set_compiled(Some(compiled));
        Ok(())
    }

    /// How many the file has for each trained weight, if it has any.
    fn slots(&self, optimizer: &Optimizer) -> usize {
        match optimizer {
            // Keras 2 keeps a momentum of zeros for an SGD without one.
            Optimizer::Sgd(_) if self.arrays.len() > before_slots(optimizer) => 1,
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
            [rate] => Err(Error::new(STATE, "a learning rate from 0 up", rate)),
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
