//! A convolution of images with filters at the points, in either direction.

#![expect(unsafe_code, reason = "tasks write interleaved pixels of one output")]

use std::marker::PhantomData;
use std::ops::Range;

use rayon::prelude::*;

use super::filters::{self, Layout};
use super::output::Output;
use super::tiles::{Images, Tiles};
use super::transform::{self, INPUT, POINTS};
use crate::aligned::{LINE, aligned, odd_lines};
use crate::cache::second_level;
use crate::conv2d::direction::Direction;
use crate::conv2d::epilogue::{POOL, RegisterEpilogue};
use crate::microkernel::{Ahead, Product, ROWS, Right, Rows, columns, multiply};
use crate::number::{self, Number};
use crate::shared::Shared;
use crate::simd::{Bf16, Isa, Kernel, Simd};
use crate::tasks::for_each_task;

/// Values of a filter panel that are multiplied before the products are written and read again: as many as an L1 cache holds, as
/// they are read once for every register tile.
const NEAR: usize = 8 * 1024;

/// Output channels whose products are computed before they are transformed back. With so many, several panels read the inputs of a
/// point while they are in the L1 cache, and the products still leave most of the L2 cache to the inputs.
const GROUP: usize = 128;

/// Channels of a panel that a thread transforms at a time.
const PART: usize = 4 * filters::CHANNELS;

/// Tiles of a block for each MiB of the L2 cache, between 1 and 2 MiB, if the filters stay in the last-level cache. The block's
/// transformed inputs must stay in the L2 cache; a larger one reads the filters less often.
const FEW_TILES: usize = 4 * ROWS;

/// Filters with at least so many values in the Winograd domain don't stay in the last-level cache: 16 MiB, half of a typical one.
const LARGE_FILTERS: usize = 4 << 20;

/// One convolution: its tiles, and what they read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Convolution {
    pub(super) tiles: Tiles,
    /// Height and width of the images that are read.
    pub(super) from_size: [usize; 2],
    /// Zeros above and to the left of them.
    pub(super) pad: [usize; 2],
    pub(super) filters: Layout,
    pub(super) arithmetic: Arithmetic,
}

/// What products are computed with.
#[derive(Clone, Copy, Debug)]
pub(super) enum Arithmetic {
    F32(Isa),
    Bf16(Bf16),
}

impl Arithmetic {
    pub(super) fn isa(self) -> Isa {
        match self {
            Self::F32(isa) => isa,
            Self::Bf16(bf16) => bf16.isa(),
        }
    }

    /// How filters lie.
    pub(super) fn layout(self, from: usize, to: usize) -> Layout {
        match self {
            Self::F32(isa) => Layout::new::<number::F32>(isa, from, to),
            Self::Bf16(bf16) => Layout::new::<number::Bf16>(bf16.isa(), from, to),
        }
    }
}

/// How a convolution is cut into tasks, each a block of tiles and a range of panels.
#[derive(Clone, Copy, Debug)]
struct Tasks {
    tiles: usize,
    panels: usize,
    /// From one tile's transformed input to the next's.
    input: usize,
    /// From one tile's products to the next's.
    product: usize,
}

impl Tasks {
    /// From one point of the transformed inputs to the next.
    fn input_point(&self) -> usize {
        odd_lines(self.tiles * self.input)
    }

    /// From one point of the products to the next.
    fn product_point(&self) -> usize {
        odd_lines(self.tiles * self.product)
    }

    /// What a task needs for itself: transformed inputs, products, and a pixel of zeros.
    fn scratch_len(&self, channels: usize) -> usize {
        POINTS * (self.input_point() + self.product_point()) + channels + LINE
    }
}

