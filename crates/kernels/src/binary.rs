//! Elementwise functions of two operands, with broadcasting on both sides.
//!
//! Products of which only the second operand is broadcast are in [`broadcast`](crate::broadcast).

use engraft_ir::Binary;
use rayon::prelude::*;

use crate::broadcast_rows::BroadcastRows;
use crate::chunks::{CHUNK, check_len};

/// Shapes of two operands and of the result that both are broadcast to, without the batch axis.
///
/// All three have the same rank. An operand is repeated along its axes of size 1.
#[derive(Clone, Copy, Debug)]
pub struct BinaryShape<'a> {
    /// Number of samples.
    pub samples: usize,
    /// Shapes of both operands.
    pub operands: [&'a [usize]; 2],
    /// Shape of the result.
    pub result: &'a [usize],
}

impl BinaryShape<'_> {
    fn check(&self, a: &[f32], b: &[f32], y: &[f32]) {
        let values = |shape: &[usize]| self.samples * shape.iter().product::<usize>();
        check_len("a", a, values(self.operands[0]));
        check_len("b", b, values(self.operands[1]));
        check_len("y", y, values(self.result));
    }
}

/// Applies a function to each pair of values: `y = f(a, b)`.
///
/// ```
/// use engraft_kernels::{Binary, BinaryShape, binary};
/// // A column and a row.
/// let shape = BinaryShape { samples: 1, operands: [&[2, 1], &[1, 3]], result: &[2, 3] };
/// let mut y = [0.0; 6];
/// binary(Binary::Subtract, &shape, &[10.0, 20.0], &[1.0, 2.0, 3.0], &mut y);
/// assert_eq!(y, [9.0, 8.0, 7.0, 19.0, 18.0, 17.0]);
/// ```
pub fn binary(function: Binary, shape: &BinaryShape<'_>, a: &[f32], b: &[f32], y: &mut [f32]) {
    shape.check(a, b, y);
    match function {
        Binary::Add => map(shape, a, b, y, |a, b| a + b),
        Binary::Subtract => map(shape, a, b, y, |a, b| a - b),
        Binary::Multiply => map(shape, a, b, y, |a, b| a * b),
        Binary::Divide => map(shape, a, b, y, |a, b| a / b),
        Binary::FloorDivide => map(shape, a, b, y, |a, b| (a / b).floor()),
        Binary::Mod => map(shape, a, b, y, modulo),
        Binary::Power => map(shape, a, b, y, f32::powf),
        Binary::Maximum => map(shape, a, b, y, |a, b| if a >= b || a.is_nan() { a } else { b }),
        Binary::Minimum => map(shape, a, b, y, |a, b| if a <= b || a.is_nan() { a } else { b }),
        Binary::Equal => map(shape, a, b, y, |a, b| flag(a == b)),
        Binary::NotEqual => map(shape, a, b, y, |a, b| flag(a != b)),
        Binary::Greater => map(shape, a, b, y, |a, b| flag(a > b)),
        Binary::GreaterEqual => map(shape, a, b, y, |a, b| flag(a >= b)),
        Binary::Less => map(shape, a, b, y, |a, b| flag(a < b)),
        Binary::LessEqual => map(shape, a, b, y, |a, b| flag(a <= b)),
        Binary::Mask => map(shape, a, b, y, |a, b| if b != 0.0 { a } else { 0.0 }),
    }
}

fn flag(condition: bool) -> f32 {
    if condition { 1.0 } else { 0.0 }
}

/// The remainder of `a / b` with the sign of `b`. The remainder of Rust, which is exact, has the sign of `a`.
fn modulo(a: f32, b: f32) -> f32 {
    let remainder = a % b;
    if remainder != 0.0 && (remainder < 0.0) != (b < 0.0) { remainder + b } else { remainder }
}

fn map(shape: &BinaryShape<'_>, a: &[f32], b: &[f32], y: &mut [f32], f: impl Fn(f32, f32) -> f32 + Sync) {
    let rows = BroadcastRows::new(shape.samples, shape.operands, shape.result);
    y.par_chunks_mut(CHUNK).enumerate().for_each(|(chunk, y)| {
        rows.visit(chunk * CHUNK, y.len(), |start, length, [at_a, at_b]| {
            let (y, a, b) = (&mut y[start..][..length], &a[at_a..], &b[at_b..]);
            match rows.strides {
                [0, 0] => y.fill(f(a[0], b[0])),
                [0, _] => y.iter_mut().zip(b).for_each(|(y, b)| *y = f(a[0], *b)),
                [_, 0] => y.iter_mut().zip(a).for_each(|(y, a)| *y = f(*a, b[0])),
                _ => y.iter_mut().zip(a).zip(b).for_each(|((y, a), b)| *y = f(*a, *b)),
            }
        });
    });
}

