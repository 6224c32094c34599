//! A view of a matrix in memory.

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

    /// The transpose.
    pub(crate) fn turned(self) -> Self {
        Self { data: self.data, row_stride: self.col_stride, col_stride: self.row_stride }
    }

    /// Panics unless `rows` x `cols` elements lie within the values.
    pub(super) fn check(&self, name: &str, rows: usize, cols: usize) {
        if rows > 0 && cols > 0 {
            let last = (rows - 1) * self.row_stride + (cols - 1) * self.col_stride;
            assert!(last < self.data.len(), "`{name}`: {rows} x {cols} does not fit its {} values", self.data.len());
        }
    }
}
