//! Batches of matrix products of two operands that are both computed values, as in attention, and their gradients.

use rayon::prelude::*;

use crate::chunks::check_len;
use crate::gemm::{Matrix, gemm};

/// The sizes of a batch of matrix products `c = a b`, with the matrices of both operands that each product reads.
///
/// ```
/// use engraft_kernels::MatMul;
/// // Two products of a row by the same transposed matrix.
/// let product = MatMul::new(&[2, 1, 2], &[1, 3, 2], [false, true]);
/// let mut c = [0.0; 6];
/// product.multiply(&[1.0, 2.0, 0.0, -1.0], &[1.0, 0.0, 0.0, 1.0, 1.0, 1.0], &mut c);
/// assert_eq!(c, [1.0, 2.0, 3.0, 0.0, -1.0, -1.0]);
/// ```
#[derive(Clone, Debug)]
pub struct MatMul {
    m: usize,
    k: usize,
    n: usize,
    transpose: [bool; 2],
    /// Number of matrices in each operand.
    counts: [usize; 2],
    /// For each product, the index of its matrix in each operand.
    operands: Vec<[usize; 2]>,
}

impl MatMul {
    /// Products of operands of these shapes: `a` is `[.., m, k]`, `b` is `[.., k, n]`, and the result `[.., m, n]`.
    ///
    /// An operand with `transpose` is stored as `[.., k, m]` or `[.., n, k]`. It is broadcast along its axes of size 1 before the
    /// last two.
    ///
    /// # Panics
    /// If the shapes don't fit each other.
    pub fn new(a: &[usize], b: &[usize], transpose: [bool; 2]) -> Self {
        assert!(a.len() == b.len() && a.len() >= 2, "matrices of shapes {a:?} and {b:?} differ in rank");
        let (a_leading, a_matrix) = a.split_at(a.len() - 2);
        let (b_leading, b_matrix) = b.split_at(b.len() - 2);
        let oriented = |matrix: &[usize], transposed: bool| match transposed {
            false => [matrix[0], matrix[1]],
            true => [matrix[1], matrix[0]],
        };
        let ([m, k], [b_rows, n]) = (oriented(a_matrix, transpose[0]), oriented(b_matrix, transpose[1]));
        assert!(k == b_rows, "matrices of {m} x {k} and {b_rows} x {n} can't be multiplied");
        let counts = [a_leading, b_leading].map(|leading| leading.iter().product());
        Self { m, k, n, transpose, counts, operands: broadcast(a_leading, b_leading) }
    }

    /// Forward pass: overwrites `c` with the products.
    ///
    /// # Panics
    /// If a slice has another length than its shape.
    pub fn multiply(&self, a: &[f32], b: &[f32], c: &mut [f32]) {
        let Self { m, k, n, .. } = *self;
        self.check(a, b, c);
        c.par_chunks_exact_mut((m * n).max(1)).zip(&self.operands).for_each(|(c, &[i, j])| {
            gemm(m, k, n, self.left(a, i), self.right(b, j), false, c);
        });
    }

    /// Overwrites `da` with the gradient with respect to the left operand: `dc bᵀ`, summed over the products that share a
    /// matrix of `a`.
    ///
    /// ```
    /// use engraft_kernels::MatMul;
    /// let mut da = [0.0; 2];
    /// MatMul::new(&[1, 2], &[2, 1], [false, false]).left_gradient(&[3.0, -4.0], &[10.0], &mut da);
    /// assert_eq!(da, [30.0, -40.0]);
    /// ```
    ///
    /// # Panics
    /// If a slice has another length than its shape.
    pub fn left_gradient(&self, b: &[f32], dc: &[f32], da: &mut [f32]) {
        let Self { m, k, n, transpose, .. } = *self;
        self.check(da, b, dc);
        self.gradient(0, m * k, da, |product, accumulate, da| {
            let (dc, b) = (self.product(dc, product), self.right(b, self.operands[product][1]));
            match transpose[0] {
                false => gemm(m, n, k, dc, b.transpose(), accumulate, da),
                true => gemm(k, n, m, b, dc.transpose(), accumulate, da),
            }
        });
    }

