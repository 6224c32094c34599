//! [`Checkpoints`]: a callback that keeps weights near the pretrained ones and takes snapshots during fine-tuning.

use crate::train::{BatchEnd, Callback, Training};
use crate::{Result, Weight};

use crate::recipe::Interrupt;

/// How far each step of the full learning rate moves a weight of the block back to its pretrained value: decoupled L2-SP (Li et
/// al. 2018, arXiv 1802.01483), as AdamW's weight decay moves it to 0.
const PULL: f32 = 0.01;

/// The learning rate of the head, as a multiple of the block's.
const HEAD_RATE: f32 = 10.0;

/// The number of snapshots of a run.
pub(super) const SNAPSHOTS: usize = 8;

/// Weights of the block and of the head at one step.
pub(super) type Snapshot = Vec<Vec<f32>>;

/// A weight with the values that it had before fine-tuning.
#[derive(Debug)]
pub(super) struct Pretrained {
    pub(super) weight: Weight,
    pub(super) values: Vec<f32>,
}

impl Pretrained {
    pub(super) fn new(weight: Weight) -> Self {
        let values = weight.values().clone();
        Self { weight, values }
    }
}

/// Corrects each step, and takes [`SNAPSHOTS`] snapshots, evenly spaced.
pub(super) struct Checkpoints<'a> {
    pub(super) block: &'a [Pretrained],
    pub(super) head: &'a [Weight],
    /// The head before the step.
    pub(super) head_before: Vec<Vec<f32>>,
    /// The highest learning rate of the schedule.
    pub(super) peak: f64,
    pub(super) steps: u64,
    pub(super) snapshots: Vec<Snapshot>,
    pub(super) interrupt: &'a Interrupt,
    pub(super) progress: &'a mut dyn FnMut(f64),
    pub(super) learning_rate: f64,
}

impl Checkpoints<'_> {
    /// Moves the block towards the pretrained weights, and the head as far as its higher learning rate would.
    ///
    /// Adam's step is proportional to the learning rate, so a multiple of the step is the step of that multiple of the rate.
    fn correct(&mut self) {
        let pull = PULL * (self.learning_rate / self.peak) as f32;
        for Pretrained { weight, values } in self.block {
            let mut current = weight.values_mut();
            current.iter_mut().zip(values).for_each(|(value, pretrained)| *value -= pull * (*value - pretrained));
        }
        for (weight, before) in self.head.iter().zip(&mut self.head_before) {
            let mut current = weight.values_mut();
            for (value, before) in current.iter_mut().zip(before) {
                *value = *before + HEAD_RATE * (*value - *before);
                *before = *value;
            }
        }
    }

    fn snapshot(&self) -> Snapshot {
        let weights = self.block.iter().map(|pretrained| &pretrained.weight).chain(self.head);
        weights.map(|weight| weight.values().clone()).collect()
    }
}

impl Callback for Checkpoints<'_> {
    fn on_batch_begin(&mut self, _step: usize, training: &mut Training<'_>) -> Result<()> {
        self.learning_rate = training.learning_rate();
        Ok(())
    }

    fn on_batch_end(&mut self, _end: &BatchEnd<'_>, training: &mut Training<'_>) -> Result<()> {
        // The weights are copied back from the executor.
        training.model()?;
        self.correct();
        let done = training.iterations();
        if done * SNAPSHOTS as u64 >= (self.snapshots.len() as u64 + 1) * self.steps {
            self.snapshots.push(self.snapshot());
        }
        (self.progress)(done as f64 / self.steps as f64);
        if self.interrupt.is_requested() {
            training.stop_at_once();
        }
        Ok(())
    }
}

/// The mean of some snapshots.
pub(super) fn average(snapshots: &[&Snapshot]) -> Snapshot {
    let mut sum: Snapshot = snapshots.first().map(|first| first.to_vec()).unwrap_or_default();
    for other in snapshots.iter().skip(1) {
        for (sum, other) in sum.iter_mut().zip(other.iter()) {
            sum.iter_mut().zip(other).for_each(|(sum, value)| *sum += value);
        }
    }
    let share = 1.0 / snapshots.len().max(1) as f32;
    sum.iter_mut().flatten().for_each(|value| *value *= share);
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_average_is_that_of_each_weight() {
        let (one, other) = (vec![vec![1.0, 2.0], vec![3.0]], vec![vec![3.0, 6.0], vec![5.0]]);
        assert_eq!(average(&[&one, &other]), [vec![2.0, 4.0], vec![4.0]]);
        assert_eq!(average(&[&one]), one);
    }
}
