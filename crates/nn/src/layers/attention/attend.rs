//! The part after the scores: mask, softmax, dropout, and the weighted sum of the values.

use engraft_ir::{Op, ValueId};

use super::super::rearranged::{multiplied, reshaped};
use super::mask::Mask;
use crate::activation::ActivationFn;
use crate::lowering::Lowering;
use crate::{Error, Result};

/// What stands in for a masked score. Its exponential is 0 beside any score of a real model (Keras' value).
const MASKED: f32 = -1e9;

/// Turns scores `[.., queries, keys]` and values `[.., keys, width]` into the output `[.., queries, width]`.
pub(in crate::layers) struct Attend {
    /// The keys that each query attends to; `None` for all.
    pub(in crate::layers) mask: Option<Mask>,
    /// Whether a query without any key gets zeros. Otherwise it attends to all keys alike, as Keras' fused operation does.
    pub(in crate::layers) zeros_without_keys: bool,
    /// Share of the attention weights that are dropped in training.
    pub(in crate::layers) dropout: f32,
    pub(in crate::layers) seed: Option<u64>,
}

impl Attend {
    pub(in crate::layers) fn lower(&self, to: &mut Lowering<'_>, scores: ValueId, values: ValueId) -> ValueId {
        let mut scores = scores;
        if let Some(mask) = &self.mask {
            scores = select(to, scores, mask, MASKED);
        }
        let mut weights = to.activate(ActivationFn::Softmax, scores);
        if let Some(mask) = self.mask.as_ref().filter(|mask| self.zeros_without_keys && mask.leaves_a_query_alone()) {
            weights = select(to, weights, mask, 0.0);
        }
        if to.training() && self.dropout > 0.0 {
            let seed = to.random_seed(self.seed);
            let shape = to.shape(weights).clone();
            weights = to.push_with(Op::Dropout { rate: self.dropout, seed }, &[weights], shape, 0..0);
        }
        multiplied(to, weights, values, false)
    }
}

/// Checks that a dropout rate is in `0.0..1.0`.
pub(super) fn check_dropout(rate: f32) -> Result<()> {
    if (0.0..1.0).contains(&rate) { Ok(()) } else { Err(Error::new("dropout", "at least 0 and below 1", rate)) }
}

/// `y`, multiplied by the sigmoid of the gate.
pub(super) fn gated(to: &mut Lowering<'_>, y: ValueId, gate: ValueId) -> ValueId {
    let gate = to.activate(ActivationFn::Sigmoid, gate);
    let shape = to.shape(y).clone();
    to.push_with(Op::Multiply, &[y, gate], shape, 0..0)
}

/// `x` where the mask is true, else `other`.
///
/// It is a scale of 1 or 0 and a shift, for which queries and keys become one axis. So a masked score has no gradient.
fn select(to: &mut Lowering<'_>, x: ValueId, mask: &Mask, other: f32) -> ValueId {
    let shape = to.shape(x).clone();
    let mut flat = shape[..shape.len() - 2].to_vec();
    flat.push(mask.attends.len());
    let x = reshaped(to, x, flat.clone());
    let by_mask = |yes: f32, no: f32| mask.attends.iter().map(|&attends| if attends { yes } else { no }).collect();
    let op = Op::ScaleShift { scale: by_mask(1.0, 0.0), shift: by_mask(0.0, other) };
    let y = to.push_with(op, &[x], flat, 0..0);
    reshaped(to, y, shape)
}
