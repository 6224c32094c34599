//! Reference implementations for the tests: plain loops in f64, straight from the definitions. Optimized kernels are compared
//! with them. The reference executor for whole plans is the crate `engraft-reference`.

use crate::{Conv2dShape, Matrix, Pool2dShape, PoolKind};

pub(crate) fn gemm(m: usize, k: usize, n: usize, a: Matrix, b: Matrix) -> Vec<f64> {
    let a = |i: usize, j: usize| f64::from(a.data[i * a.row_stride + j * a.col_stride]);
    let b = |i: usize, j: usize| f64::from(b.data[i * b.row_stride + j * b.col_stride]);
    let element = |index: usize| (0..k).map(|l| a(index / n, l) * b(l, index % n)).sum();
    (0..m * n).map(element).collect()
}

pub(crate) fn conv2d(shape: &Conv2dShape, x: &[f32], w: &[f32]) -> Vec<f64> {
    let mut y = vec![0.0; shape.batch * shape.out_h * shape.out_w * shape.out_c];
    for_each_product(shape, |xi, wi, yi| y[yi] += f64::from(x[xi]) * f64::from(w[wi]));
    y
}

pub(crate) fn conv2d_input_gradient(shape: &Conv2dShape, dy: &[f32], w: &[f32]) -> Vec<f64> {
    let mut dx = vec![0.0; shape.batch * shape.in_h * shape.in_w * shape.in_c];
    for_each_product(shape, |xi, wi, yi| dx[xi] += f64::from(dy[yi]) * f64::from(w[wi]));
    dx
}

pub(crate) fn conv2d_kernel_gradient(shape: &Conv2dShape, x: &[f32], dy: &[f32]) -> Vec<f64> {
    let mut dw = vec![0.0; shape.kernel[0] * shape.kernel[1] * (shape.in_c / shape.groups) * shape.out_c];
    for_each_product(shape, |xi, wi, yi| dw[wi] += f64::from(x[xi]) * f64::from(dy[yi]));
    dw
}

/// Calls `f` with the indices into `x`, `w` and `y` of every multiply-accumulate of a convolution.
fn for_each_product(shape: &Conv2dShape, mut f: impl FnMut(usize, usize, usize)) {
    let s = shape;
    let (group_in, group_out) = (s.in_c / s.groups, s.out_c / s.groups);
    for yi in 0..s.batch * s.out_h * s.out_w * s.out_c {
        let (pixel, o) = (yi / s.out_c, yi % s.out_c);
        let (image, oy, ox) = (pixel / s.out_w / s.out_h, pixel / s.out_w % s.out_h, pixel % s.out_w);
        for (ky, kx) in (0..s.kernel[0]).flat_map(|ky| (0..s.kernel[1]).map(move |kx| (ky, kx))) {
            let iy = (oy * s.stride[0] + ky * s.dilation[0]) as isize - s.pad[0] as isize;
            let ix = (ox * s.stride[1] + kx * s.dilation[1]) as isize - s.pad[1] as isize;
            if (0..s.in_h as isize).contains(&iy) && (0..s.in_w as isize).contains(&ix) {
                let x_pixel = (image * s.in_h + iy as usize) * s.in_w + ix as usize;
                for c in 0..group_in {
                    let xi = x_pixel * s.in_c + o / group_out * group_in + c;
                    f(xi, ((ky * s.kernel[1] + kx) * group_in + c) * s.out_c + o, yi);
                }
            }
        }
    }
}

pub(crate) fn pool2d(kind: PoolKind, shape: &Pool2dShape, x: &[f32]) -> Vec<f64> {
    let mut y = Vec::new();
    for_each_window(shape, |window| {
        let values = window.iter().map(|&at| f64::from(x[at]));
        y.push(match kind {
            PoolKind::Max => values.fold(f64::NEG_INFINITY, f64::max),
            PoolKind::Average => values.sum::<f64>() / window.len() as f64,
        });
    });
    y
}

pub(crate) fn pool2d_gradient(kind: PoolKind, shape: &Pool2dShape, x: &[f32], dy: &[f32]) -> Vec<f64> {
    let mut dx = vec![0.0; x.len()];
    let mut dy = dy.iter();
    for_each_window(shape, |window| {
        let dy = f64::from(*dy.next().unwrap());
        match kind {
            PoolKind::Max => {
                let max = window.iter().map(|&at| x[at]).fold(f32::NEG_INFINITY, f32::max);
                let first = window.iter().find(|&&at| x[at] == max).unwrap();
                dx[*first] += dy;
            }
            PoolKind::Average => window.iter().for_each(|&at| dx[at] += dy / window.len() as f64),
        }
    });
    dx
}

/// Calls `f` for every output value in order, with the indices of the input values in its window, in row-major order.
fn for_each_window(shape: &Pool2dShape, mut f: impl FnMut(&[usize])) {
    let s = shape;
    for yi in 0..s.batch * s.out_h * s.out_w * s.channels {
        let (pixel, c) = (yi / s.channels, yi % s.channels);
        let (image, oy, ox) = (pixel / s.out_w / s.out_h, pixel / s.out_w % s.out_h, pixel % s.out_w);
        let mut window = Vec::new();
        for (ky, kx) in (0..s.size[0]).flat_map(|ky| (0..s.size[1]).map(move |kx| (ky, kx))) {
            let iy = (oy * s.stride[0] + ky) as isize - s.pad[0] as isize;
            let ix = (ox * s.stride[1] + kx) as isize - s.pad[1] as isize;
            if (0..s.in_h as isize).contains(&iy) && (0..s.in_w as isize).contains(&ix) {
                window.push(((image * s.in_h + iy as usize) * s.in_w + ix as usize) * s.channels + c);
            }
        }
        f(&window);
    }
}
