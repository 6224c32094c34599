//! Concrete values: a shape and its numbers.

use crate::{Error, Result};

/// A dense array of f32 in row-major order (last axis fastest).
///
/// Images are `[batch, height, width, channels]` with RGB values in 0..=255.
///
/// ```
/// use engraft_nn::Tensor;
/// let x = Tensor::new([2, 3], vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0])?;
/// assert_eq!(x.shape(), [2, 3]);
/// assert_eq!(x.row(1), [3.0, 4.0, 5.0]);
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    shape: Vec<usize>,
    data: Vec<f32>,
}

impl Tensor {
    /// A tensor of `shape` holding `data`; an error unless their sizes agree.
    pub fn new(shape: impl Into<Vec<usize>>, data: Vec<f32>) -> Result<Self> {
        let shape = shape.into();
        let elements = shape.iter().try_fold(1usize, |size, &axis| size.checked_mul(axis));
        if elements != Some(data.len()) {
            return Err(Error::new(
                "Tensor::new",
                format_args!("values for shape {shape:?}"),
                format_args!("{} values", data.len()),
            ));
        }
        Ok(Self { shape, data })
    }

    /// A tensor of zeros.
    pub fn zeros(shape: impl Into<Vec<usize>>) -> Self {
        let shape = shape.into();
        let data = vec![0.0; shape.iter().product()];
        Self { shape, data }
    }

    /// The size of each axis.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The size of the first axis: how many samples a batch holds (1 for a scalar).
    pub fn batch(&self) -> usize {
        self.shape.first().copied().unwrap_or(1)
    }

    /// All values.
    pub fn data(&self) -> &[f32] {
        &self.data
    }

    /// All values, to change in place.
    pub fn data_mut(&mut self) -> &mut [f32] {
        &mut self.data
    }

    /// The values, without the shape.
    pub fn into_data(self) -> Vec<f32> {
        self.data
    }

    /// A copy of samples `first..first + count`, fewer at the end.
    ///
    /// ```
    /// use engraft_nn::Tensor;
    /// let x = Tensor::new([3, 1], vec![1.0, 2.0, 3.0])?;
    /// assert_eq!(x.samples(1, 5)?.data(), [2.0, 3.0]);
    /// # Ok::<(), engraft_nn::Error>(())
    /// ```
    ///
    /// # Errors
    /// A scalar, which holds no samples.
    pub fn samples(&self, first: usize, count: usize) -> Result<Self> {
        let Some((&batch, sample)) = self.shape.split_first() else {
            return Err(Error::new("samples", "a tensor with a first axis", "a scalar"));
        };
        let (first, last) = (first.min(batch), first.saturating_add(count).min(batch));
        let size: usize = sample.iter().product();
        let shape = [&[last - first], sample].concat();
        Ok(Self { shape, data: self.data[first * size..last * size].to_vec() })
    }

    /// The values of sample `index` along the first axis.
    ///
    /// # Panics
    /// Where `index` is not below [`batch`](Self::batch).
    pub fn row(&self, index: usize) -> &[f32] {
        let size = self.data.len() / self.batch().max(1);
        &self.data[index * size..][..size]
    }
}
