//! Vector instructions: kernels are written once, generic over the trait [`Simd`], and compiled for every instruction set.
//!
//! A value of a type that implements [`Simd`] is a token: it proves that the CPU has the instructions, as only a check of the CPU
//! creates one. So safe code can call kernels with it. [`Isa`] picks the instruction set at run time.
//!
//! [`Bf16`] is the token for bf16 instructions, and [`Amx`] the one for the AMX matrix unit.

#![expect(unsafe_code, reason = "vectors are loaded from and stored to addresses that kernels compute")]

mod amx;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod bf16;
mod isa;
mod peak;
mod portable;

pub(crate) use amx::{Amx, BLOCK, BlockProduct, Segment, TILE};
pub use bf16::{Bf16, Bf16Error};
pub use isa::{Isa, IsaError};
pub use peak::peak_gflops;

/// An instruction set with vectors of [`LANES`](Self::LANES) f32.
///
/// All methods are `inline(always)`. So they are compiled inside [`run`](Self::run), where the target features are enabled.
pub(crate) trait Simd: Copy + Send + Sync + 'static {
    /// A vector in a register.
    type Vector: Copy;

    /// Number of f32 in a vector.
    const LANES: usize;

    /// Width of a register tile in vectors; see [`crate::microkernel`].
    const VECTORS: usize;

    /// Runs a kernel, compiled with this instruction set enabled.
    fn run<K: Kernel>(self, kernel: K) -> K::Output;

    /// A vector with `x` in every lane.
    fn splat(self, x: f32) -> Self::Vector;

    /// Reads a vector from `from`, which may be unaligned.
    ///
    /// # Safety
    /// `LANES` values must be readable there.
    unsafe fn load(self, from: *const f32) -> Self::Vector;

    /// Writes a vector to `to`, which may be unaligned.
    ///
    /// # Safety
    /// `LANES` values must be writable there.
    unsafe fn store(self, x: Self::Vector, to: *mut f32);

    /// Prefetches a cache line into the L1 cache. Any address is allowed.
    #[inline(always)]
    fn prefetch(self, _at: *const f32) {}

    /// Prefetches a cache line into the L2 cache only, so that large amounts don't evict the L1 cache. Any address is allowed.
    #[inline(always)]
    fn prefetch_far(self, _at: *const f32) {}

    /// `a + b`
    fn add(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;

    /// `a - b`
    fn sub(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;

    /// `a * b`
    fn mul(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;

    /// `a * b + c`, rounded once if the instruction set has fused multiply-add, else twice.
    fn mul_add(self, a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector;

    /// `max(x, 0)`; NaN stays NaN.
    fn relu(self, x: Self::Vector) -> Self::Vector;

    /// `min(max(x, lower), upper)`; NaN in `x` stays NaN. The bounds must not be NaN.
    fn clamp(self, x: Self::Vector, lower: Self::Vector, upper: Self::Vector) -> Self::Vector;

    /// The greater of both in each lane; NaN if either is NaN.
    fn max(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;

    /// `x` in the lanes where `condition` is positive, zero in the others.
    fn where_positive(self, condition: Self::Vector, x: Self::Vector) -> Self::Vector;

    /// `sum + a b` with a pair of bf16 in each lane of `a` and `b`: adds both products to the lane's f32.
    ///
    /// The default is a scalar emulation for tests. Instruction sets of [`Bf16`] override it.
    #[inline(always)]
    fn add_bf16_products(self, a: Self::Vector, b: Self::Vector, sum: Self::Vector) -> Self::Vector {
        bf16::add_products(self, a, b, sum)
    }

    /// Rounds both vectors to bf16 and packs them in pairs: `low` in the lower half of each lane, `high` in the upper half.
    #[inline(always)]
    fn pair_bf16(self, low: Self::Vector, high: Self::Vector) -> Self::Vector {
        bf16::pairs(self, low, high)
    }

    /// Rounds each lane to bf16 and writes them side by side to `to`.
    ///
    /// # Safety
    /// `LANES` bf16 must be writable there.
    #[inline(always)]
    unsafe fn store_bf16(self, x: Self::Vector, to: *mut u16) {
        // SAFETY: the caller's promise.
        unsafe { bf16::store(self, x, to) }
    }

    /// Reads the first `count` lanes from `from` and sets the others to zero. `count` may exceed `LANES`.
    ///
    /// # Safety
    /// `min(count, LANES)` values must be readable there.
    #[inline(always)]
    unsafe fn load_first(self, count: usize, from: *const f32) -> Self::Vector {
        if count >= Self::LANES {
            // SAFETY: the caller's promise.
            return unsafe { self.load(from) };
        }
        let mut lanes = [0.0; MAX_LANES];
        // SAFETY: `count` values are readable by the caller's promise and fit; the array holds a whole vector.
        unsafe {
            std::ptr::copy_nonoverlapping(from, lanes.as_mut_ptr(), count);
            self.load(lanes.as_ptr())
        }
    }

    /// Writes the first `count` lanes to `to`. `count` may exceed `LANES`.
    ///
    /// # Safety
    /// `min(count, LANES)` values must be writable there.
    #[inline(always)]
    unsafe fn store_first(self, count: usize, x: Self::Vector, to: *mut f32) {
        if count >= Self::LANES {
            // SAFETY: the caller's promise.
            return unsafe { self.store(x, to) };
        }
        let mut lanes = [0.0; MAX_LANES];
        // SAFETY: the array holds a whole vector, and `count` values are writable by the caller's promise.
        unsafe {
            self.store(x, lanes.as_mut_ptr());
            std::ptr::copy_nonoverlapping(lanes.as_ptr(), to, count);
        }
    }
}

/// Maximum of [`Simd::LANES`] over all instruction sets.
pub(crate) const MAX_LANES: usize = 16;

/// Maximum number of columns of a register tile over all instruction sets.
pub(crate) const MAX_COLUMNS: usize = 4 * MAX_LANES;

/// A piece of code that [`Simd::run`] and [`Isa::run`] compile for an instruction set.
pub(crate) trait Kernel {
    /// The result of [`run`](Self::run).
    type Output;

    /// Does the work. Must be `inline(always)`, like every function that it calls with vectors: other functions would be compiled
    /// without the instruction set.
    fn run<S: Simd>(self, simd: S) -> Self::Output;
}

#[cfg(test)]
mod tests {
    use super::*;

    struct EveryOperation;

    impl Kernel for EveryOperation {
        type Output = ();

        #[inline(always)]
        fn run<S: Simd>(self, simd: S) {
            let values: Vec<f32> = (0..S::LANES).map(|i| i as f32 - 2.0).collect();
            // SAFETY: `values` holds LANES values.
            let x = unsafe { simd.load(values.as_ptr()) };
            let lanes = |x: S::Vector| {
                let mut lanes = vec![f32::NAN; S::LANES];
                // SAFETY: as above.
                unsafe { simd.store(x, lanes.as_mut_ptr()) };
                lanes
            };
            let each = |f: fn(f32) -> f32| values.iter().copied().map(f).collect::<Vec<_>>();
            let three = simd.splat(3.0);
            assert_eq!(lanes(x), values);
            assert_eq!(lanes(simd.add(x, three)), each(|x| x + 3.0));
            assert_eq!(lanes(simd.sub(x, three)), each(|x| x - 3.0));
            assert_eq!(lanes(simd.mul(x, three)), each(|x| x * 3.0));
            assert_eq!(lanes(simd.mul_add(x, three, x)), each(|x| x * 3.0 + x));
            assert_eq!(lanes(simd.relu(x)), each(|x| x.max(0.0)));
            assert!(lanes(simd.relu(simd.splat(f32::NAN))).iter().all(|x| x.is_nan()));
            let (low, high) = (simd.splat(-1.0), simd.splat(0.5));
            assert_eq!(lanes(simd.clamp(x, low, high)), each(|x| x.clamp(-1.0, 0.5)));
            assert!(lanes(simd.clamp(simd.splat(f32::NAN), low, high)).iter().all(|x| x.is_nan()));
            assert_eq!(lanes(simd.max(x, three)), each(|x| x.max(3.0)));
            let nan = simd.splat(f32::NAN);
            assert!([simd.max(x, nan), simd.max(nan, x)].into_iter().flat_map(lanes).all(f32::is_nan));
            assert_eq!(lanes(simd.where_positive(x, three)), each(|x| if x > 0.0 { 3.0 } else { 0.0 }));
            assert_eq!(lanes(simd.where_positive(simd.splat(f32::NAN), three)), each(|_| 0.0));
            for count in (0..=S::LANES).chain([S::LANES + 1, 3 * MAX_LANES]) {
                // SAFETY: as above; no more than LANES values are read.
                let first = lanes(unsafe { simd.load_first(count, values.as_ptr()) });
                let read = count.min(S::LANES);
                assert_eq!(first[..read], values[..read]);
                assert!(first[read..].iter().all(|&x| x == 0.0));
                let mut written = vec![7.0; S::LANES];
                // SAFETY: as above.
                unsafe { simd.store_first(count, x, written.as_mut_ptr()) };
                assert_eq!(written[..read], values[..read]);
                assert!(written[read..].iter().all(|&x| x == 7.0));
            }
        }
    }

    #[test]
    fn every_instruction_set_of_this_cpu_computes_the_same() {
        Isa::tested().for_each(|isa| isa.run(EveryOperation));
    }
}
