//! The options that say how a model file is opened: image size, output, class names, preprocessing, layers in a file
//! of their own.

use std::path::{Path, PathBuf};

use clap::Args;
use engraft::Error;
use engraft::applications::Preprocessing;
use engraft::recipe::{ClassNames, Classifier, ClassifierOptions, Unscaled};

use crate::command_line::joined;
use crate::options::image_size;
use crate::output::note;

/// The options of every command that opens a model.
#[derive(Args, Debug, Default)]
pub(crate) struct OpenArgs {
    /// Height and width to which photos are resized, in pixels, for a model that takes images of any size (None in Keras)
    /// [default: the size in the file, else that of its network, else 224]
    #[arg(long, value_name = "PIXELS", value_parser = image_size, help_heading = "Model")]
    image_size: Option<usize>,
    /// Which output of a model with several to use: the name of its layer, or its key in a dictionary of outputs [default: the first that tells classes apart]
    #[arg(long, value_name = "NAME", help_heading = "Model")]
    model_output: Option<String>,
    /// Class names in the order of the model's outputs: a text file with a name a line, a CSV, YAML or JSON file, or names separated by
    /// commas
    /// [default: those in the model file, else in MODEL.labels.txt, labels.txt, class_names.txt, class_names.json, classes.txt or
    /// class_indices.json beside it]
    #[arg(long, value_name = "FILE|NAME,NAME,...", help_heading = "Model")]
    class_names: Option<String>,
    /// What happens to the pixels, 0 to 255, in front of the model, if it was trained on other numbers and doesn't scale them itself:
    /// scale (to 0 to 1), tf (to -1 to 1), caffe, torch, the name of a network such as resnet50 for what its preprocess_input does, or
    /// none
    #[arg(long, value_name = "HOW", help_heading = "Model")]
    preprocess: Option<Preprocessing>,
    /// Layers of the model as JSON, which Keras writes with model.to_json(), if MODEL holds weights alone
    #[arg(long, value_name = "FILE.json", help_heading = "Model")]
    architecture: Option<PathBuf>,
}

impl OpenArgs {
    /// The options with `--image-size` alone.
    pub(crate) fn of_size(image_size: Option<usize>) -> Self {
        Self { image_size, ..Self::default() }
    }

    pub(crate) fn preprocess(self, preprocess: Option<Preprocessing>) -> Self {
        Self { preprocess, ..self }
    }

    /// Opens a model as a classifier. Prints the warnings of opening it, and the file that its class names come from.
    pub(crate) fn classifier(&self, path: &Path) -> Result<Classifier, Error> {
        let classifier = self.silently(path)?;
        classifier.warnings().iter().for_each(|warning| note(format_args!("warning: {warning}")));
        if let Some(file) = classifier.classes_file() {
            note(format_args!("note: the class names are those in {}", file.display()));
        }
        if let (None, Some(unscaled)) = (self.preprocess, classifier.unscaled()?) {
            note(format_args!("note: {}", advice(&unscaled)));
        }
        Ok(classifier)
    }

    /// The command that writes the output of a model's last layer to a file, with the options that open the model.
    pub(crate) fn features_command(&self, path: &Path, classifier: &Classifier, photo: Option<&Path>) -> String {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let photo = photo.filter(|photo| photo.is_file()).unwrap_or(Path::new("photo.jpg"));
        let options = [
            ("--image-size", self.image_size.map(|size| size.to_string())),
            ("--model-output", self.model_output.clone()),
            ("--preprocess", self.preprocess.map(|preprocessing| preprocessing.to_string())),
            ("--architecture", self.architecture.as_deref().map(text)),
            ("--layer", Some(classifier.output_layer())),
            ("-o", Some("features.npy".to_owned())),
        ];
        let options = options.into_iter().filter_map(|(name, value)| Some([name.to_owned(), value?])).flatten();
        joined(&["features".to_owned(), text(path), text(photo)].into_iter().chain(options).collect::<Vec<_>>())
    }

    /// Opens a model as a classifier and prints nothing.
    pub(crate) fn silently(&self, path: &Path) -> Result<Classifier, Error> {
        let mut options = ClassifierOptions::new();
        if let Some(size) = self.image_size {
            options = options.image_size([size, size]);
        }
        if let Some(output) = &self.model_output {
            options = options.output(output);
        }
        if let Some(names) = &self.class_names {
            options = options.class_names(class_names(names)?);
        }
        if let Some(preprocessing) = self.preprocess {
            options = options.preprocessing(preprocessing);
        }
        if let Some(json) = &self.architecture {
            options = options.architecture(json);
        }
        Classifier::load_with(path, &options)
    }
}

/// What to do about a model that doesn't scale its pixels.
fn advice(unscaled: &Unscaled) -> String {
    let finding = "nothing in the model scales the pixels, which are from 0 to 255";
    match unscaled.network {
        Some((network, preprocessing)) => {
            format!(
                "{finding}; it contains {network}, which is trained on other numbers: add --preprocess {preprocessing}"
            )
        }
        None => format!(
            "{finding}; if it was trained on other numbers, say so: --preprocess scale (0 to 1), tf (-1 to 1), caffe or torch; none if it wasn't"
        ),
    }
}

/// The class names of `--class-names`: those in a file, or a list.
fn class_names(value: &str) -> Result<Vec<String>, Error> {
    let path = Path::new(value);
    if path.is_file() {
        return ClassNames::read(path).map(|found| found.names);
    }
    // Splitting the text of a Python list at its commas would leave brackets and quotes in the names.
    if value.starts_with(['[', '{', '(']) {
        let error = Error::new("--class-names", "a file, or names separated by commas such as cat,dog", value);
        return Err(error.hint("leave out brackets and quotes, or write the list to a file such as class_names.json"));
    }
    let names: Vec<String> = value.split(',').map(|name| name.trim().to_owned()).collect();
    match names.len() > 1 && names.iter().all(|name| !name.is_empty()) {
        true => Ok(names),
        false => Err(Error::new("--class-names", "a file, or names separated by commas such as cat,dog", value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_a_file_or_a_list() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("names.txt");
        std::fs::write(&file, "cat\nhot dog\n").unwrap();
        for value in [file.to_str().unwrap(), "cat,hot dog", " cat , hot dog"] {
            assert_eq!(class_names(value).unwrap(), ["cat", "hot dog"]);
        }
        for value in ["cat", "cat,", "", "absent.txt", "['cat', 'dog']", "{\"cat\": 0, \"dog\": 1}"] {
            let error = class_names(value).unwrap_err().to_string();
            assert!(error.starts_with("--class-names: expected a file, or names separated by commas"), "{error}");
        }
    }
}
