//! General matrix multiplication, the work inside dense and convolution layers.

use crate::Activation;
use crate::chunks::check_len;
use crate::tiles::{Tile, Tiles};

/// A matrix read through strides: element (i, j) is `data[i * row_stride + j * col_stride]`.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a> {
    /// The values, starting with element (0, 0).
    pub data: &'a [f32],
    /// Distance from one row to the next.
    pub row_stride: usize,
    /// Distance from one column to the next.
    pub col_stride: usize,
}

impl<'a> Matrix<'a> {
    /// `data` as rows of `cols` values.
    pub fn row_major(data: &'a [f32], cols: usize) -> Self {
        Self { data, row_stride: cols, col_stride: 1 }
    }

    /// The transpose of `data`'s rows of `cols` values: a matrix of `cols` rows.
    pub fn transposed(data: &'a [f32], cols: usize) -> Self {
        Self { data, row_stride: 1, col_stride: cols }
    }

    /// The part that starts at element (`row`, `col`).
    pub(crate) fn skip(self, row: usize, col: usize) -> Self {
        let start = row * self.row_stride + col * self.col_stride;
        Self { data: self.data.get(start..).unwrap_or_default(), ..self }
    }

    fn check(&self, name: &str, rows: usize, cols: usize) {
        if rows > 0 && cols > 0 {
            let last = (rows - 1) * self.row_stride + (cols - 1) * self.col_stride;
            assert!(last < self.data.len(), "`{name}`: {rows} x {cols} does not fit its {} values", self.data.len());
        }
    }
}

/// `c = a b`, or `c += a b` with `accumulate`: `a` is m x k, `b` k x n, `c` row-major m x n.
///
/// ```
/// use engraft_kernels::{Matrix, gemm};
/// let mut c = [0.0; 2];
/// gemm(1, 2, 2, Matrix::row_major(&[1.0, 2.0], 2), Matrix::transposed(&[3.0, 4.0, 5.0, 6.0], 2), false, &mut c);
/// assert_eq!(c, [11.0, 17.0]);
/// ```
pub fn gemm(m: usize, k: usize, n: usize, a: Matrix, b: Matrix, accumulate: bool, c: &mut [f32]) {
    gemm_then(m, k, n, a, b, accumulate, c, |_| {});
}

/// [`gemm`] that calls `finish` on every tile of `c` while it is in cache.
#[expect(clippy::too_many_arguments, reason = "the parameters of gemm")]
pub(crate) fn gemm_then(
    m: usize,
    k: usize,
    n: usize,
    a: Matrix,
    b: Matrix,
    accumulate: bool,
    c: &mut [f32],
    finish: impl Fn(&mut Tile) + Sync,
) {
    check_len("c", c, m * n);
    a.check("a", m, k);
    b.check("b", k, n);
    Tiles::new(c, 1, [m, n], tile_size(m, n)).for_each(|mut tile| {
        let (a, b) = (a.skip(tile.rows.start, 0), b.skip(0, tile.columns.start));
        gemm_tile(k, a, b, accumulate, &mut tile);
        finish(&mut tile);
    });
}

/// How the output is cut. Each tile packs its own operands, so tiles are as large as keeps many threads busy.
fn tile_size(m: usize, n: usize) -> [usize; 2] {
    if m <= 64 { [m, 256] } else { [128, n.min(512)] }
}

/// `tile = a b` or `tile += a b` on the calling thread: `a` has the tile's rows and `k` columns, `b` its columns.
#[expect(unsafe_code, reason = "matrixmultiply takes pointers")]
pub(crate) fn gemm_tile(k: usize, a: Matrix, b: Matrix, accumulate: bool, tile: &mut Tile) {
    let (m, n) = (tile.rows.len(), tile.columns.len());
    a.check("a", m, k);
    b.check("b", k, n);
    let stride = |stride: usize| isize::try_from(stride).expect("a stride within a slice fits isize");
    let beta = if accumulate { 1.0 } else { 0.0 };
    let (c, c_row_stride) = tile.as_mut_ptr();
    // SAFETY: `check` showed that all of a and b lie within their slices; c is the tile's, borrowed for writing, with rows
    // that do not overlap.
    unsafe {
        matrixmultiply::sgemm(
            m,
            k,
            n,
            1.0,
            a.data.as_ptr(),
            stride(a.row_stride),
            stride(a.col_stride),
            b.data.as_ptr(),
            stride(b.row_stride),
            stride(b.col_stride),
            beta,
            c,
            stride(c_row_stride),
            1,
        );
    }
}

/// Adds `bias` (one value for each column of the whole matrix) and applies `activation` to a tile.
pub(crate) fn finish_tile(bias: Option<&[f32]>, activation: Activation, tile: &mut Tile) {
    let columns = tile.columns.clone();
    for row in 0..tile.rows.len() {
        let row = tile.row(row);
        if let Some(bias) = bias {
            row.iter_mut().zip(&bias[columns.clone()]).for_each(|(y, bias)| *y += bias);
        }
        activation.apply_serial(row);
    }
}
