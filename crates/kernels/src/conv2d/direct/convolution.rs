//! The images of a convolution, and how tasks divide them into bands of rows.

use super::filters::Layout;
use crate::aligned::LINE;
use crate::conv2d::epilogue::POOL;
use crate::simd::{BLOCK, TILE};

/// Panels whose products are computed before they are written to outputs, some cache lines at a time.
pub(super) const GROUP: usize = 2;

/// From one row of a group's products to the next.
pub(super) const PRODUCT: usize = GROUP * BLOCK;

/// Words that the strip and the products of a task take at most, unless two rows take more: half of a typical L2 cache of 2 MiB.
const BUDGET: usize = 1 << 18;

/// One convolution: its images, and what it reads for them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Convolution {
    pub(super) images: usize,
    /// Height and width of the images that are read.
    pub(super) from_size: [usize; 2],
    /// Height and width of outputs.
    pub(super) size: [usize; 2],
    /// Zeros above and to the left of the images that are read.
    pub(super) pad: [usize; 2],
    pub(super) filters: Layout,
}

impl Convolution {
    /// Pixels of a strip's row.
    pub(super) fn pitch(&self) -> usize {
        self.size[1] + self.filters.kernel[1] - 1
    }

    /// Words from one pixel of a strip to the next: of large ones no multiple of four cache lines, which would leave most of a
    /// cache unused.
    pub(super) fn pixel(&self) -> usize {
        let lines = self.filters.steps() * TILE / LINE;
        LINE * if lines > 2 && lines.is_multiple_of(4) { lines + 1 } else { lines }
    }

    /// Rows of products of a band: one for each pixel from its first output to its last, in whole blocks.
    pub(super) fn products(&self, rows: usize) -> usize {
        ((rows - 1) * self.pitch() + self.size[1]).next_multiple_of(BLOCK)
    }

    /// Words of a strip: as far as the last tap reaches from the last of these rows.
    pub(super) fn strip_len(&self, rows: usize) -> usize {
        let [height, width] = self.filters.kernel;
        let reached = self.products(rows) + (height - 1) * self.pitch() + width - 1;
        reached.max((rows + height - 1) * self.pitch()) * self.pixel()
    }

    fn len(&self, rows: usize) -> usize {
        self.strip_len(rows) + self.products(rows) * PRODUCT
    }

    /// The most rows of outputs that a task computes: as many as its budget allows, in whole windows of a pool.
    fn most_rows(&self) -> usize {
        let most = self.size[0].next_multiple_of(POOL).max(POOL);
        (POOL..most)
            .step_by(POOL)
            .take_while(|&rows| self.len(rows + POOL) <= BUDGET)
            .last()
            .map_or(POOL, |rows| rows + POOL)
            .min(most)
    }

    /// Rows of outputs that a task computes: as many in each, as nearly as can be.
    pub(super) fn rows(&self) -> usize {
        let bands = self.size[0].div_ceil(self.most_rows());
        self.size[0].div_ceil(bands).next_multiple_of(POOL)
    }

    /// What a task needs. Fewer images, or rows of them, never need more.
    pub(super) fn scratch_len(&self) -> usize {
        LINE + self.len(self.most_rows())
    }
}
