//! The geometry of a direct convolution: its images, and the bands of rows that tasks compute.

use super::filters::Layout;
use crate::aligned::CACHE_LINE;
use crate::conv2d::epilogue::POOL;
use crate::simd::{BLOCK, TILE};

/// Panels in a group: a task computes the products of a whole group before it writes them to the outputs.
pub(super) const GROUP_PANELS: usize = 2;

/// Distance between neighbouring rows of a group's products.
pub(super) const PRODUCT_STRIDE: usize = GROUP_PANELS * BLOCK;

/// Maximum scratch of a task in 32-bit values, unless two output rows need more: 1 MiB, half of a typical L2 cache.
const SCRATCH_BUDGET: usize = 1 << 18;

/// A convolution in one direction: the geometry of its images, and the layout of its filters.
#[derive(Clone, Copy, Debug)]
pub(super) struct Convolution {
    pub(super) images: usize,
    /// Height and width of the input images.
    pub(super) in_size: [usize; 2],
    /// Height and width of the outputs.
    pub(super) out_size: [usize; 2],
    /// Zero padding above and to the left of the input images.
    pub(super) pad: [usize; 2],
    pub(super) filters: Layout,
}

impl Convolution {
    /// Pixels in a row of a strip, including padding.
    pub(super) fn row_pixels(&self) -> usize {
        self.out_size[1] + self.filters.kernel[1] - 1
    }

    /// Distance between neighbouring pixels of a strip, in bf16 pairs.
    ///
    /// The distance is never a multiple of four cache lines, as the pixels would then map to few sets of the cache.
    pub(super) fn pixel_stride(&self) -> usize {
        let lines = self.filters.steps() * TILE / CACHE_LINE;
        CACHE_LINE * if lines > 2 && lines.is_multiple_of(4) { lines + 1 } else { lines }
    }

    /// Rows of the product for a band of `rows` output rows: one for each strip pixel from the first output to the last, rounded
    /// up to whole blocks.
    pub(super) fn product_rows(&self, rows: usize) -> usize {
        ((rows - 1) * self.row_pixels() + self.out_size[1]).next_multiple_of(BLOCK)
    }

    /// Length of a strip for `rows` output rows, in bf16 pairs. It extends to the last tap of the last product row.
    pub(super) fn strip_len(&self, rows: usize) -> usize {
        let [height, width] = self.filters.kernel;
        let reached = self.product_rows(rows) + (height - 1) * self.row_pixels() + width - 1;
        reached.max((rows + height - 1) * self.row_pixels()) * self.pixel_stride()
    }

    /// Length of strip and products for `rows` output rows, in 32-bit values.
    fn len(&self, rows: usize) -> usize {
        self.strip_len(rows) + self.product_rows(rows) * PRODUCT_STRIDE
    }

    /// Maximum number of output rows that fit a task's budget, in whole pooling windows.
    fn max_rows(&self) -> usize {
        let most = self.out_size[0].next_multiple_of(POOL).max(POOL);
        (POOL..most)
            .step_by(POOL)
            .take_while(|&rows| self.len(rows + POOL) <= SCRATCH_BUDGET)
            .last()
            .map_or(POOL, |rows| rows + POOL)
            .min(most)
    }

    /// Output rows of a band. All bands of an image have nearly the same number of rows.
    pub(super) fn rows(&self) -> usize {
        let bands = self.out_size[0].div_ceil(self.max_rows());
        self.out_size[0].div_ceil(bands).next_multiple_of(POOL)
    }

    /// Scratch of one task, in 32-bit values. A convolution of fewer images or rows never needs more.
    pub(super) fn scratch_len(&self) -> usize {
        CACHE_LINE + self.len(self.max_rows())
    }
}
