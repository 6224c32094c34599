//! The evaluation of a model that gives a photo several labels.

use engraft::Error;
use engraft::data::{Dataset, Photo, PhotoDataset, PhotoFolder};
use engraft::linear::{LabelScore, LabelScores, LinearError, calibration};
use engraft::recipe::Classifier;
use engraft::runtime::Runtime;
use serde_json::{Map, Value, json};

use crate::classify::BATCH;
use crate::decode_pool::decode_pool;
use crate::failure::Failure;
use crate::meter::{Meter, Unit};
use crate::output;
use crate::photos::{add_left_out, add_unlabelled, skipped_note};
use crate::score::label_to_json;

/// Scores of the labels that the thresholds of a model decide on.
#[derive(Debug)]
pub(super) struct LabelEvaluation {
    scores: LabelScores,
    log_loss: f64,
    images: usize,
}

impl LabelEvaluation {
    /// Predicts all photos of `folder` with the classifier's runtime, and compares the labels with those of the photos.
    pub(super) fn of(classifier: &Classifier, folder: &PhotoFolder, runtime: &Runtime) -> Result<Self, Failure> {
        let (images, classes) = (folder.photos.len(), classifier.classes().len());
        let photos = PhotoDataset::new(folder.photos.clone(), classes, classifier.image_size())?
            .color_mode(classifier.color_mode());
        let (pool, mut decisions, mut probabilities) =
            (decode_pool(runtime)?, vec![false; images * classes], Vec::new());
        let meter = Meter::new("Classifying", Unit::Photos);
        for indices in Vec::from_iter(0..images).chunks(BATCH) {
            meter.set(indices[0] as u64, images as u64);
            let x = pool.install(|| photos.batch(indices))?.x;
            probabilities.extend(classifier.probabilities(&x)?.into_data());
        }
        meter.finish();
        for (photo, row) in probabilities.chunks_exact(classes).enumerate() {
            classifier.labels(row).into_iter().for_each(|label| decisions[photo * classes + label] = true);
        }
        let has = |photo: &Photo| (0..classes).map(|class| photo.labels.contains(&class)).collect::<Vec<_>>();
        let truth: Vec<bool> = folder.photos.iter().flat_map(has).collect();
        Ok(Self {
            scores: LabelScores::of(&decisions, &truth, classes).map_err(failed)?,
            log_loss: calibration::binary_log_loss(&probabilities, &truth).map_err(failed)?,
            images,
        })
    }

    /// With `in_f32`, the evaluation of the same model in f32.
    pub(super) fn to_json(&self, classifier: &Classifier, folder: &PhotoFolder, in_f32: Option<&Self>) -> Value {
        let thresholds = classifier.thresholds().unwrap_or_default();
        let label = |(score, threshold): (&LabelScore, &f32)| {
            let mut json = label_to_json(score);
            json["threshold"] = (*threshold).into();
            json
        };
        let labels = classifier.classes().iter().cloned().zip(self.scores.labels.iter().zip(thresholds).map(label));
        let mut json = json!({
            "micro_f1": self.scores.micro_f1,
            "macro_f1": self.scores.macro_f1,
            "subset_accuracy": self.scores.subset_accuracy,
            "log_loss": self.log_loss,
            "images": self.images,
            "skipped": folder.skipped.len(),
            "labels": labels.collect::<Map<_, _>>(),
        });
        add_left_out(folder, &mut json);
        add_unlabelled(folder, &mut json);
        if let Some(Self { scores, log_loss, .. }) = in_f32 {
            json["f32"] = json!({"micro_f1": scores.micro_f1, "log_loss": log_loss});
        }
        json
    }

    pub(super) fn to_text(&self, classifier: &Classifier, folder: &PhotoFolder, in_f32: Option<&Self>) -> String {
        let (scores, photos) = (&self.scores, output::count(self.images, "photo"));
        let mut text = format!(
            "micro F1 {:.3}, macro F1 {:.3}, all labels right {:.1} %, log loss {:.4} on {photos}{}\n",
            scores.micro_f1,
            scores.macro_f1,
            100.0 * scores.subset_accuracy,
            self.log_loss,
            skipped_note(folder)
        );
        if let Some(in_f32) = in_f32 {
            text.push_str(&format!(
                "in bf16; in f32 micro F1 {:.3}, log loss {:.4}\n",
                in_f32.scores.micro_f1, in_f32.log_loss
            ));
        }
        let width = classifier.classes().iter().map(|name| name.chars().count()).chain([5]).max().unwrap_or(5);
        text.push_str(&format!("\n  {:width$}  precision  recall     F1  photos  threshold", "label"));
        let number = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.3}"));
        let thresholds = classifier.thresholds().unwrap_or_default();
        for ((name, score), threshold) in classifier.classes().iter().zip(&scores.labels).zip(thresholds) {
            let [precision, recall, f1] = [score.precision, score.recall, score.f1].map(number);
            let support = score.support;
            text.push_str(&format!(
                "\n  {name:width$}  {precision:>9}  {recall:>6}  {f1:>5}  {support:>6}  {threshold:>9.3}"
            ));
        }
        text
    }
}

fn failed(error: LinearError) -> Error {
    Error::because("evaluation", &error).caused_by(error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use engraft::prelude::*;
    use engraft::recipe::Metadata;

    fn found() -> (LabelEvaluation, Classifier, PhotoFolder) {
        let truth = [true, false, false, true, true, false];
        let scores = LabelScores::of(&[true, false, false, true, false, false], &truth, 3).unwrap();
        let layers = Sequential::new().add(Input::new([1, 1, 3])).add(Flatten::new());
        let model = layers.add(Dense::new(3).activation(Sigmoid)).build().unwrap();
        let classes: Vec<String> = ["car", "red", "tree"].map(str::to_owned).to_vec();
        let metadata = Metadata { thresholds: Some(vec![0.25, 0.5, 0.5]), ..Metadata::new(classes.clone()) };
        let folder = PhotoFolder { classes, ..PhotoFolder::default() };
        let evaluation = LabelEvaluation { scores, log_loss: 0.125, images: 2 };
        (evaluation, Classifier::new(model, Some(metadata)).unwrap(), folder)
    }

    #[test]
    fn text_is_a_table_of_labels() {
        let (evaluation, classifier, folder) = found();
        let expected = "micro F1 0.800, macro F1 0.500, all labels right 50.0 %, log loss 0.1250 on 2 photos\n
  label  precision  recall     F1  photos  threshold
  car        1.000   1.000  1.000       2      0.250
  red            -   0.000  0.000       1      0.500
  tree           -       -      -       0      0.500";
        assert_eq!(evaluation.to_text(&classifier, &folder, None), expected);
        let text = evaluation.to_text(&classifier, &folder, Some(&evaluation));
        assert_eq!(text.lines().nth(1), Some("in bf16; in f32 micro F1 0.800, log loss 0.1250"));
    }

    #[test]
    fn json_has_null_where_nothing_can_be_said() {
        let (evaluation, classifier, folder) = found();
        let json = evaluation.to_json(&classifier, &folder, Some(&evaluation));
        assert_eq!(
            (&json["micro_f1"], &json["subset_accuracy"], &json["skipped"]),
            (&0.8.into(), &0.5.into(), &0.into())
        );
        let expected = json!({"precision": null, "recall": null, "f1": null, "images": 0, "threshold": 0.5});
        assert_eq!(json["labels"]["tree"], expected);
        assert_eq!(json["f32"], json!({"micro_f1": 0.8, "log_loss": 0.125}));
    }
}
