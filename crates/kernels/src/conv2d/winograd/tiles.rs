//! Images cut into tiles, and the squares of pixels that tiles read.

use super::transform::{OUTPUT, Pixels};

/// The tiles of a batch, counted along rows of images: each computes 4x4 outputs, fewer at the right and at the bottom.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tiles {
    pub(super) images: usize,
    /// Height and width of the outputs.
    pub(super) size: [usize; 2],
}

/// Where a tile's outputs stand.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) image: usize,
    pub(super) top: usize,
    pub(super) left: usize,
}

impl Tiles {
    fn grid(&self) -> [usize; 2] {
        self.size.map(|size| size.div_ceil(OUTPUT))
    }

    pub(super) fn count(&self) -> usize {
        let [rows, columns] = self.grid();
        self.images * rows * columns
    }

    pub(super) fn place(&self, tile: usize) -> Place {
        let [rows, columns] = self.grid();
        let (row, column) = (tile / columns, tile % columns);
        Place { image: row / rows, top: row % rows * OUTPUT, left: column * OUTPUT }
    }
}

/// Images that tiles read squares of, zeros around them.
#[derive(Clone, Copy)]
pub(super) struct Images<'a> {
    pub(super) values: &'a [f32],
    /// Height and width.
    pub(super) size: [usize; 2],
    pub(super) channels: usize,
}

impl Images<'_> {
    /// The square of `N` x `N` pixels whose first lies `pad` above and left of `place`. Those that lie outside the image are at
    /// `zeros`, which are as many as there are channels.
    #[inline(always)]
    pub(super) fn square<const N: usize>(&self, place: Place, pad: [usize; 2], zeros: &[f32]) -> Pixels<N> {
        let ([height, width], channels) = (self.size, self.channels);
        assert!(zeros.len() >= channels, "{} zeros for {channels} channels", zeros.len());
        let length = height * width * channels;
        let image = self.values[place.image * length..][..length].as_ptr();
        let (top, left) = (place.top.wrapping_sub(pad[0]), place.left.wrapping_sub(pad[1]));
        let mut starts = [[zeros.as_ptr(); N]; N];
        for (i, starts) in starts.iter_mut().enumerate() {
            for (j, start) in starts.iter_mut().enumerate() {
                let (row, column) = (top.wrapping_add(i), left.wrapping_add(j));
                if row < height && column < width {
                    *start = image.wrapping_add((row * width + column) * channels);
                }
            }
        }
        Pixels { starts, tile: OUTPUT * channels }
    }
}
