//! The kinds and sizes of a 2-D pooling, which planners, executors and kernels share.

use std::ops::Range;

use serde::{Deserialize, Serialize};

/// Whether a pooling takes the maximum or the mean of a window.
///
/// ```
/// use engraft_ir::{Op, PoolKind};
/// let op = Op::Pool2d { kind: PoolKind::Max, size: [2, 2], stride: [2, 2], pad: [0, 0] };
/// let (kind, shape) = op.pool2d_shape(1, &vec![8, 8, 3], &vec![4, 4, 3]).unwrap();
/// assert_eq!(kind, PoolKind::Max);
/// assert!(shape.windows_are_disjoint());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PoolKind {
    /// The maximum of the window.
    Max,
    /// The mean over the window's pixels inside the image; padding doesn't count.
    Average,
}

/// Sizes of a 2-D pooling: `[batch, in_h, in_w, channels]` -> `[batch, out_h, out_w, channels]`.
///
/// ```
/// use engraft_ir::Pool2dShape;
/// let pool = Pool2dShape {
///     batch: 1,
///     in_h: 5,
///     in_w: 5,
///     channels: 8,
///     size: [3, 3],
///     stride: [2, 2],
///     pad: [1, 1],
///     out_h: 3,
///     out_w: 3,
/// };
/// // The window in the corner has one row and one column of padding.
/// assert_eq!(pool.window(0, 0), (0..2, 0..2));
/// assert_eq!(pool.window(1, 1), (1..4, 1..4));
/// assert!(!pool.windows_are_disjoint());
/// assert_eq!((pool.in_size(), pool.out_size()), (5 * 5 * 8, 3 * 3 * 8));
/// // Row 1, column 0 of the input begins after a row of 5 pixels with 8 channels.
/// assert_eq!(pool.pixel_offset(1, 0), 40);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool2dShape {
    /// Number of images.
    pub batch: usize,
    /// Input height in pixels.
    pub in_h: usize,
    /// Input width in pixels.
    pub in_w: usize,
    /// Channels of input and output.
    pub channels: usize,
    /// Height and width of a window.
    pub size: [usize; 2],
    /// Stride: pixels from one window to the next, down and across.
    pub stride: [usize; 2],
    /// Rows of padding at the top and columns at the left. The output size implies those at the bottom and right.
    pub pad: [usize; 2],
    /// Output height in pixels.
    pub out_h: usize,
    /// Output width in pixels.
    pub out_w: usize,
}

impl Pool2dShape {
    /// Whether the windows neither overlap nor reach beyond the image, so that each input pixel counts in at most one output.
    pub fn windows_are_disjoint(&self) -> bool {
        let inside = |axis: usize, out: usize, len: usize| out * self.stride[axis] <= len;
        self.size == self.stride
            && self.pad == [0, 0]
            && inside(0, self.out_h, self.in_h)
            && inside(1, self.out_w, self.in_w)
    }

    /// Number of elements of one input image.
    pub fn in_size(&self) -> usize {
        self.in_h * self.in_w * self.channels
    }

    /// Number of elements of one output image.
    pub fn out_size(&self) -> usize {
        self.out_h * self.out_w * self.channels
    }

    /// The rows and columns of the image that the window of output pixel (`y`, `x`) covers, without padding.
    pub fn window(&self, y: usize, x: usize) -> (Range<usize>, Range<usize>) {
        let clip = |position: usize, axis: usize, len: usize| {
            let start = position * self.stride[axis];
            start.saturating_sub(self.pad[axis])..(start + self.size[axis]).saturating_sub(self.pad[axis]).min(len)
        };
        (clip(y, 0, self.in_h), clip(x, 1, self.in_w))
    }

    /// Offset of input pixel (`y`, `x`) in its image: the index of the pixel's first channel, in elements.
    pub fn pixel_offset(&self, y: usize, x: usize) -> usize {
        (y * self.in_w + x) * self.channels
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_disjoint_unless_they_overlap_or_are_padded() {
        let shape = Pool2dShape {
            batch: 1,
            in_h: 7,
            in_w: 7,
            channels: 1,
            size: [2, 2],
            stride: [2, 2],
            pad: [0, 0],
            out_h: 3,
            out_w: 3,
        };
        assert!(shape.windows_are_disjoint());
        for other in [
            Pool2dShape { stride: [1, 1], out_h: 6, out_w: 6, ..shape },
            Pool2dShape { pad: [1, 0], ..shape },
            Pool2dShape { out_h: 4, ..shape },
        ] {
            assert!(!other.windows_are_disjoint(), "{other:?}");
        }
    }
}
