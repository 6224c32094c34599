//! The shapes of a 2-D convolution.

use std::ops::Range;

/// Shapes of a 2-D convolution: `x` `[batch, in_h, in_w, in_c]`, kernel `[kernel[0], kernel[1], in_c / groups, out_c]`,
/// `y` `[batch, out_h, out_w, out_c]`.
///
/// ```
/// use engraft_ir::Conv2dShape;
/// // The first layer of VGG16: 3x3, padding `same`, 64 filters.
/// let conv = Conv2dShape {
///     batch: 1,
///     in_h: 224,
///     in_w: 224,
///     in_c: 3,
///     out_c: 64,
///     kernel: [3, 3],
///     stride: [1, 1],
///     dilation: [1, 1],
///     pad: [1, 1],
///     out_h: 224,
///     out_w: 224,
///     groups: 1,
/// };
/// assert_eq!(conv.w_len(), 3 * 3 * 3 * 64);
/// // Output rows 0 to 7 read input rows 0 to 8: the padding stands above them.
/// assert_eq!(conv.rows(0..8).1, 0..9);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv2dShape {
    /// Images.
    pub batch: usize,
    /// Input height in pixels.
    pub in_h: usize,
    /// Input width in pixels.
    pub in_w: usize,
    /// Input channels, a multiple of `groups`.
    pub in_c: usize,
    /// Output channels (filters), a multiple of `groups`.
    pub out_c: usize,
    /// Height and width of the kernel.
    pub kernel: [usize; 2],
    /// Distance between windows, down and across.
    pub stride: [usize; 2],
    /// Distance between the kernel's taps, down and across; 1 for an ordinary convolution.
    pub dilation: [usize; 2],
    /// Zeros at the top and left; at the bottom and right they follow from the output size.
    pub pad: [usize; 2],
    /// Output height in pixels.
    pub out_h: usize,
    /// Output width in pixels.
    pub out_w: usize,
    /// Group g of the output channels sees group g of the input channels only; 1 for an ordinary convolution.
    pub groups: usize,
}

impl Conv2dShape {
    /// Values in the input.
    pub fn x_len(&self) -> usize {
        self.batch * self.in_h * self.in_w * self.in_c
    }

    /// Values in the kernel.
    pub fn w_len(&self) -> usize {
        self.kernel[0] * self.kernel[1] * self.in_c / self.groups * self.out_c
    }

    /// Values in the output.
    pub fn y_len(&self) -> usize {
        self.batch * self.out_h * self.out_w * self.out_c
    }

    /// The convolution that makes `rows` of the outputs, and the rows of the input that it reads.
    ///
    /// # Panics
    /// Where there are no such rows.
    pub fn rows(&self, rows: Range<usize>) -> (Self, Range<usize>) {
        assert!(!rows.is_empty() && rows.end <= self.out_h, "rows {rows:?} of {self:?}");
        let window = self.dilation[0] * (self.kernel[0] - 1) + 1;
        let [first, last] = [rows.start, rows.end - 1].map(|row| row * self.stride[0]);
        let top = first.saturating_sub(self.pad[0]).min(self.in_h);
        let bottom = (last + window).saturating_sub(self.pad[0]).clamp(top, self.in_h);
        let pad = [self.pad[0].saturating_sub(first), self.pad[1]];
        (Self { in_h: bottom - top, out_h: rows.len(), pad, ..*self }, top..bottom)
    }

    /// Whether every output pixel is computed from the input pixel at the same place alone.
    pub fn is_pointwise(&self) -> bool {
        self.kernel == [1, 1]
            && self.stride == [1, 1]
            && self.pad == [0, 0]
            && [self.in_h, self.in_w] == [self.out_h, self.out_w]
    }

    /// Panics where the sizes contradict each other: layers have checked them, so this is an error of the program.
    pub fn check(&self) {
        let sizes = [self.kernel, self.stride, self.dilation, [self.in_c, self.out_c]];
        assert!(!sizes.as_flattened().contains(&0), "sizes other than the batch's must not be zero: {self:?}");
        let grouped =
            self.groups > 0 && self.in_c.is_multiple_of(self.groups) && self.out_c.is_multiple_of(self.groups);
        assert!(grouped, "groups must divide the channels: {self:?}");
    }
}
