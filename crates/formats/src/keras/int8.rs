//! Weights that Keras quantized to int8: the scales that a file stores beside them, and their values in f32.

use engraft_nn::{Layer, Weight};

/// The scales of a kernel of int8: one for each position along some of the kernel's axes.
///
/// A stored value divided by its scale is the weight, as Keras' `model.quantize("int8")` defines it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Scales {
    /// The shape of the kernel.
    kernel: Vec<usize>,
    /// The axes of the kernel that have scales, in the order of the axes of the array of scales.
    axes: Vec<usize>,
}

impl Scales {
    /// The scales of a layer's own weight; `None` for a weight that Keras doesn't quantize.
    pub(super) fn of(layer: &Layer, weight: &Weight) -> Option<Self> {
        let kernel = weight.shape().to_vec();
        let name = weight.path();
        let axes = match (layer.class_name(), name.rsplit('/').next()?) {
            ("Dense", "kernel") => vec![1],
            ("Embedding", "embeddings") => vec![0],
            ("EinsumDense", "kernel") => axes_of_result(layer.def().config().get("equation")?.as_str()?)?,
            // Projections from one axis, the features; that of the output is from heads and their features.
            ("MultiHeadAttention" | "GroupedQueryAttention", "kernel") => {
                let contracted = if name.ends_with("output/kernel") { 2 } else { 1 };
                (contracted..kernel.len()).collect()
            }
            _ => return None,
        };
        axes.iter().all(|&axis| axis < kernel.len()).then_some(Self { kernel, axes })
    }

    /// The sizes of the axes that have scales.
    pub(super) fn sizes(&self) -> Vec<usize> {
        self.axes.iter().map(|&axis| self.kernel[axis]).collect()
    }

    /// Whether an array of this shape has the scales. Keras' EinsumDense adds axes of size 1 for those of the result that the kernel
    /// doesn't have.
    pub(super) fn fit(&self, shape: &[usize]) -> bool {
        let without_ones = |sizes: &[usize]| sizes.iter().copied().filter(|&size| size != 1).collect::<Vec<_>>();
        without_ones(shape) == without_ones(&self.sizes())
    }

    /// Divides each value of the kernel by its scale.
    pub(super) fn dequantize(&self, kernel: &mut [f32], scales: &[f32]) {
        let strides = self.strides();
        for (at, value) in kernel.iter_mut().enumerate() {
            let (mut rest, mut scale) = (at, 0);
            for (size, stride) in self.kernel.iter().zip(&strides).rev() {
                scale += rest % size * stride;
                rest /= size;
            }
            *value /= scales[scale];
        }
    }

    /// For each axis of the kernel, how many scales lie between neighbours along it: 0 for an axis without scales.
    fn strides(&self) -> Vec<usize> {
        let mut strides = vec![0; self.kernel.len()];
        let mut stride = 1;
        for &axis in self.axes.iter().rev() {
            strides[axis] = stride;
            stride *= self.kernel[axis];
        }
        strides
    }
}

/// The axes of the kernel of an EinsumDense that are axes of the result, in the order of the result; `None` if `equation` isn't one.
fn axes_of_result(equation: &str) -> Option<Vec<usize>> {
    let (inputs, result) = equation.split_once("->")?;
    let (_, kernel) = inputs.split_once(',')?;
    let letters = |text: &str| text.chars().filter(char::is_ascii_alphabetic).collect::<Vec<_>>();
    let kernel = letters(kernel);
    Some(letters(result).iter().filter_map(|letter| kernel.iter().position(|own| own == letter)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scales(kernel: &[usize], axes: &[usize]) -> Scales {
        Scales { kernel: kernel.to_vec(), axes: axes.to_vec() }
    }

    #[test]
    fn a_dense_layer_has_a_scale_for_each_column_and_an_embedding_for_each_row() {
        let mut kernel = [2.0, -9.0, 4.0, 6.0];
        scales(&[2, 2], &[1]).dequantize(&mut kernel, &[2.0, 3.0]);
        assert_eq!(kernel, [1.0, -3.0, 2.0, 2.0]);
        let mut rows = [2.0, -9.0, 4.0, 6.0];
        scales(&[2, 2], &[0]).dequantize(&mut rows, &[2.0, 3.0]);
        assert_eq!(rows, [1.0, -4.5, 4.0 / 3.0, 2.0]);
    }

    #[test]
    fn scales_of_an_einsum_are_in_the_order_of_its_result() {
        for (equation, axes) in [
            ("abc,cde->abde", &[1, 2][..]),
            ("abde,edf->abf", &[2]),
            ("abc,bd->adc", &[1]),
            ("abc,bcde->aed", &[3, 2]),
            ("...x,xy->...y", &[1]),
        ] {
            assert_eq!(axes_of_result(equation).unwrap(), axes, "{equation}");
        }
        assert_eq!(axes_of_result("abc"), None);
        // [1, 2, 3] with scales [3, 2]: the value at [0, d, e] has the scale at [e, d].
        let mut kernel = [1.0; 6];
        scales(&[1, 2, 3], &[2, 1]).dequantize(&mut kernel, &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0]);
        assert_eq!(kernel.map(f32::recip), [1.0, 4.0, 16.0, 2.0, 8.0, 32.0]);
    }

    #[test]
    fn axes_of_size_one_make_no_difference() {
        let scales = scales(&[4, 2, 3], &[1, 2]);
        assert!(scales.fit(&[1, 1, 2, 3]) && scales.fit(&[2, 3]));
        assert!(!scales.fit(&[3, 2]) && !scales.fit(&[6]) && !scales.fit(&[]));
    }
}
