//! The peak floating-point rate of this machine, to which other rates are compared (the roof of a roofline model).

use std::hint::black_box;
use std::time::Instant;

use rayon::prelude::*;

use super::{Isa, Kernel, Simd};

/// Independent chains of fused multiply-adds. Two FMA units with a latency of four cycles need at least eight.
const CHAINS: usize = 12;

/// Multiply-adds of a chain in one measurement, which takes a few milliseconds.
const CHAIN_LENGTH: usize = 1 << 21;

struct FmaChains;

impl Kernel for FmaChains {
    type Output = usize;

    /// Multiplies and adds in registers, and returns the number of floating-point operations.
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> usize {
        let (a, b) = (simd.splat(black_box(0.999)), simd.splat(black_box(0.001)));
        let mut chains = [simd.splat(1.0); CHAINS];
        for _ in 0..CHAIN_LENGTH {
            for chain in &mut chains {
                *chain = simd.mul_add(*chain, a, b);
            }
        }
        black_box(chains);
        2 * CHAINS * CHAIN_LENGTH * S::LANES
    }
}

/// The peak rate of the ambient pool's threads together, in GFLOP/s: billions of f32 operations per second.
///
/// The best of five measurements of fused multiply-adds in registers, about 50 ms in all.
///
/// ```
/// assert!(engraft_kernels::peak_gflops() > 0.1);
/// ```
pub fn peak_gflops() -> f64 {
    let measure = || {
        let start = Instant::now();
        let operations: usize = (0..rayon::current_num_threads())
            .into_par_iter()
            .with_max_len(1)
            .map(|_| Isa::current().run(FmaChains))
            .sum();
        operations as f64 / start.elapsed().as_secs_f64() / 1e9
    };
    (0..5).map(|_| measure()).fold(0.0, f64::max)
}
