//! A model with what it takes to use it on photos.

use std::path::Path;

use engraft_kernels::{Activation, activate, softmax};

use super::{Base, Facts};
use crate::data::Pixels;
use crate::formats::keras::{self, SaveOptions};
use crate::runtime::Runtime;
use crate::train::{RunOptions, Train};
use crate::{Error, LossKind, Model, Result, Tensor};

/// A model that takes raw RGB photos and tells classes apart, and the names of these.
///
/// ```
/// use engraft::data::Pixels;
/// use engraft::prelude::*;
/// use engraft::recipe::Classifier;
/// let model = Sequential::new()
///     .add(Input::new([2, 2, 3]))
///     .add(Flatten::new())
///     .add(Dense::new(3).activation(Softmax))
///     .build()?;
/// let classifier = Classifier::new(model, None)?;
/// assert_eq!(classifier.classes(), ["0", "1", "2"]);
/// let photo = Pixels { width: 1, height: 1, rgb: vec![255, 0, 0] };
/// assert_eq!(classifier.classify(&photo)?.len(), 3);
/// # Ok::<(), engraft::Error>(())
/// ```
#[derive(Debug)]
pub struct Classifier {
    model: Model,
    classes: Vec<String>,
    facts: Option<Facts>,
    warnings: Vec<String>,
    runtime: Option<Runtime>,
}

impl Classifier {
    /// Names the classes of a model: by its facts, else `0`, `1`, …. A base in the facts is recorded on the model.
    ///
    /// # Errors
    /// A model that doesn't take one RGB photo, gives anything but one number a class, or has another number of classes
    /// than the facts have names; facts whose base has layers that the model doesn't have.
    pub fn new(model: Model, facts: Option<Facts>) -> Result<Self> {
        let place = || format!("model `{}`", model.name());
        let single = |received: usize, what: &str| match received {
            1 => Ok(()),
            several => Err(Error::new(place(), format_args!("one {what}"), several)),
        };
        single(model.inputs().len(), "input")?;
        single(model.outputs().len(), "output")?;
        if !matches!(model.input_shape()[..], [_, _, 3]) {
            let received = format!("{:?}", model.input_shape());
            return Err(Error::new(place(), "an input of RGB photos, [height, width, 3]", received));
        }
        let &[outputs] = &model.output_shape()[..] else {
            let received = format!("{:?}", model.output_shape());
            return Err(Error::new(place(), "an output of one number a class, [classes]", received));
        };
        // One yes or no tells two classes apart.
        let count = outputs.max(2);
        let classes = match &facts {
            Some(facts) => facts.classes.clone(),
            None => (0..count).map(|class| class.to_string()).collect(),
        };
        if classes.len() != count {
            return Err(Error::new(place(), format_args!("{count} class names"), classes.len()));
        }
        if let Some(facts) = &facts {
            Base::restore(&model, &facts.base)?;
        }
        Ok(Self { model, classes, facts, warnings: Vec::new(), runtime: None })
    }

    /// Opens a `.keras` file or a whole-model `.h5`, whoever wrote it.
    ///
    /// # Errors
    /// Those of [`keras::load`], [`Facts::read`] and [`new`](Self::new).
    pub fn load(path: &Path) -> Result<Self> {
        let archive = keras::load(path)?;
        let unfit = |error: Error| error.within(path.display()).into_invalid_data();
        let loaded = Self::new(archive.model, Facts::read(path)?).map_err(unfit)?;
        Ok(Self { warnings: archive.warnings, ..loaded })
    }

    /// Writes a `.keras` file that holds the facts, too, and in them the base as it is recorded on the model.
    ///
    /// # Errors
    /// Those of [`keras::save`].
    pub fn save(&self, path: &Path) -> Result<()> {
        self.save_with(path, false)
    }

    /// Like [`save`](Self::save); with the optimizer's memory, if wanted, training goes on where it stopped. With Adam
    /// that adds two numbers for each that is trained.
    ///
    /// # Errors
    /// Those of [`keras::save`].
    pub fn save_with(&self, path: &Path, optimizer_state: bool) -> Result<()> {
        let facts = self.facts.clone().map(|facts| Facts { base: Base::recorded_paths(&self.model), ..facts });
        let extras: Vec<_> = facts.iter().map(Facts::entry).collect();
        keras::save(&self.model, path, &SaveOptions { optimizer_state, extras: &extras, ..SaveOptions::default() })
    }

    /// Computes on this runtime instead of the [shared one](Runtime::shared).
    #[must_use]
    pub fn runtime(self, runtime: &Runtime) -> Self {
        Self { runtime: Some(runtime.clone()), ..self }
    }

    /// The model.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Class names in the order of the outputs.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// What else is known of the model; `None` where engraft hasn't written it.
    pub fn facts(&self) -> Option<&Facts> {
        self.facts.as_ref()
    }

