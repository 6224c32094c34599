//! Sequential models: chains of layers.
//!
//! [`Sequential`] collects the layers; [`SequentialDef`] is the description of the finished model.

use engraft_ir::ValueId;
use std::sync::OnceLock;

use serde_json::{Map, Value};

use crate::Shape;
use crate::graph::{Arguments, Graph, SymbolicTensor};
use crate::layer::{IntoLayer, Layer};
use crate::layer_def::LayerDef;
use crate::layers::InputLayer;
use crate::lowering::Lowering;
use crate::model::Model;
use crate::sized_graphs::SizedGraphs;
use crate::{DType, Error, ErrorKind, Result, naming};

/// Builder of a sequential model, a chain of layers (Keras' `Sequential`).
///
/// Called on a tensor, it becomes one layer of a larger model, for inputs of the tensor's shape.
///
/// ```
/// use engraft_nn::prelude::*;
/// let augment = Sequential::with_name("augment").add(RandomFlip::horizontal()).add(RandomRotation::new(0.1));
/// let x = augment.call(&Input::new([64, 64, 3]))?;
/// assert_eq!((x.layer().name(), x.shape()), ("augment", &vec![64, 64, 3]));
///
/// // A model of its own: the input's shape stands first, or is given to `build_for`.
/// let model = Sequential::new().add(Input::new([4])).add(Dense::new(2)).build()?;
/// let same = Sequential::new().add(Dense::new(2)).build_for([4])?;
/// assert_eq!(model.count_params(), same.count_params());
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Debug)]
pub struct Sequential {
    name: String,
    layers: Vec<Layer>,
}

impl Sequential {
    /// An empty chain with an automatic name.
    #[expect(clippy::new_without_default, reason = "each call takes the next automatic name")]
    pub fn new() -> Self {
        Self::with_name(naming::auto_name("Sequential"))
    }

    /// An empty chain with the name `name`.
    pub fn with_name(name: impl Into<String>) -> Self {
        Self { name: name.into(), layers: Vec::new() }
    }

    /// Appends a layer or a model; the first may be an [`Input`](crate::layers::Input).
    #[must_use]
    #[expect(clippy::should_implement_trait, reason = "Keras' name of it")]
    pub fn add(mut self, layer: impl IntoLayer) -> Self {
        self.layers.push(layer.into_layer());
        self
    }

    /// Calls the chain on `inputs` as one layer.
    ///
    /// # Errors
    /// Those of [`Layer::call`].
    pub fn call<'a>(self, inputs: impl Arguments<'a>) -> Result<SymbolicTensor> {
        self.into_layer().call(inputs)
    }

    /// Builds the model; the first layer must be an [`Input`](crate::layers::Input) or a layer with a known input shape.
    ///
    /// # Errors
    /// No layers, an unknown input shape, or a layer that doesn't support its input.
    pub fn build(self) -> Result<Model> {
        let Some(first) = self.layers.first() else {
            return Err(Error::because("Sequential", "expected at least one layer, received none").hint("add one"));
        };
        let declared = match first.def_as::<InputLayer>() {
            Some(_) => first.output_shape(),
            None => first.input_shapes().and_then(|shapes| shapes.first()),
        };
        let Some(shape) = declared.cloned() else {
            return Err(Error::because(
                "Sequential",
                format_args!("the input shape is unknown: {} doesn't declare one", first.place()),
            )
            .hint("add(Input::new([height, width, channels])) first, or use build_for"));
        };
        self.build_for(shape)
    }

    /// Builds the model for samples of `shape`, without the batch axis.
    ///
    /// # Errors
    /// A layer that doesn't support its input, or an [`Input`](crate::layers::Input) of another shape.
    pub fn build_for(self, shape: impl Into<Shape>) -> Result<Model> {
        let layer = self.into_layer();
        layer.build(&[shape.into()])?;
        Model::from_layer(layer)
    }
}

impl IntoLayer for Sequential {
    fn into_layer(self) -> Layer {
        let mut layers = self.layers;
        let input = layers.first().filter(|first| first.def_as::<InputLayer>().is_some()).cloned();
        if input.is_some() {
            layers.remove(0);
        }
        Layer::new(SequentialDef { input, layers, graphs: OnceLock::new() }, Some(self.name))
    }
}

