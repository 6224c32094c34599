//! The backward pass: gradients with respect to the input and to the kernel.

use super::Conv2d;
use super::algorithm::Algorithm;
use super::choose::prefers_winograd;
use super::im2col::Im2col;
use crate::Conv2dShape;

impl Conv2d {
    /// The gradient with respect to the input, `dx`.
    ///
    /// `dy` is the gradient with respect to the convolution's output before bias and activation.
    ///
    /// # Panics
    /// If the length of a slice doesn't match the shape of this convolution.
    pub fn input_gradient(&self, dy: &[f32], w: &[f32], dx: &mut [f32], scratch: &mut [f32]) {
        self.check_lengths(dx, w, dy);
        match &self.algorithm {
            Algorithm::Im2col(im2col) => im2col.input_gradient(dy, w, dx, scratch),
            Algorithm::Strips(strips) => strips.input_gradient(dy, w, dx, scratch),
            Algorithm::Pointwise(pointwise) => pointwise.im2col().input_gradient(dy, w, dx, scratch),
            Algorithm::Winograd(_) if self.im2col_gradients.input => {
                Im2col::new(self.shape).input_gradient(dy, w, dx, scratch);
            }
            Algorithm::Winograd(winograd) => winograd.input_gradient(dy, w, false, dx, scratch),
            Algorithm::Direct(direct, _) => direct.input_gradient(dy, w, false, dx, scratch),
        }
    }

    /// Whether the convolution that [`new`](Self::new) makes for `shape` supports [`replace_input`](Self::replace_input), the
    /// in-place input gradient. If it does, so does its counterpart [in bf16](Self::in_bf16).
    pub fn gradient_in_place(shape: &Conv2dShape) -> bool {
        prefers_winograd(shape)
    }

    /// The gradient with respect to the input, in place: `x` holds the input on entry and the gradient on return.
    ///
    /// With `relu`, the input is the output of a ReLU, and the gradient is the one with respect to that ReLU's input.
    /// [`gradient_in_place`](Self::gradient_in_place) tells which shapes can do this.
    ///
    /// ```
    /// use engraft_kernels::{Conv2d, Conv2dShape};
    /// let shape = Conv2dShape {
    ///     batch: 1, in_h: 8, in_w: 8, in_c: 24, out_c: 24, kernel: [3, 3], stride: [1, 1], dilation: [1, 1], pad: [1, 1],
    ///     out_h: 8, out_w: 8, groups: 1,
    /// };
    /// assert!(Conv2d::gradient_in_place(&shape));
    /// let conv = Conv2d::new(shape);
    /// let (dy, w, mut scratch) = (vec![1.0; 8 * 8 * 24], vec![0.5; 9 * 24 * 24], vec![0.0; conv.scratch_len()]);
    /// let mut x = vec![1.0; 8 * 8 * 24];
    /// x[0] = 0.0;
    /// conv.replace_input(&dy, &w, true, &mut x, &mut scratch);
    /// assert!(x[0] == 0.0 && x[1] > 0.0);
    /// ```
    ///
    /// # Panics
    /// If the length of a slice doesn't match the shape of this convolution, or the shape doesn't support the in-place gradient.
    pub fn replace_input(&self, dy: &[f32], w: &[f32], relu: bool, x: &mut [f32], scratch: &mut [f32]) {
        self.check_lengths(x, w, dy);
        match &self.algorithm {
            Algorithm::Im2col(_) | Algorithm::Strips(_) | Algorithm::Pointwise(_) => {
                panic!("the input gradient of {:?} can't be computed in place", self.shape)
            }
            Algorithm::Winograd(_) if self.im2col_gradients.input => {
                let (dx, scratch) = scratch.split_at_mut(x.len());
                Im2col::new(self.shape).input_gradient(dy, w, dx, scratch);
                x.iter_mut().zip(dx).for_each(|(x, dx)| *x = if !relu || *x > 0.0 { *dx } else { 0.0 });
            }
            Algorithm::Winograd(winograd) => winograd.input_gradient(dy, w, relu, x, scratch),
            Algorithm::Direct(direct, _) => direct.input_gradient(dy, w, relu, x, scratch),
        }
    }

    /// The gradient with respect to the kernel, `dw`.
    ///
    /// `dy` is the gradient with respect to the convolution's output before bias and activation.
    ///
    /// # Panics
    /// If the length of a slice doesn't match the shape of this convolution.
    pub fn kernel_gradient(&self, x: &[f32], dy: &[f32], dw: &mut [f32], scratch: &mut [f32]) {
        self.check_lengths(x, dw, dy);
        self.kernel_gradient_by(&self.algorithm, x, dy, dw, scratch);
    }

