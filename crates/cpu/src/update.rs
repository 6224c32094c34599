//! The optimizer step: updates all trainable weights with the gradients of the last backward pass.
//!
//! Each formula is in `engraft-kernels`; this module cuts weights into blocks and computes folded gradients.

use std::time::Instant;

use engraft_kernels::{AdamStep, RmspropStep, decay, l1_l2_gradient, orthogonal_gradient, rescale_norms, sgd};
use engraft_nn::{Adam, Constraint, Optimizer, OrthogonalMode, Param, Regularizer, Result, Slots, Step, Weight};
use engraft_plan::{Plan, Purpose, StepTime, Update, checks};
use rayon::prelude::*;

use crate::buffers::zeroed;
use crate::ops::{self, Backward};
use crate::step_call::StepCall;
use crate::values::Values;

/// Number of weight elements that are updated as one block. In a folded update, the gradient of a block (256 KiB) is used while
/// it is in the L2 cache.
const UPDATE_BLOCK: usize = 64 << 10;

/// One optimizer step over all weights of a plan.
pub(crate) struct Updater<'a> {
    plan: &'a Plan,
    rule: UpdateRule<'a>,
    /// Borrowed from the check of the slots to the last update, so that nobody changes them in between.
    slots: &'a mut Slots,
}

impl<'a> Updater<'a> {
    /// Checks the optimizer's slots, and adds slots for weights that have none.
    ///
    /// After this the update can't fail. An error here leaves weights and slots unchanged.
    pub(crate) fn new(plan: &'a Plan, update: Update, slots: &'a mut Slots) -> Result<Self> {
        let Purpose::Train { optimizer, .. } = plan.purpose() else {
            return Err(checks::wrong_purpose("apply", "a plan of training", plan));
        };
        let missing = missing_slots(slots, optimizer, &plan.program().weights())?;
        slots.extend(missing);
        Ok(Self { plan, rule: UpdateRule { optimizer, update }, slots })
    }

    /// Updates all trainable weights, those of the last step first.
    pub(crate) fn run(self, mut values: Values<'_>, times: &mut [StepTime]) {
        let Self { plan, rule, slots } = self;
        let trained = |step: &Step| step.weights.iter().any(|param| param.trainable);
        let steps = plan.program().steps.iter().enumerate().rev();
        for (index, step) in steps.filter(|(_, step)| trained(step)) {
            let began = Instant::now();
            for (position, param) in step.weights.iter().enumerate().filter(|(_, param)| param.trainable) {
                let slots = slots.get_mut(&param.weight.id()).expect("every trainable weight has slots since `new`");
                if position == 0 && plan.folds_update(index) {
                    update_folded(&rule, index, &values, slots);
                } else if plan.last_use(param.weight.id()) == Some(index) {
                    update_materialized(&rule, param, &mut values, slots);
                } else {
                    continue;
                }
                constrain(&param.weight);
            }
            times[index].backward += began.elapsed();
        }
    }
}

/// Updates a weight whose gradient is in a slot.
fn update_materialized(rule: &UpdateRule<'_>, param: &Param, values: &mut Values<'_>, slots: &mut [Vec<f32>]) {
    let slot = values.plan.weight_gradient_slot(param.weight.id()).expect("a gradient that isn't folded has a slot");
    let mut buffer = values.buffers.take(slot);
    rule.apply_all(param, &mut buffer[..param.weight.count()], slots);
    values.buffers.restore(slot, buffer);
}

/// Updates a Dense kernel block by block, right after each block of its gradient is computed. The whole gradient never exists.
fn update_folded(rule: &UpdateRule<'_>, index: usize, values: &Values<'_>, slots: &mut [Vec<f32>]) {
    let step = &values.plan.program().steps[index];
    let call = StepCall::new(values.plan, step, values.samples);
    let slot = values.plan.gradient_slot(step.output).expect("a differentiated step's output has a gradient");
    let dy = &values.buffers.get(slot)[..values.length(step.output)];
    let b = Backward { x: &values.inputs_of(step), y: &[], dy };
    let param = &step.weights[0];
    // The last axis of the kernel may be shorter: one with more axes counts as a matrix.
    let units = call.output.last().copied().unwrap_or(1).max(1);
    let rows = (UPDATE_BLOCK / units).max(1);
    let mut kernel = param.weight.values_mut();
    let blocks = update_blocks(&mut kernel, slots, rows * units);
    blocks.into_par_iter().enumerate().for_each_init(Vec::new, |gradient, (block, (values, mut slots))| {
        gradient.resize(values.len(), 0.0);
        let first = block * rows;
        ops::kernel_gradient_rows(&call, &b, first..first + values.len() / units, gradient);
        rule.apply(param, values, gradient, &mut slots);
    });
}

