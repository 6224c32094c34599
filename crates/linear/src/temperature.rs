//! [`fit`]: the scale of held-out logits that minimises their log loss (Guo et al. 2017, arXiv 1706.04599, section 4.2).

use rayon::prelude::*;

use crate::loss::softplus;
use crate::targets::Targets;

/// Logits of held-out rows. Rows are the first ones of the targets.
pub(crate) struct Scored<'a> {
    /// Row-major `[rows, classes]`.
    pub(crate) logits: &'a [f64],
    /// The weight of each logit `[rows, classes]`; 0 for rows and labels that no training could get right. Where each row has one
    /// class, the weight of this class counts for the row.
    pub(crate) weights: &'a [f64],
    pub(crate) targets: &'a Targets,
}

/// A scale of logits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Temperature {
    /// The factor of the logits: 1 / temperature in the terms of Guo et al.
    pub(crate) scale: f64,
    /// The weighted mean log loss with it. With several labels, the mean over labels.
    pub(crate) log_loss: f64,
}

/// Range of the scale. Beyond it, probabilities are those of chance or round to 0 and 1.
const RANGE: [f64; 2] = [1.0 / 64.0, 64.0];

/// Newton steps: they converge quadratically, and each one at least halves the interval of its logarithm.
const STEPS: usize = 60;

/// Relative precision of the scale.
const PRECISION: f64 = 1e-7;

/// Rows whose sums one task adds.
const ROWS: usize = 1024;

/// The best scale; `None` if no logit has a weight.
///
/// The log loss is convex in the scale, so a bracketed Newton search finds its minimum. Targets are those of Platt (1999, section
/// 2.2): one answer more of each kind than observed. Otherwise a few held-out rows that are all right would ask for an infinite scale.
pub(crate) fn fit(scored: &Scored<'_>) -> Option<Temperature> {
    let weights = scored.weights_of_answers();
    let (count, total) = (weights.len(), weights.iter().sum::<f64>());
    if count == 0 {
        return None;
    }
    let observed = if scored.targets.labels.is_multi() { count / scored.targets.classes() } else { count };
    let smoothing = SMOOTHING / (observed as f64 + 2.0 * SMOOTHING);
    let [mut low, mut high] = RANGE;
    let mut scale = 1.0f64;
    let mut sums = scored.sums(scale, smoothing);
    for _ in 0..STEPS {
        if sums.slope > 0.0 {
            high = scale;
        } else {
            low = scale;
        }
        let newton = scale - sums.slope / sums.curvature;
        let next = if newton > low && newton < high { newton } else { (low * high).sqrt() };
        // Logits without differences have a curvature of 0: any scale is as good.
        if sums.curvature == 0.0 || (next - scale).abs() <= PRECISION * scale {
            break;
        }
        scale = next;
        sums = scored.sums(scale, smoothing);
    }
    Some(Temperature { scale, log_loss: sums.loss / total })
}

/// Answers of each kind that are added to the observed ones.
const SMOOTHING: f64 = 1.0;

/// Weighted log loss and its derivatives with respect to the scale.
#[derive(Clone, Copy, Default)]
struct Sums {
    loss: f64,
    slope: f64,
    curvature: f64,
}

impl Sums {
    fn add(self, other: Self) -> Self {
        Self {
            loss: self.loss + other.loss,
            slope: self.slope + other.slope,
            curvature: self.curvature + other.curvature,
        }
    }
}

impl Scored<'_> {
    /// The weights of the answers that count: one for each row, or one for each label.
    fn weights_of_answers(&self) -> Vec<f64> {
        let of_row = |(row, weights): (usize, &'_ [f64])| match self.targets.labels.class_of(row) {
            Some(class) => vec![weights[class]],
            None => weights.to_vec(),
        };
        let rows = self.weights.chunks_exact(self.targets.classes()).enumerate();
        rows.flat_map(of_row).filter(|&weight| weight > 0.0).collect()
    }

    fn sums(&self, scale: f64, smoothing: f64) -> Sums {
        let classes = self.targets.classes();
        let chunk = ROWS * classes;
        let of_chunk = |(chunk, (logits, weights)): (usize, (&[f64], &[f64]))| {
            let rows = logits.chunks_exact(classes).zip(weights.chunks_exact(classes)).enumerate();
            rows.fold(Sums::default(), |sums, (at, (logits, weights))| {
                sums.add(self.row(chunk * ROWS + at, logits, weights, scale, smoothing))
            })
        };
        let partial: Vec<Sums> =
            self.logits.par_chunks(chunk).zip(self.weights.par_chunks(chunk)).enumerate().map(of_chunk).collect();
        partial.into_iter().fold(Sums::default(), Sums::add)
    }

    fn row(&self, row: usize, logits: &[f64], weights: &[f64], scale: f64, smoothing: f64) -> Sums {
        match self.targets.labels.class_of(row) {
            Some(class) if weights[class] > 0.0 => softmax(logits, class, weights[class], scale, smoothing),
            Some(_) => Sums::default(),
            None => {
                let of_label = |(label, (&logit, &weight)): (usize, (&f64, &f64))| {
                    sigmoid(logit, self.targets.labels.has(row, label), weight, scale, smoothing)
                };
                logits.iter().zip(weights).enumerate().map(of_label).fold(Sums::default(), Sums::add)
            }
        }
    }
}

