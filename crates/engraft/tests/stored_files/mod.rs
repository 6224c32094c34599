//! The files of a folder of `tests/compatibility/files`, unpacked.

use std::fs::File;
use std::path::{Path, PathBuf};

use engraft::formats::{keras, npy};
use engraft::prelude::*;
use engraft_golden::relative_error;
use serde_json::Value;
use tempfile::TempDir;

/// Tolerance relative to the largest prediction. Instruction sets with and without fused multiply-add round differently.
pub(crate) const TOLERANCE: f32 = 1e-6;

/// Tolerance relative to the largest prediction after a training step. It is larger because Adam normalizes the magnitude of
/// gradients, which amplifies the rounding of small ones.
const TRAINED_TOLERANCE: f32 = 1e-5;

const BATCH: usize = 6;

/// The unpacked files of `models.zip`, with their index and expected predictions.
pub(crate) struct StoredFiles {
    folder: TempDir,
    pub(crate) index: Vec<Value>,
    expected: Vec<(String, Tensor)>,
    pub(crate) images: Tensor,
}

impl StoredFiles {
    /// Unpacks the files of this folder, such as `0.1`.
    pub(crate) fn unpack(folder: &str) -> Self {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/compatibility/files").join(folder);
        let folder = tempfile::tempdir().unwrap();
        let mut archive = zip::ZipArchive::new(File::open(source.join("models.zip")).unwrap()).unwrap();
        archive.extract(folder.path()).unwrap();
        let index = std::fs::read(source.join("index.json")).unwrap();
        Self {
            index: serde_json::from_slice(&index).unwrap(),
            expected: npy::load_npz(&folder.path().join("expected.npz")).unwrap(),
            images: npy::load(&folder.path().join("images.npy")).unwrap(),
            folder,
        }
    }

    /// Name and index row of each file of this kind; asserts that there are `count`.
    pub(crate) fn of_kind(&self, kind: &str, count: usize) -> Vec<(&str, &Value)> {
        let rows: Vec<_> = self.index.iter().filter(|row| row["kind"] == kind).collect();
        assert_eq!(rows.len(), count, "files of the kind `{kind}`");
        rows.into_iter().map(|row| (row["file"].as_str().unwrap(), row)).collect()
    }

    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    pub(crate) fn predict(&self, model: &Model) -> Tensor {
        model.predict(&self.images, BATCH).unwrap()
    }

    /// Asserts that these predictions are the expected ones of `name`.
    pub(crate) fn assert_expected(&self, name: &str, predictions: &Tensor, tolerance: f32) {
        let (_, expected) = self.expected.iter().find(|(expected, _)| expected == name).unwrap();
        assert_eq!(predictions.shape(), expected.shape(), "{name}");
        let error = relative_error(predictions.data(), expected.data());
        assert!(error <= tolerance, "{name}: predictions are off by {error:e} of the largest");
    }

    /// Makes one training step and returns its loss. Each image is its own mirror image, so a random flip changes nothing.
    pub(crate) fn train(&self, model: &Model) -> f64 {
        let one_hot = |index: usize| f32::from(u8::from(index / 3 % 3 == index % 3));
        let targets = Tensor::new([BATCH, 3], (0..3 * BATCH).map(one_hot).collect()).unwrap();
        model.train_on_batch(&self.images, &targets).unwrap().loss
    }

    /// Makes the training step of a row, and asserts its loss and the predictions after it.
    pub(crate) fn assert_next_step(&self, file: &str, row: &Value, model: &Model) {
        let (loss, expected) = (self.train(model), row["next_loss"].as_f64().unwrap());
        assert!((loss - expected).abs() <= f64::from(TOLERANCE) * expected, "{file}: a loss of {loss}, not {expected}");
        self.assert_expected(&format!("{file} after a step"), &self.predict(model), TRAINED_TOLERANCE);
    }
}

/// Loads a model and asserts that there are no warnings.
pub(crate) fn load(path: &Path) -> Model {
    let archive = keras::load(path).unwrap();
    assert!(archive.warnings.is_empty(), "{}: {:?}", path.display(), archive.warnings);
    archive.model
}
