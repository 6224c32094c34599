//! Convolutions with products in bf16.

use super::{Conv2d, choose};
use crate::simd::Bf16;

impl Conv2d {
    /// The same convolution with products in bf16, where that is faster. Sums stay f32.
    ///
    /// bf16 has the range of f32 and eight of its 24 significant bits. It is used in the forward pass and in the gradient with
    /// respect to the input; the gradient with respect to the kernel stays in f32.
    ///
    /// On every CPU with bf16 instructions, the 3x3 convolutions of [algorithm](Self::algorithm) `winograd` use bf16. If a
    /// batch has only a few tiles (4x4 outputs), the gradient with respect to the input stays in f32, too. On a CPU with a
    /// matrix unit for bf16, ungrouped, undilated convolutions of stride 1 use that unit if they are large enough to fill it.
    /// Other convolutions stay in f32.
    ///
    /// ```
    /// use engraft_kernels::{Activation, Bf16, Conv2d, Conv2dShape};
    /// let Ok(bf16) = Bf16::detect() else { return };
    /// let shape = Conv2dShape {
    ///     batch: 1, in_h: 8, in_w: 8, in_c: 24, out_c: 24, kernel: [3, 3], stride: [1, 1], dilation: [1, 1], pad: [1, 1],
    ///     out_h: 8, out_w: 8, groups: 1,
    /// };
    /// let conv = Conv2d::new(shape).in_bf16(bf16);
    /// let (x, w, mut scratch) = (vec![1.0; 8 * 8 * 24], vec![0.5; 9 * 24 * 24], vec![0.0; conv.scratch_len()]);
    /// let mut y = vec![0.0; 8 * 8 * 24];
    /// conv.forward(&x, &w, None, Activation::Linear, &mut y, &mut scratch);
    /// assert!((y[0] - 4.0 * 24.0 * 0.5).abs() < 0.5);
    /// ```
    #[must_use]
    pub fn in_bf16(self, bf16: Bf16) -> Self {
        Self { algorithm: choose::in_bf16(bf16, self.shape, self.algorithm), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::super::algorithm::Algorithm;
    use super::super::cases::{BF16_TOLERANCE, TOLERANCE, relative_error, same_3x3, shapes_of_3x3};
    use super::super::direct::Direct;
    use super::super::winograd::Winograd;
    use super::*;
    use crate::simd::Amx;
    use crate::testing::{assert_same_for_any_threads, uniform};
    use crate::{Activation, reference};

    #[test]
    fn products_of_bf16_agree_with_the_reference() {
        for shape in shapes_of_3x3() {
            let (x, w, dy) = (uniform(shape.x_len(), 1), uniform(shape.w_len(), 2), uniform(shape.y_len(), 3));
            let expected = reference::conv2d(&shape, &x, &w);
            let input_gradient = reference::conv2d_input_gradient(&shape, &dy, &w);
            let kernel_gradient = reference::conv2d_kernel_gradient(&shape, &x, &dy);
            for bf16 in Bf16::tested() {
                let winograd = |bf16| Algorithm::Winograd(Winograd::in_bf16(bf16, shape));
                let direct = |amx| Algorithm::Direct(Direct::new(bf16, amx, shape), Box::new(winograd(bf16)));
                for algorithm in Amx::tested().map(direct).chain([winograd(bf16)]) {
                    let conv = Conv2d::with_algorithm(shape, algorithm);
                    let mut scratch = vec![f32::NAN; conv.scratch_len()];
                    let [mut y, mut again] = [(); 2].map(|()| vec![f32::NAN; shape.y_len()]);
                    let (mut dx, mut dw) = (vec![f32::NAN; shape.x_len()], vec![f32::NAN; shape.w_len()]);
                    conv.forward(&x, &w, None, Activation::Linear, &mut y, &mut scratch);
                    conv.input_gradient(&dy, &w, &mut dx, &mut scratch);
                    conv.kernel_gradient(&x, &dy, &mut dw, &mut scratch);
                    assert!(relative_error(&y, &expected) < BF16_TOLERANCE, "{bf16:?} {shape:?}");
                    assert!(relative_error(&dx, &input_gradient) < BF16_TOLERANCE, "{bf16:?}: dx of {shape:?}");
                    assert!(relative_error(&dw, &kernel_gradient) < TOLERANCE, "{bf16:?}: dw of {shape:?}");
                    let prepared = conv.prepare(&w).unwrap();
                    conv.forward_prepared(&x, &prepared, None, Activation::Linear, &mut again, &mut scratch);
                    assert!(again == y, "{bf16:?} {shape:?}: a prepared kernel gives other bits");
                }
            }
        }
    }

    #[test]
    fn bf16_has_the_same_bits_for_any_number_of_threads() {
        let shape = same_3x3([1, 30, 6, 71], 200);
        let (x, w) = (uniform(shape.x_len(), 1), uniform(shape.w_len(), 2));
        for bf16 in Bf16::tested() {
            let conv = Conv2d::with_algorithm(shape, Algorithm::Winograd(Winograd::in_bf16(bf16, shape)));
            assert_same_for_any_threads(|| {
                let (mut y, mut scratch) = (vec![0.0; shape.y_len()], vec![0.0; conv.scratch_len()]);
                conv.forward(&x, &w, None, Activation::Linear, &mut y, &mut scratch);
                y
            });
        }
    }
}
