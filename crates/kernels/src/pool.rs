//! Pooling: the maximum or mean of windows, or of whole images.

use std::ops::Range;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::chunks::check_len;

/// What a window of pixels is reduced to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PoolKind {
    /// Its greatest value.
    Max,
    /// Its mean, over pixels inside the image only.
    Average,
}

/// Shapes of a 2-D pooling: `[batch, in_h, in_w, channels]` -> `[batch, out_h, out_w, channels]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool2dShape {
    /// Images.
    pub batch: usize,
    /// Input height in pixels.
    pub in_h: usize,
    /// Input width in pixels.
    pub in_w: usize,
    /// Channels of input and output.
    pub channels: usize,
    /// Height and width of a window.
    pub size: [usize; 2],
    /// Distance between windows, down and across.
    pub stride: [usize; 2],
    /// Padding at the top and left; at the bottom and right it follows from the output size.
    pub pad: [usize; 2],
    /// Output height in pixels.
    pub out_h: usize,
    /// Output width in pixels.
    pub out_w: usize,
}

impl Pool2dShape {
    fn in_size(&self) -> usize {
        self.in_h * self.in_w * self.channels
    }

    fn out_size(&self) -> usize {
        self.out_h * self.out_w * self.channels
    }

    fn check(&self, input: &[f32], output: &[f32]) {
        assert!(self.channels > 0 && !self.stride.contains(&0), "{self:?} has no channels or a stride of zero");
        check_len("input", input, self.batch * self.in_size());
        check_len("output", output, self.batch * self.out_size());
    }

    /// The rows and columns inside the image that the window of output pixel (`y`, `x`) covers.
    fn window(&self, y: usize, x: usize) -> (Range<usize>, Range<usize>) {
        let clip = |position: usize, axis: usize, len: usize| {
            let start = position * self.stride[axis];
            start.saturating_sub(self.pad[axis])..(start + self.size[axis]).saturating_sub(self.pad[axis]).min(len)
        };
        (clip(y, 0, self.in_h), clip(x, 1, self.in_w))
    }

    /// Start of input pixel (`y`, `x`) in its image.
    fn at(&self, y: usize, x: usize) -> usize {
        (y * self.in_w + x) * self.channels
    }
}

/// Pools `x` into `y`.
pub fn pool2d(kind: PoolKind, shape: &Pool2dShape, x: &[f32], y: &mut [f32]) {
    shape.check(x, y);
    let row = shape.out_w * shape.channels;
    y.par_chunks_mut(row.max(1)).enumerate().for_each(|(index, y)| {
        let (image, row) = (index / shape.out_h, index % shape.out_h);
        let x = &x[image * shape.in_size()..][..shape.in_size()];
        for (column, y) in y.chunks_exact_mut(shape.channels).enumerate() {
            let (rows, columns) = shape.window(row, column);
            let pixels = rows.flat_map(|row| columns.clone().map(move |column| shape.at(row, column)));
            reduce(kind, pixels.map(|start| &x[start..][..shape.channels]), y);
        }
    });
}

/// The maximum or mean of `pixels`, channel by channel.
fn reduce<'a>(kind: PoolKind, pixels: impl Iterator<Item = &'a [f32]>, y: &mut [f32]) {
    match kind {
        PoolKind::Max => {
            y.fill(f32::NEG_INFINITY);
            pixels.for_each(|x| y.iter_mut().zip(x).for_each(|(y, x)| *y = if *x > *y { *x } else { *y }));
        }
        PoolKind::Average => {
            y.fill(0.0);
            let mut count = 0;
            pixels.for_each(|x| {
                count += 1;
                y.iter_mut().zip(x).for_each(|(y, x)| *y += x);
            });
            y.iter_mut().for_each(|y| *y /= count as f32);
        }
    }
}

