//! Helpers of the tests: random arrays, and the comparison of gradients with finite differences.

use engraft_ir::Op;
use engraft_ir::random::Rng;
use engraft_plan::SingleReplica;

use crate::array::Array;
use crate::ops::{self, Call, RngKey};

/// The step of central differences. Their error is about `STEP^2` from truncation plus `1e-16 / STEP` from rounding.
pub(crate) const STEP: f64 = 1e-5;

/// An array of normally distributed numbers.
pub(crate) fn random(shape: &[usize], seed: u64) -> Array {
    let mut rng = Rng::new(seed);
    Array::new(shape, (0..shape.iter().product()).map(|_| f64::from(rng.normal())).collect())
}

pub(crate) fn dot(a: &Array, b: &Array) -> f64 {
    a.data().iter().zip(b.data()).map(|(a, b)| a * b).sum()
}

/// Compares the gradients of `sum(output * upstream)` with central differences, for every element of every operand.
///
/// `inputs` and `weights` are the shapes of the operands, `output` that of the result; the batch is the first axis.
#[track_caller]
pub(crate) fn check_gradients(op: &Op, inputs: &[&[usize]], weights: &[&[usize]], output: &[usize]) {
    const TOLERANCE: f64 = 1e-8;
    let mut operands: Vec<Array> =
        inputs.iter().chain(weights).enumerate().map(|(i, shape)| random(shape, i as u64)).collect();
    // All weights are made positive, because a moving variance must not be negative.
    operands[inputs.len()..].iter_mut().for_each(|weight| *weight = weight.map(f64::abs));
    let upstream = random(output, 99);
    let found = Evaluation { op, inputs: inputs.len(), output, upstream: &upstream }.gradients(&operands);
    for (operand, gradient) in found {
        for i in 0..gradient.data().len() {
            let at = |step: f64| {
                let mut moved = operands.clone();
                moved[operand].data_mut()[i] += step;
                Evaluation { op, inputs: inputs.len(), output, upstream: &upstream }.score(&moved)
            };
            let difference = (at(STEP) - at(-STEP)) / (2.0 * STEP);
            let gradient = gradient.data()[i];
            let allowed = TOLERANCE * difference.abs().max(1.0);
            assert!(
                (gradient - difference).abs() <= allowed,
                "{op:?}, operand {operand}, value {i}: {gradient}, differences say {difference}"
            );
        }
    }
}

/// A scalar function of an operation to differentiate: its output, weighted by `upstream` and summed.
struct Evaluation<'a> {
    op: &'a Op,
    inputs: usize,
    output: &'a [usize],
    upstream: &'a Array,
}

impl Evaluation<'_> {
    fn with_call<R>(&self, operands: &[Array], work: impl FnOnce(&Call<'_>) -> R) -> R {
        let (x, weights) = operands.split_at(self.inputs);
        let statistics = ops::batch_statistics(self.op, &x[0], &mut SingleReplica).unwrap();
        work(&Call {
            op: self.op,
            x: x.iter().collect(),
            weights: weights.iter().collect(),
            output: self.output.to_vec(),
            rng_key: RngKey { iteration: 1, first_sample: 2 },
            statistics: statistics.as_ref(),
        })
    }

    /// `sum(output * upstream)`.
    fn score(&self, operands: &[Array]) -> f64 {
        self.with_call(operands, |call| dot(&ops::forward(call).unwrap(), self.upstream))
    }

    /// The gradients of the score, each with the index of its operand.
    fn gradients(&self, operands: &[Array]) -> Vec<(usize, Array)> {
        let found = self.with_call(operands, |call| ops::backward(call, self.upstream, &mut SingleReplica).unwrap());
        assert_eq!(found.inputs.len(), self.inputs, "a gradient with respect to each input");
        found.inputs.into_iter().chain(found.weights).enumerate().collect()
    }
}
