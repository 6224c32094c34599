//! The patch matrix of im2col: one row for each output pixel, with the input pixels under the kernel.

use std::ops::Range;

use crate::Conv2dShape;
use crate::gemm::Matrix;

/// Gathers parts of the patch matrix `[batch * out_h * out_w, taps * channels]` from a batch of images `[batch, h, w, c]`.
///
/// The input gradient exchanges the roles: the images are `dy`, and the "output" pixels are the pixels of the convolution's
/// input.
#[derive(Clone, Debug)]
pub(super) struct Patches {
    /// Height and width of the images.
    image: [usize; 2],
    /// Channels of the images.
    image_channels: usize,
    /// Number of values in one image.
    image_len: usize,
    /// Channels in a patch, which belong to one group.
    channels: usize,
    /// First the image row for each pair of output row and kernel row, `None` outside the image. Second the same for columns.
    taps: [Vec<Option<usize>>; 2],
    /// For each output column, whether the patch values under a kernel row are contiguous in the image.
    contiguous: Vec<bool>,
    kernel: [usize; 2],
    output: [usize; 2],
    /// Whether the patch matrix is the image itself: a 1x1 kernel of stride 1.
    pointwise: bool,
}

impl Patches {
    /// Patches of the input, for the forward pass and the kernel gradient.
    pub(super) fn of_input(shape: &Conv2dShape) -> Self {
        let (image, output) = ([shape.in_h, shape.in_w], [shape.out_h, shape.out_w]);
        Self::new(shape, image, shape.in_c, output, |axis, position, tap| {
            (position * shape.stride[axis] + tap * shape.dilation[axis]).checked_sub(shape.pad[axis])
        })
    }

    /// Patches of the gradient with respect to the output, for the input gradient.
    pub(super) fn of_output(shape: &Conv2dShape) -> Self {
        let (image, output) = ([shape.out_h, shape.out_w], [shape.in_h, shape.in_w]);
        Self::new(shape, image, shape.out_c, output, |axis, position, tap| {
            let distance = (position + shape.pad[axis]).checked_sub(tap * shape.dilation[axis])?;
            distance.is_multiple_of(shape.stride[axis]).then(|| distance / shape.stride[axis])
        })
    }

    /// Patches whose pixels `source` locates: `source(axis, position, tap)` is the image coordinate along `axis` that output
    /// coordinate `position` reads with kernel coordinate `tap`.
    fn new(
        shape: &Conv2dShape,
        image: [usize; 2],
        image_channels: usize,
        output: [usize; 2],
        source: impl Fn(usize, usize, usize) -> Option<usize>,
    ) -> Self {
        let taps: [Vec<Option<usize>>; 2] = [0, 1].map(|axis| {
            let inside = |position, tap| source(axis, position, tap).filter(|&at| at < image[axis]);
            (0..output[axis])
                .flat_map(|i| (0..shape.kernel[axis]).map(move |tap| (i, tap)))
                .map(|(i, tap)| inside(i, tap))
                .collect()
        });
        let follows = |pair: &[Option<usize>]| pair[0].is_some() && pair[0].map(|at| at + 1) == pair[1];
        let contiguous = taps[1]
            .chunks_exact(shape.kernel[1])
            .map(|taps| shape.groups == 1 && taps[0].is_some() && taps.windows(2).all(follows));
        Self {
            image,
            image_channels,
            image_len: image[0] * image[1] * image_channels,
            channels: image_channels / shape.groups,
            contiguous: contiguous.collect(),
            taps,
            kernel: shape.kernel,
            output,
            pointwise: shape.is_pointwise(),
        }
    }

    /// Number of columns of the patch matrix.
    pub(super) fn columns(&self) -> usize {
        self.kernel[0] * self.kernel[1] * self.channels
    }

    /// Length of the buffer that [`read`](Self::read) needs for `rows` rows and `columns` columns.
    pub(super) fn buffer_len(&self, rows: usize, columns: usize) -> usize {
        if self.pointwise { 0 } else { rows * columns }
    }

    /// The given rows and columns of the patch matrix of `group`: a view of `images` if the matrix is the image itself, else
    /// gathered into `buffer`.
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
        let [out_h, out_w] = self.output;
        let (mut y, mut x) = (rows.start / out_w, rows.start % out_w);
        for patch in buffer.chunks_exact_mut(columns.len()) {
            let image = &images[y / out_h * self.image_len..][..self.image_len];
            self.gather(&image[first_channel..], [y % out_h, x], columns.start, patch);
            x += 1;
            if x == out_w {
                (y, x) = (y + 1, 0);
            }
        }
        Matrix::row_major(buffer, columns.len())
    }

    /// Gathers the patch of output pixel (`y`, `x`) of one `image`, from `column` on.
    fn gather(&self, image: &[f32], [y, x]: [usize; 2], column: usize, mut patch: &mut [f32]) {
        let [kernel_h, kernel_w] = self.kernel;
        let (rows, columns) = (&self.taps[0][y * kernel_h..], &self.taps[1][x * kernel_w..]);
        let (tap, mut channel) = (column / self.channels, column % self.channels);
        let (mut ky, mut kx) = (tap / kernel_w, tap % kernel_w);
        while !patch.is_empty() {
            let taps = if self.contiguous[x] { kernel_w - kx } else { 1 };
            let (target, rest) = patch.split_at_mut((taps * self.channels - channel).min(patch.len()));
            match (rows[ky], columns[kx]) {
                (Some(y), Some(x)) => {
                    let start = (y * self.image[1] + x) * self.image_channels + channel;
                    target.copy_from_slice(&image[start..][..target.len()]);
                }
                _ => target.fill(0.0),
            }
            (patch, channel, kx) = (rest, 0, kx + taps);
            if kx == kernel_w {
                (ky, kx) = (ky + 1, 0);
            }
        }
    }
}
