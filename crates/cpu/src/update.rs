//! The optimizer's update of one weight.

use engraft_kernels::{AdamStep, RmspropStep, decay, l1_l2_gradient, sgd};
use engraft_nn::plan::Param;
use engraft_nn::{Adam, Error, Optimizer, OptimizerState, Result};
use rayon::prelude::*;

use crate::buffers::zeroed;
use crate::ops::{self, Backward, StepCall};

/// What one step of an optimizer does to every weight.
pub(crate) struct Update<'a> {
    optimizer: &'a Optimizer,
    state: &'a mut OptimizerState,
}

/// Values that are updated at a time, and f32 of a kernel's gradient that are computed and used up: a quarter MiB stays in the
/// second-level cache.
const PIECE: usize = 64 << 10;

impl<'a> Update<'a> {
    /// The step after `state.iterations` others, of these weights. Their slots are made here where they are new: once an
    /// update has begun, nothing can fail.
    pub(crate) fn new<'p>(
        optimizer: &'a Optimizer,
        state: &'a mut OptimizerState,
        params: impl IntoIterator<Item = &'p Param>,
    ) -> Result<Self> {
        for Param { weight, .. } in params.into_iter().filter(|param| param.trainable) {
            let (count, length) = (optimizer.slots(), weight.count());
            match state.slots.get(&weight.id()) {
                None => {
                    let slots = (0..count).map(|_| zeroed(length)).collect::<Result<_>>()?;
                    state.slots.insert(weight.id(), slots);
                }
                Some(slots) if slots.len() == count && slots.iter().all(|slot| slot.len() == length) => {}
                Some(slots) => {
                    let received = slots.iter().map(Vec::len).collect::<Vec<_>>();
                    let expected = format!("{count} arrays of {length} numbers");
                    let place = format!("the optimizer's memory of {}", weight.path());
                    return Err(Error::new(place, expected, format_args!("arrays of {received:?}"))
                        .hint("it belongs to another optimizer: compile the model again"));
                }
            }
        }
        Ok(Self { optimizer, state })
    }

    /// Changes a weight by its gradient; the regulariser's part is added to it here.
    pub(crate) fn apply(&mut self, param: &Param, gradient: &mut [f32]) {
        let mut slots = self.take_slots(param);
        let rule = self.rule();
        let mut values = param.weight.values_mut();
        assert_eq!(gradient.len(), values.len(), "a gradient has a number for each weight");
        let pieces = pieces(&mut values, &mut slots, PIECE).into_par_iter().zip(gradient.par_chunks_mut(PIECE));
        pieces.for_each(|((values, mut slots), gradient)| rule.apply(param, values, gradient, &mut slots));
        drop(values);
        self.state.slots.insert(param.weight.id(), slots);
    }

    /// Changes a Dense kernel as the rows of its gradient are computed: the gradient is never written out.
    pub(crate) fn apply_folded(&mut self, call: &StepCall<'_>, b: &Backward<'_>) {
        let param = &call.step.weights[0];
        let mut slots = self.take_slots(param);
        let units = param.weight.shape().last().copied().unwrap_or(1).max(1);
        let rows = (PIECE / units).max(1);
        let rule = self.rule();
        let mut values = param.weight.values_mut();
        let pieces = pieces(&mut values, &mut slots, rows * units);
        pieces.into_par_iter().enumerate().for_each_init(Vec::new, |gradient, (piece, (values, mut slots))| {
            gradient.resize(values.len(), 0.0);
            let first = piece * rows;
            ops::kernel_gradient_rows(call, b, first..first + values.len() / units, gradient);
            rule.apply(param, values, gradient, &mut slots);
        });
        self.state.slots.insert(param.weight.id(), slots);
    }

    fn rule(&self) -> Rule<'_> {
        Rule { optimizer: self.optimizer, step: self.state.iterations + 1 }
    }

    fn take_slots(&mut self, param: &Param) -> Vec<Vec<f32>> {
        self.state.slots.remove(&param.weight.id()).expect("made for every weight before the first update")
    }
}

/// Values and slots cut into pieces of `length` that belong together.
fn pieces<'a>(
    values: &'a mut [f32],
    slots: &'a mut [Vec<f32>],
    length: usize,
) -> Vec<(&'a mut [f32], Vec<&'a mut [f32]>)> {
    let mut pieces: Vec<_> = values.chunks_mut(length).map(|values| (values, Vec::new())).collect();
    for slot in slots {
        pieces.iter_mut().zip(slot.chunks_mut(length)).for_each(|((_, slots), slot)| slots.push(slot));
    }
    pieces
}

