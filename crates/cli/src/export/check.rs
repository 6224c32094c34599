//! Compares the predictions of a model with those of its exported file.

use std::collections::BTreeSet;
use std::fmt;

use engraft::data::{Dataset, PhotoDataset, PhotoFolder};
use engraft::formats::FloatType;
use engraft::ir::{Op, Unary};
use engraft::random::Rng;
use engraft::recipe::Classifier;
use engraft::runtime::Runtime;
use engraft::train::{RunOptions, Train};
use engraft::{Error, ErrorKind, Model, Program, Result, Step, Tensor};

use crate::decode_pool::decode_pool;
use crate::output;

/// Largest accepted difference of a probability: f32 sums in another order stay well below it.
const TOLERANCE: f32 = 1e-4;

/// The same of a model that rounds to integers. Where a number is halfway between two of them, its last bit decides.
const ROUNDING_TOLERANCE: f32 = 1e-2;

/// A function that predicts with an exported file: images to outputs.
pub(super) type Predict = Box<dyn Fn(&Tensor) -> Result<Tensor>>;

/// Batch size, and number of synthetic images.
pub(super) const BATCH: usize = 8;

/// The images on which the model and its exported file are compared.
pub(super) enum Samples {
    Photos(PhotoDataset),
    Synthetic(Tensor),
}

/// The comparison of the predictions of a model with those of its exported file.
#[derive(Debug, PartialEq)]
pub(super) struct Agreement {
    /// Largest difference of a predicted probability; NaN if a prediction is NaN.
    pub(super) difference: f32,
    /// What the predictions on photos decide; `None` for synthetic images, which have no classes.
    pub(super) decisions: Option<Decisions>,
}

/// What a model and its exported file decide on photos.
#[derive(Debug, PartialEq)]
pub(super) enum Decisions {
    /// Accuracy of the model and of the file, where a photo has one class.
    Accuracy([f64; 2]),
    /// The photos that get the same labels from both, of all photos. Class folders don't tell all labels of a photo, so nothing says
    /// which are right.
    SameLabels(usize, usize),
}

impl Samples {
    pub(super) fn photos(folder: PhotoFolder, classifier: &Classifier) -> Result<Self> {
        let photos = PhotoDataset::new(folder.photos, folder.classes.len(), classifier.image_size())?;
        Ok(Self::Photos(photos.color_mode(classifier.color_mode())))
    }

    /// Makes synthetic images: horizontal gradients between two random colours, with noise.
    pub(super) fn synthetic(classifier: &Classifier) -> Result<Self> {
        let ([height, width], channels) = (classifier.image_size(), classifier.color_mode().channels());
        let mut rng = Rng::new(0);
        let mut pixels = Vec::with_capacity(BATCH * height * width * channels);
        for _ in 0..BATCH {
            // Of grey images only one of three colours is used, so that they are those of the same seed in RGB.
            let colours = channels.max(3);
            let ends: Vec<f32> = (0..2 * colours).map(|_| rng.uniform(0.0, 255.0)).collect();
            for pixel in 0..height * width {
                let across = (pixel % width) as f32 / width as f32;
                for channel in 0..channels {
                    let light = ends[channel] + (ends[channel + colours] - ends[channel]) * across;
                    pixels.push((light + rng.uniform(-40.0, 40.0)).clamp(0.0, 255.0).round());
                }
            }
        }
        Tensor::new([BATCH, height, width, channels], pixels).map(Self::Synthetic)
    }

