//! Normalization of groups of values within each sample: layer, group, root mean square and unit normalization.

use engraft_ir::{Normalization, NormalizationKind};
use rayon::prelude::*;

use crate::chunks::{CHUNK, check_len, column_sums, count_rows, row_chunk};

/// Rows that are summed in f32 before the sum is added to an f64 accumulator, so that rounding errors don't grow with the rows.
const BLOCK_ROWS: usize = 32;

/// Groups up to this size have their gradient computed in f64: most of it cancels, and of a single value all.
const FEW_VALUES: usize = 8;

/// Normalizes each group of `x`, then applies `gamma` and `beta`, which have one value for each column.
///
/// ```
/// use engraft_kernels::{Normalization, NormalizationKind, normalize};
/// let norm = Normalization {
///     kind: NormalizationKind::Standard,
///     epsilon: 0.0,
///     rows: 1,
///     groups: 1,
///     width: 2,
///     scale: false,
///     center: true,
/// };
/// let mut y = [0.0; 4];
/// normalize(&norm, &[1.0, 3.0, 10.0, 20.0], None, Some(&[0.0, 5.0]), &mut y);
/// assert_eq!(y, [-1.0, 6.0, -1.0, 6.0]);
/// ```
pub fn normalize(norm: &Normalization, x: &[f32], gamma: Option<&[f32]>, beta: Option<&[f32]>, y: &mut [f32]) {
    check(norm, x, gamma);
    check_len("y", y, x.len());
    let columns = norm.columns();
    let zeros = vec![0.0; columns];
    let beta = beta.unwrap_or(&zeros);
    check_len("beta", beta, columns);
    let statistics = statistics(norm, x);
    let prepare = |block: usize, [shift, scale, offset]: &mut [Vec<f32>; 3]| {
        let groups = &statistics[block * norm.groups..];
        spread(norm, groups, |group| group.subtracted.rounded, shift);
        spread(norm, groups, |group| group.inverse, scale);
        scale_by(scale, gamma);
        spread(norm, groups, |group| group.subtracted.rest, offset);
        let values = offset.iter_mut().zip(scale.iter()).zip(beta);
        values.for_each(|((offset, scale), beta)| *offset = beta - *offset * scale);
    };
    for_each_row(norm, y, prepare, |row, y, [shift, scale, offset]| {
        let x = &x[row * columns..][..columns];
        for ((((y, x), shift), scale), offset) in y.iter_mut().zip(x).zip(shift).zip(scale).zip(offset) {
            *y = (x - shift) * scale + offset;
        }
    });
}

/// The gradient of [`normalize`] with respect to `x`. It includes the part that flows through the statistics of each group.
///
/// ```
/// use engraft_kernels::{Normalization, NormalizationKind, normalize_input_gradient};
/// let (kind, rows, groups, width) = (NormalizationKind::Norm, 1, 1, 2);
/// let norm = Normalization { kind, epsilon: 1e-12, rows, groups, width, scale: false, center: false };
/// let mut dx = [0.0; 2];
/// normalize_input_gradient(&norm, &[1.0, 0.0], &[0.0, 2.0], None, &mut dx);
/// assert_eq!(dx, [0.5, 0.0]);
/// ```
pub fn normalize_input_gradient(norm: &Normalization, dy: &[f32], x: &[f32], gamma: Option<&[f32]>, dx: &mut [f32]) {
    check(norm, x, gamma);
    check_len("dy", dy, x.len());
    check_len("dx", dx, x.len());
    if norm.group_size() <= FEW_VALUES {
        return input_gradient_in_f64(norm, dy, x, gamma, dx);
    }
    let columns = norm.columns();
    let statistics = statistics(norm, x);
    let terms = gradient_terms(norm, dy, x, gamma, &statistics);
    let prepare = |block: usize, [mean, scale, x_factor, constant]: &mut [Vec<f32>; 4]| {
        let first = block * norm.groups;
        spread(norm, &statistics[first..], |group| group.mean.rounded, mean);
        spread(norm, &statistics[first..], |group| group.inverse, scale);
        scale_by(scale, gamma);
        spread(norm, &terms[first..], |terms| terms.x_factor, x_factor);
        spread(norm, &terms[first..], |terms| terms.constant, constant);
    };
    for_each_row(norm, dx, prepare, |row, dx, [mean, scale, x_factor, constant]| {
        let (x, dy) = (&x[row * columns..][..columns], &dy[row * columns..][..columns]);
        for (c, dx) in dx.iter_mut().enumerate() {
            *dx = dy[c] * scale[c] + (x[c] - mean[c]) * x_factor[c] + constant[c];
        }
    });
}

