//! [`Design`]: the rows of a training part in the coordinates of its principal axes.

use std::ops::Range;

use rayon::prelude::*;

use crate::decomposition::{Decomposition, Vectors};
use crate::error::Result;
use crate::features::Features;
use crate::linalg::{Matrix, Real, add_product, parallel_product, product};
use crate::loss::{Sums, differentiate};
use crate::monitor::macs;
use crate::standardize::Standardization;
use crate::subset::Subset;
use crate::targets::{Activity, Targets};

/// A training part whose rows are given in the coordinates of its principal axes, `rank` numbers each.
///
/// Coefficients are `[rank + 1, classes]`, row-major; the last row is the bias. The axes are orthonormal, so that the penalty of
/// coefficients is that of the weights of standardized features. They are nearly the axes of the Hessian of a log loss as well, so
/// that a diagonal preconditions it.
///
/// Where rows are few, their coordinates are stored as f64. Where they are many, a copy would be as large as the features: blocks of
/// rows are standardized again for each evaluation, multiplied in f32, and summed in f64.
pub(crate) struct Design<'a> {
    features: Features<'a>,
    rows: Vec<usize>,
    weights: Vec<f64>,
    moments: Standardization,
    /// Squared singular values, of length `rank`.
    pub(crate) spectrum: Vec<f64>,
    storage: Storage,
}

enum Storage {
    /// Coordinates `[rows, rank]`, for fewer rows than features.
    Rows(Vec<f64>),
    /// Coordinates `[rows, rank]` and the axes `[rank, dim]`.
    RowsAndAxes(Vec<f64>, Vec<f64>),
    /// The axes `[rank, dim]`.
    Axes(Vec<f64>),
}

/// The largest number of coordinates `rows * rank` that is stored as f64 although the rows are more than the features.
pub(crate) const STORED: usize = 1 << 22;

/// Rows that are multiplied together: their coordinates and their gradients stay in the L2 cache.
const BLOCK: usize = 256;

/// The most partial sums of an evaluation.
const SEGMENTS: u64 = 16;

/// Multiply-accumulates for which a partial sum of its own pays.
const MACS_PER_SEGMENT: u64 = 1 << 21;

/// The weighted mean log loss of some rows.
pub(crate) struct Evaluation {
    pub(crate) loss: f64,
    /// With respect to the coefficients.
    pub(crate) gradient: Vec<f64>,
    /// Mean of `p (1 - p)` of each class.
    pub(crate) curvature: Vec<f64>,
}

impl<'a> Design<'a> {
    /// Decomposes the samples `rows`.
    ///
    /// # Errors
    /// [`NoConvergence`](crate::LinearError::NoConvergence).
    pub(crate) fn new(features: Features<'a>, rows: Vec<usize>, weights: &[f64]) -> Result<Self> {
        let stored = rows.len().saturating_mul(features.dim()) <= STORED;
        Self::with_storage(features, rows, weights, stored)
    }

    fn with_storage(features: Features<'a>, rows: Vec<usize>, weights: &[f64], stored: bool) -> Result<Self> {
        let moments = Standardization::of(&features, &rows, weights);
        let Decomposition { spectrum, vectors } = Decomposition::of(&features, &rows, weights, &moments)?;
        let mut design =
            Self { features, rows, weights: weights.to_vec(), moments, spectrum, storage: Storage::Axes(Vec::new()) };
        design.storage = match vectors {
            Vectors::Left(vectors) => Storage::Rows(design.coordinates_of(&vectors)),
            Vectors::Right(axes) if stored => Storage::RowsAndAxes(design.rotated(&axes), axes),
            Vectors::Right(axes) => Storage::Axes(axes),
        };
        Ok(design)
    }

    /// `D^-½ U S` for left singular vectors `Uᵀ`.
    fn coordinates_of(&self, vectors: &[f64]) -> Vec<f64> {
        let (rows, rank) = (self.rows.len(), self.rank());
        let roots: Vec<f64> = self.spectrum.iter().map(|square| square.sqrt()).collect();
        let coordinate =
            |at: usize| vectors[at % rank * rows + at / rank] * roots[at % rank] / self.weights[at / rank].sqrt();
        (0..rows * rank).map(coordinate).collect()
    }

