//! [`ClassifierOptions`]: what a program says about a model file that it opens as a classifier.

use std::path::{Path, PathBuf};

use super::class_names::{self, ClassNames};
use super::{Classifier, Metadata, Outputs};
use crate::applications::Preprocessing;
use crate::formats::keras::{self, Archive, LoadOptions};
use crate::{Error, ErrorKind, Model, Result};

/// Options of [`Classifier::load_with`]: image size, output, class names, preprocessing, layers in a file of their own, custom layers.
///
/// ```
/// use engraft::prelude::*;
/// use engraft::recipe::ClassifierOptions;
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("pets.keras");
/// let x = Input::new([2, 2, 3]);
/// let features = Flatten::new().call(&x)?;
/// let species = Dense::new(2).activation(Softmax).named("species").call(&features)?;
/// let age = Dense::new(1).activation(Relu).named("age").call(&features)?;
/// save_model(&Model::new(&x, [&age, &species])?, &path)?;
///
/// let options = ClassifierOptions::new().output("species").class_names(["cat", "dog"]);
/// // The model was trained on pixels from 0 to 1.
/// let options = options.preprocessing(engraft::applications::Preprocessing::Scale);
/// let classifier = Classifier::load_with(&path, &options)?;
/// assert_eq!(classifier.classes(), ["cat", "dog"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct ClassifierOptions {
    load: LoadOptions,
    image_size: Option<[usize; 2]>,
    output: Option<String>,
    class_names: Option<Vec<String>>,
    preprocessing: Option<Preprocessing>,
    architecture: Option<PathBuf>,
}

impl ClassifierOptions {
    /// The options of [`Classifier::load`].
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the options of reading the file, such as custom layers.
    #[must_use]
    pub fn load_options(self, load: LoadOptions) -> Self {
        Self { load, ..self }
    }

    /// Sets the height and width of photos, in pixels, for a model whose input has an open size.
    #[must_use]
    pub fn image_size(self, size: [usize; 2]) -> Self {
        Self { image_size: Some(size), ..self }
    }

    /// Chooses an output of a model with several, by the name of its layer or its key in a dictionary of outputs. The default is the
    /// first that tells classes apart.
    #[must_use]
    pub fn output(self, name: impl Into<String>) -> Self {
        Self { output: Some(name.into()), ..self }
    }

    /// Sets the names of the classes, in the order of the model's outputs, in place of those of the file.
    #[must_use]
    pub fn class_names<S: Into<String>>(self, names: impl IntoIterator<Item = S>) -> Self {
        Self { class_names: Some(names.into_iter().map(Into::into).collect()), ..self }
    }

    /// Adds preprocessing in front of the model, where the file leaves it to the caller; see
    /// [`Classifier::preprocessing`].
    #[must_use]
    pub fn preprocessing(self, preprocessing: Preprocessing) -> Self {
        Self { preprocessing: Some(preprocessing), ..self }
    }

    /// Sets the file with the layers as JSON (`model.to_json()` in Keras), for a file that holds weights alone.
    #[must_use]
    pub fn architecture(self, json: impl Into<PathBuf>) -> Self {
        Self { architecture: Some(json.into()), ..self }
    }

    /// Opens a model file as a classifier.
    pub(super) fn open(&self, path: &Path) -> Result<Classifier> {
        let Archive { model, mut warnings, .. } = self.archive(path)?;
        let unfit = |error: Error| error.within(path.display()).into_invalid_data();
        self.check_size(&model).map_err(|error| error.within(path.display()))?;
        let (model, note) = self.single_output(model, path).map_err(|error| error.within(path.display()))?;
        warnings.extend(note);
        let metadata = match self.architecture {
            Some(_) => None,
            None => Metadata::read(path)?,
        };
        let unnamed = Classifier::new(model, metadata).map_err(unfit)?;
        let named = self.named(path, unnamed)?;
        let mut ready = match self.preprocessing {
            Some(preprocessing) => named.preprocessing(preprocessing).map_err(|error| error.within(path.display()))?,
            None => named,
        };
        ready.warnings = warnings;
        Ok(ready)
    }

