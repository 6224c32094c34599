//! Photos and a small classifier to train.

use std::path::{Path, PathBuf};

use engraft::Result;
use engraft::data::Photo;
use engraft::prelude::*;

/// Draws four dark and four light photos, as BMP files of 8 x 8 pixels. One epoch in batches of 4 has two steps.
fn photos(folder: &Path) -> Vec<Photo> {
    for (class, grey) in [("dark", 20), ("light", 200)] {
        std::fs::create_dir(folder.join(class)).unwrap();
        for photo in 0..4 {
            // The header of a BMP file with 24 bits per pixel.
            let mut bmp = b"BM\0\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0\x08\0\0\0\x08\0\0\0\x01\0\x18\0".to_vec();
            bmp.extend([0; 24]);
            bmp.extend([grey + photo; 8 * 8 * 3]);
            std::fs::write(folder.join(class).join(format!("{photo}.bmp")), bmp).unwrap();
        }
    }
    PhotoFolder::scan(folder, &mut |_done, _total| {}).unwrap().photos
}

/// A base and a head. The first phase of two epochs trains the head, the second of three epochs trains both.
pub(crate) fn classifier() -> (Classifier, Vec<Phase>) {
    let layers = Sequential::new().add(Input::new([8, 8, 3])).add(Rescaling::new(1.0 / 255.0)).add(Flatten::new());
    let layers = layers.add(Dense::new(4).activation(Tanh).named("base"));
    let model = layers.add(Dense::new(2).activation(Softmax).named("top")).build().unwrap();
    model.get_layer("base").unwrap().set_trainable(false);
    model.compile(Adam::new(0.01), Loss::categorical_crossentropy(), [Metric::Accuracy]).unwrap();
    let first = Phase::first(&model, 2, 0).unwrap();
    let second = first.fine_tuning(&model, &Freeze::None, 3, None).unwrap();
    (Classifier::new(model, None).unwrap(), vec![first, second])
}

/// A folder with photos, and the path of the file to save.
pub(crate) fn folder() -> (tempfile::TempDir, Vec<Photo>, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let (photos, file) = (photos(folder.path()), folder.path().join("model.keras"));
    (folder, photos, file)
}

pub(crate) fn weights(model: &Model) -> Vec<Vec<f32>> {
    model.weights().iter().map(|weight| weight.values().clone()).collect()
}

pub(crate) fn iterations(model: &Model) -> u64 {
    model.compiled().unwrap().state.iterations()
}

/// A callback that calls `work` at the end of the last step of epoch `epoch`, counted from 0.
pub(crate) struct AtEndOf<F> {
    pub(crate) epoch: usize,
    pub(crate) work: F,
}

impl<F: FnMut() -> Result<()>> Callback for AtEndOf<F> {
    fn on_batch_end(&mut self, end: &BatchEnd<'_>, _: &mut Training<'_>) -> Result<()> {
        if (end.epoch, end.step + 1) == (self.epoch, end.steps) { (self.work)() } else { Ok(()) }
    }
}
