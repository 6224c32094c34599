//! Models: graphs of layers that are layers themselves.

use engraft_ir::{Shape, ValueId};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Map, Value};

use crate::cache::Cache;
use crate::compile::Compiled;
use crate::graph::{Arguments, Graph, SymbolicTensor};
use crate::layer::{IntoLayer, Layer, LayerDef};
use crate::lowering::Lowering;
use crate::sequential::SequentialDef;
use crate::summary::Summary;
use crate::weight::Weight;
use crate::{Error, ErrorKind, Result, naming};

/// A model: what lies between inputs and outputs (Keras' `Model`). Cloning shares, as for layers.
///
/// ```
/// use engraft_nn::prelude::*;
/// let inputs = Input::new([32, 32, 3]);
/// let x = Conv2D::new(8, 3).activation(Relu).call(&inputs)?;
/// let x = GlobalAveragePooling2D::new().call(&x)?;
/// let outputs = Dense::new(5).activation(Softmax).call(&x)?;
/// let model = Model::new(&inputs, &outputs)?;
/// assert_eq!(model.count_params(), (3 * 3 * 3 * 8 + 8) + (8 * 5 + 5));
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Clone)]
pub struct Model {
    layer: Layer,
    compiled: Arc<Mutex<Option<Compiled>>>,
    cache: Arc<Cache>,
}

impl Model {
    /// The functional model from `inputs` to `outputs`: one `&tensor` each, or `[&a, &b]`.
    pub fn new<'a, 'b>(inputs: impl Arguments<'a>, outputs: impl Arguments<'b>) -> Result<Self> {
        Self::functional(inputs.tensors(), outputs.tensors(), None)
    }

    /// Like [`new`](Self::new), called `name`.
    pub fn named<'a, 'b>(
        name: impl Into<String>,
        inputs: impl Arguments<'a>,
        outputs: impl Arguments<'b>,
    ) -> Result<Self> {
        Self::functional(inputs.tensors(), outputs.tensors(), Some(name.into()))
    }

    fn functional(inputs: Vec<SymbolicTensor>, outputs: Vec<SymbolicTensor>, name: Option<String>) -> Result<Self> {
        let graph = Graph::new(inputs, outputs)?;
        let shapes: Vec<Shape> = graph.inputs().iter().map(|input| input.shape().clone()).collect();
        let name = name.unwrap_or_else(|| naming::auto_name("Functional"));
        let layer = Layer::new(Functional { graph }, Some(name));
        layer.build(&shapes)?;
        Self::from_layer(layer)
    }

    /// The model that a layer is; an error for a layer that holds no others.
    pub fn from_layer(layer: Layer) -> Result<Self> {
        if layer.def().graph().is_none() {
            return Err(Error::new(layer.place(), "a model (Functional or a built Sequential)", "a single layer"));
        }
        Ok(Self { layer, compiled: Arc::default(), cache: Arc::default() })
    }

    /// This model as a layer, to nest in another.
    pub fn layer(&self) -> &Layer {
        &self.layer
    }

    /// The graph of its calls.
    pub fn graph(&self) -> &Graph {
        self.layer.def().graph().expect("checked when the model was made")
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.layer.name()
    }

    /// Its layers, in Keras' order: inputs first.
    pub fn layers(&self) -> Vec<Layer> {
        self.layer.layers()
    }

    /// The layer called `name`, looked for in nested models too; an error that lists what there is.
    pub fn get_layer(&self, name: &str) -> Result<Layer> {
        find_layer(&self.layers(), name).ok_or_else(|| {
            let names: Vec<String> = self.layers().iter().map(|layer| layer.name().to_owned()).collect();
            Error::because(format_args!("model `{}`", self.name()), format_args!("no layer called `{name}`"))
                .with_kind(ErrorKind::NotFound)
                .hint(format_args!("its layers are {}", names.join(", ")))
        })
    }

    /// Symbolic inputs.
    pub fn inputs(&self) -> &[SymbolicTensor] {
        self.graph().inputs()
    }

    /// Symbolic outputs.
    pub fn outputs(&self) -> &[SymbolicTensor] {
        self.graph().outputs()
    }

    /// The first output: where a head is grafted on.
    pub fn output(&self) -> &SymbolicTensor {
        &self.graph().outputs()[0]
    }

    /// Shape of one sample of the first input.
    pub fn input_shape(&self) -> &Shape {
        self.graph().inputs()[0].shape()
    }

    /// Shape of one sample of the first output.
    pub fn output_shape(&self) -> &Shape {
        self.output().shape()
    }

    /// Whether training may change it at all; see [`Layer::trainable`].
    pub fn trainable(&self) -> bool {
        self.layer.trainable()
    }

    /// Freezes or unfreezes every layer in it, at once and without compiling again.
    pub fn set_trainable(&self, trainable: bool) {
        self.layer.set_trainable(trainable);
    }

    /// All weights, in Keras' order.
    pub fn weights(&self) -> Vec<Weight> {
        self.layer.weights()
    }

    /// The weights that training would change now.
    pub fn trainable_weights(&self) -> Vec<Weight> {
        self.layer.trainable_weights()
    }

    /// How many parameters it has.
    pub fn count_params(&self) -> usize {
        self.layer.count_params()
    }

