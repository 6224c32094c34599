//! Rounding errors of each convolution algorithm, compared with f64, on every convolution of VGG16.
//!
//! Prints the largest and the root mean square (RMS) error, both relative to the RMS of the exact result. The layers have VGG16's
//! numbers of channels but smaller images. The results are recorded in `bench/records/accuracy.md`.
//!
//! Run it with `cargo run --release -p engraft-kernels --example accuracy`.

use engraft_kernels::{Activation, Bf16, Conv2d, Conv2dShape, Isa, IsaError, Threads};

/// Name, side of the layer's input in pixels, input channels, output channels.
const LAYERS: [(&str, usize, usize, usize); 13] = [
    ("block1_conv1", 64, 3, 64),
    ("block1_conv2", 64, 64, 64),
    ("block2_conv1", 32, 64, 128),
    ("block2_conv2", 32, 128, 128),
    ("block3_conv1", 32, 128, 256),
    ("block3_conv2", 32, 256, 256),
    ("block3_conv3", 32, 256, 256),
    ("block4_conv1", 32, 256, 512),
    ("block4_conv2", 32, 512, 512),
    ("block4_conv3", 32, 512, 512),
    ("block5_conv1", 32, 512, 512),
    ("block5_conv2", 32, 512, 512),
    ("block5_conv3", 32, 512, 512),
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    Threads::new(None)?.run(print)?;
    Ok(())
}

fn print() -> Result<(), IsaError> {
    println!("Instruction set: {}. Largest and RMS error relative to f64, in 1e-7.\n", Isa::chosen()?.name());
    println!("| layer | algorithm | forward | input gradient | kernel gradient |\n|---|---|---|---|---|");
    for (name, side, in_c, out_c) in LAYERS {
        let shape = Conv2dShape {
            batch: 1,
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
        let layer = Layer::new(shape);
        let (im2col, chosen) = (Conv2d::by_im2col(shape), Conv2d::new(shape));
        let mut algorithms = vec![("im2col".to_owned(), im2col), (chosen.algorithm().to_owned(), chosen.clone())];
        if let Ok(bf16) = Bf16::detect() {
            let conv = chosen.in_bf16(bf16);
            // Convolutions that stay in f32, such as those of RGB images, are skipped.
            if ["winograd", "direct"].contains(&conv.algorithm()) {
                algorithms.push((format!("{}, bf16", conv.algorithm()), conv));
            }
        }
        for (algorithm, conv) in algorithms {
            let [forward, input_gradient, kernel_gradient] = layer.errors(&conv);
            println!("| {name} | {algorithm} | {forward} | {input_gradient} | {kernel_gradient} |");
        }
    }
    Ok(())
}

/// Random input, kernel and output gradient of a layer, and the exact results in f64. The kernel has the variance of He
/// initialization.
struct Layer {
    shape: Conv2dShape,
    /// Input of the layer: ReLU of normal random numbers.
    x: Vec<f32>,
    w: Vec<f32>,
    dy: Vec<f32>,
    /// Output, gradient with respect to the input, gradient with respect to the kernel.
    exact: [Vec<f64>; 3],
}

impl Layer {
    fn new(shape: Conv2dShape) -> Self {
        let mut normal = Normal(7);
        let pixels = shape.in_h * shape.in_w;
        let scale = (2.0 / (9 * shape.in_c) as f32).sqrt();
        let x: Vec<f32> = (0..pixels * shape.in_c).map(|_| normal.draw().max(0.0)).collect();
        let w: Vec<f32> = (0..9 * shape.in_c * shape.out_c).map(|_| scale * normal.draw()).collect();
        let dy: Vec<f32> = (0..pixels * shape.out_c).map(|_| normal.draw()).collect();
        let exact = exact(&shape, &x, &w, &dy);
        Self { shape, x, w, dy, exact }
    }

    /// Errors of the output, of the input gradient and of the kernel gradient.
    fn errors(&self, conv: &Conv2d) -> [String; 3] {
        let Self { shape, x, w, dy, exact } = self;
        let mut scratch = vec![0.0; conv.scratch_len()];
        let mut computed = [vec![0.0; shape.in_h * shape.in_w * shape.out_c], vec![0.0; x.len()], vec![0.0; w.len()]];
        let [y, dx, dw] = &mut computed;
        conv.forward(x, w, None, Activation::Linear, y, &mut scratch);
        conv.input_gradient(dy, w, dx, &mut scratch);
        conv.kernel_gradient(x, dy, dw, &mut scratch);
        std::array::from_fn(|i| error(&computed[i], &exact[i]))
    }
}

/// Formats the errors as `largest / RMS`, both in 1e-7 of the RMS of `exact`.
fn error(computed: &[f32], exact: &[f64]) -> String {
    let mean_square = |squares: &mut dyn Iterator<Item = f64>| squares.sum::<f64>() / exact.len() as f64;
    let size = mean_square(&mut exact.iter().map(|e| e * e)).sqrt();
    let errors = || computed.iter().zip(exact).map(|(&f, &e)| (f64::from(f) - e).abs() / size);
    let (largest, mean) = (errors().fold(0.0, f64::max), mean_square(&mut errors().map(|d| d * d)).sqrt());
    format!("{:.0} / {:.1}", 1e7 * largest, 1e7 * mean)
}

/// Output, gradient with respect to the input and gradient with respect to the kernel, from their definitions.
fn exact(shape: &Conv2dShape, x: &[f32], w: &[f32], dy: &[f32]) -> [Vec<f64>; 3] {
    let (side, in_c, out_c) = (shape.in_h, shape.in_c, shape.out_c);
    let mut results = [vec![0.0; side * side * out_c], vec![0.0; x.len()], vec![0.0; w.len()]];
    let [y, dx, dw] = &mut results;
    let inside = |at: usize, tap: usize| (at + tap).checked_sub(1).filter(|&at| at < side);
    for (row, column, tap) in (0..side * side * 9).map(|i| (i / 9 / side, i / 9 % side, i % 9)) {
        let (Some(from_row), Some(from_column)) = (inside(row, tap / 3), inside(column, tap % 3)) else { continue };
        let (at, from) = ((row * side + column) * out_c, (from_row * side + from_column) * in_c);
        for c in 0..in_c {
            let (value, first) = (f64::from(x[from + c]), (tap * in_c + c) * out_c);
            let mut sum = 0.0;
            for o in 0..out_c {
                let (weight, gradient) = (f64::from(w[first + o]), f64::from(dy[at + o]));
                y[at + o] += value * weight;
                sum += gradient * weight;
                dw[first + o] += value * gradient;
            }
            dx[from + c] += sum;
        }
    }
    results
}

/// A generator of approximately normal random numbers: each is the sum of twelve uniform random numbers.
struct Normal(u64);

impl Normal {
    fn draw(&mut self) -> f32 {
        let mut uniform = || {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 40) as f32 / (1 << 24) as f32
        };
        (0..12).map(|_| uniform()).sum::<f32>() - 6.0
    }
}
