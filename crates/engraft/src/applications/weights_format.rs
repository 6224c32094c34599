//! [`WeightsFormat`]: the format of a file with weights.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use crate::formats::foreign::Foreign;
use crate::formats::h5;
use crate::formats::keras::{self, legacy};
use crate::{Error, ErrorKind, Result};

const EXPECTED: &str = "a weights file: .weights.h5, .keras, .h5, .safetensors or .onnx";

/// How a zip archive begins, which a `.keras` file is.
const ZIP: [u8; 4] = *b"PK\x03\x04";

/// The format of a weights file, recognised by its content and not by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WeightsFormat {
    /// `.weights.h5` and `.keras`, also unzipped in a folder.
    Keras,
    /// The older `.h5`.
    Legacy,
    Safetensors,
    Onnx,
}

impl WeightsFormat {
    /// The format of the file or folder at `path`.
    ///
    /// # Errors
    /// No such file, or a file of another program. For a pickle of PyTorch, the error says how to save `.safetensors`.
    pub(super) fn of(path: &Path) -> Result<Self> {
        if keras::is_unzipped(path) {
            return Ok(Self::Keras);
        }
        match Foreign::of(path) {
            Some(Foreign::Safetensors) => return Ok(Self::Safetensors),
            Some(Foreign::Onnx) => return Ok(Self::Onnx),
            Some(kind @ Foreign::PyTorch) => {
                return Err(kind.error(path, EXPECTED).hint(
                    "its pickle is never read, since reading one runs code; save the weights as .safetensors, in Python: \
                     safetensors.torch.save_file(model.state_dict(), \"weights.safetensors\")",
                ));
            }
            Some(kind) => return Err(kind.error(path, EXPECTED)),
            None => {}
        }
        if !path.exists() {
            return Err(Error::new("weights", "`imagenet`, `none` or the path of a weights file", path.display())
                .with_kind(ErrorKind::NotFound)
                .hint("check the spelling; there is no such file"));
        }
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("safetensors") => Ok(Self::Safetensors),
            Some("onnx") => Ok(Self::Onnx),
            _ => Self::of_keras(path),
        }
    }

    /// The format of a file that Keras wrote.
    fn of_keras(path: &Path) -> Result<Self> {
        let in_file = |error| Error::from_io(path.display(), error);
        let mut file = File::open(path).map(BufReader::new).map_err(in_file)?;
        if h5::is_hdf5(&mut file).map_err(in_file)? {
            return Ok(if legacy::layers(path).is_ok() { Self::Legacy } else { Self::Keras });
        }
        let mut start = [0; ZIP.len()];
        let read = File::open(path).and_then(|mut file| file.read_exact(&mut start));
        match read.is_ok() && start == ZIP {
            true => Ok(Self::Keras),
            false => Err(Error::new(path.display(), EXPECTED, "a file of another format").into_invalid_data()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::{FloatType, onnx, safetensors};
    use crate::prelude::*;

    #[test]
    fn files_are_told_apart_by_their_content() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name| folder.path().join(name);
        let x = Input::new([2]);
        let layer = Dense::new(2).named("a");
        let model = Model::new(&x, &layer.call(&x).unwrap()).unwrap();
        let layers = std::slice::from_ref(&layer);
        legacy::save_weights(&path("old"), layers).unwrap();
        legacy::save(&model, &path("whole"), &keras::SaveOptions::default()).unwrap();
        keras::save_weights(&model, &path("new"), FloatType::F32).unwrap();
        keras::save_model(&model, &path("model")).unwrap();
        safetensors::save_weights(&path("tensors"), layers, &safetensors::SaveOptions::default()).unwrap();
        onnx::save(&model, &path("graph"), &onnx::OnnxOptions::default()).unwrap();
        for (name, format) in [
            ("old", WeightsFormat::Legacy),
            ("whole", WeightsFormat::Legacy),
            ("new", WeightsFormat::Keras),
            ("model", WeightsFormat::Keras),
            ("tensors", WeightsFormat::Safetensors),
            ("graph", WeightsFormat::Onnx),
        ] {
            assert_eq!(WeightsFormat::of(&path(name)).unwrap(), format, "{name}");
            // The name of another format changes nothing.
            let other = path("other.keras");
            std::fs::rename(path(name), &other).unwrap();
            assert_eq!(WeightsFormat::of(&other).unwrap(), format, "{name}");
        }
    }

    #[test]
    fn what_holds_no_weights_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = |path: &Path| WeightsFormat::of(path).unwrap_err();
        assert!(error(folder.path()).to_string().contains("received a folder"), "{}", error(folder.path()));
        let missing = error(&folder.path().join("none.h5"));
        assert!(missing.kind() == ErrorKind::NotFound && missing.to_string().contains("no such file"), "{missing}");
        let text = folder.path().join("notes.h5");
        std::fs::write(&text, "weights: later").unwrap();
        assert!(error(&text).to_string().contains("received a file of another format"), "{}", error(&text));
        for content in
            [&b"PK\x03\x04\0\0\x08\x08\0\0archive/data.pkl\x80\x02"[..], b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."]
        {
            let pickle = folder.path().join("weights.pth");
            std::fs::write(&pickle, content).unwrap();
            assert_eq!(error(&pickle).kind(), ErrorKind::Unsupported);
            assert!(error(&pickle).to_string().contains("safetensors.torch.save_file(model.state_dict()"));
        }
    }
}
