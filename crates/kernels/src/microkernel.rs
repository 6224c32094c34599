//! The microkernel of every matrix product: it accumulates one register tile of the product over the depth.
//!
//! GEMM and the Winograd convolutions call [`multiply`]. The AMX matrix unit has a microkernel of its own, in [`crate::simd`].

#![expect(unsafe_code, reason = "operands are addressed through strides")]

use std::marker::PhantomData;
use std::ops::Range;

use crate::aligned::CACHE_LINE;
use crate::number::Number;
use crate::simd::{Kernel, Simd};

/// Rows of a register tile (MR in BLIS).
///
/// The accumulators, `ROWS` x [`Simd::VECTORS`] vectors, and one row of the right operand nearly fill the vector registers. The
/// tile is wide rather than tall, as each row costs the broadcast of a value of the left operand and an address register.
pub(crate) const ROWS: usize = 6;

/// Columns of a register tile (NR in BLIS).
#[inline(always)]
pub(crate) const fn columns<S: Simd>() -> usize {
    S::VECTORS * S::LANES
}

/// The left operand of a product: the slot (i, k) is `start[i * row_stride + k * depth_stride]`.
///
/// Strides count 32-bit [slots](crate::number), as in all operands. Row-major and column-major operands have a type each, so that
/// the stride of 1 is a constant: the compiler then folds address computations, which otherwise slow down the inner loop.
pub(crate) trait LeftOperand: Copy {
    /// The address of slot (0, 0).
    fn start(self) -> *const f32;
    /// Distance from one row to the next.
    fn row_stride(self) -> usize;
    /// Distance from one step of the depth to the next.
    fn depth_stride(self) -> usize;
}

/// A row-major left operand: the steps of the depth are contiguous.
#[derive(Clone, Copy)]
pub(crate) struct RowMajor {
    pub(crate) start: *const f32,
    pub(crate) row_stride: usize,
}

/// A column-major left operand: the rows of one step of the depth are contiguous.
#[derive(Clone, Copy)]
pub(crate) struct ColumnMajor {
    pub(crate) start: *const f32,
    pub(crate) depth_stride: usize,
}

macro_rules! left_operand {
    ($name:ident, $row_stride:expr, $depth_stride:expr) => {
        impl LeftOperand for $name {
            #[inline(always)]
            fn start(self) -> *const f32 {
                self.start
            }

            #[inline(always)]
            fn row_stride(self) -> usize {
                $row_stride(self)
            }

            #[inline(always)]
            fn depth_stride(self) -> usize {
                $depth_stride(self)
            }
        }
    };
}

left_operand!(RowMajor, |left: Self| left.row_stride, |_| 1);
left_operand!(ColumnMajor, |_| 1, |left: Self| left.depth_stride);

/// The right operand of a product: for each step of the depth, a row of contiguous vectors.
#[derive(Clone, Copy)]
pub(crate) struct RightOperand {
    pub(crate) start: *const f32,
    /// Distance from one step of the depth to the next.
    pub(crate) depth_stride: usize,
    /// Vectors of a step that are multiplied: 1 to [`Simd::VECTORS`].
    pub(crate) vectors: usize,
}

/// The memory that a product is written to, in row-major order.
#[derive(Clone, Copy)]
pub(crate) struct Product {
    pub(crate) start: *mut f32,
    /// Distance from one row to the next.
    pub(crate) row_stride: usize,
}

/// What happens to the sums of a register tile before they are written.
pub(crate) trait Epilogue: Copy {
    /// Writes the sums of one row in vector `vector` of the tile's columns to `to`.
    ///
    /// # Safety
    /// `LANES` values must be writable there, or as many as the tile has columns from this vector on.
    unsafe fn store<S: Simd>(self, simd: S, sums: S::Vector, vector: usize, to: *mut f32);
}

/// The epilogue that writes whole vectors of sums as they are.
#[derive(Clone, Copy)]
pub(crate) struct StoreSums;

impl Epilogue for StoreSums {
    #[inline(always)]
    unsafe fn store<S: Simd>(self, simd: S, sums: S::Vector, _vector: usize, to: *mut f32) {
        // SAFETY: the caller's promise.
        unsafe { simd.store(sums, to) }
    }
}

/// The epilogue that adds whole vectors of sums to what is there.
#[derive(Clone, Copy)]
pub(crate) struct AddSums;