    /// Overwrites `db` with the gradient with respect to the right operand: `aᵀ dc`, summed over the products that share a
    /// matrix of `b`.
    ///
    /// ```
    /// use engraft_kernels::MatMul;
    /// let mut db = [0.0; 2];
    /// MatMul::new(&[1, 2], &[2, 1], [false, false]).right_gradient(&[3.0, -4.0], &[10.0], &mut db);
    /// assert_eq!(db, [30.0, -40.0]);
    /// ```
    ///
    /// # Panics
    /// If a slice has another length than its shape.
    pub fn right_gradient(&self, a: &[f32], dc: &[f32], db: &mut [f32]) {
        let Self { m, k, n, transpose, .. } = *self;
        self.check(a, db, dc);
        self.gradient(1, k * n, db, |product, accumulate, db| {
            let (dc, a) = (self.product(dc, product), self.left(a, self.operands[product][0]));
            match transpose[1] {
                false => gemm(k, m, n, a.transpose(), dc, accumulate, db),
                true => gemm(n, m, k, dc.transpose(), a, accumulate, db),
            }
        });
    }

    /// Calls `add(product, accumulate, matrix)` for each product, in order, with the gradient of the operand's matrix of `len`
    /// values that the product reads. The matrices are computed in parallel, the products of one matrix one after another.
    fn gradient(&self, operand: usize, len: usize, to: &mut [f32], add: impl Fn(usize, bool, &mut [f32]) + Sync) {
        let mut readers = vec![Vec::new(); self.counts[operand]];
        for (product, operands) in self.operands.iter().enumerate() {
            readers[operands[operand]].push(product);
        }
        to.par_chunks_exact_mut(len.max(1)).zip(&readers).for_each(|(matrix, readers)| {
            readers.iter().enumerate().for_each(|(index, &product)| add(product, index > 0, matrix));
        });
    }

    fn left<'a>(&self, a: &'a [f32], index: usize) -> Matrix<'a> {
        let Self { m, k, transpose: [transposed, _], .. } = *self;
        let data = &a[index * m * k..][..m * k];
        if transposed { Matrix::transposed(data, m) } else { Matrix::row_major(data, k) }
    }

    fn right<'a>(&self, b: &'a [f32], index: usize) -> Matrix<'a> {
        let Self { k, n, transpose: [_, transposed], .. } = *self;
        let data = &b[index * k * n..][..k * n];
        if transposed { Matrix::transposed(data, k) } else { Matrix::row_major(data, n) }
    }

    fn product<'a>(&self, c: &'a [f32], index: usize) -> Matrix<'a> {
        Matrix::row_major(&c[index * self.m * self.n..][..self.m * self.n], self.n)
    }

    #[track_caller]
    fn check(&self, a: &[f32], b: &[f32], c: &[f32]) {
        let Self { m, k, n, counts: [left, right], .. } = *self;
        check_len("left operand", a, left * m * k);
        check_len("right operand", b, right * k * n);
        check_len("product", c, self.operands.len() * m * n);
    }
}