impl Convolution {
    /// Divides the tiles into blocks and, if these are too few for the threads, the panels into ranges.
    ///
    /// A block's transformed inputs stay in the L2 cache. Every task reads all its filters once, so blocks are larger if the filters
    /// come from memory. A block is a multiple of the register tile's rows; if each thread has only a few blocks, all have one size
    /// instead.
    ///
    /// Each range of panels transforms the same inputs again. So there are no more ranges than it takes to give every thread one
    /// task, if the tasks come out equal.
    fn tasks(&self, threads: usize) -> Tasks {
        const MANY_BLOCKS: usize = 8;
        let (count, most) = (self.tiles.count(), self.most_tiles());
        // Tiles are divided where there aren't panels enough for the threads.
        let least = threads.div_ceil(self.filters.panels().max(1));
        let blocks = match count.div_ceil(most).max(least) {
            few if few < threads => few,
            blocks => blocks.next_multiple_of(threads),
        };
        let tiles = if blocks > MANY_BLOCKS * threads { most } else { count.div_ceil(blocks).max(1) };
        self.tasks_of(tiles, threads)
    }

    /// The number of tiles in a large block.
    ///
    /// With vectors of 8 values, products take twice as long, which leaves the filters twice the time to arrive from memory. So
    /// blocks can be smaller than with vectors of 16, and take less of the cache.
    fn most_tiles(&self) -> usize {
        const WIDE: usize = 64;
        if self.filters.len() < LARGE_FILTERS {
            FEW_TILES * (second_level() >> 20).clamp(1, 2)
        } else if self.filters.columns >= WIDE {
            22 * ROWS
        } else {
            8 * ROWS
        }
    }

    fn tasks_of(&self, tiles: usize, threads: usize) -> Tasks {
        let blocks = self.tiles.count().div_ceil(tiles).max(1);
        let panels = self.filters.panels();
        let tasks = if threads.is_multiple_of(blocks) { threads } else { 2 * threads };
        let ranges = if blocks >= tasks { 1 } else { panels.min(tasks.div_ceil(blocks)) };
        Tasks {
            tiles,
            panels: panels.div_ceil(ranges),
            input: self.filters.words.next_multiple_of(LINE) + LINE,
            product: panels.min(self.filters.panels_of(GROUP)) * self.filters.columns,
        }
    }

    /// A smaller batch never needs more.
    pub(super) fn scratch_len(&self, threads: usize) -> usize {
        let most = self.most_tiles().min(self.tiles.count()).max(1);
        threads * self.tasks_of(most, threads).scratch_len(self.filters.from)
    }

    /// Takes the filters to the points.
    pub(super) fn prepare(&self, taps: (Direction, &[f32]), points: &mut [f32]) {
        let filters = self.filters;
        assert_eq!(points.len(), filters.len());
        let points = Shared::new(points);
        let parts = filters.from.div_ceil(PART);
        (0..filters.panels() * parts).into_par_iter().for_each(|task| {
            let (panel, first) = (task / parts, task % parts * PART);
            let channels = first..filters.from.min(first + PART);
            self.run_in(Prepare { filters, taps, panel, channels, points: &points });
        });
    }

    /// Runs a kernel that is one for each kind of numbers, with those of this convolution.
    fn run_in(&self, kernel: impl KernelIn) {
        match self.arithmetic {
            Arithmetic::F32(isa) => isa.run(In::<_, number::F32>(kernel, PhantomData)),
            Arithmetic::Bf16(bf16) => bf16.run(In::<_, number::Bf16>(kernel, PhantomData)),
        }
    }

    /// Whether each task takes the filters that it multiplies with to the points itself: where there are so few tiles that no two
    /// tasks share any, they needn't be written to memory and read again.
    pub(super) fn prepares_in_tasks(&self, threads: usize) -> bool {
        let tasks = self.tasks(threads);
        let one_block = self.tiles.count() <= tasks.tiles;
        one_block && threads * self.own_panels(&tasks) <= self.filters.panels()
    }

    /// Panels that a task takes to the points at a time.
    fn own_panels(&self, tasks: &Tasks) -> usize {
        tasks.panels.min(self.filters.panels_of(GROUP))
    }

