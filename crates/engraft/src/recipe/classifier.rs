//! An image classifier: a model with class names and, for a file of engraft, its metadata.

mod answer;

use std::path::{Path, PathBuf};

use super::channels_last_input::with_channels_last_input;
use super::vector_output::{output_layer, with_vector_output};
use super::{ClassifierOptions, Metadata, Outputs, Unscaled, preprocessed};
use crate::applications::Preprocessing;
use crate::data::{ColorMode, Photo, Pixels};
use crate::formats::keras::{self, SaveOptions};
use crate::runtime::Runtime;
use crate::{Error, Model, Result, SymbolicTensor, Tensor};

pub use answer::Answer;

/// A model that classifies raw RGB photos, with the names of its classes.
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
///
/// // Photos of any size are resized to the model's input.
/// let photo = Pixels { width: 1, height: 1, rgb: vec![255, 0, 0] };
/// assert_eq!(classifier.image_size(), [2, 2]);
/// assert_eq!(classifier.input(&photo)?.data()[..6], [255.0, 0.0, 0.0, 255.0, 0.0, 0.0]);
/// assert_eq!(classifier.classify(&photo)?.len(), 3);
/// # Ok::<(), engraft::Error>(())
/// ```
///
/// Class names are saved with the model:
///
/// ```
/// use engraft::data::Pixels;
/// use engraft::prelude::*;
/// use engraft::recipe::{Classifier, Metadata};
/// # let layers = Sequential::new().add(Input::new([2, 2, 3])).add(Flatten::new());
/// # let model = layers.add(Dense::new(2).activation(Softmax)).build()?;
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("pets.keras");
/// let metadata = Metadata::new(vec!["cat".into(), "dog".into()]);
/// let classifier = Classifier::new(model, Some(metadata))?;
/// classifier.save(&path)?;
///
/// let loaded = Classifier::load(&path)?.runtime(&Runtime::cpu(Some(2))?);
/// assert_eq!(loaded.classes(), ["cat", "dog"]);
/// assert_eq!(loaded.metadata(), classifier.metadata());
/// assert!(loaded.warnings().is_empty());
/// let photo = Pixels { width: 1, height: 1, rgb: vec![255, 0, 0] };
/// assert_eq!(loaded.classify(&photo)?, classifier.classify(&photo)?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Classifier {
    model: Model,
    color_mode: ColorMode,
    classes: Vec<String>,
    metadata: Option<Metadata>,
    pub(super) warnings: Vec<String>,
    /// The file beside the model that the class names come from.
    pub(super) classes_file: Option<PathBuf>,
    runtime: Option<Runtime>,
    batch_size: usize,
    outputs: Outputs,
    /// Whether answers are the outputs themselves.
    is_raw: bool,
    /// The threshold of each class, where a photo can have several labels.
    thresholds: Option<Vec<f32>>,
    /// The model with two outputs, its own and the features that its last layer sees, where "unknown" depends on them.
    with_features: Option<Model>,
}

