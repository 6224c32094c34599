//! The layout of a weight in a safetensors file, for Keras or for PyTorch: the order of axes and the shape of the tensor.

use std::borrow::Cow;

use engraft_nn::strided::{inverse, transpose};

/// The conversion between a weight's values and a tensor in a file.
///
/// To the file: the weight is reshaped to `shape`, transposed by `order`, and reshaped to `file_shape`.
pub(super) struct WeightLayout {
    /// The shape that the weight gets before the transpose.
    shape: Vec<usize>,
    /// The axes of the transposed tensor, as indices of `shape`.
    order: Vec<usize>,
    /// The shape of the tensor in the file.
    file_shape: Vec<usize>,
}

impl WeightLayout {
    /// The same layout in memory and in the file.
    pub(super) fn same(shape: &[usize]) -> Self {
        Self { shape: shape.to_vec(), order: (0..shape.len()).collect(), file_shape: shape.to_vec() }
    }

    /// A convolution kernel: HWIO in memory (height, width, inputs, outputs), OIHW in the file.
    pub(super) fn kernel(shape: [usize; 4]) -> Self {
        Self::reordered(&shape, &[3, 2, 0, 1])
    }

    /// The kernel of a depthwise convolution: (height, width, channels, multiplier) in memory, (channels * multiplier, 1, height,
    /// width) in the file.
    pub(super) fn depthwise([height, width, channels, multiplier]: [usize; 4]) -> Self {
        let file_shape = vec![channels * multiplier, 1, height, width];
        Self { file_shape, ..Self::reordered(&[height, width, channels, multiplier], &[2, 3, 0, 1]) }
    }

    /// A dense kernel: (inputs, outputs) in memory, (outputs, inputs) in the file.
    pub(super) fn dense(shape: [usize; 2]) -> Self {
        Self::reordered(&shape, &[1, 0])
    }

    /// The kernel of a dense layer on a flattened image. PyTorch flattens channels first, Keras channels last.
    pub(super) fn flattened([height, width, channels]: [usize; 3], units: usize) -> Self {
        let file_shape = vec![units, channels * height * width];
        Self { file_shape, ..Self::reordered(&[height, width, channels, units], &[3, 2, 0, 1]) }
    }

    fn reordered(shape: &[usize], order: &[usize]) -> Self {
        let file_shape = order.iter().map(|&axis| shape[axis]).collect();
        Self { shape: shape.to_vec(), order: order.to_vec(), file_shape }
    }

    pub(super) fn file_shape(&self) -> &[usize] {
        &self.file_shape
    }

    /// Whether a tensor of this shape has the file's layout: axes of one element make no difference, as a 1x1 convolution is a
    /// dense layer.
    pub(super) fn takes(&self, shape: &[usize]) -> bool {
        let long = |shape: &[usize]| shape.iter().copied().filter(|&size| size != 1).collect::<Vec<_>>();
        long(shape) == long(&self.file_shape)
    }

    /// Converts a weight's values to the order of the file.
    pub(super) fn encode<'v>(&self, values: &'v [f32]) -> Cow<'v, [f32]> {
        match self.order.is_sorted() {
            true => values.into(),
            false => transpose(values, &self.shape, &self.order).into(),
        }
    }

    /// Converts the values of a file to the order of the weight.
    pub(super) fn decode(&self, values: Vec<f32>) -> Vec<f32> {
        if self.order.is_sorted() {
            return values;
        }
        let transposed: Vec<usize> = self.order.iter().map(|&axis| self.shape[axis]).collect();
        transpose(&values, &transposed, &inverse(&self.order))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flattened_image_is_flattened_channels_first() {
        // One unit on an image of 1 by 2 pixels and 3 channels.
        let layout = WeightLayout::flattened([1, 2, 3], 1);
        let kernel = [0.0, 1.0, 2.0, 10.0, 11.0, 12.0];
        assert_eq!(layout.file_shape(), [1, 6]);
        assert_eq!(*layout.encode(&kernel), [0.0, 10.0, 1.0, 11.0, 2.0, 12.0]);
    }

    #[test]
    fn decoding_reverses_encoding() {
        let layouts = [
            WeightLayout::same(&[24]),
            WeightLayout::kernel([2, 1, 3, 4]),
            WeightLayout::dense([6, 4]),
            WeightLayout::depthwise([2, 3, 2, 2]),
            WeightLayout::flattened([1, 2, 3], 4),
        ];
        let values: Vec<f32> = (0..24).map(|value| value as f32).collect();
        for layout in layouts {
            assert_eq!(layout.decode(layout.encode(&values).into_owned()), values, "{:?}", layout.file_shape());
        }
        assert_eq!(WeightLayout::kernel([2, 1, 3, 4]).file_shape(), [4, 3, 2, 1]);
    }
}
