//! The gradient with respect to the kernel in the Winograd domain: the exact transpose of the forward pass.
//!
//! A chunk of tiles at a time: what they read and the gradients of what they computed are transformed, and their products added
//! up for each point; at the end the sums are taken back to filters. Where sums are small there are several, each over a
//! segment of the tiles, so that threads need not wait for each other after every chunk. Segments are cut by the shape alone, and
//! every sum runs over tiles in order: results do not depend on the threads.

#![expect(unsafe_code, reason = "tasks write interleaved rows")]

use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;

use super::convolve::Convolution;
use super::filters::Layout;
use super::tiles::Images;
use super::transform::{self, INPUT, OUTPUT, POINTS};
use crate::aligned::{LINE, aligned, odd_lines};
use crate::cache::second_level;
use crate::microkernel::{Ahead, Columns, Product, Right, columns, multiply};
use crate::number::F32;
use crate::shared::Shared;
use crate::simd::{Isa, Kernel, Simd};

/// Most segments ...
const SEGMENTS: usize = 16;

/// ... and most values that the sums of all may have.
const SUMS: usize = 10 << 20;

/// Tiles of a chunk when a thread has a segment for itself, and a chunk can't stay in its cache. The sums are read and written once
/// a chunk.
const TILES: usize = 128;

/// A chunk that can has a multiple of these.
const NEAR_TILES: usize = 32;

/// Tiles of a chunk when threads share it, and wait for each other twice: up to this many ...
const SHARED_TILES: usize = 512;

/// ... and as many that inputs at one point have this many values. Sums of many channels come from memory once a
/// chunk, so chunks are large.
const INPUTS: usize = 256 * 1024;

/// Tiles that products run over at a time: a line of inputs and of gradients for each, which is half of the first-level cache.
const DEPTH: usize = 128;

/// Tiles that a task transforms.
const TASK: usize = 8;

/// Panels that a task multiplies.
const GROUP: usize = 8;

/// How the tiles are cut, and how much room the parts of a chunk take. A smaller batch never takes more.
#[derive(Clone, Copy)]
struct Room {
    /// Tiles of a segment.
    segment: usize,
    segments: usize,
    /// As many segments as a batch up to this one is cut into at most.
    most_segments: usize,
    /// Threads that work on a segment together.
    workers: usize,
    /// Tiles of a chunk.
    tiles: usize,
    /// From one tile to the next, of inputs and of gradients.
    row: [usize; 2],
    /// From one point to the next.
    point: [usize; 2],
    /// A pixel of zeros.
    zeros: usize,
}

impl Room {
    fn of(convolution: &Convolution, threads: usize) -> Self {
        let (filters, count) = (convolution.filters, convolution.tiles.count().max(1));
        let most = (SUMS / filters.len()).clamp(1, SEGMENTS);
        let segment = count.div_ceil(most).next_multiple_of(TILES);
        // Several segments for each thread, so that one that is held up does not hold up all.
        let workers = if 4 * threads <= most { 1 } else { threads };
        let row =
            [filters.from, filters.panels() * filters.columns].map(|channels| channels.next_multiple_of(LINE) + LINE);
        let tiles = match workers {
            1 => Self::own_tiles(row),
            _ => (INPUTS / filters.from).clamp(TILES, SHARED_TILES),
        };
        let tiles = tiles.min(count);
        let point = row.map(|row| odd_lines(tiles * row));
        let zeros = filters.from.max(filters.to).next_multiple_of(LINE);
        let (segments, most_segments) = (count.div_ceil(segment), most.min(count.div_ceil(TILES)));
        Self { segment, segments, most_segments, workers, tiles, row, point, zeros }
    }

    /// Tiles of a chunk for one thread: as many as have their inputs and gradients in half of its L2 cache, if that is enough.
    fn own_tiles(row: [usize; 2]) -> usize {
        let tile = POINTS * row.iter().sum::<usize>() * size_of::<f32>();
        match second_level() / 2 / tile / NEAR_TILES * NEAR_TILES {
            0 => TILES,
            tiles => tiles.min(TILES),
        }
    }

