//! The Winograd convolution of images with transformed filters, for the forward pass and the gradient with respect to the input.
//!
//! Tasks are blocks of tiles and ranges of filter panels. Each task transforms the inputs of its tiles, multiplies them with its
//! filters at every point of the Winograd domain, and transforms the products to outputs. The transformed inputs and the products
//! stay in the task's scratch.

#![expect(unsafe_code, reason = "tasks write interleaved pixels of one output")]

use std::marker::PhantomData;
use std::ops::Range;

use rayon::prelude::*;

use super::filters::{self, Layout};
use super::output::OutputTransform;
use super::tile_grid::{Images, TileGrid};
use super::transform::{self, INPUT, POINTS};
use crate::aligned::{CACHE_LINE, aligned, odd_cache_lines};
use crate::conv2d::direction::Direction;
use crate::conv2d::epilogue::{POOL, RegisterEpilogue};
use crate::cpu_cache::l2_bytes;
use crate::microkernel::{Prefetch, Product, ROWS, RightOperand, RowMajor, columns, multiply};
use crate::number::{self, Number};
use crate::parallel_tasks::for_each_task;
use crate::shared::SharedSlice;
use crate::simd::{Bf16, Isa, Kernel, Simd};

/// Values in a cache block of a filter panel: 32 KiB, the size of an L1 cache. Every register tile reads these
/// values again. Deeper panels are multiplied in several passes that accumulate. Measured: `bench/records/constants.md`.
const L1_PANEL: usize = 8 * 1024;

/// Output channels in a group of panels: a task multiplies a whole group before it transforms the products to outputs.
///
/// In a group of this size, several panels read the inputs of a point while these inputs are in the L1 cache. The products of the
/// group still leave most of the L2 cache to the inputs.
const GROUP_CHANNELS: usize = 128;

/// Input channels of a panel that one task of [`Convolution::prepare`] transforms.
const TRANSFORM_CHANNELS: usize = 4 * filters::CHANNELS;

/// Tiles of a block for each MiB of the L2 cache, if the filters stay in the last-level cache.
///
/// The transformed inputs of a block must stay in the L2 cache. Larger blocks read the filters less often. Measured:
/// `bench/records/constants.md`.
const TILES_PER_MIB: usize = 4 * ROWS;

/// Transformed filters of at least this many values are assumed to be read from main memory: their 16 MiB are half of a typical
/// last-level cache.
const LARGE_FILTERS: usize = 4 << 20;

/// A convolution in one direction: the geometry of its images and tiles, and the layout of its filters.
#[derive(Clone, Copy, Debug)]
pub(super) struct Convolution {
    /// The tiles of the outputs.
    pub(super) tiles: TileGrid,
    /// Height and width of the input images.
    pub(super) in_size: [usize; 2],
    /// Zero padding above and to the left of the input images.
    pub(super) pad: [usize; 2],
    pub(super) filters: Layout,
    pub(super) arithmetic: Arithmetic,
}

/// The number format of the products' operands, with the instruction set that multiplies them.
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

    /// The packed layout of filters in the Winograd domain. It depends on the number format (values along the depth) and on the
    /// instruction set (columns of a panel).
    pub(super) fn layout(self, in_channels: usize, out_channels: usize) -> Layout {
        match self {
            Self::F32(isa) => Layout::new::<number::F32>(isa, in_channels, out_channels),
            Self::Bf16(bf16) => Layout::new::<number::Bf16Pair>(bf16.isa(), in_channels, out_channels),
        }
    }
}

/// The sizes of the tasks that a convolution is cut into: each is a block of tiles and a range of panels. Distances count
/// 32-bit values.
#[derive(Clone, Copy, Debug)]
struct Blocking {
    /// Tiles of a block.
    tiles: usize,
    /// Panels of a range.
    panels: usize,
    /// Distance between the transformed inputs of neighbouring tiles, in array elements.
    input_stride: usize,
    /// Distance between the products of neighbouring tiles, in array elements.
    product_stride: usize,
}

impl Blocking {
    /// Distance between neighbouring points of the transformed inputs.
    fn input_point_stride(&self) -> usize {
        odd_cache_lines(self.tiles * self.input_stride)
    }

    /// Distance between neighbouring points of the products.
    fn product_point_stride(&self) -> usize {
        odd_cache_lines(self.tiles * self.product_stride)
    }

    /// Scratch of one task: transformed inputs, products, and the `channels` zeros that stand for a pixel of the padding.
    fn scratch_len(&self, channels: usize) -> usize {
        POINTS * (self.input_point_stride() + self.product_point_stride()) + channels + CACHE_LINE
    }
}