/// The gradient of [`binary`] with respect to operand `index`, summed over the axes along which the operand was repeated.
///
/// `a` and `b` are read only if [`Binary::gradient_from_inputs`] says so, and may be empty otherwise.
///
/// ```
/// use engraft_kernels::{Binary, BinaryShape, binary_gradient};
/// let shape = BinaryShape { samples: 1, operands: [&[2, 1], &[1, 3]], result: &[2, 3] };
/// let mut db = [0.0; 3];
/// binary_gradient(Binary::Multiply, 1, &shape, &[10.0, 20.0], &[1.0, 2.0, 3.0], &[1.0; 6], &mut db);
/// assert_eq!(db, [30.0; 3]);
/// ```
///
/// # Panics
/// If `index` is neither 0 nor 1.
pub fn binary_gradient(
    function: Binary,
    index: usize,
    shape: &BinaryShape<'_>,
    a: &[f32],
    b: &[f32],
    dy: &[f32],
    dx: &mut [f32],
) {
    assert!(index < 2, "a function of two operands has no operand {index}");
    match (function, index) {
        (Binary::Add, _) | (Binary::Subtract, 0) => sum(index, shape, dx, |_, _, i| dy[i]),
        (Binary::Subtract, _) => sum(index, shape, dx, |_, _, i| -dy[i]),
        (Binary::Multiply, 0) => sum(index, shape, dx, |_, j, i| b[j] * dy[i]),
        (Binary::Multiply, _) => sum(index, shape, dx, |j, _, i| a[j] * dy[i]),
        (Binary::Divide, 0) => sum(index, shape, dx, |_, j, i| dy[i] / b[j]),
        (Binary::Divide, _) => sum(index, shape, dx, |j, k, i| -(a[j] / b[k]) / b[k] * dy[i]),
        (Binary::Mod, 0) => sum(index, shape, dx, |_, _, i| dy[i]),
        (Binary::Mod, _) => sum(index, shape, dx, |j, k, i| -(a[j] / b[k]).floor() * dy[i]),
        (Binary::Power, 0) => sum(index, shape, dx, |j, k, i| b[k] * a[j].powf(b[k] - 1.0) * dy[i]),
        (Binary::Power, _) => sum(index, shape, dx, |j, k, i| power_by_exponent(a[j], b[k]) * dy[i]),
        (Binary::Maximum, 0) => sum(index, shape, dx, |j, k, i| if a[j] >= b[k] { dy[i] } else { 0.0 }),
        (Binary::Maximum, _) => sum(index, shape, dx, |j, k, i| if a[j] >= b[k] { 0.0 } else { dy[i] }),
        (Binary::Minimum, 0) => sum(index, shape, dx, |j, k, i| if a[j] <= b[k] { dy[i] } else { 0.0 }),
        (Binary::Minimum, _) => sum(index, shape, dx, |j, k, i| if a[j] <= b[k] { 0.0 } else { dy[i] }),
        (Binary::Mask, 0) => sum(index, shape, dx, |_, k, i| if b[k] != 0.0 { dy[i] } else { 0.0 }),
        (Binary::Mask | Binary::FloorDivide, _) => dx.fill(0.0),
        (Binary::Equal | Binary::NotEqual | Binary::Greater | Binary::GreaterEqual, _) => dx.fill(0.0),
        (Binary::Less | Binary::LessEqual, _) => dx.fill(0.0),
    }
}

/// `d(a^b) / db`, which is `a^b * ln(a)`, and 0 where `a` isn't positive.
fn power_by_exponent(a: f32, b: f32) -> f32 {
    if a > 0.0 { a.powf(b) * a.ln() } else { 0.0 }
}

