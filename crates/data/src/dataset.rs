//! [`Dataset`], the interface through which training and prediction read samples, and [`Arrays`], a dataset in memory.
//!
//! Photo files are a dataset too: [`PhotoDataset`](crate::PhotoDataset).

use engraft_nn::{Error, Result, Tensor};

/// A batch of n samples: inputs `x` and targets `y`.
///
/// ```
/// use engraft_data::{Arrays, Batch, Dataset};
/// use engraft_nn::Tensor;
///
/// let x = Tensor::new([2, 1], vec![0.5, 0.7])?;
/// let y = Tensor::new([2, 3], vec![0.0, 1.0, 0.0, 1.0, 0.0, 0.0])?;
/// let Batch { x, y } = Arrays::new(x, y)?.batch(&[1])?;
/// assert_eq!(x.data(), [0.7]);
/// // The sample is of class 0 of three.
/// assert_eq!(y.data(), [1.0, 0.0, 0.0]);
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// Inputs, `[n, ...]`; photos are `[n, height, width, 3]`, RGB in 0..=255.
    pub x: Tensor,
    /// Targets, `[n, ...]`; classes are one-hot rows, `[n, classes]`.
    pub y: Tensor,
}

/// Samples that can be read by index in any order, like PyTorch's map-style datasets.
///
/// Training shuffles the indices instead of the data.
///
/// ```
/// use engraft_data::{Batch, Dataset};
/// use engraft_nn::{Result, Tensor};
///
/// /// A hundred points of a sine curve, computed on demand.
/// struct Sine;
///
/// impl Dataset for Sine {
///     fn len(&self) -> usize {
///         100
///     }
///     fn batch(&self, indices: &[usize]) -> Result<Batch> {
///         let x: Vec<f32> = indices.iter().map(|&index| index as f32 / 10.0).collect();
///         let y = x.iter().map(|x| x.sin()).collect();
///         let shape = [indices.len(), 1];
///         Ok(Batch { x: Tensor::new(shape, x)?, y: Tensor::new(shape, y)? })
///     }
/// }
/// assert!(!Sine.is_empty());
/// assert_eq!(Sine.batch(&[5, 0])?.x.data(), [0.5, 0.0]);
/// # Ok::<(), engraft_nn::Error>(())
/// ```
pub trait Dataset: Sync {
    /// The number of samples.
    fn len(&self) -> usize;

    /// Reads the samples at `indices`, in that order; an index may repeat.
    ///
    /// # Errors
    /// Where an index is not below [`len`](Self::len), or a sample can't be read.
    fn batch(&self, indices: &[usize]) -> Result<Batch>;

    /// Whether the dataset has no samples.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A dataset of two arrays in memory, like the NumPy arrays that Keras' `fit(x, y)` takes.
///
/// ```
/// use engraft_data::{Arrays, Dataset};
/// use engraft_nn::Tensor;
///
/// let x = Tensor::new([3, 1], vec![10.0, 20.0, 30.0])?;
/// let y = Tensor::new([3, 2], vec![1.0, 0.0, 0.0, 1.0, 1.0, 0.0])?;
/// let batch = Arrays::new(x, y)?.batch(&[2, 0])?;
/// assert_eq!(batch.x.data(), [30.0, 10.0]);
/// assert_eq!(batch.y.shape(), [2, 2]);
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Arrays {
    x: Tensor,
    y: Tensor,
}

impl Arrays {
    /// Makes a dataset of inputs `x: [n, ...]` and targets `y: [n, ...]`.
    ///
    /// # Errors
    /// Where the first axes of `x` and `y` differ in size, or one of them is a scalar.
    pub fn new(x: Tensor, y: Tensor) -> Result<Self> {
        let samples = |tensor: &Tensor| tensor.shape().first().copied();
        if samples(&x).is_none() || samples(&x) != samples(&y) {
            let received = format!("x {:?} and y {:?}", x.shape(), y.shape());
            return Err(Error::new("Arrays::new", "x and y with the same number of samples (first axis)", received));
        }
        Ok(Self { x, y })
    }
}

impl Dataset for Arrays {
    fn len(&self) -> usize {
        self.x.batch()
    }

    fn batch(&self, indices: &[usize]) -> Result<Batch> {
        check_indices(indices, self.len())?;
        Ok(Batch { x: gather(&self.x, indices)?, y: gather(&self.y, indices)? })
    }
}

/// An error where one of `indices` is not below `len`.
pub(crate) fn check_indices(indices: &[usize], len: usize) -> Result<()> {
    match indices.iter().find(|&&index| index >= len) {
        Some(index) => Err(Error::new("Dataset::batch", format_args!("sample indices below {len}"), index)),
        None => Ok(()),
    }
}

/// The rows of `tensor` at `indices`: `[n, ...] -> [indices.len(), ...]`.
fn gather(tensor: &Tensor, indices: &[usize]) -> Result<Tensor> {
    let mut shape = tensor.shape().to_vec();
    shape[0] = indices.len();
    let rows = indices.iter().flat_map(|&index| tensor.row(index)).copied();
    Tensor::new(shape, rows.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counting(shape: [usize; 2]) -> Tensor {
        Tensor::new(shape, (0..shape[0] * shape[1]).map(|i| i as f32).collect()).unwrap()
    }

    #[test]
    fn a_batch_holds_the_samples_asked_for_in_that_order() {
        let arrays = Arrays::new(counting([4, 3]), counting([4, 2])).unwrap();
        let batch = arrays.batch(&[3, 0, 3]).unwrap();
        assert_eq!(batch.x, Tensor::new([3, 3], vec![9., 10., 11., 0., 1., 2., 9., 10., 11.]).unwrap());
        assert_eq!(batch.y, Tensor::new([3, 2], vec![6., 7., 0., 1., 6., 7.]).unwrap());
        assert_eq!((arrays.len(), arrays.is_empty()), (4, false));
    }

    #[test]
    fn x_and_y_must_hold_equally_many_samples() {
        let error = Arrays::new(counting([4, 3]), counting([3, 3])).unwrap_err().to_string();
        assert!(error.contains("[4, 3]") && error.contains("[3, 3]"), "{error}");
        let scalar = || Tensor::new([], vec![1.0]).unwrap();
        assert!(Arrays::new(scalar(), scalar()).is_err());
    }

    #[test]
    fn a_sample_number_out_of_range_is_an_error() {
        let arrays = Arrays::new(counting([4, 3]), counting([4, 2])).unwrap();
        let error = arrays.batch(&[0, 4]).unwrap_err().to_string();
        assert!(error.contains("below 4, received 4"), "{error}");
    }

    #[test]
    fn nothing_in_nothing_out() {
        let arrays = Arrays::new(Tensor::zeros([0, 3]), Tensor::zeros([0, 2])).unwrap();
        assert!(arrays.is_empty());
        assert_eq!(arrays.batch(&[]).unwrap().x.shape(), [0, 3]);
    }
}
