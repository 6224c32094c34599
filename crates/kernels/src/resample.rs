//! Resizing of images by tables of weights: cubic and Lanczos interpolation, means of areas, and antialiasing.

use rayon::prelude::*;

use crate::Resampling;
use crate::chunks::check_len;

/// Resizes images by tables of weights: `x` `[batch, in_h, in_w, c]` -> `y` `[batch, rows, columns, c]`.
///
/// [`resize`](crate::resize) is faster for bilinear and nearest interpolation without antialiasing.
///
/// ```
/// use engraft_kernels::{Interpolation, Resampling, resample};
/// let [rows, columns] = [(1, 1), (4, 2)].map(|(input, output)| Resampling::new(Interpolation::Area, false, input, output));
/// let mut y = [0.0; 2];
/// resample(&rows, &columns, 1, 1, 4, 1, &[1.0, 2.0, 3.0, 5.0], &mut y);
/// assert_eq!(y, [1.5, 4.0]);
/// ```
#[expect(clippy::too_many_arguments, reason = "two tables, an image's shape and the slices of both images")]
pub fn resample(
    rows: &Resampling,
    columns: &Resampling,
    batch: usize,
    in_h: usize,
    in_w: usize,
    c: usize,
    x: &[f32],
    y: &mut [f32],
) {
    check_sizes(rows, columns, [batch, in_h, in_w, c], x, y);
    let (row, out_row) = (in_w * c, columns.outputs() * c);
    y.par_chunks_mut(out_row).enumerate().for_each_init(
        || vec![0.0; row],
        |sum, (index, y)| {
            let image = &x[index / rows.outputs() * in_h * row..][..in_h * row];
            let (first, weights) = rows.taps(index % rows.outputs());
            sum.fill(0.0);
            weights
                .iter()
                .zip(image[first * row..].chunks_exact(row))
                .for_each(|(&weight, x)| add_scaled(sum, weight, x));
            y.fill(0.0);
            for (column, y) in y.chunks_exact_mut(c).enumerate() {
                let (first, weights) = columns.taps(column);
                weights.iter().zip(sum[first * c..].chunks_exact(c)).for_each(|(&weight, x)| add_scaled(y, weight, x));
            }
        },
    );
}

/// The gradient of [`resample`]: `dy` `[batch, rows, columns, c]` -> `dx` `[batch, in_h, in_w, c]`.
///
/// ```
/// use engraft_kernels::{Interpolation, Resampling, resample_gradient};
/// let [rows, columns] = [(1, 1), (4, 2)].map(|(input, output)| Resampling::new(Interpolation::Area, false, input, output));
/// let mut dx = [0.0; 4];
/// resample_gradient(&rows, &columns, 1, 1, 4, 1, &[2.0, 6.0], &mut dx);
/// assert_eq!(dx, [1.0, 1.0, 3.0, 3.0]);
/// ```
#[expect(clippy::too_many_arguments, reason = "two tables, an image's shape and the slices of both images")]
pub fn resample_gradient(
    rows: &Resampling,
    columns: &Resampling,
    batch: usize,
    in_h: usize,
    in_w: usize,
    c: usize,
    dy: &[f32],
    dx: &mut [f32],
) {
    check_sizes(rows, columns, [batch, in_h, in_w, c], dx, dy);
    let (row, out_row) = (in_w * c, columns.outputs() * c);
    dx.par_chunks_mut(in_h * row).enumerate().for_each_init(
        || vec![0.0; row],
        |sum, (image, dx)| {
            dx.fill(0.0);
            let dy = &dy[image * rows.outputs() * out_row..];
            for (index, dy) in dy.chunks_exact(out_row).take(rows.outputs()).enumerate() {
                sum.fill(0.0);
                for (column, dy) in dy.chunks_exact(c).enumerate() {
                    let (first, weights) = columns.taps(column);
                    let sources = sum[first * c..].chunks_exact_mut(c);
                    weights.iter().zip(sources).for_each(|(&weight, sum)| add_scaled(sum, weight, dy));
                }
                let (first, weights) = rows.taps(index);
                let sources = dx[first * row..].chunks_exact_mut(row);
                weights.iter().zip(sources).for_each(|(&weight, dx)| add_scaled(dx, weight, sum));
            }
        },
    );
}

fn add_scaled(sum: &mut [f32], weight: f32, x: &[f32]) {
    sum.iter_mut().zip(x).for_each(|(sum, x)| *sum += weight * x);
}

