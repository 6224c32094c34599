//! How gradients of several replicas become one.

use engraft_nn::{Error, Result, Weight};

/// Where a replica's samples stand in the batch of all replicas.
///
/// ```
/// use engraft_plan::BatchPlace;
/// // Four replicas of 8 samples each: the third begins after 16.
/// let place = |replica: usize| BatchPlace { first: 8 * replica, total: 4 * 8 };
/// assert_eq!(place(2), BatchPlace { first: 16, total: 32 });
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchPlace {
    /// Number of the first sample: random layers draw by a sample's place in the global batch.
    pub first: usize,
    /// Samples of all replicas: the loss is their mean.
    pub total: usize,
}

/// Sums gradients over replicas that compute parts of one batch: processes, machines, or sessions in one process.
///
/// A session [offers](Self::offer) the gradient with respect to each weight as soon as it is final, while the backward pass goes
/// on, and [collects](Self::collect) the sums once the pass is over, both in the same order on every replica. A reducer that
/// communicates in the background starts in `offer`; a simple one does all its work in `collect`.
///
/// Each gradient is already divided by the number of samples of the *global* batch, so that a sum is all that is needed. Penalties
/// of regularizers are added after it, once.
///
/// ```
/// use engraft_nn::{Result, Weight};
/// use engraft_plan::{BatchPlace, GradientReducer};
///
/// /// Two replicas that always see the same samples.
/// struct Doubled;
///
/// impl GradientReducer for Doubled {
///     fn place(&self, samples: usize) -> BatchPlace {
///         BatchPlace { first: 0, total: 2 * samples }
///     }
///     fn collect(&mut self, _weight: &Weight, gradient: &mut [f32]) -> Result<()> {
///         gradient.iter_mut().for_each(|g| *g *= 2.0);
///         Ok(())
///     }
/// }
/// assert_eq!(Doubled.place(8).total, 16);
/// ```
pub trait GradientReducer: Send {
    /// Where a batch of `samples` samples of this replica stands in the global batch.
    fn place(&self, samples: usize) -> BatchPlace;

    /// Takes the gradient with respect to `weight`, which is final.
    ///
    /// # Errors
    /// It can't be sent. The step ends, and nothing is changed.
    fn offer(&mut self, _weight: &Weight, _gradient: &[f32]) -> Result<()> {
        Ok(())
    }

    /// Replaces a gradient that was offered by the sum over all replicas. Called for each that was offered, in that order, after
    /// the last.
    ///
    /// # Errors
    /// A replica can't be reached. The step ends, and nothing is changed.
    fn collect(&mut self, weight: &Weight, gradient: &mut [f32]) -> Result<()>;

    /// Replaces sums over this replica's samples by those over all replicas' in batch normalization, forward and backward, so
    /// that it normalizes by the statistics of the global batch. By default they stay: each replica uses its own.
    ///
    /// # Errors
    /// A replica can't be reached.
    fn sum_statistics(&mut self, _sums: &mut [f64]) -> Result<()> {
        Ok(())
    }

    /// Called when this replica's step has failed, by a loss that is not finite, say: others that wait for it must be told.
    fn abort(&mut self, _error: &Error) {}

    /// Whether gradients must exist as a whole to be summed. A plan that
    /// [folds updates](crate::PlanOptions::fold_updates) is refused then.
    fn needs_gradients(&self) -> bool {
        true
    }
}

/// The only replica there is: nothing is summed.
///
/// ```
/// use engraft_plan::{GradientReducer, Local};
/// assert_eq!(Local.place(32).total, 32);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Local;

impl GradientReducer for Local {
    fn place(&self, samples: usize) -> BatchPlace {
        BatchPlace { first: 0, total: samples }
    }

    fn collect(&mut self, _weight: &Weight, _gradient: &mut [f32]) -> Result<()> {
        Ok(())
    }

    fn needs_gradients(&self) -> bool {
        false
    }
}
