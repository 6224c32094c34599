//! The penalty of an orthogonal regularizer, and its gradient.

use rayon::prelude::*;

/// The norm below which a vector is divided by this norm instead of its own, as in Keras.
const EPSILON: f64 = 1e-7;

/// A matrix as unit vectors: its rows or its columns, each divided by its norm.
struct UnitVectors {
    dim: usize,
    units: Vec<f64>,
    norms: Vec<f64>,
}

impl UnitVectors {
    fn new(matrix: &[f32], [rows, columns]: [usize; 2], by_columns: bool) -> Self {
        assert_eq!(matrix.len(), rows * columns, "`matrix` must have a value for each row and column");
        let (count, dim) = if by_columns { (columns, rows) } else { (rows, columns) };
        let mut units: Vec<f64> =
            (0..count * dim).map(|i| matrix[position(i / dim, i % dim, columns, by_columns)].into()).collect();
        let norms = units.chunks_exact_mut(dim.max(1)).map(|vector| {
            let norm = vector.iter().map(|x| x * x).sum::<f64>().sqrt().max(EPSILON);
            vector.iter_mut().for_each(|x| *x /= norm);
            norm
        });
        let norms = norms.collect();
        Self { dim, units, norms }
    }

    fn vector(&self, index: usize) -> &[f64] {
        &self.units[index * self.dim..][..self.dim]
    }

    fn cosine(&self, a: usize, b: usize) -> f64 {
        self.vector(a).iter().zip(self.vector(b)).map(|(a, b)| a * b).sum()
    }

    /// The number of pairs, at least 1.
    fn pairs(&self) -> f64 {
        let count = self.norms.len() as f64;
        (count * (count - 1.0) / 2.0).max(1.0)
    }
}

/// The position in the matrix of value `at` of vector `index`.
fn position(index: usize, at: usize, columns: usize, by_columns: bool) -> usize {
    if by_columns { at * columns + index } else { index * columns + at }
}

/// The mean of `|cos|` of the angles between all pairs of rows, or columns, of a matrix (Keras' `OrthogonalRegularizer`).
///
/// ```
/// use engraft_kernels::orthogonal_penalty;
/// // The rows are orthogonal, the columns are parallel.
/// assert_eq!(orthogonal_penalty(&[1.0, 0.0, 0.0, 2.0], [2, 2], false), 0.0);
/// assert_eq!(orthogonal_penalty(&[1.0, 2.0], [1, 2], true), 1.0);
/// ```
///
/// # Panics
/// The number of values is not that of the shape.
pub fn orthogonal_penalty(matrix: &[f32], shape: [usize; 2], by_columns: bool) -> f64 {
    let vectors = UnitVectors::new(matrix, shape, by_columns);
    let count = vectors.norms.len();
    let sums: Vec<f64> =
        (0..count).into_par_iter().map(|a| (a + 1..count).map(|b| vectors.cosine(a, b).abs()).sum()).collect();
    // The sums are added in one order, whatever the number of threads.
    sums.iter().sum::<f64>() / vectors.pairs()
}

/// Adds the gradient of [`orthogonal_penalty`], times `factor`, to `gradient`.
///
/// ```
/// use engraft_kernels::orthogonal_gradient;
/// let mut gradient = [0.0; 4];
/// orthogonal_gradient(&[1.0, 0.0, 3.0, 4.0], [2, 2], false, 1.0, &mut gradient);
/// // Turning the first row away from the second lowers the cosine of 0.6.
/// assert_eq!(gradient[..2], [0.0, 0.8]);
/// ```
///
/// # Panics
/// The number of values is not that of the shape.
pub fn orthogonal_gradient(matrix: &[f32], shape: [usize; 2], by_columns: bool, factor: f32, gradient: &mut [f32]) {
    let vectors = UnitVectors::new(matrix, shape, by_columns);
    assert_eq!(gradient.len(), matrix.len(), "`gradient` must be as long as `matrix`");
    let count = vectors.norms.len();
    let scale = f64::from(factor) / vectors.pairs();
    let slopes: Vec<Vec<f64>> = (0..count)
        .into_par_iter()
        .map(|a| {
            let mut slope = vec![0.0; vectors.dim];
            for b in (0..count).filter(|&b| b != a) {
                let cosine = vectors.cosine(a, b);
                let sign = if cosine == 0.0 { 0.0 } else { cosine.signum() };
                let pair = vectors.vector(b).iter().zip(vectors.vector(a));
                slope.iter_mut().zip(pair).for_each(|(slope, (b, a))| *slope += sign * (b - cosine * a));
            }
            slope.iter_mut().for_each(|slope| *slope *= scale / vectors.norms[a]);
            slope
        })
        .collect();
    for (index, slope) in slopes.iter().enumerate() {
        for (at, slope) in slope.iter().enumerate() {
            gradient[position(index, at, shape[1], by_columns)] += *slope as f32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, uniform};

    #[test]
    fn gradients_are_those_of_differences() {
        for (shape, by_columns) in [([3, 4], false), ([3, 4], true), ([5, 2], false)] {
            // Long vectors turn little with a step, so that the curvature hardly shows.
            let matrix: Vec<f32> = uniform(shape[0] * shape[1], 3).iter().map(|x| 8.0 * x).collect();
            let mut gradient = vec![0.0; matrix.len()];
            orthogonal_gradient(&matrix, shape, by_columns, 2.0, &mut gradient);
            let difference = |i: usize| {
                let moved = |step: f32| {
                    let mut matrix = matrix.clone();
                    matrix[i] += step;
                    orthogonal_penalty(&matrix, shape, by_columns)
                };
                // Differences are accurate to about 3e-5 here: the curvature, and f32 rounding of the moved value.
                const STEP: f32 = 1.0 / 512.0;
                ((moved(STEP) - moved(-STEP)) / f64::from(STEP)) as f32
            };
            let expected: Vec<f32> = (0..matrix.len()).map(difference).collect();
            assert_close(&gradient, &expected, 1e-4);
        }
    }

    #[test]
    fn one_vector_has_no_pair() {
        let mut gradient = [0.0; 2];
        orthogonal_gradient(&[1.0, 2.0], [1, 2], false, 1.0, &mut gradient);
        assert_eq!((orthogonal_penalty(&[1.0, 2.0], [1, 2], false), gradient), (0.0, [0.0; 2]));
    }
}
