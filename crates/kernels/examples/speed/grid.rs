//! Speed of the chosen algorithm of 3x3 convolutions relative to im2col, over a grid of shapes.

use engraft_kernels::{Activation, Conv2d, Conv2dShape};

use crate::timing::{Buffers, convolution, fastest_of};

/// Sides of a layer's input in pixels: those of typical networks for images of 32 to 512 pixels, and some odd sizes.
const SIDES: [usize; 16] = [1, 2, 3, 4, 7, 8, 14, 16, 32, 33, 56, 64, 97, 128, 255, 512];
const BATCHES: [usize; 5] = [1, 2, 5, 16, 64];
const CHANNELS: [(usize, usize); 11] =
    [(3, 64), (8, 8), (13, 40), (16, 16), (17, 19), (32, 32), (64, 64), (96, 24), (128, 256), (256, 256), (512, 512)];

/// Maximum number of floating-point operations in a forward pass. Larger shapes are skipped, as they behave like smaller ones.
const MOST_FLOP: f64 = 2e10;

const KERNELS: [&str; 3] = ["forward", "input gradient", "kernel gradient"];

/// Prints the speedups of every measured shape, then, for each of [`KERNELS`], the shape with the lowest speedup.
pub(crate) fn print() {
    println!("speedup over im2col; shapes that choose im2col and very large shapes are omitted\n");
    println!(
        "{:>4} {:>5} {:>4} {:>4}  {:>8} {:>14} {:>16}",
        "side", "batch", "in", "out", KERNELS[0], KERNELS[1], KERNELS[2]
    );
    let mut worst = [(f64::INFINITY, String::new()), (f64::INFINITY, String::new()), (f64::INFINITY, String::new())];
    let (mut shapes, mut slower) = (0, 0);
    for shape in shapes_to_measure() {
        let ratios = speedups(shape);
        let Conv2dShape { batch, in_h, in_c, out_c, .. } = shape;
        let name = format!("{in_h:4} {batch:5} {in_c:4} {out_c:4}");
        println!("{name}  {:8.2} {:14.2} {:16.2}", ratios[0], ratios[1], ratios[2]);
        shapes += 1;
        slower += ratios.iter().filter(|&&ratio| ratio < 1.0).count();
        for (worst, ratio) in worst.iter_mut().zip(ratios) {
            if ratio < worst.0 {
                *worst = (ratio, name.clone());
            }
        }
    }
    println!("\n{shapes} shapes, {slower} of {} kernels slower than im2col; the worst:", 3 * shapes);
    for (kernel, (ratio, shape)) in KERNELS.into_iter().zip(worst) {
        println!("{shape}  {kernel} {ratio:.2}");
    }
}

fn shapes_to_measure() -> impl Iterator<Item = Conv2dShape> {
    let sizes = CHANNELS.into_iter().flat_map(|channels| SIDES.map(|side| (channels, side)));
    let all = sizes.flat_map(|((in_c, out_c), side)| BATCHES.map(|batch| convolution(side, batch, in_c, out_c)));
    all.filter(|shape| {
        let flop = 18.0 * (shape.batch * shape.out_h * shape.out_w * shape.in_c * shape.out_c) as f64;
        flop < MOST_FLOP && Conv2d::new(*shape).algorithm() != "im2col"
    })
}

/// The speedup over im2col of each of [`KERNELS`].
fn speedups(shape: Conv2dShape) -> [f64; 3] {
    let [chosen, im2col] = [Conv2d::new(shape), Conv2d::by_im2col(shape)];
    let Buffers { mut x, mut w, mut y, .. } = Buffers::new(&shape);
    let mut scratch = vec![0.0; chosen.scratch_len().max(im2col.scratch_len())];
    let forward =
        speedup([&chosen, &im2col], |conv| conv.forward(&x, &w, None, Activation::Relu, &mut y, &mut scratch));
    let input_gradient = speedup([&chosen, &im2col], |conv| conv.input_gradient(&y, &w, &mut x, &mut scratch));
    let kernel_gradient = speedup([&chosen, &im2col], |conv| conv.kernel_gradient(&x, &y, &mut w, &mut scratch));
    [forward, input_gradient, kernel_gradient]
}

/// The speedup of the first convolution over the second.
fn speedup([first, second]: [&Conv2d; 2], work: impl FnMut(&Conv2d)) -> f64 {
    let work = std::cell::RefCell::new(work);
    let [first_seconds, second_seconds] =
        fastest_of([&mut || work.borrow_mut()(first), &mut || work.borrow_mut()(second)]);
    second_seconds / first_seconds
}