    /// `y = epilogue(x * filters)`
    pub(super) fn run(
        &self,
        x: &[f32],
        filters: Filters,
        epilogue: RegisterEpilogue,
        y: &mut [f32],
        scratch: &mut [f32],
    ) {
        let tasks = self.tasks(rayon::current_num_threads());
        let images = Images { values: x, size: self.from_size, channels: self.filters.from };
        assert_eq!(x.len(), self.tiles.images * self.from_size.iter().product::<usize>() * self.filters.from);
        let size = self.tiles.size.map(|size| if epilogue.pool { size / POOL } else { size });
        assert_eq!(y.len(), self.tiles.images * size.iter().product::<usize>() * self.filters.to);
        let own_filters = match filters {
            Filters::Points(points) => {
                assert_eq!(points.len(), self.filters.len());
                0
            }
            Filters::Taps(..) => self.own_panels(&tasks) * self.filters.panel(),
        };
        let scratch_len = tasks.scratch_len(self.filters.from) + own_filters;
        let y = Shared::new(y);
        let blocks = self.tiles.count().div_ceil(tasks.tiles);
        let count = blocks * self.filters.panels().div_ceil(tasks.panels);
        for_each_task(count, scratch, scratch_len, |task, scratch| {
            let range = |index: usize, size: usize, end: usize| index * size..end.min((index + 1) * size);
            let tiles = range(task % blocks, tasks.tiles, self.tiles.count());
            let panels = range(task / blocks, tasks.panels, self.filters.panels());
            let scratch = aligned(scratch);
            self.run_in(Task { convolution: self, tasks, images, filters, epilogue, y: &y, tiles, panels, scratch });
        });
    }
}

/// A kernel that is one for each kind of numbers.
trait KernelIn {
    /// Does the work. Must be `inline(always)`.
    fn run<S: Simd, N: Number>(self, simd: S);
}

/// The one for numbers of kind `N`.
struct In<K, N>(K, PhantomData<N>);

impl<K: KernelIn, N: Number> Kernel for In<K, N> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        self.0.run::<S, N>(simd);
    }
}

/// Some channels of a panel on their way to the points.
struct Prepare<'a> {
    filters: Layout,
    taps: (Direction, &'a [f32]),
    panel: usize,
    channels: Range<usize>,
    points: &'a Shared<'a>,
}

impl KernelIn for Prepare<'_> {
    #[inline(always)]
    fn run<S: Simd, N: Number>(self, simd: S) {
        let Self { filters, taps, panel, channels, points } = self;
        filters.evaluate::<S, N>(simd, taps, panel, channels, points, panel * filters.panel());
    }
}

/// What a convolution multiplies with.
#[derive(Clone, Copy)]
pub(super) enum Filters<'a> {
    /// At the points.
    Points(&'a [f32]),
    /// As they lie, HWIO: each task takes its own to the points.
    Taps(Direction, &'a [f32]),
}

struct Task<'a> {
    convolution: &'a Convolution,
    tasks: Tasks,
    images: Images<'a>,
    filters: Filters<'a>,
    epilogue: RegisterEpilogue<'a>,
    y: &'a Shared<'a>,
    tiles: Range<usize>,
    panels: Range<usize>,
    scratch: &'a mut [f32],
}

