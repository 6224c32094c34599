//! The evaluation of a model that gives a photo one class.

use std::path::{Path, PathBuf};

use engraft::data::{ColorMode, Photo, PhotoFolder, SkippedFile};
use engraft::linear::{LinearError, calibration, interval::wilson};
use engraft::recipe::{Answer, Classifier};
use engraft::runtime::Runtime;
use engraft::{Error, Loss, LossKind, Result};

use crate::classify::{Decode, classify, ranked};
use crate::csv;
use crate::decode_pool::decode_pool;
use crate::failure::Failure;
use crate::meter::{Meter, Unit};
use crate::score::Score;

/// Bins of the expected calibration error.
const BINS: usize = 10;

/// Probabilities are clipped to this distance from 0 and 1, as Keras does.
const CLIP: f64 = 1e-7;

/// What a model answers on photos of known classes, added up photo by photo.
#[derive(Debug)]
pub(super) struct ClassEvaluation {
    loss: Loss,
    loss_sum: f64,
    /// Photos by right class and answer, `[classes, classes]`.
    confusion: Vec<Vec<usize>>,
    confidences: Vec<f32>,
    right: Vec<bool>,
    /// The numbers of right and of wrong answers that are "unknown".
    unknown: [usize; 2],
    mistakes: Vec<Mistake>,
    pub(super) unreadable: Vec<SkippedFile>,
}

/// A wrong answer.
#[derive(Debug)]
struct Mistake {
    path: PathBuf,
    class: usize,
    answer: usize,
    probability: f32,
    probability_of_class: f32,
}

/// Precision, recall and F1 of a class; `None` where there is nothing to count.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct ClassScore {
    pub(super) precision: Option<f64>,
    pub(super) recall: Option<f64>,
    pub(super) f1: Option<f64>,
    pub(super) right: usize,
    pub(super) images: usize,
}

/// A photo in a scanned folder.
struct InFolder<'a>(&'a Photo);

impl Decode for InFolder<'_> {
    fn decode(&self, mode: ColorMode, image_size: [usize; 2]) -> Result<Vec<f32>> {
        self.0.load(mode, image_size).map_err(|file| Error::because(file.path.display(), &file.reason))
    }
}

impl ClassEvaluation {
    /// Classifies all photos of `folder` with the classifier's runtime.
    ///
    /// # Errors
    /// The model can't run.
    pub(super) fn of(
        classifier: &Classifier,
        loss: Loss,
        folder: &PhotoFolder,
        runtime: &Runtime,
    ) -> std::result::Result<Self, Failure> {
        let mut evaluation = Self::new(classifier.classes().len(), loss);
        let photos: Vec<InFolder<'_>> = folder.photos.iter().map(InFolder).collect();
        let (meter, mut done) = (Meter::new("Classifying", Unit::Photos), 0);
        classify(classifier, &photos, &decode_pool(runtime)?, &mut |InFolder(photo), answer| {
            done += 1;
            meter.set(done, photos.len() as u64);
            match (answer, photo.class()) {
                (Ok(answer), Some(class)) => evaluation.add(&photo.path, class, &answer)?,
                (Ok(_), None) => {}
                (Err(error), _) => {
                    let reason = photo.decode().err().map_or_else(|| error.to_string(), |file| file.reason);
                    evaluation.unreadable.push(SkippedFile { path: photo.path.clone(), reason });
                }
            }
            Ok(())
        })?;
        Ok(evaluation)
    }

    fn new(classes: usize, loss: Loss) -> Self {
        Self {
            loss,
            loss_sum: 0.0,
            confusion: vec![vec![0; classes]; classes],
            confidences: Vec::new(),
            right: Vec::new(),
            unknown: [0; 2],
            mistakes: Vec::new(),
            unreadable: Vec::new(),
        }
    }

