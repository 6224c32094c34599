//! Trains, saves, loads and resumes. The weights are the same, bit for bit, as those of uninterrupted training.
//!
//!     cargo run --release --example save_and_resume -- photos model.keras

use std::path::Path;

use engraft::prelude::*;

/// Trains a small model on `photos` for three epochs; after the first, it is saved and loaded.
pub(crate) fn run(photos: &Path, file: &Path) -> engraft::Result<Model> {
    let (photos, classes) = dataset(photos)?;
    let model = model(classes)?;
    model.fit(&photos, Fit::new().epochs(1).batch_size(4))?;
    // Saves layers, weights, compile settings and optimizer state. Keras can load the file, too.
    save_model(&model, file)?;

    let model = load_model(file)?;
    model.fit(&photos, Fit::new().initial_epoch(1).epochs(3).batch_size(4))?;
    Ok(model)
}

/// Trains the same model for three epochs without interruption.
pub(crate) fn run_uninterrupted(photos: &Path) -> engraft::Result<Model> {
    let (photos, classes) = dataset(photos)?;
    let model = model(classes)?;
    model.fit(&photos, Fit::new().epochs(3).batch_size(4))?;
    Ok(model)
}

/// The photos, resized to 32 x 32 pixels, and the number of their classes.
fn dataset(photos: &Path) -> engraft::Result<(PhotoDataset, usize)> {
    let folder = PhotoFolder::scan(photos, &mut |_done, _total| {})?;
    let classes = folder.classes.len();
    Ok((PhotoDataset::new(folder.photos, classes, [32, 32])?, classes))
}

fn model(classes: usize) -> engraft::Result<Model> {
    // Fixed seeds, so that both runs have the same initial weights.
    let initializer = |seed| Initializer::RandomNormal { mean: 0.0, stddev: 0.2, seed: Some(seed) };
    let layers = Sequential::new()
        .add(Input::new([32, 32, 3]))
        .add(Rescaling::new(1.0 / 255.0))
        .add(Conv2D::new(8, 3).activation(Relu).kernel_initializer(initializer(1)))
        .add(GlobalAveragePooling2D::new())
        .add(Dense::new(classes).activation(Softmax).kernel_initializer(initializer(2)));
    let model = layers.build()?;
    model.compile(Adam::new(CosineDecay::new(1e-2, 100)), Loss::categorical_crossentropy(), [Metric::Accuracy])?;
    Ok(model)
}

fn main() -> engraft::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let photos = arguments.next().unwrap_or("photos".into());
    let file = arguments.next().unwrap_or("model.keras".into());
    let photos = Path::new(&photos);
    let [resumed, uninterrupted] = [run(photos, Path::new(&file))?, run_uninterrupted(photos)?];
    let same = resumed.weights().iter().zip(uninterrupted.weights()).all(|(a, b)| *a.values() == *b.values());
    println!("{}\nsame weights as without interruption: {same}", resumed.summary());
    Ok(())
}