/// [`normalize_input_gradient`] for groups of a few values.
fn input_gradient_in_f64(norm: &Normalization, dy: &[f32], x: &[f32], gamma: Option<&[f32]>, dx: &mut [f32]) {
    let block = norm.columns() * norm.rows;
    let chunk = row_chunk(block);
    dx.par_chunks_mut(chunk).zip(dy.par_chunks(chunk)).zip(x.par_chunks(chunk)).for_each(|((dx, dy), x)| {
        let blocks = dx.chunks_exact_mut(block).zip(dy.chunks_exact(block)).zip(x.chunks_exact(block));
        for ((dx, dy), x) in blocks {
            (0..norm.groups).for_each(|group| group_gradient_in_f64(norm, group, dy, x, gamma, dx));
        }
    });
}

/// The gradient of one group of a block.
fn group_gradient_in_f64(
    norm: &Normalization,
    group: usize,
    dy: &[f32],
    x: &[f32],
    gamma: Option<&[f32]>,
    dx: &mut [f32],
) {
    let (columns, width, size) = (norm.columns(), norm.width, norm.group_size() as f64);
    let firsts = (0..norm.rows).map(|row| row * columns + group * width);
    let indices = firsts.flat_map(|first| first..first + width);
    let value = |i: usize| f64::from(x[i]);
    let gradient = |i: usize| f64::from(dy[i]) * gamma.map_or(1.0, |gamma| f64::from(gamma[i % columns]));

    let mean = if has_mean(norm) { indices.clone().map(value).sum::<f64>() / size } else { 0.0 };
    let (divisor, constant) = divisor(norm, indices.clone().map(|i| (value(i) - mean).powi(2)).sum());
    let subtracts = norm.kind == NormalizationKind::Standard;
    let shift = if subtracts { mean } else { 0.0 };
    let gradients = if subtracts { indices.clone().map(gradient).sum::<f64>() / size } else { 0.0 };
    let products: f64 = indices.clone().map(|i| gradient(i) * (value(i) - shift)).sum();
    let share = if norm.kind == NormalizationKind::Norm { 1.0 } else { 1.0 / size };
    let x_factor = if constant { 0.0 } else { products * share / divisor.powi(3) };
    for i in indices {
        dx[i] = ((gradient(i) - gradients) / divisor - (value(i) - mean) * x_factor) as f32;
    }
}

/// The gradients of [`normalize`] with respect to `gamma` and `beta`. A gradient is skipped if its slice is `None`.
///
/// ```
/// use engraft_kernels::{Normalization, NormalizationKind, normalize_weight_gradients};
/// let (kind, rows, groups, width) = (NormalizationKind::Norm, 1, 1, 2);
/// let norm = Normalization { kind, epsilon: 1e-12, rows, groups, width, scale: true, center: true };
/// let (mut dgamma, mut dbeta) = ([0.0; 2], [0.0; 2]);
/// normalize_weight_gradients(&norm, &[1.0, 2.0], &[0.0, 2.0], Some(&mut dgamma), Some(&mut dbeta));
/// assert_eq!((dgamma, dbeta), ([0.0, 2.0], [1.0, 2.0]));
/// ```
pub fn normalize_weight_gradients(
    norm: &Normalization,
    dy: &[f32],
    x: &[f32],
    dgamma: Option<&mut [f32]>,
    dbeta: Option<&mut [f32]>,
) {
    check(norm, x, None);
    check_len("dy", dy, x.len());
    let columns = norm.columns();
    let statistics = statistics(norm, x);
    let sums = column_sums(columns, x.len() / columns, 2, |row, sums| {
        let (dgamma, dbeta) = sums.split_at_mut(columns);
        let groups = &statistics[row / norm.rows * norm.groups..][..norm.groups];
        for (index, group) in groups.iter().enumerate() {
            let (first, at) = (index * norm.width, row * columns + index * norm.width);
            let (x, dy) = (&x[at..][..norm.width], &dy[at..][..norm.width]);
            let sums = dgamma[first..][..norm.width].iter_mut().zip(&mut dbeta[first..][..norm.width]);
            for ((dgamma, dbeta), (x, dy)) in sums.zip(x.iter().zip(dy)) {
                *dgamma += dy * (group.subtracted.distance(*x) * group.inverse);
                *dbeta += dy;
            }
        }
    });
    for (to, sums) in [(dgamma, &sums[..columns]), (dbeta, &sums[columns..])] {
        if let Some(to) = to {
            check_len("gradient", to, columns);
            to.iter_mut().zip(sums).for_each(|(to, sum)| *to = *sum as f32);
        }
    }
}