impl Classifier {
    /// A classifier that names the model's classes by the metadata or, without metadata, `0`, `1`, ….
    ///
    /// The model must map one input `[height, width, 3]`, or `[height, width, 4]` for RGBA photos, or `[height, width, 1]` for grey
    /// ones, or the same with the channels first, or a grey `[height, width]`, to one output `[classes]`. A model with an output `[1]`
    /// is a binary classifier; the output is the probability of the second class. An output such as `[1, 1, classes]` is flattened. Any
    /// other output is [features](Outputs::Features), which have no classes.
    ///
    /// # Errors
    /// The model's input has another shape, or the metadata has another number of class names.
    pub fn new(model: Model, metadata: Option<Metadata>) -> Result<Self> {
        let model = with_vector_output(with_channels_last_input(model)?)?;
        let place = || format!("model `{}`", model.name());
        let single = |tensors: &[SymbolicTensor], what: &str, hint: &str| match tensors {
            [_] => Ok(()),
            several => {
                let names: Vec<&str> = several.iter().map(|tensor| tensor.layer().name()).collect();
                let received = format!("{}: {}", several.len(), names.join(", "));
                Err(Error::new(place(), format_args!("one {what}"), received).hint(hint))
            }
        };
        single(model.inputs(), "input", "only one input can be a photo; Model::predict takes a tensor for each input")?;
        single(model.outputs(), "output", "choose one: ClassifierOptions::output")?;
        let color_mode = ColorMode::of_input(model.input_shape())
            .map_err(|_| Error::new(place(), ColorMode::INPUTS, format_args!("{:?}", model.input_shape())))?;
        let kind = Outputs::of(&model)?;
        // Features of several places, as of a network without its top, have no classes.
        let outputs = if let &[outputs] = &model.output_shape()[..] { outputs } else { 0 };
        let count = match kind {
            // A single output is a binary classifier, unless it stands for itself.
            Outputs::Probabilities | Outputs::Logits(_) => outputs.max(2),
            Outputs::Values | Outputs::Features => outputs,
        };
        let classes = match &metadata {
            Some(metadata) => metadata.classes.clone(),
            None => (0..count).map(|class| class.to_string()).collect(),
        };
        if classes.len() != count {
            return Err(Error::new(place(), format_args!("{count} class names"), classes.len()));
        }
        let given = metadata.as_ref().and_then(|metadata| metadata.thresholds.clone());
        if let Some(thresholds) = given.as_ref().filter(|thresholds| thresholds.len() != count) {
            return Err(Error::new(place(), format_args!("{count} thresholds"), thresholds.len()));
        }
        let thresholds = match given {
            None if outputs > 1 && kind.are_independent(&model)? => Some(vec![DEFAULT_THRESHOLD; outputs]),
            given => given,
        };
        let needs_features = metadata.as_ref().and_then(|metadata| metadata.unknown.as_ref());
        let with_features = match needs_features.filter(|rule| rule.class_means.is_some()) {
            Some(_) => Some(Model::new(model.inputs(), [model.output(), &model.output().inputs()[0]])?),
            None => None,
        };
        Ok(Self {
            model,
            color_mode,
            classes,
            metadata,
            warnings: Vec::new(),
            classes_file: None,
            runtime: None,
            batch_size: 1,
            outputs: kind,
            is_raw: false,
            thresholds,
            with_features,
        })
    }

    /// Loads a `.keras` file or a whole-model `.h5`, written by engraft or by Keras.
    ///
    /// # Errors
    /// Those of [`keras::load`], [`Metadata::read`] and [`new`](Self::new).
    pub fn load(path: &Path) -> Result<Self> {
        Self::load_with(path, &ClassifierOptions::new())
    }

    /// Like [`load`](Self::load), with options: image size, output, class names, layers in a file of their own, custom layers.
    ///
    /// Class names come from the options, else from the file, else from a file beside it ([`ClassNames::beside`](super::ClassNames)).
    /// Keras drops the class names of a file that it loads and saves: no part of a Keras model holds them.
    ///
    /// # Errors
    /// Those of [`load`](Self::load); no output of the chosen name; another image size than that of an input of fixed size; another
    /// number of class names than the model has classes.
    pub fn load_with(path: &Path, options: &ClassifierOptions) -> Result<Self> {
        options.open(path)
    }

    /// Saves the model and the metadata to a `.keras` file, without the optimizer's state.
    ///
    /// # Errors
    /// Those of [`keras::save`].
    pub fn save(&self, path: &Path) -> Result<()> {
        self.save_with(path, false)
    }

