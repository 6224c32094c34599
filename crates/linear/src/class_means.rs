//! [`ClassMeans`]: how similar the features of a sample are to those of the nearest class.

use crate::error::{LinearError, Result};
use crate::features::Features;
use crate::labels::Labels;
use crate::standardize::Standardization;

/// The mean of each class in standardized features, as a direction: samples of no class point elsewhere.
///
/// A softmax is often sure of samples that have nothing to do with its classes. The angle between their features and the nearest
/// class mean tells them apart better, as other distances in feature space do (Lee et al. 2018, arXiv 1807.03888).
///
/// ```
/// use engraft_linear::{ClassMeans, Features, Labels};
/// let values = [3.0, 0.1, 4.0, -0.1, -0.1, 5.0, 0.1, 6.0];
/// let labels = Labels::single(&[0, 0, 1, 1], 2)?;
/// let means = ClassMeans::of(Features::new(&values, 4, 2)?, &[0, 1, 2, 3], &labels)?;
/// // Along the first class, between the classes, and away from both.
/// let cosine = |row: &[f32]| means.cosine(row);
/// assert!(cosine(&[8.0, -1.0]) > 0.9 && cosine(&[8.0, 8.0]).abs() < 0.5 && cosine(&[-5.0, -5.0]).abs() < 0.5);
/// # Ok::<(), engraft_linear::LinearError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct ClassMeans {
    /// The mean of each feature.
    mean: Vec<f32>,
    /// The standard deviation of each feature; 1 for a constant one.
    scale: Vec<f32>,
    /// `[classes, dim]`: each row has length 1, or is 0 for a class without samples.
    directions: Vec<f32>,
}

impl ClassMeans {
    /// The class means of the samples `rows`.
    ///
    /// # Errors
    /// Samples have several labels, or are fewer in `labels` than in `features`.
    ///
    /// # Panics
    /// A row isn't below the number of samples.
    pub fn of(features: Features<'_>, rows: &[usize], labels: &Labels) -> Result<Self> {
        labels.check_samples(features.samples())?;
        let (dim, classes) = (features.dim(), labels.classes());
        let standardization = Standardization::of(&features, rows, &vec![1.0; rows.len()]);
        let (mut sums, mut standardized) = (vec![0.0; classes * dim], vec![0.0f64; dim]);
        for &row in rows {
            let Some(class) = labels.class_of(row) else {
                return Err(LinearError::Kind { place: "class means", expected: "labels with one class a sample" });
            };
            standardization.write(features.row(row), &mut standardized, |value| value);
            let sum = &mut sums[class * dim..][..dim];
            sum.iter_mut().zip(&standardized).for_each(|(sum, value)| *sum += value);
        }
        sums.chunks_exact_mut(dim).for_each(normalize);
        let rounded = |values: &[f64]| values.iter().map(|&value| value as f32).collect();
        Self::new(rounded(&standardization.mean), rounded(&standardization.scale), rounded(&sums))
    }

    /// Class means that were stored: mean and standard deviation of each feature, and the direction of each class, `[classes, dim]`.
    ///
    /// ```
    /// use engraft_linear::ClassMeans;
    /// let means = ClassMeans::new(vec![1.0, 1.0], vec![1.0, 2.0], vec![1.0, 0.0])?;
    /// assert_eq!(means.cosine(&[4.0, 1.0]), 1.0);
    /// assert_eq!((means.mean(), means.scale(), means.directions()), (&[1.0, 1.0][..], &[1.0, 2.0][..], &[1.0, 0.0][..]));
    /// # Ok::<(), engraft_linear::LinearError>(())
    /// ```
    ///
    /// # Errors
    /// The sizes contradict each other, or a number is not finite or a standard deviation not positive.
    pub fn new(mean: Vec<f32>, scale: Vec<f32>, directions: Vec<f32>) -> Result<Self> {
        let size = |place, expected, received| LinearError::Size { place, expected, received };
        if mean.is_empty() || scale.len() != mean.len() {
            return Err(size("class means, standard deviations", mean.len().max(1), scale.len()));
        }
        if directions.is_empty() || !directions.len().is_multiple_of(mean.len()) {
            return Err(size("class means, numbers of a multiple of the features", mean.len(), directions.len()));
        }
        let bad = |value: &&f32| !value.is_finite();
        if let Some(&value) = mean.iter().chain(&scale).chain(&directions).find(bad) {
            let received = f64::from(value);
            return Err(LinearError::Range { place: "class means", expected: "finite numbers", received });
        }
        if let Some(&value) = scale.iter().find(|&&value| value <= 0.0) {
            let received = f64::from(value);
            return Err(LinearError::Range { place: "class means, deviation", expected: "more than 0", received });
        }
        Ok(Self { mean, scale, directions })
    }

    /// The mean of each feature.
    pub fn mean(&self) -> &[f32] {
        &self.mean
    }

