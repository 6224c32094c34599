//! What this machine can do at most: the yardstick of every other rate.

use std::hint::black_box;
use std::time::Instant;

use rayon::prelude::*;

use super::{Isa, Kernel, Simd};

/// Chains of multiply-adds side by side: two units of four cycles' latency need eight to be busy.
const CHAINS: usize = 12;

/// Multiply-adds of a chain in one measurement: some milliseconds.
const LENGTH: usize = 1 << 21;

struct Chains;

impl Kernel for Chains {
    type Output = usize;

    /// Multiplies and adds in registers only, and returns how many operations that was.
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> usize {
        let (a, b) = (simd.splat(black_box(0.999)), simd.splat(black_box(0.001)));
        let mut chains = [simd.splat(1.0); CHAINS];
        for _ in 0..LENGTH {
            for chain in &mut chains {
                *chain = simd.mul_add(*chain, a, b);
            }
        }
        black_box(chains);
        2 * CHAINS * LENGTH * S::LANES
    }
}

/// Billions of floating-point operations a second that the threads of the ambient pool can do together at most: the best of
/// several measurements of multiply-adds in registers, about 50 ms in all.
///
/// ```
/// assert!(engraft_kernels::peak_gflops() > 0.1);
/// ```
pub fn peak_gflops() -> f64 {
    let measure = || {
        let start = Instant::now();
        let operations: usize =
            (0..rayon::current_num_threads()).into_par_iter().with_max_len(1).map(|_| Isa::current().run(Chains)).sum();
        operations as f64 / start.elapsed().as_secs_f64() / 1e9
    };
    (0..5).map(|_| measure()).fold(0.0, f64::max)
}
