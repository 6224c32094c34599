//! [`Answer`]: what a classifier says of a photo.

use engraft_kernels::{Activation, activate, softmax};

use super::Classifier;
use crate::data::Pixels;
use crate::plan::Plan;
use crate::recipe::Outputs;
use crate::runtime::{Runtime, SessionKey};
use crate::train::{RunOptions, Train};
use crate::{Error, ErrorKind, OutputActivation, Result, Tensor};

/// What a classifier says of a photo.
///
/// ```
/// use engraft::recipe::Answer;
/// let answer = Answer { probabilities: vec![0.3, 0.7], is_unknown: false };
/// assert_eq!(answer.probabilities.len(), 2);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The probability of each class, in class order.
    pub probabilities: Vec<f32>,
    /// Whether the photo is "unknown" by the rule of the [`Metadata`](crate::recipe::Metadata).
    pub is_unknown: bool,
}

impl Classifier {
    /// The probability of each class for a photo, in class order.
    ///
    /// [Logits](Outputs::Logits) are converted to probabilities.
    ///
    /// # Errors
    /// The model can't run, for example because it needs more memory than there is.
    pub fn classify(&self, photo: &Pixels) -> Result<Vec<f32>> {
        Ok(self.probabilities(&self.input(photo)?)?.into_data())
    }

    /// The answer for a photo: the probability of each class, and whether the photo is "unknown".
    ///
    /// ```
    /// use engraft::data::Pixels;
    /// use engraft::prelude::*;
    /// use engraft::recipe::{Metadata, UnknownRule};
    /// let layers = Sequential::new().add(Input::new([2, 2, 3])).add(Flatten::new());
    /// let model = layers.add(Dense::new(2).activation(Softmax).kernel_initializer(Initializer::zeros())).build()?;
    /// let classes = vec!["cat".into(), "dog".into()];
    /// let rule = UnknownRule { threshold: 1.0, weight: 0.0, class_means: None };
    /// let classifier = Classifier::new(model, Some(Metadata { unknown: Some(rule), ..Metadata::new(classes) }))?;
    /// let answer = classifier.answer(&Pixels { width: 1, height: 1, rgb: vec![9, 9, 9] })?;
    /// assert!(answer.probabilities == [0.5, 0.5] && answer.is_unknown);
    /// # Ok::<(), engraft::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`classify`](Self::classify).
    pub fn answer(&self, photo: &Pixels) -> Result<Answer> {
        let mut answers = self.answers(&self.input(photo)?)?;
        answers.pop().ok_or_else(|| Error::new("classifier", "one answer", 0).with_kind(ErrorKind::Internal))
    }

    /// The answers for a batch of [inputs](Self::input) `[n, height, width, 3]`, in their order; see [`answer`](Self::answer).
    ///
    /// ```
    /// use engraft::prelude::*;
    /// let model = Sequential::new().add(Input::new([2, 2, 3])).add(Flatten::new()).add(Dense::new(1).activation(Sigmoid));
    /// let classifier = Classifier::new(model.build()?, None)?.batch_size(16);
    /// let answers = classifier.answers(&Tensor::zeros([4, 2, 2, 3]))?;
    /// assert_eq!((answers.len(), &answers[3].probabilities[..]), (4, &[0.5, 0.5][..]));
    /// # Ok::<(), engraft::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`probabilities`](Self::probabilities).
    pub fn answers(&self, x: &Tensor) -> Result<Vec<Answer>> {
        let (probabilities, features) = match &self.with_features {
            None => (self.probabilities(x)?, None),
            Some(model) => {
                let plan = |batch, options: &_| Plan::predict(model, batch, options);
                let runtime = self.runtime.clone().map_or_else(Runtime::shared, Ok)?;
                let key = SessionKey::Predict { batch: self.batch_size.max(x.batch()) };
                let mut outputs = runtime.with_session(model, key, plan, |session| session.predict(&[x]))?;
                let features = outputs.pop();
                (self.probabilities_of(outputs.remove(0))?, features)
            }
        };
        let rule = self.metadata.as_ref().and_then(|metadata| metadata.unknown.as_ref());
        let answer = |row: usize| {
            let (probabilities, features) =
                (probabilities.row(row), features.as_ref().map(|features| features.row(row)));
            let is_unknown = !self.is_raw && rule.is_some_and(|rule| rule.is_unknown(probabilities, features));
            Answer { probabilities: probabilities.to_vec(), is_unknown }
        };
        Ok((0..probabilities.batch()).map(answer).collect())
    }

