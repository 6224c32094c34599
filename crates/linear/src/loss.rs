//! Log losses of a block of logits: softmax cross-entropy, and binary cross-entropy for several labels a sample.

use std::ops::Range;

use crate::linalg::Real;
use crate::targets::{Activity, Targets};

/// Sums over rows of a block.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sums {
    /// Weighted log loss; that of all labels together.
    pub(crate) loss: f64,
    /// Weighted `p (1 - p)` of each class: the curvature of the loss with respect to its logit.
    pub(crate) curvature: Vec<f64>,
}

impl Sums {
    pub(crate) fn zero(classes: usize) -> Self {
        Self { loss: 0.0, curvature: vec![0.0; classes] }
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.loss += other.loss;
        self.curvature.iter_mut().zip(&other.curvature).for_each(|(sum, curvature)| *sum += curvature);
    }
}

/// Turns the logits of `rows` into the gradient of the weighted loss with respect to them: weight times (probability - target).
/// Inactive classes have probability 0 and no gradient.
pub(crate) fn differentiate<T: Real>(
    logits: &mut [T],
    rows: Range<usize>,
    targets: &Targets,
    activity: &Activity,
    sums: &mut Sums,
) {
    for (logits, row) in logits.chunks_exact_mut(targets.classes()).zip(rows) {
        match targets.labels.class_of(row) {
            Some(class) => softmax(logits, class, targets.weights[row], activity, sums),
            None => sigmoids(logits, row, targets, activity, sums),
        }
    }
}

fn softmax<T: Real>(logits: &mut [T], class: usize, weight: f64, activity: &Activity, sums: &mut Sums) {
    let active = |at: usize| activity.is_active(at);
    let finite = logits.iter().enumerate().filter(|&(at, _)| active(at)).map(|(_, &logit)| logit);
    let Some(largest) = finite.reduce(|a, b| if b > a { b } else { a }) else { return logits.fill(T::default()) };
    let target = (logits[class] - largest).widened();
    let mut total = 0.0;
    for (at, logit) in logits.iter_mut().enumerate() {
        *logit = if active(at) { (*logit - largest).exponential() } else { T::default() };
        total += logit.widened();
    }
    sums.loss += weight * (total.ln() - target);
    for (at, logit) in logits.iter_mut().enumerate() {
        let probability = logit.widened() / total;
        sums.curvature[at] += weight * probability * (1.0 - probability);
        *logit = T::rounded(weight * (probability - f64::from(u8::from(at == class))));
    }
}

fn sigmoids<T: Real>(logits: &mut [T], row: usize, targets: &Targets, activity: &Activity, sums: &mut Sums) {
    for (label, logit) in logits.iter_mut().enumerate() {
        if !activity.is_active(label) {
            *logit = T::default();
            continue;
        }
        let (has, weight) = (targets.labels.has(row, label), targets.weight(row, label));
        // The probability of the wrong answer, which doesn't round to 0 where the logit is large and right.
        let margin = if has { logit.widened() } else { -logit.widened() };
        let wrong = 1.0 / (1.0 + margin.exp());
        sums.loss += weight * softplus(-margin);
        sums.curvature[label] += weight * wrong * (1.0 - wrong);
        *logit = T::rounded(if has { -weight * wrong } else { weight * wrong });
    }
}

/// `ln(1 + e^x)` without overflow.
pub(crate) fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::labels::Labels;
    use crate::options::ClassWeights;
    use crate::subset::Subset;
    use crate::testing::{normals, same};

    fn cases() -> [Labels; 2] {
        let bits = [1, 0, 1, 0, 0, 1, 1, 1, 0, 1, 1, 0].map(|bit| bit == 1);
        [Labels::single(&[0, 2, 1, 1], 3).unwrap(), Labels::multi(&bits, 3).unwrap()]
    }

    #[test]
    fn gradients_are_finite_differences_of_the_loss() {
        for labels in cases() {
            let targets = Targets::of(&labels, &[0, 1, 2, 3], ClassWeights::Balanced);
            let activity = Activity::of(&targets, &Subset::of(0..4));
            let logits = normals(5, 12);
            let loss = |logits: &[f64]| {
                let (mut logits, mut sums) = (logits.to_vec(), Sums::zero(3));
                differentiate(&mut logits, 0..4, &targets, &activity, &mut sums);
                (sums.loss, logits)
            };
            let difference = |at: usize| {
                let moved =
                    |step: f64| (0..12).map(|i| logits[i] + if i == at { step } else { 0.0 }).collect::<Vec<_>>();
                (loss(&moved(1e-5)).0 - loss(&moved(-1e-5)).0) / 2e-5
            };
            same(&loss(&logits).1, &(0..12).map(difference).collect::<Vec<_>>(), 1e-8);
        }
    }

    #[test]
    fn huge_logits_give_finite_losses() {
        for labels in cases() {
            let targets = Targets::of(&labels, &[0, 1, 2, 3], ClassWeights::None);
            let activity = Activity::of(&targets, &Subset::of(0..4));
            let mut logits: Vec<f64> = normals(6, 12).iter().map(|x| x * 1e4).collect();
            let mut sums = Sums::zero(3);
            differentiate(&mut logits, 0..4, &targets, &activity, &mut sums);
            assert!(sums.loss.is_finite() && logits.iter().all(|x| x.is_finite()), "{sums:?} {logits:?}");
            let mut narrow: Vec<f32> = normals(6, 12).iter().map(|x| *x as f32 * 1e4).collect();
            let mut rounded = Sums::zero(3);
            differentiate(&mut narrow, 0..4, &targets, &activity, &mut rounded);
            same(&[rounded.loss], &[sums.loss], 1e-5);
        }
    }

    #[test]
    fn a_class_that_is_not_trained_has_no_gradient() {
        let labels = Labels::single(&[0, 1, 2], 3).unwrap();
        let targets = Targets::of(&labels, &[0, 1, 2], ClassWeights::None);
        let activity = Activity::of(&targets, &Subset::of(0..2));
        let (mut logits, mut sums) = ([1.0, 0.0, 50.0], Sums::zero(3));
        differentiate(&mut logits, 0..1, &targets, &activity, &mut sums);
        let wrong = 1.0 / (1.0 + 1.0f64.exp());
        same(&logits, &[-wrong, wrong, 0.0], 1e-15);
        assert_eq!(sums.curvature[2], 0.0);
    }
}