fn check_sizes(rows: &Resampling, columns: &Resampling, input: [usize; 4], x: &[f32], y: &[f32]) {
    let [batch, in_h, in_w, c] = input;
    let (out_h, out_w) = (rows.outputs(), columns.outputs());
    assert!(
        ![in_h, in_w, c, out_h, out_w].contains(&0),
        "cannot resize images of {input:?} to {out_h} x {out_w} pixels"
    );
    check_len("input", x, batch * in_h * in_w * c);
    check_len("output", y, batch * out_h * out_w * c);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Interpolation;
    use crate::testing::{assert_close, assert_same_for_any_threads, dot, uniform};

    const KINDS: [Interpolation; 6] = [
        Interpolation::Bilinear,
        Interpolation::Nearest,
        Interpolation::Bicubic,
        Interpolation::Lanczos3,
        Interpolation::Lanczos5,
        Interpolation::Area,
    ];
    const SIZES: [[usize; 4]; 3] = [[3, 4, 7, 9], [9, 8, 4, 3], [1, 5, 3, 1]];

    fn tables(kind: Interpolation, antialias: bool, [in_h, in_w, out_h, out_w]: [usize; 4]) -> [Resampling; 2] {
        [(in_h, out_h), (in_w, out_w)].map(|(input, output)| Resampling::new(kind, antialias, input, output))
    }

    /// Each output as a sum over all pairs of taps.
    fn by_definition(rows: &Resampling, columns: &Resampling, shape: [usize; 4], x: &[f32]) -> Vec<f32> {
        let [batch, in_h, in_w, c] = shape;
        let mut y = Vec::new();
        for (image, row) in (0..batch).flat_map(|image| (0..rows.outputs()).map(move |row| (image, row))) {
            for (column, channel) in (0..columns.outputs()).flat_map(|column| (0..c).map(move |ch| (column, ch))) {
                let ((top, down), (left, across)) = (rows.taps(row), columns.taps(column));
                let pairs = down
                    .iter()
                    .enumerate()
                    .flat_map(|down| across.iter().enumerate().map(move |across| (down, across)));
                let sum: f64 = pairs
                    .map(|((i, v), (j, h))| {
                        let at = ((image * in_h + top + i) * in_w + left + j) * c + channel;
                        f64::from(x[at]) * f64::from(*v) * f64::from(*h)
                    })
                    .sum();
                y.push(sum as f32);
            }
        }
        y
    }

    #[test]
    fn sums_are_those_of_the_definition_and_gradients_their_adjoint() {
        for (kind, size) in KINDS.into_iter().flat_map(|kind| SIZES.map(|size| (kind, size))) {
            for antialias in [false, true] {
                let [rows, columns] = tables(kind, antialias, size);
                let [in_h, in_w, out_h, out_w] = size;
                let (x, dy) = (uniform(2 * in_h * in_w * 3, 1), uniform(2 * out_h * out_w * 3, 2));
                let (mut y, mut dx) = (vec![f32::NAN; dy.len()], vec![f32::NAN; x.len()]);
                resample(&rows, &columns, 2, in_h, in_w, 3, &x, &mut y);
                assert_close(&y, &by_definition(&rows, &columns, [2, in_h, in_w, 3], &x), 1e-6);
                resample_gradient(&rows, &columns, 2, in_h, in_w, 3, &dy, &mut dx);
                // Both sides sum fewer than 1000 products of about 1, each rounded to 6e-8.
                assert!((dot(&y, &dy) - dot(&x, &dx)).abs() < 1e-5, "{kind:?} {antialias} {size:?}");
            }
        }
    }

    #[test]
    fn tables_of_the_fast_interpolations_agree_with_resize() {
        for (kind, size) in [Interpolation::Bilinear, Interpolation::Nearest]
            .into_iter()
            .flat_map(|kind| SIZES.map(|size| (kind, size)))
        {
            let ([rows, columns], [in_h, in_w, out_h, out_w]) = (tables(kind, false, size), size);
            let x = uniform(in_h * in_w * 3, 3);
            let [mut fast, mut general] = [(); 2].map(|()| vec![f32::NAN; out_h * out_w * 3]);
            crate::resize(kind, 1, in_h, in_w, 3, out_h, out_w, &x, &mut fast);
            resample(&rows, &columns, 1, in_h, in_w, 3, &x, &mut general);
            assert_close(&general, &fast, 1e-6);
        }
    }

    #[test]
    fn threads_change_nothing() {
        let [rows, columns] = tables(Interpolation::Lanczos3, true, [20, 30, 7, 40]);
        let x = uniform(3 * 20 * 30 * 3, 5);
        assert_same_for_any_threads(|| {
            let mut y = vec![0.0; 3 * 7 * 40 * 3];
            resample(&rows, &columns, 3, 20, 30, 3, &x, &mut y);
            let mut dx = vec![0.0; x.len()];
            resample_gradient(&rows, &columns, 3, 20, 30, 3, &y, &mut dx);
            [y, dx].concat()
        });
    }
}
