//! Compiles models: optimizers by name, the loss that matches the model's output, and accuracy as the metric.

use clap::ValueEnum;
use engraft::prelude::*;
use engraft::recipe::Outputs;
use engraft::{Error, Result};

use crate::output;

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

/// Compiles a model with Adam, a loss and accuracy. If it is compiled already, it gets what is missing of optimizer and loss.
///
/// The loss is binary crossentropy for a single output and for several sigmoids, else categorical crossentropy; of logits, if the
/// outputs are logits.
///
/// # Errors
/// The outputs are no probabilities of classes.
pub(crate) fn compile_if_needed(classifier: &Classifier) -> Result<()> {
    let model = classifier.model();
    let (loss, metric) = match model.output_shape()[..] {
        [1] => (Loss::binary_crossentropy(), Metric::Accuracy),
        _ if classifier.is_multi_label() => (Loss::binary_crossentropy(), Metric::BinaryAccuracy),
        _ => (Loss::categorical_crossentropy(), Metric::Accuracy),
    };
    let loss = match classifier.outputs() {
        Outputs::Logits(_) => loss.from_logits(true),
        Outputs::Probabilities => loss,
        _ => return Err(no_classes(classifier, "engraft features")),
    };
    let optimizer = OptimizerKind::Adam.optimizer(None);
    if model.compiled().is_none() {
        return model.compile(optimizer, loss, [metric]);
    }
    loss.check(model.output_shape())?;
    model.update_compiled(|compiled| {
        compiled.optimizer.get_or_insert(optimizer);
        compiled.loss.get_or_insert(loss);
    })
}

/// The error for a model whose outputs say nothing of classes, with what it is good for. `features` is the command that writes its
/// outputs to a file.
pub(crate) fn no_classes(classifier: &Classifier, features: &str) -> Error {
    let (place, layer) = (format!("model `{}`", classifier.model().name()), classifier.output_layer());
    let compile = "if they tell classes apart, compile the model with its loss in Keras and save it again";
    match (classifier.outputs(), classifier.classes().len()) {
        (Outputs::Values, _) => {
            let received = "numbers that are neither, such as those of a regression";
            Error::new(place, "outputs that are probabilities or logits of classes", received)
                .hint(format_args!("`engraft predict` prints them; {compile}"))
        }
        (_, 0) => {
            let received = format!("{:?} of layer `{layer}`, features of the photo", classifier.model().output_shape());
            Error::new(place, "an output of one number per class, [classes]", received)
                .hint(format_args!("write them to a file: {features}"))
        }
        (_, count) => {
            let received = format!("{} of layer `{layer}`, which may be features", output::count(count, "number"));
            Error::new(place, "last layers that give probabilities or logits of classes", received).hint(format_args!(
                "`engraft predict --raw` prints them; to write them to a file: {features}; {compile}"
            ))
        }
    }
}

/// Adds accuracy to the metrics of a compiled model. Returns its loss.
pub(crate) fn with_accuracy(model: &Model) -> Result<Loss> {
    model.update_compiled(|compiled| {
        if !compiled.metrics.contains(&Metric::Accuracy) {
            compiled.metrics.push(Metric::Accuracy);
        }
    })?;
    model.compiled_or_error()?.loss_or_error()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classifier(outputs: usize, activation: ActivationFn) -> Classifier {
        let layers = Sequential::new().add(Input::new([1, 1, 3])).add(Flatten::new());
        let model = layers.add(Dense::new(outputs).activation(activation)).build().unwrap();
        Classifier::new(model, None).unwrap()
    }

    #[test]
    fn the_loss_fits_the_output_and_what_is_compiled_stays() {
        for (outputs, activation, expected) in [
            (1, Sigmoid, Loss::binary_crossentropy()),
            (3, Softmax, Loss::categorical_crossentropy()),
            (3, Sigmoid, Loss::binary_crossentropy()),
        ] {
            let classifier = classifier(outputs, activation);
            compile_if_needed(&classifier).unwrap();
            assert_eq!(with_accuracy(classifier.model()).unwrap(), expected);
        }
        let classifier = classifier(3, Softmax);
        let model = classifier.model();
        model.compile(Sgd::new(0.5), Loss::sparse_categorical_crossentropy(), []).unwrap();
        compile_if_needed(&classifier).unwrap();
        assert_eq!(with_accuracy(model).unwrap(), Loss::sparse_categorical_crossentropy());
        let compiled = model.compiled().unwrap();
        assert_eq!(
            (compiled.optimizer.unwrap().learning_rate().at(0), &compiled.metrics[..]),
            (0.5, &[Metric::Accuracy][..])
        );
    }
}