impl KernelIn for Task<'_> {
    #[inline(always)]
    fn run<S: Simd, N: Number>(self, simd: S) {
        let Self { convolution, tasks, images, filters, epilogue, y, tiles, panels, scratch } = self;
        let (inputs, rest) = scratch.split_at_mut(POINTS * tasks.input_point());
        let (products, rest) = rest.split_at_mut(POINTS * tasks.product_point());
        let layout = convolution.filters;
        let (own_filters, zeros) = match filters {
            Filters::Points(_) => rest.split_at_mut(0),
            Filters::Taps(..) => rest.split_at_mut(convolution.own_panels(&tasks) * layout.panel()),
        };
        let zeros = &mut zeros[..images.channels];
        zeros.fill(0.0);
        for (index, tile) in tiles.clone().enumerate() {
            let place = convolution.tiles.place(tile);
            let square = images.square::<INPUT>(place, convolution.pad, zeros);
            let to = inputs[index * tasks.input..].as_mut_ptr();
            // SAFETY: `square` lies within the images or the zeros; `to` is a row of whole vectors at every point.
            unsafe {
                transform::pixels::<S, N, INPUT>(
                    simd,
                    images.channels,
                    &square,
                    #[inline(always)]
                    |d| transform::input(simd, d),
                    to,
                    tasks.input_point(),
                );
            }
        }
        let mut first = panels.start;
        while first < panels.end {
            let group = first..panels.end.min(first + layout.panels_of(GROUP));
            let points = match filters {
                Filters::Points(points) => &points[group.start * layout.panel()..],
                Filters::Taps(direction, w) => {
                    let points = Shared::new(own_filters);
                    for (member, panel) in group.clone().enumerate() {
                        let start = member * layout.panel();
                        layout.evaluate::<S, N>(simd, (direction, w), panel, 0..layout.from, &points, start);
                    }
                    &*own_filters
                }
            };
            multiply_points::<S, N>(simd, layout, &tasks, tiles.len(), inputs, points, group.clone(), products);
            for (index, tile) in tiles.clone().enumerate() {
                let products = &products[index * tasks.product..];
                let output = Output { size: convolution.tiles.size, channels: convolution.filters.to, y, epilogue };
                for vector in 0..group.len() * S::VECTORS {
                    let channel = first * columns::<S>() + vector * S::LANES;
                    if channel < output.channels {
                        let products = &products[vector * S::LANES..];
                        let (place, point) = (convolution.tiles.place(tile), tasks.product_point());
                        match epilogue.pool {
                            true => output.write_pooled(simd, place, channel, products, point),
                            false => output.write(simd, place, channel, products, point),
                        }
                    }
                }
            }
            first = group.end;
        }
    }
}

/// For each point the product of the transformed inputs of `tiles` tiles with a group of panels, whose filters are `points`.
#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "the parts of a task, borrowed apart")]
fn multiply_points<S: Simd, N: Number>(
    simd: S,
    filters: Layout,
    tasks: &Tasks,
    tiles: usize,
    inputs: &[f32],
    points: &[f32],
    group: Range<usize>,
    products: &mut [f32],
) {
    let width = columns::<S>();
    for point in 0..POINTS {
        let inputs = &inputs[point * tasks.input_point()..];
        for (member, panel) in group.clone().enumerate() {
            let filter = &points[member * filters.panel() + point * filters.point()..][..filters.words * width];
            let products = &mut products[point * tasks.product_point() + member * width..];
            let next_point = match panel + 1 < group.end {
                true => filter.as_ptr().wrapping_add(filters.panel()),
                false => filter.as_ptr().wrapping_sub(member * filters.panel()).wrapping_add(filters.point()),
            };
            let mut depth = 0;
            while depth < filters.words {
                let most = NEAR / width;
                let count = most.min(filters.words - depth);
                let rest = filters.words - depth - count;
                // SAFETY: every tile has a row of inputs, as deep as there are channels, and one of products; the filter is as
                // deep.
                unsafe {
                    let a = Rows { start: inputs.as_ptr().add(depth), outer: tasks.input };
                    let b = Right {
                        start: filter.as_ptr().add(depth * width),
                        inner: width,
                        vectors: filters.vectors::<S>(panel),
                    };
                    let c = Product { start: products.as_mut_ptr(), outer: tasks.product };
                    let (start, words) =
                        if rest > 0 { (b.start.add(count * width), rest) } else { (next_point, filters.words) };
                    let ahead = Ahead { start, len: most.min(words) * width };
                    multiply::<S, N, Rows>(simd, tiles, count, a, b, c, depth > 0, ahead);
                }
                depth += count;
            }
        }
    }
}
