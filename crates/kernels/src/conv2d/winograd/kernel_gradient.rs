//! The gradient with respect to the kernel, computed in the Winograd domain: the exact transpose of the forward pass.
//!
//! Tiles are processed in chunks. The inputs and output gradients of a chunk are transformed. At each point, their matrix product
//! is added to a matrix of sums. At the end, the sums of all points are transformed to the gradient with respect to the filters.
//!
//! If the sums are small, the tiles are cut into segments, each with sums of its own. Then threads needn't wait for each other
//! after every chunk. The shape alone decides the segments, and every sum runs over its tiles in order. So the bits of the
//! gradient don't depend on the number of threads.

#![expect(unsafe_code, reason = "tasks write interleaved rows")]

use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;

use super::convolve::Convolution;
use super::filters::Layout;
use super::tile_grid::Images;
use super::transform::{self, INPUT, OUTPUT, POINTS};
use crate::aligned::{CACHE_LINE, aligned, odd_cache_lines};
use crate::cpu_cache::l2_bytes;
use crate::microkernel::{ColumnMajor, Prefetch, Product, RightOperand, columns, multiply};
use crate::number::F32;
use crate::shared::SharedSlice;
use crate::simd::{Isa, Kernel, Simd};

/// Maximum number of segments that the tiles are cut into.
const MAX_SEGMENTS: usize = 16;

/// Maximum number of values in the sums of all segments, unless one segment needs more.
const MAX_SUM_VALUES: usize = 10 << 20;

/// Maximum number of tiles of a chunk that one thread processes alone, also used if no smaller chunk fits its L2 cache.
///
/// Each chunk reads and writes the sums once, so small chunks that don't fit would only be slower. Segments are a multiple of
/// this number, and chunks that all threads share have at least as many tiles.
const CHUNK_TILES: usize = 128;

/// A chunk that fits the L2 cache has a multiple of this number of tiles.
const CHUNK_TILES_MULTIPLE: usize = 32;

/// Maximum number of tiles of a chunk that all threads process together. They synchronize twice in each chunk.
const MAX_SHARED_CHUNK_TILES: usize = 512;

/// Target size of a chunk that all threads process together: values of its transformed inputs at one point. Such chunks are
/// large, as each chunk reads the sums from memory once.
const SHARED_CHUNK_INPUTS: usize = 256 * 1024;

/// Depth of a matrix product, in tiles. With one cache line of inputs and one of gradients for each tile, it takes half of a 32
/// KiB L1 cache.
const DEPTH: usize = 128;

/// Tiles that one task transforms.
const TASK_TILES: usize = 8;

/// Panels that one task multiplies, at one point.
const TASK_PANELS: usize = 8;

/// How the tiles are cut into segments and chunks, and the layout of a chunk in scratch. A smaller batch never needs more
/// scratch.
#[derive(Clone, Copy)]
struct GradientBlocking {
    /// Tiles of a segment.
    segment: usize,
    /// Number of segments.
    segments: usize,
    /// Maximum number of segments of this batch and all smaller batches.
    max_segments: usize,
    /// Threads that process a segment together.
    workers: usize,
    /// Tiles of a chunk.
    tiles: usize,
    /// Distance from one tile to the next, in the transformed inputs and in the transformed gradients.
    row_stride: [usize; 2],
    /// Distance from one point to the next, in the transformed inputs and in the transformed gradients.
    point_stride: [usize; 2],
    /// Length of the zeros that stand for a pixel of the padding.
    zeros: usize,
}

impl GradientBlocking {
    fn of(convolution: &Convolution, threads: usize) -> Self {
        let (filters, count) = (convolution.filters, convolution.tiles.count().max(1));
        let most = (MAX_SUM_VALUES / filters.len()).clamp(1, MAX_SEGMENTS);
        let segment = count.div_ceil(most).next_multiple_of(CHUNK_TILES);
        // With several segments for each thread, a thread that is interrupted doesn't delay all others.
        let workers = if 4 * threads <= most { 1 } else { threads };
        let row_stride = [filters.in_channels, filters.panels() * filters.columns]
            .map(|len| len.next_multiple_of(CACHE_LINE) + CACHE_LINE);
        let tiles = match workers {
            1 => Self::thread_chunk_tiles(row_stride),
            _ => (SHARED_CHUNK_INPUTS / filters.in_channels).clamp(CHUNK_TILES, MAX_SHARED_CHUNK_TILES),
        };
        let tiles = tiles.min(count);
        let point_stride = row_stride.map(|row_stride| odd_cache_lines(tiles * row_stride));
        let zeros = filters.in_channels.max(filters.out_channels).next_multiple_of(CACHE_LINE);
        let (segments, max_segments) = (count.div_ceil(segment), most.min(count.div_ceil(CHUNK_TILES)));
        Self { segment, segments, max_segments, workers, tiles, row_stride, point_stride, zeros }
    }