    fn archive(&self, path: &Path) -> Result<Archive> {
        let load = match self.image_size {
            Some(size) => self.load.clone().image_size(size),
            None => self.load.clone(),
        };
        match &self.architecture {
            Some(json) => keras::load_architecture(json, path, &load),
            None => keras::load_with(path, &load),
        }
    }

    /// Refuses a size other than that of an input of fixed size.
    fn check_size(&self, model: &Model) -> Result<()> {
        let Some([height, width]) = self.image_size else { return Ok(()) };
        match model.input_shape()[..] {
            [h, w, _] if [h, w] != [height, width] => {
                let place = format!("model `{}`", model.name());
                Err(Error::new(
                    place,
                    format_args!("its own image size, {h} by {w} pixels"),
                    format_args!("{height} by {width}"),
                )
                .hint("only a model whose input has an open size (None in Keras) takes another"))
            }
            _ => Ok(()),
        }
    }

    /// The model with one of its outputs, and a note that names it and the others if the choice is a guess.
    fn single_output(&self, model: Model, path: &Path) -> Result<(Model, Option<String>)> {
        let names = self.output_names(&model, path);
        let of = |index: usize| -> Result<Model> {
            let single = Model::named(model.name(), model.inputs(), &model.outputs()[index])?;
            single.set_compiled(keras::compiled_of_output(&model, index, &names[index]));
            Ok(single)
        };
        if let Some(name) = &self.output {
            let index = index_of(name, &names, &model)?;
            return Ok((if names.len() == 1 { model } else { of(index)? }, None));
        }
        if names.len() == 1 {
            return Ok((model, None));
        }
        let mut chosen: Option<(u8, usize, Model)> = None;
        for index in 0..names.len() {
            let single = of(index)?;
            if let Some(doubt) = doubt_of_classes(&single)?
                && chosen.as_ref().is_none_or(|(least, ..)| doubt < *least)
            {
                chosen = Some((doubt, index, single));
            }
        }
        let Some((_, index, chosen)) = chosen else {
            return Err(Error::new(
                format_args!("model `{}`", model.name()),
                "an output of one number per class, [classes]",
                format_args!("the outputs {}", names.join(", ")),
            )
            .hint("choose one by its name"));
        };
        let name = &names[index];
        let others: Vec<&str> = names.iter().map(String::as_str).filter(|other| other != name).collect();
        let note = match &others[..] {
            [] => {
                format!("the model has several outputs of layer `{name}`; this is the first that tells classes apart")
            }
            _ => format!("the model has several outputs; this is `{name}`, left out are {}", others.join(", ")),
        };
        Ok((chosen, Some(note)))
    }

    /// The names of the outputs: their keys in a dictionary of outputs, else the names of their layers.
    fn output_names(&self, model: &Model, path: &Path) -> Vec<String> {
        let keys = match self.architecture {
            Some(_) => Vec::new(),
            // A file that can't be asked for them has none.
            None => keras::output_names(path).unwrap_or_default(),
        };
        let of_layers = || model.outputs().iter().map(|output| output.layer().name().to_owned()).collect();
        if keys.len() == model.outputs().len() { keys } else { of_layers() }
    }

    /// The classifier with the class names of the caller, of its file, or of a file beside it.
    fn named(&self, path: &Path, classifier: Classifier) -> Result<Classifier> {
        if let Some(names) = &self.class_names {
            let names = class_names::check(names.clone())?;
            return with_names(classifier, names).map_err(|error| error.within(path.display()));
        }
        let has_classes = matches!(classifier.outputs(), Outputs::Probabilities | Outputs::Logits(_));
        if classifier.metadata().is_some() || !has_classes {
            return Ok(classifier);
        }
        let Some(ClassNames { names, file }) = ClassNames::beside(path)? else { return Ok(classifier) };
        let mut named = with_names(classifier, names).map_err(|error| {
            error
                .within(file.display())
                .hint("these are the class names beside the model; give others (--class-names), or rename this file")
        })?;
        named.classes_file = Some(file);
        Ok(named)
    }
}

