//! 512-bit vectors: AVX-512, 32 registers.

#![expect(unsafe_code, reason = "intrinsics need a CPU that has them, which the token `Avx512` proves")]

use std::arch::x86_64::*;
use std::mem::transmute;

use super::{Kernel, Simd};

/// A token: this CPU has AVX-512F and, if `BF16`, AVX512-BF16 too.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Avx512<const BF16: bool = false>(());

impl<const BF16: bool> Avx512<BF16> {
    /// The token; `None` if the CPU or the operating system lacks the instructions.
    pub(crate) fn detect() -> Option<Self> {
        let bf16 = !BF16 || is_x86_feature_detected!("avx512bf16") && is_x86_feature_detected!("avx512bw");
        (bf16 && is_x86_feature_detected!("avx512f") && super::avx2::Avx2::detect().is_some()).then_some(Self(()))
    }

    /// The token for AVX-512F alone.
    pub(crate) fn without_bf16(self) -> Avx512 {
        Avx512(())
    }
}

impl<const BF16: bool> Simd for Avx512<BF16> {
    type Vector = __m512;

    const LANES: usize = 16;
    const VECTORS: usize = 4;

    #[inline(always)]
    fn run<K: Kernel>(self, kernel: K) -> K::Output {
        #[target_feature(enable = "avx512f,fma,avx2")]
        fn enabled<K: Kernel, S: Simd>(simd: S, kernel: K) -> K::Output {
            kernel.run(simd)
        }
        #[target_feature(enable = "avx512f,avx512bf16,fma,avx2")]
        fn with_bf16<K: Kernel, S: Simd>(simd: S, kernel: K) -> K::Output {
            kernel.run(simd)
        }
        // SAFETY: `self` proves that the CPU has these instructions.
        unsafe { if BF16 { with_bf16(self, kernel) } else { enabled(self, kernel) } }
    }

    #[inline(always)]
    fn splat(self, x: f32) -> __m512 {
        // SAFETY: `self` proves that the CPU has the instruction, here and below.
        unsafe { _mm512_set1_ps(x) }
    }

    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> __m512 {
        // SAFETY: as above, and the caller's promise.
        unsafe { _mm512_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn store(self, x: __m512, to: *mut f32) {
        // SAFETY: as above, and the caller's promise.
        unsafe { _mm512_storeu_ps(to, x) }
    }

    #[inline(always)]
    unsafe fn load_first(self, count: usize, from: *const f32) -> __m512 {
        // SAFETY: as above, and the caller's promise.
        unsafe { _mm512_maskz_loadu_ps(first(count), from) }
    }

    #[inline(always)]
    unsafe fn store_first(self, count: usize, x: __m512, to: *mut f32) {
        // SAFETY: as above, and the caller's promise.
        unsafe { _mm512_mask_storeu_ps(to, first(count), x) }
    }

    #[inline(always)]
    fn prefetch(self, at: *const f32) {
        // SAFETY: as above; a prefetch reads nothing.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
    }

    #[inline(always)]
    fn prefetch_far(self, at: *const f32) {
        // SAFETY: as above.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(at.cast()) }
    }

    #[inline(always)]
    fn add(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: as above.
        unsafe { _mm512_add_ps(a, b) }
    }

    #[inline(always)]
    fn sub(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: as above.
        unsafe { _mm512_sub_ps(a, b) }
    }

    #[inline(always)]
    fn mul(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: as above.
        unsafe { _mm512_mul_ps(a, b) }
    }

    #[inline(always)]
    fn mul_add(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        // SAFETY: as above.
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }

    /// If either operand is NaN, `vmaxps` returns the second one: so a NaN in `x` stays.
    #[inline(always)]
    fn relu(self, x: __m512) -> __m512 {
        // SAFETY: as above.
        unsafe { _mm512_max_ps(_mm512_setzero_ps(), x) }
    }

    /// NaN in `x` stays: if either operand is NaN, `vmaxps` and `vminps` return the second one.
    #[inline(always)]
    fn clamp(self, x: __m512, lower: __m512, upper: __m512) -> __m512 {
        // SAFETY: as above.
        unsafe { _mm512_min_ps(upper, _mm512_max_ps(lower, x)) }
    }

    /// If either operand is NaN, `vmaxps` returns the second one, so such lanes are replaced by the sum, which is NaN.
    #[inline(always)]
    fn max(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: as above.
        unsafe { _mm512_mask_add_ps(_mm512_max_ps(a, b), _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(a, b), a, b) }
    }

    #[inline(always)]
    fn where_positive(self, condition: __m512, x: __m512) -> __m512 {
        // SAFETY: as above.
        unsafe { _mm512_maskz_mov_ps(_mm512_cmp_ps_mask::<_CMP_GT_OQ>(condition, _mm512_setzero_ps()), x) }
    }

    #[inline(always)]
    fn add_bf16_products(self, a: __m512, b: __m512, sum: __m512) -> __m512 {
        assert!(BF16, "this token doesn't cover AVX512-BF16");
        // SAFETY: as above, with `BF16`; both types are the same bits.
        unsafe { _mm512_dpbf16_ps(sum, transmute::<__m512, __m512bh>(a), transmute::<__m512, __m512bh>(b)) }
    }

    #[inline(always)]
    fn pair_bf16(self, low: __m512, high: __m512) -> __m512 {
        assert!(BF16, "this token doesn't cover AVX512-BF16");
        // SAFETY: as above.
        unsafe {
            let low = _mm512_cvtepu16_epi32(transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(low)));
            let high = _mm512_cvtepu16_epi32(transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(high)));
            _mm512_castsi512_ps(_mm512_or_si512(low, _mm512_slli_epi32::<16>(high)))
        }
    }

    #[inline(always)]
    unsafe fn store_bf16(self, x: __m512, to: *mut u16) {
        assert!(BF16, "this token doesn't cover AVX512-BF16");
        // SAFETY: as above, and the caller's promise.
        unsafe { _mm256_storeu_si256(to.cast(), transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(x))) }
    }
}

/// The mask of the first `count` lanes; all lanes if `count` exceeds 16.
#[inline(always)]
fn first(count: usize) -> __mmask16 {
    ((1_u32 << count.min(16)) - 1) as __mmask16
}
