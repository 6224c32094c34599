//! General matrix multiplication (GEMM), which dense layers and im2col convolutions are made of.
//!
//! The output is cut into tiles that threads compute in parallel. Each tile runs the loop nest that suits its shape: [`packed`]
//! for many rows, [`skinny`] and [`transposed`] for few rows (see [`multiply`]). The inner loop is [`crate::microkernel`].

mod epilogue;
mod few_rows;
mod few_rows_transposed;
mod many_rows;
mod matrix;
mod multiply;
mod operands;
mod pack;

use crate::chunks::check_len;
use crate::output_tiles::{Tile, Tiles};
use crate::simd::Isa;
pub(crate) use epilogue::apply_epilogue;
use few_rows::Skinny;
pub use matrix::Matrix;
pub(crate) use operands::BLOCK;
use operands::Operands;

/// `c = a b`, or `c += a b` with `accumulate`: `a` is m x k, `b` k x n, `c` row-major m x n.
///
/// ```
/// use engraft_kernels::{Matrix, gemm};
/// let mut c = [0.0; 2];
/// gemm(1, 2, 2, Matrix::row_major(&[1.0, 2.0], 2), Matrix::transposed(&[3.0, 4.0, 5.0, 6.0], 2), false, &mut c);
/// assert_eq!(c, [11.0, 17.0]);
/// ```
pub fn gemm(m: usize, k: usize, n: usize, a: Matrix, b: Matrix, accumulate: bool, c: &mut [f32]) {
    gemm_then(m, k, n, a, b, accumulate, c, |_| {});
}

/// [`gemm`] with an epilogue, called on every tile of `c` while the tile is in cache.
#[expect(clippy::too_many_arguments, reason = "the parameters of gemm")]
pub(crate) fn gemm_then(
    m: usize,
    k: usize,
    n: usize,
    a: Matrix,
    b: Matrix,
    accumulate: bool,
    c: &mut [f32],
    epilogue: impl Fn(&mut Tile) + Sync,
) {
    check_len("c", c, m * n);
    a.check("a", m, k);
    b.check("b", k, n);
    let size = match b.col_stride == 1 && Skinny::suits(m, k, n) {
        true => [m, Skinny::columns(n, rayon::current_num_threads())],
        false => tile_size(m, n),
    };
    Tiles::new(c, 1, [m, n], size).for_each(|mut tile| {
        let (a, b) = (a.skip(tile.rows.start, 0), b.skip(0, tile.columns.start));
        gemm_tile(k, a, b, accumulate, &mut tile);
        epilogue(&mut tile);
    });
}

/// Most rows of a tile.
pub(crate) const MAX_TILE_ROWS: usize = 256;

/// Rows and columns of the tiles that an m x n output is cut into, one tile for each task.
///
/// Each task packs its own operands. Relative to the multiply-accumulates, packing costs `1 / rows + 1 / columns`. So tiles are
/// as large as the L2 cache allows. While the output has too few tiles to keep threads busy, the longer side of a tile is
/// halved.
pub(crate) fn tile_size(m: usize, n: usize) -> [usize; 2] {
    const MAX: [usize; 2] = [MAX_TILE_ROWS, 512];
    const MIN_SIDE: usize = 64;
    const ENOUGH_TILES: usize = 8;
    let [mut rows, mut columns] = [m.min(MAX[0]), n.min(MAX[1])];
    while m.div_ceil(rows.max(1)) * n.div_ceil(columns.max(1)) < ENOUGH_TILES && rows.max(columns) > MIN_SIDE {
        let longer = if rows > columns { &mut rows } else { &mut columns };
        *longer = longer.div_ceil(2).next_multiple_of(8);
    }
    [rows, columns]
}