    /// All standardized rows times the transposed axes.
    fn rotated(&self, axes: &[f64]) -> Vec<f64> {
        let rank = self.rank();
        let mut coordinates = vec![0.0; self.rows.len() * rank];
        if rank > 0 {
            coordinates.par_chunks_mut(BLOCK * rank).enumerate().for_each(|(block, out)| {
                let first = block * BLOCK;
                self.rotate(axes, first..first + out.len() / rank, out);
            });
        }
        coordinates
    }

    fn rotate(&self, axes: &[f64], range: Range<usize>, out: &mut [f64]) {
        let (rank, dim, count) = (self.rank(), self.features.dim(), range.len());
        let standardized = self.standardized::<f64>(range);
        product(out, Matrix::new(&standardized, count, dim), Matrix::new(axes, rank, dim).transposed());
    }

    fn standardized<T: Real>(&self, range: Range<usize>) -> Vec<T> {
        let dim = self.features.dim();
        let mut block = vec![T::default(); range.len() * dim];
        for (out, &row) in block.chunks_exact_mut(dim).zip(&self.rows[range]) {
            self.moments.write(self.features.row(row), out, T::rounded);
        }
        block
    }

    /// The number of rows.
    pub(crate) fn rows(&self) -> usize {
        self.rows.len()
    }

    /// The number of axes.
    pub(crate) fn rank(&self) -> usize {
        self.spectrum.len()
    }

    /// The number of coefficients of `classes` classes, with biases.
    pub(crate) fn coefficients(&self, classes: usize) -> usize {
        (self.rank() + 1) * classes
    }

    /// The multiply-accumulates of one [`evaluate`](Self::evaluate).
    pub(crate) fn evaluation_macs(&self, subset: &Subset, classes: usize) -> u64 {
        match &self.storage {
            Storage::Axes(_) => {
                let rotation = macs([2, self.rank(), self.features.dim(), classes]);
                macs([2, subset.len(), self.features.dim(), classes]).saturating_add(rotation)
            }
            _ => macs([2, subset.len(), self.rank(), classes]),
        }
    }

    /// Calls `work` with the coordinates `[range, rank]` of some rows.
    pub(crate) fn with_coordinates<R>(&self, range: Range<usize>, work: impl FnOnce(&[f64]) -> R) -> R {
        let rank = self.rank();
        match &self.storage {
            Storage::Rows(stored) | Storage::RowsAndAxes(stored, _) => {
                work(&stored[range.start * rank..range.end * rank])
            }
            Storage::Axes(axes) => {
                let mut coordinates = vec![0.0; range.len() * rank];
                self.rotate(axes, range, &mut coordinates);
                work(&coordinates)
            }
        }
    }

    /// The logits `[range, classes]` of some rows.
    pub(crate) fn logits(&self, range: Range<usize>, coefficients: &[f64], classes: usize) -> Vec<f64> {
        let kernel = self.kernel_of_blocks(coefficients, classes);
        let blocks = Subset::of(range).blocks(BLOCK);
        blocks.into_par_iter().flat_map_iter(|block| self.block_logits(block, &kernel, coefficients, classes)).collect()
    }

    fn block_logits(
        &self,
        block: Range<usize>,
        kernel: &BlockKernel,
        coefficients: &[f64],
        classes: usize,
    ) -> Vec<f64> {
        match kernel {
            BlockKernel::Rotated => {
                self.with_coordinates(block.clone(), |rows| logits(rows, block.len(), coefficients, classes))
            }
            BlockKernel::Standardized(kernel) => {
                let rows = self.standardized::<f32>(block.clone());
                logits(&rows, block.len(), kernel, classes).into_iter().map(f64::from).collect()
            }
        }
    }

    /// The kernel for the rows as they are multiplied.
    fn kernel_of_blocks(&self, coefficients: &[f64], classes: usize) -> BlockKernel {
        let Storage::Axes(axes) = &self.storage else { return BlockKernel::Rotated };
        let (rank, dim) = (self.rank(), self.features.dim());
        let mut kernel = vec![0.0; dim * classes];
        let rotated = Matrix::new(&coefficients[..rank * classes], rank, classes);
        // The transposed axes have their rows far apart, so that they aren't divided among threads.
        product(&mut kernel, Matrix::new(axes, rank, dim).transposed(), rotated);
        kernel.extend_from_slice(&coefficients[rank * classes..]);
        BlockKernel::Standardized(kernel.into_iter().map(|value| value as f32).collect())
    }

