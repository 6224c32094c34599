//! Trains a linear head on the features of a frozen backbone and scores it by cross-validation.

mod candidate;
mod fine_tuning;
mod folds;
mod labels;
mod report;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use engraft_cache::FeatureCache;
use engraft_linear::{ClassWeights, CrossValidation, Folds, LinearError, Options};

use self::candidate::{Candidate, Network, Trained, failed};
pub use self::fine_tuning::{Budget, FineTuning};
use self::fine_tuning::{Context, FineTuningProgress, Linear, fine_tune};
pub use self::report::{CandidateScore, HeldOutScore, LabelReport, ProbeReport};
use super::{DownloadProgress, Interrupt, NearDuplicates, Recipe};
use crate::data::{Photo, PhotoFolder, SkippedFile};
use crate::runtime::Runtime;
use crate::{Error, Result};

/// Trains a linear head on a frozen backbone without gradient steps through it: a linear probe (Alain and Bengio 2016, arXiv
/// 1610.01644).
///
/// 1. The backbone computes the features of each photo once; a [`FeatureCache`] keeps them for later runs.
/// 2. Ridge regression and then logistic regression find the head ([`linear`](crate::linear)), calibrated by inner folds.
/// 3. Cross-validation scores the procedure: each photo is classified by a head that was trained without its fold.
/// 4. The head of all photos becomes the last `Dense` layer of a plain Keras model.
/// 5. If the [`Budget`] allows, the last block is fine-tuned from there. That is kept only where it lowers the log loss of photos
///    that are held out of it (Kumar et al. 2022, arXiv 2202.10054).
///
/// Photos with several labels or none need recipes with `multi_label`. Each label then has a sigmoid, and a threshold that suits it.
///
/// With several recipes, the one with the lowest log loss wins. It is chosen inside the training part of each fold as well, so
/// that the score doesn't profit from the choice.
///
/// ```
/// use engraft::cache::FeatureCache;
/// use engraft::prelude::*;
/// use engraft::recipe::{Backbone, LinearProbe, ProbeProgress};
///
/// # let photos = tempfile::tempdir()?;
/// # for (class, grey) in [("dark", 20), ("light", 220)] {
/// #     std::fs::create_dir(photos.path().join(class))?;
/// #     for photo in 0..6 {
/// #         let mut bmp = b"BM\0\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0\x08\0\0\0\x08\0\0\0\x01\0\x18\0".to_vec();
/// #         bmp.extend([0; 24]);
/// #         bmp.extend([grey + photo; 8 * 8 * 3]);
/// #         std::fs::write(photos.path().join(class).join(format!("{photo}.bmp")), bmp)?;
/// #     }
/// # }
/// # let photos = photos.path();
/// let folder = PhotoFolder::scan(photos, &mut |_done, _total| {})?;
/// let recipe = Recipe { image_size: 64, ..Recipe::linear_probe(Backbone::EFFICIENTNET_LITE0, 2) };
/// let probe = LinearProbe::new(vec![recipe]).folds(3).cache(FeatureCache::off());
/// let report = probe.run(photos, folder, &[], &Interrupt::new(), &mut ProbeProgress::default())?.ok_or("interrupted")?;
/// assert_eq!(report.score.accuracy, 1.0);
/// assert_eq!(report.classifier.classes(), ["dark", "light"]);
/// report.classifier.save(&photos.join("model.keras"))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct LinearProbe {
    recipes: Vec<Recipe>,
    folds: usize,
    seed: u64,
    class_weights: ClassWeights,
    budget: Budget,
    cache: FeatureCache,
    batch_size: usize,
    runtime: Option<Runtime>,
}

/// Receives the name of a backbone, the photos whose features are done, and their total.
type FeatureProgress<'a> = dyn FnMut(&str, usize, usize) + 'a;

/// Callbacks for the progress of a [`LinearProbe`].
///
/// ```
/// use engraft::recipe::ProbeProgress;
/// let mut progress = ProbeProgress {
///     features: Box::new(|backbone, done, total| eprintln!("{backbone}: {done} of {total} photos")),
///     ..ProbeProgress::default()
/// };
/// (progress.features)("efficientnet-lite0", 1, 10);
/// ```
pub struct ProbeProgress<'a> {
    /// Makes the callback for the download of a backbone's weights.
    pub download: Box<dyn FnMut() -> DownloadProgress + 'a>,
    /// Receives the name of the backbone, the photos done and their total, held-out ones included.
    pub features: Box<FeatureProgress<'a>>,
    /// Receives the finished fraction of training and scoring a head, from 0 to 1.
    pub head: Box<dyn FnMut(f64) + Send + 'a>,
    /// Receives the finished fraction of fine-tuning, from 0 to 1. It jumps where a trial isn't repeated.
    pub fine_tuning: Box<dyn FnMut(f64) + 'a>,
}

impl Default for ProbeProgress<'_> {
    /// No output.
    fn default() -> Self {
        Self {
            download: Box::new(|| Box::new(|_, _| {})),
            features: Box::new(|_, _, _| {}),
            head: Box::new(|_| {}),
            fine_tuning: Box::new(|_| {}),
        }
    }
}