/// Applies the constraint of a weight that was updated, if it has one.
fn constrain(weight: &Weight) {
    let Some(constraint) = weight.constraint() else { return };
    let axes = constraint.axes(weight.shape().len());
    let mut values = weight.values_mut();
    match *constraint {
        Constraint::NonNeg {} => values.iter_mut().for_each(|value| *value = value.max(0.0)),
        Constraint::MaxNorm { max_value, .. } => {
            rescale_norms(&mut values, weight.shape(), &axes, |norm| norm.min(max_value.into()));
        }
        Constraint::UnitNorm { .. } => rescale_norms(&mut values, weight.shape(), &axes, |_| 1.0),
        Constraint::MinMaxNorm { min_value, max_value, rate, .. } => {
            let [min, max, rate] = [min_value, max_value, rate].map(f64::from);
            rescale_norms(&mut values, weight.shape(), &axes, |norm| {
                rate * norm.max(min).min(max) + (1.0 - rate) * norm
            });
        }
        Constraint::Unknown(_) => unreachable!("a plan of training refuses unknown constraints"),
    }
}

/// New slots for the trainable weights that have none.
///
/// # Errors
/// Existing slots of another optimizer, or no memory for the new ones.
fn missing_slots(slots: &Slots, optimizer: &Optimizer, params: &[&Param]) -> Result<Slots> {
    let mut missing = Slots::new();
    for Param { weight, .. } in params.iter().filter(|param| param.trainable) {
        match slots.get(&weight.id()) {
            Some(slots) => checks::slots(optimizer, weight, slots)?,
            None => {
                let new = (0..optimizer.slots()).map(|_| zeroed(weight.count())).collect::<Result<_>>()?;
                missing.insert(weight.id(), new);
            }
        }
    }
    Ok(missing)
}

/// Cuts the values of a weight and its slots into corresponding blocks of `length` elements.
fn update_blocks<'a>(
    values: &'a mut [f32],
    slots: &'a mut [Vec<f32>],
    length: usize,
) -> Vec<(&'a mut [f32], Vec<&'a mut [f32]>)> {
    let mut blocks: Vec<_> = values.chunks_mut(length).map(|values| (values, Vec::new())).collect();
    for slot in slots {
        blocks.iter_mut().zip(slot.chunks_mut(length)).for_each(|((_, slots), slot)| slots.push(slot));
    }
    blocks
}

/// The optimizer's formula with the learning rate and iteration of this step.
struct UpdateRule<'a> {
    optimizer: &'a Optimizer,
    update: Update,
}

