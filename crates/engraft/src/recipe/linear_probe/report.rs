//! [`ProbeReport`]: the classifier that a [`LinearProbe`](super::LinearProbe) trained, its scores and choices.

use std::path::Path;

use engraft_linear::interval::wilson;
use engraft_linear::threshold::{Unknown, out_of_fold, unknown};
use engraft_linear::{ClassMeans, CrossValidation, Fit, Folds, LabelScores, Labels, LinearError, calibration};

use super::candidate::{Candidate, Trained, failed, matrix};
use super::fine_tuning::{FineTuned, FineTuning};
use super::labels::bits_of;
use crate::Result;
use crate::data::{Photo, PhotoFolder};
use crate::prelude::*;
use crate::recipe::{Backbone, Metadata, NearDuplicates, PhotoFeatures, SplitRecord, UnknownRule};

/// Share of the right answers that stay above the threshold of "unknown".
const RIGHT_ANSWERS_KEPT: f64 = 0.99;

/// The classifier that a [`LinearProbe`](super::LinearProbe) trained, its scores and choices.
#[derive(Debug)]
pub struct ProbeReport {
    /// The classifier, trained on all photos of the folder.
    pub classifier: Classifier,
    /// The photos that were trained on, and the files that were left out.
    pub folder: PhotoFolder,
    /// The recipe that was chosen.
    pub recipe: Recipe,
    /// Number of features of a photo.
    pub features: usize,
    /// Out-of-fold score of the whole procedure, choices included.
    pub score: CrossValidation,
    /// What was chosen for the linear head.
    pub fit: Fit,
    /// The rule of "unknown" and its price in the cross-validation; `None` where a photo can have several labels.
    pub unknown: Option<Unknown>,
    /// Thresholds and scores of the labels, where a photo can have several.
    pub labels: Option<LabelReport>,
    /// The score on the held-out photos, if there were any.
    pub held_out: Option<HeldOutScore>,
    /// What became of fine-tuning.
    pub fine_tuning: FineTuning,
    /// Photos that show the same picture. Those of the folder are in the same fold.
    pub near_duplicates: NearDuplicates,
    /// The out-of-fold score of each recipe without fine-tuning, in the order of the recipes.
    pub candidates: Vec<CandidateScore>,
}

/// The out-of-fold score of one recipe of several.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CandidateScore {
    /// The recipe's backbone.
    pub backbone: Backbone,
    /// Share of photos that were classified correctly; where a photo can have several labels, share of labels on the right side of
    /// 0.5.
    pub accuracy: f64,
    /// Mean log loss.
    pub log_loss: f64,
}

/// Thresholds and scores of the labels, where a photo can have several.
#[derive(Clone, Debug, PartialEq)]
pub struct LabelReport {
    /// The threshold of each label in the classifier: that of the best F1 score of the out-of-fold probabilities.
    pub thresholds: Vec<f32>,
    /// Out-of-fold scores of the labels. The photos of each fold are decided by thresholds that the other folds chose, so that the
    /// scores aren't better for the choice.
    pub scores: LabelScores,
}

/// The score on photos that took no part in training or in any choice.
#[derive(Clone, Debug, PartialEq)]
pub struct HeldOutScore {
    /// Number of photos.
    pub photos: usize,
    /// Share of photos that were classified correctly; where a photo can have several labels, with all labels right.
    pub accuracy: f64,
    /// 95 % interval of the accuracy (Wilson 1927).
    pub interval: (f64, f64),
    /// Mean log loss, also over labels where a photo can have several; probabilities are clipped to 1e-7.
    pub log_loss: f64,
    /// The scores of the labels, where a photo can have several.
    pub labels: Option<LabelScores>,
}