    /// The weighted mean log loss of the rows in `subset`, and its gradient.
    pub(crate) fn evaluate(
        &self,
        subset: &Subset,
        targets: &Targets,
        activity: &Activity,
        coefficients: &[f64],
    ) -> Evaluation {
        let classes = targets.classes();
        let kernel = self.kernel_of_blocks(coefficients, classes);
        let blocks = subset.blocks(BLOCK);
        let segments = (self.evaluation_macs(subset, classes) / MACS_PER_SEGMENT).clamp(1, SEGMENTS) as usize;
        let evaluate = |blocks: &[Range<usize>]| match &kernel {
            BlockKernel::Rotated => self.evaluate_rotated(blocks, targets, activity, coefficients),
            BlockKernel::Standardized(kernel) => self.evaluate_standardized(blocks, targets, activity, kernel),
        };
        let per_segment = blocks.len().div_ceil(segments).max(1);
        let partial: Vec<Partial> = blocks.par_chunks(per_segment).map(evaluate).collect();
        let total = targets.total_weight(subset).max(f64::MIN_POSITIVE);
        let Partial { gradient, sums } = added(partial, classes);
        let mut gradient = self.rotated_gradient(gradient, classes);
        gradient.iter_mut().for_each(|value| *value /= total);
        let curvature = sums.curvature.into_iter().map(|sum| sum / total).collect();
        Evaluation { loss: sums.loss / total, gradient, curvature }
    }

    fn evaluate_rotated(
        &self,
        blocks: &[Range<usize>],
        targets: &Targets,
        activity: &Activity,
        coefficients: &[f64],
    ) -> Partial {
        let classes = targets.classes();
        let mut partial = Partial::zero(coefficients.len(), classes);
        for block in blocks {
            self.with_coordinates(block.clone(), |rows| {
                let mut residuals = logits(rows, block.len(), coefficients, classes);
                differentiate(&mut residuals, block.clone(), targets, activity, &mut partial.sums);
                let (kernel, bias) = partial.gradient.split_at_mut(self.rank() * classes);
                let rows = Matrix::new(rows, block.len(), self.rank()).transposed();
                add_product(kernel, rows, Matrix::new(&residuals, block.len(), classes));
                add_rows(bias, &residuals);
            });
        }
        partial
    }

    fn evaluate_standardized(
        &self,
        blocks: &[Range<usize>],
        targets: &Targets,
        activity: &Activity,
        kernel: &[f32],
    ) -> Partial {
        let (classes, dim) = (targets.classes(), self.features.dim());
        let mut partial = Partial::zero(kernel.len(), classes);
        let mut product_of_block = vec![0.0f32; dim * classes];
        for block in blocks {
            let rows = self.standardized::<f32>(block.clone());
            let mut residuals = logits(&rows, block.len(), kernel, classes);
            differentiate(&mut residuals, block.clone(), targets, activity, &mut partial.sums);
            let rows = Matrix::new(&rows, block.len(), dim).transposed();
            product(&mut product_of_block, rows, Matrix::new(&residuals, block.len(), classes));
            let (kernel, bias) = partial.gradient.split_at_mut(dim * classes);
            kernel.iter_mut().zip(&product_of_block).for_each(|(sum, &term)| *sum += f64::from(term));
            add_rows(bias, &residuals);
        }
        partial
    }

    /// Converts the gradient with respect to the kernel of the stored rows to the gradient with respect to the coefficients.
    fn rotated_gradient(&self, gradient: Vec<f64>, classes: usize) -> Vec<f64> {
        let Storage::Axes(axes) = &self.storage else { return gradient };
        let dim = self.features.dim();
        let (kernel, bias) = gradient.split_at(dim * classes);
        let mut rotated = vec![0.0; self.coefficients(classes)];
        let (out, out_bias) = rotated.split_at_mut(self.rank() * classes);
        parallel_product(out, axes, dim, Matrix::new(kernel, dim, classes));
        out_bias.copy_from_slice(bias);
        rotated
    }

