//! A convolution's input as a matrix: one row for each output pixel, holding the pixels under the kernel.

use std::ops::Range;

use super::Conv2dShape;
use crate::gemm::Matrix;

/// How to read the matrix `[batch * out_h * out_w, taps * channels]` of patches from an image batch `[batch, h, w, c]`.
///
/// The same type serves the input gradient, where "output" pixels are the input's, and patches are taken from `dy`.
#[derive(Clone, Debug)]
pub(super) struct Patches {
    /// Height and width of the images that are read.
    image: [usize; 2],
    /// Channels of these images.
    image_channels: usize,
    /// Channels in a patch: those of one group.
    channels: usize,
    /// For each output row and kernel row the image row, or `None` outside the image; likewise for columns.
    taps: [Vec<Option<usize>>; 2],
    kernel: [usize; 2],
    output: [usize; 2],
    /// The matrix is the image itself.
    pointwise: bool,
}

impl Patches {
    /// Patches of the input that make the output.
    pub(super) fn of_input(shape: &Conv2dShape) -> Self {
        let (image, output) = ([shape.in_h, shape.in_w], [shape.out_h, shape.out_w]);
        Self::new(shape, image, shape.in_c, output, |axis, position, tap| {
            (position * shape.stride[axis] + tap * shape.dilation[axis]).checked_sub(shape.pad[axis])
        })
    }

    /// Patches of the output's gradient that make the input's gradient.
    pub(super) fn of_output(shape: &Conv2dShape) -> Self {
        let (image, output) = ([shape.out_h, shape.out_w], [shape.in_h, shape.in_w]);
        Self::new(shape, image, shape.out_c, output, |axis, position, tap| {
            let distance = (position + shape.pad[axis]).checked_sub(tap * shape.dilation[axis])?;
            distance.is_multiple_of(shape.stride[axis]).then(|| distance / shape.stride[axis])
        })
    }

    /// `source(axis, position, tap)`: where along `axis` the image lies under tap `tap` of the window at `position`.
    fn new(
        shape: &Conv2dShape,
        image: [usize; 2],
        image_channels: usize,
        output: [usize; 2],
        source: impl Fn(usize, usize, usize) -> Option<usize>,
    ) -> Self {
        let taps = [0, 1].map(|axis| {
            let inside = |position, tap| source(axis, position, tap).filter(|&at| at < image[axis]);
            (0..output[axis])
                .flat_map(|i| (0..shape.kernel[axis]).map(move |tap| (i, tap)))
                .map(|(i, tap)| inside(i, tap))
                .collect()
        });
        let channels = image_channels / shape.groups;
        let (kernel, pointwise) = (shape.kernel, shape.is_pointwise());
        Self { image, image_channels, channels, taps, kernel, output, pointwise }
    }

    /// Columns of the matrix.
    pub(super) fn columns(&self) -> usize {
        self.kernel[0] * self.kernel[1] * self.channels
    }

    /// Values that [`read`](Self::read) writes for `rows` and `columns` of the matrix.
    pub(super) fn buffer_len(&self, rows: usize, columns: usize) -> usize {
        if self.pointwise { 0 } else { rows * columns }
    }

    /// `rows` and `columns` of the matrix for `group`, gathered into `buffer` where they do not lie in `images` already.
    pub(super) fn read<'a>(
        &self,
        images: &'a [f32],
        group: usize,
        rows: Range<usize>,
        columns: Range<usize>,
        buffer: &'a mut [f32],
    ) -> Matrix<'a> {
        let first_channel = group * self.channels;
        if self.pointwise {
            return Matrix::row_major(images, self.image_channels).skip(rows.start, first_channel + columns.start);
        }
        let buffer = &mut buffer[..rows.len() * columns.len()];
        for (row, patch) in rows.zip(buffer.chunks_exact_mut(columns.len())) {
            self.gather(images, first_channel, row, columns.clone(), patch);
        }
        Matrix::row_major(buffer, columns.len())
    }

    /// `columns` of one row.
    fn gather(&self, images: &[f32], first_channel: usize, row: usize, columns: Range<usize>, mut patch: &mut [f32]) {
        let [out_h, out_w] = self.output;
        let (image, y, x) = (row / (out_h * out_w), row / out_w % out_h, row % out_w);
        let mut column = columns.start;
        while column < columns.end {
            let (tap, channel) = (column / self.channels, column % self.channels);
            let (ky, kx) = (tap / self.kernel[1], tap % self.kernel[1]);
            let count = (self.channels - channel).min(columns.end - column);
            let (target, rest) = patch.split_at_mut(count);
            match (self.taps[0][y * self.kernel[0] + ky], self.taps[1][x * self.kernel[1] + kx]) {
                (Some(y), Some(x)) => {
                    let pixel = (image * self.image[0] + y) * self.image[1] + x;
                    let start = pixel * self.image_channels + first_channel + channel;
                    target.copy_from_slice(&images[start..][..count]);
                }
                _ => target.fill(0.0),
            }
            patch = rest;
            column += count;
        }
    }
}
