//! [`Model`]: a graph of layers, which can be nested as a layer in another model.

use engraft_ir::{Shape, ValueId};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Map, Value};

use crate::compile::{Compiled, Optimizer};
use crate::graph::{Arguments, Graph, SymbolicTensor};
use crate::layer::{IntoLayer, Layer};
use crate::layer_def::LayerDef;
use crate::lowering::Lowering;
use crate::sequential::SequentialDef;
use crate::session_cache::Cache;
use crate::sized_graphs::SizedGraphs;
use crate::summary::Summary;
use crate::weight::Weight;
use crate::{DType, Error, ErrorKind, Result, naming};

/// A model (Keras' `Model`): the layers between its inputs and its outputs. Clones share layers, weights and compile settings.
///
/// ```
/// use engraft_nn::prelude::*;
/// let inputs = Input::new([32, 32, 3]);
/// let x = Conv2D::new(8, 3).activation(Relu).call(&inputs)?;
/// let base = Model::new(&inputs, &GlobalAveragePooling2D::new().call(&x)?)?;
///
/// // A classifier of five classes on a frozen base.
/// base.set_trainable(false);
/// let outputs = Dense::new(5).activation(Softmax).call(&base.call(&inputs)?)?;
/// let model = Model::named("classifier", &inputs, &outputs)?;
/// assert_eq!(model.name(), "classifier");
/// assert_eq!((model.input_shape(), model.output_shape()), (&vec![32, 32, 3], &vec![5]));
/// assert_eq!(&model.layers()[1], base.layer());
/// assert_eq!(model.count_params(), (3 * 3 * 3 * 8 + 8) + (8 * 5 + 5));
/// assert!(model.trainable() && !base.trainable());
/// assert_eq!((model.weights().len(), model.trainable_weights().len()), (4, 2));
/// assert!(!model.is_sequential());
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Clone)]
pub struct Model {
    layer: Layer,
    compiled: Arc<Mutex<Option<Compiled>>>,
    cache: Arc<Cache>,
}

impl Model {
    /// A functional model from `inputs` to `outputs`. Each is one `&tensor` or several, `[&a, &b]`.
    ///
    /// # Errors
    /// No inputs or no outputs; `inputs` that aren't results of [`Input`](crate::layers::Input) or are listed twice; outputs that
    /// depend on other inputs; two layers with the same name.
    pub fn new<'a, 'b>(inputs: impl Arguments<'a>, outputs: impl Arguments<'b>) -> Result<Self> {
        Self::functional(inputs.tensors(), outputs.tensors(), None)
    }

