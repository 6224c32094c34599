//! Element-wise products with broadcasting: the second operand is repeated along its axes of size 1.

use rayon::prelude::*;

use crate::chunks::check_len;

/// The shapes of two operands without the batch axis. `b` has the rank of `a`, and each of its axes has `a`'s size or size 1.
struct Broadcast<'a> {
    a: &'a [usize],
    b: &'a [usize],
}

impl Broadcast<'_> {
    /// Elements in a sample of `a` and of `b`. Panics if the shapes can't be broadcast.
    fn lengths(&self) -> [usize; 2] {
        assert!(
            self.a.len() == self.b.len() && self.a.iter().zip(self.b).all(|(a, b)| b == a || *b == 1),
            "`b` {:?} must have the sizes of `a` {:?} or 1",
            self.b,
            self.a
        );
        [self.a.iter().product(), self.b.iter().product()]
    }

    /// Calls `visit` with the offset of each row (last axis) of `a` and the offset of the matching row of `b`.
    fn for_each_row(&self, mut visit: impl FnMut(usize, usize)) {
        let (Some((&width, outer_a)), Some((&width_b, outer_b))) = (self.a.split_last(), self.b.split_last()) else {
            return visit(0, 0);
        };
        for row in 0..outer_a.iter().product() {
            let (mut rest, mut offset, mut stride) = (row, 0, width_b);
            for (size, size_b) in outer_a.iter().zip(outer_b).rev() {
                if *size_b != 1 {
                    offset += rest % size * stride;
                }
                rest /= size;
                stride *= size_b;
            }
            visit(row * width, offset);
        }
    }

    /// Length of a row of `a`.
    fn width(&self) -> usize {
        self.a.last().copied().unwrap_or(1)
    }

    /// Whether one element of `b` is repeated along a whole row of `a`.
    fn is_scalar_per_row(&self) -> bool {
        self.b.last().is_none_or(|&width| width == 1)
    }
}

/// `y = a * b`, where `b` is repeated along its axes of size 1. The shapes leave out the batch axis.
///
/// ```
/// use engraft_kernels::multiply;
/// let mut y = [0.0; 4];
/// multiply(&[2, 2], &[1, 2], &[1.0, 2.0, 3.0, 4.0], &[10.0, 100.0], &mut y);
/// assert_eq!(y, [10.0, 200.0, 30.0, 400.0]);
/// ```
pub fn multiply(a_shape: &[usize], b_shape: &[usize], a: &[f32], b: &[f32], y: &mut [f32]) {
    let broadcast = Broadcast { a: a_shape, b: b_shape };
    let [a_len, b_len] = broadcast.lengths();
    check_len("y", y, a.len());
    check_len("b", b, a.len() / a_len.max(1) * b_len);
    let (width, scalar) = (broadcast.width(), broadcast.is_scalar_per_row());
    let samples = a.par_chunks(a_len.max(1)).zip(b.par_chunks(b_len.max(1)));
    y.par_chunks_mut(a_len.max(1)).zip(samples).for_each(|(y, (a, b))| {
        broadcast.for_each_row(|row, offset| {
            let (y, a) = (&mut y[row..][..width], &a[row..][..width]);
            if scalar {
                y.iter_mut().zip(a).for_each(|(y, a)| *y = a * b[offset]);
            } else {
                y.iter_mut().zip(a).zip(&b[offset..]).for_each(|((y, a), b)| *y = a * b);
            }
        });
    });
}

