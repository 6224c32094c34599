//! The update rules of optimizers, by Keras' formulas (`keras.optimizers`), regularization penalties and constraints.

use std::collections::HashMap;

use engraft_nn::{Constraint, Optimizer, OrthogonalMode, Regularizer};
use engraft_plan::Update;

/// Updates the values of one weight and the optimizer's slots for it, which are in Keras' order.
///
/// `gradient` is the gradient of the mean loss; the gradient of the regularization penalty is added here.
pub(crate) fn apply(
    optimizer: &Optimizer,
    update: Update,
    regularizer: Option<&Regularizer>,
    gradient: &[f64],
    shape: &[usize],
    values: &mut [f64],
    slots: &mut [Vec<f64>],
) {
    let slopes = regularizer.map_or_else(|| vec![0.0; values.len()], |penalty| penalty_slopes(penalty, shape, values));
    for (i, (value, (gradient, slope))) in values.iter_mut().zip(gradient.iter().zip(slopes)).enumerate() {
        let gradient = gradient + slope;
        if let Some(weight_decay) = optimizer.weight_decay() {
            *value -= *value * weight_decay * update.learning_rate;
        }
        let slots = slots.iter_mut().map(|slot| &mut slot[i]);
        *value -= decrease(optimizer, update, gradient, slots);
    }
}

/// Updates the slots of one weight element; returns the amount to subtract from the element.
fn decrease<'a>(
    optimizer: &Optimizer,
    Update { learning_rate, iteration }: Update,
    gradient: f64,
    mut slots: impl Iterator<Item = &'a mut f64>,
) -> f64 {
    match optimizer {
        Optimizer::Sgd(sgd) => {
            let Some(velocity) = slots.next() else { return learning_rate * gradient };
            *velocity = sgd.momentum * *velocity - learning_rate * gradient;
            if sgd.nesterov { learning_rate * gradient - sgd.momentum * *velocity } else { -*velocity }
        }
        Optimizer::Adam(adam) | Optimizer::AdamW(adam) => {
            let mut moved = |to: f64, beta: f64| {
                slots.next().map_or(to, |moment| {
                    *moment += (to - *moment) * (1.0 - beta);
                    *moment
                })
            };
            let (mean, square) = (moved(gradient, adam.beta_1), moved(gradient * gradient, adam.beta_2));
            let correction = |beta: f64| 1.0 - beta.powf((iteration + 1) as f64);
            let rate = learning_rate * correction(adam.beta_2).sqrt() / correction(adam.beta_1);
            rate * mean / (square.sqrt() + adam.epsilon)
        }
        Optimizer::RmsProp(rmsprop) => {
            let moved = |slot: &mut f64, to: f64| {
                *slot = rmsprop.rho * *slot + (1.0 - rmsprop.rho) * to;
                *slot
            };
            let square = slots.next().map_or(0.0, |velocity| moved(velocity, gradient * gradient));
            let momentum = if rmsprop.momentum > 0.0 { slots.next() } else { None };
            let average = if rmsprop.centered { slots.next() } else { None };
            let mean = average.map_or(0.0, |average| moved(average, gradient));
            let step = learning_rate * gradient / (square - mean * mean + rmsprop.epsilon).sqrt();
            momentum.map_or(step, |momentum| {
                *momentum = rmsprop.momentum * *momentum + step;
                *momentum
            })
        }
    }
}

/// The regularization penalty `l1 * sum(|w|) + l2 * sum(w^2)`, or that of the angles between the vectors of a matrix.
pub(crate) fn penalty(regularizer: &Regularizer, shape: &[usize], values: &[f64]) -> f64 {
    if let Regularizer::Orthogonal { factor, mode } = regularizer {
        return orthogonal_penalty(f64::from(*factor), *mode, shape, values);
    }
    let (l1, l2) = factors(regularizer);
    values.iter().map(|value| l1 * value.abs() + l2 * value * value).sum()
}

/// `factor` times the mean of `|cos|` over all pairs of rows or columns.
fn orthogonal_penalty(factor: f64, mode: OrthogonalMode, shape: &[usize], values: &[f64]) -> f64 {
    let vectors = vectors(mode, shape, values);
    let count = vectors.len();
    let pairs = (0..count).flat_map(|a| (a + 1..count).map(move |b| (a, b)));
    let sum: f64 = pairs.map(|(a, b)| cosine(&vectors[a], &vectors[b]).abs()).sum();
    factor * sum / (count * count.saturating_sub(1) / 2).max(1) as f64
}

/// The rows or the columns of a matrix.
fn vectors(mode: OrthogonalMode, shape: &[usize], values: &[f64]) -> Vec<Vec<f64>> {
    let columns = shape[1];
    match mode {
        OrthogonalMode::Rows => values.chunks(columns).map(<[f64]>::to_vec).collect(),
        OrthogonalMode::Columns => {
            (0..columns).map(|column| values.iter().skip(column).step_by(columns).copied().collect()).collect()
        }
    }
}

fn cosine(a: &[f64], b: &[f64]) -> f64 {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    // Keras divides by at least its `backend.epsilon()`.
    dot(a, b) / (dot(a, a).sqrt().max(1e-7) * dot(b, b).sqrt().max(1e-7))
}

/// The derivatives of [`penalty`] with respect to all values.
fn penalty_slopes(regularizer: &Regularizer, shape: &[usize], values: &[f64]) -> Vec<f64> {
    if regularizer.is_elementwise() {
        return values.iter().map(|&value| penalty_slope(regularizer, value)).collect();
    }
    // Central differences of a smooth function of values of order 1: exact to about 1e-10.
    const STEP: f64 = 1e-5;
    let moved = |i: usize, step: f64| {
        let mut values = values.to_vec();
        values[i] += step;
        penalty(regularizer, shape, &values)
    };
    (0..values.len()).map(|i| (moved(i, STEP) - moved(i, -STEP)) / (2.0 * STEP)).collect()
}