/// The gradient of max pooling: each `dy` goes to the first greatest value of its window, row by row, as in TensorFlow.
pub fn max_pool2d_gradient(shape: &Pool2dShape, x: &[f32], y: &[f32], dy: &[f32], dx: &mut [f32]) {
    shape.check(x, y);
    shape.check(dx, dy);
    dx.par_chunks_mut(shape.in_size().max(1)).enumerate().for_each(|(image, dx)| {
        let x = &x[image * shape.in_size()..][..shape.in_size()];
        let [y, dy] = [y, dy].map(|slice| &slice[image * shape.out_size()..][..shape.out_size()]);
        dx.fill(0.0);
        for (pixel, (y, dy)) in y.chunks_exact(shape.channels).zip(dy.chunks_exact(shape.channels)).enumerate() {
            let (rows, columns) = shape.window(pixel / shape.out_w, pixel % shape.out_w);
            for channel in 0..shape.channels {
                let mut positions =
                    rows.clone().flat_map(|row| columns.clone().map(move |column| shape.at(row, column) + channel));
                if let Some(first) = positions.find(|&at| x[at] == y[channel]) {
                    dx[first] += dy[channel];
                }
            }
        }
    });
}

/// The gradient of average pooling: each `dy` is shared equally among the pixels of its window.
pub fn average_pool2d_gradient(shape: &Pool2dShape, dy: &[f32], dx: &mut [f32]) {
    shape.check(dx, dy);
    dx.par_chunks_mut(shape.in_size().max(1)).enumerate().for_each(|(image, dx)| {
        let dy = &dy[image * shape.out_size()..][..shape.out_size()];
        dx.fill(0.0);
        for (pixel, dy) in dy.chunks_exact(shape.channels).enumerate() {
            let (rows, columns) = shape.window(pixel / shape.out_w, pixel % shape.out_w);
            let share = 1.0 / (rows.len() * columns.len()) as f32;
            for at in rows.flat_map(|row| columns.clone().map(move |column| shape.at(row, column))) {
                dx[at..][..shape.channels].iter_mut().zip(dy).for_each(|(dx, dy)| *dx += dy * share);
            }
        }
    });
}

/// The maximum or mean of all pixels: `x` `[batch, pixels, channels]` -> `y` `[batch, channels]`.
pub fn global_pool(kind: PoolKind, batch: usize, pixels: usize, channels: usize, x: &[f32], y: &mut [f32]) {
    check_global(batch, pixels, channels, x, y);
    let images = x.par_chunks_exact(pixels * channels);
    y.par_chunks_exact_mut(channels).zip(images).for_each(|(y, x)| reduce(kind, x.chunks_exact(channels), y));
}

/// The gradient of global max pooling, shared equally among pixels that tie for the maximum (TensorFlow's `reduce_max`).
pub fn global_max_pool_gradient(
    batch: usize,
    pixels: usize,
    channels: usize,
    x: &[f32],
    y: &[f32],
    dy: &[f32],
    dx: &mut [f32],
) {
    check_global(batch, pixels, channels, x, y);
    check_global(batch, pixels, channels, dx, dy);
    let images =
        x.par_chunks_exact(pixels * channels).zip(y.par_chunks_exact(channels)).zip(dy.par_chunks_exact(channels));
    dx.par_chunks_exact_mut(pixels * channels).zip(images).for_each(|(dx, ((x, y), dy))| {
        let mut ties = vec![0.0f32; channels];
        for x in x.chunks_exact(channels) {
            ties.iter_mut().zip(x).zip(y).for_each(|((ties, x), y)| *ties += if x == y { 1.0 } else { 0.0 });
        }
        for (dx, x) in dx.chunks_exact_mut(channels).zip(x.chunks_exact(channels)) {
            for c in 0..channels {
                dx[c] = if x[c] == y[c] { dy[c] / ties[c] } else { 0.0 };
            }
        }
    });
}

/// The gradient of global average pooling: `dx = dy / pixels`.
pub fn global_average_pool_gradient(batch: usize, pixels: usize, channels: usize, dy: &[f32], dx: &mut [f32]) {
    check_global(batch, pixels, channels, dx, dy);
    let images = dx.par_chunks_exact_mut(pixels * channels).zip(dy.par_chunks_exact(channels));
    images.for_each(|(dx, dy)| {
        for dx in dx.chunks_exact_mut(channels) {
            dx.iter_mut().zip(dy).for_each(|(dx, dy)| *dx = dy / pixels as f32);
        }
    });
}

fn check_global(batch: usize, pixels: usize, channels: usize, x: &[f32], y: &[f32]) {
    assert!(pixels > 0 && channels > 0, "cannot pool {pixels} pixels of {channels} channels");
    check_len("input", x, batch * pixels * channels);
    check_len("output", y, batch * channels);
}
