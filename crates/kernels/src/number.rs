//! What the operands of a product are held in. Sums are f32 always.

#![expect(unsafe_code, reason = "vectors are stored to addresses that kernels compute")]

use crate::simd::Simd;

/// A kind of numbers, [`PACKED`](Self::PACKED) of which stand in the room of an f32: operands are addressed by such *words*.
pub(crate) trait Number: Copy + Send + Sync + 'static {
    /// Numbers of a word: steps of the depth that follow each other.
    const PACKED: usize;

    /// `sum + a b` for each word; of its numbers, all products are added.
    fn multiply_add<S: Simd>(simd: S, a: S::Vector, b: S::Vector, sum: S::Vector) -> S::Vector;

    /// Writes a vector of f32 as numbers side by side.
    ///
    /// # Safety
    /// [`words`] of a vector must be writable at `to`.
    unsafe fn store<S: Simd>(simd: S, x: S::Vector, to: *mut f32);

    /// Words of the numbers in `first` with those in `second` after them; of `first` alone where a word holds one.
    fn pack<S: Simd>(simd: S, first: S::Vector, second: S::Vector) -> S::Vector;
}

/// Words that hold `count` numbers.
#[inline(always)]
pub(crate) const fn words<N: Number>(count: usize) -> usize {
    count.div_ceil(N::PACKED)
}

/// f32 as they are.
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

/// The upper half of an f32: its range, with eight bits of precision.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bf16;

impl Number for Bf16 {
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