    /// Kernel `[dim, classes]` and bias of the raw features for coefficients of the rows.
    pub(crate) fn raw_kernel(&self, coefficients: &[f64], classes: usize) -> (Vec<f64>, Vec<f64>) {
        let (rotated, bias) = coefficients.split_at(self.rank() * classes);
        let (mut kernel, mut bias) = (self.standardized_kernel(rotated, classes), bias.to_vec());
        for (row, (mean, scale)) in
            kernel.chunks_exact_mut(classes).zip(self.moments.mean.iter().zip(&self.moments.scale))
        {
            for (weight, bias) in row.iter_mut().zip(&mut bias) {
                *weight /= scale;
                *bias -= *weight * mean;
            }
        }
        (kernel, bias)
    }

    fn standardized_kernel(&self, rotated: &[f64], classes: usize) -> Vec<f64> {
        let (rank, dim) = (self.rank(), self.features.dim());
        let mut kernel = vec![0.0; dim * classes];
        match &self.storage {
            Storage::RowsAndAxes(_, axes) | Storage::Axes(axes) => {
                product(&mut kernel, Matrix::new(axes, rank, dim).transposed(), Matrix::new(rotated, rank, classes));
            }
            // Right singular vectors are `Xᵀ D c / s²` for the coordinates `c`, so that they need not be stored.
            Storage::Rows(coordinates) => {
                let scaled: Vec<f64> =
                    rotated.iter().enumerate().map(|(at, x)| x / self.spectrum[at / classes]).collect();
                let mut of_rows = vec![0.0; self.rows() * classes];
                parallel_product(&mut of_rows, coordinates, rank, Matrix::new(&scaled, rank, classes));
                for (row, weight) in of_rows.chunks_exact_mut(classes).zip(&self.weights) {
                    row.iter_mut().for_each(|value| *value *= weight);
                }
                for block in Subset::of(0..self.rows()).blocks(BLOCK) {
                    let rows = self.standardized::<f64>(block.clone());
                    let of_block =
                        Matrix::new(&of_rows[block.start * classes..block.end * classes], block.len(), classes);
                    add_product(&mut kernel, Matrix::new(&rows, block.len(), dim).transposed(), of_block);
                }
            }
        }
        kernel
    }
}

/// The kernel that a block of rows is multiplied by.
enum BlockKernel {
    /// Rows are stored in rotated coordinates: the coefficients themselves.
    Rotated,
    /// Kernel and bias for standardized rows.
    Standardized(Vec<f32>),
}

/// Sums over some blocks.
struct Partial {
    gradient: Vec<f64>,
    sums: Sums,
}

impl Partial {
    fn zero(coefficients: usize, classes: usize) -> Self {
        Self { gradient: vec![0.0; coefficients], sums: Sums::zero(classes) }
    }
}

/// Adds partial sums in their order.
fn added(partial: Vec<Partial>, classes: usize) -> Partial {
    let mut partial = partial.into_iter();
    let mut total = partial.next().unwrap_or_else(|| Partial::zero(0, classes));
    for part in partial {
        total.gradient.iter_mut().zip(&part.gradient).for_each(|(sum, term)| *sum += term);
        total.sums.add(&part.sums);
    }
    total
}

/// Rows times kernel plus bias; `coefficients` has the bias as its last row.
fn logits<T: Real>(rows: &[T], count: usize, coefficients: &[T], classes: usize) -> Vec<T> {
    let (kernel, bias) = coefficients.split_at(coefficients.len() - classes);
    let mut out = bias.repeat(count);
    let rank = kernel.len() / classes;
    if rank > 0 {
        add_product(&mut out, Matrix::new(rows, count, rank), Matrix::new(kernel, rank, classes));
    }
    out
}

