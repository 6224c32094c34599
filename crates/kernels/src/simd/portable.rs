//! Vectors as arrays of f32 for any CPU. The compiler maps them to the vectors of the target.

#![expect(unsafe_code, reason = "see the trait")]

use super::{Kernel, Simd};

/// The instruction set of arrays of `LANES` f32, with register tiles of `VECTORS` arrays. Every CPU has it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plain<const LANES: usize, const VECTORS: usize>;

/// Vectors of 128 bits, which nearly every CPU has.
pub(crate) type Portable = Plain<4, 2>;

/// Vectors of 512 bits, so that code for wide vectors is tested on every CPU. Register tiles are two vectors wide: four would
/// take minutes more to compile.
#[cfg(test)]
pub(crate) type Wide = Plain<16, 2>;

/// A vector: an array of `LANES` f32.
#[derive(Clone, Copy)]
#[repr(align(16))]
pub(crate) struct Values<const LANES: usize>([f32; LANES]);

#[inline(always)]
fn zip<const LANES: usize>(a: Values<LANES>, b: Values<LANES>, f: impl Fn(f32, f32) -> f32) -> Values<LANES> {
    let mut result = a;
    for (x, y) in result.0.iter_mut().zip(b.0) {
        *x = f(*x, y);
    }
    result
}

impl<const LANES: usize, const VECTORS: usize> Simd for Plain<LANES, VECTORS> {
    type Vector = Values<LANES>;

    const LANES: usize = LANES;
    const VECTORS: usize = VECTORS;

    #[inline(always)]
    fn run<K: Kernel>(self, kernel: K) -> K::Output {
        kernel.run(self)
    }

    #[inline(always)]
    fn splat(self, x: f32) -> Self::Vector {
        Values([x; LANES])
    }

    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> Self::Vector {
        // SAFETY: the caller's promise; an array of f32 may be read unaligned.
        Values(unsafe { from.cast::<[f32; LANES]>().read_unaligned() })
    }

    #[inline(always)]
    unsafe fn store(self, x: Self::Vector, to: *mut f32) {
        // SAFETY: the caller's promise.
        unsafe { to.cast::<[f32; LANES]>().write_unaligned(x.0) }
    }

    #[inline(always)]
    fn add(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
        zip(a, b, |a, b| a + b)
    }

    #[inline(always)]
    fn sub(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
        zip(a, b, |a, b| a - b)
    }

    #[inline(always)]
    fn mul(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
        zip(a, b, |a, b| a * b)
    }

    /// Rounded twice: without an FMA instruction, a single rounding would call the C library.
    #[inline(always)]
    fn mul_add(self, a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector {
        self.add(self.mul(a, b), c)
    }

    #[inline(always)]
    fn relu(self, x: Self::Vector) -> Self::Vector {
        zip(x, x, |x, _| if x < 0.0 { 0.0 } else { x })
    }

    #[inline(always)]
    fn clamp(self, x: Self::Vector, lower: Self::Vector, upper: Self::Vector) -> Self::Vector {
        let x = zip(x, lower, |x, lower| if x < lower { lower } else { x });
        zip(x, upper, |x, upper| if x > upper { upper } else { x })
    }

    #[inline(always)]
    fn max(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
        zip(a, b, |a, b| if a > b || a.is_nan() { a } else { b })
    }

    #[inline(always)]
    fn where_positive(self, condition: Self::Vector, x: Self::Vector) -> Self::Vector {
        zip(condition, x, |condition, x| if condition > 0.0 { x } else { 0.0 })
    }
}