/// The target of `class` is `1 - smoothing`; the other classes share the rest.
fn softmax(logits: &[f64], class: usize, weight: f64, scale: f64, smoothing: f64) -> Sums {
    let largest = logits.iter().fold(f64::NEG_INFINITY, |largest, &logit| largest.max(logit));
    let (mut total, mut first, mut second) = (0.0, 0.0, 0.0);
    for logit in logits.iter().map(|logit| logit - largest) {
        let power = (scale * logit).exp();
        total += power;
        first += power * logit;
        second += power * logit * logit;
    }
    let (mean, square) = (first / total, second / total);
    let right = logits[class] - largest;
    let others = logits.iter().map(|logit| logit - largest).sum::<f64>() - right;
    let target = (1.0 - smoothing) * right + smoothing * others / (logits.len() - 1).max(1) as f64;
    Sums {
        loss: weight * (total.ln() - scale * target),
        slope: weight * (mean - target),
        curvature: weight * (square - mean * mean),
    }
}

fn sigmoid(logit: f64, has: bool, weight: f64, scale: f64, smoothing: f64) -> Sums {
    if weight == 0.0 {
        return Sums::default();
    }
    let target = if has { 1.0 - smoothing } else { smoothing };
    let probability = 1.0 / (1.0 + (-scale * logit).exp());
    Sums {
        loss: weight * (softplus(scale * logit) - target * scale * logit),
        slope: weight * (probability - target) * logit,
        curvature: weight * probability * (1.0 - probability) * logit * logit,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::labels::Labels;
    use crate::options::ClassWeights;
    use crate::testing::{normals, same};

    fn cases() -> Vec<(Labels, Vec<f64>)> {
        let classes: Vec<usize> = (0..300).map(|row| row % 3).collect();
        let noise = normals(9, 900);
        let logit = |at: usize, has: bool| if has { noise[at] + 1.0 } else { noise[at] - 0.5 };
        let single = Labels::single(&classes, 3).unwrap();
        let bits: Vec<bool> = normals(10, 900).iter().map(|&x| x > 0.4).collect();
        let multi = Labels::multi(&bits, 3).unwrap();
        let logits = |labels: &Labels| (0..900).map(|at| logit(at, labels.has(at / 3, at % 3))).collect();
        [single, multi].into_iter().map(|labels| (labels.clone(), logits(&labels))).collect()
    }

    fn targets(labels: &Labels) -> Targets {
        Targets::of(labels, &(0..labels.samples()).collect::<Vec<_>>(), ClassWeights::None)
    }

    #[test]
    fn no_scale_of_a_fine_grid_is_better() {
        for (labels, logits) in cases() {
            let (targets, weights) = (targets(&labels), normals(11, 900).iter().map(|x| x.abs()).collect::<Vec<_>>());
            for factor in [0.05, 1.0, 20.0] {
                let logits: Vec<f64> = logits.iter().map(|logit| logit * factor).collect();
                let scored = Scored { logits: &logits, weights: &weights, targets: &targets };
                let found = fit(&scored).unwrap();
                let total: f64 = scored.weights_of_answers().iter().sum();
                let smoothing = SMOOTHING / (300.0 + 2.0 * SMOOTHING);
                for step in -200..=200 {
                    let scale = found.scale * 1.002f64.powi(step);
                    assert!(scored.sums(scale, smoothing).loss / total >= found.log_loss - 1e-12);
                }
            }
        }
    }

    #[test]
    fn derivatives_are_finite_differences() {
        for (labels, logits) in cases() {
            let targets = targets(&labels);
            let scored = Scored { logits: &logits, weights: &[0.7; 900], targets: &targets };
            let at = |scale: f64| scored.sums(scale, 0.1);
            same(&[at(0.8).slope], &[(at(0.8 + 1e-5).loss - at(0.8 - 1e-5).loss) / 2e-5], 1e-6);
            same(&[at(0.8).curvature], &[(at(0.8 + 1e-5).slope - at(0.8 - 1e-5).slope) / 2e-5], 1e-6);
        }
    }

    #[test]
    fn right_answers_alone_give_a_finite_scale() {
        let labels = Labels::single(&[0, 1, 0, 1], 2).unwrap();
        let targets = targets(&labels);
        let logits = [1.0, -1.0, -1.0, 1.0, 1.0, -1.0, -1.0, 1.0];
        let found = fit(&Scored { logits: &logits, weights: &[1.0; 8], targets: &targets }).unwrap();
        let probability = 1.0 / (1.0 + (-2.0 * found.scale).exp());
        assert!(probability > 0.8 && probability < 0.9, "{probability}");
        assert_eq!(fit(&Scored { logits: &logits, weights: &[0.0; 8], targets: &targets }), None);
        let nothing = fit(&Scored { logits: &[0.0; 8], weights: &[1.0; 8], targets: &targets }).unwrap();
        same(&[nothing.log_loss], &[2.0f64.ln()], 1e-12);
    }
}