impl Convolution {
    /// Divides the tiles into blocks and, if there are too few blocks for the threads, the panels into ranges.
    ///
    /// The transformed inputs of a block stay in the L2 cache. Every task reads its filters once, so blocks are larger if the
    /// filters come from memory. If each thread has many blocks, the tiles of a block are a multiple of the register tile's rows.
    /// If each thread has only a few, the tiles are divided evenly among the blocks.
    ///
    /// Each range of panels transforms the inputs again, so few ranges are better. If the panels are divided, there is about
    /// one task for each thread where the number of threads is a multiple of the number of blocks, else about two.
    fn blocking(&self, threads: usize) -> Blocking {
        const MANY_BLOCKS: usize = 8;
        let (count, most) = (self.tiles.count(), self.max_block_tiles());
        // With fewer panels than threads, one block can't give every thread a task, so more blocks of tiles are needed.
        let least = threads.div_ceil(self.filters.panels().max(1));
        let blocks = match count.div_ceil(most).max(least) {
            few if few < threads => few,
            blocks => blocks.next_multiple_of(threads),
        };
        let tiles = if blocks > MANY_BLOCKS * threads { most } else { count.div_ceil(blocks).max(1) };
        self.blocking_of(tiles, threads)
    }

    /// Maximum number of tiles of a block.
    ///
    /// If the filters come from memory, wider vectors need larger blocks: vectors of 16 values multiply twice as fast as those of
    /// 8, which leaves the filters half the time to arrive. Measured: `bench/records/constants.md`.
    fn max_block_tiles(&self) -> usize {
        // Columns of a register tile with vectors of 16 values.
        const WIDE: usize = 64;
        if self.filters.len() < LARGE_FILTERS {
            TILES_PER_MIB * (l2_bytes() >> 20).clamp(1, 2)
        } else if self.filters.columns >= WIDE {
            22 * ROWS
        } else {
            8 * ROWS
        }
    }

    /// The blocking into blocks of `tiles` tiles.
    fn blocking_of(&self, tiles: usize, threads: usize) -> Blocking {
        let blocks = self.tiles.count().div_ceil(tiles).max(1);
        let panels = self.filters.panels();
        let tasks = if threads.is_multiple_of(blocks) { threads } else { 2 * threads };
        let ranges = if blocks >= tasks { 1 } else { panels.min(tasks.div_ceil(blocks)) };
        Blocking {
            tiles,
            panels: panels.div_ceil(ranges),
            input_stride: self.filters.depth.next_multiple_of(CACHE_LINE) + CACHE_LINE,
            product_stride: panels.min(self.filters.panels_of(GROUP_CHANNELS)) * self.filters.columns,
        }
    }

    /// Scratch of [`run`](Self::run) with transformed filters. A smaller batch never needs more.
    pub(super) fn scratch_len(&self, threads: usize) -> usize {
        let most = self.max_block_tiles().min(self.tiles.count()).max(1);
        threads * self.blocking_of(most, threads).scratch_len(self.filters.in_channels)
    }

    /// Transforms filters to the Winograd domain. `spatial` holds the pass that needs them and the kernel's values (HWIO).
    pub(super) fn prepare(&self, spatial: (Direction, &[f32]), transformed: &mut [f32]) {
        let filters = self.filters;
        assert_eq!(transformed.len(), filters.len());
        let transformed = SharedSlice::new(transformed);
        let parts = filters.in_channels.div_ceil(TRANSFORM_CHANNELS);
        (0..filters.panels() * parts).into_par_iter().for_each(|task| {
            let (panel, first) = (task / parts, task % parts * TRANSFORM_CHANNELS);
            let channels = first..filters.in_channels.min(first + TRANSFORM_CHANNELS);
            self.run_kernel(TransformFilters { filters, spatial, panel, channels, transformed: &transformed });
        });
    }

    /// Runs a kernel with this convolution's number format and instruction set.
    fn run_kernel(&self, kernel: impl GenericKernel) {
        match self.arithmetic {
            Arithmetic::F32(isa) => isa.run(Instantiated::<_, number::F32>(kernel, PhantomData)),
            Arithmetic::Bf16(bf16) => bf16.run(Instantiated::<_, number::Bf16Pair>(kernel, PhantomData)),
        }
    }

    /// Whether each task transforms the filters that it multiplies.
    ///
    /// Tasks do so under two conditions. All tiles fit one block, so no two tasks share filters. One group of panels for each
    /// thread makes no more panels than the filters have, so the scratch holds all transformed groups. The transformed filters
    /// then stay in cache, instead of being written to memory and read again.
    pub(super) fn transforms_filters_in_tasks(&self, threads: usize) -> bool {
        let blocking = self.blocking(threads);
        let one_block = self.tiles.count() <= blocking.tiles;
        one_block && threads * self.group_panels(&blocking) <= self.filters.panels()
    }