impl HeldOutScore {
    /// The score of probabilities `[photos, labels]` with a threshold for each label.
    pub(super) fn of_labels(
        probabilities: &[f32],
        thresholds: &[f32],
        photos: &[Photo],
    ) -> std::result::Result<Self, LinearError> {
        let truth = bits_of(photos.iter(), thresholds.len());
        let decisions: Vec<bool> = probabilities.iter().zip(thresholds.iter().cycle()).map(|(p, t)| p >= t).collect();
        let labels = LabelScores::of(&decisions, &truth, thresholds.len())?;
        let (photos, accuracy) = (photos.len(), labels.subset_accuracy);
        let log_loss = calibration::binary_log_loss(probabilities, &truth)?;
        Ok(Self { photos, accuracy, interval: wilson(accuracy, photos), log_loss, labels: Some(labels) })
    }

    /// The score of probabilities, each with the index of the right class.
    pub(super) fn of<'a>(answers: impl Iterator<Item = (&'a [f32], usize)>) -> Self {
        let (mut photos, mut right, mut loss) = (0usize, 0usize, 0.0);
        for (probabilities, class) in answers {
            let largest = probabilities.iter().fold(0.0, |largest: f32, p| largest.max(*p));
            let first = probabilities.iter().position(|p| *p == largest);
            photos += 1;
            right += usize::from(first == Some(class));
            loss -= f64::from(probabilities[class].max(1e-7)).ln();
        }
        let count = photos.max(1) as f64;
        let accuracy = right as f64 / count;
        Self { photos, accuracy, interval: wilson(accuracy, photos), log_loss: loss / count, labels: None }
    }
}

/// The index of the candidate with the lowest log loss.
pub(super) fn chosen(trained: &[Trained]) -> usize {
    let by_loss = |one: &usize, other: &usize| loss(&trained[*one]).total_cmp(&loss(&trained[*other]));
    (0..trained.len()).min_by(by_loss).unwrap_or(0)
}

/// The report of the candidate `chosen`, whose network has the weights of fine-tuning if that is kept.
///
/// `score` is the out-of-fold score of the choice among the candidates.
pub(super) fn report(
    seed: u64,
    (dir, folder): (&Path, PhotoFolder),
    mut candidates: Vec<Candidate>,
    mut trained: Vec<Trained>,
    chosen: usize,
    (score, tuned): (CrossValidation, FineTuned),
    near_duplicates: NearDuplicates,
) -> Result<ProbeReport> {
    let scores = candidates.iter().zip(&trained).map(|(candidate, trained)| CandidateScore {
        backbone: candidate.network.recipe.backbone,
        accuracy: trained.score.accuracy,
        log_loss: trained.score.log_loss,
    });
    let scores = scores.collect();
    let Candidate { network, training, mut held_out } = candidates.swap_remove(chosen);
    let Trained { labels, fit, thresholds, held_out: held_out_score, .. } = trained.swap_remove(chosen);
    let is_tuned = tuned.outcome.is_kept();
    if !is_tuned {
        network.set_head(&fit.model)?;
    }
    let (score, held_out_score) = (tuned.score.unwrap_or(score), tuned.held_out.or(held_out_score));
    let (loss, metric) = network.recipe.loss();
    network.model.compile(Adam::new(network.recipe.backbone.learning_rate()), loss, [metric])?;
    let (unknown, class_means) = match thresholds {
        None => {
            let (unknown, means) = unknown_of(&training, &labels, &score, is_tuned).map_err(failed)?;
            (Some(unknown), means)
        }
        Some(_) => (None, None),
    };
    let label_report = thresholds.clone().map(|thresholds| label_report(thresholds, &score, &labels).map_err(failed));
    let label_report = label_report.transpose()?;
    // Held-out photos of another folder leave none of this folder's to hold out.
    let trained_on_all = held_out.photos.iter().all(|photo| !photo.path.starts_with(dir));
    let metadata = Metadata {
        backbone: Some(network.recipe.backbone),
        seed: Some(seed),
        unknown: unknown.map_or(Ok(None), |unknown| UnknownRule::new(unknown, class_means))?,
        thresholds,
        trained_on_all_photos: trained_on_all,
        split: Some(SplitRecord::new(&training.photos, &held_out.photos)),
        ..Metadata::new(folder.classes.clone())
    };
    let mut folder = folder;
    folder.skipped.append(&mut held_out.skipped);
    Ok(ProbeReport {
        classifier: Classifier::new(network.model, Some(metadata))?,
        folder,
        recipe: network.recipe,
        features: training.values.data().len() / training.photos.len().max(1),
        score,
        fit,
        unknown,
        labels: label_report,
        held_out: held_out_score,
        fine_tuning: tuned.outcome,
        near_duplicates,
        candidates: scores,
    })
}

