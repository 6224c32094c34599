//! Convolutions with 1x1 kernels and stride 1: one matrix product of pixels and kernel.
//!
//! The pixels are the left operand as they lie in memory. The kernel is packed in panels as wide as a register tile, each for the
//! whole depth. So an output is summed in registers from first to last, and its bias and activation are applied before it is
//! written once.

#![expect(unsafe_code, reason = "operands are addressed through strides")]

use rayon::prelude::*;

use super::epilogue::Epilogue;
use super::im2col::Im2col;
use crate::Conv2dShape;
use crate::activation::activate_serial;
use crate::aligned::{AlignedVec, CACHE_LINE, aligned};
use crate::clamp::Clamp;
use crate::microkernel::{self, Prefetch, Product, ROWS, RightOperand, RowMajor, columns, multiply_then};
use crate::number::F32;
use crate::output_tiles::{Tile, Tiles};
use crate::simd::{Isa, Kernel, Simd};

/// Most values of the left operand that a task reads. They stay in a core's L2 cache while all its panels multiply them.
const LEFT_LEN: usize = 64 << 10;

/// Most pixels of a task.
const MAX_PIXELS: usize = 384;

/// Fewest pixels into which tasks are divided to keep all threads busy: two register tiles.
const MIN_PIXELS: usize = 2 * ROWS;

/// A pointwise convolution.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pointwise {
    isa: Isa,
    shape: Conv2dShape,
}

impl Pointwise {
    /// Whether this algorithm can compute a convolution of this shape.
    pub(super) fn can(shape: &Conv2dShape) -> bool {
        shape.is_pointwise() && shape.groups == 1
    }

    pub(super) fn new(isa: Isa, shape: Conv2dShape) -> Self {
        Self { isa, shape }
    }

    /// The same convolution for another shape.
    pub(super) fn of_shape(self, shape: Conv2dShape) -> Self {
        Self { shape, ..self }
    }

    /// The convolution by im2col, which computes the gradients.
    pub(super) fn im2col(&self) -> Im2col {
        Im2col::new(self.shape)
    }

    pub(super) fn forward_scratch_len(&self) -> usize {
        self.prepared_len() + CACHE_LINE
    }

    pub(super) fn scratch_len(&self, threads: usize) -> usize {
        self.im2col().scratch_len(threads).max(self.forward_scratch_len())
    }

    /// Length of the packed kernel. The last panel is padded to whole vectors.
    pub(super) fn prepared_len(&self) -> usize {
        self.shape.in_c * self.shape.out_c.next_multiple_of(self.isa.lanes())
    }

    /// Packs the kernel.
    pub(super) fn prepare(&self, w: &[f32]) -> AlignedVec {
        let mut panels = AlignedVec::zeros(self.prepared_len());
        self.pack(w, panels.as_mut_slice());
        panels
    }

    pub(super) fn forward(&self, x: &[f32], w: &[f32], epilogue: Epilogue, y: &mut [f32], scratch: &mut [f32]) {
        let panels = &mut aligned(scratch)[..self.prepared_len()];
        self.pack(w, panels);
        self.forward_packed(x, panels, epilogue, y);
    }

    /// The forward pass with a kernel that [`prepare`](Self::prepare) packed.
    pub(super) fn forward_packed(&self, x: &[f32], panels: &[f32], epilogue: Epilogue, y: &mut [f32]) {
        let Conv2dShape { in_c, out_c, .. } = self.shape;
        let pixels = y.len() / out_c;
        assert!(x.len() == pixels * in_c && panels.len() == self.prepared_len() && !epilogue.pool);
        assert!(epilogue.bias.is_none_or(|bias| bias.len() == out_c));
        let clamp = Clamp::of(epilogue.activation);
        Tiles::new(y, 1, [pixels, out_c], self.task(pixels)).for_each(|mut tile| {
            let in_registers = InRegisters { bias: epilogue.bias, clamp: clamp.unwrap_or(Clamp::IDENTITY) };
            self.isa.run(Task { x, panels, in_c, epilogue: in_registers, tile: &mut tile });
            if clamp.is_none() {
                (0..tile.rows.len()).for_each(|row| activate_serial(epilogue.activation, tile.row(row)));
            }
        });
    }