    /// Like [`new`](Self::new), with a name for the model.
    ///
    /// # Errors
    /// Those of [`new`](Self::new).
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
        let layer = Layer::new(Functional { graphs: SizedGraphs::new(graph) }, Some(name));
        layer.build(&shapes)?;
        Self::from_layer(layer)
    }

    /// A layer that is itself a model, such as a nested base, as a `Model`.
    ///
    /// ```
    /// use engraft_nn::prelude::*;
    /// let base = Sequential::new().add(Input::new([8])).add(Dense::new(4).named("features")).build()?;
    /// let model = Sequential::new().add(&base).add(Dense::new(2)).build()?;
    /// let nested = Model::from_layer(model.get_layer(base.name())?)?;
    /// assert_eq!(nested.layer(), base.layer());
    /// assert!(Model::from_layer(model.get_layer("features")?).is_err(), "a single layer");
    /// # Ok::<(), engraft_nn::Error>(())
    /// ```
    ///
    /// # Errors
    /// A layer that isn't a model, or a `Sequential` before it is built.
    pub fn from_layer(layer: Layer) -> Result<Self> {
        if layer.def().graph().is_none() {
            let expected = "a model (Functional or a built Sequential)";
            return Err(match layer.class_name() {
                "Sequential" => Error::new(layer.place(), expected, "a Sequential that was never built").hint(
                    "give it an input (keras.Input as its first entry), build it (model.build(..)) or call it once, then save it",
                ),
                _ => Error::new(layer.place(), expected, "a single layer"),
            });
        }
        Ok(Self { layer, compiled: Arc::default(), cache: Arc::default() })
    }

    /// The same layers for inputs of these shapes, where the inputs have an open size. The models share layers and weights.
    ///
    /// ```
    /// use engraft_nn::{prelude::*, layers::from_config};
    /// let config = serde_json::json!({"name": "photo", "batch_shape": [null, null, null, 3]});
    /// let photo = from_config("InputLayer", config.as_object().unwrap().clone())?;
    /// let x = Input::of(&photo, vec![64, 64, 3])?;
    /// let model = Model::new(&x, &Conv2D::new(8, 3).call(&x)?)?;
    /// let small = model.with_input_shapes(&[vec![32, 48, 3]])?;
    /// assert_eq!(small.output_shape(), &[30, 46, 8]);
    /// assert_eq!(small.weights()[0].id(), model.weights()[0].id());
    /// # Ok::<(), engraft_nn::Error>(())
    /// ```
    ///
    /// # Errors
    /// A shape that differs in an axis that isn't open, or that a layer doesn't support.
    pub fn with_input_shapes(&self, shapes: &[Shape]) -> Result<Self> {
        if self.inputs().iter().map(SymbolicTensor::shape).eq(shapes) {
            return Ok(self.clone());
        }
        let graph = self.graph().for_shapes(shapes)?;
        Self::functional(graph.inputs().to_vec(), graph.outputs().to_vec(), Some(self.name().to_owned()))
    }

    /// The model as a layer, to nest it in another model.
    pub fn layer(&self) -> &Layer {
        &self.layer
    }

    /// The graph of the model's layer calls.
    ///
    /// ```
    /// use engraft_nn::prelude::*;
    /// let model = Sequential::new().add(Input::new([4])).add(Dense::new(2)).build()?;
    /// assert_eq!(model.graph().calls().len(), 2, "the input and the Dense layer");
    /// # Ok::<(), engraft_nn::Error>(())
    /// ```
    pub fn graph(&self) -> &Graph {
        self.layer.def().graph().expect("checked when the model was made")
    }

    /// The model's name.
    pub fn name(&self) -> &str {
        self.layer.name()
    }

    /// The layers of the model, as Keras' `Model.layers` lists them: a nested model is one layer, and operations on tensors are
    /// left out. A functional model lists its inputs, a `Sequential` doesn't.
    pub fn layers(&self) -> Vec<Layer> {
        self.layer.layers()
    }

    /// The layer with this name in this model or in a model nested in it.
    ///
    /// ```
    /// use engraft_nn::prelude::*;
    /// let model = Sequential::new().add(Input::new([4])).add(Dense::new(2).named("top")).build()?;
    /// assert_eq!(model.get_layer("top")?.count_params(), 4 * 2 + 2);
    /// let error = model.get_layer("head").unwrap_err().to_string();
    /// assert!(error.contains("no layer called `head`"), "{error}");
    /// # Ok::<(), engraft_nn::Error>(())
    /// ```
    ///
    /// # Errors
    /// No layer with this name. The error's hint lists the model's layers.
    pub fn get_layer(&self, name: &str) -> Result<Layer> {
        find_layer(&self.layers(), name).ok_or_else(|| {
            let names: Vec<String> = self.layers().iter().map(|layer| layer.name().to_owned()).collect();
            Error::because(format_args!("model `{}`", self.name()), format_args!("no layer called `{name}`"))
                .with_kind(ErrorKind::NotFound)
                .hint(format_args!("its layers are {}", names.join(", ")))
        })
    }

    /// The symbolic inputs of the model.
    pub fn inputs(&self) -> &[SymbolicTensor] {
        self.graph().inputs()
    }

    /// The symbolic outputs of the model.
    pub fn outputs(&self) -> &[SymbolicTensor] {
        self.graph().outputs()
    }

    /// The first symbolic output, to build a new head on.
    ///
    /// ```
    /// use engraft_nn::prelude::*;
    /// let base = Sequential::new().add(Input::new([8, 8, 3])).add(Conv2D::new(4, 3)).build()?;
    /// let pooled = GlobalAveragePooling2D::new().call(base.output())?;
    /// let model = Model::new(base.inputs(), &Dense::new(2).activation(Softmax).call(&pooled)?)?;
    /// assert_eq!(model.output_shape(), &[2]);
    /// # Ok::<(), engraft_nn::Error>(())
    /// ```
    pub fn output(&self) -> &SymbolicTensor {
        &self.graph().outputs()[0]
    }

    /// Shape of the first input, without the batch axis.
    pub fn input_shape(&self) -> &Shape {
        self.graph().inputs()[0].shape()
    }

    /// Shape of the first output, without the batch axis.
    pub fn output_shape(&self) -> &Shape {
        self.output().shape()
    }

    /// The model's own `trainable` flag (Keras' `trainable`); see [`Layer::trainable`].
    pub fn trainable(&self) -> bool {
        self.layer.trainable()
    }

    /// Freezes or unfreezes the model and all its layers. The change takes effect at the next `fit`, without another `compile`.
    pub fn set_trainable(&self, trainable: bool) {
        self.layer.set_trainable(trainable);
    }

    /// All weights of the model, in Keras' order.
    pub fn weights(&self) -> Vec<Weight> {
        self.layer.weights()
    }

    /// The weights that training would update, by the current `trainable` flags.
    pub fn trainable_weights(&self) -> Vec<Weight> {
        self.layer.trainable_weights()
    }

    /// Number of parameters of the model, trainable or not.
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

    /// Calls the model as a layer on symbolic inputs.
    pub fn call<'a>(&self, inputs: impl Arguments<'a>) -> Result<SymbolicTensor> {
        self.layer.call(inputs)
    }

    /// The settings of `compile` and a handle to the optimizer's state; `None` before `compile`.
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

    /// Changes the settings of `compile` and keeps the optimizer's state. Does nothing before `compile`.
    ///
    /// `change` must not call this method, `compile` or `compiled` of the same model: that would deadlock.
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
    /// Invalid options of the optimizer, such as a negative learning rate. The settings then stay as they were.
    pub fn update_compiled(&self, change: impl FnOnce(&mut Compiled)) -> Result<()> {
        // One lock for reading and writing: a concurrent `compile` in between would be overwritten.
        let mut locked = self.lock_compiled();
        if let Some(mut compiled) = locked.clone() {
            change(&mut compiled);
            compiled.optimizer.iter().try_for_each(Optimizer::check)?;
            *locked = Some(compiled);
        }
        Ok(())
    }

    /// Replaces the settings of `compile` and the optimizer's state; with `None`, the model is no longer compiled.
    ///
    /// ```
    /// use engraft_nn::prelude::*;
    /// let build = || Sequential::new().add(Input::new([4])).add(Dense::new(3).activation(Softmax)).build();
    /// let (trained, copy) = (build()?, build()?);
    /// trained.compile(Sgd::new(0.1), Loss::categorical_crossentropy(), [Metric::Accuracy])?;
    /// copy.set_compiled(trained.compiled());
    /// assert_eq!(copy.compiled_or_error()?.metrics, [Metric::Accuracy]);
    /// # Ok::<(), engraft_nn::Error>(())
    /// ```
    pub fn set_compiled(&self, compiled: Option<Compiled>) {
        *self.lock_compiled() = compiled;
    }

    fn lock_compiled(&self) -> MutexGuard<'_, Option<Compiled>> {
        self.compiled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The model's cache: a runtime keeps a ready session in it from one call to the next.
    ///
    /// ```
    /// use engraft_nn::prelude::*;
    /// let model = Sequential::new().add(Input::new([4])).add(Dense::new(2)).build()?;
    /// model.cache().put("a session");
    /// assert_eq!(model.clone().cache().take(), Some("a session"));
    /// # Ok::<(), engraft_nn::Error>(())
    /// ```
    pub fn cache(&self) -> &Cache {
        &self.cache
    }

    /// Whether the model is a `Sequential`.
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

