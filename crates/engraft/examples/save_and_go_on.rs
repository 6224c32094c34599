//! Train, save, load, and go on where training stopped: the weights are those of training in one go, bit for bit.
//!
//!     cargo run --release --example save_and_go_on -- model.keras

use std::path::Path;

use engraft::prelude::*;

/// A small model on made up data, trained for three epochs with a stop after the first.
pub(crate) fn run(file: &Path) -> engraft::Result<Model> {
    let (model, data) = (model()?, data()?);
    model.fit(&data, Fit::new().epochs(1).batch_size(4))?;
    // Layers, weights, what compile set, and the optimizer's state; Keras opens the file, too.
    save_model(&model, file)?;

    let model = load_model(file)?;
    model.fit(&data, Fit::new().initial_epoch(1).epochs(3).batch_size(4))?;
    Ok(model)
}

/// The same without a stop.
pub(crate) fn in_one_go() -> engraft::Result<Model> {
    let model = model()?;
    model.fit(&data()?, Fit::new().epochs(3).batch_size(4))?;
    Ok(model)
}

fn model() -> engraft::Result<Model> {
    // The same first weights each time.
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
    let [stopped, whole] = [run(Path::new(&file))?, in_one_go()?];
    let same = stopped.weights().iter().zip(whole.weights()).all(|(a, b)| *a.values() == *b.values());
    println!("{}\nthe same as in one go: {same}", stopped.summary());
    Ok(())
}