fn check(norm: &Normalization, x: &[f32], gamma: Option<&[f32]>) {
    count_rows("x", x, norm.columns() * norm.rows);
    if let Some(gamma) = gamma {
        check_len("gamma", gamma, norm.columns());
    }
}

/// A mean in two parts. Values that differ little are near their mean: relative to their distance from it, the rounding of the mean
/// to f32 is large.
#[derive(Clone, Copy, Default)]
struct Mean {
    rounded: f32,
    /// The mean minus `rounded`.
    rest: f32,
}

impl Mean {
    fn distance(self, x: f32) -> f32 {
        x - self.rounded - self.rest
    }
}

/// The statistics of one group.
#[derive(Clone, Copy, Default)]
struct GroupStatistics {
    /// The mean, or 0 for the kinds that don't use it.
    mean: Mean,
    /// What is subtracted from each value.
    subtracted: Mean,
    /// What the difference is multiplied by.
    inverse: f32,
    /// Whether the divisor is epsilon, a constant.
    constant: bool,
}

impl GroupStatistics {
    /// `squares` is the sum of the squared distances from the rounded mean.
    fn new(norm: &Normalization, mean: Mean, squares: f64) -> Self {
        let squares = (squares - norm.group_size() as f64 * f64::from(mean.rest).powi(2)).max(0.0);
        let (divisor, constant) = divisor(norm, squares);
        let subtracted = if norm.kind == NormalizationKind::Standard { mean } else { Mean::default() };
        Self { mean, subtracted, inverse: (1.0 / divisor) as f32, constant }
    }
}

/// What a group is divided by, and whether that is epsilon, a constant. `squares` is the sum of the squared distances from the mean.
fn divisor(norm: &Normalization, squares: f64) -> (f64, bool) {
    let epsilon = f64::from(norm.epsilon);
    match norm.kind {
        NormalizationKind::Norm => (squares.sqrt().max(epsilon), squares.sqrt() < epsilon),
        _ => ((squares / norm.group_size() as f64 + epsilon).sqrt(), false),
    }
}

fn has_mean(norm: &Normalization) -> bool {
    matches!(norm.kind, NormalizationKind::Standard | NormalizationKind::Variance)
}

/// The statistics of all groups, block by block.
fn statistics(norm: &Normalization, x: &[f32]) -> Vec<GroupStatistics> {
    let columns = norm.columns();
    let has_mean = has_mean(norm);
    let mut all = vec![GroupStatistics::default(); x.len() / (columns * norm.rows) * norm.groups];
    for_each_block(norm, &mut all, |block, sums, groups| {
        let rows = |row: usize| &x[(block * norm.rows + row) * columns..][..columns];
        let mut means = vec![0.0; if has_mean { columns } else { 0 }];
        if has_mean {
            let size = norm.group_size() as f64;
            sums.add_up(norm, |row, sums| sums.iter_mut().zip(rows(row)).for_each(|(sum, x)| *sum += x));
            groups.iter_mut().zip(&sums.groups).for_each(|(group, sum)| group.mean.rounded = (sum / size) as f32);
            spread(norm, groups, |group| group.mean.rounded, &mut means);
            // What is left of the mean of values that are all the same is the rounding of their sum.
            let add = |(sum, (x, m)): (&mut f32, (&f32, &f32))| *sum += x - m;
            sums.add_up(norm, |row, sums| sums.iter_mut().zip(rows(row).iter().zip(&means)).for_each(add));
            groups.iter_mut().zip(&sums.groups).for_each(|(group, sum)| group.mean.rest = (sum / size) as f32);
        }
        sums.add_up(norm, |row, sums| match has_mean {
            true => sums.iter_mut().zip(rows(row)).zip(&means).for_each(|((sum, x), m)| *sum += (x - m) * (x - m)),
            false => sums.iter_mut().zip(rows(row)).for_each(|(sum, x)| *sum += x * x),
        });
        for (group, squares) in groups.iter_mut().zip(&sums.groups) {
            *group = GroupStatistics::new(norm, group.mean, *squares);
        }
    });
    all
}