/// The layer definition of a functional model.
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
    graphs: SizedGraphs,
}

impl Functional {
    /// The shapes of the outputs that make up a result of this shape; see [`SizedGraphs::shapes_of_result`].
    pub(crate) fn shapes_of_result(&self, result: &Shape) -> Result<Vec<Shape>> {
        self.graphs.shapes_of_result(result)
    }
}

impl LayerDef for Functional {
    fn class_name(&self) -> &'static str {
        "Functional"
    }

    /// Empty: the writers of `engraft-formats` add the graph to the config.
    fn config(&self) -> Map<String, Value> {
        Map::new()
    }

    fn output_shape(&self, inputs: &[Shape]) -> Result<Shape> {
        self.graphs.result_shape(inputs)
    }

    /// The type of a single output. `ListOutput` has those of several.
    fn output_dtype(&self, _: &[DType]) -> Result<DType> {
        Ok(match self.graphs.graph().outputs() {
            [output] => output.dtype(),
            _ => DType::Float,
        })
    }

    fn lower(&self, to: &mut Lowering<'_>, inputs: &[ValueId]) -> Result<ValueId> {
        to.graph(&self.graphs, inputs)
    }

    fn graph(&self) -> Option<&Graph> {
        Some(self.graphs.graph())
    }
}