/// The derivative of [`penalty`] with respect to one value. The derivative of `|w|` at 0 is 0, as in TensorFlow.
fn penalty_slope(regularizer: &Regularizer, value: f64) -> f64 {
    let (l1, l2) = factors(regularizer);
    let sign = if value == 0.0 { 0.0 } else { value.signum() };
    l1 * sign + 2.0 * l2 * value
}

/// Applies a constraint to the values of a weight of this shape.
pub(crate) fn constrain(constraint: &Constraint, shape: &[usize], values: &mut [f64]) {
    /// Keras' `backend.epsilon()`.
    const EPSILON: f64 = 1e-7;
    let to = |norm: f64| match *constraint {
        Constraint::MaxNorm { max_value, .. } => norm.min(max_value.into()),
        Constraint::UnitNorm { .. } => 1.0,
        Constraint::MinMaxNorm { min_value, max_value, rate, .. } => {
            let rate = f64::from(rate);
            rate * norm.max(min_value.into()).min(max_value.into()) + (1.0 - rate) * norm
        }
        Constraint::NonNeg {} | Constraint::Unknown(_) => norm,
    };
    if *constraint == (Constraint::NonNeg {}) {
        values.iter_mut().for_each(|value| *value = value.max(0.0));
        return;
    }
    let axes = constraint.axes(shape.len());
    // The group of a value: its position, with 0 for the axes of the norm.
    let group = |position: usize| -> Vec<usize> {
        let after = |axis: usize| shape[axis + 1..].iter().product::<usize>();
        let at = |axis: usize| position / after(axis) % shape[axis];
        (0..shape.len()).map(|axis| if axes.contains(&axis) { 0 } else { at(axis) }).collect()
    };
    let mut squares: HashMap<Vec<usize>, f64> = HashMap::new();
    values.iter().enumerate().for_each(|(i, value)| *squares.entry(group(i)).or_default() += value * value);
    for (i, value) in values.iter_mut().enumerate() {
        let norm = squares[&group(i)].sqrt();
        *value *= to(norm) / (EPSILON + norm);
    }
}

fn factors(regularizer: &Regularizer) -> (f64, f64) {
    let (l1, l2) = regularizer.factors();
    (f64::from(l1), f64::from(l2))
}

#[cfg(test)]
mod tests {
    use engraft_golden::{Case, relative_error};
    use engraft_nn::layers::from_config;
    use serde_json::json;

    use super::*;

    fn regularizer(case: &Case) -> Option<Regularizer> {
        let object = case.get("regularizer");
        let factor = |name: &str| object["config"][name].as_f64().unwrap() as f32;
        object["class_name"].as_str().map(|class| match class {
            "L1" => Regularizer::l1(factor("l1")),
            "L2" => Regularizer::l2(factor("l2")),
            "L1L2" => Regularizer::L1L2 { l1: factor("l1"), l2: factor("l2") },
            "OrthogonalRegularizer" => {
                let mode = serde_json::from_value(object["config"]["mode"].clone()).unwrap();
                Regularizer::Orthogonal { factor: factor("factor"), mode }
            }
            other => panic!("{other}"),
        })
    }

    fn constraint(case: &Case) -> Option<Constraint> {
        let options = json!({"name": "dense", "units": 5, "kernel_constraint": case.get("constraint")});
        let dense = from_config("Dense", options.as_object().unwrap().clone()).unwrap();
        dense.build(&[vec![4]]).unwrap();
        dense.weights()[0].constraint().cloned()
    }

    #[test]
    fn five_steps_as_keras_makes_them() {
        let cases = engraft_golden::cases("optimizers");
        assert!(cases.len() >= 28, "only {} cases were found", cases.len());
        for case in &cases {
            let arrays = case.arrays();
            let array = |name: &str| arrays.get(name).data().iter().copied().map(f64::from).collect::<Vec<f64>>();
            let optimizer = Optimizer::from_keras(case.get("optimizer")).unwrap();
            let mut values = array(case.get("initial").as_str().unwrap());
            let mut slots = vec![vec![0.0; values.len()]; optimizer.slots()];
            let steps = case.names("gradients").into_iter().zip(case.names("after"));
            for (iteration, (gradient, after)) in (0..).zip(steps) {
                let update = Update { learning_rate: optimizer.learning_rate().at(iteration), iteration };
                apply(
                    &optimizer,
                    update,
                    regularizer(case).as_ref(),
                    &array(gradient),
                    &[4, 5],
                    &mut values,
                    &mut slots,
                );
                if let Some(constraint) = constraint(case) {
                    constrain(&constraint, &[4, 5], &mut values);
                }
                let found: Vec<f32> = values.iter().map(|&value| value as f32).collect();
                let error = relative_error(&found, arrays.get(after).data());
                // The tolerance allows for Keras' rounding to f32, a few times per step; a constraint rounds as often again.
                let tolerance = if constraint(case).is_some() { 4e-6 } else { 2e-6 };
                assert!(error < tolerance, "{} {after}: {error}", case.name());
            }
        }
    }

    #[test]
    fn a_penalty_pulls_towards_zero() {
        let regularizer = Regularizer::L1L2 { l1: 0.5, l2: 0.25 };
        assert_eq!(penalty(&regularizer, &[3], &[1.0, -2.0, 0.0]), 2.75);
        assert_eq!([1.0, -2.0, 0.0].map(|value| penalty_slope(&regularizer, value)), [1.0, -1.5, 0.0]);
    }
}
