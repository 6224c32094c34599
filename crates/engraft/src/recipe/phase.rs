//! A phase of training: its epochs, optimizer, trainable layers and seed.

use super::Freeze;
use crate::{Error, ErrorKind, LearningRate, Model, Optimizer, Result, Trainability};

/// One phase of a training job, such as training the head or fine-tuning: epochs, optimizer, trainable layers, seed.
///
/// ```
/// use engraft::prelude::*;
/// use engraft::recipe::Phase;
/// let model = Sequential::new().add(Input::new([4])).add(Dense::new(2).activation(Softmax)).build()?;
/// model.compile(Adam::new(1e-3), Loss::categorical_crossentropy(), [])?;
/// let mut warm_up = Phase { name: "warm-up".into(), ..Phase::first(&model, 2, 0)? };
/// warm_up.optimizer.set_learning_rate(1e-4);
/// assert_eq!(warm_up.trainability.trainable_weights(&model).len(), 2);
/// // The model keeps its own optimizer.
/// assert_eq!(Phase::first(&model, 2, 0)?.optimizer.learning_rate().at(0), 1e-3);
/// # Ok::<(), engraft::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Phase {
    /// Display name, such as `fine-tuning`; empty for the first phase.
    pub name: String,
    /// Number of epochs.
    pub epochs: usize,
    /// The optimizer of this phase; it replaces the model's.
    pub optimizer: Optimizer,
    /// The layers to train.
    pub trainability: Trainability,
    /// Seed of the shuffling and of random layers.
    pub seed: u64,
}

impl Phase {
    /// A first phase with the optimizer and the trainable layers of a compiled model.
    ///
    /// # Errors
    /// The model isn't compiled.
    pub fn first(model: &Model, epochs: usize, seed: u64) -> Result<Self> {
        let optimizer = model.compiled_or_error()?.optimizer_or_error()?.clone();
        let trainability = Trainability::of(model);
        Ok(Self { name: String::new(), epochs, optimizer, trainability, seed })
    }

    /// A fine-tuning phase after this one, which trains all layers but those of `freeze`.
    ///
    /// Its learning rate is `learning_rate`, by default a tenth of this phase's. Its seed is this phase's plus one.
    ///
    /// ```
    /// use engraft::prelude::*;
    /// use engraft::recipe::{Freeze, Phase, Recipe};
    /// let recipe = Recipe { image_size: 32, head: vec![], ..Recipe::new(2) };
    /// let model = recipe.weights("none").build(Box::new(|_, _| {}))?;
    /// model.compile(Adam::new(1e-3), Loss::categorical_crossentropy(), [])?;
    /// let first = Phase::first(&model, 10, 0)?;
    /// let second = first.fine_tuning(&model, &Freeze::Before("block5_conv1".into()), 5, None)?;
    /// assert_eq!(second.optimizer.learning_rate().at(0), 1e-4);
    /// assert_eq!(second.trainability.trainable_weights(&model).len(), 2 * 3 + 2);
    /// # Ok::<(), engraft::Error>(())
    /// ```
    ///
    /// # Errors
    /// The model doesn't have the layers to freeze; or `learning_rate` is `None` and this phase uses a schedule.
    pub fn fine_tuning(
        &self,
        model: &Model,
        freeze: &Freeze,
        epochs: usize,
        learning_rate: Option<f64>,
    ) -> Result<Self> {
        let rate = match (learning_rate, self.optimizer.learning_rate()) {
            (Some(rate), _) => rate,
            (None, LearningRate::Constant(rate)) => rate / 10.0,
            (None, LearningRate::Schedule(schedule)) => {
                let received = format!("the schedule {} of the saved model", schedule.class_name());
                return Err(Error::new("fine-tuning", "a learning rate that is a number", received)
                    .with_kind(ErrorKind::InvalidArgument)
                    .hint("name a learning rate for fine-tuning, such as 1e-5"));
            }
        };
        let mut optimizer = self.optimizer.clone();
        optimizer.set_learning_rate(rate);
        // Another seed, or the photos would repeat the order and the augmentation of the first phase.
        let seed = self.seed.wrapping_add(1);
        Ok(Self { name: "fine-tuning".into(), epochs, optimizer, trainability: freeze.trainability(model)?, seed })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prelude::*;

    fn first(rate: impl Into<LearningRate>) -> (Model, Phase) {
        let layers = Sequential::new().add(Input::new([2])).add(Dense::new(2).named("hidden"));
        let model = layers.add(Dense::new(2).named("top")).build().unwrap();
        model.compile(Adam::new(rate), Loss::categorical_crossentropy().from_logits(true), []).unwrap();
        let first = Phase::first(&model, 3, 7).unwrap();
        (model, first)
    }

    #[test]
    fn fine_tuning_is_slower_and_leaves_the_model_as_it_is() {
        let (model, first) = first(0.1);
        let second = first.fine_tuning(&model, &Freeze::Before("top".into()), 2, None).unwrap();
        // Compared in f32, as the quotient may differ from 0.01 in the last bits of f64.
        assert_eq!((second.optimizer.learning_rate().at(0) as f32, second.epochs, second.seed), (0.01, 2, 8));
        assert_eq!((model.trainable_weights().len(), second.trainability.trainable_weights(&model).len()), (4, 2));
    }

    #[test]
    fn after_a_schedule_it_asks_how_slow() {
        let (model, first) = first(CosineDecay::new(1e-3, 1000));
        let fine_tuning = |rate| first.fine_tuning(&model, &Freeze::None, 2, rate);
        assert_eq!(fine_tuning(Some(1e-5)).unwrap().optimizer.learning_rate().constant(), Some(1e-5));
        let error = fine_tuning(None).unwrap_err().to_string();
        assert!(error.contains("the schedule CosineDecay of the saved model\nhint: name a learning rate"), "{error}");
    }
}