impl std::fmt::Debug for ProbeProgress<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ProbeProgress")
    }
}

impl LinearProbe {
    /// A linear probe of one recipe, or of the best of several. Five folds, seed 0, no cache on disk, the default [`Budget`].
    pub fn new(recipes: Vec<Recipe>) -> Self {
        Self {
            recipes,
            folds: 5,
            seed: 0,
            class_weights: ClassWeights::None,
            budget: Budget::default(),
            cache: FeatureCache::off(),
            batch_size: 32,
            runtime: None,
        }
    }

    /// Sets the number of folds of the cross-validation, at least 2.
    #[must_use]
    pub fn folds(self, folds: usize) -> Self {
        Self { folds, ..self }
    }

    /// Sets the seed that assigns photos to folds.
    #[must_use]
    pub fn seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    /// Sets how much the photos of each class count; all the same by default.
    #[must_use]
    pub fn class_weights(self, class_weights: ClassWeights) -> Self {
        Self { class_weights, ..self }
    }

    /// Sets how much fine-tuning may cost. With 0, only the head is trained.
    ///
    /// ```
    /// use engraft::recipe::{Backbone, Budget, LinearProbe, Recipe};
    /// let recipe = Recipe::linear_probe(Backbone::EFFICIENTNET_LITE0, 2);
    /// let probe = LinearProbe::new(vec![recipe]).budget(Budget::Features(30.0));
    /// ```
    #[must_use]
    pub fn budget(self, budget: Budget) -> Self {
        Self { budget, ..self }
    }

    /// Finds features in this cache, and stores them there.
    #[must_use]
    pub fn cache(self, cache: FeatureCache) -> Self {
        Self { cache, ..self }
    }

    /// Sets how many photos pass through the network at a time, 32 by default. The features don't depend on it.
    #[must_use]
    pub fn batch_size(self, batch_size: usize) -> Self {
        Self { batch_size, ..self }
    }

    /// Computes features with this runtime instead of the [shared one](Runtime::shared).
    #[must_use]
    pub fn runtime(self, runtime: &Runtime) -> Self {
        Self { runtime: Some(runtime.clone()), ..self }
    }

    /// Trains on the photos of `folder`, a scan of `dir`, and scores the result, also on `held_out`, which takes no part in anything
    /// else.
    ///
    /// `None` if the interrupt was requested. Features that were computed before are in the cache. Copies of photos of the same
    /// class, and photos that turn out to be unreadable, are left out and listed in the report's folder.
    ///
    /// # Errors
    /// No recipe, or one with hidden layers; fewer than 2 folds; a class without readable photos; weights that can't be found;
    /// too little memory.
    pub fn run(
        &self,
        dir: &Path,
        mut folder: PhotoFolder,
        held_out: &[Photo],
        interrupt: &Interrupt,
        progress: &mut ProbeProgress<'_>,
    ) -> Result<Option<ProbeReport>> {
        let first = self.check()?;
        self.check_held_out(held_out)?;
        leave_out_copies(&mut folder);
        let runtime = self.runtime.clone().map_or_else(Runtime::shared, Ok)?;
        let mut candidates = Vec::new();
        for recipe in &self.recipes {
            crate::set_random_seed(self.seed);
            let network = Network::build(recipe, (progress.download)())?;
            let name = recipe.backbone.to_string();
            let (before_held_out, total) = (folder.photos.len(), folder.photos.len() + held_out.len());
            let mut extract = |photos: &[Photo], before: usize| {
                let extractor = network.extractor(&runtime, &self.cache)?.batch_size(self.batch_size);
                let mut features = |done, _| (progress.features)(&name, before + done, total);
                extractor.extract(photos, interrupt, &mut features)
            };
            let Some(training) = extract(&folder.photos, 0)? else { return Ok(None) };
            folder.skip(dir, training.skipped.clone())?;
            let Some(held_out) = extract(held_out, before_held_out)? else { return Ok(None) };
            candidates.push(Candidate { network, training, held_out });
        }
        let Candidate { training, held_out, .. } = &candidates[0];
        let found = NearDuplicates::find(training, held_out, (&runtime, &self.cache), interrupt)?;
        let Some(mut near_duplicates) = found else { return Ok(None) };
        let mut groups = folds::groups(&folder.photos);
        near_duplicates.join(&mut groups, &folder.photos);
        let folds = folds::of_photos(&folder.photos, &groups, first, self.folds, self.seed)?;
        let trained = self.train(&candidates, (&folds, &groups), interrupt, &mut *progress.head)?;
        let Some(trained) = trained else { return Ok(None) };
        let chosen = report::chosen(&trained);
        let scores: Vec<&CrossValidation> = trained.iter().map(|trained| &trained.score).collect();
        let score = CrossValidation::best_of(&scores, &trained[chosen].labels).map_err(failed)?;
        let is_chosen: Vec<bool> =
            CrossValidation::best_in_folds(&scores).into_iter().map(|best| best == chosen).collect();
        let name = candidates[chosen].network.recipe.backbone.to_string();
        let context = Context {
            budget: self.budget,
            options: &self.options(),
            folds: &folds,
            groups: &groups,
            runtime: &runtime,
            cache: &self.cache,
            batch_size: self.batch_size,
            interrupt,
        };
        let mut progress = FineTuningProgress {
            features: &mut |done, total| (progress.features)(&name, done, total),
            training: &mut *progress.fine_tuning,
        };
        let linear =
            Linear { candidate: &candidates[chosen], trained: &trained[chosen], score: &score, is_chosen: &is_chosen };
        let tuned = fine_tune(&linear, &context, &mut progress)?;
        report::report(self.seed, (dir, folder), candidates, trained, chosen, (score, tuned), near_duplicates).map(Some)
    }