    /// Panels whose products a task computes at a time.
    fn group_panels(&self, blocking: &Blocking) -> usize {
        blocking.panels.min(self.filters.panels_of(GROUP_CHANNELS))
    }

    /// Computes `y = epilogue(x * filters)`, where `*` is the convolution.
    pub(super) fn run(
        &self,
        x: &[f32],
        filters: Filters,
        epilogue: RegisterEpilogue,
        y: &mut [f32],
        scratch: &mut [f32],
    ) {
        let blocking = self.blocking(rayon::current_num_threads());
        let images = Images { values: x, size: self.in_size, channels: self.filters.in_channels };
        assert_eq!(x.len(), self.tiles.images * self.in_size.iter().product::<usize>() * self.filters.in_channels);
        let size = self.tiles.size.map(|size| if epilogue.pool { size / POOL } else { size });
        assert_eq!(y.len(), self.tiles.images * size.iter().product::<usize>() * self.filters.out_channels);
        let own_filters = match filters {
            Filters::Transformed(transformed) => {
                assert_eq!(transformed.len(), self.filters.len());
                0
            }
            Filters::Spatial(..) => self.group_panels(&blocking) * self.filters.panel_stride(),
        };
        let scratch_len = blocking.scratch_len(self.filters.in_channels) + own_filters;
        let y = SharedSlice::new(y);
        let blocks = self.tiles.count().div_ceil(blocking.tiles);
        let count = blocks * self.filters.panels().div_ceil(blocking.panels);
        for_each_task(count, scratch, scratch_len, |task, scratch| {
            let range = |index: usize, size: usize, end: usize| index * size..end.min((index + 1) * size);
            let tiles = range(task % blocks, blocking.tiles, self.tiles.count());
            let panels = range(task / blocks, blocking.panels, self.filters.panels());
            let scratch = aligned(scratch);
            let (convolution, y) = (self, &y);
            self.run_kernel(BlockTask { convolution, blocking, images, filters, epilogue, y, tiles, panels, scratch });
        });
    }
}

/// A [`Kernel`] that is generic over the number format as well.
trait GenericKernel {
    /// Does the work. Must be `inline(always)`.
    fn run<S: Simd, N: Number>(self, simd: S);
}

/// A [`GenericKernel`] instantiated for the number format `N`.
struct Instantiated<K, N>(K, PhantomData<N>);

impl<K: GenericKernel, N: Number> Kernel for Instantiated<K, N> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        self.0.run::<S, N>(simd);
    }
}

/// The transform of the filters of one panel, for a range of input channels.
struct TransformFilters<'a> {
    filters: Layout,
    spatial: (Direction, &'a [f32]),
    panel: usize,
    channels: Range<usize>,
    transformed: &'a SharedSlice<'a>,
}

impl GenericKernel for TransformFilters<'_> {
    #[inline(always)]
    fn run<S: Simd, N: Number>(self, simd: S) {
        let Self { filters, spatial, panel, channels, transformed } = self;
        filters.transform::<S, N>(simd, spatial, panel, channels, transformed, panel * filters.panel_stride());
    }
}

/// The filters of a convolution.
#[derive(Clone, Copy)]
pub(super) enum Filters<'a> {
    /// In the Winograd domain, in the convolution's [`Layout`].
    Transformed(&'a [f32]),
    /// In the spatial domain (HWIO). Each task transforms the filters that it multiplies.
    Spatial(Direction, &'a [f32]),
}

/// One task: a block of tiles and a range of panels.
struct BlockTask<'a> {
    convolution: &'a Convolution,
    blocking: Blocking,
    images: Images<'a>,
    filters: Filters<'a>,
    epilogue: RegisterEpilogue<'a>,
    y: &'a SharedSlice<'a>,
    tiles: Range<usize>,
    panels: Range<usize>,
    scratch: &'a mut [f32],
}