    fn add(&mut self, path: &Path, class: usize, answer: &Answer) -> Result<()> {
        let probabilities = &answer.probabilities;
        let best = ranked(probabilities).first().copied().unwrap_or(0);
        self.loss_sum += loss(&self.loss, probabilities, class)?;
        self.confusion[class][best] += 1;
        self.confidences.push(probabilities[best]);
        self.right.push(best == class);
        self.unknown[usize::from(best != class)] += usize::from(answer.is_unknown);
        if best != class {
            self.mistakes.push(Mistake {
                path: path.to_owned(),
                class,
                answer: best,
                probability: probabilities[best],
                probability_of_class: probabilities[class],
            });
        }
        Ok(())
    }

    /// Loss and accuracy of all photos.
    pub(super) fn score(&self) -> Score {
        let images = self.right.len();
        let mean = |sum: f64| sum / images.max(1) as f64;
        let right = self.right.iter().filter(|right| **right).count();
        Score { loss: mean(self.loss_sum), accuracy: mean(right as f64), images }
    }

    /// 95 % interval of the accuracy (Wilson 1927).
    pub(super) fn interval(&self) -> (f64, f64) {
        wilson(self.score().accuracy, self.right.len())
    }

    /// Expected calibration error in ten bins of equal count.
    pub(super) fn calibration_error(&self) -> Result<f64> {
        calibration::calibration_error(&self.confidences, &self.right, BINS).map_err(failed)
    }

    /// The numbers of right and of wrong answers, and how many of each are "unknown".
    pub(super) fn unknown(&self) -> [(usize, usize); 2] {
        let right = self.right.iter().filter(|right| **right).count();
        [(self.unknown[0], right), (self.unknown[1], self.right.len() - right)]
    }

    /// Photos by right class and answer, `[classes, classes]`.
    pub(super) fn confusion(&self) -> &[Vec<usize>] {
        &self.confusion
    }

    /// The score of each class.
    pub(super) fn classes(&self) -> Vec<ClassScore> {
        let score = |class: usize| {
            let right = self.confusion[class][class];
            let images = self.confusion[class].iter().sum();
            let answers: usize = self.confusion.iter().map(|row| row[class]).sum();
            let share = |of: usize| (of > 0).then(|| right as f64 / of as f64);
            let f1 = (images + answers > 0).then(|| 2.0 * right as f64 / (images + answers) as f64);
            ClassScore { precision: share(answers), recall: share(images), f1, right, images }
        };
        (0..self.confusion.len()).map(score).collect()
    }

    /// The wrong answers as a CSV file, the most confident first.
    pub(super) fn mistakes(&self, classes: &[String]) -> String {
        let mut mistakes: Vec<&Mistake> = self.mistakes.iter().collect();
        mistakes.sort_by(|one, other| other.probability.total_cmp(&one.probability));
        let row = |mistake: &Mistake| {
            let Mistake { path, class, answer, probability, probability_of_class } = mistake;
            let numbers = [*probability, *probability_of_class].map(csv::number);
            let answer = [&*classes[*class], &classes[*answer], &numbers[0], &numbers[1]];
            csv::photo_record(&path.to_string_lossy(), answer)
        };
        let header = csv::record(["image", "class", "answer", "probability", "probability_of_class"]);
        let rows = std::iter::once(header).chain(mistakes.into_iter().map(row));
        rows.map(|row| row + "\n").collect()
    }
}

/// The loss of a photo: that of Keras, on the probabilities of its classes.
fn loss(loss: &Loss, probabilities: &[f32], class: usize) -> Result<f64> {
    let clip = |p: f32| f64::from(p).clamp(CLIP, 1.0 - CLIP);
    let target = match loss.kind() {
        LossKind::SparseCategoricalCrossentropy => vec![class as f32],
        _ => (0..probabilities.len()).map(|at| f32::from(u8::from(at == class))).collect(),
    };
    let target = loss.dense_targets(&target, 1, probabilities.len())?;
    let terms = probabilities.iter().zip(&target).map(|(&p, &t)| match loss.kind() {
        LossKind::BinaryCrossentropy => {
            let (p, t) = (clip(p), f64::from(t));
            -(t * p.ln() + (1.0 - t) * (1.0 - p).ln()) / probabilities.len() as f64
        }
        LossKind::CategoricalCrossentropy | LossKind::SparseCategoricalCrossentropy => -f64::from(t) * clip(p).ln(),
    });
    Ok(terms.sum())
}

