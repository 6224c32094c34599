//! [`Tuner`]: trains the last block and the head, from the pretrained block and a linear head.

use engraft_linear::{Labels, LinearModel};

use super::Context;
use super::checkpoints::{Checkpoints, Pretrained, SNAPSHOTS, Snapshot, average};
use super::cost::BATCH;
use super::trial::Trial;
use crate::data::{Batch, Dataset};
use crate::prelude::*;
use crate::recipe::linear_probe::candidate::Network;
use crate::recipe::{FeatureDataset, Partition, PhotoFeatures};
use crate::train::{Fit, RunOptions, Train};
use crate::{Model, Result, Tensor, Weight};

/// The highest learning rate of the block. The head's is ten times as high.
const LEARNING_RATE: f64 = 3e-5;

/// The part of a network above the boundary, with its values for the training photos.
pub(super) struct Tuner<'a> {
    network: &'a Network,
    upper: Model,
    data: FeatureDataset,
    labels: &'a Labels,
    block: Vec<Pretrained>,
    head: Vec<Weight>,
    context: &'a Context<'a>,
}

impl<'a> Tuner<'a> {
    /// `values` are those at the boundary of `parts`.
    pub(super) fn new(
        network: &'a Network,
        parts: Partition,
        values: PhotoFeatures,
        labels: &'a Labels,
        context: &'a Context<'a>,
    ) -> Result<Self> {
        let head = network.model.output().layer().own_weights().to_vec();
        let is_head = |weight: &Weight| head.iter().any(|of_head| of_head.id() == weight.id());
        let block = parts.upper.trainable_weights().into_iter().filter(|weight| !is_head(weight));
        let block = block.map(Pretrained::new).collect();
        let data = FeatureDataset::new(values, network.recipe.classes)?;
        Ok(Self { network, upper: parts.upper, data, labels, block, head, context })
    }

    /// Bytes of the copies of trained weights: the pretrained ones, the snapshots with their average, and Adam's two moments.
    pub(super) fn bytes_of_copies(parts: &Partition) -> usize {
        let values: usize = parts.upper.trainable_weights().iter().map(Weight::count).sum();
        (SNAPSHOTS + 4) * values * size_of::<f32>()
    }

    /// The values at the boundary for the training photos.
    pub(super) fn features(&self) -> &PhotoFeatures {
        self.data.features()
    }

    /// Goes back to the pretrained block, with this head.
    pub(super) fn restart(&self, head: &LinearModel) -> Result<()> {
        self.restore()?;
        self.network.set_head(head)
    }

    /// Sets the block and the head.
    pub(super) fn set(&self, snapshot: &Snapshot) -> Result<()> {
        let weights = self.block.iter().map(|pretrained| &pretrained.weight).chain(&self.head);
        weights.zip(snapshot).try_for_each(|(weight, values)| weight.set(values.clone()))
    }

    /// Goes back to the pretrained block.
    pub(super) fn restore(&self) -> Result<()> {
        self.block.iter().try_for_each(|Pretrained { weight, values }| weight.set(values.clone()))
    }

    /// Trains on the photos `rows` from `head`, and returns the snapshots; `None` if interrupted.
    ///
    /// One cycle of the learning rate: a linear warmup over a tenth of the steps, and a cosine decay to 0.
    pub(super) fn tune(
        &self,
        head: &LinearModel,
        rows: &[usize],
        epochs: usize,
        progress: &mut dyn FnMut(f64),
    ) -> Result<Option<Vec<Snapshot>>> {
        self.restart(head)?;
        let steps = (epochs * rows.len().div_ceil(BATCH)).max(1) as u64;
        let warmup = (steps / 10).max(1);
        // The first step has a rate as well: the warmup starts at one step's share.
        let first = LEARNING_RATE / (warmup + 1) as f64;
        let rate = CosineDecay::new(first, steps.saturating_sub(warmup).max(1));
        let rate = rate.warmup_target(LEARNING_RATE).warmup_steps(warmup);
        self.upper.compile(Adam::new(rate), Loss::categorical_crossentropy(), [])?;
        let mut checkpoints = Checkpoints {
            block: &self.block,
            head: &self.head,
            head_before: self.head.iter().map(|weight| weight.values().clone()).collect(),
            peak: LEARNING_RATE,
            steps,
            snapshots: Vec::with_capacity(SNAPSHOTS),
            interrupt: self.context.interrupt,
            progress,
            learning_rate: 0.0,
        };
        let weights = self.class_weights(rows);
        let fit = Fit::new().epochs(epochs).batch_size(BATCH).seed(self.context.options.seed).class_weights(&weights);
        self.upper
            .fit(&Rows { data: &self.data, rows }, fit.runtime(self.context.runtime).callback(&mut checkpoints))?;
        let snapshots = checkpoints.snapshots;
        Ok((!self.context.interrupt.is_requested()).then_some(snapshots))
    }

    /// The weight of each class' loss among the photos `rows`.
    fn class_weights(&self, rows: &[usize]) -> Vec<f32> {
        let count = |class: usize| rows.iter().filter(|&&row| self.labels.has(row, class)).count();
        let counts: Vec<usize> = (0..self.labels.classes()).map(count).collect();
        self.context.options.class_weights.of_classes(&counts).into_iter().map(|weight| weight as f32).collect()
    }

    /// Repeats a trial on the photos `rows` with `head`, and sets the average of the same snapshots with the same temperature;
    /// `None` if interrupted.
    pub(super) fn repeat(
        &self,
        head: &LinearModel,
        rows: &[usize],
        epochs: usize,
        trial: &Trial,
        progress: &mut dyn FnMut(f64),
    ) -> Result<Option<()>> {
        let Some(snapshots) = self.tune(head, rows, epochs, progress)? else { return Ok(None) };
        let best: Vec<&Snapshot> = trial.snapshots.iter().filter_map(|&number| snapshots.get(number)).collect();
        self.set(&average(&best))?;
        for weight in &self.head {
            weight.values_mut().iter_mut().for_each(|value| *value *= trial.temperature as f32);
        }
        Ok(Some(()))
    }

    /// The probabilities `[rows, classes]` of photos with these values at the boundary.
    pub(super) fn probabilities(&self, features: &PhotoFeatures, rows: &[usize]) -> Result<Vec<f32>> {
        let shape = &features.values.shape()[1..];
        let mut probabilities = Vec::with_capacity(rows.len() * self.labels.classes());
        for rows in rows.chunks(BATCH) {
            let values = rows.iter().flat_map(|&row| features.row(row, 0)).copied().collect();
            let x = Tensor::new([&[rows.len()], shape].concat(), values)?;
            let options = RunOptions::from(BATCH).runtime(self.context.runtime);
            probabilities.extend(self.upper.predict(&x, options)?.into_data());
        }
        Ok(probabilities)
    }
}

/// Some samples of a dataset.
struct Rows<'a> {
    data: &'a FeatureDataset,
    rows: &'a [usize],
}

impl Dataset for Rows<'_> {
    fn len(&self) -> usize {
        self.rows.len()
    }

    fn batch(&self, indices: &[usize]) -> Result<Batch> {
        self.data.batch(&indices.iter().map(|&index| self.rows[index]).collect::<Vec<_>>())
    }
}
