//! The tiles that the outputs of a Winograd convolution are cut into, and the pixels that a tile reads.

use super::transform::{OUTPUT, PixelPointers};

/// The tiles of a batch, in row-major order, image by image. A tile is 4x4 outputs, or fewer at the right and bottom edges.
#[derive(Clone, Copy, Debug)]
pub(super) struct TileGrid {
    pub(super) images: usize,
    /// Height and width of the outputs.
    pub(super) size: [usize; 2],
}

/// The position of a tile's outputs: the image, and the row and column of the first output.
#[derive(Clone, Copy)]
pub(super) struct TilePosition {
    pub(super) image: usize,
    pub(super) top: usize,
    pub(super) left: usize,
}

impl TileGrid {
    /// Rows and columns of tiles of one image.
    fn grid(&self) -> [usize; 2] {
        self.size.map(|size| size.div_ceil(OUTPUT))
    }

    pub(super) fn count(&self) -> usize {
        let [rows, columns] = self.grid();
        self.images * rows * columns
    }

    pub(super) fn position(&self, tile: usize) -> TilePosition {
        let [rows, columns] = self.grid();
        let (row, column) = (tile / columns, tile % columns);
        TilePosition { image: row / rows, top: row % rows * OUTPUT, left: column * OUTPUT }
    }
}

/// A batch of images from which tiles read squares of pixels. Outside the images, pixels are zero.
#[derive(Clone, Copy)]
pub(super) struct Images<'a> {
    pub(super) values: &'a [f32],
    /// Height and width.
    pub(super) size: [usize; 2],
    pub(super) channels: usize,
}

impl Images<'_> {
    /// Pointers to a square of `N` x `N` pixels. Its first pixel lies `pad` above and to the left of `position`.
    ///
    /// Pixels outside the image point to `zeros`, which must hold a zero for each channel.
    #[inline(always)]
    pub(super) fn square<const N: usize>(
        &self,
        position: TilePosition,
        pad: [usize; 2],
        zeros: &[f32],
    ) -> PixelPointers<N> {
        let ([height, width], channels) = (self.size, self.channels);
        assert!(zeros.len() >= channels, "{} zeros for {channels} channels", zeros.len());
        let length = height * width * channels;
        let image = self.values[position.image * length..][..length].as_ptr();
        let (top, left) = (position.top.wrapping_sub(pad[0]), position.left.wrapping_sub(pad[1]));
        let mut starts = [[zeros.as_ptr(); N]; N];
        for (i, starts) in starts.iter_mut().enumerate() {
            for (j, start) in starts.iter_mut().enumerate() {
                let (row, column) = (top.wrapping_add(i), left.wrapping_add(j));
                if row < height && column < width {
                    *start = image.wrapping_add((row * width + column) * channels);
                }
            }
        }
        PixelPointers { starts, next_tile: OUTPUT * channels }
    }
}
