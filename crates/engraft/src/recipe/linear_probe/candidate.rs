//! A backbone with the features of the photos, and the head that is trained on them.

use engraft_cache::FeatureCache;
use engraft_linear::{CrossValidation, Features, Fit, Folds, Labels, LinearError, LinearModel, Monitor, Options};
use engraft_linear::{cross_validate, fit, threshold};

use super::fine_tuning::Context;
use super::labels::labels_of;
use super::report::HeldOutScore;
use crate::data::Photo;
use crate::recipe::features::{FeatureExtractor, PhotoFeatures};
use crate::recipe::{DownloadProgress, Freeze, Partition, Recipe};
use crate::runtime::Runtime;
use crate::{Error, Model, Result};

/// A model whose last `Dense` layer is the head, and the part of it before the head.
pub(super) struct Network {
    pub(super) recipe: Recipe,
    pub(super) model: Model,
    features: Model,
}

impl Network {
    pub(super) fn build(recipe: &Recipe, download: DownloadProgress) -> Result<Self> {
        let model = recipe.build(download)?;
        let before_head = model.output().inputs()[0].clone();
        let features = Model::new(&model.inputs().to_vec(), &before_head)?;
        Ok(Self { recipe: recipe.clone(), model, features })
    }

    pub(super) fn extractor(&self, runtime: &Runtime, cache: &FeatureCache) -> Result<FeatureExtractor> {
        FeatureExtractor::new(&self.features, &self.name(), runtime, cache)
    }

    /// The network cut below its last block, whose convolutions are made trainable together with the head; `None` if it can't be
    /// cut. Normalizations keep the statistics of the pretraining, and random layers below act as they did for the head's features.
    pub(super) fn last_block(&self) -> Result<Option<Partition>> {
        let block =
            Freeze::Before(self.recipe.backbone.architecture().last_block().to_owned()).trainability(&self.model)?;
        let leaves = self.model.leaves();
        let normalizations = leaves.iter().filter(|layer| layer.class_name() == "BatchNormalization");
        let block = normalizations.fold(block, |block, layer| block.with(layer, false));
        block.apply(&self.model);
        Partition::in_inference(&self.model, &block)
    }

    /// An extractor of what the upper part of `parts` reads, for so many photos. It uses the cache on disk only where all of it fits
    /// in half of the cache, so that other networks' features stay.
    pub(super) fn extractor_of(
        &self,
        parts: &Partition,
        photos: usize,
        context: &Context<'_>,
    ) -> Result<FeatureExtractor> {
        let name = format!("{} up to {}", self.name(), parts.lower.output().layer().name());
        let values: usize = parts.lower.output_shape().iter().product();
        let bytes = (values * size_of::<f32>()).saturating_mul(photos) as u64;
        let off = FeatureCache::off();
        let fits = context.cache.limit().is_some_and(|limit| bytes <= limit / 2);
        let cache = if fits { context.cache } else { &off };
        let extractor = FeatureExtractor::new(&parts.lower, &name, context.runtime, cache)?;
        Ok(extractor.batch_size(context.batch_size))
    }

    /// Name in the list of the feature cache: `efficientnet-lite0, 224 x 224 pixels`.
    fn name(&self) -> String {
        format!("{}, {size} x {size} pixels", self.recipe.backbone, size = self.recipe.image_size)
    }

    /// Makes a linear model the weights of the last layer.
    pub(super) fn set_head(&self, head: &LinearModel) -> Result<()> {
        let weights = self.model.output().layer().own_weights().to_vec();
        weights[0].set(head.kernel().to_vec())?;
        weights[1].set(head.bias().to_vec())
    }
}

/// A network with the features of the training and the held-out photos.
pub(super) struct Candidate {
    pub(super) network: Network,
    pub(super) training: PhotoFeatures,
    pub(super) held_out: PhotoFeatures,
}

/// A head with its scores.
pub(super) struct Trained {
    pub(super) labels: Labels,
    pub(super) score: CrossValidation,
    pub(super) fit: Fit,
    /// The threshold of each label of a multi-label recipe.
    pub(super) thresholds: Option<Vec<f32>>,
    pub(super) held_out: Option<HeldOutScore>,
}

