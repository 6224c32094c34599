//! [`Array`]: n-dimensional arrays of f64.

use std::ops::{Index, IndexMut};

use engraft_nn::{Error, Result, Tensor};

/// A dense array of f64 in row-major order. The first axis of an operation's input or output is the batch.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Array {
    shape: Vec<usize>,
    data: Vec<f64>,
}

impl Array {
    pub(crate) fn new(shape: impl Into<Vec<usize>>, data: Vec<f64>) -> Self {
        let shape = shape.into();
        assert_eq!(shape.iter().product::<usize>(), data.len(), "values for shape {shape:?}");
        Self { shape, data }
    }

    pub(crate) fn zeros(shape: impl Into<Vec<usize>>) -> Self {
        let shape = shape.into();
        let data = vec![0.0; shape.iter().product()];
        Self { shape, data }
    }

    /// The array that holds `value(position)` at every position.
    pub(crate) fn from_fn<const N: usize>(shape: [usize; N], value: impl FnMut([usize; N]) -> f64) -> Self {
        Self { shape: shape.to_vec(), data: positions(shape).map(value).collect() }
    }

    pub(crate) fn from_f32(shape: impl Into<Vec<usize>>, data: &[f32]) -> Self {
        Self::new(shape, data.iter().copied().map(f64::from).collect())
    }

    /// The values rounded to f32.
    pub(crate) fn to_f32(&self) -> Vec<f32> {
        self.data.iter().map(|&value| value as f32).collect()
    }

    /// A tensor of the values, each rounded from f64 to f32.
    pub(crate) fn to_tensor(&self) -> Result<Tensor> {
        Tensor::new(self.shape.clone(), self.to_f32())
    }

    pub(crate) fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The shape as an array of `N` sizes.
    ///
    /// # Errors
    /// Where the array has another number of axes than `N`.
    pub(crate) fn sizes<const N: usize>(&self) -> Result<[usize; N]> {
        sizes(&self.shape)
    }

    pub(crate) fn data(&self) -> &[f64] {
        &self.data
    }

    pub(crate) fn data_mut(&mut self) -> &mut [f64] {
        &mut self.data
    }

    /// The same values in another shape.
    pub(crate) fn reshaped(&self, shape: impl Into<Vec<usize>>) -> Self {
        Self::new(shape, self.data.clone())
    }

    /// The values as a matrix: all axes before the last are merged into one.
    pub(crate) fn as_rows(&self) -> Self {
        let width = self.shape.last().copied().unwrap_or(1);
        self.reshaped([self.data.len() / width.max(1), width])
    }

    pub(crate) fn map(&self, function: impl Fn(f64) -> f64) -> Self {
        Self { shape: self.shape.clone(), data: self.data.iter().map(|&value| function(value)).collect() }
    }

    /// Applies `function` to each pair of values at the same position of two arrays of one shape.
    pub(crate) fn zip(&self, other: &Self, function: impl Fn(f64, f64) -> f64) -> Self {
        assert_eq!(self.shape, other.shape);
        let data = self.data.iter().zip(&other.data).map(|(&a, &b)| function(a, b)).collect();
        Self { shape: self.shape.clone(), data }
    }

    pub(crate) fn add(&mut self, other: &Self) {
        *self = self.zip(other, |a, b| a + b);
    }

    fn offset(&self, position: &[usize]) -> usize {
        debug_assert!(
            position.len() == self.shape.len() && position.iter().zip(&self.shape).all(|(at, size)| at < size)
        );
        position.iter().zip(&self.shape).fold(0, |offset, (at, size)| offset * size + at)
    }
}

impl<const N: usize> Index<[usize; N]> for Array {
    type Output = f64;
    fn index(&self, position: [usize; N]) -> &f64 {
        &self.data[self.offset(&position)]
    }
}

impl<const N: usize> IndexMut<[usize; N]> for Array {
    fn index_mut(&mut self, position: [usize; N]) -> &mut f64 {
        let offset = self.offset(&position);
        &mut self.data[offset]
    }
}

impl Index<&[usize]> for Array {
    type Output = f64;
    fn index(&self, position: &[usize]) -> &f64 {
        &self.data[self.offset(position)]
    }
}

impl IndexMut<&[usize]> for Array {
    fn index_mut(&mut self, position: &[usize]) -> &mut f64 {
        let offset = self.offset(position);
        &mut self.data[offset]
    }
}

/// Converts a shape to an array of `N` sizes.
///
/// # Errors
/// Where the shape has another number of axes than `N`.
pub(crate) fn sizes<const N: usize>(shape: &[usize]) -> Result<[usize; N]> {
    shape.try_into().map_err(|_| Error::new("value", format_args!("{N} axes"), format_args!("shape {shape:?}")))
}

/// Every position in an array of this shape, the last axis fastest.
pub(crate) fn positions<const N: usize>(shape: [usize; N]) -> impl Iterator<Item = [usize; N]> {
    (0..shape.iter().product()).map(move |index| {
        let mut rest = index;
        let mut position = [0; N];
        for (at, size) in position.iter_mut().zip(shape).rev() {
            *at = rest % size;
            rest /= size;
        }
        position
    })
}

/// [`positions`] for a number of axes that is known only at run time.
pub(crate) fn positions_of(shape: &[usize]) -> impl Iterator<Item = Vec<usize>> {
    (0..shape.iter().product()).map(move |index| {
        let mut rest = index;
        let mut position = vec![0; shape.len()];
        for (at, size) in position.iter_mut().zip(shape).rev() {
            *at = rest % size;
            rest /= size;
        }
        position
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_axis_is_the_fastest() {
        let array = Array::from_fn([2, 3], |[row, column]| (10 * row + column) as f64);
        assert_eq!(array.data(), [0.0, 1.0, 2.0, 10.0, 11.0, 12.0]);
        assert_eq!((array[[1, 2]], array[[1usize, 0].as_slice()]), (12.0, 10.0));
        assert!(positions_of(&[2, 3]).eq(positions([2, 3]).map(Vec::from)));
        assert_eq!(positions_of(&[]).collect::<Vec<_>>(), [Vec::<usize>::new()], "a scalar has one position");
        assert!(array.sizes::<3>().unwrap_err().to_string().contains("expected 3 axes, received shape [2, 3]"));
    }
}
