//! Direct convolutions of stride 1 in bf16 on the AMX matrix unit: a sum of matrix products, one for each tap of the kernel.
//!
//! A task computes a *band*: some output rows of one image. It copies the input rows of the band as bf16, with zero padding, into
//! a *strip* `[rows, columns, channels]`. The left operand of a tap's product is the strip from the tap's offset on, with one
//! matrix row per pixel. So all taps share one strip, where im2col would copy each pixel for every tap.
//!
//! The products also cover the padding between the end of an image row and the start of the next. These outputs are discarded.

mod band;
mod filters;
mod geometry;

use self::band::Band;
use self::filters::Layout;
use self::geometry::{Convolution, GROUP_PANELS};
use super::direction::Direction;
use super::epilogue::{Epilogue, POOL, RegisterEpilogue};
use crate::Conv2dShape;
use crate::aligned::{AlignedVec, CACHE_LINE, aligned};
use crate::parallel_tasks::for_each_task;
use crate::shared::SharedSlice;
use crate::simd::{Amx, Bf16};

/// A convolution of stride 1 as a sum of bf16 matrix products, one for each tap of the kernel, without im2col; and its gradient with
/// respect to the input, computed in the same way.
#[derive(Clone, Debug)]
pub(super) struct Direct {
    bf16: Bf16,
    amx: Amx,
    forward: Convolution,
    backward: Convolution,
}

impl Direct {
    /// Whether this algorithm can compute a convolution of this shape.
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
            in_size: [in_h, in_w],
            out_size: [out_h, out_w],
            pad,
            filters: Layout { kernel, in_channels: in_c, out_channels: out_c },
        };
        let backward = Convolution {
            images,
            in_size: [out_h, out_w],
            out_size: [in_h, in_w],
            pad: [0, 1].map(|axis| kernel[axis] - 1 - pad[axis]),
            filters: Layout { kernel, in_channels: out_c, out_channels: in_c },
        };
        Self { bf16, amx, forward, backward }
    }

    /// The same algorithm for another shape.
    pub(super) fn of_shape(&self, shape: Conv2dShape) -> Self {
        Self::new(self.bf16, self.amx, shape)
    }

    pub(super) fn scratch_len(&self, threads: usize) -> usize {
        let all = |c: &Convolution| CACHE_LINE + c.filters.len() + threads * c.scratch_len();
        all(&self.forward).max(all(&self.backward))
    }

    /// Scratch of a forward pass whose filters aren't prepared.
    pub(super) fn forward_scratch_len(&self, threads: usize) -> usize {
        CACHE_LINE + self.forward.filters.len() + threads * self.forward.scratch_len()
    }

    pub(super) fn prepared_scratch_len(&self, threads: usize) -> usize {
        threads * self.forward.scratch_len()
    }

    pub(super) fn prepared_len(&self) -> usize {
        self.forward.filters.len()
    }

    pub(super) fn prepare(&self, w: &[f32]) -> AlignedVec {
        let mut prepared = AlignedVec::zeros(self.prepared_len());
        self.forward.filters.pack(self.bf16, Direction::Forward, w, prepared.as_mut_slice());
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
        let (filters, scratch) = self.pack(&self.forward, Direction::Forward, w, scratch);
        self.run_forward(x, filters, epilogue, y, scratch);
    }

    fn run_forward(&self, x: &[f32], filters: &[f32], epilogue: Epilogue, y: &mut [f32], scratch: &mut [f32]) {
        self.run(&self.forward, x, filters, epilogue.in_registers(), y, scratch);
        epilogue.activate_rest(y);
    }

    /// Writes the gradient with respect to the input to `dx`. With `where_positive`, the gradient is zero where the value that
    /// `dx` holds on entry isn't positive.
    pub(super) fn input_gradient(
        &self,
        dy: &[f32],
        w: &[f32],
        where_positive: bool,
        dx: &mut [f32],
        scratch: &mut [f32],
    ) {
        let (filters, scratch) = self.pack(&self.backward, Direction::Backward, w, scratch);
        self.run(&self.backward, dy, filters, RegisterEpilogue::of_gradient(where_positive), dx, scratch);
    }

    /// Packs the filters `w` (HWIO) into the first part of `scratch`. Returns them and the rest of `scratch`.
    fn pack<'a>(
        &self,
        convolution: &Convolution,
        direction: Direction,
        w: &[f32],
        scratch: &'a mut [f32],
    ) -> (&'a [f32], &'a mut [f32]) {
        let (filters, scratch) = aligned(scratch).split_at_mut(convolution.filters.len());
        convolution.filters.pack(self.bf16, direction, w, filters);
        (filters, scratch)
    }

    /// Computes `y = epilogue(x * filters)`, where `*` is the convolution.
    fn run(
        &self,
        convolution: &Convolution,
        x: &[f32],
        filters: &[f32],
        epilogue: RegisterEpilogue,
        y: &mut [f32],
        scratch: &mut [f32],
    ) {
        let Convolution { images, in_size, out_size, filters: layout, .. } = *convolution;
        let written = out_size.map(|size| if epilogue.pool { size / POOL } else { size });
        assert_eq!(x.len(), images * in_size.iter().product::<usize>() * layout.in_channels);
        assert_eq!(y.len(), images * written.iter().product::<usize>() * layout.out_channels);
        assert_eq!(filters.len(), layout.len());
        if y.is_empty() {
            return;
        }
        let (rows, y) = (convolution.rows(), SharedSlice::new(y));
        let (bands, groups) = (out_size[0].div_ceil(rows), layout.panels().div_ceil(GROUP_PANELS));
        let blocks = images * bands;
        // With fewer than two bands for each thread, the groups of filter panels are divided into parts. There is one task for
        // each band and part, so a band's strip is written once for each part.
        let parts = groups.min((2 * rayon::current_num_threads()).div_ceil(blocks));
        let segments = layout.segments(convolution.pixel_stride(), convolution.row_pixels());
        for_each_task(blocks * parts, scratch, convolution.scratch_len(), |task, scratch| {
            let (part, block) = (task / blocks, task % blocks);
            let top = block % bands * rows;
            self.bf16.run(Band {
                convolution,
                amx: self.amx,
                segments: &segments,
                image: block / bands,
                rows: top..out_size[0].min(top + rows),
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
