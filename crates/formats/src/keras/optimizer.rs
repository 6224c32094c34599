//! `optimizer/vars`: how far an optimizer has come.
//!
//! `vars/0` counts the steps, `vars/1` is the learning rate, and then come the slots of all trained
//! weights, in the order in which Keras' optimizers make them.

use engraft_nn::{Compiled, Error, Model, Optimizer, OptimizerState, Result, Weight};

use crate::h5::{H5Error, H5File, H5Writer};

const VARS: &str = "optimizer/vars";

/// Steps and learning rate stand before the slots.
const BEFORE_SLOTS: usize = 2;

/// Where `slot` of trained weight `index` of `count` stands.
fn var(optimizer: &Optimizer, slot: usize, index: usize, count: usize) -> String {
    let number = match optimizer {
        // Both moments of a weight stand together.
        Optimizer::Adam(_) | Optimizer::AdamW(_) => index * optimizer.slots() + slot,
        Optimizer::Sgd(_) | Optimizer::RmsProp(_) => slot * count + index,
    };
    format!("{VARS}/{}", BEFORE_SLOTS + number)
}

/// Adds the optimizer's memory; without `slots` only how an optimizer begins, as Keras writes it
/// of a model that was never trained.
pub(super) fn write<'a>(
    compiled: &'a Compiled,
    trained: &[Weight],
    slots: bool,
    to: &mut H5Writer<'a>,
) -> std::result::Result<(), H5Error> {
    let optimizer = &compiled.optimizer;
    let steps = if slots { compiled.state.iterations } else { 0 };
    to.attr_string(VARS, "name", optimizer.to_keras()["config"]["name"].as_str().unwrap_or_default())?;
    to.i64(&format!("{VARS}/0"), &[], vec![i64::try_from(steps).unwrap_or(i64::MAX)])?;
    to.f32(&format!("{VARS}/1"), &[], vec![optimizer.learning_rate() as f32])?;
    if !slots {
        return Ok(());
    }
    for (index, weight) in trained.iter().enumerate() {
        let memory = compiled.state.slots.get(&weight.id());
        for slot in 0..optimizer.slots() {
            let path = var(optimizer, slot, index, trained.len());
            match memory.and_then(|slots| slots.get(slot)) {
                Some(values) => to.f32(&path, weight.shape(), &values[..])?,
                // Not trained yet: slots begin at zero.
                None => to.f32(&path, weight.shape(), vec![0.0; weight.count()])?,
            }
        }
    }
    Ok(())
}

/// Sets the compiled model's optimizer state; an error, and no change, if the file's doesn't fit
/// the weights that are trained now.
pub(super) fn read(model: &Model, file: &H5File) -> Result<()> {
    let trained = model.trainable_weights();
    let mut compiled = model.compiled();
    let Some(compiled) = compiled.as_mut() else { return Ok(()) };
    let failed = |error: H5Error| Error::because("optimizer state", error);
    if !file.contains(VARS).map_err(failed)? {
        return Ok(());
    }
    let optimizer = &compiled.optimizer;
    let found = file.children(VARS).map_err(failed)?.len();
    if found == BEFORE_SLOTS {
        // Never trained.
        return Ok(());
    }
    let expected = BEFORE_SLOTS + optimizer.slots() * trained.len();
    if found != expected {
        return Err(Error::new("optimizer state", format_args!("{expected} arrays"), found));
    }
    let steps = file.read_i64(&format!("{VARS}/0")).map_err(failed)?.1;
    let learning_rate = file.read_f32(&format!("{VARS}/1")).map_err(failed)?.1;
    let (&[steps], &[learning_rate]) = (&steps[..], &learning_rate[..]) else {
        return Err(Error::new("optimizer state", "one count of steps and one learning rate", "several"));
    };
    let steps = u64::try_from(steps).map_err(|_| Error::new("optimizer state", "a count of steps", steps))?;
    if !(learning_rate.is_finite() && learning_rate >= 0.0) {
        return Err(Error::new("optimizer state", "a learning rate from 0 up", learning_rate));
    }
    let mut state = OptimizerState { iterations: steps, ..OptimizerState::default() };
    for (index, weight) in trained.iter().enumerate() {
        let mut slots = Vec::with_capacity(optimizer.slots());
        for slot in 0..optimizer.slots() {
            let path = var(optimizer, slot, index, trained.len());
            let shape = file.dataset_shape(&path).map_err(failed)?;
            if shape != weight.shape() {
                let expected = format!("{:?} for `{}`", weight.shape(), weight.path());
                return Err(Error::new("optimizer state", expected, format_args!("{shape:?} in `{path}`")));
            }
            slots.push(file.read_f32(&path).map_err(failed)?.1);
        }
        state.slots.insert(weight.id(), slots);
    }
    // The file's number is rounded to f32: only another one is news.
    if compiled.optimizer.learning_rate() as f32 != learning_rate {
        compiled.optimizer.set_learning_rate(learning_rate.into());
    }
    compiled.state = state;
    Ok(())
}
