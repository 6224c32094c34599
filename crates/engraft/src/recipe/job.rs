//! Trains a classifier on photos in one or more phases, saves its best epoch and reports the result.

mod adapt;
mod checkpoints;
mod features;
mod report;
mod run;

use std::path::{Path, PathBuf};

use engraft_linear::ClassWeights;

use self::checkpoints::Output;
use super::{Classifier, Phase};
use crate::cache::FeatureCache;
use crate::data::{Dataset, Photo, PhotoDataset};
use crate::plan::Memory;
use crate::runtime::{Runtime, ensure_fits};
use crate::train::{Evaluation, Fit, RunOptions, Targets, Train};
use crate::{Error, Result};

pub use self::checkpoints::Checkpoint;
pub use self::report::{CallbackFactory, Outcome, TrainingReport};

/// A training run of a classifier: training set, validation set, phases and output file.
///
/// ```
/// use engraft::data::{PhotoFolder, split};
/// use engraft::prelude::*;
/// use engraft::recipe::{Interrupt, Outcome, Phase, TrainingJob};
///
/// # let photos = tempfile::tempdir()?;
/// # for (class, grey) in [("dark", 20), ("light", 220)] {
/// #     std::fs::create_dir(photos.path().join(class))?;
/// #     for photo in 0..4 {
/// #         let pixels = vec![grey + photo as u8; 8 * 8 * 3];
/// #         let mut bmp = b"BM\0\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0\x08\0\0\0\x08\0\0\0\x01\0\x18\0".to_vec();
/// #         bmp.extend([0; 24]);
/// #         bmp.extend(pixels);
/// #         std::fs::write(photos.path().join(class).join(format!("{photo}.bmp")), bmp)?;
/// #     }
/// # }
/// # let photos = photos.path();
/// let folder = PhotoFolder::scan(photos, &mut |_done, _total| {})?;
/// let parts = split(&folder.photos, 0.25, 0)?;
/// let layers = Sequential::new().add(Input::new([8, 8, 3])).add(Rescaling::new(1.0 / 255.0)).add(Flatten::new());
/// let model = layers.add(Dense::new(2).activation(Softmax)).build()?;
/// model.compile(Adam::new(0.05), Loss::categorical_crossentropy(), [Metric::Accuracy])?;
///
/// let classifier = Classifier::new(model, None)?;
/// let phases = vec![Phase::first(classifier.model(), 20, 0)?];
/// let runtime = Runtime::cpu(Some(2))?;
/// let file = photos.join("model.keras");
/// let job = TrainingJob::new(&classifier, parts.training, parts.validation, phases)?
///     .batch_size(4)
///     .shuffle(true)
///     .runtime(&runtime)
///     .save_to(&file, false)
///     .keep_photos_in_memory()?;
/// assert_eq!((job.training_set().len(), job.steps()), (6, 2));
/// assert_eq!(job.validation_set().map(|photos| photos.len()), Some(2));
///
/// // Fail before the first step if memory is short.
/// job.ensure_fits()?;
/// println!("{} of memory in the first phase", job.memory()?[0].total_readable());
///
/// let report = job.run(&Interrupt::new(), &mut |_phase| None);
/// assert_eq!(report.outcome?, Outcome::Complete);
/// assert_eq!(report.history.last("val_accuracy"), Some(1.0));
///
/// // The model has the weights of its best epoch, and the file holds the same.
/// let best = report.history.get("val_loss").iter().copied().reduce(f64::min);
/// assert_eq!(report.saved[0].val_loss, best);
/// assert_eq!(Some(job.evaluate(&runtime)?.loss), best);
/// assert_eq!(report.saved[0].path, file);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct TrainingJob<'a> {
    classifier: &'a Classifier,
    training: Targets<PhotoDataset>,
    validation: Option<Targets<PhotoDataset>>,
    phases: Vec<Phase>,
    batch_size: usize,
    shuffle: bool,
    /// The weight of each class' loss; `None` if all are 1.
    class_weights: Option<Vec<f32>>,
    runtime: Option<Runtime>,
    output: Option<Output>,
    cache: Option<FeatureCache>,
    variants: usize,
    feature_progress: Box<FeatureProgress<'a>>,
}

/// Receives the photos whose features are done, and their total.
type FeatureProgress<'a> = dyn Fn(usize, usize) + Send + Sync + 'a;

