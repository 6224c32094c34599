//! [`Standardization`]: mean and scale of each feature.

use rayon::prelude::*;

use crate::features::Features;

/// Maps each feature to mean 0 and standard deviation 1 over the weighted training samples. A constant feature keeps its scale.
#[derive(Clone, Debug)]
pub(crate) struct Standardization {
    pub(crate) mean: Vec<f64>,
    pub(crate) scale: Vec<f64>,
    /// 1 / scale: rows are standardized often, and divisions are slow.
    inverse: Vec<f64>,
}

/// Columns whose moments one task computes: a cache line and more of each row.
const COLUMNS: usize = 64;

/// A deviation below this part of the mean is no more than the rounding errors of the network that computed the features. Divided by
/// it, they would decide the class, in each program others.
const ROUNDING: f64 = 1e-5;

/// Standard deviations below this are 0 for f32: dividing by them would overflow weights.
const SMALLEST_SCALE: f64 = 1e-30;

impl Standardization {
    /// The moments of the samples `rows`, weighted.
    pub(crate) fn of(features: &Features<'_>, rows: &[usize], weights: &[f64]) -> Self {
        let firsts: Vec<usize> = (0..features.dim()).step_by(COLUMNS).collect();
        let of_columns = |&first: &usize| moments(features, rows, weights, first, COLUMNS.min(features.dim() - first));
        let (mean, scale) = firsts.par_iter().flat_map_iter(of_columns).unzip();
        Self::new(mean, scale)
    }

    fn new(mean: Vec<f64>, scale: Vec<f64>) -> Self {
        let inverse = scale.iter().map(|scale| scale.recip()).collect();
        Self { mean, scale, inverse }
    }

    /// The moments of `count` columns from `first` on.
    pub(crate) fn columns(&self, first: usize, count: usize) -> Self {
        Self::new(self.mean[first..][..count].to_vec(), self.scale[first..][..count].to_vec())
    }

    /// Writes a standardized row.
    pub(crate) fn write<T>(&self, row: &[f32], out: &mut [T], rounded: impl Fn(f64) -> T) {
        let moments = self.mean.iter().zip(&self.inverse);
        for ((out, &value), (mean, inverse)) in out.iter_mut().zip(row).zip(moments) {
            *out = rounded((f64::from(value) - mean) * inverse);
        }
    }
}

/// Mean and scale of `count` columns from `first` on.
fn moments(features: &Features<'_>, rows: &[usize], weights: &[f64], first: usize, count: usize) -> Vec<(f64, f64)> {
    let total: f64 = weights.iter().sum();
    let average = |term: &dyn Fn(usize, f64) -> f64| {
        let mut sums = vec![0.0; count];
        for (&row, weight) in rows.iter().zip(weights) {
            let values = &features.row(row)[first..][..count];
            sums.iter_mut().zip(values).enumerate().for_each(|(at, (sum, &x))| *sum += weight * term(at, f64::from(x)));
        }
        sums.into_iter().map(|sum| sum / total).collect::<Vec<_>>()
    };
    let mean = average(&|_, x| x);
    let variance = average(&|at, x| (x - mean[at]).powi(2));
    let scale = |mean: f64, variance: f64| {
        let deviation = variance.sqrt();
        let constant = deviation <= ROUNDING * mean.abs() || deviation < SMALLEST_SCALE;
        if constant { 1.0 } else { deviation }
    };
    mean.iter().zip(&variance).map(|(&mean, &variance)| (mean, scale(mean, variance))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::same;

    #[test]
    fn moments_are_those_of_the_chosen_rows() {
        let values = [1.0, 5.0, 900.0, 900.0, 3.0, 5.0, 8.0, 5.0];
        let features = Features::new(&values, 4, 2).unwrap();
        let plain = Standardization::of(&features, &[0, 2], &[1.0, 1.0]);
        assert_eq!((plain.mean, plain.scale), (vec![2.0, 5.0], vec![1.0, 1.0]));
        // A weight of 2 is a sample that is there twice.
        let weighted = Standardization::of(&features, &[0, 2, 3], &[1.5, 0.75, 0.75]);
        let twice = Standardization::of(&features, &[0, 0, 2, 3], &[1.0; 4]);
        same(&weighted.mean, &twice.mean, 1e-15);
        same(&weighted.scale, &twice.scale, 1e-15);
    }

    #[test]
    fn wide_features_have_the_moments_of_each_column() {
        let dim = 2 * COLUMNS + 1;
        let values: Vec<f32> = (0..3 * dim).map(|at| (at % dim) as f32 * [1.0, 2.0, 3.0][at / dim]).collect();
        let moments = Standardization::of(&Features::new(&values, 3, dim).unwrap(), &[0, 1, 2], &[1.0; 3]);
        let columns = || (0..dim).map(|column| column as f64);
        same(&moments.mean, &columns().map(|c| 2.0 * c).collect::<Vec<_>>(), 1e-15);
        let deviation = |c: f64| if c == 0.0 { 1.0 } else { c * (2.0f64 / 3.0).sqrt() };
        same(&moments.scale, &columns().map(deviation).collect::<Vec<_>>(), 1e-15);
    }

    #[test]
    fn constant_and_vanishing_features_keep_their_scale() {
        let of_sample = |sample: f32| [0.1, sample * 1e-38, 0.0, 0.1 + sample * 1e-8, 0.1 + sample * 1e-6];
        let values: Vec<f32> = (0..30).flat_map(|sample| of_sample(sample as f32)).collect();
        let rows: Vec<usize> = (0..30).collect();
        let moments = Standardization::of(&Features::new(&values, 30, 5).unwrap(), &rows, &[1.0; 30]);
        assert_eq!(moments.scale[..4], [1.0; 4], "constant, or with the differences of rounding errors");
        assert!(moments.scale[4] < 1e-5, "small differences are real");
    }
}