/// The gradient of [`multiply`] with respect to `b`: `a * dy`, summed over the axes along which `b` was repeated.
///
/// The gradient with respect to `a` is `multiply` of `dy` and `b`.
///
/// ```
/// use engraft_kernels::multiply_gradient;
/// let mut db = [0.0; 2];
/// multiply_gradient(&[2, 2], &[1, 2], &[1.0, 2.0, 3.0, 4.0], &[1.0, 1.0, 1.0, 0.5], &mut db);
/// assert_eq!(db, [1.0 + 3.0, 2.0 + 2.0]);
/// ```
pub fn multiply_gradient(a_shape: &[usize], b_shape: &[usize], a: &[f32], dy: &[f32], db: &mut [f32]) {
    let broadcast = Broadcast { a: a_shape, b: b_shape };
    let [a_len, b_len] = broadcast.lengths();
    check_len("dy", dy, a.len());
    check_len("db", db, a.len() / a_len.max(1) * b_len);
    let (width, scalar) = (broadcast.width(), broadcast.is_scalar_per_row());
    let samples = a.par_chunks(a_len.max(1)).zip(dy.par_chunks(a_len.max(1)));
    db.par_chunks_mut(b_len.max(1)).zip(samples).for_each(|(db, (a, dy))| {
        // Summed in f64, as a sum over an image may have a hundred thousand terms.
        let mut sums = vec![0.0f64; b_len];
        broadcast.for_each_row(|row, offset| {
            let products = a[row..][..width].iter().zip(&dy[row..]).map(|(a, dy)| f64::from(a * dy));
            if scalar {
                sums[offset] += products.sum::<f64>();
            } else {
                sums[offset..].iter_mut().zip(products).for_each(|(sum, product)| *sum += product);
            }
        });
        db.iter_mut().zip(&sums).for_each(|(db, &sum)| *db = sum as f32);
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_same_for_any_threads, integers, uniform};

    /// The index into `b` of every element of `a`, computed axis by axis.
    fn broadcast_indices(a: &[usize], b: &[usize]) -> Vec<usize> {
        (0..a.iter().product())
            .map(|index| {
                let (mut rest, mut offset, mut stride) = (index, 0, 1);
                for (size, size_b) in a.iter().zip(b).rev() {
                    offset += rest % size % size_b * stride;
                    rest /= size;
                    stride *= size_b;
                }
                offset
            })
            .collect()
    }

    #[test]
    fn products_and_their_gradients_agree_with_plain_loops() {
        let a_shape = [3, 4, 5];
        for b_shape in [[3, 4, 5], [1, 1, 5], [3, 4, 1], [1, 4, 1], [3, 1, 5], [1, 1, 1]] {
            let b_len: usize = b_shape.iter().product();
            let (a, b, dy) = (integers(120, 1), integers(2 * b_len, 2), integers(120, 3));
            let (mut y, mut db) = (vec![f32::NAN; 120], vec![f32::NAN; 2 * b_len]);
            multiply(&a_shape, &b_shape, &a, &b, &mut y);
            multiply_gradient(&a_shape, &b_shape, &a, &dy, &mut db);
            let (mut products, mut sums) = (vec![0.0; 120], vec![0.0; 2 * b_len]);
            for sample in 0..2 {
                for (i, index_b) in broadcast_indices(&a_shape, &b_shape).into_iter().enumerate() {
                    let (i, j) = (sample * 60 + i, sample * b_len + index_b);
                    products[i] = a[i] * b[j];
                    sums[j] += a[i] * dy[i];
                }
            }
            assert_eq!(y, products, "{b_shape:?}");
            assert_eq!(db, sums, "{b_shape:?}");
        }
    }

    #[test]
    fn same_bits_for_any_number_of_threads() {
        let (a, dy) = (uniform(4 * 300, 1), uniform(4 * 300, 2));
        assert_same_for_any_threads(|| {
            let mut db = vec![0.0; 4 * 3];
            multiply_gradient(&[100, 3], &[1, 3], &a, &dy, &mut db);
            db
        });
    }

    #[test]
    fn vectors_and_empty_batches() {
        let mut y = [0.0; 2];
        multiply(&[1], &[1], &[2.0, 3.0], &[5.0, 7.0], &mut y);
        assert_eq!(y, [10.0, 21.0]);
        multiply(&[2, 2], &[1, 2], &[], &[], &mut []);
    }

    #[test]
    #[should_panic(expected = "must have the sizes of `a`")]
    fn shapes_that_do_not_fit() {
        multiply(&[2, 2], &[1, 3], &[1.0; 4], &[1.0; 3], &mut [0.0; 4]);
    }
}
