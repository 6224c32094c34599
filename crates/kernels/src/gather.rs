//! Selection of slices along an axis by constant indices.

use rayon::prelude::*;

use crate::chunks::check_len;

/// Selects slices along an axis: slice `i` of `y` is slice `indices[i]` of `x`.
///
/// `x` has `size` slices of `inner` values each along the axis; the axes before it, the batch included, are merged.
///
/// ```
/// use engraft_kernels::gather;
/// // Two rows of three columns: the last column twice, and the first.
/// let mut y = [0.0; 6];
/// gather(3, 1, &[2, 2, 0], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], &mut y);
/// assert_eq!(y, [3.0, 3.0, 1.0, 6.0, 6.0, 4.0]);
/// ```
///
/// # Panics
/// If an index isn't below `size`.
pub fn gather(size: usize, inner: usize, indices: &[usize], x: &[f32], y: &mut [f32]) {
    let [from, to] = blocks(size, inner, indices);
    check_len("y", y, x.len() / from * to);
    y.par_chunks_mut(to).zip(x.par_chunks(from)).for_each(|(y, x)| {
        for (y, &index) in y.chunks_exact_mut(inner).zip(indices) {
            y.copy_from_slice(&x[index * inner..][..inner]);
        }
    });
}

/// The gradient of [`gather`]: each slice of `dx` is the sum of the slices of `dy` that were selected from it.
///
/// ```
/// use engraft_kernels::gather_gradient;
/// let mut dx = [9.0; 3];
/// gather_gradient(3, 1, &[2, 2, 0], &[1.0, 2.0, 4.0], &mut dx);
/// assert_eq!(dx, [4.0, 0.0, 3.0]);
/// ```
///
/// # Panics
/// If an index isn't below `size`.
pub fn gather_gradient(size: usize, inner: usize, indices: &[usize], dy: &[f32], dx: &mut [f32]) {
    let [from, to] = blocks(size, inner, indices);
    check_len("dx", dx, dy.len() / to * from);
    dx.par_chunks_mut(from).zip(dy.par_chunks(to)).for_each(|(dx, dy)| {
        dx.fill(0.0);
        for (dy, &index) in dy.chunks_exact(inner).zip(indices) {
            dx[index * inner..][..inner].iter_mut().zip(dy).for_each(|(dx, dy)| *dx += dy);
        }
    });
}

/// Values of all slices along the axis, before and after the selection.
fn blocks(size: usize, inner: usize, indices: &[usize]) -> [usize; 2] {
    assert!(size > 0 && inner > 0 && !indices.is_empty(), "there must be slices to select");
    assert!(indices.iter().all(|&index| index < size), "indices must be below {size}");
    [size * inner, indices.len() * inner]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{dot, integers};

    #[test]
    fn slices_of_several_values() {
        let x = integers(2 * 3 * 2, 1);
        let mut y = [f32::NAN; 2 * 4 * 2];
        gather(3, 2, &[1, 0, 1, 2], &x, &mut y);
        for (block, slice, source) in [(0, 0, 1), (0, 1, 0), (0, 3, 2), (1, 2, 1)] {
            assert_eq!(y[block * 8 + slice * 2..][..2], x[block * 6 + source * 2..][..2]);
        }
    }

    #[test]
    fn the_gradient_is_the_transpose() {
        // For a linear map A, <A x, dy> = <x, A' dy>.
        let (x, dy, indices) = (integers(4 * 3 * 5, 1), integers(4 * 7 * 5, 2), [0, 2, 2, 1, 0, 0, 2]);
        let (mut y, mut dx) = (vec![f32::NAN; dy.len()], vec![f32::NAN; x.len()]);
        gather(3, 5, &indices, &x, &mut y);
        gather_gradient(3, 5, &indices, &dy, &mut dx);
        assert_eq!(dot(&y, &dy), dot(&x, &dx));
        gather(3, 5, &indices, &[], &mut []);
    }

    #[test]
    #[should_panic(expected = "indices must be below 3")]
    fn indices_beyond_the_axis() {
        gather(3, 1, &[3], &[0.0; 3], &mut [0.0]);
    }
}