    fn kernel_gradient_by(&self, algorithm: &Algorithm, x: &[f32], dy: &[f32], dw: &mut [f32], scratch: &mut [f32]) {
        match algorithm {
            Algorithm::Im2col(im2col) => im2col.kernel_gradient(x, dy, dw, scratch),
            Algorithm::Strips(strips) => strips.kernel_gradient(x, dy, dw, scratch),
            Algorithm::Pointwise(pointwise) => pointwise.im2col().kernel_gradient(x, dy, dw, scratch),
            Algorithm::Winograd(_) if self.im2col_gradients.kernel => {
                Im2col::new(self.shape).kernel_gradient(x, dy, dw, scratch);
            }
            Algorithm::Winograd(winograd) => winograd.kernel_gradient(x, dy, dw, scratch),
            Algorithm::Direct(_, in_f32) => self.kernel_gradient_by(in_f32, x, dy, dw, scratch),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::cases::{TOLERANCE, every_algorithm, is_exact, relative_error, same_3x3, shapes, shapes_of_3x3};
    use super::*;
    use crate::reference;
    use crate::testing::{integers, to_f32};

    #[test]
    fn gradients_of_every_algorithm_agree_with_the_reference() {
        for shape in shapes().into_iter().chain(shapes_of_3x3()) {
            let (x, w, dy) = (integers(shape.x_len(), 1), integers(shape.w_len(), 2), integers(shape.y_len(), 3));
            let input_gradient = reference::conv2d_input_gradient(&shape, &dy, &w);
            let kernel_gradient = reference::conv2d_kernel_gradient(&shape, &x, &dy);
            for (name, conv) in every_algorithm(shape) {
                let mut scratch = vec![f32::NAN; conv.scratch_len()];
                let (mut dx, mut dw) = (vec![f32::NAN; shape.x_len()], vec![f32::NAN; shape.w_len()]);
                conv.input_gradient(&dy, &w, &mut dx, &mut scratch);
                conv.kernel_gradient(&x, &dy, &mut dw, &mut scratch);
                if is_exact(&conv) {
                    assert!(dx == to_f32(&input_gradient), "{name}: dx of {shape:?}");
                    assert!(dw == to_f32(&kernel_gradient), "{name}: dw of {shape:?}");
                } else {
                    assert!(relative_error(&dx, &input_gradient) < TOLERANCE, "{name}: dx of {shape:?}");
                    assert!(relative_error(&dw, &kernel_gradient) < TOLERANCE, "{name}: dw of {shape:?}");
                }
                if conv.algorithm.has_register_epilogue() {
                    let mut replaced = x.clone();
                    conv.replace_input(&dy, &w, true, &mut replaced, &mut scratch);
                    dx.iter_mut().zip(&x).filter(|(_, x)| **x <= 0.0).for_each(|(dx, _)| *dx = 0.0);
                    assert!(replaced == dx, "{name}: dx in place, of {shape:?}");
                }
            }
        }
    }

    /// Im2col computes the input gradient of few tiles and the kernel gradient of few channels, although the forward pass uses
    /// Winograd's algorithm. The input gradient has the same bits in place as out of place.
    #[test]
    fn gradients_of_few_tiles() {
        let shape = same_3x3([1, 9, 10, 30], 26);
        let (x, w, dy) = (integers(shape.x_len(), 1), integers(shape.w_len(), 2), integers(shape.y_len(), 3));
        let conv = Conv2d::new(shape);
        assert!(conv.algorithm() == "winograd" && conv.im2col_gradients.input);
        let mut scratch = vec![f32::NAN; conv.scratch_len()];
        let (mut dx, mut replaced) = (vec![f32::NAN; shape.x_len()], x.clone());
        conv.input_gradient(&dy, &w, &mut dx, &mut scratch);
        assert_eq!(dx, to_f32(&reference::conv2d_input_gradient(&shape, &dy, &w)));
        conv.replace_input(&dy, &w, true, &mut replaced, &mut scratch);
        dx.iter_mut().zip(&x).filter(|(_, x)| **x <= 0.0).for_each(|(dx, _)| *dx = 0.0);
        assert!(replaced == dx);

        let shape = same_3x3([8, 18, 17, 8], 9);
        let (x, dy) = (integers(shape.x_len(), 1), integers(shape.y_len(), 3));
        let conv = Conv2d::new(shape);
        assert!(conv.algorithm() == "winograd" && conv.im2col_gradients.kernel && !conv.im2col_gradients.input);
        let (mut dw, mut scratch) = (vec![f32::NAN; shape.w_len()], vec![f32::NAN; conv.scratch_len()]);
        conv.kernel_gradient(&x, &dy, &mut dw, &mut scratch);
        assert_eq!(dw, to_f32(&reference::conv2d_kernel_gradient(&shape, &x, &dy)));
    }
}
