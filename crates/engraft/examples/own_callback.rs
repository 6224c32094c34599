//! A custom callback: it warms up the learning rate, restores the best weights at the end, and stops at a low loss.

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

/// Trains a small model with the callback.
pub(crate) fn run() -> engraft::Result<(History, BestWeights)> {
    let dense = |units, seed| {
        let initializer = Initializer::RandomNormal { mean: 0.0, stddev: 0.7, seed: Some(seed) };
        Dense::new(units).kernel_initializer(initializer)
    };
    let layers = Sequential::new().add(Input::new([2])).add(dense(8, 1).activation(Tanh));
    let model = layers.add(dense(2, 2).activation(Softmax)).build()?;
    model.compile(Adam::new(1e-3), Loss::categorical_crossentropy(), [])?;
    let x = Tensor::new([4, 2], vec![0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0])?;
    let y = Tensor::new([4, 2], vec![1.0, 0.0, 0.0, 1.0, 0.0, 1.0, 1.0, 0.0])?;
    let mut callback = BestWeights::default();
    let history = model.fit(&Arrays::new(x, y)?, Fit::new().epochs(500).callback(&mut callback))?;
    Ok((history, callback))
}

fn main() -> engraft::Result<()> {
    let (history, _) = run()?;
    println!("{} epochs, loss {:?}", history.epochs(), history.last("loss"));
    Ok(())
}
