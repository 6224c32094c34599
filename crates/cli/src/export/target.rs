//! The formats to export to: how each is written, and what a written file predicts.

use std::path::Path;

use clap::ValueEnum;
use engraft::formats::Precision;
use engraft::formats::keras::{self, legacy};
use engraft::formats::onnx::{self, OnnxOptions};
use engraft::formats::safetensors::{self, Naming};
use engraft::interpreter::OnnxModel;
use engraft::recipe::{Classifier, Facts};
use engraft::runtime::Runtime;
use engraft::train::{RunOptions, Train};
use engraft::{Error, ErrorKind, Model, Result, Tensor};

use super::check::BATCH;

/// What a file predicts of pictures.
pub(super) type Predict = Box<dyn Fn(&Tensor) -> Result<Tensor>>;

/// A format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Target {
    #[value(name = "onnx")]
    Onnx,
    #[value(name = "safetensors")]
    Safetensors,
    #[value(name = "weights.h5")]
    Weights,
    #[value(name = "h5")]
    H5,
}

impl Target {
    /// Its name, which files of it end in.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Onnx => "onnx",
            Self::Safetensors => "safetensors",
            Self::Weights => "weights.h5",
            Self::H5 => "h5",
        }
    }

    pub(super) fn holds_weights_alone(self) -> bool {
        matches!(self, Self::Safetensors | Self::Weights)
    }

    /// Writes a model, its class names included where the format has room for them.
    pub(super) fn write(
        self,
        classifier: &Classifier,
        path: &Path,
        precision: Precision,
        naming: Naming,
    ) -> Result<()> {
        let model = classifier.model();
        let facts: Vec<(String, Vec<u8>)> = classifier.facts().iter().map(|facts| facts.entry()).collect();
        match self {
            Self::Onnx => {
                let class_names = classifier.facts().map(|facts| &facts.classes[..]).unwrap_or_default();
                let options = OnnxOptions { precision, class_names, ..OnnxOptions::default() };
                onnx::save(model, path, &options)
            }
            Self::H5 => {
                let options = keras::SaveOptions { precision, extras: &facts, ..keras::SaveOptions::default() };
                legacy::save(model, path, &options)
            }
            Self::Weights => keras::save_weights(model, path, precision),
            Self::Safetensors => {
                let text = |(name, json): (String, Vec<u8>)| (name, String::from_utf8_lossy(&json).into_owned());
                let metadata = facts.into_iter().map(text).collect();
                safetensors::save_weights(
                    path,
                    &model.layers(),
                    &safetensors::SaveOptions { naming, precision, metadata },
                )
            }
        }
    }

    /// What a file predicts that was written of the model in `source`.
    pub(super) fn read(self, source: &Path, path: &Path, naming: Naming, runtime: &Runtime) -> Result<Predict> {
        match self {
            Self::Onnx => {
                let model = OnnxModel::load(path)?;
                let none = || Error::because("outputs", "the graph has none").with_kind(ErrorKind::InvalidData);
                Ok(Box::new(move |x| model.run(&[x])?.into_iter().next().ok_or_else(none)))
            }
            // Its class names must be those of its outputs, too.
            Self::H5 => {
                Ok(of_model(Classifier::new(keras::load_model(path)?, Facts::read(path)?)?.model().clone(), runtime))
            }
            Self::Weights => {
                let model = without_weights(source)?;
                keras::load_weights(path, &model)?;
                Ok(of_model(model, runtime))
            }
            Self::Safetensors => {
                let model = without_weights(source)?;
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

/// A model whose weights are zeros: what isn't in a file must not be thought of as read.
fn without_weights(source: &Path) -> Result<Model> {
    let model = keras::load_model(source)?;
    model.weights().iter().for_each(|weight| weight.values_mut().fill(0.0));
    Ok(model)
}
