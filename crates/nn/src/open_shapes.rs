//! [`OpenShapes`]: the output shapes of layers as Keras shows them, with `None` for a size that depends on an open input.

use std::collections::{HashMap, HashSet};

use crate::graph::Graph;
use crate::layer::Layer;
use crate::layers::Operation;
use crate::{Model, Shape, SymbolicTensor};

/// A shape without the batch axis; `None` for a size that changes with the size of an input.
pub type OpenShape = Vec<Option<usize>>;

/// The output shapes of the layers of a model whose inputs have an open size, as Keras shows them.
///
/// The layers are called on inputs of a second size. A size that differs between the two is open.
///
/// ```
/// use engraft_nn::{OpenShapes, prelude::*, layers::from_config};
/// let config = serde_json::json!({"name": "photo", "batch_shape": [null, null, null, 3]});
/// let photo = from_config("InputLayer", config.as_object().unwrap().clone())?;
/// let x = Input::of(&photo, vec![64, 64, 3])?;
/// let y = Conv2D::new(8, 3).named("conv").call(&x)?;
/// let model = Model::new(&x, &GlobalAveragePooling2D::new().named("pool").call(&y)?)?;
/// let shapes = OpenShapes::of(&model);
/// assert_eq!(shapes.of_layer(&model.get_layer("conv")?), Some(vec![None, None, Some(8)]));
/// assert_eq!(shapes.of_layer(&model.get_layer("pool")?), Some(vec![Some(8)]));
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Debug, Default)]
pub struct OpenShapes {
    /// The open shape of each call, by the id of its tensor.
    calls: HashMap<usize, OpenShape>,
    /// The open shape of each layer's first call in the first model that contains it, by the id of the layer.
    layers: HashMap<usize, OpenShape>,
    /// The open shapes of the tensors that an operation's last call returns as a list, by the id of the operation.
    lists: HashMap<usize, Vec<OpenShape>>,
    /// The shapes of the inputs of each layer's first call in a model with open inputs, by the id of the layer.
    inputs: HashMap<usize, Vec<OpenShape>>,
}

impl OpenShapes {
    /// The shapes of all layers of a model, nested ones included.
    pub fn of(model: &Model) -> Self {
        let mut shapes = Self::default();
        shapes.add(model.layer(), &mut HashSet::new());
        shapes
    }

    /// The output shape of a layer; `None` for a layer outside the model, or before it is built.
    pub fn of_layer(&self, layer: &Layer) -> Option<OpenShape> {
        self.layers.get(&layer.id()).cloned().or_else(|| layer.output_shape().map(fixed))
    }

    /// The shapes of the inputs of a layer's first call.
    ///
    /// ```
    /// use engraft_nn::{OpenShapes, prelude::*};
    /// let model = Sequential::new().add(Input::new([4])).add(Dense::new(2)).build()?;
    /// assert_eq!(OpenShapes::of(&model).inputs_of_layer(&model.layers()[0]), [[Some(4)]]);
    /// # Ok::<(), engraft_nn::Error>(())
    /// ```
    pub fn inputs_of_layer(&self, layer: &Layer) -> Vec<OpenShape> {
        let known = self.inputs.get(&layer.id()).cloned();
        known.unwrap_or_else(|| layer.input_shapes().unwrap_or_default().iter().map(fixed).collect())
    }

    /// The shape of the output of a call.
    ///
    /// ```
    /// use engraft_nn::{OpenShapes, prelude::*};
    /// let model = Sequential::new().add(Input::new([4])).add(Dense::new(2)).build()?;
    /// assert_eq!(OpenShapes::of(&model).of_call(model.output()), [Some(2)]);
    /// # Ok::<(), engraft_nn::Error>(())
    /// ```
    pub fn of_call(&self, call: &SymbolicTensor) -> OpenShape {
        self.calls.get(&call.id()).cloned().unwrap_or_else(|| fixed(call.shape()))
    }

    /// The shapes of the tensors that an operation such as `keras.ops.split` returns; `None` for a layer with one output.
    pub(crate) fn of_list(&self, layer: &Layer) -> Option<&[OpenShape]> {
        self.lists.get(&layer.id()).map(Vec::as_slice)
    }

    fn add(&mut self, model: &Layer, seen: &mut HashSet<usize>) {
        let Some(graph) = model.def().graph().filter(|_| seen.insert(model.id())) else { return };
        let second = at_a_second_size(graph);
        let mut layers: HashMap<usize, OpenShape> = HashMap::new();
        for (index, call) in graph.calls().iter().enumerate() {
            let other = second.as_ref().and_then(|graph| graph.calls().get(index));
            let shape = match other.filter(|other| other.layer() == call.layer()) {
                Some(other) => open_where_different(call.shape(), other.shape()),
                None => fixed(call.shape()),
            };
            layers.entry(call.layer().id()).or_insert_with(|| shape.clone());
            if let Some(list) = list_shapes(call) {
                let other = other.and_then(list_shapes).unwrap_or_else(|| list.clone());
                let shapes = list.iter().zip(&other).map(|(shape, other)| open_where_different(shape, other));
                self.lists.insert(call.layer().id(), shapes.collect());
            }
            if second.is_some() {
                let inputs = call.inputs().iter().map(|input| self.of_call(input)).collect();
                self.inputs.entry(call.layer().id()).or_insert(inputs);
            }
            self.calls.insert(call.id(), shape);
        }
        for (layer, shape) in layers {
            self.layers.entry(layer).or_insert(shape);
        }
        graph.layers().iter().for_each(|layer| self.add(layer, seen));
    }
}

/// The shapes of the tensors that a call returns as a list.
fn list_shapes(call: &SymbolicTensor) -> Option<Vec<Shape>> {
    if call.layer().returns_list() {
        return call.layer().output_shapes_of_result(call.shape()).ok();
    }
    // The operation passes its input on.
    call.layer().def_as::<Operation>()?.list_shapes(call.shape())?.ok()
}

/// The graph for inputs whose open sizes are doubled; `None` if no size is open, or a layer doesn't support the size.
fn at_a_second_size(graph: &Graph) -> Option<Graph> {
    let doubled = |input: &SymbolicTensor| {
        let mut shape = input.shape().clone();
        input.open_axes().into_iter().for_each(|axis| shape[axis] *= 2);
        shape
    };
    let shapes: Vec<Shape> = graph.inputs().iter().map(doubled).collect();
    let is_open = graph.inputs().iter().any(|input| !input.open_axes().is_empty());
    is_open.then(|| graph.for_shapes(&shapes).ok()).flatten()
}

fn open_where_different(shape: &Shape, other: &Shape) -> OpenShape {
    shape.iter().zip(other).map(|(size, other)| (size == other).then_some(*size)).collect()
}

fn fixed(shape: &Shape) -> OpenShape {
    shape.iter().copied().map(Some).collect()
}