impl Candidate {
    /// Scores the head by cross-validation with the folds `outer` and trains it on all training photos.
    ///
    /// The photos of a group, by their numbers in `groups`, are in the same inner fold. `monitor` receives the finished fraction, and is asked whether to stop.
    pub(super) fn train(
        &self,
        outer: &Folds,
        groups: &[usize],
        options: &Options,
        monitor: (&(dyn Fn(f64) + Sync), &(dyn Fn() -> bool + Sync)),
    ) -> std::result::Result<Trained, LinearError> {
        let labels = labels_of(self.training.photos.iter(), &self.network.recipe)?;
        let features = matrix(&self.training)?;
        let mut options = options.clone();
        options.groups = Some(groups.to_vec());
        let (progress, stop) = monitor;
        // Each fold trains on a little less than all samples, so all folds take about as many times as long as there are folds.
        let folds_share = outer.count() as f64 / (outer.count() + 1) as f64;
        let of_folds = |fraction: f64| progress(folds_share * fraction);
        let of_fit = |fraction: f64| progress(folds_share + (1.0 - folds_share) * fraction);
        let monitor = |progress| Monitor::new().on_progress(progress).stop_when(stop);
        let score = cross_validate(features, &labels, outer, &options, &monitor(&of_folds))?;
        let fit = fit(features, &labels, &options, &monitor(&of_fit))?;
        let thresholds = match self.network.recipe.multi_label {
            true => Some(threshold::per_label(&score.probabilities, &labels)?.iter().map(|of| of.threshold).collect()),
            false => None,
        };
        let held_out = match self.held_out.photos.as_slice() {
            [] => None,
            photos => Some(score_held_out(&fit.model, thresholds.as_deref(), matrix(&self.held_out)?, photos)?),
        };
        Ok(Trained { labels, score, fit, thresholds, held_out })
    }
}

/// The features as a matrix of one row per photo.
pub(super) fn matrix(features: &PhotoFeatures) -> std::result::Result<Features<'_>, LinearError> {
    let photos = features.photos.len();
    Features::new(features.values.data(), photos, features.values.data().len() / photos.max(1))
}

fn score_held_out(
    head: &LinearModel,
    thresholds: Option<&[f32]>,
    features: Features<'_>,
    photos: &[Photo],
) -> std::result::Result<HeldOutScore, LinearError> {
    let probabilities = head.probabilities(features)?;
    if let Some(thresholds) = thresholds {
        return HeldOutScore::of_labels(&probabilities, thresholds, photos);
    }
    let classes = photos.iter().filter_map(Photo::class);
    Ok(HeldOutScore::of(probabilities.chunks(head.classes()).zip(classes)))
}

/// An error of the linear algebra, as one of this crate.
pub(super) fn failed(error: LinearError) -> Error {
    Error::because("linear probe", &error).caused_by(error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::Backbone;

    /// What training computes in every step: the last block and the head, with the frozen normalizations between them.
    #[test]
    fn every_backbone_is_cut_just_below_its_last_block() {
        // No weights are made, so large networks cost no more.
        for backbone in Backbone::all() {
            let image_size = backbone.architecture().min_image_size().max(64);
            let recipe = Recipe { image_size, ..Recipe::linear_probe(backbone, 3) }.weights("none");
            let network = Network::build(&recipe, Box::new(|_, _| {})).unwrap();
            let parts = network.last_block().unwrap().unwrap_or_else(|| panic!("{backbone} can't be cut"));
            let upper = parts.upper.leaves();
            let trained = parts.upper.trainable_weights();
            assert!(trained.len() > 2, "{backbone}: only the head is trained");
            let is_trained = |weight: &crate::Weight| trained.iter().any(|trained| trained.id() == weight.id());
            for layer in upper.iter().filter(|layer| layer.class_name() != "BatchNormalization") {
                assert!(layer.own_weights().iter().all(is_trained), "{backbone}: {} is frozen", layer.name());
            }
            let all = network.model.count_params();
            assert_eq!(parts.lower.count_params() + parts.upper.count_params(), all, "{backbone}");
        }
    }
}