/// What a group's statistics contribute to the gradient with respect to `x`: `(x - mean.rounded) * x_factor + constant`.
#[derive(Clone, Copy, Default)]
struct GradientTerms {
    x_factor: f32,
    constant: f32,
}

impl GradientTerms {
    /// `gradients` is the sum of `dy * gamma` where the mean is subtracted, else 0; `products` that of `dy * gamma * (x - subtracted)`.
    fn new(norm: &Normalization, group: &GroupStatistics, gradients: f64, products: f64) -> Self {
        let (size, inverse) = (norm.group_size() as f64, f64::from(group.inverse));
        let share = if norm.kind == NormalizationKind::Norm { 1.0 } else { 1.0 / size };
        // The products lack one factor `inverse`; the derivative of `inverse` has two more.
        let x_factor = if group.constant { 0.0 } else { -inverse.powi(3) * products * share };
        let constant = -inverse * gradients / size - f64::from(group.mean.rest) * x_factor;
        Self { x_factor: x_factor as f32, constant: constant as f32 }
    }
}

/// Computes the terms of every group from the sums of `dy * gamma` and `dy * gamma * normalized`.
fn gradient_terms(
    norm: &Normalization,
    dy: &[f32],
    x: &[f32],
    gamma: Option<&[f32]>,
    statistics: &[GroupStatistics],
) -> Vec<GradientTerms> {
    let columns = norm.columns();
    let ones = vec![1.0; columns];
    let gamma = gamma.unwrap_or(&ones);
    let mut all = vec![GradientTerms::default(); statistics.len()];
    for_each_block(norm, &mut all, |block, sums, terms| {
        let groups = &statistics[block * norm.groups..][..norm.groups];
        let at = |row: usize| (block * norm.rows + row) * columns;
        if norm.kind == NormalizationKind::Standard {
            sums.add_up(norm, |row, sums| {
                let dy = &dy[at(row)..][..columns];
                sums.iter_mut().zip(dy).zip(gamma).for_each(|((sum, dy), gamma)| *sum += dy * gamma);
            });
        }
        let mut shift = vec![0.0; columns];
        spread(norm, groups, |group| group.subtracted.rounded, &mut shift);
        sums.add_up(norm, |row, sums| {
            let (x, dy) = (&x[at(row)..][..columns], &dy[at(row)..][..columns]);
            for (c, sum) in sums.iter_mut().enumerate() {
                *sum += dy[c] * gamma[c] * (x[c] - shift[c]);
            }
        });
        for (index, (terms, group)) in terms.iter_mut().zip(groups).enumerate() {
            let gradients = if norm.kind == NormalizationKind::Standard { sums.previous[index] } else { 0.0 };
            let products = sums.groups[index] - f64::from(group.subtracted.rest) * gradients;
            *terms = GradientTerms::new(norm, group, gradients, products);
        }
    });
    all
}

/// Sums over the rows of a block and the columns of a group.
struct GroupSums {
    /// Sums of the columns over a few rows.
    partial: Vec<f32>,
    /// Sums of the columns.
    columns: Vec<f64>,
    /// Sums of the groups, the result.
    groups: Vec<f64>,
    /// The result before that.
    previous: Vec<f64>,
}

impl GroupSums {
    fn new(norm: &Normalization) -> Self {
        let columns = norm.columns();
        Self {
            partial: vec![0.0; columns],
            columns: vec![0.0; columns],
            groups: vec![0.0; norm.groups],
            previous: vec![0.0; norm.groups],
        }
    }

