//! Windows of an image with the aspect ratio of another size, and the operations that crop, pad and resize to them.

use engraft_ir::{Interpolation, Op, ValueId};

use crate::lowering::Lowering;
use crate::size_limits::check_size;
use crate::{Result, Shape};

/// A part of an image: the first row and column, height and width, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) start: [usize; 2],
    pub(super) size: [usize; 2],
}

/// How a side is computed that gives an image another aspect ratio.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rounding {
    /// In f32, as Keras' `ops.image.resize` does on TensorFlow.
    Single,
    /// In f64, as Keras' `smart_resize` does.
    Double,
}

impl Rounding {
    /// `side * numerator / denominator`, rounded down.
    fn scaled(self, side: usize, numerator: usize, denominator: usize) -> usize {
        let product = side as f64 * numerator as f64;
        match self {
            Self::Single => (product as f32 / denominator as f32) as usize,
            Self::Double => (product / denominator as f64) as usize,
        }
    }
}

impl Window {
    /// The largest central window of an image with the aspect ratio of `target`.
    pub(super) fn central(image: [usize; 2], target: [usize; 2], rounding: Rounding) -> Self {
        let [height, width] = image;
        let size = [
            rounding.scaled(width, target[0], target[1]).min(height).max(1),
            rounding.scaled(height, target[1], target[0]).min(width).max(1),
        ];
        Self { start: [0, 1].map(|axis| (image[axis] - size[axis]) / 2), size }
    }
}

/// Rows and columns to add on each side of an image, so that it has the aspect ratio of `target`.
pub(super) fn borders(image: [usize; 2], target: [usize; 2]) -> [usize; 2] {
    let [height, width] = image;
    let padded = [
        Rounding::Single.scaled(width, target[0], target[1]).max(height),
        Rounding::Single.scaled(height, target[1], target[0]).max(width),
    ];
    [0, 1].map(|axis| (padded[axis] - image[axis]) / 2)
}

/// The shape of an image with borders of `border` rows and columns on each side.
///
/// # Errors
/// A shape beyond the largest size of a sample.
pub(super) fn padded_shape([height, width, channels]: [usize; 3], border: [usize; 2]) -> Result<Shape> {
    let side = |side: usize, border: usize| border.saturating_mul(2).saturating_add(side);
    let shape = vec![side(height, border[0]), side(width, border[1]), channels];
    check_size("padded image", &shape)?;
    Ok(shape)
}

/// Adds the operation that cuts `window` out of an image; none if the window is the whole image.
pub(super) fn push_crop(to: &mut Lowering<'_>, image: ValueId, window: Window) -> ValueId {
    let mut shape = to.shape(image).clone();
    if shape[..2] == window.size {
        return image;
    }
    shape[..2].copy_from_slice(&window.size);
    let [top, left] = window.start;
    to.push(Op::Slice { start: vec![top, left, 0], step: vec![1; 3] }, &[image], shape)
}

/// Adds the operations that surround an image by borders of `value`; none if there are no borders.
pub(super) fn push_borders(to: &mut Lowering<'_>, image: ValueId, border: [usize; 2], value: f32) -> Result<ValueId> {
    let &[height, width, channels] = &to.shape(image)[..] else { return Ok(image) };
    if border == [0, 0] {
        return Ok(image);
    }
    // `Pad2d` adds zeros: the value is subtracted before and added after.
    let shift = |value: f32| Op::ScaleShift { scale: vec![1.0; channels], shift: vec![value; channels] };
    let shape = padded_shape([height, width, channels], border)?;
    let pad = Op::Pad2d { pad: border.map(|border| [border; 2]) };
    if value == 0.0 {
        return Ok(to.push(pad, &[image], shape));
    }
    let shifted = to.push(shift(-value), &[image], vec![height, width, channels]);
    let padded = to.push(pad, &[shifted], shape.clone());
    Ok(to.push(shift(value), &[padded], shape))
}

/// Adds the operation that resizes an image to `size`; none if it has this size, as in TensorFlow.
pub(super) fn push_resize(
    to: &mut Lowering<'_>,
    image: ValueId,
    size: [usize; 2],
    interpolation: Interpolation,
    antialias: bool,
) -> ValueId {
    let mut shape = to.shape(image).clone();
    if shape[..2] == size {
        return image;
    }
    shape[..2].copy_from_slice(&size);
    to.push(Op::Resize { interpolation, antialias }, &[image], shape)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_and_borders_are_those_of_keras() {
        // From keras.ops.image.resize of Keras 3.15: 60 x 60 pixels to 48 x 40, and 33 x 57 to 20 x 31.
        let central = |image, target| Window::central(image, target, Rounding::Single);
        assert_eq!(central([60, 60], [48, 40]), Window { start: [0, 5], size: [60, 50] });
        assert_eq!(central([33, 57], [20, 31]), Window { start: [0, 3], size: [33, 51] });
        assert_eq!(central([1, 1000], [1000, 1]), Window { start: [0, 499], size: [1, 1] });
        assert_eq!(borders([60, 60], [48, 40]), [6, 0]);
        assert_eq!(borders([33, 57], [20, 31]), [1, 0]);
        assert_eq!(borders([8, 8], [4, 4]), [0, 0]);
    }

    #[test]
    fn a_border_of_any_size_is_an_error_not_an_overflow() {
        let border = borders([1, usize::MAX / 4], [usize::MAX, 1]);
        assert!(padded_shape([1, usize::MAX / 4, 3], border).unwrap_err().to_string().contains("padded image"));
    }
}
