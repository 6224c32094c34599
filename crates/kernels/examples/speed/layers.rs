//! Times of the kernels of VGG16 and its head.

use engraft_kernels::{
    Activation, AdamStep, Bf16, Conv2d, Pool2dShape, PoolKind, dense, dense_input_gradient, dense_kernel_gradient,
    dense_kernel_gradient_rows, max_pool2d_gradient, peak_gflops, pool2d,
};
use rayon::prelude::*;

use crate::timing::{Buffers, convolution, copy_rate, fastest};

/// The 3x3 convolutions of VGG16: number of occurrences, side of the network's image divided by the side of the layer's input,
/// input channels, output channels.
const CONVOLUTIONS: [(usize, usize, usize, usize); 9] = [
    (1, 1, 3, 64),
    (1, 1, 64, 64),
    (1, 2, 64, 128),
    (1, 2, 128, 128),
    (1, 4, 128, 256),
    (2, 4, 256, 256),
    (1, 8, 256, 512),
    (2, 8, 512, 512),
    (3, 16, 512, 512),
];
/// The max pooling layers of VGG16: side of the network's image divided by the side of the layer's input, channels.
const POOLS: [(usize, usize); 5] = [(1, 64), (2, 128), (4, 256), (8, 512), (16, 512)];
const UNITS: usize = 4096;
const ADAM: AdamStep = AdamStep { learning_rate: 1e-6, beta_1: 0.9, beta_2: 0.999, epsilon: 1e-7, step: 1 };

/// The machine's peak rates.
struct Peak {
    /// Floating-point operations per second.
    flop: f64,
    /// Bytes per second that memory copies read and write.
    bytes: f64,
}

impl Peak {
    /// Prints the time of a compute-bound kernel, its GFLOP/s, and their percentage of the peak.
    fn row(&self, name: &str, seconds: f64, flop: f64) {
        let share = 100.0 * flop / seconds / self.flop;
        println!("{name:48} {:9.2} ms {:8.1} GFLOP/s {share:4.0} %", 1e3 * seconds, flop / seconds / 1e9);
    }

    /// Prints the time of a memory-bound kernel, its GB/s, and their percentage of the rate of a copy.
    fn memory_row(&self, name: &str, seconds: f64, bytes: f64) {
        let share = 100.0 * bytes / seconds / self.bytes;
        println!("{name:48} {:9.2} ms {:8.1} GB/s    {share:4.0} %", 1e3 * seconds, bytes / seconds / 1e9);
    }
}

/// Prints a table of every kernel or, with `bf16`, of the convolutions in bf16.
pub(crate) fn print(side: usize, batch: usize, bf16: Option<Bf16>) {
    let peak = Peak { flop: 1e9 * peak_gflops(), bytes: copy_rate() };
    println!("peak {:.1} GFLOP/s; memory is copied at {:.1} GB/s", peak.flop / 1e9, peak.bytes / 1e9);
    println!("{side} x {side}, batch {batch}; GFLOP/s count a direct convolution, GB/s one read and one write\n");
    convolutions(&peak, side, batch, bf16);
    if bf16.is_some() {
        return;
    }
    pools(&peak, side, batch);
    dense_layers(&peak, side, batch);
    adam(&peak);
}

fn convolutions(peak: &Peak, side: usize, batch: usize, bf16: Option<Bf16>) {
    let mut sums = [0.0; 4];
    for (count, scale, in_c, out_c) in CONVOLUTIONS {
        let shape = convolution((side / scale).max(1), batch, in_c, out_c);
        let conv = bf16.into_iter().fold(Conv2d::new(shape), Conv2d::in_bf16);
        let Buffers { mut x, mut w, mut y, flop } = Buffers::new(&shape);
        let mut scratch = vec![0.0; conv.scratch_len()];
        let forward = fastest(|| conv.forward(&x, &w, None, Activation::Relu, &mut y, &mut scratch));
        let prepared = conv.prepare(&w).map_or(forward, |kernel| {
            fastest(|| conv.forward_prepared(&x, &kernel, None, Activation::Relu, &mut y, &mut scratch))
        });
        let input_gradient = fastest(|| conv.input_gradient(&y, &w, &mut x, &mut scratch));
        let kernel_gradient = fastest(|| conv.kernel_gradient(&x, &y, &mut w, &mut scratch));
        let name = format!("{:3}x{:<3} {in_c:3} -> {out_c:3} {:8}", shape.in_h, shape.in_w, conv.algorithm());
        let times = [forward, prepared, input_gradient, kernel_gradient];
        for (kernel, (seconds, sum)) in KERNELS.into_iter().zip(times.into_iter().zip(&mut sums)) {
            peak.row(&format!("{name}  {kernel}"), seconds, flop);
            *sum += count as f64 * seconds;
        }
    }
    for (kernel, sum) in KERNELS.into_iter().zip(sums) {
        println!("all 13 convolutions, {kernel}: {:.1} ms per image", 1e3 * sum / batch as f64);
    }
}

