//! Convolutions of stride 1 as sums of products of shifted images, in bf16 by a matrix unit.
//!
//! A band of rows is copied as bf16 with zeros around it: a *strip* `[rows, columns, channels]`. What one tap of the kernel reads
//! for all outputs of the band lies in it at equal distances, as the left operand of a product: all the strip's pixels, beginning
//! at the tap. So the convolution is a sum of products, one for each tap, of which nothing is copied again. Where a row's outputs
//! end and the next row's have not begun, a few are computed for nothing.

mod band;
mod filters;

use self::band::Band;
use self::filters::Layout;
use super::Conv2dShape;
use super::direction::Direction;
use super::finish::{After, Finish, POOL};
use crate::aligned::{AlignedVec, LINE, aligned};
use crate::shared::Shared;
use crate::simd::{Amx, BLOCK, Bf16, TILE};
use crate::tasks::for_each_task;

/// Panels whose products are computed before they are written to outputs, some cache lines at a time.
const GROUP: usize = 2;

/// From one row of a group's products to the next.
const PRODUCT: usize = GROUP * BLOCK;

/// Words that the strip and the products of a task take at most, unless two rows take more: half of the second-level cache.
const BUDGET: usize = 1 << 18;

#[derive(Clone, Debug)]
pub(super) struct Direct {
    bf16: Bf16,
    amx: Amx,
    forward: Convolution,
    backward: Convolution,
}

impl Direct {
    /// Whether this algorithm can do a convolution of this shape.
    pub(super) fn can(shape: &Conv2dShape) -> bool {
        shape.stride == [1, 1]
            && shape.dilation == [1, 1]
            && shape.groups == 1
            && shape.pad.iter().zip(shape.kernel).all(|(&pad, kernel)| pad < kernel)
    }

    pub(super) fn new(bf16: Bf16, amx: Amx, shape: Conv2dShape) -> Self {
        let Conv2dShape { batch: images, in_h, in_w, in_c, out_h, out_w, out_c, kernel, pad, .. } = shape;
        let forward = Convolution {
            images,
            from_size: [in_h, in_w],
            size: [out_h, out_w],
            pad,
            filters: Layout { kernel, from: in_c, to: out_c },
        };
        let backward = Convolution {
            images,
            from_size: [out_h, out_w],
            size: [in_h, in_w],
            pad: [0, 1].map(|axis| kernel[axis] - 1 - pad[axis]),
            filters: Layout { kernel, from: out_c, to: in_c },
        };
        Self { bf16, amx, forward, backward }
    }

    /// The same for another shape.
    pub(super) fn of_shape(&self, shape: Conv2dShape) -> Self {
        Self::new(self.bf16, self.amx, shape)
    }

    pub(super) fn scratch_len(&self, threads: usize) -> usize {
        let all = |c: &Convolution| LINE + c.filters.len() + threads * c.scratch_len();
        all(&self.forward).max(all(&self.backward))
    }

    pub(super) fn prepared_scratch_len(&self, threads: usize) -> usize {
        threads * self.forward.scratch_len()
    }

    pub(super) fn prepared_len(&self) -> usize {
        self.forward.filters.len()
    }

    pub(super) fn prepare(&self, w: &[f32]) -> AlignedVec {
        let mut prepared = AlignedVec::zeros(self.prepared_len());
        self.forward.filters.arrange(self.bf16, Direction::Forward, w, prepared.as_mut_slice());
        prepared
    }

    pub(super) fn forward_prepared(
        &self,
        x: &[f32],
        filters: &AlignedVec,
        after: After,
        y: &mut [f32],
        scratch: &mut [f32],
    ) {
        self.run_forward(x, filters.as_slice(), after, y, scratch);
    }

    pub(super) fn forward(&self, x: &[f32], w: &[f32], after: After, y: &mut [f32], scratch: &mut [f32]) {
        let (filters, scratch) = self.arrange(&self.forward, Direction::Forward, w, scratch);
        self.run_forward(x, filters, after, y, scratch);
    }

    fn run_forward(&self, x: &[f32], filters: &[f32], after: After, y: &mut [f32], scratch: &mut [f32]) {
        self.run(&self.forward, x, filters, after.finish(), y, scratch);
        after.apply_rest(y);
    }

    /// Where `where_positive`, zero wherever `dx` held no value above zero.
    pub(super) fn input_gradient(
        &self,
        dy: &[f32],
        w: &[f32],
        where_positive: bool,
        dx: &mut [f32],
        scratch: &mut [f32],
    ) {
        let (filters, scratch) = self.arrange(&self.backward, Direction::Backward, w, scratch);
        self.run(&self.backward, dy, filters, Finish::of_gradient(where_positive), dx, scratch);
    }

