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
    /// The square of `N` x `N` pixels whose first lies `pad` above and left of `place`.
    ///
    /// Where it reaches beyond the image, it is copied to `border`, `N * N` pixels, with zeros around.
    #[inline(always)]
    pub(super) fn square<const N: usize>(&self, place: Place, pad: [usize; 2], border: &mut [f32]) -> Pixels {
        let ([height, width], channels) = (self.size, self.channels);
        let (top, left) = (place.top.wrapping_sub(pad[0]), place.left.wrapping_sub(pad[1]));
        let inside = |start: usize, size: usize| start < size && size - start >= N;
        if inside(top, height) && inside(left, width) {
            let square = &self.values[((place.image * height + top) * width + left) * channels..];
            return Pixels { start: square.as_ptr(), row: width * channels, pixel: channels };
        }
        for (index, to) in border.chunks_exact_mut(channels).take(N * N).enumerate() {
            let (row, column) = (top.wrapping_add(index / N), left.wrapping_add(index % N));
            match row < height && column < width {
                true => {
                    let start = ((place.image * height + row) * width + column) * channels;
                    to.copy_from_slice(&self.values[start..][..channels]);
                }
                false => to.fill(0.0),
            }
        }
        Pixels { start: border.as_ptr(), row: N * channels, pixel: channels }
    }
}
