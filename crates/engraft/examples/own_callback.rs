//! A custom callback: it warms up the learning rate, restores the best weights at the end, and stops at a low loss.
//!
//!     cargo run --release --example own_callback -- photos

use std::path::Path;

use engraft::prelude::*;

/// The callback.
#[derive(Default)]
pub(crate) struct BestWeights {
    /// The lowest loss and its weights.
    best: Option<(f64, Vec<Vec<f32>>)>,
    /// The learning rate of each epoch.
    pub(crate) rates: Vec<f64>,
}

impl Callback for BestWeights {
    fn on_epoch_begin(&mut self, epoch: usize, training: &mut Training<'_>) -> engraft::Result<()> {
        training.set_learning_rate(0.01 * (epoch + 1).min(5) as f64)?;
        self.rates.push(training.learning_rate());
        Ok(())
    }

    fn on_epoch_end(&mut self, end: &EpochEnd<'_>, training: &mut Training<'_>) -> engraft::Result<()> {
        let loss = end.get("loss").unwrap_or(f64::INFINITY);
        if self.best.as_ref().is_none_or(|(best, _)| loss < *best) {
            let weights = training.model()?.weights();
            self.best = Some((loss, weights.iter().map(|weight| weight.values().clone()).collect()));
        }
        if loss < 0.1 {
            training.stop();
        }
        Ok(())
    }

    fn on_train_end(&mut self, training: &mut Training<'_>) -> engraft::Result<()> {
        let Some((_, best)) = self.best.take() else { return Ok(()) };
        training.model()?.weights().iter().zip(best).try_for_each(|(weight, values)| weight.set(values))
    }
}

/// Trains a small model on `photos` with the callback, for at most `epochs` epochs.
pub(crate) fn run(photos: &Path, epochs: usize) -> engraft::Result<(History, BestWeights)> {
    let folder = PhotoFolder::scan(photos, &mut |_done, _total| {})?;
    let classes = folder.classes.len();
    // Small photos are decoded once and kept in memory.
    let training = PhotoDataset::new(folder.photos, classes, [32, 32])?.keep_in_memory(100 << 20);

    let initializer = |seed| Initializer::RandomNormal { mean: 0.0, stddev: 0.2, seed: Some(seed) };
    let layers = Sequential::new()
        .add(Input::new([32, 32, 3]))
        .add(Rescaling::new(1.0 / 255.0))
        .add(Conv2D::new(8, 3).activation(Relu).kernel_initializer(initializer(1)))
        .add(GlobalAveragePooling2D::new())
        .add(Dense::new(classes).activation(Softmax).kernel_initializer(initializer(2)));
    let model = layers.build()?;
    model.compile(Adam::new(1e-3), Loss::categorical_crossentropy(), [])?;
    let mut callback = BestWeights::default();
    let history = model.fit(&training, Fit::new().epochs(epochs).callback(&mut callback))?;
    Ok((history, callback))
}

fn main() -> engraft::Result<()> {
    let photos = std::env::args().nth(1).unwrap_or("photos".into());
    let (history, _) = run(Path::new(&photos), 50)?;
    println!("{} epochs, loss {:?}", history.epochs(), history.last("loss"));
    Ok(())
}