/// How doubtful it is that the outputs of a model are classes, from 0; `None` if they aren't.
///
/// A known loss tells, and so do a softmax and a sigmoid. That a last `Dense` layer gives logits is a guess, and a sigmoid that is
/// trained as a regression tells classes apart least of all.
fn doubt_of_classes(model: &Model) -> Result<Option<u8>> {
    let compiled = model.compiled();
    let has_loss = compiled.as_ref().is_some_and(|compiled| compiled.loss.is_some());
    let is_regression = compiled.is_some_and(|compiled| compiled.unknown.has_regression_loss());
    Ok(match Outputs::of(model)? {
        Outputs::Probabilities | Outputs::Logits(_) if has_loss => Some(0),
        Outputs::Probabilities if is_regression => Some(2),
        Outputs::Probabilities => Some(0),
        Outputs::Logits(_) => Some(1),
        Outputs::Values | Outputs::Features => None,
    })
}

/// The index of the output with this name: one of `names`, or else the name of its layer.
fn index_of(name: &str, names: &[String], model: &Model) -> Result<usize> {
    let of_layer = || model.outputs().iter().position(|output| output.layer().name() == name);
    names.iter().position(|other| other == name).or_else(of_layer).ok_or_else(|| {
        Error::new("output", format_args!("one of {}", names.join(", ")), name).with_kind(ErrorKind::NotFound)
    })
}