impl<'a> TrainingJob<'a> {
    /// A job that trains a compiled classifier on `training`, in batches of 32.
    ///
    /// `validation` may be empty. The phases run in order.
    ///
    /// # Errors
    /// The model isn't compiled, or a photo's class is not one of the model's.
    pub fn new(
        classifier: &'a Classifier,
        training: Vec<Photo>,
        validation: Vec<Photo>,
        phases: Vec<Phase>,
    ) -> Result<Self> {
        let (model, loss) = (classifier.model(), classifier.model().compiled_or_error()?.loss_or_error()?);
        let targets = |photos| {
            let photos = PhotoDataset::new(photos, classifier.classes().len(), classifier.image_size())?
                .color_mode(classifier.color_mode());
            Ok::<_, Error>(Targets::new(photos, model, &loss))
        };
        let validation = if validation.is_empty() { None } else { Some(targets(validation)?) };
        let training = targets(training)?;
        Ok(Self {
            classifier,
            training,
            validation,
            phases,
            batch_size: 32,
            shuffle: true,
            class_weights: None,
            runtime: None,
            output: None,
            cache: None,
            variants: 1,
            feature_progress: Box::new(|_done, _total| {}),
        })
    }

    /// Sets the number of photos per step; 32 by default.
    #[must_use]
    pub fn batch_size(self, batch_size: usize) -> Self {
        Self { batch_size, ..self }
    }

    /// Sets whether the training set is shuffled before each epoch; true by default.
    #[must_use]
    pub fn shuffle(self, shuffle: bool) -> Self {
        Self { shuffle, ..self }
    }

