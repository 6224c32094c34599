//! Convolutions of stride 1 as sums of products of shifted images, in bf16 by a matrix unit.
//!
//! A band of rows is copied as bf16 with zeros around it: a *strip* `[rows, columns, channels]`. What one tap of the kernel reads
//! for all outputs of the band lies in it at equal distances, as the left operand of a product: all the strip's pixels, beginning
//! at the tap. So the convolution is a sum of products, one for each tap, of which nothing is copied again. Where a row's outputs
//! end and the next row's have not begun, a few are computed for nothing.

mod band;
mod convolution;
mod filters;

use self::band::Band;
use self::convolution::{Convolution, GROUP};
use self::filters::Layout;
use super::direction::Direction;
use super::epilogue::{Epilogue, POOL, RegisterEpilogue};
use crate::Conv2dShape;
use crate::aligned::{AlignedVec, LINE, aligned};
use crate::shared::Shared;
use crate::simd::{Amx, Bf16};
use crate::tasks::for_each_task;

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
        epilogue: Epilogue,
        y: &mut [f32],
        scratch: &mut [f32],
    ) {
        self.run_forward(x, filters.as_slice(), epilogue, y, scratch);
    }

    pub(super) fn forward(&self, x: &[f32], w: &[f32], epilogue: Epilogue, y: &mut [f32], scratch: &mut [f32]) {
        let (filters, scratch) = self.arrange(&self.forward, Direction::Forward, w, scratch);
        self.run_forward(x, filters, epilogue, y, scratch);
    }

    fn run_forward(&self, x: &[f32], filters: &[f32], epilogue: Epilogue, y: &mut [f32], scratch: &mut [f32]) {
        self.run(&self.forward, x, filters, epilogue.in_registers(), y, scratch);
        epilogue.activate_rest(y);
    }

    /// If `where_positive`, the gradient is zero wherever `dx` held no positive value.
    pub(super) fn input_gradient(
        &self,
        dy: &[f32],
        w: &[f32],
        where_positive: bool,
        dx: &mut [f32],
        scratch: &mut [f32],
    ) {
        let (filters, scratch) = self.arrange(&self.backward, Direction::Backward, w, scratch);
        self.run(&self.backward, dy, filters, RegisterEpilogue::of_gradient(where_positive), dx, scratch);
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

    /// `y = epilogue(x * filters)`
    fn run(
        &self,
        convolution: &Convolution,
        x: &[f32],
        filters: &[f32],
        epilogue: RegisterEpilogue,
        y: &mut [f32],
        scratch: &mut [f32],
    ) {
        let Convolution { images, from_size, size, filters: layout, .. } = *convolution;
        let written = size.map(|size| if epilogue.pool { size / POOL } else { size });
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
                epilogue,
                y: &y,
                scratch: aligned(scratch),
            });
        });
    }
}
