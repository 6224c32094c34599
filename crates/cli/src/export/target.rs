//! The export formats: writes a model to a file, and reads the file back for prediction.

use std::path::Path;

use clap::ValueEnum;
use engraft::formats::FloatType;
use engraft::formats::keras::{self, legacy};
use engraft::formats::onnx::{self, OnnxOptions};
use engraft::formats::safetensors::{self, Naming};
use engraft::interpreter::OnnxModel;
use engraft::recipe::{Classifier, Metadata};
use engraft::runtime::Runtime;
use engraft::train::{RunOptions, Train};
use engraft::{Error, ErrorKind, Model, Result};

use super::check::{BATCH, Predict};
use crate::destination::Content;

/// The values of `--to`: the export formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Target {
    /// Whole model for ONNX Runtime and other ONNX programs
    #[value(name = "onnx")]
    Onnx,
    /// Weights only, for Python programs and others with the package safetensors
    #[value(name = "safetensors")]
    Safetensors,
    /// Weights only, for load_weights in Keras 3
    #[value(name = "weights.h5")]
    Weights,
    /// Whole model in Keras' older format
    #[value(name = "h5")]
    H5,
}

impl Target {
    /// Name of the format, which is also its file extension.
    pub(super) fn name(self) -> &'static str {
        self.content().extension()
    }

    /// What the file holds.
    pub(super) fn content(self) -> Content {
        match self {
            Self::Onnx => Content::Onnx,
            Self::Safetensors => Content::Safetensors,
            Self::Weights => Content::WeightsH5,
            Self::H5 => Content::H5,
        }
    }

    pub(super) fn holds_weights_alone(self) -> bool {
        matches!(self, Self::Safetensors | Self::Weights)
    }

    /// Writes the model, with its metadata if the format can hold it.
    pub(super) fn write(
        self,
        classifier: &Classifier,
        path: &Path,
        float_type: FloatType,
        naming: Naming,
    ) -> Result<()> {
        let model = classifier.model();
        let mut metadata: Vec<(String, Vec<u8>)> =
            classifier.metadata().iter().map(|metadata| metadata.entry()).collect();
        // By this mark, `engraft export` knows the file as its own and may replace it.
        metadata.push((Content::MARK.to_owned(), env!("CARGO_PKG_VERSION").into()));
        match self {
            Self::Onnx => {
                let class_names = classifier.metadata().map(|metadata| &metadata.classes[..]).unwrap_or_default();
                let metadata = [("outputs".to_owned(), classifier.outputs().name().to_owned())];
                let options = OnnxOptions { float_type, class_names, metadata: &metadata };
                onnx::save(model, path, &options)
            }
            Self::H5 => {
                let options = keras::SaveOptions { float_type, extras: &metadata, ..keras::SaveOptions::default() };
                legacy::save(model, path, &options)
            }
            Self::Weights => keras::save_weights(model, path, float_type),
            Self::Safetensors => {
                let text = |(name, json): (String, Vec<u8>)| (name, String::from_utf8_lossy(&json).into_owned());
                let metadata = metadata.into_iter().map(text).collect();
                safetensors::save_weights(
                    path,
                    &model.layers(),
                    &safetensors::SaveOptions { naming, float_type, metadata },
                )
            }
        }
    }

    /// Opens an exported file for prediction. A file of weights only is loaded into the layers of a second copy of the model, which
    /// `source` opens.
    pub(super) fn read(
        self,
        source: &dyn Fn() -> Result<Model>,
        path: &Path,
        naming: Naming,
        runtime: &Runtime,
    ) -> Result<Predict> {
        match self {
            Self::Onnx => {
                let model = OnnxModel::load(path)?;
                let none = || Error::because("outputs", "the graph has none").with_kind(ErrorKind::InvalidData);
                Ok(Box::new(move |x| model.run(&[x])?.into_iter().next().ok_or_else(none)))
            }
            // `Classifier::new` also checks that the number of class names in the file fits its outputs.
            Self::H5 => {
                Ok(of_model(Classifier::new(keras::load_model(path)?, Metadata::read(path)?)?.model().clone(), runtime))
            }
            Self::Weights => {
                let model = without_weights(source()?);
                keras::load_weights(path, &model)?;
                Ok(of_model(model, runtime))
            }
            Self::Safetensors => {
                let model = without_weights(source()?);
                safetensors::load_weights(path, &model.layers(), naming)?;
                Ok(of_model(model, runtime))
            }
        }
    }
}

fn of_model(model: Model, runtime: &Runtime) -> Predict {
    let runtime = runtime.clone();
    Box::new(move |x| model.predict(x, RunOptions::from(BATCH).runtime(&runtime)))
}

/// The model with all weights set to zeros, so that a weight that is missing in the exported file changes predictions.
fn without_weights(model: Model) -> Model {
    model.weights().iter().for_each(|weight| weight.values_mut().fill(0.0));
    model
}