    /// Keras' table of layers, shapes and parameters; print it with `{}`.
    ///
    /// ```
    /// use engraft_nn::prelude::*;
    /// let model = Sequential::new().add(Input::new([4])).add(Dense::new(2)).build()?;
    /// assert!(model.summary().to_string().contains("Total params: 10 (40.00 B)"));
    /// # Ok::<(), engraft_nn::Error>(())
    /// ```
    pub fn summary(&self) -> Summary<'_> {
        Summary::new(self)
    }

    /// Applies the model as a layer.
    pub fn call<'a>(&self, inputs: impl Arguments<'a>) -> Result<SymbolicTensor> {
        self.layer.call(inputs)
    }

    /// Optimizer, loss, metrics and a handle to the optimizer's state, as they are now; `None` before `compile`.
    ///
    /// ```
    /// use engraft_nn::prelude::*;
    /// let model = Sequential::new().add(Input::new([4])).add(Dense::new(2)).build()?;
    /// assert!(model.compiled().is_none());
    /// model.compile(Sgd::new(0.1), Loss::categorical_crossentropy().from_logits(true), [])?;
    /// assert_eq!(model.compiled().unwrap().state.iterations(), 0);
    /// # Ok::<(), engraft_nn::Error>(())
    /// ```
    pub fn compiled(&self) -> Option<Compiled> {
        self.lock_compiled().clone()
    }

    /// Changes what `compile` set, where it was called. The optimizer's state stays. `change` must not ask the model for it.
    ///
    /// ```
    /// use engraft_nn::prelude::*;
    /// let model = Sequential::new().add(Input::new([4])).add(Dense::new(2)).build()?;
    /// model.compile(Sgd::new(0.1), Loss::categorical_crossentropy().from_logits(true), [])?;
    /// model.update_compiled(|compiled| compiled.metrics.push(Metric::Accuracy))?;
    /// assert_eq!(model.compiled().unwrap().metrics, [Metric::Accuracy]);
    /// # Ok::<(), engraft_nn::Error>(())
    /// ```
    ///
    /// # Errors
    /// Options of the optimizer that no training can have. Nothing is changed then.
    pub fn update_compiled(&self, change: impl FnOnce(&mut Compiled)) -> Result<()> {
        // Under one lock: a `compile` in between would be undone.
        let mut locked = self.lock_compiled();
        if let Some(mut compiled) = locked.clone() {
            change(&mut compiled);
            compiled.optimizer.check()?;
            *locked = Some(compiled);
        }
        Ok(())
    }

    /// Replaces what `compile` set, the optimizer's state included.
    pub fn set_compiled(&self, compiled: Option<Compiled>) {
        *self.lock_compiled() = compiled;
    }

    fn lock_compiled(&self) -> MutexGuard<'_, Option<Compiled>> {
        self.compiled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for what a runtime derives from the model and wants back at the next call.
    pub fn cache(&self) -> &Cache {
        &self.cache
    }

    /// Whether this is a `Sequential`.
    pub fn is_sequential(&self) -> bool {
        self.layer.def_as::<SequentialDef>().is_some()
    }
}

fn find_layer(layers: &[Layer], name: &str) -> Option<Layer> {
    layers
        .iter()
        .find(|layer| layer.name() == name)
        .cloned()
        .or_else(|| layers.iter().find_map(|layer| find_layer(&layer.layers(), name)))
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.layer.fmt(f)
    }
}

impl IntoLayer for Model {
    fn into_layer(self) -> Layer {
        self.layer
    }
}

impl IntoLayer for &Model {
    fn into_layer(self) -> Layer {
        self.layer.clone()
    }
}

/// The description of a functional model.
///
/// ```
/// use engraft_nn::{Functional, prelude::*};
/// let x = Input::new([4]);
/// let model = Model::new(&x, &Dense::new(2).call(&x)?)?;
/// assert!(model.layer().def_as::<Functional>().is_some());
/// assert_eq!(model.layer().class_name(), "Functional");
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Debug)]
pub struct Functional {
    graph: Graph,
}

impl LayerDef for Functional {
    fn class_name(&self) -> &'static str {
        "Functional"
    }

    /// Empty: the graph itself is written by who writes files.
    fn config(&self) -> Map<String, Value> {
        Map::new()
    }

    fn output_shape(&self, inputs: &[Shape]) -> Result<Shape> {
        graph_output_shape(&self.graph, inputs)
    }

    fn lower(&self, to: &mut Lowering<'_>, inputs: &[ValueId]) -> Result<ValueId> {
        to.graph(&self.graph, inputs)
    }

    fn graph(&self) -> Option<&Graph> {
        Some(&self.graph)
    }
}

/// Shape of a model's first output, for inputs that fit.
pub(crate) fn graph_output_shape(graph: &Graph, inputs: &[Shape]) -> Result<Shape> {
    let expected: Vec<&Shape> = graph.inputs().iter().map(SymbolicTensor::shape).collect();
    if !inputs.iter().eq(expected.iter().copied()) {
        return Err(Error::new("inputs", format_args!("{expected:?}"), format_args!("{inputs:?}"))
            .hint("build the nested model for this input shape"));
    }
    Ok(graph.outputs()[0].shape().clone())
}