    /// Tiles of a chunk that one thread processes: as many as fit half of its L2 cache. If fewer than [`CHUNK_TILES_MULTIPLE`]
    /// fit, or more than [`CHUNK_TILES`], it is [`CHUNK_TILES`].
    fn thread_chunk_tiles(row_stride: [usize; 2]) -> usize {
        let tile = POINTS * row_stride.iter().sum::<usize>() * size_of::<f32>();
        match l2_bytes() / 2 / tile / CHUNK_TILES_MULTIPLE * CHUNK_TILES_MULTIPLE {
            0 => CHUNK_TILES,
            tiles => tiles.min(CHUNK_TILES),
        }
    }

    /// Lengths of a chunk's transformed inputs and transformed gradients.
    fn transformed_lens(&self) -> [usize; 2] {
        self.point_stride.map(|point_stride| POINTS * point_stride)
    }

    /// Scratch of the threads that process one segment.
    fn len(&self) -> usize {
        self.transformed_lens().iter().sum::<usize>() + self.workers * self.zeros + CACHE_LINE
    }
}

pub(super) fn scratch_len(convolution: &Convolution, threads: usize) -> usize {
    let blocking = GradientBlocking::of(convolution, threads);
    CACHE_LINE + blocking.max_segments * convolution.filters.len() + threads / blocking.workers * blocking.len()
}

/// Computes the gradient `dw` (HWIO) from the inputs `x` and the gradient `dy` with respect to the outputs.
pub(super) fn kernel_gradient(
    convolution: &Convolution,
    isa: Isa,
    x: &[f32],
    dy: &[f32],
    dw: &mut [f32],
    scratch: &mut [f32],
) {
    let blocking = GradientBlocking::of(convolution, rayon::current_num_threads());
    let (filters, tiles) = (convolution.filters, convolution.tiles);
    let x = Images { values: x, size: convolution.in_size, channels: filters.in_channels };
    let dy = Images { values: dy, size: tiles.size, channels: filters.out_channels };
    for images in [&x, &dy] {
        assert_eq!(images.values.len(), tiles.images * images.size.iter().product::<usize>() * images.channels);
    }
    let gradient = Gradient { convolution, isa, blocking, x, dy };
    let (sums, scratch) = aligned(scratch).split_at_mut(blocking.segments * filters.len());
    assert!(scratch.len() >= blocking.len(), "scratch is too short");
    let segments = Mutex::new(sums.chunks_exact_mut(filters.len()).enumerate());
    let take = || segments.lock().expect("no thread panics while it holds the lock").next();
    scratch.par_chunks_exact_mut(blocking.len()).with_max_len(1).for_each(|scratch| {
        while let Some((segment, sums)) = take() {
            let tiles = segment * blocking.segment..tiles.count().min((segment + 1) * blocking.segment);
            gradient.accumulate(tiles, sums, aligned(scratch));
        }
    });
    filters.transform_gradient(isa, sums, dw);
}

/// The computation of one kernel gradient.
struct Gradient<'a> {
    convolution: &'a Convolution,
    isa: Isa,
    blocking: GradientBlocking,
    x: Images<'a>,
    dy: Images<'a>,
}

impl Gradient<'_> {
    /// Computes the sums over a segment of the tiles, chunk by chunk.
    fn accumulate(&self, tiles: Range<usize>, sums: &mut [f32], scratch: &mut [f32]) {
        let (inputs, scratch) = scratch.split_at_mut(self.blocking.transformed_lens()[0]);
        let (gradients, zeros) = scratch.split_at_mut(self.blocking.transformed_lens()[1]);
        if tiles.is_empty() {
            sums.fill(0.0);
        }
        for first in tiles.clone().step_by(self.blocking.tiles) {
            let chunk = first..tiles.end.min(first + self.blocking.tiles);
            self.transform(chunk.clone(), inputs, gradients, zeros);
            self.multiply(chunk.len(), inputs, gradients, first > tiles.start, sums);
        }
    }

    /// Transforms the inputs and output gradients of a chunk.
    fn transform(&self, chunk: Range<usize>, inputs: &mut [f32], gradients: &mut [f32], zeros: &mut [f32]) {
        let Self { convolution, isa, blocking, x, dy } = *self;
        let to = [SharedSlice::new(inputs), SharedSlice::new(gradients)];
        let tasks = AtomicUsize::new(0);
        zeros.par_chunks_exact_mut(blocking.zeros).take(blocking.workers).with_max_len(1).for_each(|zeros| {
            zeros.fill(0.0);
            run_unclaimed(&tasks, chunk.len().div_ceil(TASK_TILES), |task| {
                let range = task * TASK_TILES..chunk.len().min((task + 1) * TASK_TILES);
                isa.run(Transform { convolution, blocking, x, dy, first: chunk.start, range, to: &to, zeros });
            });
        });
    }

    /// Writes the products of a chunk to the sums, or adds them with `accumulate`.
    fn multiply(&self, tiles: usize, inputs: &[f32], gradients: &[f32], accumulate: bool, sums: &mut [f32]) {
        let Self { isa, blocking, .. } = *self;
        let (filters, sums) = (self.convolution.filters, SharedSlice::new(sums));
        let groups = filters.panels().div_ceil(TASK_PANELS);
        let tasks = AtomicUsize::new(0);
        (0..blocking.workers).into_par_iter().with_max_len(1).for_each(|_| {
            run_unclaimed(&tasks, POINTS * groups, |task| {
                let (point, first) = (task / groups, task % groups * TASK_PANELS);
                let panels = first..filters.panels().min(first + TASK_PANELS);
                let sums = &sums;
                isa.run(MultiplyPoint { blocking, filters, tiles, inputs, gradients, point, panels, accumulate, sums });
            });
        });
    }
}

