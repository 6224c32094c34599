//! Compiles models: optimizers by name, the loss that matches the model's output, and accuracy as the metric.

use clap::ValueEnum;
use engraft::Result;
use engraft::prelude::*;

/// The values of `--optimizer`, named as in Keras. All settings but the learning rate have Keras' defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OptimizerKind {
    /// Stochastic gradient descent without momentum: one step size for all weights
    Sgd,
    /// Adapts the step size of each weight by its recent gradients, with momentum; a good first choice
    Adam,
    /// Adam with weight decay, which keeps weights small
    Adamw,
    /// Adapts the step size of each weight by its recent gradients, without momentum
    Rmsprop,
}

impl OptimizerKind {
    pub(crate) fn optimizer(self, learning_rate: Option<LearningRate>) -> Optimizer {
        // A tenth of Keras' defaults: larger steps destroy pretrained weights.
        let rate = learning_rate.unwrap_or_else(|| LearningRate::from(if self == Self::Sgd { 1e-3 } else { 1e-4 }));
        match self {
            Self::Sgd => Sgd::new(rate).into(),
            Self::Adam => Adam::new(rate).into(),
            Self::Adamw => Optimizer::AdamW(Adam::new(rate).weight_decay(0.004)),
            Self::Rmsprop => RmsProp::new(rate).into(),
        }
    }
}

/// Compiles a model unless it is compiled already: sets Adam as its optimizer, accuracy as its metric, and a loss.
///
/// The loss is binary crossentropy for a single output, else categorical crossentropy.
pub(crate) fn compile_if_needed(model: &Model) -> Result<()> {
    if model.compiled().is_some() {
        return Ok(());
    }
    let loss = match model.output_shape()[..] {
        [1] => Loss::binary_crossentropy(),
        _ => Loss::categorical_crossentropy(),
    };
    model.compile(OptimizerKind::Adam.optimizer(None), loss, [Metric::Accuracy])
}

/// Adds accuracy to the metrics of a compiled model. Returns its loss.
pub(crate) fn with_accuracy(model: &Model) -> Result<Loss> {
    model.update_compiled(|compiled| {
        if !compiled.metrics.contains(&Metric::Accuracy) {
            compiled.metrics.push(Metric::Accuracy);
        }
    })?;
    Ok(model.compiled_or_error()?.loss)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(outputs: usize) -> Model {
        Sequential::new().add(Input::new([2])).add(Dense::new(outputs)).build().unwrap()
    }

    #[test]
    fn the_loss_fits_the_output_and_what_is_compiled_stays() {
        for (outputs, expected) in [(1, Loss::binary_crossentropy()), (3, Loss::categorical_crossentropy())] {
            let model = model(outputs);
            compile_if_needed(&model).unwrap();
            assert_eq!(with_accuracy(&model).unwrap(), expected);
        }
        let model = model(3);
        model.compile(Sgd::new(0.5), Loss::sparse_categorical_crossentropy(), []).unwrap();
        compile_if_needed(&model).unwrap();
        assert_eq!(with_accuracy(&model).unwrap(), Loss::sparse_categorical_crossentropy());
        let compiled = model.compiled().unwrap();
        assert_eq!((compiled.optimizer.learning_rate().at(0), &compiled.metrics[..]), (0.5, &[Metric::Accuracy][..]));
    }
}