/// Overwrites `dx` with the sums of `term(index in a, index in b, index in y)` over all results that each value of operand
/// `index` contributes to.
fn sum(index: usize, shape: &BinaryShape<'_>, dx: &mut [f32], term: impl Fn(usize, usize, usize) -> f32 + Sync) {
    let [operand, result] = [shape.operands[index], shape.result].map(|shape| shape.iter().product::<usize>());
    check_len("dx", dx, shape.samples * operand);
    if operand == result {
        let rows = BroadcastRows::new(shape.samples, shape.operands, shape.result);
        let [stride_a, stride_b] = rows.strides;
        dx.par_chunks_mut(CHUNK).enumerate().for_each(|(chunk, dx)| {
            rows.visit(chunk * CHUNK, dx.len(), |start, length, [a, b]| {
                for (i, dx) in dx[start..][..length].iter_mut().enumerate() {
                    *dx = term(a + i * stride_a, b + i * stride_b, chunk * CHUNK + start + i);
                }
            });
        });
        return;
    }
    let sizes = shape.operands.map(|operand| operand.iter().product::<usize>());
    let rows = BroadcastRows::new(1, shape.operands, shape.result);
    dx.par_chunks_mut(operand.max(1)).enumerate().for_each(|(sample, dx)| {
        // Summed in f64, as a sum over an image may have a hundred thousand terms.
        let mut sums = vec![0.0f64; operand];
        rows.visit(0, result, |start, length, offsets| {
            let (at, stride) = (offsets[index], rows.strides[index]);
            let [a, b] = [0, 1].map(|operand| sample * sizes[operand] + offsets[operand]);
            for i in 0..length {
                let y = sample * result + start + i;
                sums[at + i * stride] += f64::from(term(a + i * rows.strides[0], b + i * rows.strides[1], y));
            }
        });
        dx.iter_mut().zip(&sums).for_each(|(dx, &sum)| *dx = sum as f32);
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, assert_same_for_any_threads, uniform};

    const FUNCTIONS: [Binary; 16] = [
        Binary::Add,
        Binary::Subtract,
        Binary::Multiply,
        Binary::Divide,
        Binary::FloorDivide,
        Binary::Mod,
        Binary::Power,
        Binary::Maximum,
        Binary::Minimum,
        Binary::Equal,
        Binary::NotEqual,
        Binary::Greater,
        Binary::GreaterEqual,
        Binary::Less,
        Binary::LessEqual,
        Binary::Mask,
    ];

    /// The value in f64 from its definition.
    fn value(function: Binary, a: f64, b: f64) -> f64 {
        let flag = |condition: bool| f64::from(u8::from(condition));
        match function {
            Binary::Add => a + b,
            Binary::Subtract => a - b,
            Binary::Multiply => a * b,
            Binary::Divide => a / b,
            Binary::FloorDivide => (a / b).floor(),
            Binary::Mod => a - b * (a / b).floor(),
            Binary::Power => a.powf(b),
            Binary::Maximum => a.max(b),
            Binary::Minimum => a.min(b),
            Binary::Equal => flag(a == b),
            Binary::NotEqual => flag(a != b),
            Binary::Greater => flag(a > b),
            Binary::GreaterEqual => flag(a >= b),
            Binary::Less => flag(a < b),
            Binary::LessEqual => flag(a <= b),
            Binary::Mask => a * flag(b != 0.0),
        }
    }

    /// The index of the value of an operand that element `index` of the result reads, counted axis by axis.
    fn source(operand: &[usize], result: &[usize], mut index: usize) -> usize {
        let (mut offset, mut stride) = (0, 1);
        for (own, size) in operand.iter().zip(result).rev() {
            offset += index % size % own * stride;
            index /= size;
            stride *= own;
        }
        offset
    }

    #[test]
    fn values_and_gradients_agree_with_plain_loops() {
        let shapes: [[&[usize]; 3]; 7] = [
            [&[2, 3, 4], &[2, 3, 4], &[2, 3, 4]],
            [&[2, 3, 4], &[1, 1, 4], &[2, 3, 4]],
            [&[1, 1, 1], &[2, 3, 4], &[2, 3, 4]],
            [&[2, 1, 4], &[1, 3, 1], &[2, 3, 4]],
            [&[2, 3, 1], &[2, 1, 4], &[2, 3, 4]],
            [&[1], &[1], &[1]],
            [&[1, 1], &[1, 1], &[1, 1]],
        ];
        for [a_shape, b_shape, result] in shapes {
            let shape = BinaryShape { samples: 2, operands: [a_shape, b_shape], result };
            let [a_len, b_len, y_len] = [a_shape, b_shape, result].map(|shape| shape.iter().product::<usize>());
            // Positive and far from 0, so that quotients and powers stay of order 1.
            let a: Vec<f32> = uniform(2 * a_len, 1).iter().map(|a| 1.5 + a).collect();
            let b: Vec<f32> = uniform(2 * b_len, 2).iter().map(|b| 1.7 + b).collect();
            let dy = uniform(2 * y_len, 3);
            for function in FUNCTIONS {
                let (mut y, mut expected) = (vec![f32::NAN; 2 * y_len], Vec::new());
                let (mut da, mut db) = (vec![f32::NAN; a.len()], vec![f32::NAN; b.len()]);
                let mut sums = [vec![0.0f64; a.len()], vec![0.0f64; b.len()]];
                binary(function, &shape, &a, &b, &mut y);
                binary_gradient(function, 0, &shape, &a, &b, &dy, &mut da);
                binary_gradient(function, 1, &shape, &a, &b, &dy, &mut db);
                for (i, &dy) in dy.iter().enumerate() {
                    let j = i / y_len * a_len + source(a_shape, result, i % y_len);
                    let k = i / y_len * b_len + source(b_shape, result, i % y_len);
                    let (a, b, step) = (f64::from(a[j]), f64::from(b[k]), 1e-6);
                    expected.push(value(function, a, b) as f32);
                    let slope = |da: f64, db: f64| {
                        (value(function, a + da, b + db) - value(function, a - da, b - db)) / (2.0 * step)
                    };
                    sums[0][j] += slope(step, 0.0) * f64::from(dy);
                    sums[1][k] += slope(0.0, step) * f64::from(dy);
                }
                assert_close(&y, &expected, 1e-6);
                for (found, sums) in [(&da, &sums[0]), (&db, &sums[1])] {
                    assert_close(found, &sums.iter().map(|&sum| sum as f32).collect::<Vec<_>>(), 1e-4);
                }
            }
        }
    }

    fn of(function: Binary, a: f32, b: f32) -> f32 {
        let mut y = [0.5];
        binary(function, &BinaryShape { samples: 1, operands: [&[], &[]], result: &[] }, &[a], &[b], &mut y);
        y[0]
    }

    #[test]
    fn signs_and_numbers_that_are_none() {
        let remainders = [(5.0, 3.0), (-5.0, 3.0), (5.0, -3.0), (-5.0, -3.0), (6.0, 3.0)];
        assert_eq!(remainders.map(|(a, b)| of(Binary::Mod, a, b)), [2.0, 1.0, -1.0, -2.0, 0.0]);
        assert_eq!(of(Binary::FloorDivide, -5.0, 3.0), -2.0);
        for function in [Binary::Maximum, Binary::Minimum] {
            assert!(of(function, f32::NAN, 1.0).is_nan() && of(function, 1.0, f32::NAN).is_nan());
        }
        assert_eq!((of(Binary::Mask, f32::NAN, 0.0), of(Binary::Mask, 2.0, -1.0)), (0.0, 2.0));
    }

    #[test]
    fn the_first_of_equals_gets_the_gradient() {
        let shape = BinaryShape { samples: 1, operands: [&[], &[]], result: &[] };
        for function in [Binary::Maximum, Binary::Minimum] {
            let gradient = |index| {
                let mut dx = [f32::NAN];
                binary_gradient(function, index, &shape, &[2.0], &[2.0], &[3.0], &mut dx);
                dx[0]
            };
            assert_eq!((gradient(0), gradient(1)), (3.0, 0.0));
        }
    }

    #[test]
    fn same_bits_for_any_number_of_threads() {
        let (a, b) = (uniform(3 * 40_000, 1), uniform(3 * 200, 2));
        let shape = BinaryShape { samples: 3, operands: [&[200, 200], &[1, 200]], result: &[200, 200] };
        assert_same_for_any_threads(|| {
            let (mut y, mut db) = (vec![0.0; a.len()], vec![0.0; b.len()]);
            binary(Binary::Divide, &shape, &a, &b, &mut y);
            binary_gradient(Binary::Divide, 1, &shape, &a, &b, &y, &mut db);
            [y, db].concat()
        });
    }

    #[test]
    fn empty_batches() {
        let shape = BinaryShape { samples: 0, operands: [&[2], &[1]], result: &[2] };
        binary(Binary::Add, &shape, &[], &[], &mut []);
        binary_gradient(Binary::Add, 1, &shape, &[], &[], &[], &mut []);
    }
}