    /// Sums the terms that `add` adds to each column for each row.
    fn add_up(&mut self, norm: &Normalization, add: impl Fn(usize, &mut [f32])) {
        std::mem::swap(&mut self.groups, &mut self.previous);
        self.columns.fill(0.0);
        for start in (0..norm.rows).step_by(BLOCK_ROWS) {
            self.partial.fill(0.0);
            (start..norm.rows.min(start + BLOCK_ROWS)).for_each(|row| add(row, &mut self.partial));
            self.columns.iter_mut().zip(&self.partial).for_each(|(sum, x)| *sum += f64::from(*x));
        }
        let groups = self.columns.chunks_exact(norm.width);
        self.groups.iter_mut().zip(groups).for_each(|(sum, columns)| *sum = sum_in_lanes(columns));
    }
}

/// A sum with several accumulators: one alone would wait for each addition.
fn sum_in_lanes(values: &[f64]) -> f64 {
    const LANES: usize = 8;
    let mut lanes = [0.0; LANES];
    let chunks = values.chunks_exact(LANES);
    let rest: f64 = chunks.remainder().iter().sum();
    chunks.for_each(|chunk| lanes.iter_mut().zip(chunk).for_each(|(lane, x)| *lane += x));
    lanes.iter().sum::<f64>() + rest
}

/// Calls `work` in parallel with the index of each block, scratch sums and the results for the block's groups.
fn for_each_block<T: Send>(
    norm: &Normalization,
    results: &mut [T],
    work: impl Fn(usize, &mut GroupSums, &mut [T]) + Sync,
) {
    let blocks = (CHUNK / (norm.columns() * norm.rows)).max(1);
    results.par_chunks_mut(blocks * norm.groups).enumerate().for_each(|(chunk, results)| {
        let mut sums = GroupSums::new(norm);
        for (index, results) in results.chunks_exact_mut(norm.groups).enumerate() {
            work(chunk * blocks + index, &mut sums, results);
        }
    });
}

/// Calls `work` in parallel with the index of each row, the row of `y`, and the factors of its block, one vector of columns each.
/// `prepare` computes these factors once for each block.
fn for_each_row<const N: usize>(
    norm: &Normalization,
    y: &mut [f32],
    prepare: impl Fn(usize, &mut [Vec<f32>; N]) + Sync,
    work: impl Fn(usize, &mut [f32], &[Vec<f32>; N]) + Sync,
) {
    let columns = norm.columns();
    let chunk_rows = row_chunk(columns) / columns;
    y.par_chunks_mut(chunk_rows * columns).enumerate().for_each(|(chunk, y)| {
        let mut factors = [(); N].map(|()| vec![0.0; columns]);
        let mut prepared = None;
        for (index, y) in y.chunks_exact_mut(columns).enumerate() {
            let row = chunk * chunk_rows + index;
            let block = row / norm.rows;
            if prepared.replace(block) != Some(block) {
                prepare(block, &mut factors);
            }
            work(row, y, &factors);
        }
    });
}

/// Repeats one value of each group along the group's columns.
fn spread<T>(norm: &Normalization, groups: &[T], value: impl Fn(&T) -> f32, columns: &mut [f32]) {
    columns.chunks_exact_mut(norm.width).zip(groups).for_each(|(columns, group)| columns.fill(value(group)));
}