impl GenericKernel for BlockTask<'_> {
    #[inline(always)]
    fn run<S: Simd, N: Number>(self, simd: S) {
        let Self { convolution, blocking, images, filters, epilogue, y, tiles, panels, scratch } = self;
        let (inputs, rest) = scratch.split_at_mut(POINTS * blocking.input_point_stride());
        let (products, rest) = rest.split_at_mut(POINTS * blocking.product_point_stride());
        let layout = convolution.filters;
        let (own_filters, zeros) = match filters {
            Filters::Transformed(_) => rest.split_at_mut(0),
            Filters::Spatial(..) => rest.split_at_mut(convolution.group_panels(&blocking) * layout.panel_stride()),
        };
        let zeros = &mut zeros[..images.channels];
        zeros.fill(0.0);
        for (index, tile) in tiles.clone().enumerate() {
            let position = convolution.tiles.position(tile);
            let square = images.square::<INPUT>(position, convolution.pad, zeros);
            let to = inputs[index * blocking.input_stride..].as_mut_ptr();
            // SAFETY: `square` lies within the images or the zeros; `to` has a row of whole vectors at every point.
            unsafe {
                transform::transform_pixels::<S, N, INPUT>(
                    simd,
                    images.channels,
                    &square,
                    #[inline(always)]
                    |d| transform::input(simd, d),
                    to,
                    blocking.input_point_stride(),
                );
            }
        }
        let mut first = panels.start;
        while first < panels.end {
            let group = first..panels.end.min(first + layout.panels_of(GROUP_CHANNELS));
            let transformed = match filters {
                Filters::Transformed(transformed) => &transformed[group.start * layout.panel_stride()..],
                Filters::Spatial(direction, w) => {
                    let transformed = SharedSlice::new(own_filters);
                    for (member, panel) in group.clone().enumerate() {
                        let start = member * layout.panel_stride();
                        let channels = 0..layout.in_channels;
                        layout.transform::<S, N>(simd, (direction, w), panel, channels, &transformed, start);
                    }
                    &*own_filters
                }
            };
            multiply_points::<S, N>(simd, layout, &blocking, tiles.len(), inputs, transformed, group.clone(), products);
            for (index, tile) in tiles.clone().enumerate() {
                let products = &products[index * blocking.product_stride..];
                let (size, channels) = (convolution.tiles.size, convolution.filters.out_channels);
                let output = OutputTransform { size, channels, y, epilogue };
                for vector in 0..group.len() * S::VECTORS {
                    let channel = first * columns::<S>() + vector * S::LANES;
                    if channel < output.channels {
                        let products = &products[vector * S::LANES..];
                        let position = convolution.tiles.position(tile);
                        let point_stride = blocking.product_point_stride();
                        match epilogue.pool {
                            true => output.write_pooled(simd, position, channel, products, point_stride),
                            false => output.write(simd, position, channel, products, point_stride),
                        }
                    }
                }
            }
            first = group.end;
        }
    }
}

/// Multiplies the transformed inputs of `tiles` tiles with a group of panels of `transformed` filters, at each point.
#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "the fields of a task, borrowed separately")]
fn multiply_points<S: Simd, N: Number>(
    simd: S,
    filters: Layout,
    blocking: &Blocking,
    tiles: usize,
    inputs: &[f32],
    transformed: &[f32],
    group: Range<usize>,
    products: &mut [f32],
) {
    let width = columns::<S>();
    for point in 0..POINTS {
        let inputs = &inputs[point * blocking.input_point_stride()..];
        for (member, panel) in group.clone().enumerate() {
            let filter = &transformed[member * filters.panel_stride() + point * filters.point_stride()..]
                [..filters.depth * width];
            let products = &mut products[point * blocking.product_point_stride() + member * width..];
            let next_point = match panel + 1 < group.end {
                true => filter.as_ptr().wrapping_add(filters.panel_stride()),
                false => {
                    filter.as_ptr().wrapping_sub(member * filters.panel_stride()).wrapping_add(filters.point_stride())
                }
            };
            let mut first = 0;
            while first < filters.depth {
                let most = L1_PANEL / width;
                let count = most.min(filters.depth - first);
                let rest = filters.depth - first - count;
                // SAFETY: every tile has a row of inputs and a row of products; inputs and filter have the depth of the channels.
                unsafe {
                    let a = RowMajor { start: inputs.as_ptr().add(first), row_stride: blocking.input_stride };
                    let b = RightOperand {
                        start: filter.as_ptr().add(first * width),
                        depth_stride: width,
                        vectors: filters.vectors::<S>(panel),
                    };
                    let c = Product { start: products.as_mut_ptr(), row_stride: blocking.product_stride };
                    let (start, depth) =
                        if rest > 0 { (b.start.add(count * width), rest) } else { (next_point, filters.depth) };
                    let prefetch = Prefetch { start, len: most.min(depth) * width };
                    multiply::<S, N, RowMajor>(simd, tiles, count, a, b, c, first > 0, prefetch);
                }
                first += count;
            }
        }
    }
}
