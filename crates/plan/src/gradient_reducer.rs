//! [`GradientReducer`]: sums gradients over replicas in data-parallel training.

use engraft_nn::{Error, Result, Weight};

/// The position of a replica's samples in the global batch, which is the batch of all replicas together.
///
/// ```
/// use engraft_plan::BatchPlace;
/// // Four replicas of 8 samples each: the third starts at sample 16.
/// let place = |replica: usize| BatchPlace { first: 8 * replica, total: 4 * 8 };
/// assert_eq!(place(2), BatchPlace { first: 16, total: 32 });
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchPlace {
    /// Index of the replica's first sample. Random layers draw by a sample's index in the global batch.
    pub first: usize,
    /// The number of samples of all replicas. The loss is the mean over all of them.
    pub total: usize,
}

/// Sums gradients over replicas that compute parts of one batch: processes, machines, or sessions in one process.
///
/// A session [offers](Self::offer) the gradient with respect to each weight as soon as it is final, during the backward pass.
/// After the pass it [collects](Self::collect) the sums. Both happen in the same order on every replica. A reducer that
/// communicates in the background starts in `offer`; a simple one does all its work in `collect`.
///
/// Each gradient is already divided by the number of samples of the *global* batch, so the reducer only adds. The gradients that
/// it sums lack the regularization penalties: [`Session::apply`](crate::Session::apply) adds their gradients once, to the sum.
///
/// ```
/// use std::sync::mpsc::{Receiver, Sender, channel};
/// use engraft_nn::prelude::*;
/// use engraft_nn::{Error, Result, Weight};
/// use engraft_plan::{BatchPlace, GradientReducer};
///
/// /// One of two replicas in a process. Each sends its gradients to the other.
/// struct Replica {
///     number: usize,
///     to_other: Option<Sender<Vec<f32>>>,
///     from_other: Receiver<Vec<f32>>,
/// }
///
/// impl GradientReducer for Replica {
///     fn place(&self, samples: usize) -> BatchPlace {
///         BatchPlace { first: self.number * samples, total: 2 * samples }
///     }
///     fn offer(&mut self, weight: &Weight, gradient: &[f32]) -> Result<()> {
///         let sent = self.to_other.as_ref().and_then(|other| other.send(gradient.to_vec()).ok());
///         sent.ok_or_else(|| Error::because(weight.path(), "the other replica has ended"))
///     }
///     fn collect(&mut self, weight: &Weight, gradient: &mut [f32]) -> Result<()> {
///         let other = self.from_other.recv();
///         let other = other.map_err(|error| Error::because(weight.path(), "the other replica has failed").caused_by(error))?;
///         gradient.iter_mut().zip(other).for_each(|(sum, gradient)| *sum += gradient);
///         Ok(())
///     }
///     fn abort(&mut self, _error: &Error) {
///         // Closes the channel, so that the other replica doesn't wait.
///         self.to_other = None;
///     }
/// }
///
/// let ((to_second, from_first), (to_first, from_second)) = (channel(), channel());
/// let mut first = Replica { number: 0, to_other: Some(to_second), from_other: from_second };
/// let mut second = Replica { number: 1, to_other: Some(to_first), from_other: from_first };
/// assert!(first.needs_gradients());
/// assert_eq!(second.place(8), BatchPlace { first: 8, total: 16 });
///
/// // Sessions make these calls.
/// let model = Sequential::new().add(Input::new([2])).add(Dense::new(1)).build()?;
/// let (weight, mut gradient) = (&model.weights()[0], [1.0, 2.0]);
/// first.offer(weight, &gradient)?;
/// second.offer(weight, &[3.0, 4.0])?;
/// first.collect(weight, &mut gradient)?;
/// assert_eq!(gradient, [4.0, 6.0]);
///
/// second.abort(&Error::because("training step", "the loss is not finite"));
/// assert!(first.collect(weight, &mut gradient).is_err());
/// # Ok::<(), engraft_nn::Error>(())
/// ```
pub trait GradientReducer: Send {
    /// The position in the global batch of `samples` samples of this replica.
    fn place(&self, samples: usize) -> BatchPlace;

    /// Receives this replica's final gradient with respect to `weight`, during the backward pass. By default it does nothing.
    ///
    /// # Errors
    /// The gradient can't be sent. The step ends and changes nothing.
    fn offer(&mut self, _weight: &Weight, _gradient: &[f32]) -> Result<()> {
        Ok(())
    }

    /// Replaces an offered gradient with the sum over all replicas. Called for each offered gradient, in the same order, after
    /// the backward pass.
    ///
    /// # Errors
    /// A replica can't be reached. The step ends and changes nothing.
    fn collect(&mut self, weight: &Weight, gradient: &mut [f32]) -> Result<()>;

    /// Replaces sums over this replica's samples by sums over all replicas, for batch normalization that is synchronized across
    /// replicas. By default the sums stay: each replica normalizes by the statistics of its own samples.
    ///
    /// Batch normalization calls it in the forward and in the backward pass.
    ///
    /// ```
    /// use engraft_plan::{GradientReducer, SingleReplica};
    /// let mut sums = [3.0, 5.0];
    /// SingleReplica.sum_statistics(&mut sums)?;
    /// assert_eq!(sums, [3.0, 5.0]);
    /// # Ok::<(), engraft_nn::Error>(())
    /// ```
    ///
    /// # Errors
    /// A replica can't be reached.
    fn sum_statistics(&mut self, _sums: &mut [f64]) -> Result<()> {
        Ok(())
    }

    /// Called with every error of this replica's [`forward_backward`](crate::Session::forward_backward), such as a loss that is
    /// not finite. The reducer then tells the replicas that wait for it.
    ///
    /// A training loop also calls it with its own errors, such as a sample that can't be read. It may pass on the error of a
    /// step, so `abort` may be called twice with one error.
    fn abort(&mut self, _error: &Error) {}

    /// Whether the reducer needs complete gradients. If so, sessions refuse plans that
    /// [fold updates](crate::PlanOptions::fold_updates): a folded gradient never exists as a whole.
    fn needs_gradients(&self) -> bool {
        true
    }
}

/// The reducer for training without other replicas: gradients stay as they are.
///
/// ```
/// use engraft_plan::{GradientReducer, SingleReplica};
/// assert_eq!(SingleReplica.place(32).total, 32);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct SingleReplica;

impl GradientReducer for SingleReplica {
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
