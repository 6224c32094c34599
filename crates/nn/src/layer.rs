//! What a layer is: a shared handle around a description.

use engraft_ir::ValueId;
use std::any::Any;
use std::collections::HashSet;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use serde_json::{Map, Value};

use crate::Shape;
use crate::graph::{Arguments, Graph, SymbolicTensor};
use crate::lowering::Lowering;
use crate::size::check_size;
use crate::weight::{Weight, WeightSpec};
use crate::{Error, Result, naming};

/// Keras' module of layers proper.
const LAYERS: &str = "keras.layers";

/// What a kind of layer says of itself. Layers describe; nothing here computes.
///
/// A description is Keras' `config` of that class: its fields serialise under Keras' names.
///
/// ```
/// use engraft_ir::{Op, ValueId};
/// use engraft_nn::{LayerDef, Lowering, Result, Shape, prelude::*};
/// use serde_json::{Map, Value};
///
/// #[derive(Debug)]
/// struct Double;
///
/// impl LayerDef for Double {
///     fn class_name(&self) -> &'static str {
///         "Double"
///     }
///     fn config(&self) -> Map<String, Value> {
///         Map::new()
///     }
///     fn output_shape(&self, inputs: &[Shape]) -> Result<Shape> {
///         Ok(inputs[0].clone())
///     }
///     fn lower(&self, to: &mut Lowering<'_>, inputs: &[ValueId]) -> Result<ValueId> {
///         let shape = to.shape(inputs[0]).clone();
///         Ok(to.push(Op::Add, &[inputs[0], inputs[0]], shape))
///     }
/// }
///
/// assert_eq!(Double.call(&Input::new([4]))?.shape(), &[4]);
/// # Ok::<(), engraft_nn::Error>(())
/// ```
pub trait LayerDef: fmt::Debug + Send + Sync + Any {
    /// Keras' class name: `Conv2D`.
    fn class_name(&self) -> &'static str;

    /// Keras' module of the class: layers, or the operations that a functional model may hold beside them.
    fn module(&self) -> &'static str {
        LAYERS
    }

    /// Keras' `get_config`, without `name`, `trainable` and `dtype`, which every layer has.
    fn config(&self) -> Map<String, Value>;

    /// The arguments of a call on these tensors, as Keras writes them: one tensor alone, several as a list.
    fn call_arguments(&self, tensors: Vec<Value>) -> Vec<Value> {
        if tensors.len() == 1 { tensors } else { vec![Value::Array(tensors)] }
    }

    /// Shape of the output for inputs of these shapes; an error where they don't fit.
    fn output_shape(&self, inputs: &[Shape]) -> Result<Shape>;

    /// Weights to make at the first call, in Keras' order.
    fn weights(&self, _inputs: &[Shape]) -> Result<Vec<WeightSpec>> {
        Ok(Vec::new())
    }

    /// Adds the operations that compute this layer; returns where the result stands.
    fn lower(&self, to: &mut Lowering<'_>, inputs: &[ValueId]) -> Result<ValueId>;

    /// The layers inside, for a nested model.
    fn graph(&self) -> Option<&Graph> {
        None
    }

    /// Prepares what depends on the inputs' shapes, before anything else is asked. Called once.
    fn build(&self, _inputs: &[Shape]) -> Result<()> {
        Ok(())
    }

    /// The layers that `layers()` shows of a nested model. Operations that stand among them aren't layers to Keras.
    fn sublayers(&self) -> Vec<Layer> {
        let layers = self.graph().map(Graph::layers).unwrap_or_default();
        layers.iter().filter(|layer| layer.def().module() == LAYERS).cloned().collect()
    }
}

/// A layer of a model: a handle that shares its weights and its `trainable` flag with every clone.
///
/// ```
/// use engraft_nn::prelude::*;
/// let x = Input::new([8]);
/// let shared = Dense::new(8).into_layer();
/// let twice = shared.call(&shared.call(&x)?)?;
/// assert_eq!(Model::new(&x, &twice)?.count_params(), 8 * 8 + 8);
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Clone)]
pub struct Layer(Arc<Inner>);

struct Inner {
    name: String,
    trainable: AtomicBool,
    in_base: AtomicBool,
    def: Box<dyn LayerDef>,
    built: OnceLock<Built>,
    // Serialises the first call: two threads must not build the same layer twice.
    building: Mutex<()>,
}

struct Built {
    input_shapes: Vec<Shape>,
    output_shape: Shape,
    weights: Vec<Weight>,
}

impl Layer {
    /// A layer of this description, with a name of Keras' automatic kind unless one is given.
    pub fn new(def: impl LayerDef, name: Option<String>) -> Self {
        let name = name.unwrap_or_else(|| naming::auto_name(def.class_name()));
        Self(Arc::new(Inner {
            name,
            trainable: AtomicBool::new(true),
            in_base: AtomicBool::new(false),
            def: Box::new(def),
            built: OnceLock::new(),
            building: Mutex::new(()),
        }))
    }

