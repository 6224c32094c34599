//! The frozen lower part of a phase, computed once instead of in every epoch.

use crate::cache::FeatureCache;
use crate::data::{Dataset, Photo};
use crate::ir::Op;
use crate::plan::{Memory, Plan, PlanOptions, Purpose};
use crate::recipe::{
    Classifier, FeatureDataset, FeatureExtractor, Interrupt, Partition, Phase, PhotoFeatures, TrainingJob,
};
use crate::runtime::Runtime;
use crate::train::{Fit, Targets, Train};
use crate::{Error, ErrorKind, Model, Program, Result};

/// The trained part of a phase's model, and the outputs of the frozen part below for all photos.
pub(super) struct PhaseFeatures {
    upper: Model,
    training: Targets<FeatureDataset>,
    validation: Option<Targets<FeatureDataset>>,
}

impl PhaseFeatures {
    pub(super) fn validation(&self) -> Option<&dyn Dataset> {
        self.validation.as_ref().map(|validation| validation as &dyn Dataset)
    }

    /// Trains `model`, by training the part of it above the features.
    pub(super) fn fit(&self, model: &Model, fit: Fit<'_>) -> Result<()> {
        self.upper.set_compiled(model.compiled());
        let trained = self.upper.fit(&self.training, fit);
        // After an error too, the model has the optimizer state of the last step.
        model.set_compiled(self.upper.compiled());
        trained.map(|_history| ())
    }
}

impl TrainingJob<'_> {
    /// The features that a phase can train on; `None` if it trains on photos.
    ///
    /// Photos are the fallback for whatever the features can't do: a phase without a frozen part, too little memory, a photo that
    /// can't be read, an interrupt. Training then tells the error, or stops after a step, as it does without a cache.
    pub(super) fn features(
        &self,
        phase: &Phase,
        runtime: &Runtime,
        interrupt: &Interrupt,
    ) -> Result<Option<PhaseFeatures>> {
        let (Some(cache), Some(parts)) = (&self.cache, self.partition(phase, runtime)?) else { return Ok(None) };
        let model = self.classifier.model();
        let name = name_of(self.classifier, &parts.lower);
        let extractor = |variants| FeatureExtractor::of_partition(&parts, variants, &name, runtime, cache);
        let extractors = [extractor(self.variants)?, extractor(1)?].map(|of| of.batch_size(self.batch_size));
        let Some([training, validation]) = self.extract(&extractors, interrupt)? else { return Ok(None) };
        let loss = model.compiled_or_error()?.loss_or_error()?;
        let dataset = |features| {
            let features = FeatureDataset::new(features, self.classifier.classes().len())?;
            Ok::<_, Error>(Targets::new(features, model, &loss))
        };
        let validation = if validation.photos.is_empty() { None } else { Some(dataset(validation)?) };
        Ok(Some(PhaseFeatures { training: dataset(training)?, validation, upper: parts.upper }))
    }

    /// The memory at the peak of a phase that trains on features; `None` if it trains on photos. `fit` are its
    /// options, with this batch size.
    ///
    /// It is the larger one of computing the features and of training the layers above them.
    pub(super) fn memory_on_features(
        &self,
        phase: &Phase,
        runtime: &Runtime,
        fit: &Fit<'_>,
        batch_size: usize,
    ) -> Result<Option<Memory>> {
        let Some(Partition { lower, upper }) = self.partition(phase, runtime)? else { return Ok(None) };
        let plan =
            |batch, options: &PlanOptions| Plan::new(Program::of(&lower, false, 0)?, Purpose::Predict, batch, options);
        let computing = match runtime.fitting_plan(batch_size, plan) {
            // `features` finds the same, and the phase trains on photos.
            Err(error) if error.kind() == ErrorKind::OutOfMemory => return Ok(None),
            planned => planned?.1,
        };
        upper.set_compiled(self.classifier.model().compiled());
        let training = fit.memory(&upper, &phase.trainability)?;
        // The frozen weights stay in memory.
        let training = Memory { weights: training.weights + size_of::<f32>() * lower.count_params(), ..training };
        let peak = if computing.total() > training.total() { computing } else { training };
        Ok(Some(Memory { features: self.bytes(&lower), ..peak }))
    }

    /// The parts of the model in a phase that trains on features, in at most half of the available memory; `None` if it trains on
    /// photos.
    fn partition(&self, phase: &Phase, runtime: &Runtime) -> Result<Option<Partition>> {
        if self.cache.is_none() || phase.epochs == 0 {
            return Ok(None);
        }
        let parts = partition(self.classifier.model(), phase, self.variants)?;
        let fits = |bytes| runtime.available_memory().is_none_or(|available| bytes <= available / 2);
        Ok(parts.filter(|parts| fits(self.bytes(&parts.lower))))
    }

    /// The bytes of the features of all photos.
    fn bytes(&self, lower: &Model) -> usize {
        let samples = self.training.len() * self.variants + self.validation.as_ref().map_or(0, Dataset::len);
        let values = lower.output_shape().iter().fold(samples, |values, &size| values.saturating_mul(size));
        values.saturating_mul(size_of::<f32>())
    }

    /// The features of the training set and of the validation set, by an extractor each. `None` unless all can be computed.
    fn extract(&self, extractors: &[FeatureExtractor; 2], interrupt: &Interrupt) -> Result<Option<[PhotoFeatures; 2]>> {
        let validation = self.validation.as_ref().map_or(&[][..], |validation| validation.dataset.photos());
        let sets = [self.training.dataset.photos(), validation];
        let total = sets[0].len() + sets[1].len();
        let extract = |of: &FeatureExtractor, photos: &[Photo], before: usize| {
            let mut progress = |done, _| (self.feature_progress)(before + done, total);
            let features = match of.extract(photos, interrupt, &mut progress) {
                Err(error) if error.kind() == ErrorKind::OutOfMemory => None,
                features => features?,
            };
            Ok::<_, Error>(features.filter(|features| features.skipped.is_empty()))
        };
        let Some(training) = extract(&extractors[0], sets[0], 0)? else { return Ok(None) };
        let validation = extract(&extractors[1], sets[1], sets[0].len())?;
        Ok(validation.map(|validation| [training, validation]))
    }
}

