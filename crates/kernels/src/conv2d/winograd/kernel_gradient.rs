//! The gradient by the filters, through the points: the exact transpose of the forward way.
//!
//! A chunk of tiles at a time: what they read and the gradients of what they computed are transformed, and their products added
//! up for each point; at the end the sums are taken back to filters. Chunks, and the parts of a chunk's products, are cut by
//! the shape alone, and every sum runs over tiles in order: results do not depend on the threads.

#![expect(unsafe_code, reason = "tasks write interleaved rows")]

use rayon::prelude::*;

use super::convolve::Convolution;
use super::tiles::Images;
use super::transform::{self, INPUT, OUTPUT, POINTS};
use crate::aligned::{LINE, aligned, odd_lines};
use crate::microkernel::{Columns, Product, Right, columns, multiply};
use crate::shared::Shared;
use crate::simd::{Isa, Kernel, Simd};

/// Tiles of a chunk: sums are read and written once a chunk, which costs 1 / (4 * tiles) of the products' time at most; and a
/// chunk's inputs and gradients should stay in the last-level cache.
const CHUNK: usize = 256;

/// Tiles that a task transforms.
const TASK: usize = 8;

/// How much room the parts of a chunk take.
#[derive(Clone, Copy)]
struct Room {
    /// From one tile to the next, of inputs and of gradients.
    row: [usize; 2],
    /// From one point to the next.
    point: [usize; 2],
    /// One tile with a border.
    border: usize,
}

impl Room {
    fn of(convolution: &Convolution) -> Self {
        let filters = convolution.filters;
        let tiles = CHUNK.min(convolution.tiles.count()).max(1);
        let row =
            [filters.from, filters.panels() * filters.columns].map(|channels| channels.next_multiple_of(LINE) + LINE);
        let border = INPUT * INPUT * filters.from.max(filters.to);
        Self { row, point: row.map(|row| odd_lines(tiles * row)), border }
    }

    fn parts(&self) -> [usize; 2] {
        self.point.map(|point| POINTS * point)
    }
}

pub(super) fn scratch_len(convolution: &Convolution, threads: usize) -> usize {
    let room = Room::of(convolution);
    LINE + convolution.filters.len() + room.parts().iter().sum::<usize>() + threads * room.border
}

/// `dw`, HWIO, from the images `x` and the gradients `dy` by the outputs.
pub(super) fn kernel_gradient(
    convolution: &Convolution,
    isa: Isa,
    x: &[f32],
    dy: &[f32],
    dw: &mut [f32],
    scratch: &mut [f32],
) {
    let (room, filters, tiles) = (Room::of(convolution), convolution.filters, convolution.tiles);
    let x = Images { values: x, size: convolution.from_size, channels: filters.from };
    let dy = Images { values: dy, size: tiles.size, channels: filters.to };
    for images in [&x, &dy] {
        assert_eq!(images.values.len(), tiles.images * images.size.iter().product::<usize>() * images.channels);
    }
    let (sums, scratch) = aligned(scratch).split_at_mut(filters.len());
    let (inputs, scratch) = scratch.split_at_mut(room.parts()[0]);
    let (gradients, borders) = scratch.split_at_mut(room.parts()[1]);
    assert!(borders.len() >= room.border, "scratch is too short");
    sums.fill(0.0);
    for first in (0..tiles.count()).step_by(CHUNK) {
        let count = CHUNK.min(tiles.count() - first);
        let to = [Shared::new(inputs), Shared::new(gradients)];
        let borders = borders.par_chunks_exact_mut(room.border);
        let tasks = std::sync::atomic::AtomicUsize::new(0);
        borders.with_max_len(1).for_each(|border| {
            loop {
                let task = TASK * tasks.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                if task >= count {
                    break;
                }
                let range = task..count.min(task + TASK);
                isa.run(Transform { convolution, room, x, dy, first, range, to: &to, border });
            }
        });
        let (inputs, gradients) = (&*inputs, &*gradients);
        sums.par_chunks_exact_mut(filters.panel()).enumerate().for_each(|(panel, sums)| {
            sums.par_chunks_exact_mut(filters.point()).enumerate().for_each(|(point, sums)| {
                isa.run(Add { room, tiles: count, inputs, gradients, panel, point, channels: filters.from, sums });
            });
        });
    }
    filters.interpolate(isa, sums, dw);
}

/// The tiles of a task, taken to the points.
struct Transform<'a> {
    convolution: &'a Convolution,
    room: Room,
    x: Images<'a>,
    dy: Images<'a>,
    /// The chunk's first tile.
    first: usize,
    /// Tiles within the chunk.
    range: std::ops::Range<usize>,
    to: &'a [Shared<'a>; 2],
    border: &'a mut [f32],
}

impl Kernel for Transform<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { convolution, room, x, dy, first, range, to, border } = self;
        for tile in range {
            let place = convolution.tiles.place(first + tile);
            let square = x.square::<S, INPUT>(simd, place, convolution.pad, border);
            // SAFETY: `square` lies within the images or the border; these rows are this tile's alone.
            unsafe {
                let to = to[0].at(tile * room.row[0], room.row[0]);
                transform::pixels(
                    simd,
                    x.channels,
                    square,
                    #[inline(always)]
                    |d| transform::input(simd, d),
                    to,
                    room.point[0],
                );
            }
            let square = dy.square::<S, OUTPUT>(simd, place, [0, 0], border);
            // SAFETY: as above.
            unsafe {
                let to = to[1].at(tile * room.row[1], room.row[1]);
                transform::pixels(
                    simd,
                    dy.channels,
                    square,
                    #[inline(always)]
                    |y| transform::output_gradient(simd, y),
                    to,
                    room.point[1],
                );
            }
        }
    }
}

/// The products of a chunk at one point, for one panel, added to their sums.
struct Add<'a> {
    room: Room,
    tiles: usize,
    inputs: &'a [f32],
    gradients: &'a [f32],
    panel: usize,
    point: usize,
    channels: usize,
    sums: &'a mut [f32],
}

impl Kernel for Add<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { room, tiles, inputs, gradients, panel, point, channels, sums } = self;
        let width = columns::<S>();
        let inputs = &inputs[point * room.point[0]..];
        let gradients = &gradients[point * room.point[1] + panel * width..];
        // SAFETY: both have a row for every tile, of all channels; the sums have a row for every channel.
        unsafe {
            let a = Columns { start: inputs.as_ptr(), inner: room.row[0] };
            let b = Right { start: gradients.as_ptr(), inner: room.row[1] };
            let c = Product { start: sums.as_mut_ptr(), outer: width };
            multiply(simd, channels, tiles, a, b, c, true, std::ptr::null());
        }
    }
}