    /// Like [`save`](Self::save), with the optimizer's state if `optimizer_state` is true.
    ///
    /// Training can then resume where it stopped. Adam's state is two numbers per trainable parameter.
    ///
    /// ```
    /// use engraft::prelude::*;
    /// use engraft::recipe::Classifier;
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("model.keras");
    /// let layers = Sequential::new().add(Input::new([1, 1, 3])).add(Flatten::new());
    /// let model = layers.add(Dense::new(2).activation(Softmax)).build()?;
    /// model.compile(Adam::new(1e-3), Loss::categorical_crossentropy(), [])?;
    /// model.train_on_batch(&Tensor::zeros([1, 1, 1, 3]), &Tensor::new([1, 2], vec![1.0, 0.0])?)?;
    /// Classifier::new(model, None)?.save_with(&path, true)?;
    ///
    /// let resumed = Classifier::load(&path)?;
    /// assert_eq!(resumed.model().compiled().map(|compiled| compiled.state.iterations()), Some(1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`keras::save`].
    pub fn save_with(&self, path: &Path, optimizer_state: bool) -> Result<()> {
        let extras = self.metadata.as_ref().map_or(Ok(Vec::new()), Metadata::entries)?;
        keras::save(&self.model, path, &SaveOptions { optimizer_state, extras: &extras, ..SaveOptions::default() })
    }

    /// Adds a training run to the [record](super::SplitRecord) of the metadata, which [`save`](Self::save) writes. Without metadata,
    /// nothing is recorded.
    ///
    /// ```
    /// use engraft::data::{Part, Photo};
    /// use engraft::prelude::*;
    /// use engraft::recipe::Metadata;
    /// let layers = Sequential::new().add(Input::new([1, 1, 3])).add(Flatten::new()).add(Dense::new(2));
    /// let metadata = Metadata::new(vec!["cat".into(), "dog".into()]);
    /// let photo = |digest| Photo { path: "1.jpg".into(), labels: vec![0], digest: [digest; 32] };
    /// let classifier = Classifier::new(layers.build()?, Some(metadata))?.record_split(&[photo(1)], &[photo(2)]);
    /// let record = classifier.metadata().and_then(|metadata| metadata.split.as_ref());
    /// assert_eq!(record.and_then(|record| record.part(&[2; 32])), Some(Part::Validation));
    /// # Ok::<(), engraft::Error>(())
    /// ```
    #[must_use]
    pub fn record_split(self, training: &[Photo], held_out: &[Photo]) -> Self {
        let record = |metadata: Metadata| {
            let split = Some(metadata.split.unwrap_or_default().and(training, held_out));
            Metadata { split, ..metadata }
        };
        Self { metadata: self.metadata.map(record), ..self }
    }

    /// The same classifier with this preprocessing in front of the model, where the file leaves it to the caller. [`save`](Self::save)
    /// saves it with the model: as layers, and in the metadata if there is any.
    ///
    /// ```
    /// use engraft::applications::Preprocessing;
    /// use engraft::prelude::*;
    /// use engraft::recipe::Classifier;
    /// let model = Sequential::new().add(Input::new([2, 2, 3])).add(Flatten::new()).add(Dense::new(2)).build()?;
    /// let classifier = Classifier::new(model, None)?;
    /// assert!(classifier.unscaled()?.is_some());
    /// let classifier = classifier.preprocessing(Preprocessing::Scale)?;
    /// assert!(classifier.unscaled()?.is_none());
    /// # Ok::<(), engraft::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`preprocessed`].
    pub fn preprocessing(self, preprocessing: Preprocessing) -> Result<Self> {
        let metadata = self.metadata.map(|metadata| Metadata { preprocessing: Some(preprocessing), ..metadata });
        let model = preprocessed(&self.model, preprocessing)?;
        let Self { warnings, classes_file, runtime, batch_size, .. } = self;
        Ok(Self { warnings, classes_file, runtime, batch_size, ..Self::new(model, metadata)? })
    }

    /// Whether the model gets pixels from 0 to 255 unscaled, and nobody said with [`preprocessing`](Self::preprocessing) that this is
    /// right; see [`Unscaled`].
    ///
    /// # Errors
    /// A layer that can't be lowered.
    pub fn unscaled(&self) -> Result<Option<Unscaled>> {
        match self.metadata.as_ref().and_then(|metadata| metadata.preprocessing) {
            Some(_) => Ok(None),
            None => Unscaled::of(&self.model),
        }
    }