impl Epilogue for AddSums {
    #[inline(always)]
    unsafe fn store<S: Simd>(self, simd: S, sums: S::Vector, _vector: usize, to: *mut f32) {
        // SAFETY: the caller's promise; GEMM calls it on memory that can be read, too.
        unsafe { simd.store(simd.add(simd.load(to), sums), to) }
    }
}

/// Contiguous values that the caller reads next, prefetched into the L2 cache during a product. Any address is allowed.
#[derive(Clone, Copy)]
pub(crate) struct Prefetch {
    pub(crate) start: *const f32,
    pub(crate) len: usize,
}

impl Prefetch {
    /// No prefetching. Prefetching from an unmapped address would cost a page walk each time.
    pub(crate) const NONE: Self = Self { start: std::ptr::null(), len: 0 };
}

/// `c = a b`, or `c += a b` with `accumulate`, over `rows` rows and the columns of `b`.
///
/// Meanwhile the values of `prefetch` are prefetched, at most one cache line in four steps of the depth.
///
/// Every element is summed along the depth in order. So the bits of an element don't depend on how rows and columns are blocked.
///
/// # Safety
/// `rows` rows of `c` must be writable, and readable if `accumulate` is set. `a` must be readable for as many rows and `depth`
/// steps, and `b` for `depth` steps.
#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "sizes, operands and modes of one product")]
pub(crate) unsafe fn multiply<S: Simd, N: Number, L: LeftOperand>(
    simd: S,
    rows: usize,
    depth: usize,
    a: L,
    b: RightOperand,
    c: Product,
    accumulate: bool,
    prefetch: Prefetch,
) {
    // SAFETY: the caller's promise.
    unsafe { multiply_then::<S, N, L, StoreSums>(simd, rows, depth, a, b, c, accumulate, prefetch, StoreSums) }
}

/// [`multiply`] with an epilogue.
///
/// # Safety
/// As [`multiply`], and what the epilogue needs.
#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "sizes, operands and modes of one product")]
pub(crate) unsafe fn multiply_then<S: Simd, N: Number, L: LeftOperand, E: Epilogue>(
    simd: S,
    rows: usize,
    depth: usize,
    a: L,
    b: RightOperand,
    c: Product,
    accumulate: bool,
    prefetch: Prefetch,
    epilogue: E,
) {
    debug_assert!((1..=S::VECTORS).contains(&b.vectors), "{} vectors", b.vectors);
    let prefetch_per_tile = prefetch.len.div_ceil(rows.div_ceil(ROWS).max(1));
    let prefetch = prefetch.start;
    let tiles = RegisterTiles { rows: 0..rows, depth, a, b, c, accumulate, prefetch, prefetch_per_tile, epilogue };
    // SAFETY: the caller's promise.
    unsafe {
        match b.vectors {
            1 => tiles.run::<S, N, 1>(simd),
            2 => tiles.run::<S, N, 2>(simd),
            _ if S::VECTORS <= 2 => unreachable!("a register tile has at most two vectors"),
            3 => tiles.run::<S, N, 3>(simd),
            _ => tiles.run::<S, N, 4>(simd),
        }
    }
}

/// A stack of register tiles: the rows `rows` of the product, and the columns of `b`.
struct RegisterTiles<L, E> {
    rows: Range<usize>,
    depth: usize,
    a: L,
    b: RightOperand,
    c: Product,
    accumulate: bool,
    prefetch: *const f32,
    /// Values that are prefetched during each tile.
    prefetch_per_tile: usize,
    epilogue: E,
}

impl<L: LeftOperand, E: Epilogue> RegisterTiles<L, E> {
    /// # Safety
    /// As [`multiply`], for right operands of `V` vectors.
    #[inline(always)]
    unsafe fn run<S: Simd, N: Number, const V: usize>(self, simd: S) {
        let whole = self.rows.end / ROWS * ROWS;
        let rest = Self {
            rows: whole..self.rows.end,
            prefetch: self.prefetch.wrapping_add(whole / ROWS * self.prefetch_per_tile),
            ..self
        };
        // `simd.run` keeps each tile size in a function of its own. Inlined into every caller, all sizes would make the code very
        // large.
        simd.run(SizedRegisterTiles::<L, N, E, ROWS, V>(Self { rows: 0..whole, ..self }, PhantomData));
        match rest.rows.len() {
            0 => {}
            1 => simd.run(SizedRegisterTiles::<L, N, E, 1, V>(rest, PhantomData)),
            2 => simd.run(SizedRegisterTiles::<L, N, E, 2, V>(rest, PhantomData)),
            3 => simd.run(SizedRegisterTiles::<L, N, E, 3, V>(rest, PhantomData)),
            4 => simd.run(SizedRegisterTiles::<L, N, E, 4, V>(rest, PhantomData)),
            _ => simd.run(SizedRegisterTiles::<L, N, E, 5, V>(rest, PhantomData)),
        }
    }
}