    /// Sets how much the training photos of each class count; all the same by default. Validation counts each photo the same.
    ///
    /// The weights are Keras' `class_weight`: see [`Fit::class_weights`].
    ///
    /// ```
    /// use engraft::linear::ClassWeights;
    /// use engraft::prelude::*;
    /// use engraft::recipe::{Phase, TrainingJob};
    /// # let folder = tempfile::tempdir()?;
    /// # for (class, greys) in [("dark", &[20, 30, 40][..]), ("light", &[220])] {
    /// #     std::fs::create_dir_all(folder.path().join(class))?;
    /// #     for grey in greys {
    /// #         let mut bmp = b"BM\0\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0\x08\0\0\0\x08\0\0\0\x01\0\x18\0".to_vec();
    /// #         bmp.extend([0; 24]);
    /// #         bmp.extend([*grey; 8 * 8 * 3]);
    /// #         std::fs::write(folder.path().join(class).join(format!("{grey}.bmp")), bmp)?;
    /// #     }
    /// # }
    /// # let photos = PhotoFolder::scan(folder.path(), &mut |_done, _total| {})?.photos;
    /// # let layers = Sequential::new().add(Input::new([8, 8, 3])).add(Rescaling::new(1.0 / 255.0)).add(Flatten::new());
    /// # let model = layers.add(Dense::new(2).activation(Softmax)).build()?;
    /// # model.compile(Adam::new(0.05), Loss::categorical_crossentropy(), [])?;
    /// # let classifier = Classifier::new(model, None)?;
    /// # let phases = vec![Phase::first(classifier.model(), 3, 0)?];
    /// // Three dark photos and a light one: the light one counts as much as the three together.
    /// let job = TrainingJob::new(&classifier, photos, Vec::new(), phases)?.class_weights(ClassWeights::Balanced);
    /// assert_eq!(job.weight_of_classes(), Some(&[4.0 / 6.0, 4.0 / 2.0][..]));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn class_weights(self, class_weights: ClassWeights) -> Self {
        let mut counts = vec![0; self.classifier.classes().len()];
        self.training.dataset.photos().iter().flat_map(|photo| &photo.labels).for_each(|&label| counts[label] += 1);
        let weights = class_weights.of_classes(&counts).into_iter().map(|weight| weight as f32).collect();
        Self { class_weights: (class_weights != ClassWeights::None).then_some(weights), ..self }
    }

    /// The weight of each class' loss; `None` if all photos count the same.
    pub fn weight_of_classes(&self) -> Option<&[f32]> {
        self.class_weights.as_deref()
    }

    /// Trains with this runtime instead of the [shared one](Runtime::shared).
    #[must_use]
    pub fn runtime(self, runtime: &Runtime) -> Self {
        Self { runtime: Some(runtime.clone()), ..self }
    }

    /// Computes the outputs of frozen layers once instead of in every epoch, and keeps them in this cache for later runs.
    ///
    /// A phase trains on these features where no random layer, such as augmentation, lies below its lowest trained layer: see
    /// [`Partition::of`](super::Partition::of). Losses and weights are bit for bit those of training on photos. Photos whose
    /// features are cached are not decoded. With [`FeatureCache::off`], features are kept in memory only.
    ///
    /// Other phases train on photos, as all do without a cache. So does a phase whose features need more than half of the
    /// available memory, or of which a photo can't be read. If an interrupt is requested while features are computed, the phase
    /// stops after one step.
    ///
    /// Callbacks of a phase that trains on features get the model above them, whose layers are the classifier's own.
    ///
    /// ```
    /// use engraft::cache::FeatureCache;
    /// use engraft::prelude::*;
    /// use engraft::recipe::{Interrupt, Phase, TrainingJob};
    /// # let home = tempfile::tempdir()?;
    /// # let folder = home.path().join("photos");
    /// # for (class, grey) in [("dark", 20), ("light", 220)] {
    /// #     std::fs::create_dir_all(folder.join(class))?;
    /// #     let mut bmp = b"BM\0\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0\x08\0\0\0\x08\0\0\0\x01\0\x18\0".to_vec();
    /// #     bmp.extend([0; 24]);
    /// #     bmp.extend([grey; 8 * 8 * 3]);
    /// #     std::fs::write(folder.join(class).join("1.bmp"), bmp)?;
    /// # }
    /// # let photos = PhotoFolder::scan(&folder, &mut |_done, _total| {})?.photos;
    /// let layers = Sequential::new().add(Input::new([8, 8, 3])).add(Conv2D::new(4, 3).named("base")).add(Flatten::new());
    /// let model = layers.add(Dense::new(2).activation(Softmax)).build()?;
    /// model.get_layer("base")?.set_trainable(false);
    /// model.compile(Adam::new(0.05), Loss::categorical_crossentropy(), [])?;
    /// let classifier = Classifier::new(model, None)?;
    /// let phases = vec![Phase::first(classifier.model(), 20, 0)?];
    /// let cache = FeatureCache::new(home.path().join("features"), 1 << 30);
    /// let job = TrainingJob::new(&classifier, photos, Vec::new(), phases)?.cache(cache.clone());
    /// job.run(&Interrupt::new(), &mut |_phase| None).outcome?;
    /// assert_eq!(cache.list()?.networks[0].photos, 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn cache(self, cache: FeatureCache) -> Self {
        Self { cache: Some(cache), ..self }
    }

    /// With a [`cache`](Self::cache), trains on this many fixed variants of each photo where random layers lie below the frozen
    /// ones: the photo itself, and augmented ones. 1, the default, trains on new random variants in each epoch, without features.
    ///
    /// Each epoch takes another variant of a photo: see [`Partition::with_variants`](super::Partition::with_variants). Validation
    /// uses the photos themselves. The run fails if a phase has frozen layers but no random layer below them.
    ///
    /// ```
    /// use engraft::cache::FeatureCache;
    /// use engraft::prelude::*;
    /// use engraft::recipe::{Interrupt, Phase, TrainingJob};
    /// # let folder = tempfile::tempdir()?;
    /// # for (class, grey) in [("dark", 20), ("light", 220)] {
    /// #     std::fs::create_dir_all(folder.path().join(class))?;
    /// #     let mut bmp = b"BM\0\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0\x08\0\0\0\x08\0\0\0\x01\0\x18\0".to_vec();
    /// #     bmp.extend([0; 24]);
    /// #     bmp.extend([grey; 8 * 8 * 3]);
    /// #     std::fs::write(folder.path().join(class).join("1.bmp"), bmp)?;
    /// # }
    /// # let photos = PhotoFolder::scan(folder.path(), &mut |_done, _total| {})?.photos;
    /// let layers = Sequential::new().add(Input::new([8, 8, 3])).add(RandomFlip::horizontal());
    /// let layers = layers.add(Conv2D::new(4, 3).named("base")).add(Flatten::new());
    /// let model = layers.add(Dense::new(2).activation(Softmax)).build()?;
    /// model.get_layer("base")?.set_trainable(false);
    /// model.compile(Adam::new(0.05), Loss::categorical_crossentropy(), [])?;
    /// let classifier = Classifier::new(model, None)?;
    /// let phases = vec![Phase::first(classifier.model(), 6, 0)?];
    /// // Six epochs see each of the three variants of a photo twice.
    /// let job = TrainingJob::new(&classifier, photos, Vec::new(), phases)?.cache(FeatureCache::off()).augment_variants(3);
    /// let report = job.run(&Interrupt::new(), &mut |_phase| None);
    /// assert_eq!(report.history.epochs(), 6);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn augment_variants(self, variants: usize) -> Self {
        Self { variants, ..self }
    }

    /// Calls `progress` while features are computed, with the photos of a phase that are done, and their total.
    ///
    /// ```
    /// use std::sync::atomic::{AtomicUsize, Ordering};
    ///
    /// use engraft::cache::FeatureCache;
    /// use engraft::prelude::*;
    /// use engraft::recipe::{Interrupt, Phase, TrainingJob};
    /// # let folder = tempfile::tempdir()?;
    /// # for (class, grey) in [("dark", 20), ("light", 220)] {
    /// #     std::fs::create_dir_all(folder.path().join(class))?;
    /// #     let mut bmp = b"BM\0\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0\x08\0\0\0\x08\0\0\0\x01\0\x18\0".to_vec();
    /// #     bmp.extend([0; 24]);
    /// #     bmp.extend([grey; 8 * 8 * 3]);
    /// #     std::fs::write(folder.path().join(class).join("1.bmp"), bmp)?;
    /// # }
    /// # let photos = PhotoFolder::scan(folder.path(), &mut |_done, _total| {})?.photos;
    /// let layers = Sequential::new().add(Input::new([8, 8, 3])).add(Conv2D::new(4, 3).named("base")).add(Flatten::new());
    /// let model = layers.add(Dense::new(2).activation(Softmax)).build()?;
    /// model.get_layer("base")?.set_trainable(false);
    /// model.compile(Adam::new(0.05), Loss::categorical_crossentropy(), [])?;
    /// let classifier = Classifier::new(model, None)?;
    /// let phases = vec![Phase::first(classifier.model(), 6, 0)?];
    /// let computed = AtomicUsize::new(0);
    /// let job = TrainingJob::new(&classifier, photos, Vec::new(), phases)?.cache(FeatureCache::off());
    /// let job = job.on_features(|done, _total| computed.store(done, Ordering::Relaxed));
    /// job.run(&Interrupt::new(), &mut |_phase| None).outcome?;
    /// assert_eq!(computed.load(Ordering::Relaxed), 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn on_features(self, progress: impl Fn(usize, usize) + Send + Sync + 'a) -> Self {
        Self { feature_progress: Box::new(progress), ..self }
    }

    /// Makes [`run`](Self::run) save the best epoch to this `.keras` file.
    ///
    /// The best epoch has the lowest `val_loss` of all phases; on a tie, the earlier epoch. The file is replaced whenever an
    /// epoch is the best so far, or after every epoch if there is no validation set. So it survives an error, NaN or the end of
    /// the process.
    ///
    /// If `optimizer_state` is true, the file holds the last complete epoch with the optimizer's state instead, so that training
    /// can continue exactly. The best epoch is then saved to [`best_path`](Self::best_path), without that state.
    #[must_use]
    pub fn save_to(self, path: &Path, optimizer_state: bool) -> Self {
        Self { output: Some(Output { path: path.to_owned(), optimizer_state }), ..self }
    }

    /// The file of the best epoch beside the file that is saved with the optimizer's state: `model-best.keras` for `model.keras`.
    ///
    /// `None` if the state isn't saved, or if there is no validation set to tell which epoch is the best. An existing file is
    /// replaced.
    ///
    /// ```
    /// use std::path::Path;
    ///
    /// use engraft::prelude::*;
    /// use engraft::recipe::{Phase, TrainingJob};
    /// # let photos = tempfile::tempdir()?;
    /// # for (class, grey) in [("dark", 20), ("light", 220)] {
    /// #     std::fs::create_dir(photos.path().join(class))?;
    /// #     let mut bmp = b"BM\0\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0\x08\0\0\0\x08\0\0\0\x01\0\x18\0".to_vec();
    /// #     bmp.extend([0; 24]);
    /// #     bmp.extend([grey; 8 * 8 * 3]);
    /// #     std::fs::write(photos.path().join(class).join("1.bmp"), bmp)?;
    /// # }
    /// # let photos = PhotoFolder::scan(photos.path(), &mut |_done, _total| {})?.photos;
    /// # let layers = Sequential::new().add(Input::new([8, 8, 3])).add(Rescaling::new(1.0 / 255.0)).add(Flatten::new());
    /// # let model = layers.add(Dense::new(2).activation(Softmax)).build()?;
    /// # model.compile(Adam::new(0.05), Loss::categorical_crossentropy(), [])?;
    /// # let classifier = Classifier::new(model, None)?;
    /// # let phases = vec![Phase::first(classifier.model(), 3, 0)?];
    /// let job = TrainingJob::new(&classifier, photos.clone(), photos, phases)?;
    /// assert_eq!(job.best_path(), None);
    /// let job = job.save_to(Path::new("model.keras"), true);
    /// assert_eq!(job.best_path().as_deref(), Some(Path::new("model-best.keras")));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn best_path(&self) -> Option<PathBuf> {
        let output = self.output.as_ref().filter(|output| output.optimizer_state && self.validation.is_some());
        output.map(Output::best_path)
    }

    /// The classifier.
    pub fn classifier(&self) -> &'a Classifier {
        self.classifier
    }

    /// The training set.
    pub fn training_set(&self) -> &Targets<PhotoDataset> {
        &self.training
    }

    /// The validation set, if there is one.
    pub fn validation_set(&self) -> Option<&Targets<PhotoDataset>> {
        self.validation.as_ref()
    }

    /// The phases, in order.
    pub fn phases(&self) -> &[Phase] {
        &self.phases
    }

    /// Number of steps in each epoch.
    pub fn steps(&self) -> usize {
        self.training.len().div_ceil(self.batch_size.max(1))
    }

    fn runtime_or_shared(&self) -> Result<Runtime> {
        self.runtime.clone().map_or_else(Runtime::shared, Ok)
    }

    /// The memory that each phase needs, with the features of a phase that trains on features. The model is unchanged.
    ///
    /// # Errors
    /// No plan exists for a phase, for example because no layer is trainable.
    pub fn memory(&self) -> Result<Vec<Memory>> {
        let runtime = self.runtime_or_shared()?;
        self.phases.iter().map(|phase| self.memory_of(phase, &runtime, self.batch_size)).collect()
    }

    fn memory_of(&self, phase: &Phase, runtime: &Runtime, batch_size: usize) -> Result<Memory> {
        let validation = self.validation.as_ref().map(|validation| validation as &dyn Dataset);
        let fit = self.fit(phase, runtime, validation).batch_size(batch_size);
        match self.memory_on_features(phase, runtime, &fit, batch_size)? {
            Some(memory) => Ok(memory),
            None => fit.memory(self.classifier.model(), &phase.trainability),
        }
    }

    /// The options of `fit` for a phase.
    fn fit<'f>(&'f self, phase: &Phase, runtime: &'f Runtime, validation: Option<&'f dyn Dataset>) -> Fit<'f> {
        let fit = Fit::new().batch_size(self.batch_size).shuffle(self.shuffle).runtime(runtime);
        let fit = self.class_weights.iter().fold(fit, |fit, weights| fit.class_weights(weights));
        let fit = fit.epochs(phase.epochs).seed(phase.seed);
        validation.into_iter().fold(fit, Fit::validation)
    }

    /// Checks that each phase fits into memory.
    ///
    /// # Errors
    /// A phase needs more memory than is available. The error names a batch size that fits, if there is one.
    pub fn ensure_fits(&self) -> Result<()> {
        let runtime = self.runtime_or_shared()?;
        let Some(available) = runtime.available_memory() else { return Ok(()) };
        self.phases.iter().try_for_each(|phase| {
            let of_batch = |batch| self.memory_of(phase, &runtime, batch);
            ensure_fits(&of_batch(self.batch_size)?, available, self.batch_size, |batch| Ok(of_batch(batch)?.total()))
        })
    }

    /// Caches decoded photos in memory, in at most half of the memory that training leaves free.
    ///
    /// The training set has priority over the validation set. Photos that don't fit are decoded again in each epoch.
    ///
    /// # Errors
    /// Those of [`memory`](Self::memory).
    pub fn keep_photos_in_memory(self) -> Result<Self> {
        let peak = self.memory()?.iter().map(Memory::total).max().unwrap_or(0);
        let available = self.runtime_or_shared()?.available_memory();
        let budget = available.map_or(0, |available| available.saturating_sub(peak) / 2);
        let [height, width] = self.classifier.image_size();
        let training_bytes = self
            .training
            .dataset
            .photos()
            .len()
            .saturating_mul(height * width * self.classifier.color_mode().channels() * size_of::<f32>());
        let keep = |set: Targets<PhotoDataset>, bytes| set.map(|photos| photos.keep_in_memory(bytes));
        Ok(Self {
            training: keep(self.training, budget),
            validation: self.validation.map(|set| keep(set, budget.saturating_sub(training_bytes))),
            ..self
        })
    }

    /// Computes loss and metrics on the validation set or, without one, on the training set.
    ///
    /// # Errors
    /// Those of [`evaluate`](Train::evaluate).
    pub fn evaluate(&self, runtime: &Runtime) -> Result<Evaluation> {
        let photos = self.validation.as_ref().unwrap_or(&self.training);
        self.classifier.model().evaluate(photos, RunOptions::from(self.batch_size).runtime(runtime))
    }
}