    /// Predicts with this runtime instead of the [shared one](Runtime::shared).
    #[must_use]
    pub fn runtime(self, runtime: &Runtime) -> Self {
        Self { runtime: Some(runtime.clone()), ..self }
    }

    /// Prepares for batches of this many photos; 1 by default. Smaller ones run with the same plan, larger ones need a new one.
    #[must_use]
    pub fn batch_size(self, batch_size: usize) -> Self {
        Self { batch_size: batch_size.max(1), ..self }
    }

    /// The model.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Class names in the order of the outputs. A model with a single output has two classes.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// The file beside the model file that the class names come from; `None` if they come from the model file or the caller.
    pub fn classes_file(&self) -> Option<&Path> {
        self.classes_file.as_deref()
    }

    /// What the model's outputs mean.
    pub fn outputs(&self) -> Outputs {
        self.outputs
    }

    /// The name of the layer whose output the model gives.
    ///
    /// ```
    /// use engraft::prelude::*;
    /// let layers = Sequential::new().add(Input::new([1, 1, 3])).add(Conv2D::new(2, 1).named("top"));
    /// assert_eq!(Classifier::new(layers.build()?, None)?.output_layer(), "top");
    /// # Ok::<(), engraft::Error>(())
    /// ```
    pub fn output_layer(&self) -> String {
        output_layer(&self.model)
    }

    /// Answers with the model's outputs themselves, such as logits, where probabilities would be made of them. No photo is "unknown"
    /// then, and the [thresholds](Self::thresholds) of logits are logits.
    ///
    /// A single logit z is that of the second class; the first has 0, as a softmax of both gives the probabilities.
    ///
    /// ```
    /// use engraft::prelude::*;
    /// let layers = Sequential::new().add(Input::new([1, 1, 3])).add(Flatten::new());
    /// let model = layers.add(Dense::new(1).kernel_initializer(Initializer::ones())).build()?;
    /// let classifier = Classifier::new(model, None)?.raw_outputs();
    /// assert_eq!(classifier.probabilities(&Tensor::new([1, 1, 1, 3], vec![1.0; 3])?)?.data(), [0.0, 3.0]);
    /// # Ok::<(), engraft::Error>(())
    /// ```
    #[must_use]
    pub fn raw_outputs(self) -> Self {
        let logit = |probability: f32| (probability / (1.0 - probability)).ln();
        let thresholds = match self.outputs {
            Outputs::Logits(_) => self.thresholds.map(|thresholds| thresholds.into_iter().map(logit).collect()),
            _ => self.thresholds,
        };
        Self { is_raw: true, thresholds, ..self }
    }

    /// Whether the answers are probabilities.
    ///
    /// ```
    /// use engraft::prelude::*;
    /// let model = Sequential::new().add(Input::new([1, 1, 3])).add(Flatten::new()).add(Dense::new(3)).build()?;
    /// let classifier = Classifier::new(model, None)?;
    /// assert!(classifier.gives_probabilities() && !classifier.raw_outputs().gives_probabilities());
    /// # Ok::<(), engraft::Error>(())
    /// ```
    pub fn gives_probabilities(&self) -> bool {
        match self.outputs {
            Outputs::Probabilities => true,
            Outputs::Logits(_) => !self.is_raw,
            Outputs::Values | Outputs::Features => false,
        }
    }

    /// The metadata; `None` if the model file has none, such as a file of Keras, or if [`new`](Self::new) was called without. Class
    /// names of the caller or of a file beside the model are metadata, too.
    pub fn metadata(&self) -> Option<&Metadata> {
        self.metadata.as_ref()
    }

    /// Parts of the file that weren't loaded, such as an unknown optimizer. Predictions don't depend on them.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Height and width of the model's input, in pixels.
    pub fn image_size(&self) -> [usize; 2] {
        let shape = self.model.input_shape();
        [shape[0], shape[1]]
    }

    /// The channels of the model's input: RGB, RGBA or grey.
    pub fn color_mode(&self) -> ColorMode {
        self.color_mode
    }

