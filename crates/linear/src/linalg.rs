//! Dense linear algebra on row-major slices: matrix products and the symmetric eigendecomposition. The only user of `faer`.
//!
//! Each call runs on one thread. Callers divide their work by its shape, so that results don't depend on the number of threads.

use faer::diag::DiagMut;
use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::evd::{ComputeEigenvectors, self_adjoint_evd, self_adjoint_evd_scratch};
use faer::linalg::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use rayon::prelude::*;

use crate::error::{LinearError, Result};

/// The number formats of matrices: f32 and f64.
pub(crate) trait Real: faer::traits::ComplexField + Copy + Default + PartialOrd + Send + Sync {
    /// Rounds to this format.
    fn rounded(value: f64) -> Self;
    /// The same value as f64.
    fn widened(self) -> f64;
    /// The exponential function in this format.
    fn exponential(self) -> Self;
}

impl Real for f32 {
    fn rounded(value: f64) -> Self {
        value as f32
    }
    fn widened(self) -> f64 {
        f64::from(self)
    }
    fn exponential(self) -> Self {
        self.exp()
    }
}

impl Real for f64 {
    fn rounded(value: f64) -> Self {
        value
    }
    fn widened(self) -> f64 {
        self
    }
    fn exponential(self) -> Self {
        self.exp()
    }
}

/// A matrix operand: a row-major slice, or its transpose.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a, T: Real>(MatRef<'a, T>);

impl<'a, T: Real> Matrix<'a, T> {
    /// The row-major matrix `[rows, columns]`.
    pub(crate) fn new(values: &'a [T], rows: usize, columns: usize) -> Self {
        Self(MatRef::from_row_major_slice(values, rows, columns))
    }

    /// The transposed matrix.
    pub(crate) fn transposed(self) -> Self {
        Self(self.0.transpose())
    }

    /// The first `count` columns from column `first` on.
    fn columns(self, first: usize, count: usize) -> Self {
        Self(self.0.subcols(first, count))
    }
}

/// `out = a b`, row-major.
pub(crate) fn product<T: Real>(out: &mut [T], a: Matrix<'_, T>, b: Matrix<'_, T>) {
    multiply(out, Accum::Replace, a, b);
}

/// `out += a b`, row-major.
pub(crate) fn add_product<T: Real>(out: &mut [T], a: Matrix<'_, T>, b: Matrix<'_, T>) {
    multiply(out, Accum::Add, a, b);
}

fn multiply<T: Real>(out: &mut [T], accumulate: Accum, Matrix(a): Matrix<'_, T>, Matrix(b): Matrix<'_, T>) {
    let out = MatMut::from_row_major_slice_mut(out, a.nrows(), b.ncols());
    matmul::matmul(out, accumulate, a, b, T::rounded(1.0), Par::Seq);
}

/// Rows of a large product that are computed together.
const PRODUCT_ROWS: usize = 128;

/// `out = a b` with the rows of `out` divided among threads. `a` has `columns_of_a` columns, row-major.
pub(crate) fn parallel_product<T: Real>(out: &mut [T], a: &[T], columns_of_a: usize, b: Matrix<'_, T>) {
    let columns = b.0.ncols();
    if columns == 0 || columns_of_a == 0 {
        out.fill(T::default());
        return;
    }
    out.par_chunks_mut(PRODUCT_ROWS * columns).zip(a.par_chunks(PRODUCT_ROWS * columns_of_a)).for_each(|(out, a)| {
        product(out, Matrix::new(a, a.len() / columns_of_a, columns_of_a), b);
    });
}

/// Adds `aᵀ a` to the lower triangle of the symmetric matrix `gram`. `a` is `[rows, side]`; `transposed` says that it is stored as
/// `[side, rows]`.
pub(crate) fn add_gram(gram: &mut [f64], side: usize, a: &[f64], transposed: bool) {
    let rows = a.len() / side;
    let a = match transposed {
        true => Matrix::new(a, side, rows).transposed(),
        false => Matrix::new(a, rows, side),
    };
    gram.par_chunks_mut(PRODUCT_ROWS * side).enumerate().for_each(|(chunk, out)| {
        let (first, count) = (chunk * PRODUCT_ROWS, out.len() / side);
        let right = a.columns(0, first + count);
        let left = a.columns(first, count).transposed();
        let out = MatMut::from_row_major_slice_mut(out, count, side).subcols_mut(0, first + count);
        matmul::matmul(out, Accum::Add, left.0, right.0, 1.0, Par::Seq);
    });
}