const KERNELS: [&str; 4] = ["forward", "forward, prepared", "input gradient", "kernel gradient"];

fn pools(peak: &Peak, side: usize, batch: usize) {
    println!();
    for (scale, channels) in POOLS {
        let side = (side / scale).max(2);
        let shape = Pool2dShape {
            batch,
            in_h: side,
            in_w: side,
            channels,
            size: [2, 2],
            stride: [2, 2],
            pad: [0, 0],
            out_h: side / 2,
            out_w: side / 2,
        };
        let outputs = batch * (side / 2) * (side / 2) * channels;
        let (x, mut y) = (vec![0.5f32; batch * side * side * channels], vec![0.5f32; outputs]);
        let bytes = 4.0 * (x.len() + y.len()) as f64;
        let seconds = fastest(|| pool2d(PoolKind::Max, &shape, &x, &mut y));
        peak.memory_row(&format!("max pool {side:3}x{side:<3} {channels:3}  forward"), seconds, bytes);
        let (dy, mut dx) = (y.clone(), x.clone());
        let seconds = fastest(|| max_pool2d_gradient(&shape, &x, &y, &dy, &mut dx));
        peak.memory_row(&format!("max pool {side:3}x{side:<3} {channels:3}  gradient"), seconds, 2.0 * bytes);
    }
}

fn dense_layers(peak: &Peak, side: usize, batch: usize) {
    println!();
    for inputs in [512 * (side / 32).max(1).pow(2), UNITS] {
        let name = format!("dense {inputs:5} -> {UNITS}");
        let (mut x, mut w, mut y) = (vec![0.5; batch * inputs], vec![0.5; inputs * UNITS], vec![0.5; batch * UNITS]);
        let kernel = 4.0 * w.len() as f64;
        let seconds = fastest(|| dense(batch, inputs, UNITS, &x, &w, None, Activation::Relu, &mut y));
        peak.memory_row(&format!("{name}  forward"), seconds, kernel);
        let seconds = fastest(|| dense_input_gradient(batch, inputs, UNITS, &y, &w, &mut x));
        peak.memory_row(&format!("{name}  input gradient"), seconds, kernel);
        let mut dw = vec![0.0; w.len()];
        let seconds = fastest(|| dense_kernel_gradient(batch, inputs, UNITS, &x, &y, &mut dw));
        peak.memory_row(&format!("{name}  kernel gradient"), seconds, kernel);
        let (mut m, mut v) = (dw, vec![0.0; w.len()]);
        let seconds = fastest(|| gradient_and_adam([batch, inputs], &x, &y, [&mut w, &mut m, &mut v]));
        peak.memory_row(&format!("{name}  kernel gradient with Adam"), seconds, 6.0 * kernel);
    }
}

/// The kernel gradient and its Adam update, a few rows at a time: each part of the gradient is applied while it is in cache.
fn gradient_and_adam([batch, inputs]: [usize; 2], x: &[f32], dy: &[f32], [w, m, v]: [&mut [f32]; 3]) {
    const ROWS: usize = 16;
    let rows = w.par_chunks_mut(ROWS * UNITS).zip(m.par_chunks_mut(ROWS * UNITS)).zip(v.par_chunks_mut(ROWS * UNITS));
    rows.enumerate().for_each_init(Vec::new, |gradient, (chunk, ((w, m), v))| {
        gradient.resize(w.len(), 0.0);
        let first = chunk * ROWS;
        let rows = first..first + w.len() / UNITS;
        dense_kernel_gradient_rows(batch, inputs, UNITS, x, dy, rows, gradient);
        ADAM.apply(w, gradient, m, v);
    });
}

fn adam(peak: &Peak) {
    const LENGTH: usize = 32 << 20;
    let [mut var, mut m, mut v] = [(); 3].map(|()| vec![0.0f32; LENGTH]);
    let gradient = vec![1e-3f32; LENGTH];
    const PIECE: usize = 64 << 10;
    let seconds = fastest(|| {
        let slots = m.par_chunks_mut(PIECE).zip(v.par_chunks_mut(PIECE));
        let pieces = var.par_chunks_mut(PIECE).zip(gradient.par_chunks(PIECE)).zip(slots);
        pieces.for_each(|((var, gradient), (m, v))| ADAM.apply(var, gradient, m, v));
    });
    println!();
    peak.memory_row("Adam, 33.5 million weights", seconds, 7.0 * 4.0 * LENGTH as f64);
}