/// [`RegisterTiles`] of `R` rows and `V` vectors.
///
/// Only [`RegisterTiles::run`] constructs them, as its caller promises that the operands are large enough.
struct SizedRegisterTiles<L, N, E, const R: usize, const V: usize>(RegisterTiles<L, E>, PhantomData<N>);

impl<L: LeftOperand, N: Number, E: Epilogue, const R: usize, const V: usize> Kernel
    for SizedRegisterTiles<L, N, E, R, V>
{
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let RegisterTiles { rows, depth, a, b, c, accumulate, mut prefetch, prefetch_per_tile, epilogue } = self.0;
        let mut row = rows.start;
        while row < rows.end {
            let end = prefetch.wrapping_add(prefetch_per_tile);
            // SAFETY: the promise of `multiply`'s caller.
            unsafe {
                let product = Product { start: c.start.add(row * c.row_stride), ..c };
                let left = a.start().add(row * a.row_stride());
                tile::<S, L, N, E, R, V>(simd, depth, a, left, b, product, accumulate, prefetch..end, epilogue);
            }
            prefetch = end;
            row += R;
        }
    }
}

/// Computes one register tile.
///
/// # Safety
/// As [`multiply`], for `R` rows of the left operand from `left` on.
#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "as for `multiply`")]
unsafe fn tile<S: Simd, L: LeftOperand, N: Number, E: Epilogue, const R: usize, const V: usize>(
    simd: S,
    depth: usize,
    a: L,
    mut left: *const f32,
    b: RightOperand,
    c: Product,
    accumulate: bool,
    prefetch: Range<*const f32>,
    epilogue: E,
) {
    let mut sums = [[simd.splat(0.0); V]; R];
    // SAFETY: the caller's promise.
    unsafe {
        if accumulate {
            for (row, sums) in sums.iter_mut().enumerate() {
                for (vector, sum) in sums.iter_mut().enumerate() {
                    *sum = simd.load(c.start.add(row * c.row_stride + vector * S::LANES));
                }
            }
        }
        let (mut right, mut next) = (b.start, prefetch.start);
        for _ in 0..depth / 4 {
            if next < prefetch.end {
                simd.prefetch_far(next);
                next = next.wrapping_add(CACHE_LINE);
            }
            for step in 0..4 {
                add_products::<S, N, R, V>(
                    simd,
                    left.add(step * a.depth_stride()),
                    a.row_stride(),
                    right.add(step * b.depth_stride),
                    &mut sums,
                );
            }
            (left, right) = (left.add(4 * a.depth_stride()), right.add(4 * b.depth_stride));
        }
        for _ in 0..depth % 4 {
            add_products::<S, N, R, V>(simd, left, a.row_stride(), right, &mut sums);
            (left, right) = (left.add(a.depth_stride()), right.add(b.depth_stride));
        }
        for (row, sums) in sums.iter().enumerate() {
            for (vector, sum) in sums.iter().enumerate() {
                epilogue.store(simd, *sum, vector, c.start.add(row * c.row_stride + vector * S::LANES));
            }
        }
    }
}

/// Adds the products of one step of the depth to the accumulators: a rank-1 update in f32, and a rank-2 update in bf16.
///
/// # Safety
/// `R` slots must be readable at `left`, `row_stride` apart, and `V` vectors at `right`.
#[inline(always)]
unsafe fn add_products<S: Simd, N: Number, const R: usize, const V: usize>(
    simd: S,
    left: *const f32,
    row_stride: usize,
    right: *const f32,
    sums: &mut [[S::Vector; V]; R],
) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut columns = [simd.splat(0.0); V];
        for (vector, column) in columns.iter_mut().enumerate() {
            *column = simd.load(right.add(vector * S::LANES));
        }
        for (row, sums) in sums.iter_mut().enumerate() {
            let x = simd.splat(*left.add(row * row_stride));
            for (sum, column) in sums.iter_mut().zip(columns) {
                *sum = N::multiply_add(simd, x, column, *sum);
            }
        }
    }
}