    /// The standard deviation of each feature.
    pub fn scale(&self) -> &[f32] {
        &self.scale
    }

    /// The direction of each class, `[classes, dim]`, row-major.
    pub fn directions(&self) -> &[f32] {
        &self.directions
    }

    /// The number of features.
    pub fn dim(&self) -> usize {
        self.mean.len()
    }

    /// The largest cosine between the standardized features of a sample and a class mean, from -1 to 1.
    ///
    /// # Panics
    /// `row` hasn't [`dim`](Self::dim) features.
    pub fn cosine(&self, row: &[f32]) -> f32 {
        assert_eq!(row.len(), self.dim(), "features of a sample");
        let moments = self.mean.iter().zip(&self.scale);
        let standardized = row.iter().zip(moments).map(|(&x, (&mean, &scale))| f64::from(x - mean) / f64::from(scale));
        let mut standardized: Vec<f64> = standardized.collect();
        normalize(&mut standardized);
        let cosine = |direction: &[f32]| -> f64 {
            direction.iter().zip(&standardized).map(|(&direction, value)| f64::from(direction) * value).sum()
        };
        self.directions.chunks_exact(self.dim()).map(cosine).fold(-1.0, f64::max) as f32
    }
}

/// Scales a vector to length 1; zeros stay.
fn normalize(vector: &mut [f64]) {
    let length = vector.iter().map(|value| value * value).sum::<f64>().sqrt();
    if length > 0.0 {
        vector.iter_mut().for_each(|value| *value /= length);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::normals;

    #[test]
    fn the_cosine_is_that_of_the_definition() {
        let values: Vec<f32> = normals(1, 60).into_iter().map(|x| x as f32).collect();
        let features = Features::new(&values, 12, 5).unwrap();
        let classes: Vec<usize> = (0..12).map(|sample| sample % 3).collect();
        let rows: Vec<usize> = (0..9).collect();
        let means = ClassMeans::of(features, &rows, &Labels::single(&classes, 3).unwrap()).unwrap();
        let at = |row: usize, column: usize| f64::from(values[row * 5 + column]);
        let average = |of: &dyn Fn(usize) -> f64, rows: &[usize]| {
            rows.iter().map(|&row| of(row)).sum::<f64>() / rows.len() as f64
        };
        let mean: Vec<f64> = (0..5).map(|column| average(&|row| at(row, column), &rows)).collect();
        let z = |row: usize, column: usize| {
            let variance = average(&|row| (at(row, column) - mean[column]).powi(2), &rows);
            (at(row, column) - mean[column]) / variance.sqrt()
        };
        for row in 0..12 {
            let cosine = |class: usize| {
                let of_class: Vec<usize> = rows.iter().copied().filter(|row| row % 3 == class).collect();
                let center: Vec<f64> = (0..5).map(|column| average(&|row| z(row, column), &of_class)).collect();
                let dot: f64 = (0..5).map(|column| center[column] * z(row, column)).sum();
                let length = |values: &[f64]| values.iter().map(|value| value * value).sum::<f64>().sqrt();
                dot / length(&center) / length(&(0..5).map(|column| z(row, column)).collect::<Vec<_>>())
            };
            let expected = (0..3).map(cosine).fold(f64::NEG_INFINITY, f64::max);
            // Means and directions are rounded to f32.
            let found = f64::from(means.cosine(features.row(row)));
            assert!((found - expected).abs() < 1e-5, "{row}: {found} {expected}");
        }
    }

    #[test]
    fn a_class_without_samples_is_never_the_nearest_but_by_zero() {
        let features = Features::new(&[1.0, -1.0], 2, 1).unwrap();
        let labels = Labels::single(&[0, 1], 2).unwrap();
        let means = ClassMeans::of(features, &[0], &labels).unwrap();
        assert_eq!((means.directions(), means.cosine(&[5.0])), (&[0.0, 0.0][..], 0.0));
        assert!(ClassMeans::of(features, &[0], &Labels::multi(&[true, false], 1).unwrap()).is_err());
    }

    #[test]
    fn stored_numbers_are_checked() {
        let error = |mean: &[f32], scale: &[f32], directions: &[f32]| {
            ClassMeans::new(mean.to_vec(), scale.to_vec(), directions.to_vec()).unwrap_err().to_string()
        };
        assert!(error(&[], &[], &[1.0]).contains("expected 1, received 0"));
        assert!(error(&[0.0, 0.0], &[1.0], &[1.0, 1.0]).contains("expected 2, received 1"));
        assert!(error(&[0.0, 0.0], &[1.0, 1.0], &[1.0; 3]).contains("expected 2, received 3"));
        assert!(error(&[f32::NAN], &[1.0], &[1.0]).contains("expected finite numbers"));
        assert!(error(&[0.0], &[0.0], &[1.0]).contains("expected more than 0"));
    }
}
