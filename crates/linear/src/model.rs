//! [`LinearModel`]: kernel and bias of a trained classifier.

use rayon::prelude::*;

use crate::error::{LinearError, Result};
use crate::features::Features;
use crate::linalg::{Matrix, add_product};

/// A linear classifier on raw features: the weights of Keras' `Dense(classes, activation="softmax")`, or `"sigmoid"` for several
/// labels a sample.
///
/// Standardization and temperature are folded into the weights.
///
/// ```
/// use engraft_linear::{Features, Labels, Monitor, Options, fit};
/// let features = Features::new(&[-1.0, -2.0, 1.0, 2.0], 4, 1)?;
/// let labels = Labels::single(&[0, 0, 1, 1], 2)?;
/// let model = fit(features, &labels, &Options::default(), &Monitor::new())?.model;
/// assert_eq!((model.dim(), model.classes(), model.is_multi()), (1, 2, false));
/// let logits = model.logits(Features::new(&[3.0], 1, 1)?)?;
/// assert_eq!(logits[0], 3.0 * model.kernel()[0] + model.bias()[0]);
/// # Ok::<(), engraft_linear::LinearError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct LinearModel {
    kernel: Vec<f32>,
    bias: Vec<f32>,
    is_multi: bool,
}

/// Rows that one task multiplies.
const BLOCK: usize = 256;

impl LinearModel {
    /// Rounds a kernel `[dim, classes]` and a bias to f32.
    pub(crate) fn new(kernel: &[f64], bias: &[f64], is_multi: bool) -> Self {
        let rounded = |values: &[f64]| values.iter().map(|&value| value as f32).collect();
        Self { kernel: rounded(kernel), bias: rounded(bias), is_multi }
    }

    /// The kernel `[dim, classes]`, row-major.
    pub fn kernel(&self) -> &[f32] {
        &self.kernel
    }

    /// The bias of each class.
    pub fn bias(&self) -> &[f32] {
        &self.bias
    }

    /// The number of features.
    pub fn dim(&self) -> usize {
        self.kernel.len() / self.bias.len()
    }

    /// The number of classes or labels.
    pub fn classes(&self) -> usize {
        self.bias.len()
    }

    /// Whether its activation is a sigmoid for each label; otherwise it is a softmax.
    pub fn is_multi(&self) -> bool {
        self.is_multi
    }

    /// The logits `[samples, classes]`, row-major. Products are summed in f64.
    ///
    /// # Errors
    /// The number of features isn't [`dim`](Self::dim).
    pub fn logits(&self, features: Features<'_>) -> Result<Vec<f32>> {
        let samples: Vec<usize> = (0..features.samples()).collect();
        Ok(self.logits_of(features, &samples)?.into_iter().map(|logit| logit as f32).collect())
    }

    /// The probabilities `[samples, classes]`, row-major: of a softmax, or of a sigmoid for each label.
    ///
    /// # Errors
    /// The number of features isn't [`dim`](Self::dim).
    pub fn probabilities(&self, features: Features<'_>) -> Result<Vec<f32>> {
        self.probabilities_of(features, &(0..features.samples()).collect::<Vec<_>>())
    }

    /// The probabilities of the samples `rows`, in this order.
    pub(crate) fn probabilities_of(&self, features: Features<'_>, rows: &[usize]) -> Result<Vec<f32>> {
        let mut logits = self.logits_of(features, rows)?;
        for row in logits.chunks_exact_mut(self.classes()) {
            match self.is_multi {
                true => row.iter_mut().for_each(|logit| *logit = 1.0 / (1.0 + (-*logit).exp())),
                false => softmax(row),
            }
        }
        Ok(logits.into_iter().map(|probability| probability as f32).collect())
    }

    fn logits_of(&self, features: Features<'_>, rows: &[usize]) -> Result<Vec<f64>> {
        let (dim, classes) = (self.dim(), self.classes());
        if features.dim() != dim {
            return Err(LinearError::Size { place: "features, columns", expected: dim, received: features.dim() });
        }
        let widened = |values: &[f32]| values.iter().map(|&value| f64::from(value)).collect::<Vec<_>>();
        let (kernel, bias) = (widened(&self.kernel), widened(&self.bias));
        let of_block = |rows: &[usize]| {
            let inputs: Vec<f64> =
                rows.iter().flat_map(|&row| features.row(row)).map(|&value| f64::from(value)).collect();
            let mut logits = bias.repeat(rows.len());
            add_product(&mut logits, Matrix::new(&inputs, rows.len(), dim), Matrix::new(&kernel, dim, classes));
            logits
        };
        Ok(rows.par_chunks(BLOCK).flat_map_iter(of_block).collect())
    }
}

fn softmax(row: &mut [f64]) {
    let largest = row.iter().fold(f64::NEG_INFINITY, |largest, &logit| largest.max(logit));
    row.iter_mut().for_each(|logit| *logit = (*logit - largest).exp());
    let total: f64 = row.iter().sum();
    row.iter_mut().for_each(|power| *power /= total);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_are_those_of_the_activation() {
        let values = [1.0, 2.0, -1.0, 0.5];
        let features = Features::new(&values, 2, 2).unwrap();
        let (kernel, bias) = ([1.0, 0.0, 0.0, 1.0], [0.5, -0.5]);
        let single = LinearModel::new(&kernel, &bias, false);
        assert_eq!(single.logits(features), Ok(vec![1.5, 1.5, -0.5, 0.0]));
        let second = 1.0 / (1.0 + 0.5f32.exp());
        let close = |found: Vec<f32>, expected: [f32; 4]| {
            assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{found:?}")
        };
        close(single.probabilities(features).unwrap(), [0.5, 0.5, second, 1.0 - second]);
        let sigmoid = |logit: f32| 1.0 / (1.0 + (-logit).exp());
        let multi = LinearModel::new(&kernel, &bias, true);
        close(multi.probabilities(features).unwrap(), [1.5, 1.5, -0.5, 0.0].map(sigmoid));
    }

    #[test]
    fn another_number_of_features_is_refused() {
        let model = LinearModel::new(&[1.0, 2.0], &[0.0, 0.0], false);
        let error = model.logits(Features::new(&[1.0, 2.0], 1, 2).unwrap()).unwrap_err();
        assert_eq!(error.to_string(), "features, columns: expected 1, received 2");
    }
}