    /// Pixels and output channels of a task.
    ///
    /// While there are too few tasks to keep all threads busy, their panels and then their pixels are halved.
    fn task(&self, pixels: usize) -> [usize; 2] {
        let (width, enough) = (self.isa.columns(), 4 * rayon::current_num_threads());
        let mut rows = (LEFT_LEN / self.shape.in_c.max(1)).clamp(MIN_PIXELS, MAX_PIXELS) / ROWS * ROWS;
        let mut panels = self.shape.out_c.div_ceil(width);
        let is_enough =
            |rows: usize, panels: usize| pixels.div_ceil(rows) * self.shape.out_c.div_ceil(panels * width) >= enough;
        while panels > 1 && !is_enough(rows, panels) {
            panels = panels.div_ceil(2);
        }
        while rows > MIN_PIXELS && !is_enough(rows, panels) {
            rows = (rows.min(pixels) / 2).next_multiple_of(ROWS).max(MIN_PIXELS);
        }
        [rows, panels * width]
    }

    /// Packs the kernel, `[in channels, out channels]`, in panels.
    fn pack(&self, w: &[f32], panels: &mut [f32]) {
        let Conv2dShape { in_c, out_c, .. } = self.shape;
        let (width, lanes) = (self.isa.columns(), self.isa.lanes());
        panels.par_chunks_mut((in_c * width).max(1)).enumerate().for_each(|(index, panel)| {
            let count = width.min(out_c - index * width);
            for (to, w) in panel.chunks_exact_mut(count.next_multiple_of(lanes)).zip(w.chunks_exact(out_c)) {
                to[..count].copy_from_slice(&w[index * width..][..count]);
                to[count..].fill(0.0);
            }
        });
    }
}

/// One task: the product of some pixels and some panels.
struct Task<'a, 't> {
    x: &'a [f32],
    panels: &'a [f32],
    in_c: usize,
    epilogue: InRegisters<'a>,
    tile: &'a mut Tile<'t>,
}

impl Kernel for Task<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { x, panels, in_c, epilogue, tile } = self;
        let (rows, channels) = (tile.rows.len(), tile.columns.clone());
        let x = RowMajor { start: x[tile.rows.start * in_c..].as_ptr(), row_stride: in_c };
        let (y, row_stride) = tile.as_mut_ptr();
        for channel in channels.clone().step_by(columns::<S>()) {
            let count = columns::<S>().min(channels.end - channel);
            let vectors = count.div_ceil(S::LANES);
            let panel = &panels[channel * in_c..][..vectors * S::LANES * in_c];
            let right = RightOperand { start: panel.as_ptr(), depth_stride: vectors * S::LANES, vectors };
            let epilogue = PanelEpilogue { of_all: epilogue, channel, count };
            // SAFETY: `forward_packed` has checked the lengths. Each row of the tile has `count` channels from `channel` on, and
            // the epilogue writes no more.
            unsafe {
                let product = Product { start: y.add(channel - channels.start), row_stride };
                multiply_then::<S, F32, _, _>(simd, rows, in_c, x, right, product, false, Prefetch::NONE, epilogue);
            }
        }
    }
}

/// The part of an epilogue that runs on sums in registers.
#[derive(Clone, Copy)]
struct InRegisters<'a> {
    bias: Option<&'a [f32]>,
    clamp: Clamp,
}

/// The epilogue of the `count` channels of a panel.
#[derive(Clone, Copy)]
struct PanelEpilogue<'a> {
    of_all: InRegisters<'a>,
    /// The first channel of the panel.
    channel: usize,
    count: usize,
}

impl microkernel::Epilogue for PanelEpilogue<'_> {
    #[inline(always)]
    unsafe fn store<S: Simd>(self, simd: S, sums: S::Vector, vector: usize, to: *mut f32) {
        let (first, InRegisters { bias, clamp }) = (vector * S::LANES, self.of_all);
        let count = self.count - first;
        // SAFETY: the bias has `count` more channels, and so has `to` by the caller's promise.
        unsafe {
            let sums = match bias {
                Some(bias) => simd.add(sums, simd.load_first(count, bias.as_ptr().add(self.channel + first))),
                None => sums,
            };
            simd.store_first(count, clamp.apply(simd, sums), to);
        }
    }
}
