//! One algorithm for every instruction set: kernels are written once over [`Simd`], and compiled for each.
//!
//! A value that implements [`Simd`] is a proof that the CPU has its instructions: it can only be had by asking the CPU. So a
//! kernel that holds one may use them, and none is ever chosen by hope.

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

pub(crate) use amx::{Amx, BLOCK, Blocks, Segment, TILE};
pub use bf16::{Bf16, Bf16Error};
pub use isa::{Isa, IsaError};
pub use peak::peak_gflops;

/// An instruction set: vectors of [`LANES`](Self::LANES) f32.
///
/// Methods are `inline(always)`, so that they end up inside [`run`](Self::run), where the instructions are enabled.
pub(crate) trait Simd: Copy + Send + Sync + 'static {
    /// A vector in a register.
    type Vector: Copy;

    /// Values in a vector.
    const LANES: usize;

    /// Vectors that a tile of products is wide.
    const VECTORS: usize;

    /// Runs a kernel with this instruction set enabled.
    fn run<K: Kernel>(self, kernel: K) -> K::Output;

    /// `x` in every lane.
    fn splat(self, x: f32) -> Self::Vector;

    /// The values at `from`.
    ///
    /// # Safety
    /// `LANES` values must be readable there.
    unsafe fn load(self, from: *const f32) -> Self::Vector;

    /// Writes a vector to `to`.
    ///
    /// # Safety
    /// `LANES` values must be writable there.
    unsafe fn store(self, x: Self::Vector, to: *mut f32);

    /// Asks for the cache line at an address that will be read or written soon; any address will do.
    #[inline(always)]
    fn prefetch(self, _at: *const f32) {}

    /// The same, into the second-level cache alone: for so much that it would push out of the first what is in use.
    #[inline(always)]
    fn prefetch_far(self, _at: *const f32) {}

    /// `a + b`
    fn add(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;

    /// `a - b`
    fn sub(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;

    /// `a * b`
    fn mul(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;

    /// `a * b + c`, rounded once where the instructions can.
    fn mul_add(self, a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector;

    /// `max(x, 0)`; NaN stays NaN.
    fn relu(self, x: Self::Vector) -> Self::Vector;

    /// The greater of the two; NaN where one is.
    fn max(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;

    /// `x` in the lanes where `condition` is above zero, zero in the others.
    fn where_positive(self, condition: Self::Vector, x: Self::Vector) -> Self::Vector;

    /// `sum + a b` for both halves of each lane, which hold a bf16 each. In plain code, for tests; [`Bf16`] has instructions.
    #[inline(always)]
    fn add_bf16_products(self, a: Self::Vector, b: Self::Vector, sum: Self::Vector) -> Self::Vector {
        bf16::add_products(self, a, b, sum)
    }

    /// A bf16 of each lane of `low` in the lower half of a lane, one of `high` in its upper half.
    #[inline(always)]
    fn pair_bf16(self, low: Self::Vector, high: Self::Vector) -> Self::Vector {
        bf16::pairs(self, low, high)
    }

    /// Writes a bf16 for each lane, side by side.
    ///
    /// # Safety
    /// `LANES` of them must be writable there.
    #[inline(always)]
    unsafe fn store_bf16(self, x: Self::Vector, to: *mut u16) {
        // SAFETY: the caller's promise.
        unsafe { bf16::store(self, x, to) }
    }

    /// The first `count` values at `from`, the other lanes zero.
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

    /// Writes the first `count` lanes to `to`.
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

/// Most lanes of any instruction set.
pub(crate) const MAX_LANES: usize = 16;

/// Most columns of a tile of products, on any instruction set.
pub(crate) const MAX_COLUMNS: usize = 4 * MAX_LANES;

/// Work that [`Simd::run`] and [`Isa::run`] compile for an instruction set.
pub(crate) trait Kernel {
    /// What it gives.
    type Output;

    /// Does the work. Must be `inline(always)`, as all that it calls with vectors.
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
            // SAFETY: every vector is of LANES values.
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
            assert_eq!(lanes(simd.max(x, three)), each(|x| x.max(3.0)));
            let nan = simd.splat(f32::NAN);
            assert!([simd.max(x, nan), simd.max(nan, x)].into_iter().flat_map(lanes).all(f32::is_nan));
            assert_eq!(lanes(simd.where_positive(x, three)), each(|x| if x > 0.0 { 3.0 } else { 0.0 }));
            assert_eq!(lanes(simd.where_positive(simd.splat(f32::NAN), three)), each(|_| 0.0));
            for count in (0..=S::LANES).chain([S::LANES + 1, 3 * MAX_LANES]) {
                // SAFETY: as above, and `count` of them are enough.
                let first = lanes(unsafe { simd.load_first(count, values.as_ptr()) });
                let held = count.min(S::LANES);
                assert_eq!(first[..held], values[..held]);
                assert!(first[held..].iter().all(|&x| x == 0.0));
                let mut stored = vec![7.0; S::LANES];
                // SAFETY: as above.
                unsafe { simd.store_first(count, x, stored.as_mut_ptr()) };
                assert_eq!(stored[..held], values[..held]);
                assert!(stored[held..].iter().all(|&x| x == 7.0));
            }
        }
    }

    #[test]
    fn every_instruction_set_of_this_cpu_computes_the_same() {
        Isa::tested().for_each(|isa| isa.run(EveryOperation));
    }
}