fn failed(error: LinearError) -> Error {
    Error::because("evaluation", &error).caused_by(error)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Three photos of the first class, one of the second, none of the third.
    pub(crate) fn evaluation() -> ClassEvaluation {
        let mut evaluation = ClassEvaluation::new(3, Loss::categorical_crossentropy());
        let answers = [(0, [0.7, 0.2, 0.1]), (0, [0.05, 0.9, 0.05]), (0, [0.4, 0.3, 0.3]), (1, [0.2, 0.5, 0.3])];
        for (number, (class, probabilities)) in answers.into_iter().enumerate() {
            let answer = Answer { probabilities: probabilities.to_vec(), is_unknown: number >= 2 };
            evaluation.add(Path::new(&format!("{number}.jpg")), class, &answer).unwrap();
        }
        evaluation
    }

    #[test]
    fn scores_count_what_was_answered() {
        let evaluation = evaluation();
        let Score { loss, accuracy, images } = evaluation.score();
        let expected = -(0.7f32.ln() + 0.05f32.ln() + 0.4f32.ln() + 0.5f32.ln()) / 4.0;
        assert!((loss - f64::from(expected)).abs() < 1e-6 && (accuracy, images) == (0.75, 4), "{loss}");
        assert_eq!(evaluation.confusion(), [[2, 1, 0], [0, 1, 0], [0, 0, 0]]);
        assert_eq!(evaluation.unknown(), [(2, 3), (0, 1)]);
        let [first, second, third] = evaluation.classes()[..] else { panic!("three classes") };
        assert_eq!((first.precision, first.recall, first.f1, first.images), (Some(1.0), Some(2.0 / 3.0), Some(0.8), 3));
        assert_eq!((second.precision, second.recall, second.right), (Some(0.5), Some(1.0), 1));
        assert_eq!((third.precision, third.recall, third.f1, third.images), (None, None, None, 0));
        // Confidences 0.4, 0.5, 0.7 and 0.9 in ten bins: each stands for itself.
        assert!((evaluation.calibration_error().unwrap() - (0.6 + 0.5 + 0.3 + 0.9) / 4.0).abs() < 1e-6);
    }

    #[test]
    fn mistakes_are_sorted_by_confidence() {
        let mut evaluation = evaluation();
        let sure = Answer { probabilities: vec![0.02, 0.01, 0.97], is_unknown: false };
        evaluation.add(Path::new("a, b.jpg"), 1, &sure).unwrap();
        let classes = ["ant", "bee", "cat"].map(str::to_owned);
        let expected = "image,class,answer,probability,probability_of_class\n\"a, b.jpg\",bee,cat,0.97,0.01\n\"1.jpg\",ant,bee,0.9,0.05\n";
        assert_eq!(evaluation.mistakes(&classes), expected);
    }

    #[test]
    fn losses_are_those_of_the_definitions() {
        let probabilities = [0.25, 0.75];
        let of = |of: Loss| loss(&of, &probabilities, 1).unwrap();
        assert!((of(Loss::categorical_crossentropy()) + 0.75f64.ln()).abs() < 1e-6);
        assert!((of(Loss::sparse_categorical_crossentropy()) + 0.75f64.ln()).abs() < 1e-6);
        assert!((of(Loss::binary_crossentropy()) + 0.75f64.ln()).abs() < 1e-6);
        let smoothed = of(Loss::categorical_crossentropy().label_smoothing(0.2));
        assert!((smoothed + 0.9 * 0.75f64.ln() + 0.1 * 0.25f64.ln()).abs() < 1e-6);
    }
}