    /// Inputs and gradients of a chunk.
    fn parts(&self) -> [usize; 2] {
        self.point.map(|point| POINTS * point)
    }

    /// What those who work on a segment need.
    fn len(&self) -> usize {
        self.parts().iter().sum::<usize>() + self.workers * self.zeros + LINE
    }
}

pub(super) fn scratch_len(convolution: &Convolution, threads: usize) -> usize {
    let room = Room::of(convolution, threads);
    LINE + room.most_segments * convolution.filters.len() + threads / room.workers * room.len()
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
    let room = Room::of(convolution, rayon::current_num_threads());
    let (filters, tiles) = (convolution.filters, convolution.tiles);
    let x = Images { values: x, size: convolution.from_size, channels: filters.from };
    let dy = Images { values: dy, size: tiles.size, channels: filters.to };
    for images in [&x, &dy] {
        assert_eq!(images.values.len(), tiles.images * images.size.iter().product::<usize>() * images.channels);
    }
    let gradient = Gradient { convolution, isa, room, x, dy };
    let (sums, scratch) = aligned(scratch).split_at_mut(room.segments * filters.len());
    assert!(scratch.len() >= room.len(), "scratch is too short");
    let segments = Mutex::new(sums.chunks_exact_mut(filters.len()).enumerate());
    let take = || segments.lock().expect("taking does not panic").next();
    scratch.par_chunks_exact_mut(room.len()).with_max_len(1).for_each(|scratch| {
        while let Some((segment, sums)) = take() {
            let tiles = segment * room.segment..tiles.count().min((segment + 1) * room.segment);
            gradient.add_up(tiles, sums, aligned(scratch));
        }
    });
    filters.interpolate(isa, sums, dw);
}

/// A gradient about to be computed.
struct Gradient<'a> {
    convolution: &'a Convolution,
    isa: Isa,
    room: Room,
    x: Images<'a>,
    dy: Images<'a>,
}

impl Gradient<'_> {
    /// The sums over some tiles, a chunk after another.
    fn add_up(&self, tiles: Range<usize>, sums: &mut [f32], scratch: &mut [f32]) {
        let (inputs, scratch) = scratch.split_at_mut(self.room.parts()[0]);
        let (gradients, zeros) = scratch.split_at_mut(self.room.parts()[1]);
        if tiles.is_empty() {
            sums.fill(0.0);
        }
        for first in tiles.clone().step_by(self.room.tiles) {
            let chunk = first..tiles.end.min(first + self.room.tiles);
            self.transform(chunk.clone(), inputs, gradients, zeros);
            self.multiply(chunk.len(), inputs, gradients, first > tiles.start, sums);
        }
    }

    fn transform(&self, chunk: Range<usize>, inputs: &mut [f32], gradients: &mut [f32], zeros: &mut [f32]) {
        let Self { convolution, isa, room, x, dy } = *self;
        let to = [Shared::new(inputs), Shared::new(gradients)];
        let tasks = AtomicUsize::new(0);
        zeros.par_chunks_exact_mut(room.zeros).take(room.workers).with_max_len(1).for_each(|zeros| {
            zeros.fill(0.0);
            take_all(&tasks, chunk.len().div_ceil(TASK), |task| {
                let range = task * TASK..chunk.len().min((task + 1) * TASK);
                isa.run(Transform { convolution, room, x, dy, first: chunk.start, range, to: &to, zeros });
            });
        });
    }

    /// Writes the products of a chunk, or adds them to the sums.
    fn multiply(&self, tiles: usize, inputs: &[f32], gradients: &[f32], accumulate: bool, sums: &mut [f32]) {
        let Self { isa, room, .. } = *self;
        let (filters, sums) = (self.convolution.filters, Shared::new(sums));
        let groups = filters.panels().div_ceil(GROUP);
        let tasks = AtomicUsize::new(0);
        (0..room.workers).into_par_iter().with_max_len(1).for_each(|_| {
            take_all(&tasks, POINTS * groups, |task| {
                let (point, first) = (task / groups, task % groups * GROUP);
                let panels = first..filters.panels().min(first + GROUP);
                isa.run(Add { room, filters, tiles, inputs, gradients, point, panels, accumulate, sums: &sums });
            });
        });
    }
}

