//! Number formats of a product's operands: f32, or bf16 packed in pairs. Products are always accumulated in f32.

#![expect(unsafe_code, reason = "vectors are stored to addresses that kernels compute")]

use crate::simd::Simd;

/// The number format of packed operands.
///
/// Operands are stored in 32-bit *slots*, whatever the format: a slot holds one f32 or two bf16 that are neighbours along the
/// depth (the VNNI layout). So kernels address both formats as `f32` slices.
pub(crate) trait Number: Copy + Send + Sync + 'static {
    /// Numbers in a 32-bit slot. They are consecutive along the depth.
    const PACKED: usize;

    /// `sum + a b` for each slot. With two numbers in a slot, both products are added to the slot's sum.
    fn multiply_add<S: Simd>(simd: S, a: S::Vector, b: S::Vector, sum: S::Vector) -> S::Vector;

    /// Converts a vector of f32 to this format and writes the numbers side by side.
    ///
    /// # Safety
    /// The [`slots`] of `LANES` numbers must be writable at `to`.
    unsafe fn store<S: Simd>(simd: S, x: S::Vector, to: *mut f32);

    /// Packs one step of the depth, or two, into slots: lane by lane the number of `first` and, if a slot holds two, that of
    /// `second`.
    fn pack<S: Simd>(simd: S, first: S::Vector, second: S::Vector) -> S::Vector;
}

/// Number of 32-bit slots that hold `count` numbers.
#[inline(always)]
pub(crate) const fn slots<N: Number>(count: usize) -> usize {
    count.div_ceil(N::PACKED)
}

/// One f32 in a slot.
#[derive(Clone, Copy, Debug)]
pub(crate) struct F32;

impl Number for F32 {
    const PACKED: usize = 1;

    #[inline(always)]
    fn multiply_add<S: Simd>(simd: S, a: S::Vector, b: S::Vector, sum: S::Vector) -> S::Vector {
        simd.mul_add(a, b, sum)
    }

    #[inline(always)]
    unsafe fn store<S: Simd>(simd: S, x: S::Vector, to: *mut f32) {
        // SAFETY: the caller's promise.
        unsafe { simd.store(x, to) }
    }

    #[inline(always)]
    fn pack<S: Simd>(_: S, first: S::Vector, _: S::Vector) -> S::Vector {
        first
    }
}

/// Two bf16 in a slot. A bf16 is the upper half of an f32: the same range, with eight bits of precision.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bf16Pair;

impl Number for Bf16Pair {
    const PACKED: usize = 2;

    #[inline(always)]
    fn multiply_add<S: Simd>(simd: S, a: S::Vector, b: S::Vector, sum: S::Vector) -> S::Vector {
        simd.add_bf16_products(a, b, sum)
    }

    #[inline(always)]
    unsafe fn store<S: Simd>(simd: S, x: S::Vector, to: *mut f32) {
        // SAFETY: the caller's promise.
        unsafe { simd.store_bf16(x, to.cast()) }
    }

    #[inline(always)]
    fn pack<S: Simd>(simd: S, first: S::Vector, second: S::Vector) -> S::Vector {
        simd.pair_bf16(first, second)
    }
}
