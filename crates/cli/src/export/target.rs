//! The formats to export to: how each is written, and read back.

use std::path::Path;

use clap::ValueEnum;
use engraft::Result;
use engraft::formats::Precision;
use engraft::formats::keras::{self, legacy};
use engraft::formats::safetensors::{self, Naming};
use engraft::recipe::{Classifier, Facts};

/// A format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Target {
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

    /// The model in a file that was written of the model in `source`.
    pub(super) fn read(self, source: &Path, path: &Path, naming: Naming) -> Result<Classifier> {
        if self == Self::H5 {
            return Classifier::new(keras::load_model(path)?, Facts::read(path)?);
        }
        let again = Classifier::load(source)?;
        let model = again.model();
        // What isn't in the file must not be thought of as read.
        model.weights().iter().for_each(|weight| weight.values_mut().fill(0.0));
        match self {
            Self::Safetensors => safetensors::load_weights(path, &model.layers(), naming).map(|_| ())?,
            _ => keras::load_weights(path, model)?,
        }
        Ok(again)
    }
}
