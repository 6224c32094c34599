//! An output matrix cut into tiles that threads write in parallel: the cache blocks of GEMM and im2col.

#![expect(
    unsafe_code,
    reason = "threads write interleaved rows of one slice, which safe slice splitting can't express"
)]

use std::marker::PhantomData;
use std::ops::Range;

use rayon::prelude::*;

use crate::chunks::check_len;
use crate::parallel_tasks::for_each_task;

/// A stack of row-major matrices of one shape, cut into tiles that can be written in parallel.
pub(crate) struct Tiles<'a> {
    start: *mut f32,
    /// Number of matrices, of tiles down a matrix, and of tiles across it.
    counts: [usize; 3],
    /// Rows and columns of a matrix.
    shape: [usize; 2],
    /// Rows and columns of a tile. The last tiles of a matrix may be smaller.
    tile: [usize; 2],
    values: PhantomData<&'a mut [f32]>,
}

// SAFETY: `Tiles` owns a unique borrow of f32 values, and gives each value to one `Tile` only (`Tiles::get`).
unsafe impl Sync for Tiles<'_> {}

/// A rectangle of one matrix, mutably borrowed.
pub(crate) struct Tile<'a> {
    /// The index of the matrix in the stack.
    pub(crate) matrix: usize,
    /// The rows of the matrix that the tile covers.
    pub(crate) rows: Range<usize>,
    /// The columns of the matrix that the tile covers.
    pub(crate) columns: Range<usize>,
    start: *mut f32,
    row_stride: usize,
    values: PhantomData<&'a mut [f32]>,
}

impl<'a> Tiles<'a> {
    /// `values` as `matrices` matrices of `shape = [rows, columns]`, cut into tiles of `tile = [rows, columns]`.
    pub(crate) fn new(values: &'a mut [f32], matrices: usize, shape: [usize; 2], tile: [usize; 2]) -> Self {
        check_len("output", values, matrices * shape[0] * shape[1]);
        let tile = tile.map(|size| size.max(1));
        let counts = [matrices, shape[0].div_ceil(tile[0]), shape[1].div_ceil(tile[1])];
        Self { start: values.as_mut_ptr(), counts, shape, tile, values: PhantomData }
    }

    /// Calls `work` once for every tile, in parallel.
    pub(crate) fn for_each(self, work: impl Fn(Tile) + Sync) {
        (0..self.count()).into_par_iter().for_each(|index| {
            // SAFETY: the range holds every index once.
            work(unsafe { self.get(index) });
        });
    }

    /// [`for_each`](Self::for_each) with `len` values of `scratch` for each running call of `work`.
    ///
    /// # Panics
    /// If `scratch` is shorter than `len`.
    pub(crate) fn for_each_with(self, scratch: &mut [f32], len: usize, work: impl Fn(Tile, &mut [f32]) + Sync) {
        if len == 0 {
            return self.for_each(|tile| work(tile, &mut []));
        }
        for_each_task(self.count(), scratch, len, |index, scratch| {
            // SAFETY: every task runs once.
            work(unsafe { self.get(index) }, scratch);
        });
    }

    fn count(&self) -> usize {
        self.counts.iter().product()
    }

    /// Tile `index` in row-major order of tiles, matrix by matrix.
    ///
    /// # Safety
    /// Each index may be requested once only, as two tiles of the same index would alias.
    unsafe fn get(&self, index: usize) -> Tile<'_> {
        assert!(index < self.count());
        let [_, row_blocks, column_blocks] = self.counts;
        let [height, width] = self.shape;
        let matrix = index / (row_blocks * column_blocks);
        let block = |index: usize, size: usize, end: usize| index * size..end.min((index + 1) * size);
        let rows = block(index / column_blocks % row_blocks, self.tile[0], height);
        let columns = block(index % column_blocks, self.tile[1], width);
        // SAFETY: matrix, rows and columns lie within the shape that `new` compared with the slice's length.
        let start = unsafe { self.start.add((matrix * height + rows.start) * width + columns.start) };
        Tile { matrix, rows, columns, start, row_stride: width, values: PhantomData }
    }
}

impl<'a> Tile<'a> {
    /// One tile that covers a matrix of `rows` x `columns`.
    pub(crate) fn covering(rows: usize, columns: usize, values: &'a mut [f32]) -> Self {
        check_len("output", values, rows * columns);
        let (start, row_stride) = (values.as_mut_ptr(), columns);
        Self { matrix: 0, rows: 0..rows, columns: 0..columns, start, row_stride, values: PhantomData }
    }

    /// The sub-tile of the given rows, counted from the tile's first row. The range must not be empty.
    pub(crate) fn part(&mut self, rows: Range<usize>) -> Tile<'_> {
        assert!(!rows.is_empty() && rows.end <= self.rows.len());
        // SAFETY: these rows lie within the tile, which is borrowed.
        let start = unsafe { self.start.add(rows.start * self.row_stride) };
        let rows = self.rows.start + rows.start..self.rows.start + rows.end;
        Tile { rows, columns: self.columns.clone(), start, ..*self }
    }

    /// Row `row` of the tile, counted from its first.
    pub(crate) fn row(&mut self, row: usize) -> &mut [f32] {
        assert!(row < self.rows.len());
        // SAFETY: the tile's columns of this row lie within the matrix and belong to this tile alone, which is borrowed.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(row * self.row_stride), self.columns.len()) }
    }

    /// A pointer to the first element, and the row stride. Valid for reading and writing the tile's rows and columns.
    pub(crate) fn as_mut_ptr(&mut self) -> (*mut f32, usize) {
        (self.start, self.row_stride)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Threads;

    #[test]
    fn every_value_is_visited_once_with_its_place() {
        let (matrices, rows, columns) = (2, 5, 7);
        let mut values = vec![-1.0; matrices * rows * columns];
        let threads = Threads::new(Some(3)).unwrap();
        threads.run(|| {
            Tiles::new(&mut values, matrices, [rows, columns], [2, 3]).for_each(|mut tile| {
                for row in 0..tile.rows.len() {
                    let first = (tile.matrix * rows + tile.rows.start + row) * columns + tile.columns.start;
                    assert!(tile.row(row).iter().all(|&value| value == -1.0));
                    (first..).zip(tile.row(row)).for_each(|(index, value)| *value = index as f32);
                }
            });
        });
        assert!(values.iter().enumerate().all(|(i, &value)| value == i as f32), "{values:?}");
    }

    #[test]
    fn tiles_at_work_have_scratch_of_their_own() {
        let mut values = vec![0.0; 64];
        Threads::new(Some(3)).unwrap().run(|| {
            Tiles::new(&mut values, 1, [64, 1], [1, 1]).for_each_with(&mut [0.0; 10], 4, |mut tile, scratch| {
                let row = tile.rows.start as f32;
                scratch.fill(row);
                std::thread::yield_now();
                tile.row(0)[0] = scratch.iter().sum();
            });
        });
        assert!(values.iter().enumerate().all(|(i, &value)| value == 4.0 * i as f32), "{values:?}");
    }

    #[test]
    #[should_panic(expected = "scratch of 3 values is too short for 4")]
    fn too_little_scratch_is_refused() {
        Tiles::new(&mut [0.0], 1, [1, 1], [1, 1]).for_each_with(&mut [0.0; 3], 4, |_, _| {});
    }
}
