//! The layers to freeze, and their text form: `all`, `none`, a number or a layer name.

use std::fmt;
use std::str::FromStr;

use super::Base;
use crate::{Error, Layer, Model, Result, Trainability};

/// Index of the base's first layer with weights in [`Freeze::First`].
///
/// Layers 0 and 1 are an input and augmentation, as in Keras scripts that freeze `base.layers[:15]`. They are counted even
/// if the model has none.
const FIRST: usize = 2;

/// The layers of a model to freeze. As text: `all`, `none`, a number or a layer name.
///
/// [`Base`] tells which layers are the base. The layers of a nested base count as layers of the model.
///
/// ```
/// use engraft::recipe::Freeze;
/// assert_eq!("all".parse(), Ok(Freeze::All));
/// assert_eq!("15".parse(), Ok(Freeze::First(15)));
/// assert_eq!("block4_pool".parse(), Ok(Freeze::Before("block4_pool".into())));
/// ```
///
/// Freezing changes a model at once:
///
/// ```
/// use engraft::recipe::{Freeze, Recipe};
/// let recipe = Recipe { image_size: 32, head: vec![], freeze: Freeze::None, ..Recipe::new(2) };
/// let model = recipe.weights("none").build(Box::new(|_, _| {}))?;
/// Freeze::All.apply(&model)?;
/// // The kernel and the bias of the head.
/// assert_eq!(model.trainable_weights().len(), 2);
/// # Ok::<(), engraft::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Freeze {
    /// The whole base: only the head is trained.
    All,
    /// No layer: every layer is trained.
    None,
    /// The first `n` layers of the base. The input counts as layer 0 and augmentation as layer 1, even if the model has
    /// none. The first layer with weights is layer 2.
    First(usize),
    /// Every layer before the layer with this name.
    Before(String),
}

impl Freeze {
    /// Freezes these layers of `model` and makes all other layers trainable.
    ///
    /// # Errors
    /// Those of [`trainability`](Self::trainability). The model is unchanged after an error.
    pub fn apply(&self, model: &Model) -> Result<()> {
        self.trainability(model)?.apply(model);
        Ok(())
    }

    /// The `trainable` flags that [`apply`](Self::apply) sets. The model is unchanged.
    ///
    /// ```
    /// use engraft::recipe::{Freeze, Recipe};
    /// let recipe = Recipe { image_size: 32, head: vec![], ..Recipe::new(2) };
    /// let model = recipe.weights("none").build(Box::new(|_, _| {}))?;
    /// let all = Freeze::None.trainability(&model)?;
    /// assert_eq!((model.trainable_weights().len(), all.trainable_weights(&model).len()), (2, 28));
    /// # Ok::<(), engraft::Error>(())
    /// ```
    ///
    /// # Errors
    /// The model has no layer of that name, the base has fewer layers than the number, or the base is unknown.
    pub fn trainability(&self, model: &Model) -> Result<Trainability> {
        let frozen = self.frozen(model)?;
        Ok(frozen.iter().fold(Trainability::all(model), |flags, layer| flags.with(layer, false)))
    }

    /// The layers of `model` to freeze.
    fn frozen(&self, model: &Model) -> Result<Vec<Layer>> {
        match self {
            Self::None => Ok(Vec::new()),
            Self::All => Ok(Base::of(model)?.layers().to_vec()),
            Self::First(count) => {
                let base = Base::of(model)?;
                let frozen = base.layers().get(..count.saturating_sub(FIRST));
                frozen.map(<[Layer]>::to_vec).ok_or_else(|| {
                    let most = base.layers().len() + FIRST;
                    let place = format!("model `{}`", model.name());
                    Error::new(place, format_args!("at most {most} layers of the base to freeze"), count)
                        .hint("freeze `all` for the whole base")
                })
            }
            Self::Before(name) => {
                let named = model.get_layer(name)?;
                // The name may be of a nested model. Freezing then ends before the first layer inside it.
                let first = named.leaves().into_iter().next().unwrap_or(named);
                Ok(model.leaves().into_iter().take_while(|layer| *layer != first).collect())
            }
        }
    }
}