    /// The probabilities `[n, classes]` for a batch of [inputs](Self::input) `[n, height, width, 3]`; see
    /// [`classify`](Self::classify).
    ///
    /// ```
    /// use engraft::prelude::*;
    /// let model = Sequential::new().add(Input::new([2, 2, 3])).add(Flatten::new()).add(Dense::new(1).activation(Sigmoid));
    /// let classifier = Classifier::new(model.build()?, None)?;
    /// let probabilities = classifier.probabilities(&Tensor::zeros([4, 2, 2, 3]))?;
    /// assert_eq!(probabilities, Tensor::new([4, 2], vec![0.5; 8])?);
    /// # Ok::<(), engraft::Error>(())
    /// ```
    ///
    /// # Errors
    /// `x` has another shape, or the model can't run.
    pub fn probabilities(&self, x: &Tensor) -> Result<Tensor> {
        let options = RunOptions::from(self.batch_size.max(x.batch()));
        let options = self.runtime.iter().fold(options, |options, runtime| options.runtime(runtime));
        self.probabilities_of(self.model.predict(x, options)?)
    }

    /// The probabilities that the outputs of the model mean.
    fn probabilities_of(&self, mut outputs: Tensor) -> Result<Tensor> {
        let (rows, width) = (outputs.batch(), outputs.shape()[1..].iter().product());
        match self.outputs {
            _ if self.is_raw => {}
            Outputs::Logits(OutputActivation::Sigmoid) => activate(Activation::Sigmoid, outputs.data_mut()),
            Outputs::Logits(_) => softmax(width, outputs.data_mut()),
            Outputs::Probabilities | Outputs::Values | Outputs::Features => {}
        }
        let pair: fn(f32) -> [f32; 2] = match (width, self.outputs, self.is_raw) {
            (1, Outputs::Logits(_), true) => |logit| [0.0, logit],
            (1, Outputs::Logits(_) | Outputs::Probabilities, _) => |yes| [1.0 - yes, yes],
            _ => return Ok(outputs),
        };
        Tensor::new([rows, 2], outputs.data().iter().copied().flat_map(pair).collect())
    }

    /// Whether a photo can have several labels or none, as the model has a sigmoid for each of several outputs.
    ///
    /// ```
    /// use engraft::prelude::*;
    /// let layers = |activation| {
    ///     let layers = Sequential::new().add(Input::new([2, 2, 3])).add(Flatten::new());
    ///     layers.add(Dense::new(3).activation(activation)).build()
    /// };
    /// assert!(Classifier::new(layers(Sigmoid)?, None)?.is_multi_label());
    /// assert!(!Classifier::new(layers(Softmax)?, None)?.is_multi_label());
    /// # Ok::<(), engraft::Error>(())
    /// ```
    pub fn is_multi_label(&self) -> bool {
        self.thresholds.is_some()
    }

    /// The decision threshold of each label: a photo has the label at this probability or above. `None` where each photo has one class.
    ///
    /// The thresholds of the [`Metadata`](crate::recipe::Metadata), if it has any; else 0.5 for every label.
    pub fn thresholds(&self) -> Option<&[f32]> {
        self.thresholds.as_deref()
    }

