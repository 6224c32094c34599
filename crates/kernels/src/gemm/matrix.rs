//! A strided view of a matrix, which is the operand of a product.

/// A matrix read through strides: element (i, j) is `data[i * row_stride + j * col_stride]`.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a> {
    /// The values, starting with element (0, 0).
    pub data: &'a [f32],
    /// Distance between neighbouring rows, in values.
    pub row_stride: usize,
    /// Distance between neighbouring columns, in values.
    pub col_stride: usize,
}

impl<'a> Matrix<'a> {
    /// The row-major matrix of `cols` columns in `data`.
    pub fn row_major(data: &'a [f32], cols: usize) -> Self {
        Self { data, row_stride: cols, col_stride: 1 }
    }

    /// The transpose of the row-major matrix of `cols` columns in `data`. It has `cols` rows.
    pub fn transposed(data: &'a [f32], cols: usize) -> Self {
        Self { data, row_stride: 1, col_stride: cols }
    }

    /// The submatrix from element (`row`, `col`) on; empty if that lies past the end.
    pub(crate) fn skip(self, row: usize, col: usize) -> Self {
        let start = row * self.row_stride + col * self.col_stride;
        Self { data: self.data.get(start..).unwrap_or_default(), ..self }
    }

    /// The transpose of this view. Nothing is copied.
    pub(crate) fn transpose(self) -> Self {
        Self { data: self.data, row_stride: self.col_stride, col_stride: self.row_stride }
    }

    /// Panics if a matrix of `rows` x `cols` exceeds `data`.
    pub(super) fn check(&self, name: &str, rows: usize, cols: usize) {
        if rows > 0 && cols > 0 {
            let last = (rows - 1) * self.row_stride + (cols - 1) * self.col_stride;
            assert!(last < self.data.len(), "`{name}`: {rows} x {cols} does not fit its {} values", self.data.len());
        }
    }
}