fn add_rows<T: Real>(sums: &mut [f64], rows: &[T]) {
    for row in rows.chunks_exact(sums.len()) {
        sums.iter_mut().zip(row).for_each(|(sum, term)| *sum += term.widened());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::labels::Labels;
    use crate::options::ClassWeights;
    use crate::testing::{gaussians, normals, same, with_threads};

    struct Case {
        values: Vec<f32>,
        targets: Targets,
        rows: Vec<usize>,
        dim: usize,
    }

    fn case(samples: usize, dim: usize) -> Case {
        let (values, classes) = gaussians(2, samples, dim, 3, 2.0);
        let labels = Labels::single(&classes, 3).unwrap();
        let rows: Vec<usize> = (0..samples).rev().collect();
        let targets = Targets::of(&labels, &rows, ClassWeights::Balanced);
        Case { values, targets, rows, dim }
    }

    impl Case {
        fn design(&self, stored: bool) -> Design<'_> {
            let features = Features::new(&self.values, self.rows.len(), self.dim).unwrap();
            Design::with_storage(features, self.rows.clone(), &self.targets.weights, stored).unwrap()
        }
    }

    #[test]
    fn a_gradient_is_the_finite_difference_of_the_loss() {
        for (samples, dim) in [(7, 20), (30, 4)] {
            let case = case(samples, dim);
            let design = case.design(true);
            let subset = Subset::without(samples, &(2..4));
            let activity = Activity::of(&case.targets, &subset);
            let coefficients = normals(3, design.coefficients(3));
            let loss = |coefficients: &[f64]| design.evaluate(&subset, &case.targets, &activity, coefficients).loss;
            let difference = |at: usize| {
                let moved = |step: f64| {
                    let mut moved = coefficients.clone();
                    moved[at] += step;
                    moved
                };
                (loss(&moved(1e-5)) - loss(&moved(-1e-5))) / 2e-5
            };
            let gradient = design.evaluate(&subset, &case.targets, &activity, &coefficients).gradient;
            same(&gradient, &(0..gradient.len()).map(difference).collect::<Vec<_>>(), 1e-8);
        }
    }

    #[test]
    fn streamed_rows_give_what_stored_rows_give() {
        for (samples, dim) in [(9, 1), (40, 6), (700, 11)] {
            let case = case(samples, dim);
            let (stored, streamed) = (case.design(true), case.design(false));
            let coefficients = normals(3, stored.coefficients(3));
            let subset = Subset::without(samples, &(1..3));
            let activity = Activity::of(&case.targets, &subset);
            let evaluate = |design: &Design<'_>| design.evaluate(&subset, &case.targets, &activity, &coefficients);
            let (a, b) = (evaluate(&stored), evaluate(&streamed));
            same(&b.gradient, &a.gradient, 1e-5);
            same(&[b.loss], &[a.loss], 1e-5);
            same(&b.curvature, &a.curvature, 1e-5);
            same(&streamed.logits(1..samples, &coefficients, 3), &stored.logits(1..samples, &coefficients, 3), 1e-5);
            streamed.with_coordinates(0..samples, |b| stored.with_coordinates(0..samples, |a| same(b, a, 1e-12)));
        }
    }

    #[test]
    fn the_kernel_of_raw_features_gives_the_logits_of_rows() {
        for (samples, dim, stored) in [(5, 30, true), (300, 400, true), (40, 6, true), (40, 6, false)] {
            let case = case(samples, dim);
            let design = case.design(stored);
            let coefficients = normals(5, design.coefficients(3));
            let (kernel, bias) = design.raw_kernel(&coefficients, 3);
            let raw = |at: usize| {
                let row = &case.values[case.rows[at / 3] * dim..][..dim];
                let sum: f64 = row.iter().enumerate().map(|(j, &x)| f64::from(x) * kernel[j * 3 + at % 3]).sum();
                sum + bias[at % 3]
            };
            same(&design.logits(0..samples, &coefficients, 3), &(0..samples * 3).map(raw).collect::<Vec<_>>(), 1e-5);
        }
    }

    #[test]
    fn one_and_four_threads_give_the_same_bits() {
        let case = case(3000, 40);
        for stored in [true, false] {
            let evaluate = |threads| {
                with_threads(threads, || {
                    let design = case.design(stored);
                    let subset = Subset::of(0..3000);
                    let activity = Activity::of(&case.targets, &subset);
                    let coefficients = normals(3, design.coefficients(3));
                    let evaluation = design.evaluate(&subset, &case.targets, &activity, &coefficients);
                    (evaluation.loss, evaluation.gradient, design.logits(0..3000, &coefficients, 3))
                })
            };
            assert_eq!(evaluate(1), evaluate(4));
        }
    }
}
