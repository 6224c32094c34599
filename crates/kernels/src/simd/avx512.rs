//! 512-bit vectors: AVX-512, 32 registers.

#![expect(unsafe_code, reason = "intrinsics need a proof that the CPU has them: `Avx512` is that proof")]

use std::arch::x86_64::*;

use super::{Kernel, Simd};

/// Proof that this CPU has AVX-512 (F).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Avx512(());

impl Avx512 {
    /// The proof, where this CPU and its operating system can give it.
    pub(crate) fn detect() -> Option<Self> {
        (is_x86_feature_detected!("avx512f") && super::avx2::Avx2::detect().is_some()).then_some(Self(()))
    }
}

impl Simd for Avx512 {
    type Vector = __m512;

    const LANES: usize = 16;
    const VECTORS: usize = 4;

    #[inline(always)]
    fn run<K: Kernel>(self, kernel: K) -> K::Output {
        #[target_feature(enable = "avx512f,fma,avx2")]
        fn enabled<K: Kernel>(simd: Avx512, kernel: K) -> K::Output {
            kernel.run(simd)
        }
        // SAFETY: `self` proves that the CPU has these instructions.
        unsafe { enabled(self, kernel) }
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

    /// Into the second-level cache: what is prefetched here would push out of the first what is in use.
    #[inline(always)]
    fn prefetch(self, at: *const f32) {
        // SAFETY: as above; a prefetch reads nothing.
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

    /// The instruction gives its second operand where one is NaN.
    #[inline(always)]
    fn relu(self, x: __m512) -> __m512 {
        // SAFETY: as above.
        unsafe { _mm512_max_ps(_mm512_setzero_ps(), x) }
    }

    /// The instruction gives its second operand where one is NaN.
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
}