    /// Converts a photo to the model's input `[1, height, width, channels]`, with values from 0 to 255.
    ///
    /// The photo is resized like `image_dataset_from_directory` does by default: bilinear, without keeping the aspect ratio. For a model
    /// of RGBA photos it is opaque; [`load_input`](Self::load_input) keeps the transparency of a file.
    ///
    /// # Errors
    /// The number of pixels contradicts the photo's width and height.
    pub fn input(&self, photo: &Pixels) -> Result<Tensor> {
        let [height, width] = self.image_size();
        Tensor::new([1, height, width, self.color_mode.channels()], photo.resize_as(self.color_mode, height, width))
    }

    /// Decodes the photo at `path` and converts it to the model's input, as [`input`](Self::input) does.
    ///
    /// For a model of RGBA photos it keeps the transparency of the file, which other models get blended onto white.
    ///
    /// ```
    /// use engraft::prelude::*;
    /// # // A BMP image of one red pixel.
    /// # let mut bmp = b"BM\0\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0\x01\0\0\0\x01\0\0\0\x01\0\x18\0".to_vec();
    /// # bmp.extend([0; 24]);
    /// # bmp.extend([0, 0, 255, 0]);
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("red.bmp");
    /// # std::fs::write(&path, bmp)?;
    /// let layers = Sequential::new().add(Input::new([1, 1, 4])).add(Flatten::new()).add(Dense::new(2).activation(Softmax));
    /// let classifier = Classifier::new(layers.build()?, None)?;
    /// let input = classifier.load_input(&path)?;
    /// assert_eq!(input.data(), [255.0, 0.0, 0.0, 255.0]);
    /// assert_eq!(classifier.probabilities(&input)?.shape(), [1, 2]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`decode`](crate::data::decode()).
    pub fn load_input(&self, path: &Path) -> Result<Tensor> {
        let [height, width] = self.image_size();
        Tensor::new([1, height, width, self.color_mode.channels()], self.color_mode.load(path, [height, width])?)
    }
}

/// The threshold of labels where none was chosen.
const DEFAULT_THRESHOLD: f32 = 0.5;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prelude::*;

    /// A model that maps one pixel of red 1 to these outputs.
    pub(super) fn model(outputs: &[f32]) -> Model {
        let model = Sequential::new().add(Input::new([1, 1, 3])).add(Flatten::new()).add(Dense::new(outputs.len()));
        let model = model.build().unwrap();
        let kernel = outputs.iter().copied().chain(vec![0.0; 2 * outputs.len()]);
        model.weights()[0].set(kernel.collect()).unwrap();
        model
    }

    #[test]
    fn metadata_travels_in_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.keras");
        let metadata = Metadata::new(vec!["cat".into(), "dog".into()]);
        Classifier::new(model(&[0.1, 0.9]), Some(metadata.clone())).unwrap().save(&path).unwrap();
        let loaded = Classifier::load(&path).unwrap();
        assert_eq!((loaded.metadata(), loaded.classes()), (Some(&metadata), &["cat".to_owned(), "dog".to_owned()][..]));
        assert!(loaded.warnings().is_empty());
    }

    #[test]
    fn a_model_that_is_no_classifier_of_photos_says_why() {
        let built = |layers: Sequential| Classifier::new(layers.build().unwrap(), None).unwrap_err().to_string();
        let vectors = Sequential::new().add(Input::new([4])).add(Dense::new(2));
        assert!(built(vectors).contains(
            "expected an input of RGB photos, [height, width, 3], RGBA ones, [height, width, 4], or grey ones, [height, width, 1], received [4]"
        ));
        let infrared = Sequential::new().add(Input::new([4, 4, 5])).add(Flatten::new()).add(Dense::new(2));
        assert!(built(infrared).contains("received [4, 4, 5]"));
        let names = Metadata::new(vec!["cat".into()]);
        let error = Classifier::new(model(&[0.1, 0.2, 0.7]), Some(names)).unwrap_err().to_string();
        assert!(error.contains("expected 3 class names, received 1"), "{error}");
    }
}