/// Eigenvalues in ascending order, and the eigenvectors as rows `[side, side]` in the same order.
pub(crate) struct Eigen {
    pub(crate) values: Vec<f64>,
    pub(crate) vectors: Vec<f64>,
}

/// The eigendecomposition of a symmetric matrix, of which the lower triangle is read.
///
/// # Errors
/// [`LinearError::NoConvergence`].
pub(crate) fn symmetric_eigen(matrix: &[f64], side: usize) -> Result<Eigen> {
    let mut eigen = Eigen { values: vec![0.0; side], vectors: vec![0.0; side * side] };
    let scratch = self_adjoint_evd_scratch::<f64>(side, ComputeEigenvectors::Yes, Par::Seq, Default::default());
    // A column-major matrix of eigenvectors has each of them as a contiguous row of its transpose.
    let vectors = MatMut::from_column_major_slice_mut(&mut eigen.vectors, side, side);
    let matrix = MatRef::from_row_major_slice(matrix, side, side);
    let values = DiagMut::from_slice_mut(&mut eigen.values);
    let mut buffer = MemBuffer::new(scratch);
    let found =
        self_adjoint_evd(matrix, values, Some(vectors), Par::Seq, MemStack::new(&mut buffer), Default::default());
    found.map_err(|_| LinearError::NoConvergence { side })?;
    Ok(eigen)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{normals, same};

    fn plain(a: &[f64], b: &[f64], [rows, inner, columns]: [usize; 3]) -> Vec<f64> {
        let sum = |i: usize, j: usize| (0..inner).map(|l| a[i * inner + l] * b[l * columns + j]).sum();
        (0..rows * columns).map(|at| sum(at / columns, at % columns)).collect()
    }

    fn transpose(a: &[f64], columns: usize) -> Vec<f64> {
        let rows = a.len() / columns;
        (0..a.len()).map(|at| a[at % rows * columns + at / rows]).collect()
    }

    #[test]
    fn products_equal_plain_loops() {
        for shape @ [rows, inner, columns] in [[1, 1, 1], [3, 5, 2], [1, 9, 7], [130, 3, 1], [257, 31, 6]] {
            let (a, b) = (normals(1, rows * inner), normals(2, inner * columns));
            let expected = plain(&a, &b, shape);
            let mut out = vec![1.0; rows * columns];
            product(&mut out, Matrix::new(&a, rows, inner), Matrix::new(&b, inner, columns));
            same(&out, &expected, 1e-13);
            let at = transpose(&a, inner);
            add_product(&mut out, Matrix::new(&at, inner, rows).transposed(), Matrix::new(&b, inner, columns));
            same(&out, &expected.iter().map(|x| 2.0 * x).collect::<Vec<_>>(), 1e-13);
            parallel_product(&mut out, &a, inner, Matrix::new(&b, inner, columns));
            same(&out, &expected, 1e-13);
        }
    }

    #[test]
    fn a_product_over_nothing_is_zero() {
        let mut out = [1.0, 2.0];
        parallel_product(&mut out, &[], 0, Matrix::new(&[], 0, 1));
        assert_eq!(out, [0.0, 0.0]);
    }

    #[test]
    fn gram_matrices_equal_plain_loops() {
        for (rows, side) in [(1, 1), (4, 3), (5, 129), (7, 300)] {
            let a = normals(3, rows * side);
            let expected = plain(&transpose(&a, side), &a, [side, rows, side]);
            for (stored, transposed) in [(a.clone(), false), (transpose(&a, side), true)] {
                let mut gram = vec![0.0; side * side];
                add_gram(&mut gram, side, &stored, transposed);
                let lower = |full: &[f64]| {
                    (0..side * side).filter(|at| at % side <= at / side).map(|at| full[at]).collect::<Vec<_>>()
                };
                same(&lower(&gram), &lower(&expected), 1e-13);
            }
        }
    }

    #[test]
    fn eigenvectors_rebuild_the_matrix() {
        for side in [1, 2, 3, 17, 64] {
            let a = normals(4, side * side);
            let matrix: Vec<f64> = plain(&transpose(&a, side), &a, [side; 3]);
            let Eigen { values, vectors } = symmetric_eigen(&matrix, side).unwrap();
            assert!(values.is_sorted());
            let scaled: Vec<f64> = vectors.iter().enumerate().map(|(at, x)| x * values[at / side]).collect();
            same(&plain(&transpose(&vectors, side), &scaled, [side; 3]), &matrix, 1e-12);
        }
    }
}
