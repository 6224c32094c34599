//! Which layers don't learn, in words: `all`, `none`, a number, a layer's name.

use std::fmt;
use std::str::FromStr;

use crate::{Error, Layer, Model, Result};

/// The number of a base's first layer with weights: an input and augmentation count before it, as in
/// `for layer in base.layers[:15]`, there or not.
const FIRST: usize = 2;

/// Which layers of a model don't learn. Written as `all`, `none`, a number or a layer's name.
///
/// The *base* of a model goes from its first layer with trainable weights to the last one before its head, and the head
/// begins with the first Flatten, global pooling or Dense after the last convolution. A base nested in the model is seen
/// through, as if its layers were the model's own.
///
/// ```
/// use engraft::recipe::Freeze;
/// assert_eq!("all".parse(), Ok(Freeze::All));
/// assert_eq!("15".parse(), Ok(Freeze::First(15)));
/// assert_eq!("block4_pool".parse(), Ok(Freeze::Before("block4_pool".into())));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Freeze {
    /// The whole base: only the head learns.
    All,
    /// Nothing: every layer learns.
    None,
    /// The first so many layers of the base. The input counts as layer 0 and augmentation as layer 1, even where there is
    /// none; the first layer with weights is layer 2.
    First(usize),
    /// Every layer before the one of this name.
    Before(String),
}

impl Freeze {
    /// Sets what learns in `model`: the layers that this names don't, all others do.
    ///
    /// # Errors
    /// No layer of that name, fewer layers than the number, or no base. Nothing is changed then.
    pub fn apply(&self, model: &Model) -> Result<()> {
        let layers = leaves(&model.layers());
        let frozen = self.frozen(model, &layers)?;
        model.set_trainable(true);
        layers[frozen].iter().for_each(|layer| layer.set_trainable(false));
        Ok(())
    }

    /// The range of `layers` that it freezes.
    fn frozen(&self, model: &Model, layers: &[Layer]) -> Result<std::ops::Range<usize>> {
        match self {
            Self::None => Ok(0..0),
            Self::All => base(model, layers),
            Self::First(count) => {
                let base = base(model, layers)?;
                let frozen = count.saturating_sub(FIRST);
                if frozen <= base.len() {
                    return Ok(base.start..base.start + frozen);
                }
                let place = format!("model `{}`", model.name());
                Err(Error::new(
                    place,
                    format_args!("at most {} layers of the base to freeze", base.len() + FIRST),
                    count,
                )
                .hint("freeze `all` for the whole base"))
            }
            Self::Before(name) => {
                let named = model.get_layer(name)?;
                // Of a nested model its first layer.
                let first = leaves(std::slice::from_ref(&named)).into_iter().next().unwrap_or(named);
                Ok(0..layers.iter().position(|layer| *layer == first).unwrap_or(0))
            }
        }
    }
}

/// What learns in a model at one time, to come back to.
///
/// ```
/// use engraft::prelude::*;
/// use engraft::recipe::Trainable;
/// let model = Sequential::new().add(Input::new([4])).add(Dense::new(2)).build()?;
/// let before = Trainable::of(&model);
/// model.set_trainable(false);
/// before.restore();
/// assert_eq!(model.trainable_weights().len(), 2);
/// # Ok::<(), engraft::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Trainable(Vec<(Layer, bool)>);

impl Trainable {
    /// The flags of the model and of all layers in it as they are now.
    pub fn of(model: &Model) -> Self {
        let mut flags = Vec::new();
        let mut pending = vec![model.layer().clone()];
        while let Some(layer) = pending.pop() {
            pending.extend(layer.layers());
            flags.push((layer.clone(), layer.trainable()));
        }
        Self(flags)
    }

    /// Sets them as they were. A model's flag reaches all layers in it, so that theirs come after it.
    pub fn restore(&self) {
        self.0.iter().for_each(|(layer, trainable)| layer.set_trainable(*trainable));
    }
}

/// The layers that hold no others, in order, nested models seen through.
fn leaves(layers: &[Layer]) -> Vec<Layer> {
    let inside = |layer: &Layer| match layer.layers() {
        none if none.is_empty() => vec![layer.clone()],
        inner => leaves(&inner),
    };
    layers.iter().flat_map(inside).collect()
}

/// Where the base stands among `layers`.
fn base(model: &Model, layers: &[Layer]) -> Result<std::ops::Range<usize>> {
    let learns = |layer: &Layer| layer.weights().iter().any(|weight| weight.trainable());
    let begins_head =
        |layer: &Layer| layer.class_name().starts_with("Global") || ["Flatten", "Dense"].contains(&layer.class_name());
    let last = layers.iter().rposition(|layer| layer.class_name().ends_with("Conv2D"));
    let Some((first, last)) = layers.iter().position(learns).zip(last) else {
        let place = format!("model `{}`", model.name());
        return Err(
            Error::new(place, "a base of convolutions to freeze", "none").hint("freeze `none`, or name a layer")
        );
    };
    let head = layers[last..].iter().position(begins_head).map_or(layers.len(), |head| last + head);
    Ok(first..head)
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

    fn head(base: Sequential) -> Model {
        base.add(GlobalAveragePooling2D::new())
            .add(Dense::new(4).named("hidden"))
            .add(Dense::new(2).named("top"))
            .build()
            .unwrap()
    }

    fn learning(model: &Model) -> Vec<String> {
        let layers = leaves(&model.layers());
        let learns = |layer: &&Layer| !layer.trainable_weights().is_empty();
        layers.iter().filter(learns).map(|layer| layer.name().to_owned()).collect()
    }

    #[test]
    fn a_flat_and_a_nested_base_freeze_alike() {
        for model in [head(base()), head(Sequential::new().add(base().build().unwrap()))] {
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
                assert_eq!(learning(&model), expected, "{freeze}");
            }
        }
    }

    #[test]
    fn before_a_nested_model_is_before_its_first_layer() {
        let inner = base().build().unwrap();
        let model =
            head(Sequential::new().add(Input::new([10, 10, 3])).add(Conv2D::new(3, 3).named("conv0")).add(inner));
        Freeze::Before("base".into()).apply(&model).unwrap();
        assert_eq!(learning(&model), ["conv1", "norm", "conv2", "hidden", "top"]);
    }

    #[test]
    fn what_learned_can_learn_again() {
        let model = head(Sequential::new().add(base().build().unwrap()));
        Freeze::First(4).apply(&model).unwrap();
        let before = Trainable::of(&model);
        Freeze::None.apply(&model).unwrap();
        before.restore();
        assert_eq!(learning(&model), ["conv2", "hidden", "top"]);
    }

    #[test]
    fn what_is_not_there_is_an_error_and_changes_nothing() {
        let model = head(base());
        Freeze::All.apply(&model).unwrap();
        for (freeze, expected) in [
            ("6", "expected at most 5 layers of the base to freeze, received 6\nhint: freeze `all`"),
            ("conv3", "no layer called `conv3`"),
        ] {
            let error = freeze.parse::<Freeze>().unwrap().apply(&model).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        assert_eq!(learning(&model), ["hidden", "top"]);
        let dense = Sequential::new().add(Input::new([2])).add(Dense::new(2)).build().unwrap();
        assert!(Freeze::All.apply(&dense).unwrap_err().to_string().contains("expected a base of convolutions"));
        assert!("".parse::<Freeze>().is_err());
    }
}
