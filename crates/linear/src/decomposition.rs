//! [`Decomposition`]: principal axes of a training part, from one eigendecomposition.

use crate::error::Result;
use crate::features::Features;
use crate::linalg::{Eigen, add_gram, symmetric_eigen};
use crate::monitor::macs;
use crate::standardize::Standardization;

/// The singular value decomposition of the weighted standardized rows `X = D^½ (x - mean) / scale`, with the row weights `D`.
///
/// It comes from the eigenvectors of `X Xᵀ` or of `Xᵀ X`, whichever is smaller. Directions that the rows don't span are left out.
pub(crate) struct Decomposition {
    /// Squared singular values.
    pub(crate) spectrum: Vec<f64>,
    /// Singular vectors as rows.
    pub(crate) vectors: Vectors,
}

/// Singular vectors `[rank, side]`, row-major.
pub(crate) enum Vectors {
    /// Left singular vectors, of length `rows`: there are no more rows than features.
    Left(Vec<f64>),
    /// Right singular vectors, of length `dim`.
    Right(Vec<f64>),
}

/// Eigenvalues below this share of the largest are rounding errors.
const RANK_TOLERANCE: f64 = 1e-10;

/// Rows or columns that are standardized at a time.
const BLOCK: usize = 512;

impl Decomposition {
    /// The decomposition of the samples `rows`.
    ///
    /// # Errors
    /// [`NoConvergence`](crate::LinearError::NoConvergence).
    pub(crate) fn of(
        features: &Features<'_>,
        rows: &[usize],
        weights: &[f64],
        moments: &Standardization,
    ) -> Result<Self> {
        let left = rows.len() <= features.dim();
        let (gram, side) = match left {
            true => (gram_of_rows(features, rows, weights, moments), rows.len()),
            false => (gram_of_columns(features, rows, weights, moments), features.dim()),
        };
        let Eigen { values, mut vectors } = symmetric_eigen(&gram, side)?;
        let largest = values.last().copied().unwrap_or_default();
        let null = values.partition_point(|&value| value <= largest * RANK_TOLERANCE || value < f64::MIN_POSITIVE);
        let spectrum = values[null..].to_vec();
        vectors.drain(..null * side);
        Ok(Self { spectrum, vectors: if left { Vectors::Left(vectors) } else { Vectors::Right(vectors) } })
    }

    /// The multiply-accumulates of [`of`](Self::of): half a Gram matrix, and about nine cubes of its side.
    pub(crate) fn macs(rows: usize, dim: usize) -> u64 {
        let side = rows.min(dim);
        macs([rows, dim, side]) / 2 + macs([9, side, side, side])
    }
}

/// `X Xᵀ`, the lower triangle.
fn gram_of_rows(features: &Features<'_>, rows: &[usize], weights: &[f64], moments: &Standardization) -> Vec<f64> {
    let side = rows.len();
    let mut gram = vec![0.0; side * side];
    for first in (0..features.dim()).step_by(BLOCK) {
        let count = BLOCK.min(features.dim() - first);
        let part = moments.columns(first, count);
        let mut block = vec![0.0; side * count];
        for ((out, &row), weight) in block.chunks_exact_mut(count).zip(rows).zip(weights) {
            let root = weight.sqrt();
            part.write(&features.row(row)[first..][..count], out, |value| value * root);
        }
        add_gram(&mut gram, side, &block, true);
    }
    gram
}

/// `Xᵀ X`, the lower triangle.
fn gram_of_columns(features: &Features<'_>, rows: &[usize], weights: &[f64], moments: &Standardization) -> Vec<f64> {
    let side = features.dim();
    let mut gram = vec![0.0; side * side];
    for (rows, weights) in rows.chunks(BLOCK).zip(weights.chunks(BLOCK)) {
        let mut block = vec![0.0; rows.len() * side];
        for ((out, &row), weight) in block.chunks_exact_mut(side).zip(rows).zip(weights) {
            let root = weight.sqrt();
            moments.write(features.row(row), out, |value| value * root);
        }
        add_gram(&mut gram, side, &block, false);
    }
    gram
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{gaussians, same};

    /// The singular values, and `X` rebuilt from a decomposition: `X = (X v) vᵀ` or `u (uᵀ X)`.
    fn rebuilt(rows: usize, dim: usize) -> (Vec<f64>, Vec<f64>, Vec<f64>) {
        let (values, _) = gaussians(1, rows, dim, 2, 1.0);
        let features = Features::new(&values, rows, dim).unwrap();
        let order: Vec<usize> = (0..rows).rev().collect();
        let weights: Vec<f64> = (0..rows).map(|row| if row % 2 == 0 { 0.5 } else { 1.5 }).collect();
        let moments = Standardization::of(&features, &order, &weights);
        let mut x = vec![0.0; rows * dim];
        for (at, out) in x.chunks_exact_mut(dim).enumerate() {
            moments.write(features.row(order[at]), out, |value| value * weights[at].sqrt());
        }
        let decomposition = Decomposition::of(&features, &order, &weights, &moments).unwrap();
        let mut y = vec![0.0; rows * dim];
        for vector in 0..decomposition.spectrum.len() {
            for (i, j) in (0..rows * dim).map(|at| (at / dim, at % dim)) {
                y[i * dim + j] += match &decomposition.vectors {
                    Vectors::Left(u) => {
                        let u = &u[vector * rows..][..rows];
                        u[i] * (0..rows).map(|l| u[l] * x[l * dim + j]).sum::<f64>()
                    }
                    Vectors::Right(v) => {
                        let v = &v[vector * dim..][..dim];
                        v[j] * (0..dim).map(|l| v[l] * x[i * dim + l]).sum::<f64>()
                    }
                };
            }
        }
        (decomposition.spectrum, x, y)
    }

    #[test]
    fn the_axes_span_the_rows() {
        for (rows, dim) in [(2, 1), (2, 5), (7, 7), (9, 4), (30, 600), (600, 30)] {
            let (spectrum, x, y) = rebuilt(rows, dim);
            same(&y, &x, 1e-9);
            // Centred rows span one dimension less than their number.
            assert_eq!(spectrum.len(), dim.min(rows - 1), "{rows} x {dim}");
            let total: f64 = x.iter().map(|x| x * x).sum();
            same(&[spectrum.iter().sum()], &[total], 1e-9);
        }
    }

    #[test]
    fn equal_rows_span_nothing() {
        let values = [3.0f32; 8];
        let features = Features::new(&values, 4, 2).unwrap();
        let moments = Standardization::of(&features, &[0, 1, 2, 3], &[1.0; 4]);
        assert!(Decomposition::of(&features, &[0, 1, 2, 3], &[1.0; 4], &moments).unwrap().spectrum.is_empty());
        assert!(Decomposition::of(&features, &[2], &[1.0], &moments).unwrap().spectrum.is_empty());
    }
}