fn scale_by(columns: &mut [f32], gamma: Option<&[f32]>) {
    if let Some(gamma) = gamma {
        columns.iter_mut().zip(gamma).for_each(|(column, gamma)| *column *= gamma);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, assert_same_for_any_threads, dot, numeric_gradient, to_f32, uniform};

    const KINDS: [NormalizationKind; 4] = [
        NormalizationKind::Standard,
        NormalizationKind::Variance,
        NormalizationKind::RootMeanSquare,
        NormalizationKind::Norm,
    ];

    /// Layer normalization, group normalization, instance normalization, and groups over the whole sample.
    const SIZES: [[usize; 4]; 4] = [[6, 1, 1, 5], [2, 6, 2, 3], [2, 40, 3, 1], [2, 1, 1, 19]];

    fn normalization(kind: NormalizationKind, [_, rows, groups, width]: [usize; 4]) -> Normalization {
        Normalization { kind, epsilon: 0.01, rows, groups, width, scale: true, center: true }
    }

    /// The definition, in plain loops over f64.
    fn expected(norm: &Normalization, x: &[f64], gamma: &[f64], beta: &[f64]) -> Vec<f64> {
        let (columns, size, epsilon) = (norm.columns(), norm.group_size() as f64, f64::from(norm.epsilon));
        let mut y = vec![f64::NAN; x.len()];
        for block in 0..x.len() / columns / norm.rows {
            for group in 0..norm.groups {
                let indices = || {
                    (0..norm.rows).flat_map(move |row| {
                        let first = (block * norm.rows + row) * columns + group * norm.width;
                        first..first + norm.width
                    })
                };
                let mean = indices().map(|i| x[i]).sum::<f64>() / size;
                let variance = indices().map(|i| (x[i] - mean).powi(2)).sum::<f64>() / size;
                let squares = indices().map(|i| x[i] * x[i]).sum::<f64>();
                let (shift, divisor) = match norm.kind {
                    NormalizationKind::Standard => (mean, (variance + epsilon).sqrt()),
                    NormalizationKind::Variance => (0.0, (variance + epsilon).sqrt()),
                    NormalizationKind::RootMeanSquare => (0.0, (squares / size + epsilon).sqrt()),
                    NormalizationKind::Norm => (0.0, squares.sqrt().max(epsilon)),
                };
                indices().for_each(|i| y[i] = (x[i] - shift) / divisor * gamma[i % columns] + beta[i % columns]);
            }
        }
        y
    }

    fn wide(x: &[f32]) -> Vec<f64> {
        x.iter().copied().map(f64::from).collect()
    }

    #[test]
    fn values_and_gradients_are_those_of_the_definition() {
        for kind in KINDS {
            for sizes in SIZES {
                let norm = normalization(kind, sizes);
                let (len, columns) = (sizes.iter().product(), norm.columns());
                let [x, dy] = [uniform(len, 1), uniform(len, 2)];
                let [gamma, beta] = [uniform(columns, 3), uniform(columns, 4)];
                let mut y = vec![f32::NAN; len];
                normalize(&norm, &x, Some(&gamma), Some(&beta), &mut y);
                let score = |x: &[f64], gamma: &[f64], beta: &[f64]| {
                    expected(&norm, x, gamma, beta).iter().zip(&dy).map(|(y, dy)| y * f64::from(*dy)).sum::<f64>()
                };
                let [x64, gamma64, beta64] = [&x, &gamma, &beta].map(|values| wide(values));
                assert_close(&y, &to_f32(&expected(&norm, &x64, &gamma64, &beta64)), 3e-6);
                let mut dx = vec![f32::NAN; len];
                normalize_input_gradient(&norm, &dy, &x, Some(&gamma), &mut dx);
                assert_close(&dx, &numeric_gradient(&x, |x| score(x, &gamma64, &beta64)), 1e-5);
                let (mut dgamma, mut dbeta) = (vec![f32::NAN; columns], vec![f32::NAN; columns]);
                normalize_weight_gradients(&norm, &dy, &x, Some(&mut dgamma), Some(&mut dbeta));
                assert_close(&dgamma, &numeric_gradient(&gamma, |gamma| score(&x64, gamma, &beta64)), 1e-5);
                assert_close(&dbeta, &numeric_gradient(&beta, |beta| score(&x64, &gamma64, beta)), 1e-5);
            }
        }
    }

    #[test]
    fn without_weights_gamma_is_1_and_beta_is_0() {
        let norm = normalization(NormalizationKind::Standard, [2, 1, 1, 7]);
        let x = uniform(14, 1);
        let [mut y, mut with_weights] = [vec![0.0; 14], vec![0.0; 14]];
        normalize(&norm, &x, None, None, &mut y);
        normalize(&norm, &x, Some(&[1.0; 7]), Some(&[0.0; 7]), &mut with_weights);
        assert_eq!(y, with_weights);
        assert!(dot(&y, &[1.0; 14]).abs() < 1e-5, "each group has the mean 0");
    }

    #[test]
    fn a_single_value_divided_by_its_size_has_no_gradient() {
        let norm = normalization(NormalizationKind::Norm, [4, 1, 1, 1]);
        let (x, dy) = ([0.03, -0.7, 1e-3, 5.0], uniform(4, 1));
        let mut dx = [f32::NAN; 4];
        normalize_input_gradient(&norm, &dy, &x, None, &mut dx);
        // 1e-3 is below epsilon (0.01), so it is divided by epsilon, a constant.
        assert!([dx[0], dx[1], dx[3]].iter().all(|dx| dx.abs() < 1e-12), "{dx:?}");
        assert!((dx[2] - dy[2] * 100.0).abs() < 1e-5, "{dx:?}");
    }

    #[test]
    fn values_that_are_all_the_same_become_zero() {
        let norm = Normalization { epsilon: 1e-10, ..normalization(NormalizationKind::Standard, [3, 50, 2, 7]) };
        let (x, mut y) = ([0.1; 3 * 50 * 14], [f32::NAN; 3 * 50 * 14]);
        normalize(&norm, &x, None, None, &mut y);
        // Without the rest of the mean they would be 1e-8 / 1e-5, a thousandth.
        assert!(y.iter().all(|y| y.abs() < 1e-6), "{:?}", &y[..14]);
    }

    /// Two values far from 0 and close to each other: their distance from the mean is less than its rounding error.
    #[test]
    fn values_close_to_their_mean_are_normalized_accurately() {
        let x: Vec<f32> = uniform(40, 1).iter().map(|x| 30.0 + 1e-3 * x).collect();
        let (dy, gamma, beta) = (uniform(40, 2), [0.7, 1.2], [0.1, -0.3]);
        let norm = Normalization { epsilon: 1e-6, ..normalization(NormalizationKind::Standard, [20, 1, 1, 2]) };
        let [mut y, mut dx] = [vec![0.0; 40], vec![0.0; 40]];
        normalize(&norm, &x, Some(&gamma), Some(&beta), &mut y);
        assert_close(&y, &to_f32(&expected(&norm, &wide(&x), &wide(&gamma), &wide(&beta))), 1e-6);
        normalize_input_gradient(&norm, &dy, &x, Some(&gamma), &mut dx);
        // Of two values, the normalized ones are ±`half / divisor`, and their gradients cancel.
        let gradient = |[x, other]: [f32; 2], [g, other_g]: [f64; 2]| {
            let (half, epsilon) = ((f64::from(x) - f64::from(other)) / 2.0, f64::from(norm.epsilon));
            (g - other_g) / 2.0 * epsilon / (half * half + epsilon).powf(1.5)
        };
        let pairs = x.chunks_exact(2).zip(dy.chunks_exact(2)).flat_map(|(x, dy)| {
            let g = [0, 1].map(|i| f64::from(dy[i]) * f64::from(gamma[i]));
            [gradient([x[0], x[1]], g), gradient([x[1], x[0]], [g[1], g[0]])]
        });
        // The terms that cancel are up to 1000 times as large as `dy`; they are added in f64.
        assert_close(&dx, &to_f32(&pairs.collect::<Vec<_>>()), 1e-6);
    }

    #[test]
    fn a_group_of_zeros_stays_zero() {
        for kind in KINDS {
            let norm = Normalization { epsilon: 1e-12, ..normalization(kind, [1, 1, 1, 3]) };
            let (mut y, mut dx) = ([f32::NAN; 3], [f32::NAN; 3]);
            normalize(&norm, &[0.0; 3], None, None, &mut y);
            assert_eq!(y, [0.0; 3]);
            normalize_input_gradient(&norm, &[0.0; 3], &[0.0; 3], None, &mut dx);
            assert_eq!(dx, [0.0; 3]);
        }
    }

    #[test]
    fn same_bits_for_any_number_of_threads() {
        for sizes in [[9000, 1, 1, 24], [2, 9000, 3, 4]] {
            let norm = normalization(NormalizationKind::Standard, sizes);
            let len: usize = sizes.iter().product();
            let [x, dy, gamma] = [uniform(len, 1), uniform(len, 2), uniform(norm.columns(), 3)];
            assert_same_for_any_threads(|| {
                let (mut y, mut dx, mut dgamma) = (vec![0.0; len], vec![0.0; len], vec![0.0; norm.columns()]);
                normalize(&norm, &x, Some(&gamma), None, &mut y);
                normalize_input_gradient(&norm, &dy, &x, Some(&gamma), &mut dx);
                normalize_weight_gradients(&norm, &dy, &x, Some(&mut dgamma), None);
                [y, dx, dgamma].concat()
            });
        }
    }

    #[test]
    fn empty_batches() {
        let norm = normalization(NormalizationKind::Standard, [0, 2, 2, 3]);
        normalize(&norm, &[], None, None, &mut []);
        normalize_input_gradient(&norm, &[], &[], None, &mut []);
    }
}
