//! [`Cost`]: the multiply-accumulates of fine-tuning, and the epochs that a budget allows.

use super::checkpoints::SNAPSHOTS;
use super::trial::PARTS;
use crate::Result;
use crate::plan::{Plan, PlanOptions};
use crate::prelude::*;
use crate::recipe::Partition;
use crate::recipe::macs::macs;

/// Photos of a step.
pub(super) const BATCH: usize = 32;

/// The fewest steps on all photos that are worth a try. With fewer, the weights hardly move.
const MIN_STEPS: usize = 100;

/// Passes over the photos beyond which fine-tuning of so few photos only overfits.
const MAX_EPOCHS: usize = 30;

/// The cost of fine-tuning in all folds, in multiply-accumulates.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Cost {
    photos: usize,
    /// The features of all photos: the unit of the budget.
    features: f64,
    /// The outputs of the frozen layers, and the comparison of snapshots.
    once: f64,
    /// One epoch in all trials, and in their repetitions if all of them are repeated.
    epoch: f64,
    /// One photo in a training step.
    pub(super) step: f64,
}

impl Cost {
    /// The cost for a network in two parts, `photos` training photos and so many folds.
    pub(super) fn of(parts: &Partition, photos: usize, folds: usize) -> Result<Self> {
        let options = PlanOptions::default();
        let [lower, upper] =
            [&parts.lower, &parts.upper].map(|part| Plan::predict(part, 1, &options).map(|plan| macs(&plan)));
        let (lower, upper) = (lower?, upper?);
        let training =
            Plan::train(&parts.upper, Adam::new(1e-3).into(), Loss::categorical_crossentropy(), 1, 0, &options)?;
        Ok(Self::new([lower, upper, macs(&training)], photos, folds))
    }

    fn new([lower, upper, step]: [f64; 3], photos: usize, folds: usize) -> Self {
        let n = photos as f64;
        // The training parts of k folds have k - 1 times all photos together. All photos are one more part.
        let parts = folds as f64;
        let validation = 1.0 / PARTS as f64;
        Self {
            photos,
            features: n * (lower + upper),
            // Two halves and all of the validation photos follow the snapshots.
            once: n * lower + (SNAPSHOTS + 4) as f64 * validation * parts * n * upper,
            epoch: n * parts * (1.0 - validation + 1.0) * step,
            step,
        }
    }

    /// The epochs of [`MIN_STEPS`].
    fn least_epochs(&self) -> usize {
        MIN_STEPS.div_ceil(self.photos.div_ceil(BATCH).max(1))
    }

    /// The multiply-accumulates of the fewest useful epochs.
    pub(super) fn least_macs(&self) -> f64 {
        self.once + self.least_epochs() as f64 * self.epoch
    }

    /// The most epochs within a multiple of the features; `None` if they are too few to be useful.
    pub(super) fn epochs(&self, multiple: f64) -> Option<usize> {
        let affordable = ((multiple * self.features - self.once) / self.epoch).max(0.0) as usize;
        let least = self.least_epochs();
        (affordable >= least).then(|| affordable.min(MAX_EPOCHS.max(least)))
    }

    /// Multiply-accumulates as a multiple of the features.
    pub(super) fn features_in(&self, macs: f64) -> f64 {
        macs / self.features
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_photos_need_many_epochs_and_so_a_larger_budget() {
        // A network of 100 below the last block and 20 in it; a step costs 60.
        let cost = |photos| Cost::new([100.0, 20.0, 60.0], photos, 5);
        assert_eq!([320, 3200, 32_000].map(|photos| cost(photos).least_epochs()), [10, 1, 1]);
        assert_eq!(cost(320).epochs(10.0), None);
        let least = cost(320).features_in(cost(320).least_macs());
        assert_eq!((cost(320).epochs(least - 1e-6), cost(320).epochs(least + 1e-6)), (None, Some(10)));
        assert!(cost(3200).epochs(10.0).is_some_and(|epochs| epochs >= 1));
        assert_eq!(cost(320).epochs(1e9), Some(MAX_EPOCHS));
        assert_eq!((cost(3).epochs(1e9), cost(0).epochs(1e9)), (Some(100), None));
    }
}