    /// Compares the predictions of the model and of the exported file `file` on all images.
    pub(super) fn compare(&self, classifier: &Classifier, file: &Predict, runtime: &Runtime) -> Result<Agreement> {
        let model = classifier.model();
        let options = RunOptions::from(BATCH).runtime(runtime);
        let predict = |x: &Tensor| -> Result<[Tensor; 2]> { Ok([model.predict(x, options)?, file(x)?]) };
        let photos = match self {
            Self::Synthetic(x) => {
                let [a, b] = predict(x)?;
                return Ok(Agreement { difference: difference(&a, &b), decisions: None });
            }
            Self::Photos(photos) => photos,
        };
        let (pool, indices) = (decode_pool(runtime)?, Vec::from_iter(0..photos.len()));
        let (mut largest, mut right, mut same) = (0.0f32, [0; 2], 0);
        for indices in indices.chunks(BATCH) {
            let batch = pool.install(|| photos.batch(indices))?;
            let predicted = predict(&batch.x)?;
            largest = maximum(largest, difference(&predicted[0], &predicted[1]));
            if classifier.is_multi_label() {
                let labels = |predicted: &Tensor, row| BTreeSet::from_iter(classifier.labels(predicted.row(row)));
                let is_same = |&row: &usize| labels(&predicted[0], row) == labels(&predicted[1], row);
                same += (0..indices.len()).filter(is_same).count();
                continue;
            }
            for (right, predicted) in right.iter_mut().zip(&predicted) {
                *right +=
                    (0..indices.len()).filter(|&row| class(predicted.row(row)) == class(batch.y.row(row))).count();
            }
        }
        let decisions = match classifier.is_multi_label() {
            true => Decisions::SameLabels(same, photos.len()),
            false => Decisions::Accuracy(right.map(|right| right as f64 / photos.len().max(1) as f64)),
        };
        Ok(Agreement { difference: largest, decisions: Some(decisions) })
    }
}

impl fmt::Display for Samples {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Photos(photos) => f.write_str(&output::count(photos.len(), "photo")),
            Self::Synthetic(x) => f.write_str(&output::count(x.batch(), "synthetic image")),
        }
    }
}

impl Agreement {
    /// Returns an error if the comparison failed.
    ///
    /// An f32 file fails if a prediction differs by more than the [`tolerance`]; an f16 file, if a prediction is not a finite number.
    pub(super) fn must_hold(&self, float_type: FloatType, tolerance: f32) -> Result<()> {
        let (most, expected) = match float_type {
            FloatType::F32 => (tolerance, format!("predictions that differ from the model's by at most {tolerance}")),
            FloatType::F16 => (f32::MAX, "predictions that are numbers".to_owned()),
        };
        if self.difference <= most {
            return Ok(());
        }
        Err(Error::new("the file written", expected, self.difference)
            .with_kind(ErrorKind::Internal)
            .hint("the file was deleted; unless the model itself predicts NaN, this is a bug: please report it"))
    }
}

/// The largest accepted difference of a prediction of this model.
pub(super) fn tolerance(model: &Model) -> Result<f32> {
    let rounds =
        |step: &Step| matches!(step.op, Op::Unary(Unary::Round | Unary::Truncate | Unary::Floor | Unary::Ceil));
    let program = Program::of(model, false, 0)?;
    Ok(if program.steps.iter().any(rounds) { ROUNDING_TOLERANCE } else { TOLERANCE })
}

fn difference(a: &Tensor, b: &Tensor) -> f32 {
    a.data().iter().zip(b.data()).fold(0.0, |largest, (a, b)| maximum(largest, (a - b).abs()))
}

/// The larger number. If one is NaN, the result is NaN, unlike that of `f32::max`.
fn maximum(a: f32, b: f32) -> f32 {
    if a.is_nan() || b.is_nan() { f32::NAN } else { a.max(b) }
}

/// Index of the most likely class, the first of equal ones. A single output is class 1 from 0.5 on, else class 0.
fn class(row: &[f32]) -> usize {
    match row {
        [yes] => usize::from(*yes >= 0.5),
        _ => (0..row.len()).fold(0, |best, class| if row[class] > row[best] { class } else { best }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_a_number_never_agrees() {
        let tensor = |values: [f32; 2]| Tensor::new([2], values.to_vec()).unwrap();
        assert_eq!(difference(&tensor([0.25, 1.0]), &tensor([0.5, 1.0])), 0.25);
        let nan = difference(&tensor([f32::NAN, 1.0]), &tensor([0.5, 1.0]));
        for float_type in [FloatType::F32, FloatType::F16] {
            let error = Agreement { difference: nan, decisions: None }.must_hold(float_type, TOLERANCE).unwrap_err();
            assert!(error.to_string().contains("received NaN"), "{error}");
        }
        let differing = Agreement { difference: 0.01, decisions: None };
        assert!(
            differing.must_hold(FloatType::F32, TOLERANCE).is_err()
                && differing.must_hold(FloatType::F16, TOLERANCE).is_ok()
        );
    }

    #[test]
    fn classes_are_the_likeliest() {
        assert_eq!([class(&[0.2, 0.5, 0.5]), class(&[0.4]), class(&[0.5])], [1, 0, 1]);
    }
}