/// Calls `run` with the tasks below `count` that no other thread has claimed through `next` (dynamic scheduling).
fn run_unclaimed(next: &AtomicUsize, count: usize, mut run: impl FnMut(usize)) {
    loop {
        let task = next.fetch_add(1, Ordering::Relaxed);
        if task >= count {
            return;
        }
        run(task);
    }
}

/// The transform of some tiles of a chunk.
struct Transform<'a> {
    convolution: &'a Convolution,
    blocking: GradientBlocking,
    x: Images<'a>,
    dy: Images<'a>,
    /// The chunk's first tile.
    first: usize,
    /// The tiles to transform, counted from the chunk's first tile.
    range: Range<usize>,
    to: &'a [SharedSlice<'a>; 2],
    zeros: &'a [f32],
}

impl Kernel for Transform<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { convolution, blocking, x, dy, first, range, to, zeros } = self;
        for tile in range {
            let position = convolution.tiles.position(first + tile);
            let square = x.square::<INPUT>(position, convolution.pad, zeros);
            // SAFETY: `square` lies within the images or the zeros; no other task writes the rows of this tile.
            unsafe {
                let to = to[0].at(tile * blocking.row_stride[0], blocking.row_stride[0]);
                transform::transform_pixels::<S, F32, INPUT>(
                    simd,
                    x.channels,
                    &square,
                    #[inline(always)]
                    |d| transform::input(simd, d),
                    to,
                    blocking.point_stride[0],
                );
            }
            let square = dy.square::<OUTPUT>(position, [0, 0], zeros);
            // SAFETY: as above.
            unsafe {
                let to = to[1].at(tile * blocking.row_stride[1], blocking.row_stride[1]);
                transform::transform_pixels::<S, F32, OUTPUT>(
                    simd,
                    dy.channels,
                    &square,
                    #[inline(always)]
                    |y| transform::output_gradient(simd, y),
                    to,
                    blocking.point_stride[1],
                );
            }
        }
    }
}

/// The products of a chunk at one point, for a range of panels.
struct MultiplyPoint<'a> {
    blocking: GradientBlocking,
    filters: Layout,
    tiles: usize,
    inputs: &'a [f32],
    gradients: &'a [f32],
    point: usize,
    panels: Range<usize>,
    accumulate: bool,
    sums: &'a SharedSlice<'a>,
}

impl Kernel for MultiplyPoint<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { blocking, filters, tiles, inputs, gradients, point, panels, accumulate, sums } = self;
        let width = columns::<S>();
        let mut first = 0;
        while first < tiles {
            let depth = DEPTH.min(tiles - first);
            let inputs = &inputs[point * blocking.point_stride[0] + first * blocking.row_stride[0]..];
            let gradients = &gradients[point * blocking.point_stride[1] + first * blocking.row_stride[1]..];
            let mut panel = panels.start;
            while panel < panels.end {
                // SAFETY: inputs and gradients have a row of all channels for every tile. The sums have a row for every input
                // channel, and no other task writes those of this panel at this point.
                unsafe {
                    let a = ColumnMajor { start: inputs.as_ptr(), depth_stride: blocking.row_stride[0] };
                    let start = gradients[panel * width..].as_ptr();
                    let (depth_stride, vectors) = (blocking.row_stride[1], filters.vectors::<S>(panel));
                    let b = RightOperand { start, depth_stride, vectors };
                    let first_sum = panel * filters.panel_stride() + point * filters.point_stride();
                    let sums = sums.at(first_sum, filters.in_channels * width);
                    let c = Product { start: sums, row_stride: width };
                    multiply::<S, F32, ColumnMajor>(
                        simd,
                        filters.in_channels,
                        depth,
                        a,
                        b,
                        c,
                        accumulate || first > 0,
                        Prefetch::NONE,
                    );
                }
                panel += 1;
            }
            first += depth;
        }
    }
}
