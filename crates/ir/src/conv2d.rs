//! The sizes of a 2-D convolution, which planners, executors and kernels share.

use std::ops::Range;

/// Sizes of a 2-D convolution: input `x` `[batch, in_h, in_w, in_c]`, kernel `[kernel[0], kernel[1], in_c / groups, out_c]`,
/// output `y` `[batch, out_h, out_w, out_c]`.
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
/// conv.check();
/// assert_eq!((conv.x_len(), conv.y_len()), (224 * 224 * 3, 224 * 224 * 64));
/// assert_eq!(conv.w_len(), 3 * 3 * 3 * 64);
/// assert!(!conv.is_pointwise());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv2dShape {
    /// Number of images.
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
    /// Stride: pixels from one window to the next, down and across.
    pub stride: [usize; 2],
    /// Dilation: pixels from one kernel element to the next, down and across; 1 for an ordinary convolution.
    pub dilation: [usize; 2],
    /// Rows of zeros at the top and columns at the left. The output size implies those at the bottom and right.
    pub pad: [usize; 2],
    /// Output height in pixels.
    pub out_h: usize,
    /// Output width in pixels.
    pub out_w: usize,
    /// Number of groups: output channels of group g read input channels of group g only. 1 for an ordinary convolution.
    pub groups: usize,
}

impl Conv2dShape {
    /// Number of elements of the input.
    pub fn x_len(&self) -> usize {
        self.batch * self.in_h * self.in_w * self.in_c
    }

    /// Number of elements of the kernel.
    pub fn w_len(&self) -> usize {
        self.kernel[0] * self.kernel[1] * self.in_c / self.groups * self.out_c
    }

    /// Number of elements of the output.
    pub fn y_len(&self) -> usize {
        self.batch * self.out_h * self.out_w * self.out_c
    }

    /// Sizes of the convolution that computes only the output rows `rows`, and the range of input rows that it reads.
    ///
    /// The returned sizes describe an input that consists of only these input rows.
    ///
    /// ```
    /// use engraft_ir::Conv2dShape;
    /// # let (batch, in_h, in_w, in_c, out_c, groups) = (1, 224, 224, 3, 64, 1);
    /// # let (kernel, stride, dilation, pad, out_h, out_w) = ([3, 3], [1, 1], [1, 1], [1, 1], 224, 224);
    /// let conv = Conv2dShape { batch, in_h, in_w, in_c, out_c, kernel, stride, dilation, pad, out_h, out_w, groups };
    /// // With a 3x3 kernel, output rows 0 to 7 read input rows 0 to 8 and a row of padding above them.
    /// let (first, input_rows) = conv.rows(0..8);
    /// assert_eq!((first.out_h, input_rows), (8, 0..9));
    /// ```
    ///
    /// # Panics
    /// If `rows` is empty or ends after the last output row.
    pub fn rows(&self, rows: Range<usize>) -> (Self, Range<usize>) {
        assert!(!rows.is_empty() && rows.end <= self.out_h, "rows {rows:?} of {self:?}");
        let window = self.dilation[0] * (self.kernel[0] - 1) + 1;
        let [first, last] = [rows.start, rows.end - 1].map(|row| row * self.stride[0]);
        let top = first.saturating_sub(self.pad[0]).min(self.in_h);
        let bottom = (last + window).saturating_sub(self.pad[0]).clamp(top, self.in_h);
        let pad = [self.pad[0].saturating_sub(first), self.pad[1]];
        (Self { in_h: bottom - top, out_h: rows.len(), pad, ..*self }, top..bottom)
    }

    /// Whether this is a pointwise (1x1) convolution: each output pixel reads only the input pixel at the same position.
    pub fn is_pointwise(&self) -> bool {
        self.kernel == [1, 1]
            && self.stride == [1, 1]
            && self.pad == [0, 0]
            && [self.in_h, self.in_w] == [self.out_h, self.out_w]
    }

    /// Checks kernel, stride, dilation, channels and groups. Layers report bad values as errors earlier: a panic here is a bug.
    ///
    /// # Panics
    /// If one of these values is 0, or `groups` doesn't divide the input channels and the output channels.
    pub fn check(&self) {
        let sizes = [self.kernel, self.stride, self.dilation, [self.in_c, self.out_c]];
        assert!(!sizes.as_flattened().contains(&0), "kernel, stride, dilation and channels must not be zero: {self:?}");
        let grouped =
            self.groups > 0 && self.in_c.is_multiple_of(self.groups) && self.out_c.is_multiple_of(self.groups);
        assert!(grouped, "groups must divide the channels: {self:?}");
    }
}
