//! Packed copies of operands.

#![expect(unsafe_code, reason = "whole vectors are loaded and stored")]

use super::matrix::Matrix;
use crate::aligned::AlignedVec;
use crate::microkernel::columns;
use crate::simd::Simd;

/// Copies of operands in the order in which they are used.
pub(super) struct Copies {
    pub(super) left: AlignedVec,
    pub(super) right: AlignedVec,
}

/// Copies `steps` rows of `count` columns, each filled up to `width` with zeros.
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

/// [`pack`] of a panel of as many columns as a tile of products has. A copy by the library's function takes longer than the
/// products of a few rows.
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

/// The first `len` values of a copy, which grows where it must.
pub(super) fn room(copy: &mut AlignedVec, len: usize) -> &mut [f32] {
    if copy.as_slice().len() < len {
        *copy = AlignedVec::zeros(len);
    }
    &mut copy.as_mut_slice()[..len]
}