    /// Its name, unique in a model.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Keras' class name: `Conv2D`, `Functional`, ….
    pub fn class_name(&self) -> &'static str {
        self.0.def.class_name()
    }

    /// The description.
    pub fn def(&self) -> &dyn LayerDef {
        &*self.0.def
    }

    /// The description, where it is of type `D`.
    pub fn def_as<D: LayerDef>(&self) -> Option<&D> {
        let def: &dyn Any = self.def();
        def.downcast_ref()
    }

    /// Whether training may change it. A layer inside a frozen model is frozen whatever its own flag says.
    pub fn trainable(&self) -> bool {
        self.0.trainable.load(Ordering::Relaxed)
    }

    /// Freezes or unfreezes this layer and, for a nested model, every layer in it. Counts at once, compiled or not.
    pub fn set_trainable(&self, trainable: bool) {
        self.0.trainable.store(trainable, Ordering::Relaxed);
        if let Some(graph) = self.0.def.graph() {
            graph.layers().iter().for_each(|layer| layer.set_trainable(trainable));
        } else {
            self.layers().iter().for_each(|layer| layer.set_trainable(trainable));
        }
    }

    /// Whether it is recorded as part of a pretrained base; every model that holds the layer sees the record.
    ///
    /// ```
    /// use engraft_nn::prelude::*;
    /// let x = Input::new([8, 8, 3]);
    /// let base = Model::new(&x, &Conv2D::new(4, 3).named("conv").call(&x)?)?;
    /// base.layer().set_in_base(true);
    /// let y = Dense::new(2).named("top").call(&Flatten::new().call(base.output())?)?;
    /// let model = Model::new(&x, &y)?;
    /// assert!(model.get_layer("conv")?.in_base());
    /// assert!(!model.get_layer("top")?.in_base());
    /// # Ok::<(), engraft_nn::Error>(())
    /// ```
    pub fn in_base(&self) -> bool {
        self.0.in_base.load(Ordering::Relaxed)
    }

    /// Records whether this layer and, for a nested model, every layer in it belong to a pretrained base.
    pub fn set_in_base(&self, in_base: bool) {
        self.0.in_base.store(in_base, Ordering::Relaxed);
        self.layers().iter().for_each(|layer| layer.set_in_base(in_base));
    }

    /// The layers of a nested model; empty for any other layer.
    pub fn layers(&self) -> Vec<Layer> {
        self.0.def.sublayers()
    }

    /// Its weights, those of nested layers included, each once, in Keras' order. Empty before the first call.
    pub fn weights(&self) -> Vec<Weight> {
        self.weights_where(|_| true)
    }

    /// The weights that training would change now.
    pub fn trainable_weights(&self) -> Vec<Weight> {
        self.weights_where(|trainable| trainable)
    }

    /// Each weight once that somewhere is as trainable as wanted.
    fn weights_where(&self, wanted: impl Fn(bool) -> bool) -> Vec<Weight> {
        let (mut weights, mut seen) = (Vec::new(), HashSet::new());
        self.visit_weights(true, &mut |weight, trainable| {
            if wanted(trainable) && seen.insert(weight.id()) {
                weights.push(weight.clone());
            }
        });
        weights
    }

    /// How many numbers its weights hold.
    pub fn count_params(&self) -> usize {
        self.weights().iter().map(Weight::count).sum()
    }

    /// Shapes of the inputs it was first called with.
    pub fn input_shapes(&self) -> Option<&[Shape]> {
        self.0.built.get().map(|built| &*built.input_shapes)
    }

    /// Shape of the output of its first call.
    pub fn output_shape(&self) -> Option<&Shape> {
        self.0.built.get().map(|built| &built.output_shape)
    }

    /// Applies the layer to symbolic inputs: one `&tensor`, or `[&a, &b]`.
    ///
    /// # Errors
    /// Shapes that don't fit, and models of several outputs.
    pub fn call<'a>(&self, inputs: impl Arguments<'a>) -> Result<SymbolicTensor> {
        let inputs = inputs.tensors();
        let shapes: Vec<Shape> = inputs.iter().map(|input| input.shape().clone()).collect();
        self.build(&shapes)?;
        if let Some(several) = self.0.def.graph().map(|graph| graph.outputs().len()).filter(|&outputs| outputs != 1) {
            return Err(Error::new(self.place(), "one output, for a model called as a layer", several)
                .hint("make a model of its inputs and the output that is wanted"));
        }
        let shape = self.0.def.output_shape(&shapes).map_err(|e| e.within(self.place()))?;
        Ok(SymbolicTensor::new(self.clone(), inputs, shape))
    }

    /// Makes the weights for inputs of these shapes, as the first call does; a second build must agree with the first.
    pub fn build(&self, shapes: &[Shape]) -> Result<()> {
        let _guard = self.0.building.lock().unwrap_or_else(PoisonError::into_inner);
        let place = |e: Error| e.within(self.place());
        shapes.iter().try_for_each(|shape| check_size("input", shape)).map_err(place)?;
        if self.0.built.get().is_none() {
            self.0.def.build(shapes).map_err(place)?;
        }
        let output_shape = self.0.def.output_shape(shapes).map_err(place)?;
        // An input is checked when it is used: making one can't fail.
        if !shapes.is_empty() {
            check_size("output", &output_shape).map_err(place)?;
        }
        let specs = self.0.def.weights(shapes).map_err(place)?;
        specs.iter().try_for_each(|spec| check_size(spec.name, &spec.shape)).map_err(place)?;
        match self.0.built.get() {
            None => {
                let weights = specs.into_iter().map(|spec| Weight::new(self.name(), spec)).collect();
                let built = Built { input_shapes: shapes.to_vec(), output_shape, weights };
                // The lock above is held: nobody else can have set it.
                let _ = self.0.built.set(built);
                Ok(())
            }
            Some(built) => specs.iter().zip(&built.weights).try_for_each(|(spec, weight)| {
                if spec.shape == weight.shape() {
                    return Ok(());
                }
                let (first, now) = (&built.input_shapes, shapes);
                Err(Error::new(
                    self.place(),
                    format_args!("inputs like the first call's {first:?}"),
                    format_args!("{now:?}"),
                )
                .hint("a layer called twice shares its weights; make a second layer for inputs of another shape"))
            }),
        }
    }

    /// A number that is the same for every handle of this layer and no other.
    pub fn id(&self) -> usize {
        Arc::as_ptr(&self.0).cast::<()>() as usize
    }

    /// How errors name it.
    pub(crate) fn place(&self) -> String {
        format!("layer `{}` ({})", self.name(), self.class_name())
    }

    /// The weights it made itself, not those of nested layers.
    pub fn own_weights(&self) -> &[Weight] {
        self.0.built.get().map(|built| &*built.weights).unwrap_or_default()
    }

    /// Calls `visit` with every weight and whether training would change it, `enclosing` being the outer models' word.
    pub(crate) fn visit_weights(&self, enclosing: bool, visit: &mut impl FnMut(&Weight, bool)) {
        let trainable = enclosing && self.trainable();
        self.own_weights().iter().for_each(|weight| visit(weight, trainable && weight.trainable()));
        self.layers().iter().for_each(|layer| layer.visit_weights(trainable, visit));
    }
}