impl Phase {
    /// The extractor of the features that this phase of a [`TrainingJob`] with a cache trains on; `None` if it trains on photos.
    ///
    /// A scan can skip decoding of the photos whose features it [`knows`](FeatureExtractor::knows). `variants` is that of
    /// [`TrainingJob::augment_variants`]; the extractor is the one of the photos themselves.
    ///
    /// ```
    /// use engraft::cache::FeatureCache;
    /// use engraft::prelude::*;
    /// use engraft::recipe::Phase;
    /// let layers = Sequential::new().add(Input::new([8, 8, 3])).add(Conv2D::new(4, 3).named("base")).add(Flatten::new());
    /// let model = layers.add(Dense::new(2).activation(Softmax)).build()?;
    /// model.compile(Adam::new(0.05), Loss::categorical_crossentropy(), [])?;
    /// let classifier = Classifier::new(model, None)?;
    /// let (runtime, cache) = (Runtime::shared()?, FeatureCache::off());
    /// let phase = || Phase::first(classifier.model(), 6, 0);
    /// assert!(phase()?.extractor(&classifier, 1, &runtime, &cache)?.is_none(), "no layer is frozen");
    /// classifier.model().get_layer("base")?.set_trainable(false);
    /// let extractor = phase()?.extractor(&classifier, 1, &runtime, &cache)?.expect("a frozen convolution");
    /// assert!(!extractor.knows(&[7; 32]));
    /// # Ok::<(), engraft::Error>(())
    /// ```
    ///
    /// # Errors
    /// A layer that can't be lowered.
    pub fn extractor(
        &self,
        classifier: &Classifier,
        variants: usize,
        runtime: &Runtime,
        cache: &FeatureCache,
    ) -> Result<Option<FeatureExtractor>> {
        let parts = partition(classifier.model(), self, variants)?;
        let extractor = |parts: Partition| {
            let name = name_of(classifier, &parts.lower);
            FeatureExtractor::of_partition(&parts, 1, &name, runtime, cache)
        };
        parts.map(extractor).transpose()
    }
}

/// The parts of the model in a phase; `None` if the phase trains on photos.
fn partition(model: &Model, phase: &Phase, variants: usize) -> Result<Option<Partition>> {
    let parts = match variants {
        1 => Partition::of(model, &phase.trainability)?,
        _ => Partition::with_variants(model, &phase.trainability)?,
    };
    match parts {
        Some(parts) if !starts_with_normalization(&parts.upper)? => Ok(Some(parts)),
        _ => Ok(None),
    }
}

/// Name of a classifier's frozen part in the list of the feature cache: `vgg16 up to block5_pool, 224 x 224 pixels`.
pub(super) fn name_of(classifier: &Classifier, lower: &Model) -> String {
    let backbone = classifier.metadata().and_then(|metadata| metadata.backbone);
    let network = backbone.map_or_else(|| lower.name().to_owned(), |backbone| backbone.to_string());
    let [height, width] = classifier.image_size();
    format!("{network} up to {}, {height} x {width} pixels", lower.output().layer().name())
}

/// Whether a normalization reads the features.
///
/// In inference, a plan folds it into the convolution before it, which rounds in another way. With the features between them,
/// `val_loss` would have other last bits.
fn starts_with_normalization(upper: &Model) -> Result<bool> {
    let program = Program::of(upper, false, 0)?;
    let reads_features = |value: &usize| program.inputs.contains(value);
    let mut steps = program.steps.iter();
    Ok(steps.any(|step| matches!(step.op, Op::BatchNorm { .. }) && step.inputs.iter().any(reads_features)))
}