/// The rule of "unknown" by the out-of-fold answers, and the class means that it needs.
///
/// Fine-tuning changes the features, so that the angles to the class means of the frozen network don't apply to it.
fn unknown_of(
    training: &PhotoFeatures,
    labels: &Labels,
    score: &CrossValidation,
    is_tuned: bool,
) -> std::result::Result<(Unknown, Option<ClassMeans>), LinearError> {
    let angles = if is_tuned { None } else { Some(angles(training, labels, &score.fold_of_sample)?) };
    let (cosines, class_means) = angles.unzip();
    Ok((unknown(&score.probabilities, cosines.as_deref(), labels, RIGHT_ANSWERS_KEPT)?, class_means))
}

/// For each photo, the largest cosine to a class mean of the other folds' photos; and the class means of all photos.
fn angles(
    training: &PhotoFeatures,
    labels: &Labels,
    fold_of_photo: &[usize],
) -> std::result::Result<(Vec<f32>, ClassMeans), LinearError> {
    let features = matrix(training)?;
    let folds = Folds::new(fold_of_photo.to_vec())?;
    let mut cosines = vec![0.0; features.samples()];
    for fold in 0..folds.count() {
        let (others, of_fold) = folds.split(fold);
        let means = ClassMeans::of(features, &others, labels)?;
        of_fold.into_iter().for_each(|photo| cosines[photo] = means.cosine(features.row(photo)));
    }
    let all: Vec<usize> = (0..features.samples()).collect();
    Ok((cosines, ClassMeans::of(features, &all, labels)?))
}

/// The scores of out-of-fold decisions.
fn label_report(
    thresholds: Vec<f32>,
    score: &CrossValidation,
    labels: &Labels,
) -> std::result::Result<LabelReport, LinearError> {
    let decisions = out_of_fold(&score.probabilities, labels, &score.fold_of_sample)?;
    let has = |at: usize| labels.has(at / labels.classes(), at % labels.classes());
    let truth: Vec<bool> = (0..decisions.len()).map(has).collect();
    Ok(LabelReport { thresholds, scores: LabelScores::of(&decisions, &truth, labels.classes())? })
}

/// The log loss that the training photos alone give.
fn loss(trained: &Trained) -> f64 {
    trained.fit.inner_log_loss.unwrap_or(trained.score.log_loss)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_held_out_score_counts_and_clips() {
        let answers: [(&[f32], usize); 3] = [(&[0.9, 0.1], 0), (&[0.5, 0.5], 1), (&[1.0, 0.0], 1)];
        let score = HeldOutScore::of(answers.into_iter());
        assert_eq!((score.photos, score.accuracy), (3, 1.0 / 3.0));
        let expected = -(0.9f64.ln() + 0.5f64.ln() + 1e-7f64.ln()) / 3.0;
        assert!((score.log_loss - expected).abs() < 1e-6, "{}", score.log_loss);
        assert!(score.interval.0 < 1.0 / 3.0 && score.interval.1 > 1.0 / 3.0);
    }

    #[test]
    fn held_out_labels_are_decided_by_their_thresholds() {
        let photo = |labels: &[usize]| Photo { path: "1.jpg".into(), labels: labels.to_vec(), digest: [0; 32] };
        let photos = [photo(&[0, 1]), photo(&[])];
        let score = HeldOutScore::of_labels(&[0.9, 0.3, 0.2, 0.3], &[0.5, 0.25], &photos).unwrap();
        let labels = score.labels.unwrap();
        assert_eq!((score.photos, score.accuracy, labels.micro_f1), (2, 0.5, 0.8));
        let expected = -(0.9f64.ln() + 0.3f64.ln() + 0.8f64.ln() + 0.7f64.ln()) / 4.0;
        assert!((score.log_loss - expected).abs() < 1e-6, "{}", score.log_loss);
    }
}