/// The classifier with other class names. Its metadata have them, so that they are saved with the model.
fn with_names(classifier: Classifier, names: Vec<String>) -> Result<Classifier> {
    let count = classifier.classes().len();
    if names.len() != count {
        let place = format!("model `{}`", classifier.model().name());
        return Err(Error::new(place, format_args!("{count} class names"), names.len())
            .into_invalid_data()
            .hint("give a name for each output of the model, in their order, without a header"));
    }
    let metadata = match classifier.metadata() {
        Some(metadata) => Metadata { classes: names, ..metadata.clone() },
        None => Metadata::new(names),
    };
    Classifier::new(classifier.model().clone(), Some(metadata))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prelude::*;

    /// A model of two outputs and its file, in a folder.
    fn saved() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.keras");
        let x = Input::new([2, 2, 3]);
        let features = Flatten::new().named("features").call(&x).unwrap();
        let kind = Dense::new(3).activation(Softmax).named("kind").call(&features).unwrap();
        let model = Model::new(&x, [&features, &kind]).unwrap();
        save_model(&model, &path).unwrap();
        (folder, path)
    }

    fn load(path: &Path, options: ClassifierOptions) -> std::result::Result<Classifier, String> {
        Classifier::load_with(path, &options).map_err(|error| error.to_string())
    }

    #[test]
    fn the_first_output_that_tells_classes_apart_is_the_default() {
        let (_folder, path) = saved();
        let classifier = load(&path, ClassifierOptions::new()).unwrap();
        assert_eq!(classifier.classes(), ["0", "1", "2"]);
        let note = &classifier.warnings()[0];
        assert!(note.contains("this is `kind`, left out are features"), "{note}");
        let features = load(&path, ClassifierOptions::new().output("features")).unwrap();
        assert!(features.outputs() == Outputs::Features && features.warnings().is_empty());
        let error = load(&path, ClassifierOptions::new().output("age")).unwrap_err();
        assert!(error.contains("output: expected one of features, kind, received age"), "{error}");
    }

    #[test]
    fn each_output_is_read_by_its_own_loss() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.keras");
        let x = Input::new([2, 2, 3]);
        let features = Flatten::new().call(&x).unwrap();
        let age = Dense::new(1).activation(Sigmoid).named("age").call(&features).unwrap();
        let tags = Dense::new(4).named("tags").call(&features).unwrap();
        let model = Model::new(&x, [&age, &tags]).unwrap();
        model.compile(Sgd::new(0.1), Loss::binary_crossentropy(), []).unwrap();
        let tagged = serde_json::json!({"class_name": "BinaryCrossentropy", "config": {"from_logits": true}});
        let unknown =
            crate::UnknownParts { loss: Some(serde_json::json!({"age": "mse", "tags": tagged})), ..Default::default() };
        model.set_compiled(model.compiled().map(|of| crate::Compiled { loss: None, unknown: unknown.into(), ..of }));
        keras::save(&model, &path, &keras::SaveOptions::default()).unwrap();
        let chosen = load(&path, ClassifierOptions::new()).unwrap();
        assert_eq!(chosen.model().output().layer().name(), "tags", "not the regression, though it ends in a sigmoid");
        assert!(chosen.is_multi_label() && matches!(chosen.outputs(), Outputs::Logits(_)));
    }

    #[test]
    fn an_output_that_stands_twice_has_no_others() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.keras");
        let x = Input::new([2, 2, 3]);
        let features = Flatten::new().call(&x).unwrap();
        let kind = Dense::new(3).activation(Softmax).named("kind").call(&features).unwrap();
        save_model(&Model::new(&x, [&kind, &kind]).unwrap(), &path).unwrap();
        let classifier = load(&path, ClassifierOptions::new()).unwrap();
        let expected = "the model has several outputs of layer `kind`; this is the first that tells classes apart";
        assert_eq!(classifier.warnings(), [expected]);
    }

    #[test]
    fn probabilities_are_chosen_before_what_may_be_logits() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.keras");
        let x = Input::new([2, 2, 3]);
        let features = Flatten::new().call(&x).unwrap();
        let place = Dense::new(4).named("place").call(&features).unwrap();
        let kind = Dense::new(3).activation(Softmax).named("kind").call(&features).unwrap();
        let chosen = |outputs: [&SymbolicTensor; 2]| {
            save_model(&Model::new(&x, outputs).unwrap(), &path).unwrap();
            load(&path, ClassifierOptions::new()).unwrap().model().output().layer().name().to_owned()
        };
        assert_eq!(chosen([&place, &kind]), "kind");
        assert_eq!(chosen([&features, &place]), "place", "logits, if nothing gives probabilities");
    }

    #[test]
    fn names_come_from_the_caller_the_file_or_a_file_beside_it() {
        let (folder, path) = saved();
        std::fs::write(folder.path().join("labels.txt"), "a\nb\nc\n").unwrap();
        let beside = load(&path, ClassifierOptions::new()).unwrap();
        assert_eq!(
            (beside.classes(), beside.classes_file()),
            (&["a", "b", "c"].map(String::from)[..], Some(&*folder.path().join("labels.txt")))
        );
        let own = folder.path().join("named.keras");
        beside.save(&own).unwrap();
        std::fs::write(folder.path().join("labels.txt"), "a\nb\n").unwrap();
        let named = load(&own, ClassifierOptions::new()).unwrap();
        assert_eq!((named.classes()[2].as_str(), named.classes_file()), ("c", None));
        let error = load(&path, ClassifierOptions::new()).unwrap_err();
        assert!(error.contains("labels.txt") && error.contains("expected 3 class names, received 2"), "{error}");
        let given = load(&path, ClassifierOptions::new().class_names(["x", "y", "z"])).unwrap();
        assert_eq!((given.classes(), given.classes_file()), (&["x", "y", "z"].map(String::from)[..], None));
        let error = load(&path, ClassifierOptions::new().class_names(["x", "x", "z"])).unwrap_err();
        assert!(error.contains("`x` twice"), "{error}");
    }

    #[test]
    fn a_fixed_size_stays() {
        let (_folder, path) = saved();
        assert!(load(&path, ClassifierOptions::new().image_size([2, 2])).is_ok());
        let error = load(&path, ClassifierOptions::new().image_size([4, 4])).unwrap_err();
        assert!(error.contains("expected its own image size, 2 by 2 pixels, received 4 by 4"), "{error}");
    }
}