    /// The indices of a photo's classes, the most probable first: the labels that reach their [thresholds](Self::thresholds), or the
    /// one most probable class where each photo has one.
    ///
    /// ```
    /// use engraft::prelude::*;
    /// use engraft::recipe::Metadata;
    /// let layers = Sequential::new().add(Input::new([2, 2, 3])).add(Flatten::new());
    /// let model = layers.add(Dense::new(3).activation(Sigmoid)).build()?;
    /// let classes = ["car", "red", "tree"].map(str::to_owned).to_vec();
    /// let metadata = Metadata { thresholds: Some(vec![0.3, 0.8, 0.5]), ..Metadata::new(classes) };
    /// let classifier = Classifier::new(model, Some(metadata))?;
    /// assert_eq!(classifier.labels(&[0.3, 0.7, 0.9]), [2, 0]);
    /// assert!(classifier.labels(&[0.2, 0.7, 0.4]).is_empty());
    /// # Ok::<(), engraft::Error>(())
    /// ```
    pub fn labels(&self, probabilities: &[f32]) -> Vec<usize> {
        let mut labels: Vec<usize> = (0..probabilities.len()).collect();
        labels.sort_by(|&a, &b| probabilities[b].total_cmp(&probabilities[a]));
        match &self.thresholds {
            Some(thresholds) => labels.retain(|&label| probabilities[label] >= thresholds[label]),
            None => labels.truncate(1),
        }
        labels
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::model;
    use super::*;
    use crate::prelude::*;
    use crate::recipe::Metadata;

    /// One pixel of red 1, which selects the first row of the kernel.
    const PHOTO: [u8; 3] = [1, 0, 0];

    fn classify(model: Model) -> Vec<f32> {
        let photo = Pixels { width: 1, height: 1, rgb: PHOTO.to_vec() };
        Classifier::new(model, None).unwrap().classify(&photo).unwrap()
    }

    #[test]
    fn logits_become_probabilities() {
        let logits = model(&[0.0, 2.0_f32.ln(), 5.0_f32.ln()]);
        logits.compile(Sgd::new(0.1), Loss::categorical_crossentropy().from_logits(true), []).unwrap();
        // The tolerance covers the rounding of a few f32 operations.
        for (received, expected) in classify(logits).iter().zip([0.125, 0.25, 0.625]) {
            assert!((received - expected).abs() < 1e-6, "{received} {expected}");
        }
    }

    #[test]
    fn one_output_is_the_probability_of_the_second_class() {
        let probability = model(&[0.25]);
        probability.compile(Sgd::new(0.1), Loss::binary_crossentropy(), []).unwrap();
        assert_eq!(classify(probability), [0.75, 0.25]);
        assert_eq!(classify(model(&[0.0])), [0.5, 0.5], "without a loss it is a logit");
        let logit = model(&[0.0]);
        logit.compile(Sgd::new(0.1), Loss::binary_crossentropy().from_logits(true), []).unwrap();
        assert_eq!(classify(logit), [0.5, 0.5]);
    }

    #[test]
    fn several_sigmoids_or_their_logits_are_labels() {
        let classifier = |model| Classifier::new(model, None).unwrap();
        assert!(!classifier(model(&[0.0, 1.0])).is_multi_label());
        let logits = model(&[0.0, 1.0]);
        logits.compile(Sgd::new(0.1), Loss::binary_crossentropy().from_logits(true), []).unwrap();
        assert_eq!(classifier(logits).thresholds(), Some(&[0.5; 2][..]));
        // A softmax would be the rule, but with this loss a photo has one class.
        let layers = Sequential::new().add(Input::new([1, 1, 3])).add(Flatten::new());
        let one_class = layers.add(Dense::new(2).activation(Sigmoid)).build().unwrap();
        assert!(classifier(one_class.clone()).is_multi_label());
        one_class.compile(Sgd::new(0.1), Loss::categorical_crossentropy(), []).unwrap();
        assert!(!classifier(one_class).is_multi_label());
        let one =
            Sequential::new().add(Input::new([1, 1, 3])).add(Flatten::new()).add(Dense::new(1).activation(Sigmoid));
        assert!(!classifier(one.build().unwrap()).is_multi_label(), "a single output is a binary classifier");
        let metadata = Metadata { thresholds: Some(vec![0.5]), ..Metadata::new(vec!["cat".into(), "dog".into()]) };
        let error = Classifier::new(model(&[0.1, 0.2]), Some(metadata)).unwrap_err().to_string();
        assert!(error.contains("expected 2 thresholds, received 1"), "{error}");
    }

    #[test]
    fn a_photo_far_from_all_class_means_is_unknown_before_and_after_saving() {
        use crate::linear::ClassMeans;
        use crate::recipe::UnknownRule;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.keras");
        // The features are the pixel's colour; both classes are reddish.
        let means = ClassMeans::new(vec![0.0; 3], vec![1.0; 3], vec![1.0, 0.0, 0.0, 0.8, 0.6, 0.0]).unwrap();
        let rule = UnknownRule { threshold: 2.0, weight: 2.0, class_means: Some(means) };
        let metadata = Metadata { unknown: Some(rule), ..Metadata::new(vec!["cat".into(), "dog".into()]) };
        let model = model(&[0.2, 0.6]);
        model.weights()[1].set(vec![0.1, 0.5]).unwrap();
        let classifier = Classifier::new(model, Some(metadata)).unwrap();
        classifier.save(&path).unwrap();
        for classifier in [&classifier, &Classifier::load(&path).unwrap()] {
            let answer = |rgb: [u8; 3]| {
                let photo = Pixels { width: 1, height: 1, rgb: rgb.to_vec() };
                let answer = classifier.answer(&photo).unwrap();
                assert_eq!(answer.probabilities, classifier.classify(&photo).unwrap());
                answer.is_unknown
            };
            assert_eq!([answer([9, 0, 0]), answer([0, 0, 9])], [false, true]);
        }
    }
}
