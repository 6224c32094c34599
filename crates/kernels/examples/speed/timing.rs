//! Timing that is robust on a busy machine, and the shapes and buffers that are timed.

use std::time::Instant;

use engraft_kernels::Conv2dShape;
use rayon::prelude::*;

/// Minimum number of runs of each measurement.
const MIN_RUNS: usize = 3;
/// Minimum total time of the runs of a measurement, in seconds for each measured function.
const MIN_SECONDS: f64 = 0.03;

/// Seconds of the fastest of several runs, the one that other processes disturb least. A warm-up run isn't counted.
pub(crate) fn fastest(mut work: impl FnMut()) -> f64 {
    fastest_of([&mut work])[0]
}

/// [`fastest`] for several functions that run in turns, so that a disturbance affects all of them.
pub(crate) fn fastest_of<const N: usize>(mut works: [&mut dyn FnMut(); N]) -> [f64; N] {
    works.iter_mut().for_each(|work| work());
    let (mut best, mut spent, mut runs) = ([f64::INFINITY; N], 0.0, 0);
    while runs < MIN_RUNS || spent < MIN_SECONDS * N as f64 {
        for (best, work) in best.iter_mut().zip(&mut works) {
            let began = Instant::now();
            work();
            let seconds = began.elapsed().as_secs_f64();
            *best = best.min(seconds);
            spent += seconds;
        }
        runs += 1;
    }
    best
}

/// Memory bandwidth in bytes per second: reads and writes of a copy by all threads.
pub(crate) fn copy_rate() -> f64 {
    const LENGTH: usize = 64 << 20;
    let (from, mut to) = (vec![1.0f32; LENGTH], vec![0.0f32; LENGTH]);
    let seconds = fastest(|| {
        to.par_chunks_mut(1 << 18).zip(from.par_chunks(1 << 18)).for_each(|(to, from)| to.copy_from_slice(from));
    });
    (8 * LENGTH) as f64 / seconds
}

/// A 3x3 convolution with "same" padding over square images.
pub(crate) fn convolution(side: usize, batch: usize, in_c: usize, out_c: usize) -> Conv2dShape {
    Conv2dShape {
        batch,
        in_h: side,
        in_w: side,
        in_c,
        out_c,
        kernel: [3, 3],
        stride: [1, 1],
        dilation: [1, 1],
        pad: [1, 1],
        out_h: side,
        out_w: side,
        groups: 1,
    }
}

/// The buffers of a convolution.
pub(crate) struct Buffers {
    pub(crate) x: Vec<f32>,
    pub(crate) w: Vec<f32>,
    pub(crate) y: Vec<f32>,
    /// Floating-point operations of a direct forward pass. Each of the two gradients takes the same number.
    pub(crate) flop: f64,
}

impl Buffers {
    pub(crate) fn new(shape: &Conv2dShape) -> Self {
        let pixels = shape.batch * shape.out_h * shape.out_w;
        let w = vec![0.5; 9 * shape.in_c * shape.out_c];
        let flop = 2.0 * pixels as f64 * w.len() as f64;
        Self { x: vec![0.5; pixels * shape.in_c], w, y: vec![0.5; pixels * shape.out_c], flop }
    }
}