    /// The filters in the first part of `scratch`, and what is left of it.
    fn arrange<'a>(
        &self,
        convolution: &Convolution,
        direction: Direction,
        w: &[f32],
        scratch: &'a mut [f32],
    ) -> (&'a [f32], &'a mut [f32]) {
        let (filters, scratch) = aligned(scratch).split_at_mut(convolution.filters.len());
        convolution.filters.arrange(self.bf16, direction, w, filters);
        (filters, scratch)
    }

    /// `y = finish(x * filters)`
    fn run(
        &self,
        convolution: &Convolution,
        x: &[f32],
        filters: &[f32],
        finish: Finish,
        y: &mut [f32],
        scratch: &mut [f32],
    ) {
        let Convolution { images, from_size, size, filters: layout, .. } = *convolution;
        let written = size.map(|size| if finish.pool { size / POOL } else { size });
        assert_eq!(x.len(), images * from_size.iter().product::<usize>() * layout.from);
        assert_eq!(y.len(), images * written.iter().product::<usize>() * layout.to);
        assert_eq!(filters.len(), layout.len());
        if y.is_empty() {
            return;
        }
        let (rows, y) = (convolution.rows(), Shared::new(y));
        let (bands, groups) = (size[0].div_ceil(rows), layout.panels().div_ceil(GROUP));
        let blocks = images * bands;
        // Where bands are too few for the threads, panels are divided too, and strips written more than once.
        let parts = groups.min((2 * rayon::current_num_threads()).div_ceil(blocks));
        let segments = layout.segments(convolution.pixel(), convolution.pitch());
        for_each_task(blocks * parts, scratch, convolution.scratch_len(), |task, scratch| {
            let (part, block) = (task / blocks, task % blocks);
            let top = block % bands * rows;
            self.bf16.run(Band {
                convolution,
                amx: self.amx,
                segments: &segments,
                image: block / bands,
                rows: top..size[0].min(top + rows),
                groups: groups * part / parts..groups * (part + 1) / parts,
                x,
                filters,
                finish,
                y: &y,
                scratch: aligned(scratch),
            });
        });
    }
}

/// One convolution: its images, and what it reads for them.
#[derive(Clone, Copy, Debug)]
struct Convolution {
    images: usize,
    /// Height and width of the images that are read.
    from_size: [usize; 2],
    /// Height and width of outputs.
    size: [usize; 2],
    /// Zeros above and to the left of the images that are read.
    pad: [usize; 2],
    filters: Layout,
}

impl Convolution {
    /// Pixels of a strip's row.
    fn pitch(&self) -> usize {
        self.size[1] + self.filters.kernel[1] - 1
    }

    /// Words from one pixel of a strip to the next: of large ones no multiple of four cache lines, which would leave most of a
    /// cache unused.
    fn pixel(&self) -> usize {
        let lines = self.filters.steps() * TILE / LINE;
        LINE * if lines > 2 && lines.is_multiple_of(4) { lines + 1 } else { lines }
    }

    /// Rows of products of a band: one for each pixel from its first output to its last, in whole blocks.
    fn products(&self, rows: usize) -> usize {
        ((rows - 1) * self.pitch() + self.size[1]).next_multiple_of(BLOCK)
    }

    /// Words of a strip: as far as the last tap reaches from the last of these rows.
    fn strip_len(&self, rows: usize) -> usize {
        let [height, width] = self.filters.kernel;
        let reached = self.products(rows) + (height - 1) * self.pitch() + width - 1;
        reached.max((rows + height - 1) * self.pitch()) * self.pixel()
    }

    fn len(&self, rows: usize) -> usize {
        self.strip_len(rows) + self.products(rows) * PRODUCT
    }

    /// The most rows of outputs that a task computes: as many as its budget allows, in whole windows of a pool.
    fn most_rows(&self) -> usize {
        let most = self.size[0].next_multiple_of(POOL).max(POOL);
        (POOL..most)
            .step_by(POOL)
            .take_while(|&rows| self.len(rows + POOL) <= BUDGET)
            .last()
            .map_or(POOL, |rows| rows + POOL)
            .min(most)
    }

    /// Rows of outputs that a task computes: as many in each, as nearly as can be.
    fn rows(&self) -> usize {
        let bands = self.size[0].div_ceil(self.most_rows());
        self.size[0].div_ceil(bands).next_multiple_of(POOL)
    }

    /// What a task needs. Fewer images, or rows of them, never need more.
    fn scratch_len(&self) -> usize {
        LINE + self.len(self.most_rows())
    }
}
