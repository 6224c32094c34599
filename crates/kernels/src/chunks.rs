//! Cuts slices into chunks for parallel loops, and sums columns in a fixed order.
//!
//! The size of the data alone decides where it is cut, never the number of threads. So results have the same bits for any number
//! of threads. Matrix products cut their work into [`tiles`](crate::tiles) instead.

use rayon::prelude::*;

/// Elements in a chunk: 64 KiB of f32. Work on a chunk takes longer than rayon's overhead per task, and large layers still have
/// a chunk for each core.
pub(crate) const CHUNK: usize = 16 * 1024;

/// Rows that are summed in f32 before the sum is added to an f64 accumulator. So the rounding error of f32 doesn't grow with
/// the number of rows. With 8 rows it is about that of a single value; sums of BatchNormalization's gradient cancel, so it counts.
const BLOCK_ROWS: usize = 8;

/// Largest number of chunks, and so of partial sums, in [`column_sums`].
const MAX_PARTIALS: usize = 64;

/// Panics unless `slice` holds `expected` values.
#[track_caller]
pub(crate) fn check_len(name: &str, slice: &[f32], expected: usize) {
    assert!(slice.len() == expected, "`{name}` must hold {expected} values, holds {}", slice.len());
}

/// Number of rows of `width` values in `slice`. Panics if the length isn't a multiple of `width`.
#[track_caller]
pub(crate) fn count_rows(name: &str, slice: &[f32], width: usize) -> usize {
    assert!(width > 0, "rows of `{name}` must hold at least one value");
    assert!(slice.len().is_multiple_of(width), "`{name}` holds {} values, not a multiple of {width}", slice.len());
    slice.len() / width
}

/// Elements in a chunk of whole rows of `width` values: at most [`CHUNK`], but at least one row.
pub(crate) fn row_chunk(width: usize) -> usize {
    width.max(1) * (CHUNK / width.max(1)).max(1)
}

/// Calls `f` in parallel with corresponding chunks of `x` and `y`, of `size` elements each.
pub(crate) fn zip_chunks(x: &[f32], y: &mut [f32], size: usize, f: impl Fn(&[f32], &mut [f32]) + Sync) {
    y.par_chunks_mut(size).zip(x.par_chunks(size)).for_each(|(y, x)| f(x, y));
}

/// Sums `sums` quantities for each channel over `rows` rows. Returns `[sums, channels]`.
///
/// `add(row, block)` must add the quantities of one row to `block`, which is also `[sums, channels]`.
pub(crate) fn column_sums(
    channels: usize,
    rows: usize,
    sums: usize,
    add: impl Fn(usize, &mut [f32]) + Sync,
) -> Vec<f64> {
    let width = sums * channels;
    let chunk_rows = rows.div_ceil(MAX_PARTIALS).max(row_chunk(width) / width.max(1));
    let partials: Vec<Vec<f64>> = (0..rows.div_ceil(chunk_rows))
        .into_par_iter()
        .map(|chunk| {
            let mut partial = vec![0.0; width];
            let mut block = vec![0.0; width];
            let end = rows.min((chunk + 1) * chunk_rows);
            for start in (chunk * chunk_rows..end).step_by(BLOCK_ROWS) {
                block.fill(0.0);
                (start..end.min(start + BLOCK_ROWS)).for_each(|row| add(row, &mut block));
                partial.iter_mut().zip(&block).for_each(|(sum, &x)| *sum += f64::from(x));
            }
            partial
        })
        .collect();
    let mut total = vec![0.0; width];
    for partial in &partials {
        total.iter_mut().zip(partial).for_each(|(sum, x)| *sum += x);
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_chunks_hold_whole_rows() {
        assert_eq!(row_chunk(1), CHUNK);
        assert_eq!(row_chunk(3), CHUNK / 3 * 3);
        assert_eq!(row_chunk(CHUNK + 1), CHUNK + 1);
        assert_eq!(row_chunk(0), CHUNK, "a chunk is never empty");
    }

    #[test]
    fn column_sums_of_equal_values_are_as_exact_as_a_value() {
        let (x, rows) = (0.1f32, 81);
        let sums = column_sums(1, rows, 1, |_, sum| sum[0] += x);
        assert!((sums[0] / (f64::from(x) * rows as f64) - 1.0).abs() < f64::from(f32::EPSILON), "{sums:?}");
    }

    #[test]
    fn column_sums_keep_the_small_beside_the_large() {
        // A sum in f32 alone would stop growing at 2^24.
        let sums = column_sums(1, 20_000_000, 1, |_, sum| sum[0] += 1.0);
        assert_eq!(sums, [2e7]);
    }
}