impl fmt::Display for Freeze {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::None => f.write_str("none"),
            Self::First(count) => write!(f, "{count}"),
            Self::Before(layer) => f.write_str(layer),
        }
    }
}

impl FromStr for Freeze {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match (text, text.parse()) {
            ("all", _) => Ok(Self::All),
            ("none", _) => Ok(Self::None),
            (_, Ok(count)) => Ok(Self::First(count)),
            ("", _) => Err(Error::new("freeze", "all, none, a number of layers or a layer's name", "nothing")),
            (layer, _) => Ok(Self::Before(layer.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prelude::*;

    /// Two convolutions, a normalization between them, and a head of two layers.
    fn base() -> Sequential {
        Sequential::with_name("base")
            .add(Input::new([8, 8, 3]))
            .add(Normalization::new([0.0; 3], [1.0; 3]))
            .add(Conv2D::new(2, 3).named("conv1"))
            .add(BatchNormalization::new().named("norm"))
            .add(Conv2D::new(2, 3).named("conv2"))
    }

    /// The layers of [`base`] without nesting, recorded as the base.
    fn flat() -> Sequential {
        let base = base().build().unwrap();
        Base::record(&base);
        base.layers().into_iter().fold(Sequential::with_name("flat").add(Input::new([8, 8, 3])), Sequential::add)
    }

    fn head(base: Sequential) -> Model {
        base.add(GlobalAveragePooling2D::new())
            .add(Dense::new(4).named("hidden"))
            .add(Dense::new(2).named("top"))
            .build()
            .unwrap()
    }

    fn trainable_names(model: &Model) -> Vec<String> {
        let layers = model.leaves();
        let is_trainable = |layer: &&Layer| !layer.trainable_weights().is_empty();
        layers.iter().filter(is_trainable).map(|layer| layer.name().to_owned()).collect()
    }

    #[test]
    fn a_flat_and_a_nested_base_freeze_alike() {
        for model in [head(flat()), head(Sequential::new().add(base().build().unwrap()))] {
            for (freeze, expected) in [
                ("none", &["conv1", "norm", "conv2", "hidden", "top"][..]),
                ("all", &["hidden", "top"]),
                ("0", &["conv1", "norm", "conv2", "hidden", "top"]),
                ("3", &["norm", "conv2", "hidden", "top"]),
                ("5", &["hidden", "top"]),
                ("conv2", &["conv2", "hidden", "top"]),
                ("top", &["top"]),
            ] {
                freeze.parse::<Freeze>().unwrap().apply(&model).unwrap();
                assert_eq!(trainable_names(&model), expected, "{freeze}");
            }
        }
    }

    #[test]
    fn before_a_nested_model_is_before_its_first_layer() {
        let inner = base().build().unwrap();
        let model =
            head(Sequential::new().add(Input::new([10, 10, 3])).add(Conv2D::new(3, 3).named("conv0")).add(inner));
        Freeze::Before("base".into()).apply(&model).unwrap();
        assert_eq!(trainable_names(&model), ["conv1", "norm", "conv2", "hidden", "top"]);
    }

    #[test]
    fn frozen_layers_can_be_made_trainable_again() {
        let model = head(Sequential::new().add(base().build().unwrap()));
        Freeze::First(4).apply(&model).unwrap();
        let before = Trainability::of(&model);
        Freeze::None.apply(&model).unwrap();
        before.apply(&model);
        assert_eq!(trainable_names(&model), ["conv2", "hidden", "top"]);
    }

    #[test]
    fn what_is_not_there_is_an_error_and_changes_nothing() {
        let model = head(flat());
        Freeze::All.apply(&model).unwrap();
        for (freeze, expected) in [
            ("6", "expected at most 5 layers of the base to freeze, received 6\nhint: freeze `all`"),
            ("conv3", "no layer called `conv3`"),
        ] {
            let error = freeze.parse::<Freeze>().unwrap().apply(&model).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        assert_eq!(trainable_names(&model), ["hidden", "top"]);
        let dense = Sequential::new().add(Input::new([2])).add(Dense::new(2)).build().unwrap();
        assert!(Freeze::All.apply(&dense).unwrap_err().to_string().contains("expected a recorded base"));
        assert!("".parse::<Freeze>().is_err());
    }
}