/// The description of a sequential model; [`Sequential`] builds it.
///
/// ```
/// use engraft_nn::{SequentialDef, prelude::*};
/// let model = Sequential::new().add(Input::new([4])).add(Dense::new(2)).build()?;
/// assert!(model.layer().def_as::<SequentialDef>().is_some());
/// assert_eq!(model.layer().class_name(), "Sequential");
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Debug)]
pub struct SequentialDef {
    input: Option<Layer>,
    layers: Vec<Layer>,
    graphs: OnceLock<SizedGraphs>,
}

impl SequentialDef {
    /// The description of the declared input.
    fn input_layer(&self) -> Option<&InputLayer> {
        self.input.as_ref().and_then(|input| input.def_as::<InputLayer>())
    }

    /// The graph from an input of this shape through all layers.
    fn chain(&self, shape: &Shape) -> Result<Graph> {
        let input = match &self.input {
            Some(layer) => SymbolicTensor::of_input(layer, shape.clone()),
            None => crate::layers::Input::new(shape.clone()),
        };
        let mut x = input.clone();
        for layer in &self.layers {
            x = layer.call(&x)?;
        }
        if x.layer().returns_list() {
            return Err(Error::new(
                x.layer().place(),
                "one output, as a layer of a Sequential",
                "a model with several",
            )
            .hint("build a Model, and select an output with ListOutput::of"));
        }
        Graph::new(vec![input], vec![x])
    }
}

impl LayerDef for SequentialDef {
    fn class_name(&self) -> &'static str {
        "Sequential"
    }

    /// Empty: writers of files write the layers themselves.
    fn config(&self) -> Map<String, Value> {
        Map::new()
    }

    fn build(&self, inputs: &[Shape]) -> Result<()> {
        let [shape] = inputs else {
            return Err(Error::new("inputs", "one", inputs.len()));
        };
        if let Some(declared) = self.input.as_ref().and_then(|input| input.output_shape())
            && declared != shape
            && !self.input_layer().is_some_and(|input| input.allows(shape))
        {
            return Err(Error::new("input", format_args!("{declared:?} as declared"), format_args!("{shape:?}")));
        }
        // After the first build the graph exists; `Layer::build` checks that later shapes agree with it.
        if self.graphs.get().is_none() {
            // Keras creates an inner Functional here. It uses up an automatic name, which later names must count.
            naming::auto_name("Functional");
            let _ = self.graphs.set(SizedGraphs::new(self.chain(shape)?));
        }
        Ok(())
    }

    fn output_shape(&self, inputs: &[Shape]) -> Result<Shape> {
        match self.graphs.get() {
            Some(graphs) => graphs.result_shape(inputs),
            None => Err(not_built()),
        }
    }

    fn output_dtype(&self, _: &[DType]) -> Result<DType> {
        Ok(self.graph().map_or(DType::Float, |graph| graph.outputs()[0].dtype()))
    }

    fn lower(&self, to: &mut Lowering<'_>, inputs: &[ValueId]) -> Result<ValueId> {
        match self.graphs.get() {
            Some(graphs) => to.graph(graphs, inputs),
            None => Err(not_built()),
        }
    }

    fn graph(&self) -> Option<&Graph> {
        self.graphs.get().map(SizedGraphs::graph)
    }

    /// The layers without the input, as in Keras.
    fn sublayers(&self) -> Vec<Layer> {
        self.layers.clone()
    }
}

fn not_built() -> Error {
    Error::because("Sequential", "not built yet").with_kind(ErrorKind::InvalidState).hint("call it on a tensor first")
}

#[cfg(test)]
mod tests {
    use crate::prelude::*;

    #[test]
    fn a_nested_model_gives_the_input_shape() {
        let x = Input::new([6, 6, 3]);
        let base = Model::named("base", &x, &Conv2D::new(2, 3).call(&x).unwrap()).unwrap();
        let model = Sequential::new().add(&base).add(Flatten::new()).add(Dense::new(5)).build().unwrap();
        assert_eq!((model.input_shape(), model.output_shape()), (&vec![6, 6, 3], &vec![5]));
        assert_eq!(model.layers().len(), 3);
        base.set_trainable(false);
        assert_eq!(model.trainable_weights().len(), 2);
    }

    #[test]
    fn an_unknown_input_shape_says_what_to_add() {
        let error = Sequential::new().add(Dense::new(5)).build().unwrap_err().to_string();
        assert!(error.contains("hint: add(Input::new("), "{error}");
    }

    #[test]
    fn freezing_before_the_first_call_counts() {
        let layer = Sequential::new().add(Dense::new(5)).into_layer();
        layer.set_trainable(false);
        layer.call(&Input::new([2])).unwrap();
        assert!(layer.trainable_weights().is_empty());
    }
}