/// Calls `run` with one number below `count` after another, those that no other thread has taken.
fn take_all(next: &AtomicUsize, count: usize, mut run: impl FnMut(usize)) {
    loop {
        let task = next.fetch_add(1, Ordering::Relaxed);
        if task >= count {
            return;
        }
        run(task);
    }
}

/// Transforms the tiles of a task.
struct Transform<'a> {
    convolution: &'a Convolution,
    room: Room,
    x: Images<'a>,
    dy: Images<'a>,
    /// The chunk's first tile.
    first: usize,
    /// Tiles within the chunk.
    range: Range<usize>,
    to: &'a [Shared<'a>; 2],
    zeros: &'a [f32],
}

impl Kernel for Transform<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { convolution, room, x, dy, first, range, to, zeros } = self;
        for tile in range {
            let place = convolution.tiles.place(first + tile);
            let square = x.square::<INPUT>(place, convolution.pad, zeros);
            // SAFETY: `square` lies within the images or the zeros; these rows are this tile's alone.
            unsafe {
                let to = to[0].at(tile * room.row[0], room.row[0]);
                transform::pixels::<S, F32, INPUT>(
                    simd,
                    x.channels,
                    &square,
                    #[inline(always)]
                    |d| transform::input(simd, d),
                    to,
                    room.point[0],
                );
            }
            let square = dy.square::<OUTPUT>(place, [0, 0], zeros);
            // SAFETY: as above.
            unsafe {
                let to = to[1].at(tile * room.row[1], room.row[1]);
                transform::pixels::<S, F32, OUTPUT>(
                    simd,
                    dy.channels,
                    &square,
                    #[inline(always)]
                    |y| transform::output_gradient(simd, y),
                    to,
                    room.point[1],
                );
            }
        }
    }
}

/// The products of a chunk at one point, for some panels.
struct Add<'a> {
    room: Room,
    filters: Layout,
    tiles: usize,
    inputs: &'a [f32],
    gradients: &'a [f32],
    point: usize,
    panels: Range<usize>,
    accumulate: bool,
    sums: &'a Shared<'a>,
}

impl Kernel for Add<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { room, filters, tiles, inputs, gradients, point, panels, accumulate, sums } = self;
        let width = columns::<S>();
        let mut first = 0;
        while first < tiles {
            let depth = DEPTH.min(tiles - first);
            let inputs = &inputs[point * room.point[0] + first * room.row[0]..];
            let gradients = &gradients[point * room.point[1] + first * room.row[1]..];
            let mut panel = panels.start;
            while panel < panels.end {
                // SAFETY: both have a row for every tile, of all channels; the sums have a row for every channel, and those of a
                // panel at a point are this task's alone.
                unsafe {
                    let a = Columns { start: inputs.as_ptr(), inner: room.row[0] };
                    let start = gradients[panel * width..].as_ptr();
                    let b = Right { start, inner: room.row[1], vectors: filters.vectors::<S>(panel) };
                    let sums = sums.at(panel * filters.panel() + point * filters.point(), filters.from * width);
                    let c = Product { start: sums, outer: width };
                    multiply::<S, F32, Columns>(
                        simd,
                        filters.from,
                        depth,
                        a,
                        b,
                        c,
                        accumulate || first > 0,
                        Ahead::NOTHING,
                    );
                }
                panel += 1;
            }
            first += depth;
        }
    }
}
