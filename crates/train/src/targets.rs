//! [`Targets`]: converts one-hot targets to the form that a loss expects.

use engraft_data::{Batch, Dataset};
use engraft_nn::{Loss, LossKind, Model, Result, Tensor};

/// A dataset whose one-hot targets are converted to the form that a model's loss expects: one-hot rows, class indices, or 0 and
/// 1.
///
/// ```
/// use engraft_data::{Arrays, Dataset};
/// use engraft_nn::prelude::*;
/// use engraft_train::Targets;
/// let model = Sequential::new().add(Input::new([1])).add(Dense::new(1).activation(Sigmoid)).build()?;
/// let one_hot = Tensor::new([2, 2], vec![1.0, 0.0, 0.0, 1.0])?;
/// let data = Arrays::new(Tensor::zeros([2, 1]), one_hot)?;
/// let data = Targets::new(data, &model, &Loss::binary_crossentropy());
/// assert_eq!(data.batch(&[0, 1])?.y.data(), [0.0, 1.0]);
///
/// // Another dataset with the same conversion.
/// let other = Arrays::new(Tensor::zeros([1, 1]), Tensor::new([1, 2], vec![0.0, 1.0])?)?;
/// assert_eq!(data.map(|_| other).batch(&[0])?.y.data(), [1.0]);
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Debug)]
pub struct Targets<D> {
    /// The dataset with one-hot targets.
    pub dataset: D,
    /// Whether targets are class indices instead of rows: for sparse losses and for a single output.
    indices: bool,
}

impl<D: Dataset> Targets<D> {
    /// Converts the targets of `dataset` for `model`, compiled with `loss`.
    pub fn new(dataset: D, model: &Model, loss: &Loss) -> Self {
        let single = model.output_shape() == &[1];
        Self { dataset, indices: loss.kind() == LossKind::SparseCategoricalCrossentropy || single }
    }

    /// Replaces the dataset by the result of `change`; the conversion stays the same.
    pub fn map(self, change: impl FnOnce(D) -> D) -> Self {
        Self { dataset: change(self.dataset), ..self }
    }
}

impl<D: Dataset> Dataset for Targets<D> {
    fn len(&self) -> usize {
        self.dataset.len()
    }

    fn batch(&self, indices: &[usize]) -> Result<Batch> {
        let batch = self.dataset.batch(indices)?;
        if !self.indices {
            return Ok(batch);
        }
        let class = |row: usize| batch.y.row(row).iter().position(|&share| share == 1.0).unwrap_or(0) as f32;
        let y = Tensor::new([indices.len(), 1], (0..indices.len()).map(class).collect())?;
        Ok(Batch { x: batch.x, y })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engraft_data::Arrays;
    use engraft_nn::prelude::*;

    fn targets(outputs: usize, loss: Loss) -> Vec<f32> {
        let x = Tensor::zeros([3, 2]);
        let y = Tensor::new([3, 2], vec![0.0, 1.0, 1.0, 0.0, 0.0, 1.0]).unwrap();
        let model = Sequential::new().add(Input::new([2])).add(Dense::new(outputs)).build().unwrap();
        Targets::new(Arrays::new(x, y).unwrap(), &model, &loss).batch(&[0, 1]).unwrap().y.into_data()
    }

    #[test]
    fn each_loss_gets_its_form() {
        assert_eq!(targets(2, Loss::categorical_crossentropy()), [0.0, 1.0, 1.0, 0.0]);
        assert_eq!(targets(2, Loss::sparse_categorical_crossentropy()), [1.0, 0.0]);
        assert_eq!(targets(1, Loss::binary_crossentropy()), [1.0, 0.0]);
    }
}