    /// What could not be taken over from its file.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Height and width of the photos that the model takes.
    pub fn image_size(&self) -> [usize; 2] {
        let shape = self.model.input_shape();
        [shape[0], shape[1]]
    }

    /// A photo as the model takes it: `[1, height, width, 3]`, resized as Keras does by default, RGB in 0..=255.
    ///
    /// # Errors
    /// Never, while the photo holds the pixels that it says.
    pub fn input(&self, photo: &Pixels) -> Result<Tensor> {
        let [height, width] = self.image_size();
        Tensor::new([1, height, width, 3], photo.resize(height, width))
    }

    /// The probability of each class for a photo, in class order.
    ///
    /// # Errors
    /// A model that can't run, such as one larger than memory.
    pub fn classify(&self, photo: &Pixels) -> Result<Vec<f32>> {
        let options = self.runtime.iter().fold(RunOptions::from(1), |options, runtime| options.runtime(runtime));
        let mut outputs = self.model.predict(&self.input(photo)?, options)?.into_data();
        let loss = self.model.compiled().map(|compiled| compiled.loss);
        if let Some(loss) = loss.filter(|loss| loss.is_from_logits()) {
            probabilities(&mut outputs, loss.kind());
        }
        Ok(match outputs[..] {
            [yes] => vec![1.0 - yes, yes],
            _ => outputs,
        })
    }
}

/// Turns logits into what the loss takes them for.
fn probabilities(logits: &mut [f32], loss: LossKind) {
    if loss == LossKind::BinaryCrossentropy {
        activate(Activation::Sigmoid, logits);
        return;
    }
    softmax(logits.len(), logits);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prelude::*;

    /// A model whose outputs are the kernel's values for a photo of one pixel with a red of 1.
    fn model(outputs: &[f32]) -> Model {
        let model = Sequential::new().add(Input::new([1, 1, 3])).add(Flatten::new()).add(Dense::new(outputs.len()));
        let model = model.build().unwrap();
        let kernel = outputs.iter().copied().chain(vec![0.0; 2 * outputs.len()]);
        model.weights()[0].set(kernel.collect()).unwrap();
        model
    }

    const PHOTO: [u8; 3] = [1, 0, 0];

    fn classify(model: Model) -> Vec<f32> {
        let photo = Pixels { width: 1, height: 1, rgb: PHOTO.to_vec() };
        Classifier::new(model, None).unwrap().classify(&photo).unwrap()
    }

    #[test]
    fn logits_become_probabilities() {
        let logits = model(&[0.0, 2.0_f32.ln(), 5.0_f32.ln()]);
        logits.compile(Sgd::new(0.1), Loss::categorical_crossentropy().from_logits(true), []).unwrap();
        // 1, 2 and 5 eighths: a few f32 operations.
        for (received, expected) in classify(logits).iter().zip([0.125, 0.25, 0.625]) {
            assert!((received - expected).abs() < 1e-6, "{received} {expected}");
        }
    }

    #[test]
    fn one_output_is_the_probability_of_the_second_class() {
        assert_eq!(classify(model(&[0.25])), [0.75, 0.25]);
        let logit = model(&[0.0]);
        logit.compile(Sgd::new(0.1), Loss::binary_crossentropy().from_logits(true), []).unwrap();
        assert_eq!(classify(logit), [0.5, 0.5]);
    }

    #[test]
    fn facts_travel_in_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.keras");
        let facts = Facts::new(vec!["cat".into(), "dog".into()]);
        Classifier::new(model(&[0.1, 0.9]), Some(facts.clone())).unwrap().save(&path).unwrap();
        let loaded = Classifier::load(&path).unwrap();
        assert_eq!((loaded.facts(), loaded.classes()), (Some(&facts), &["cat".to_owned(), "dog".to_owned()][..]));
        assert!(loaded.warnings().is_empty());
    }

    #[test]
    fn a_model_that_is_no_classifier_of_photos_says_why() {
        let built = |layers: Sequential| Classifier::new(layers.build().unwrap(), None).unwrap_err().to_string();
        let vectors = Sequential::new().add(Input::new([4])).add(Dense::new(2));
        assert!(built(vectors).contains("expected an input of RGB photos, [height, width, 3], received [4]"));
        let grey = Sequential::new().add(Input::new([4, 4, 1])).add(Flatten::new()).add(Dense::new(2));
        assert!(built(grey).contains("received [4, 4, 1]"));
        let image = Sequential::new().add(Input::new([4, 4, 3])).add(Conv2D::new(2, 3));
        assert!(built(image).contains("expected an output of one number a class"));
        let names = Facts::new(vec!["cat".into()]);
        let error = Classifier::new(model(&[0.1, 0.2, 0.7]), Some(names)).unwrap_err().to_string();
        assert!(error.contains("expected 3 class names, received 1"), "{error}");
    }
}
