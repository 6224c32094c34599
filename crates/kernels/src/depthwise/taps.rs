//! The general loop of depthwise convolutions, for every kernel size, stride and dilation. The forward pass and the input gradient
//! share it with different [`Taps`].

use rayon::prelude::*;

use crate::Conv2dShape;
use crate::simd::Isa;

/// Channels that are summed at once.
const LANES: usize = 32;

/// For each destination index along an axis, the pairs (kernel tap, source index) that it sums over.
pub(super) type AxisTaps = Vec<Vec<(usize, usize)>>;

/// The kernel taps that each destination pixel sums over, separately for rows and columns.
pub(super) struct Taps {
    pub(super) rows: AxisTaps,
    pub(super) columns: AxisTaps,
    /// Taps in a row of the kernel.
    width: usize,
}

impl Taps {
    /// Taps of the forward pass: for every output pixel, the input pixels in its window.
    pub(super) fn forward(s: &Conv2dShape) -> Self {
        let axis = |axis: usize, from: usize, to: usize| -> AxisTaps {
            let taps_at = |at: usize| {
                let source = |tap: usize| (at * s.stride[axis] + tap * s.dilation[axis]).checked_sub(s.pad[axis]);
                let inside = |tap: usize| source(tap).filter(|&source| source < from);
                (0..s.kernel[axis]).filter_map(|tap| Some((tap, inside(tap)?))).collect()
            };
            (0..to).map(taps_at).collect()
        };
        Self { rows: axis(0, s.in_h, s.out_h), columns: axis(1, s.in_w, s.out_w), width: s.kernel[1] }
    }

    /// Taps of the input gradient: for every input pixel, the output pixels whose windows hold it.
    pub(super) fn backward(s: &Conv2dShape) -> Self {
        let forward = Self::forward(s);
        let transpose = |axis: AxisTaps, length: usize| {
            let mut transposed: AxisTaps = vec![Vec::new(); length];
            for (to, taps) in axis.into_iter().enumerate() {
                taps.into_iter().for_each(|(tap, from)| transposed[from].push((tap, to)));
            }
            transposed
        };
        Self { rows: transpose(forward.rows, s.in_h), columns: transpose(forward.columns, s.in_w), width: s.kernel[1] }
    }
}

/// `to[pixel] = sum of from[source pixel] * w[tap]` over the pixel's taps. Calls `epilogue` with each row when it is complete.
#[expect(clippy::too_many_arguments, reason = "two images, a kernel, and their sizes")]
pub(super) fn gather(
    taps: &Taps,
    channels: usize,
    [from_h, from_w]: [usize; 2],
    [to_h, to_w]: [usize; 2],
    from: &[f32],
    w: &[f32],
    to: &mut [f32],
    epilogue: impl Fn(&mut [f32]) + Sync,
) {
    let isa = Isa::current();
    to.par_chunks_mut((to_w * channels).max(1)).enumerate().for_each(|(row, to)| {
        let image = &from[row / to_h * from_h * from_w * channels..][..from_h * from_w * channels];
        let mut offsets = Vec::new();
        for (pixel, columns) in to.chunks_exact_mut(channels).zip(&taps.columns) {
            offsets.clear();
            for &(tap_row, row) in &taps.rows[row % to_h] {
                let indices = |&(tap, column)| (row * from_w + column, tap_row * taps.width + tap);
                offsets.extend(columns.iter().map(indices).map(|(pixel, tap)| (pixel * channels, tap * channels)));
            }
            isa.run_plain(
                #[inline(always)]
                || sum_products(&offsets, image, w, pixel),
            );
        }
        epilogue(to);
    });
}

/// `y[c] = sum of x[i + c] * w[j + c]` over the offsets `(i, j)`.
#[inline(always)]
fn sum_products(offsets: &[(usize, usize)], x: &[f32], w: &[f32], y: &mut [f32]) {
    let mut blocks = y.chunks_exact_mut(LANES);
    let mut start = 0;
    for y in &mut blocks {
        let mut sums = [0.0; LANES];
        for &(i, j) in offsets {
            let (x, w) = (&x[i + start..][..LANES], &w[j + start..][..LANES]);
            sums.iter_mut().zip(x.iter().zip(w)).for_each(|(sum, (x, w))| *sum += x * w);
        }
        y.copy_from_slice(&sums);
        start += LANES;
    }
    let rest = blocks.into_remainder();
    rest.fill(0.0);
    for &(i, j) in offsets {
        rest.iter_mut().zip(x[i + start..].iter().zip(&w[j + start..])).for_each(|(y, (x, w))| *y += x * w);
    }
}

/// Adds the contribution of one output row to the gradient of one kernel row: `sums[tap, c] += x[source, c] * dy[pixel, c]`.
#[inline(always)]
pub(super) fn add_products(columns: &AxisTaps, channels: usize, x: &[f32], dy: &[f32], sums: &mut [f32]) {
    for (dy, taps) in dy.chunks_exact(channels).zip(columns) {
        for &(tap, column) in taps {
            let (x, sums) = (&x[column * channels..][..channels], &mut sums[tap * channels..][..channels]);
            sums.iter_mut().zip(x.iter().zip(dy)).for_each(|(sum, (x, dy))| *sum += x * dy);
        }
    }
}
