//! [`Tensor`]: concrete values, as they go into a model and come out of it.

use crate::{Error, Result};

/// A dense array of f32 in row-major order (last axis fastest).
///
/// Images are `[batch, height, width, channels]` with RGB values in 0..=255.
///
/// ```
/// use engraft_nn::Tensor;
/// let mut x = Tensor::new([2, 3], vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0])?;
/// assert_eq!(x.shape(), [2, 3]);
/// assert_eq!(x.batch(), 2, "samples");
/// assert_eq!(x.row(1), [3.0, 4.0, 5.0]);
/// x.data_mut()[0] = 7.0;
/// assert_eq!(x.data()[..3], [7.0, 1.0, 2.0]);
/// assert_eq!(x.into_data().len(), 6);
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    shape: Vec<usize>,
    data: Vec<f32>,
}

impl Tensor {
    /// A tensor with this shape and these values, in row-major order.
    ///
    /// # Errors
    /// A number of values other than the product of the sizes in `shape`.
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
    ///
    /// ```
    /// use engraft_nn::Tensor;
    /// let batch = Tensor::zeros([8, 224, 224, 3]);
    /// assert_eq!(batch.data().len(), 8 * 224 * 224 * 3);
    /// ```
    pub fn zeros(shape: impl Into<Vec<usize>>) -> Self {
        let shape = shape.into();
        let data = vec![0.0; shape.iter().product()];
        Self { shape, data }
    }

    /// The size of each axis.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The size of the first axis, which is the number of samples of a batch; 1 for a scalar.
    pub fn batch(&self) -> usize {
        self.shape.first().copied().unwrap_or(1)
    }

    /// All values, in row-major order.
    pub fn data(&self) -> &[f32] {
        &self.data
    }

    /// All values, for changes in place.
    pub fn data_mut(&mut self) -> &mut [f32] {
        &mut self.data
    }

    /// Takes the values out of the tensor.
    pub fn into_data(self) -> Vec<f32> {
        self.data
    }

    /// A copy of the samples `first..first + count`; the range is cut off at the last sample.
    ///
    /// ```
    /// use engraft_nn::Tensor;
    /// let x = Tensor::new([3, 1], vec![1.0, 2.0, 3.0])?;
    /// assert_eq!(x.samples(1, 5)?.data(), [2.0, 3.0]);
    /// # Ok::<(), engraft_nn::Error>(())
    /// ```
    ///
    /// # Errors
    /// A scalar, which has no samples.
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
    /// If `index` isn't less than [`batch`](Self::batch).
    pub fn row(&self, index: usize) -> &[f32] {
        let size = self.data.len() / self.batch().max(1);
        &self.data[index * size..][..size]
    }
}
