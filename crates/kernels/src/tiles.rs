//! Writing one matrix from several threads, each its own tile.

#![expect(unsafe_code, reason = "threads write interleaved rows of one slice, which no safe split of it allows")]

use std::marker::PhantomData;
use std::ops::Range;

use rayon::prelude::*;

use crate::chunks::check_len;
use crate::tasks::for_each_task;

/// A stack of row-major matrices, cut into tiles that may be written at the same time.
///
/// How it is cut depends on the shapes alone, so what is computed does not depend on the number of threads.
pub(crate) struct Tiles<'a> {
    start: *mut f32,
    /// Layers, row blocks and column blocks.
    counts: [usize; 3],
    /// Rows and columns of a layer.
    layer: [usize; 2],
    /// Rows and columns of a tile; fewer at the end.
    tile: [usize; 2],
    values: PhantomData<&'a mut [f32]>,
}

// SAFETY: `Tiles` owns a unique borrow of f32 values, and hands each of them to one `Tile` only (`Tiles::get`).
unsafe impl Sync for Tiles<'_> {}

/// A rectangle of one matrix, borrowed for writing.
pub(crate) struct Tile<'a> {
    /// Which matrix of the stack.
    pub(crate) layer: usize,
    /// The rows of the matrix it covers.
    pub(crate) rows: Range<usize>,
    /// The columns it covers.
    pub(crate) columns: Range<usize>,
    start: *mut f32,
    row_stride: usize,
    values: PhantomData<&'a mut [f32]>,
}

impl<'a> Tiles<'a> {
    /// `values` as `layers` matrices of `layer = [rows, columns]`, cut into tiles of `tile = [rows, columns]`.
    pub(crate) fn new(values: &'a mut [f32], layers: usize, layer: [usize; 2], tile: [usize; 2]) -> Self {
        check_len("output", values, layers * layer[0] * layer[1]);
        let tile = tile.map(|size| size.max(1));
        let counts = [layers, layer[0].div_ceil(tile[0]), layer[1].div_ceil(tile[1])];
        Self { start: values.as_mut_ptr(), counts, layer, tile, values: PhantomData }
    }

    /// Calls `work` once for every tile, in parallel.
    pub(crate) fn for_each(self, work: impl Fn(Tile) + Sync) {
        (0..self.count()).into_par_iter().for_each(|index| {
            // SAFETY: the range holds every index once.
            work(unsafe { self.get(index) });
        });
    }

    /// [`for_each`](Self::for_each) with a part of `scratch` of length `part` for each tile at work; at least one part is needed.
    pub(crate) fn for_each_with(self, scratch: &mut [f32], part: usize, work: impl Fn(Tile, &mut [f32]) + Sync) {
        if part == 0 {
            return self.for_each(|tile| work(tile, &mut []));
        }
        for_each_task(self.count(), scratch, part, |index, scratch| {
            // SAFETY: every task is done once.
            work(unsafe { self.get(index) }, scratch);
        });
    }

    fn count(&self) -> usize {
        self.counts.iter().product()
    }

    /// Tile `index`, counted along columns first.
    ///
    /// # Safety
    /// Each index must be asked for at most once.
    unsafe fn get(&self, index: usize) -> Tile<'_> {
        assert!(index < self.count());
        let [_, row_blocks, column_blocks] = self.counts;
        let [height, width] = self.layer;
        let layer = index / (row_blocks * column_blocks);
        let block = |index: usize, size: usize, end: usize| index * size..end.min((index + 1) * size);
        let rows = block(index / column_blocks % row_blocks, self.tile[0], height);
        let columns = block(index % column_blocks, self.tile[1], width);
        // SAFETY: layer, rows and columns lie within the shape that `new` compared with the slice's length.
        let start = unsafe { self.start.add((layer * height + rows.start) * width + columns.start) };
        Tile { layer, rows, columns, start, row_stride: width, values: PhantomData }
    }
}

impl<'a> Tile<'a> {
    /// All of one matrix of `rows` x `columns`.
    pub(crate) fn whole(rows: usize, columns: usize, values: &'a mut [f32]) -> Self {
        check_len("output", values, rows * columns);
        let (start, row_stride) = (values.as_mut_ptr(), columns);
        Self { layer: 0, rows: 0..rows, columns: 0..columns, start, row_stride, values: PhantomData }
    }

    /// Some rows of the tile, counted from its first; one at least.
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

    /// The first element and the distance between rows. Valid for reading and writing the tile's rows and columns.
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
        let (layers, rows, columns) = (2, 5, 7);
        let mut values = vec![-1.0; layers * rows * columns];
        let threads = Threads::new(Some(3)).unwrap();
        threads.run(|| {
            Tiles::new(&mut values, layers, [rows, columns], [2, 3]).for_each(|mut tile| {
                for row in 0..tile.rows.len() {
                    let first = (tile.layer * rows + tile.rows.start + row) * columns + tile.columns.start;
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