    /// The options of linear heads.
    fn options(&self) -> Options {
        let mut options = Options::default();
        (options.class_weights, options.seed) = (self.class_weights, self.seed);
        options
    }

    /// Checks recipes and folds. Returns the first recipe.
    fn check(&self) -> Result<&Recipe> {
        if self.folds < 2 {
            return Err(Error::new("folds", "2 or more", self.folds));
        }
        let Some(first) = self.recipes.first() else { return Err(Error::new("linear probe", "a recipe", "none")) };
        if let Some(hidden) = self.recipes.iter().find(|recipe| !recipe.head.is_empty()) {
            return Err(Error::new(
                "linear probe",
                "a recipe without hidden layers",
                format_args!("{:?}", hidden.head),
            ));
        }
        if let Some(other) = self.recipes.iter().find(|recipe| recipe.classes != first.classes) {
            let expected = format_args!("recipes of {} classes", first.classes);
            return Err(Error::new("linear probe", expected, other.classes));
        }
        match self.recipes.iter().find(|recipe| recipe.multi_label != first.multi_label) {
            Some(_) => Err(Error::new("linear probe", "one value of `multi_label` in all recipes", "both")),
            None => Ok(first),
        }
    }

    fn check_held_out(&self, held_out: &[Photo]) -> Result<()> {
        let Some(Recipe { classes, multi_label, .. }) = self.recipes.first() else { return Ok(()) };
        let is_bad = |photo: &&Photo| {
            photo.labels.iter().any(|label| label >= classes) || !multi_label && photo.class().is_none()
        };
        match held_out.iter().find(is_bad) {
            Some(photo) => {
                let expected = match multi_label {
                    true => format!("labels below {classes}"),
                    false => format!("one class below {classes}"),
                };
                Err(Error::new(photo.path.display(), expected, format_args!("{:?}", photo.labels)))
            }
            None => Ok(()),
        }
    }

    /// Trains and scores the head of each candidate; `None` if interrupted.
    fn train(
        &self,
        candidates: &[Candidate],
        (folds, groups): (&Folds, &[usize]),
        interrupt: &Interrupt,
        progress: &mut (dyn FnMut(f64) + Send),
    ) -> Result<Option<Vec<Trained>>> {
        let options = self.options();
        let progress = Mutex::new(progress);
        let stop = || interrupt.is_requested();
        let train = |(number, candidate): (usize, &Candidate)| {
            let report = |fraction: f64| {
                let mut progress = progress.lock().unwrap_or_else(PoisonError::into_inner);
                progress((number as f64 + fraction) / candidates.len() as f64);
            };
            candidate.train(folds, groups, &options, (&report, &stop))
        };
        match candidates.iter().enumerate().map(train).collect::<std::result::Result<_, _>>() {
            Ok(trained) => Ok(Some(trained)),
            Err(LinearError::Stopped) => Ok(None),
            Err(error) => Err(candidate::failed(error)),
        }
    }
}

/// Skips copies of photos with the same labels. They add nothing, but a copy among the training samples of a fold gives away the
/// answer for the other one.
fn leave_out_copies(folder: &mut PhotoFolder) {
    let mut first = HashMap::new();
    let skipped = &mut folder.skipped;
    folder.photos.retain(|photo| match first.entry((photo.digest, photo.labels.clone())) {
        Entry::Vacant(entry) => {
            entry.insert(photo.path.clone());
            true
        }
        Entry::Occupied(entry) => {
            let reason = format!("a copy of {}", entry.get().display());
            skipped.push(SkippedFile { path: photo.path.clone(), reason });
            false
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_of_a_class_are_left_out_and_named() {
        let photo = |name: &str, class, digest| Photo { path: name.into(), labels: vec![class], digest: [digest; 32] };
        let photos = vec![photo("a/1", 0, 1), photo("a/2", 0, 2), photo("a/3", 0, 1), photo("b/1", 1, 1)];
        let classes = vec!["a".into(), "b".into()];
        let mut folder = PhotoFolder { classes, photos: photos.clone(), ..PhotoFolder::default() };
        leave_out_copies(&mut folder);
        assert_eq!(folder.photos, [photos[0].clone(), photos[1].clone(), photos[3].clone()]);
        assert_eq!(folder.skipped, [SkippedFile { path: "a/3".into(), reason: "a copy of a/1".into() }]);
    }
}