/// The index of the matrix of each operand, for every product in row-major order of the broadcast leading axes.
fn broadcast(a: &[usize], b: &[usize]) -> Vec<[usize; 2]> {
    let mut pairs = vec![[0, 0]];
    for (&a, &b) in a.iter().zip(b) {
        assert!(a == b || a == 1 || b == 1, "leading axes of {a} and {b} can't be broadcast");
        let next = |&[i, j]: &[usize; 2]| {
            (0..if a == 1 { b } else { a }).map(move |index| {
                let [in_a, in_b] = [a, b].map(|size| if size == 1 { 0 } else { index });
                [i * a + in_a, j * b + in_b]
            })
        };
        pairs = pairs.iter().flat_map(next).collect();
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_same_for_any_threads, integers, uniform};

    /// Shapes of both operands as `[.., m, k]` and `[.., k, n]`: one product, a batch, and broadcast axes on either side.
    const SHAPES: [(&[usize], &[usize]); 5] = [
        (&[3, 4], &[4, 5]),
        (&[2, 3, 7, 5], &[2, 3, 5, 9]),
        (&[2, 1, 3, 4], &[2, 3, 4, 2]),
        (&[2, 3, 2, 1, 4], &[1, 3, 1, 4, 6]),
        (&[1, 33, 20], &[4, 20, 70]),
    ];

    fn swapped(shape: &[usize], swap: bool) -> Vec<usize> {
        let mut shape = shape.to_vec();
        let last = shape.len() - 1;
        if swap {
            shape.swap(last - 1, last);
        }
        shape
    }

    /// Visits every multiply-accumulate as offsets into the operands and the product.
    fn for_each_product(a: &[usize], b: &[usize], transpose: [bool; 2], mut visit: impl FnMut(usize, usize, usize)) {
        let ([m, k], n) = ([a[a.len() - 2], a[a.len() - 1]], b[b.len() - 1]);
        for (product, [i, j]) in broadcast(&a[..a.len() - 2], &b[..b.len() - 2]).into_iter().enumerate() {
            for row in 0..m {
                for column in 0..n {
                    for depth in 0..k {
                        let left = if transpose[0] { depth * m + row } else { row * k + depth };
                        let right = if transpose[1] { column * k + depth } else { depth * n + column };
                        visit(i * m * k + left, j * k * n + right, product * m * n + row * n + column);
                    }
                }
            }
        }
    }

    #[test]
    fn products_and_gradients_are_those_of_plain_loops() {
        for (a_shape, b_shape) in SHAPES {
            for transpose in [[false, false], [false, true], [true, false], [true, true]] {
                let product = MatMul::new(&swapped(a_shape, transpose[0]), &swapped(b_shape, transpose[1]), transpose);
                let len = |shape: &[usize]| shape.iter().product::<usize>();
                let (a, b) = (integers(len(a_shape), 1), integers(len(b_shape), 2));
                let dc = integers(product.operands.len() * product.m * product.n, 3);
                let [mut c, mut da, mut db] = [dc.len(), a.len(), b.len()].map(|len| vec![0.0; len]);
                for_each_product(a_shape, b_shape, transpose, |i, j, at| {
                    c[at] += a[i] * b[j];
                    da[i] += dc[at] * b[j];
                    db[j] += dc[at] * a[i];
                });
                let [mut found, mut found_da, mut found_db] =
                    [c.len(), a.len(), b.len()].map(|len| vec![f32::NAN; len]);
                product.multiply(&a, &b, &mut found);
                product.left_gradient(&b, &dc, &mut found_da);
                product.right_gradient(&a, &dc, &mut found_db);
                assert_eq!((found, found_da, found_db), (c, da, db), "{a_shape:?} {b_shape:?} {transpose:?}");
            }
        }
    }

    #[test]
    fn broadcast_pairs_are_in_the_order_of_the_result() {
        assert_eq!(broadcast(&[], &[]), [[0, 0]]);
        assert_eq!(broadcast(&[2, 1], &[1, 2]), [[0, 0], [0, 1], [1, 0], [1, 1]]);
        assert_eq!(broadcast(&[2, 2], &[2, 1]), [[0, 0], [1, 0], [2, 1], [3, 1]]);
    }

    #[test]
    fn an_empty_batch_has_no_products() {
        MatMul::new(&[0, 2, 3], &[0, 3, 4], [false; 2]).multiply(&[], &[], &mut []);
        let mut db = [f32::NAN; 0];
        MatMul::new(&[0, 2, 3], &[0, 3, 4], [false; 2]).right_gradient(&[], &[], &mut db);
    }

    #[test]
    fn same_bits_for_any_number_of_threads() {
        let (a, b) = (uniform(3 * 70 * 40, 1), uniform(40 * 90, 2));
        assert_same_for_any_threads(|| {
            let product = MatMul::new(&[3, 70, 40], &[1, 40, 90], [false; 2]);
            let mut c = vec![0.0; 3 * 70 * 90];
            product.multiply(&a, &b, &mut c);
            let mut db = vec![0.0; b.len()];
            product.right_gradient(&a, &c, &mut db);
            [c, db].concat()
        });
    }

    #[test]
    #[should_panic(expected = "matrices of 2 x 3 and 4 x 5 can't be multiplied")]
    fn matrices_that_do_not_fit_are_refused() {
        MatMul::new(&[2, 3], &[4, 5], [false; 2]);
    }
}
