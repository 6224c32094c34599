//! Max pooling in the epilogue of a convolution.

use super::Conv2d;
use super::choose::prefers_winograd;
use crate::Conv2dShape;

impl Conv2d {
    /// Whether the convolution that [`new`](Self::new) makes for `shape` supports [`pooled`](Self::pooled), max pooling in the
    /// epilogue. If it does, so does its counterpart [in bf16](Self::in_bf16).
    pub fn fuses_pooling(shape: &Conv2dShape) -> bool {
        prefers_winograd(shape)
    }

    /// The convolution followed by max pooling in windows of 2x2 with stride 2. Forward pass only.
    ///
    /// Outputs are `[batch, out_h / 2, out_w / 2, out_c]`; the outputs before pooling are never written. The activation must be
    /// non-decreasing. [`fuses_pooling`](Self::fuses_pooling) tells which shapes can be pooled.
    ///
    /// ```
    /// use engraft_kernels::{Activation, Conv2d, Conv2dShape};
    /// let shape = Conv2dShape {
    ///     batch: 1, in_h: 8, in_w: 8, in_c: 24, out_c: 24, kernel: [3, 3], stride: [1, 1], dilation: [1, 1], pad: [1, 1],
    ///     out_h: 8, out_w: 8, groups: 1,
    /// };
    /// assert!(Conv2d::fuses_pooling(&shape));
    /// let conv = Conv2d::new(shape).pooled();
    /// let (x, w, mut scratch) = (vec![1.0; 8 * 8 * 24], vec![0.5; 9 * 24 * 24], vec![0.0; conv.scratch_len()]);
    /// let mut y = vec![0.0; 4 * 4 * 24];
    /// conv.forward(&x, &w, None, Activation::Relu, &mut y, &mut scratch);
    /// assert!((y[0] - 9.0 * 24.0 * 0.5).abs() < 1e-3);
    /// ```
    ///
    /// # Panics
    /// If the shape can't be pooled.
    #[must_use]
    pub fn pooled(self) -> Self {
        assert!(self.algorithm.has_register_epilogue(), "outputs of {:?} can't be pooled", self.shape);
        Self { pool: true, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::super::cases::{every_algorithm, shapes_of_3x3};
    use crate::testing::uniform;
    use crate::{Activation, Pool2dShape, PoolKind, pool2d};

    /// Bias and ReLU are non-decreasing even when rounded, so applying them before or after the maximum gives the same bits.
    #[test]
    fn fused_pooling_gives_the_bits_of_separate_pooling() {
        for shape in shapes_of_3x3() {
            let (x, w, bias) = (uniform(shape.x_len(), 1), uniform(shape.w_len(), 2), uniform(shape.out_c, 3));
            let pool = Pool2dShape {
                batch: shape.batch,
                in_h: shape.out_h,
                in_w: shape.out_w,
                channels: shape.out_c,
                size: [2, 2],
                stride: [2, 2],
                pad: [0, 0],
                out_h: shape.out_h / 2,
                out_w: shape.out_w / 2,
            };
            for (name, conv) in
                every_algorithm(shape).into_iter().filter(|(_, conv)| conv.algorithm.has_register_epilogue())
            {
                let (mut y, mut scratch) = (vec![f32::NAN; shape.y_len()], vec![f32::NAN; conv.scratch_len()]);
                conv.forward(&x, &w, Some(&bias), Activation::Relu, &mut y, &mut scratch);
                let conv = conv.pooled();
                let [mut separate, mut fused] = [(); 2].map(|()| vec![f32::NAN; conv.output_len()]);
                pool2d(PoolKind::Max, &pool, &y, &mut separate);
                conv.forward(&x, &w, Some(&bias), Activation::Relu, &mut fused, &mut scratch);
                assert!(fused == separate, "{name} {shape:?}");
            }
        }
    }
}