/// `tile = a b`, or `tile += a b` with `accumulate`, on the calling thread.
///
/// `a` has the rows of the tile and `k` columns; `b` has `k` rows and the columns of the tile. Every element is the sum of what is
/// there and of [`BLOCK`]s along `k`, each summed in order. So the bits of an element depend neither on the loop nest nor
/// on the tiling.
pub(crate) fn gemm_tile(k: usize, a: Matrix, b: Matrix, accumulate: bool, tile: &mut Tile) {
    let (m, n) = (tile.rows.len(), tile.columns.len());
    a.check("a", m, k);
    b.check("b", k, n);
    if k == 0 && !accumulate {
        (0..m).for_each(|row| tile.row(row).fill(0.0));
    }
    if m > 0 && n > 0 && k > 0 {
        multiply::run(Isa::current(), Operands { k, a, b, accumulate, tile });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference;
    use crate::testing::{assert_same_for_any_threads, integers, to_f32, uniform};

    /// Sizes `[m, k, n]` around the block sizes: sides of tiles (64, 128, 256 and 512), blocks of the depth (264 and 2112), and
    /// the row limits of the loop nests (2 and 64).
    const SIZES: [[usize; 3]; 18] = [
        [1, 1, 1],
        [3, 5, 7],
        [16, 263, 256],
        [64, 264, 257],
        [65, 265, 16],
        [127, 8, 513],
        [128, 16, 512],
        [129, 3, 511],
        [257, 64, 33],
        [2, 600, 700],
        [13, 300, 300],
        [64, 259, 290],
        [33, 265, 47],
        [1, 2113, 50],
        [7, 4, 2100],
        [2, 7, 9],
        [1, 6, 2100],
        [3, 300, 700],
    ];

    #[test]
    fn every_instruction_set_agrees_with_the_reference_in_every_orientation() {
        for [m, k, n] in SIZES {
            let (a, b) = (integers(m * k, 1), integers(k * n, 2));
            for a in [Matrix::row_major(&a, k), Matrix::transposed(&a, m)] {
                for b in [Matrix::row_major(&b, n), Matrix::transposed(&b, k)] {
                    let expected = to_f32(&reference::gemm(m, k, n, a, b));
                    for isa in Isa::tested() {
                        let mut c = vec![f32::NAN; m * n];
                        let mut run = |accumulate| {
                            let tile = &mut Tile::covering(m, n, &mut c);
                            multiply::run(isa, Operands { k, a, b, accumulate, tile });
                        };
                        run(false);
                        run(true);
                        let doubled = c.iter().map(|c| c / 2.0).eq(expected.iter().copied());
                        assert!(doubled, "{} {m} x {k} x {n}", isa.name());
                    }
                }
            }
        }
    }

    #[test]
    fn agrees_with_the_reference_for_every_orientation() {
        for [m, k, n] in SIZES {
            let (a, b) = (integers(m * k, 1), integers(k * n, 2));
            for a in [Matrix::row_major(&a, k), Matrix::transposed(&a, m)] {
                for b in [Matrix::row_major(&b, n), Matrix::transposed(&b, k)] {
                    let mut c = vec![f32::NAN; m * n];
                    gemm(m, k, n, a, b, false, &mut c);
                    assert_eq!(c, to_f32(&reference::gemm(m, k, n, a, b)), "{m} x {k} x {n}");
                }
            }
        }
    }

    #[test]
    fn accumulate_adds_to_what_is_there() {
        let mut c = [10.0, 20.0];
        gemm(2, 1, 1, Matrix::row_major(&[1.0, 2.0], 1), Matrix::row_major(&[3.0], 1), true, &mut c);
        assert_eq!(c, [13.0, 26.0]);
    }

    #[test]
    fn empty_products() {
        let mut c = [1.0; 4];
        gemm(2, 0, 2, Matrix::row_major(&[], 0), Matrix::row_major(&[], 2), false, &mut c);
        assert_eq!(c, [0.0; 4]);
        gemm(0, 3, 2, Matrix::row_major(&[], 3), Matrix::row_major(&[1.0; 6], 2), false, &mut []);
    }

    #[test]
    fn same_bits_for_any_number_of_threads() {
        let (a, b) = (uniform(300 * 70, 1), uniform(70 * 600, 2));
        assert_same_for_any_threads(|| {
            let mut c = vec![0.0; 300 * 600];
            gemm(300, 70, 600, Matrix::row_major(&a, 70), Matrix::row_major(&b, 600), false, &mut c);
            c
        });
    }

    /// The product of one tile, by the loop nest for its rows.
    fn tile_product(isa: Isa, [m, k, n]: [usize; 3], a: &[f32], b: Matrix, before: Option<&[f32]>) -> Vec<f32> {
        let mut c = before.map_or_else(|| vec![f32::NAN; m * n], |before| before[..m * n].to_vec());
        let (a, accumulate, tile) = (Matrix::row_major(a, k), before.is_some(), &mut Tile::covering(m, n, &mut c));
        multiply::run(isa, Operands { k, a, b, accumulate, tile });
        c
    }

    #[test]
    fn every_loop_nest_computes_the_same_bits() {
        // Two rows are streamed or transposed, 70 are packed. 2200 steps are more than a panel of the transposed nest has.
        let [m, k, n] = [70, 2200, 40];
        let (a, b, before) = (uniform(m * k, 1), uniform(k * n, 2), uniform(m * n, 3));
        for isa in Isa::tested() {
            for b in [Matrix::row_major(&b, n), Matrix::transposed(&b, k)] {
                for before in [None, Some(&before[..])] {
                    let few = tile_product(isa, [2, k, n], &a, b, before);
                    let many = tile_product(isa, [m, k, n], &a, b, before);
                    assert_eq!(few, many[..2 * n], "{} {}", isa.name(), b.col_stride);
                }
            }
        }
    }

    #[test]
    fn equal_products_do_not_add_up_their_rounding_errors() {
        let (k, n) = (10_000, 8);
        for isa in Isa::tested() {
            for m in [1, 70] {
                let (a, b) = (vec![0.1; m * k], vec![1.0; k * n]);
                for b in [Matrix::row_major(&b, n), Matrix::transposed(&b, k)] {
                    let c = tile_product(isa, [m, k, n], &a, b, None);
                    // A chain of 10,000 steps is off by 1e-4 of the sum. One of 264 is off by 3e-6, as are sums of 38 blocks.
                    let error = (f64::from(c[0]) / (f64::from(0.1f32) * k as f64) - 1.0).abs();
                    assert!(error < 5e-6, "{} {m} rows: {error:e}", isa.name());
                }
            }
        }
    }

    #[test]
    #[should_panic(expected = "`b`: 2 x 3 does not fit its 5 values")]
    fn a_short_operand_is_refused() {
        gemm(1, 2, 3, Matrix::row_major(&[1.0; 2], 2), Matrix::row_major(&[1.0; 5], 3), false, &mut [0.0; 3]);
    }
}
