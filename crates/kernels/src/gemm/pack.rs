//! Packing: copies of operand panels in the order in which the microkernel reads them.

#![expect(unsafe_code, reason = "whole vectors are loaded and stored")]

use super::matrix::Matrix;
use crate::aligned::AlignedVec;
use crate::microkernel::columns;
use crate::simd::Simd;

/// A thread's buffers for packed operands.
pub(super) struct PackBuffers {
    /// Packed left operand.
    pub(super) left: AlignedVec,
    /// Packed right operand. [`Skinny`](super::few_rows::Skinny) packs no right operand and accumulates its sums here.
    pub(super) right: AlignedVec,
}

/// Packs a panel of `steps` rows and `count` columns of `b`. Rows are padded with zeros to `width` values.
#[inline(always)]
pub(super) fn pack<S: Simd>(simd: S, b: Matrix, steps: usize, count: usize, width: usize, to: &mut [f32]) {
    if b.col_stride == 1 && count == columns::<S>() && width == count {
        return pack_whole(simd, b, steps, to);
    }
    for (step, to) in to.chunks_exact_mut(width).take(steps).enumerate() {
        let row = &b.data[step * b.row_stride..];
        match b.col_stride {
            1 => to[..count].copy_from_slice(&row[..count]),
            stride => to[..count].iter_mut().zip(row.iter().step_by(stride)).for_each(|(to, b)| *to = *b),
        }
        to[count..].fill(0.0);
    }
}

/// [`pack`] for a panel exactly as wide as a register tile, copied by vectors. If the output has few rows, a `memcpy` call for
/// each step would take longer than the multiply-accumulates.
#[inline(always)]
fn pack_whole<S: Simd>(simd: S, b: Matrix, steps: usize, to: &mut [f32]) {
    let width = columns::<S>();
    assert!(to.len() >= steps * width && (steps == 0 || b.data.len() >= (steps - 1) * b.row_stride + width));
    for step in 0..steps {
        for vector in 0..S::VECTORS {
            // SAFETY: the assertion above.
            unsafe {
                let x = simd.load(b.data.as_ptr().add(step * b.row_stride + vector * S::LANES));
                simd.store(x, to.as_mut_ptr().add(step * width + vector * S::LANES));
            }
        }
    }
}

/// The first `len` values of `buffer`, which is reallocated if it is shorter.
pub(super) fn reserve(buffer: &mut AlignedVec, len: usize) -> &mut [f32] {
    if buffer.as_slice().len() < len {
        *buffer = AlignedVec::zeros(len);
    }
    &mut buffer.as_mut_slice()[..len]
}
