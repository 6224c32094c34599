//! Speed of the convolutions of VGG16 in GFLOP/s, beside that of a large square matrix product.
//!
//! `cargo run --release -p engraft-kernels --example conv_speed [image side] [batch]`

use std::time::Instant;

use engraft_kernels::{Activation, Conv2d, Conv2dShape, Matrix, Threads, gemm};

/// Side relative to the image's, input and output channels of every distinct 3x3 convolution of VGG16.
const LAYERS: [(usize, usize, usize); 9] = [
    (1, 3, 64),
    (1, 64, 64),
    (2, 64, 128),
    (2, 128, 128),
    (4, 128, 256),
    (4, 256, 256),
    (8, 256, 512),
    (8, 512, 512),
    (16, 512, 512),
];

fn main() -> std::io::Result<()> {
    let mut arguments = std::env::args().skip(1).filter_map(|argument| argument.parse().ok());
    let (side, batch) = (arguments.next().unwrap_or(224), arguments.next().unwrap_or(1));
    let threads = Threads::new(None)?;
    println!("{} threads, {side} x {side}, batch {batch}", threads.count());
    threads.run(|| {
        println!("peak {:.0} GFLOP/s", engraft_kernels::peak_gflops());
        println!("gemm 2048: {:.0} GFLOP/s", square_gemm(2048));
        println!("{:>4} {:>4} {:>4}  forward  input gradient  kernel gradient", "side", "in", "out");
        for (scale, in_c, out_c) in LAYERS {
            let [forward, input, kernel] = convolution(side / scale, batch, in_c, out_c);
            println!("{:4} {in_c:4} {out_c:4}  {forward:7.0}  {input:14.0}  {kernel:15.0}", side / scale);
        }
    });
    Ok(())
}

fn square_gemm(n: usize) -> f64 {
    let (a, b, mut c) = (vec![0.5; n * n], vec![0.5; n * n], vec![0.0; n * n]);
    let flop = 2.0 * (n * n * n) as f64;
    best(flop, || gemm(n, n, n, Matrix::row_major(&a, n), Matrix::row_major(&b, n), false, &mut c))
}

fn convolution(side: usize, batch: usize, in_c: usize, out_c: usize) -> [f64; 3] {
    let shape = Conv2dShape {
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
    };
    let pixels = batch * side * side;
    let conv = Conv2d::new(shape);
    let (mut x, mut w, mut y) = (vec![0.5; pixels * in_c], vec![0.5; 9 * in_c * out_c], vec![0.5; pixels * out_c]);
    let mut scratch = vec![0.0; conv.scratch_len()];
    let flop = 2.0 * (pixels * w.len()) as f64;
    [
        best(flop, || conv.forward(&x, &w, None, Activation::Relu, &mut y, &mut scratch)),
        best(flop, || conv.input_gradient(&y, &w, &mut x, &mut scratch)),
        best(flop, || conv.kernel_gradient(&x, &y, &mut w, &mut scratch)),
    ]
}

/// The best rate of five runs, in GFLOP/s: the one least disturbed.
fn best(flop: f64, mut work: impl FnMut()) -> f64 {
    let mut seconds = || {
        let start = Instant::now();
        work();
        start.elapsed().as_secs_f64()
    };
    flop / (0..5).map(|_| seconds()).fold(f64::INFINITY, f64::min) / 1e9
}
