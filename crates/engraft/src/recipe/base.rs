//! The base of a model: its pretrained layers, as opposed to its head. Freezing and fine-tuning count from it.

mod find;
mod known_networks;
mod upstream;

use self::find::has_trainable_weights;
pub(super) use self::known_networks::network_and_preprocessing;
use crate::{Layer, Model, Result};

/// The pretrained layers of a model: its base, as opposed to its head and its preprocessing.
///
/// Code that builds a base records it on the layers: the builders in [`applications`](crate::applications) do so, and
/// [`record`](Self::record) does it for any other model. Model files keep the record, `.keras` and whole-model `.h5` alike.
/// Without a record, as in files of Keras, the base is, in this order:
///
/// 1. the layers below the top of a network of `keras.applications`, recognised by their names;
/// 2. the only nested model with weights, if layers with weights follow it.
///
/// Any other model has no known base. The classes of layers are no evidence, since a base may contain Dense layers too.
///
/// ```
/// use engraft::prelude::*;
/// use engraft::recipe::Base;
/// let base = vgg16().include_top(false).weights("none").input_shape([32, 32, 3]).build()?;
/// let model = Sequential::new().add(&base).add(Flatten::new()).add(Dense::new(2)).build()?;
/// let base = Base::of(&model)?;
/// assert_eq!(base.layers()[0].name(), "block1_conv1");
/// assert_eq!(base.layers()[17].name(), "block5_pool");
/// # Ok::<(), engraft::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Base {
    layers: Vec<Layer>,
}

impl Base {
    /// The base of a model: as recorded, else recognised by the names and the nesting of its layers.
    ///
    /// # Errors
    /// No base is recorded or recognised. The error lists the layers to choose from.
    pub fn of(model: &Model) -> Result<Self> {
        let recorded = from_first_weights(recorded(model));
        let layers = if recorded.is_empty() { from_first_weights(find::base(model)?) } else { recorded };
        Ok(Self { layers })
    }

    /// Records that `model` is the base of every model built on it.
    ///
    /// ```
    /// use engraft::prelude::*;
    /// use engraft::recipe::{Base, Freeze};
    /// let x = Input::new([8, 8, 3]);
    /// let base = Model::new(&x, &Dense::new(4).call(&Conv2D::new(4, 3).call(&x)?)?)?;
    /// Base::record(&base);
    /// let y = Dense::new(2).call(&Flatten::new().call(base.output())?)?;
    /// let model = Model::new(&x, &y)?;
    /// Freeze::All.apply(&model)?;
    /// assert_eq!(model.trainable_weights().len(), 2);
    /// # Ok::<(), engraft::Error>(())
    /// ```
    pub fn record(model: &Model) {
        model.layer().set_in_base(true);
    }

    /// The leaf layers of the base in the order of the model.
    ///
    /// The first one has weights that training can change. Layers before it, such as preprocessing, are left out.
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }
}

fn recorded(model: &Model) -> Vec<Layer> {
    model.leaves().into_iter().filter(Layer::in_base).collect()
}

fn from_first_weights(layers: Vec<Layer>) -> Vec<Layer> {
    layers.into_iter().skip_while(|layer| !has_trainable_weights(layer)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prelude::*;

    fn names(base: &Base) -> Vec<&str> {
        base.layers().iter().map(Layer::name).collect()
    }

    /// A block of ConvNeXt: Dense layers stand for convolutions of 1x1.
    fn convnext(input: &SymbolicTensor) -> Model {
        let x = Conv2D::new(4, 2).strides(2).named("stem").call(input).unwrap();
        let y = DepthwiseConv2D::new(3).padding(Padding::Same).named("depthwise").call(&x).unwrap();
        let y = Dense::new(16).activation(Relu).named("pointwise_1").call(&y).unwrap();
        let y = Dense::new(4).named("pointwise_2").call(&y).unwrap();
        Model::named("convnext", &input.sources(), &Add::new().named("identity").call([&x, &y]).unwrap()).unwrap()
    }

    #[test]
    fn dense_layers_inside_a_recorded_base_belong_to_it() {
        let adapted = Conv2D::new(3, 1).named("adapter").call(&Input::new([8, 8, 1])).unwrap();
        let base = convnext(&adapted);
        Base::record(&base);
        base.get_layer("adapter").unwrap().set_in_base(false);
        let x = Flatten::new().call(base.output()).unwrap();
        let model = Model::new(&adapted.sources(), &Dense::new(2).call(&x).unwrap()).unwrap();
        assert_eq!(names(&Base::of(&model).unwrap()), ["stem", "depthwise", "pointwise_1", "pointwise_2", "identity"]);
    }
}