/// The formula, for a weight or a piece of one.
struct Rule<'a> {
    optimizer: &'a Optimizer,
    step: u64,
}

impl Rule<'_> {
    fn apply(&self, param: &Param, values: &mut [f32], gradient: &mut [f32], slots: &mut [&mut [f32]]) {
        if let Some(regularizer) = param.weight.regularizer() {
            let (l1, l2) = regularizer.factors();
            l1_l2_gradient(values, l1, l2, gradient);
        }
        let learning_rate = self.optimizer.learning_rate();
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
                // Keras' order of slots: velocity, momentum if any, average gradient if any.
                let mut others = others.iter_mut().map(|slot| &mut **slot);
                let momentum = if o.momentum > 0.0 { others.next() } else { None };
                let average = if o.centered { others.next() } else { None };
                step.apply(values, gradient, velocity, momentum, average);
            }
            (optimizer, slots) => unreachable!("{optimizer:?} keeps {} slots, not {}", optimizer.slots(), slots.len()),
        }
    }

    fn adam(&self, adam: &Adam) -> AdamStep {
        AdamStep {
            learning_rate: adam.learning_rate,
            beta_1: adam.beta_1,
            beta_2: adam.beta_2,
            epsilon: adam.epsilon,
            step: self.step,
        }
    }
}

#[cfg(test)]
mod tests {
    use engraft_golden::relative_error;
    use engraft_nn::plan::Program;
    use engraft_nn::prelude::*;

    use super::*;

    /// A Dense kernel of these values, as a step uses it.
    fn param(values: &[f32], regularizer: Option<Regularizer>) -> Param {
        let mut dense = Dense::new(1).use_bias(false);
        if let Some(regularizer) = regularizer {
            dense = dense.kernel_regularizer(regularizer);
        }
        let input = Input::new([values.len()]);
        let model = Model::new(&input, &dense.call(&input).unwrap()).unwrap();
        model.weights()[0].set(values.to_vec()).unwrap();
        Program::of(&model, true, 0).unwrap().steps[0].weights[0].clone()
    }

    #[test]
    fn five_steps_as_keras_makes_them() {
        let cases = engraft_golden::cases("optimizers");
        assert!(cases.len() >= 15, "only {} cases were found", cases.len());
        for case in &cases {
            let arrays = case.arrays();
            let optimizer = Optimizer::from_keras(case.get("optimizer")).unwrap();
            let regularizer = case.get("regularizer");
            let regularizer = match regularizer["class_name"].as_str() {
                Some("L1") => Some(Regularizer::l1(regularizer["config"]["l1"].as_f64().unwrap() as f32)),
                Some("L2") => Some(Regularizer::l2(regularizer["config"]["l2"].as_f64().unwrap() as f32)),
                Some("L1L2") => Some(Regularizer::L1L2 {
                    l1: regularizer["config"]["l1"].as_f64().unwrap() as f32,
                    l2: regularizer["config"]["l2"].as_f64().unwrap() as f32,
                }),
                None => None,
                Some(other) => panic!("{other}"),
            };
            let param = param(arrays.get(case.get("initial").as_str().unwrap()).data(), regularizer);
            let mut state = OptimizerState::default();
            for (gradient, after) in case.names("gradients").into_iter().zip(case.names("after")) {
                let mut gradient = arrays.get(gradient).data().to_vec();
                Update::new(&optimizer, &mut state, [&param]).unwrap().apply(&param, &mut gradient);
                state.iterations += 1;
                let error = relative_error(&param.weight.values(), arrays.get(after).data());
                // A few roundings of f32 a step.
                assert!(error < 2e-6, "{} {after}: {error}", case.name());
            }
        }
    }

    #[test]
    fn memory_of_another_optimizer_is_refused() {
        let param = param(&[1.0, 2.0], None);
        let mut state = OptimizerState::default();
        Update::new(&Sgd::new(0.1).momentum(0.9).into(), &mut state, [&param]).unwrap();
        let error = Update::new(&Adam::new(0.1).into(), &mut state, [&param]).err().unwrap().to_string();
        assert!(error.contains("expected 2 arrays of 2 numbers, received arrays of [2]"), "{error}");
    }
}
