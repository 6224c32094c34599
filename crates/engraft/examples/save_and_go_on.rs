//! Trains, saves, loads and resumes. The weights are the same, bit for bit, as those of uninterrupted training.
//!
//!     cargo run --release --example save_and_go_on -- model.keras

use std::path::Path;

use engraft::prelude::*;

/// Trains a small model on synthetic data for three epochs; after the first, it is saved and loaded.
pub(crate) fn run(file: &Path) -> engraft::Result<Model> {
    let (model, data) = (model()?, data()?);
    model.fit(&data, Fit::new().epochs(1).batch_size(4))?;
    // Saves layers, weights, compile settings and optimizer state. Keras can load the file, too.
    save_model(&model, file)?;

    let model = load_model(file)?;
    model.fit(&data, Fit::new().initial_epoch(1).epochs(3).batch_size(4))?;
    Ok(model)
}

/// Trains the same model for three epochs without interruption.
pub(crate) fn run_uninterrupted() -> engraft::Result<Model> {
    let model = model()?;
    model.fit(&data()?, Fit::new().epochs(3).batch_size(4))?;
    Ok(model)
}

fn model() -> engraft::Result<Model> {
    // Fixed seeds, so that both runs have the same initial weights.
    let dense = |units, seed| {
        let initializer = Initializer::RandomNormal { mean: 0.0, stddev: 0.5, seed: Some(seed) };
        Dense::new(units).kernel_initializer(initializer)
    };
    let layers = Sequential::new().add(Input::new([3])).add(dense(8, 1).activation(Relu));
    let model = layers.add(dense(2, 2).activation(Softmax)).build()?;
    model.compile(Adam::new(CosineDecay::new(1e-2, 100)), Loss::categorical_crossentropy(), [Metric::Accuracy])?;
    Ok(model)
}

fn data() -> engraft::Result<Arrays> {
    let x = Tensor::new([12, 3], (0..36).map(|i| (i * 7 % 11) as f32 / 11.0).collect())?;
    let y = Tensor::new([12, 2], (0..12).flat_map(|i| if i % 2 == 0 { [1.0, 0.0] } else { [0.0, 1.0] }).collect())?;
    Arrays::new(x, y)
}

fn main() -> engraft::Result<()> {
    let file = std::env::args().nth(1).unwrap_or("model.keras".into());
    let [resumed, uninterrupted] = [run(Path::new(&file))?, run_uninterrupted()?];
    let same = resumed.weights().iter().zip(uninterrupted.weights()).all(|(a, b)| *a.values() == *b.values());
    println!("{}\nsame weights as without interruption: {same}", resumed.summary());
    Ok(())
}