impl PartialEq for Layer {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Layer {}

impl fmt::Debug for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name(), self.class_name())
    }
}

/// What can stand where a layer is wanted: a description such as `Dense::new(5)`, a [`Layer`], a [`Model`](crate::Model).
///
/// ```
/// use engraft_nn::prelude::*;
/// let hidden = Dense::new(4).into_layer();
/// // Sequential takes a tensor's input layer, a layer and a description alike.
/// let model = Sequential::new().add(Input::new([4])).add(&hidden).add(Dense::new(2)).build()?;
/// assert_eq!(model.layers()[0], hidden);
/// # Ok::<(), engraft_nn::Error>(())
/// ```
pub trait IntoLayer {
    /// The layer, named automatically where it has no name yet.
    fn into_layer(self) -> Layer;
}

impl<D: LayerDef> IntoLayer for D {
    fn into_layer(self) -> Layer {
        Layer::new(self, None)
    }
}

impl IntoLayer for Layer {
    fn into_layer(self) -> Layer {
        self
    }
}

impl IntoLayer for &Layer {
    fn into_layer(self) -> Layer {
        self.clone()
    }
}

/// From a description straight to a named layer or to its result.
///
/// ```
/// use engraft_nn::prelude::*;
/// let x = Input::new([4]);
/// let hidden = Dense::new(8).named("hidden").call(&x)?;
/// let scores = Dense::new(3).call(&hidden)?;
/// assert_eq!(hidden.layer().name(), "hidden");
/// assert_eq!(scores.shape(), &[3]);
/// # Ok::<(), engraft_nn::Error>(())
/// ```
pub trait LayerDefExt: LayerDef + Sized {
    /// The layer of this description, called `name`.
    ///
    /// ```
    /// use engraft_nn::prelude::*;
    /// assert_eq!(Dense::new(1000).named("predictions").name(), "predictions");
    /// ```
    fn named(self, name: impl Into<String>) -> Layer {
        Layer::new(self, Some(name.into()))
    }

    /// Makes the layer and applies it: `Dense::new(5).call(&x)?`.
    fn call<'a>(self, inputs: impl Arguments<'a>) -> Result<SymbolicTensor> {
        self.into_layer().call(inputs)
    }
}

impl<D: LayerDef> LayerDefExt for D {}