impl UpdateRule<'_> {
    /// Updates a whole weight, block by block on all threads.
    fn apply_all(&self, param: &Param, gradient: &mut [f32], slots: &mut [Vec<f32>]) {
        let mut values = param.weight.values_mut();
        assert_eq!(gradient.len(), values.len(), "a gradient is as long as its weight");
        if let (Some(Regularizer::Orthogonal { factor, mode }), &[rows, columns]) =
            (param.weight.regularizer(), param.weight.shape())
        {
            let by_columns = *mode == OrthogonalMode::Columns;
            orthogonal_gradient(&values, [rows, columns], by_columns, *factor, gradient);
        }
        let blocks = update_blocks(&mut values, slots, UPDATE_BLOCK);
        let blocks = blocks.into_par_iter().zip(gradient.par_chunks_mut(UPDATE_BLOCK));
        blocks.for_each(|((values, mut slots), gradient)| self.apply(param, values, gradient, &mut slots));
    }

    /// Updates some values of a weight on the calling thread. Adds the gradient of an elementwise regularizer to `gradient` first.
    fn apply(&self, param: &Param, values: &mut [f32], gradient: &mut [f32], slots: &mut [&mut [f32]]) {
        if let Some(regularizer) = param.weight.regularizer() {
            let (l1, l2) = regularizer.factors();
            l1_l2_gradient(values, l1, l2, gradient);
        }
        let learning_rate = self.update.learning_rate;
        if let Some(weight_decay) = self.optimizer.weight_decay() {
            decay(values, (1.0 - weight_decay * learning_rate) as f32);
        }
        match (self.optimizer, slots) {
            (Optimizer::Sgd(o), slots) => {
                let momentum = slots.first_mut().map(|slot| &mut **slot);
                sgd(values, gradient, momentum, learning_rate, o.momentum, o.nesterov);
            }
            (Optimizer::Adam(adam) | Optimizer::AdamW(adam), [m, v]) => {
                self.adam(adam).apply(values, gradient, m, v);
            }
            (Optimizer::RmsProp(o), [velocity, others @ ..]) => {
                let step = RmspropStep {
                    learning_rate,
                    rho: o.rho,
                    momentum: o.momentum,
                    epsilon: o.epsilon,
                    centered: o.centered,
                };
                // RMSprop's slots in Keras' order: velocity, then momentum and average gradient if the optimizer has them.
                let mut others = others.iter_mut().map(|slot| &mut **slot);
                let momentum = if o.momentum > 0.0 { others.next() } else { None };
                let average = if o.centered { others.next() } else { None };
                step.apply(values, gradient, velocity, momentum, average);
            }
            (optimizer, slots) => unreachable!("{optimizer:?} has {} slots, not {}", optimizer.slots(), slots.len()),
        }
    }

    fn adam(&self, adam: &Adam) -> AdamStep {
        AdamStep {
            learning_rate: self.update.learning_rate,
            beta_1: adam.beta_1,
            beta_2: adam.beta_2,
            epsilon: adam.epsilon,
            step: self.update.iteration + 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use engraft_golden::relative_error;
    use engraft_nn::Program;
    use engraft_nn::layers::from_config;
    use engraft_nn::prelude::*;
    use serde_json::{Map, Value};

    use super::*;

    /// The parameter of a Dense kernel of `units` columns with these values, and options as in Keras' config.
    fn param(values: &[f32], units: usize, mut options: Map<String, Value>) -> Param {
        options.extend([
            ("name".into(), "dense".into()),
            ("units".into(), units.into()),
            ("use_bias".into(), false.into()),
        ]);
        let input = Input::new([values.len() / units]);
        let dense = from_config("Dense", options).unwrap();
        let model = Model::new(&input, &dense.call(&input).unwrap()).unwrap();
        model.weights()[0].set(values.to_vec()).unwrap();
        Program::of(&model, true, 0).unwrap().steps[0].weights[0].clone()
    }

    #[test]
    fn five_steps_as_keras_makes_them() {
        let cases = engraft_golden::cases("optimizers");
        assert!(cases.len() >= 28, "only {} cases were found", cases.len());
        for case in &cases {
            let arrays = case.arrays();
            let optimizer = Optimizer::from_keras(case.get("optimizer")).unwrap();
            let options = ["regularizer", "constraint"].map(|kind| (format!("kernel_{kind}"), case.get(kind).clone()));
            let param =
                param(arrays.get(case.get("initial").as_str().unwrap()).data(), 5, options.into_iter().collect());
            assert_eq!(param.weight.constraint().is_some(), !case.get("constraint").is_null(), "{}", case.name());
            let (mut slots, mut iteration) = (Slots::new(), 0);
            for (gradient, after) in case.names("gradients").into_iter().zip(case.names("after")) {
                let mut gradient = arrays.get(gradient).data().to_vec();
                slots.extend(missing_slots(&slots, &optimizer, &[&param]).unwrap());
                let update = Update { learning_rate: optimizer.learning_rate().at(iteration), iteration };
                let slots = slots.get_mut(&param.weight.id()).unwrap();
                UpdateRule { optimizer: &optimizer, update }.apply_all(&param, &mut gradient, slots);
                constrain(&param.weight);
                iteration += 1;
                let error = relative_error(&param.weight.values(), arrays.get(after).data());
                // The tolerance allows for five steps with a few f32 rounding errors each.
                assert!(error < 2e-6, "{} {after}: {error}", case.name());
            }
        }
    }

    #[test]
    fn the_state_of_another_optimizer_is_refused() {
        let param = param(&[1.0, 2.0], 1, Map::new());
        let slots = missing_slots(&Slots::new(), &Sgd::new(0.1).momentum(0.9).into(), &[&param]).unwrap();
        let error = missing_slots(&slots, &Adam::new(0.1).into(), &[&param]).unwrap_err().to_string();
        assert!(error.contains("expected 2 arrays of 2 numbers, received arrays of [2]"), "{error}");
    }
}
