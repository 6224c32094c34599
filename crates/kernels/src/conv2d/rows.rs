//! Convolutions that compute some rows of an image.

use std::ops::Range;

use super::Conv2d;

impl Conv2d {
    /// The convolution that computes the output rows `rows` of one image, and the range of input rows that it reads.
    ///
    /// `rows` counts output rows before pooling. With pooling, the first row must be even. The algorithm stays the same, so
    /// kernels prepared for the whole image can be used for its rows too. If the first row is a multiple of 4, the outputs have
    /// the same bits as those of the whole image. The new convolution needs no more scratch than the whole one.
    ///
    /// ```
    /// use engraft_kernels::{Activation, Conv2d, Conv2dShape};
    /// let shape = Conv2dShape {
    ///     batch: 1, in_h: 9, in_w: 6, in_c: 24, out_c: 24, kernel: [3, 3], stride: [1, 1], dilation: [1, 1], pad: [1, 1],
    ///     out_h: 9, out_w: 6, groups: 1,
    /// };
    /// let (lower, reads) = Conv2d::new(shape).rows(4..9);
    /// assert_eq!(reads, 3..9);
    /// let (x, w, mut scratch) = (vec![1.0; 6 * 6 * 24], vec![0.5; 9 * 24 * 24], vec![0.0; lower.scratch_len()]);
    /// let mut y = vec![0.0; lower.output_len()];
    /// lower.forward(&x, &w, None, Activation::Relu, &mut y, &mut scratch);
    /// assert_eq!(y.len(), 5 * 6 * 24);
    /// ```
    ///
    /// # Panics
    /// If the image has no such rows, if the batch has several images, or if pooling would begin in an odd row.
    #[must_use]
    pub fn rows(&self, rows: Range<usize>) -> (Self, Range<usize>) {
        assert!(self.shape.batch == 1, "rows of one image, not {}", self.shape.batch);
        assert!(!self.pool || rows.start.is_multiple_of(2), "pooling begins in an even row, not {}", rows.start);
        let (shape, reads) = self.shape.rows(rows);
        (Self { shape, algorithm: self.algorithm.of_shape(shape), ..*self }, reads)
    }
}

#[cfg(test)]
mod tests {
    use super::super::cases::{every_algorithm, shape, shapes_of_3x3};
    use super::*;
    use crate::testing::uniform;
    use crate::{Activation, Conv2dShape};

    #[test]
    fn bands_of_rows_make_up_the_whole() {
        let plain = [1, 1];
        let others =
            [([1, 23, 9, 3], 5, [5, 2], [3, 1], [2, 1], [4, 1]), ([1, 20, 9, 3], 9, [3, 3], [2, 2], plain, [1, 1])];
        let others = others
            .map(|(image, out_c, kernel, stride, dilation, pad)| shape(image, out_c, kernel, stride, dilation, pad, 1));
        let one = |shape: &Conv2dShape| shape.batch == 1;
        for shape in shapes_of_3x3().into_iter().filter(one).chain(others) {
            let (x, w, bias) = (uniform(shape.x_len(), 1), uniform(shape.w_len(), 2), uniform(shape.out_c, 3));
            for (name, conv) in every_algorithm(shape) {
                for conv in [Some(conv.clone()), conv.algorithm.has_register_epilogue().then(|| conv.pooled())]
                    .into_iter()
                    .flatten()
                {
                    let mut scratch = vec![f32::NAN; conv.scratch_len()];
                    let mut run = |conv: &Conv2d, x: &[f32]| {
                        assert!(conv.scratch_len() <= scratch.len());
                        let mut y = vec![f32::NAN; conv.output_len()];
                        conv.forward(x, &w, Some(&bias), Activation::Relu, &mut y, &mut scratch);
                        y
                    };
                    let (whole, mut parts) = (run(&conv, &x), Vec::new());
                    for first in (0..shape.out_h).step_by(8) {
                        let (part, reads) = conv.rows(first..shape.out_h.min(first + 8));
                        let row = shape.in_w * shape.in_c;
                        parts.extend(run(&part, &x[reads.start * row..reads.end * row]));
                    }
                    assert!(parts == whole, "{name} {shape:?}");
                }
            }
        }
    }
}
