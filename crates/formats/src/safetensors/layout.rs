//! How a weight's values stand in a file that another program reads.

use std::borrow::Cow;

use engraft_nn::strided::{inverse, transpose};

/// The way from a weight to a stored tensor and back: seen as an array of shape `view`, its axes are put
/// into another `order`, and the result has the shape `stored`.
pub(super) struct Layout {
    view: Vec<usize>,
    order: Vec<usize>,
    stored: Vec<usize>,
}

impl Layout {
    /// As it is.
    pub(super) fn same(shape: &[usize]) -> Self {
        Self { view: shape.to_vec(), order: (0..shape.len()).collect(), stored: shape.to_vec() }
    }

    /// A convolution's kernel: height, width, inputs, outputs here; outputs, inputs, height, width there.
    pub(super) fn kernel(shape: [usize; 4]) -> Self {
        Self::reordered(&shape, &[3, 2, 0, 1])
    }

    /// A dense layer's kernel: inputs, outputs here; outputs, inputs there.
    pub(super) fn dense(shape: [usize; 2]) -> Self {
        Self::reordered(&shape, &[1, 0])
    }

    /// The kernel of a dense layer on a flattened image, whose pixels are flattened channels first there.
    pub(super) fn flattened([height, width, channels]: [usize; 3], units: usize) -> Self {
        let stored = vec![units, channels * height * width];
        Self { stored, ..Self::reordered(&[height, width, channels, units], &[3, 2, 0, 1]) }
    }

    fn reordered(view: &[usize], order: &[usize]) -> Self {
        let stored = order.iter().map(|&axis| view[axis]).collect();
        Self { view: view.to_vec(), order: order.to_vec(), stored }
    }

    pub(super) fn stored_shape(&self) -> &[usize] {
        &self.stored
    }

    /// A weight's values as they are stored.
    pub(super) fn store<'v>(&self, values: &'v [f32]) -> Cow<'v, [f32]> {
        match self.order.is_sorted() {
            true => values.into(),
            false => transpose(values, &self.view, &self.order).into(),
        }
    }

    /// Stored values as the weight has them.
    pub(super) fn restore(&self, values: Vec<f32>) -> Vec<f32> {
        if self.order.is_sorted() {
            return values;
        }
        let shape: Vec<usize> = self.order.iter().map(|&axis| self.view[axis]).collect();
        transpose(&values, &shape, &inverse(&self.order))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flattened_image_is_flattened_channels_first() {
        // One unit on an image of 1 by 2 pixels and 3 channels.
        let layout = Layout::flattened([1, 2, 3], 1);
        let kernel = [0.0, 1.0, 2.0, 10.0, 11.0, 12.0];
        assert_eq!(layout.stored_shape(), [1, 6]);
        assert_eq!(*layout.store(&kernel), [0.0, 10.0, 1.0, 11.0, 2.0, 12.0]);
    }

    #[test]
    fn what_is_stored_is_restored() {
        let layouts =
            [Layout::same(&[24]), Layout::kernel([2, 1, 3, 4]), Layout::dense([6, 4]), Layout::flattened([1, 2, 3], 4)];
        let values: Vec<f32> = (0..24).map(|value| value as f32).collect();
        for layout in layouts {
            assert_eq!(layout.restore(layout.store(&values).into_owned()), values, "{:?}", layout.stored_shape());
        }
        assert_eq!(Layout::kernel([2, 1, 3, 4]).stored_shape(), [4, 3, 2, 1]);
    }
}
