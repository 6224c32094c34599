//! [`LayerDef`], the description of a kind of layer.
//!
//! Every class in [`layers`](crate::layers) and every model implements `LayerDef`. Nothing here computes: an executor runs the
//! operations that a layer is lowered to.

use std::any::Any;
use std::fmt;

use engraft_ir::ValueId;
use serde_json::{Map, Value};

use crate::graph::{Arguments, Graph, SymbolicTensor};
use crate::layer::{IntoLayer, Layer};
use crate::lowering::Lowering;
use crate::weight::WeightSpec;
use crate::{DType, Result, Shape};

/// Keras' module of all layers; operations on tensors are in other modules.
const LAYERS: &str = "keras.layers";

/// The description of a kind of layer: its class, config, shapes, weights and operations.
///
/// A value of an implementing type is one configured layer without weights, such as `Dense::new(5)`. The built-in layers
/// serialize as Keras' config of their class. Implement the trait for a layer of your own:
///
/// ```
/// use engraft_ir::{Op, ValueId};
/// use engraft_nn::{Error, LayerDef, Lowering, Program, Result, Shape, WeightSpec, prelude::*};
/// use serde_json::{Map, Value};
///
/// /// A bottleneck with a skip connection, `x + up(relu(down(x)))` (Houlsby et al. 2019, arXiv:1902.00751).
/// #[derive(Debug)]
/// struct Adapter {
///     rank: usize,
/// }
///
/// impl LayerDef for Adapter {
///     fn class_name(&self) -> &'static str {
///         "Adapter"
///     }
///
///     fn config(&self) -> Map<String, Value> {
///         Map::from_iter([("rank".into(), self.rank.into())])
///     }
///
///     fn output_shape(&self, inputs: &[Shape]) -> Result<Shape> {
///         match inputs {
///             [shape] if shape.len() == 1 => Ok(shape.clone()),
///             other => Err(Error::new("inputs", "one vector", format_args!("{other:?}"))),
///         }
///     }
///
///     fn weights(&self, inputs: &[Shape]) -> Result<Vec<WeightSpec>> {
///         let features = self.output_shape(inputs)?[0];
///         let spec = |name: &'static str, shape, initializer| WeightSpec {
///             name: name.into(),
///             shape,
///             initializer,
///             trainable: true,
///             regularizer: None,
///             constraint: None,
///         };
///         Ok(vec![
///             spec("down", vec![features, self.rank], Initializer::he_normal()),
///             // Zeros: an untrained adapter passes its input on unchanged.
///             spec("up", vec![self.rank, features], Initializer::zeros()),
///         ])
///     }
///
///     fn lower(&self, to: &mut Lowering<'_>, inputs: &[ValueId]) -> Result<ValueId> {
///         let shape = to.shape(inputs[0]).clone();
///         // The range selects the weights of an operation: `down` is weight 0, `up` is weight 1.
///         let hidden = to.push_with(Op::Dense, inputs, vec![self.rank], 0..1);
///         let hidden = to.activate(Relu, hidden);
///         let change = to.push_with(Op::Dense, &[hidden], shape.clone(), 1..2);
///         Ok(to.push_with(Op::Add, &[inputs[0], change], shape, 0..0))
///     }
/// }
///
/// let model = Sequential::new().add(Input::new([512])).add(Adapter { rank: 8 }.named("adapter")).build()?;
/// assert_eq!(model.count_params(), 2 * 512 * 8);
/// // Dense, ReLU, Dense, Add.
/// assert_eq!(Program::of(&model, false, 0)?.steps.len(), 4);
/// # Ok::<(), engraft_nn::Error>(())
/// ```
pub trait LayerDef: fmt::Debug + Send + Sync + Any {
    /// Keras' class name, such as `Conv2D`.
    fn class_name(&self) -> &'static str;

    /// Keras' module of the class: `keras.layers`, another module of layers, or the module of an operation on tensors.
    ///
    /// A model doesn't list operations, whose modules are in `keras.src.ops` and `keras.src.activations`. They have no weights.
    ///
    /// ```
    /// use engraft_nn::{LayerDef, layers::{Dense, Flip}};
    /// assert_eq!(Dense::new(2).module(), "keras.layers");
    /// assert_eq!(Flip::channels().module(), "keras.src.ops.numpy");
    /// ```
    fn module(&self) -> &'static str {
        LAYERS
    }

    /// The options besides `name` that Keras' constructor of this class takes as every layer does: `trainable` and `dtype`.
    ///
    /// A few classes take fewer, and Keras can't load a file that has one of them too many.
    ///
    /// ```
    /// use engraft_nn::{LayerDef, layers::{Dense, SpatialDropout2D}};
    /// assert_eq!(Dense::new(2).common_options(), ["trainable", "dtype"]);
    /// assert_eq!(SpatialDropout2D::new(0.2).common_options(), ["dtype"]);
    /// ```
    fn common_options(&self) -> &'static [&'static str] {
        &["trainable", "dtype"]
    }

    /// Keras' `get_config` without the entries that every layer has: `name`, `trainable` and `dtype`.
    fn config(&self) -> Map<String, Value>;

    /// The arguments of a call on `tensors`, as Keras writes them to a file: one tensor alone, several as a list.
    ///
    /// ```
    /// use engraft_nn::{LayerDef, layers::{Add, Dense}};
    /// use serde_json::json;
    /// assert_eq!(Dense::new(2).call_arguments(vec![json!("x")]), [json!("x")]);
    /// assert_eq!(Add::new().call_arguments(vec![json!("a"), json!("b")]), [json!(["a", "b"])]);
    /// ```
    fn call_arguments(&self, tensors: Vec<Value>) -> Vec<Value> {
        let separate = tensors.len() == 1 || !self.argument_names().is_empty();
        if separate { tensors } else { vec![Value::Array(tensors)] }
    }

    /// The names of a call's tensors, for a layer that Keras calls as `layer(query, value)`; none for a call on one tensor or a
    /// list.
    ///
    /// ```
    /// use engraft_nn::{LayerDef, layers::{Add, MultiHeadAttention}};
    /// assert_eq!(MultiHeadAttention::new(8, 64).argument_names(), ["query", "value", "key"]);
    /// assert!(Add::new().argument_names().is_empty());
    /// ```
    fn argument_names(&self) -> &'static [&'static str] {
        &[]
    }

    /// The arguments of every call that aren't tensors, by their names, as Keras writes them to a file.
    ///
    /// ```
    /// use engraft_nn::{LayerDef, layers::MultiHeadAttention};
    /// let causal = MultiHeadAttention::new(8, 64).use_causal_mask(true);
    /// assert_eq!(causal.keyword_arguments()["use_causal_mask"], true);
    /// ```
    fn keyword_arguments(&self) -> Map<String, Value> {
        Map::new()
    }

    /// The place of the layer's own weight `index` in the layer's group of a `.weights.h5`.
    ///
    /// ```
    /// use engraft_nn::{LayerDef, layers::{Dense, MultiHeadAttention}};
    /// assert_eq!(Dense::new(2).weight_path(1), "vars/1");
    /// // The bias of the layer inside that computes the keys.
    /// assert_eq!(MultiHeadAttention::new(8, 64).weight_path(3), "key_dense/vars/1");
    /// ```
    fn weight_path(&self, index: usize) -> String {
        format!("vars/{index}")
    }

    /// Whether a file may lack the layer's own weight `index`, which keeps its initial value then.
    ///
    /// Keras creates the weights of a layer that is the activation of another at the first prediction. A model that was saved before
    /// has none.
    ///
    /// ```
    /// use engraft_nn::{LayerDef, layers::Dense};
    /// assert!(!Dense::new(2).may_lack_weight(0));
    /// ```
    fn may_lack_weight(&self, _index: usize) -> bool {
        false
    }

    /// Whether the layer's weights belong to layers inside, which Keras creates when the layer is built.
    ///
    /// The option `trainable` of a new layer doesn't reach such weights, nor does that of a file: [`Layer::set_own_trainable`] leaves
    /// them trainable, [`Layer::set_trainable`] freezes them.
    ///
    /// ```
    /// use engraft_nn::{LayerDef, layers::{Dense, MultiHeadAttention}};
    /// assert!(MultiHeadAttention::new(8, 64).builds_layers_inside());
    /// assert!(!Dense::new(2).builds_layers_inside());
    /// ```
    fn builds_layers_inside(&self) -> bool {
        false
    }

    /// The layers inside that hold some of this layer's own weights, such as a layer given as an activation.
    ///
    /// They are never built. Their `trainable` flags, which files store, decide about these weights in place of this layer's.
    ///
    /// ```
    /// use engraft_nn::{LayerDef, layers::Dense};
    /// assert!(Dense::new(2).layers_inside().is_empty());
    /// ```
    fn layers_inside(&self) -> Vec<Layer> {
        Vec::new()
    }

    /// The layer inside whose weight the own weight `index` is; `None` if it belongs to this layer itself.
    ///
    /// ```
    /// use engraft_nn::{LayerDef, layers::Dense};
    /// assert!(Dense::new(2).layer_of_weight(0).is_none());
    /// ```
    fn layer_of_weight(&self, _index: usize) -> Option<Layer> {
        None
    }

    /// Further places of own weights in a `.weights.h5`, with the weight's index. Keras stores a weight once for each layer that
    /// holds it.
    ///
    /// ```
    /// use engraft_nn::{LayerDef, layers::Dense};
    /// assert!(Dense::new(2).copied_weights().is_empty());
    /// ```
    fn copied_weights(&self) -> &'static [(usize, &'static str)] {
        &[]
    }

    /// The dtype of the output in Keras for inputs of these dtypes; floats by default.
    ///
    /// ```
    /// use engraft_nn::{DType, LayerDef, layers::{Dense, Flatten}};
    /// let pixels = DType::parse("uint8").unwrap();
    /// assert_eq!(Flatten::new().output_dtype(&[pixels])?, pixels);
    /// assert_eq!(Dense::new(2).output_dtype(&[pixels])?, DType::Float);
    /// # Ok::<(), engraft_nn::Error>(())
    /// ```
    ///
    /// # Errors
    /// Integers with which Keras computes something else than with floats, such as sums that wrap around.
    fn output_dtype(&self, _inputs: &[DType]) -> Result<DType> {
        Ok(DType::Float)
    }

    /// Shape of the output for inputs of these shapes, all without the batch axis.
    ///
    /// # Errors
    /// Input shapes or options that the layer doesn't support.
    fn output_shape(&self, inputs: &[Shape]) -> Result<Shape>;

    /// Specifications of the layer's own weights for inputs of these shapes, in Keras' order. The first [`Layer::build`] creates
    /// the weights from them.
    fn weights(&self, _inputs: &[Shape]) -> Result<Vec<WeightSpec>> {
        Ok(Vec::new())
    }

    /// Appends the operations that compute this layer to a program; returns the id of the result.
    fn lower(&self, to: &mut Lowering<'_>, inputs: &[ValueId]) -> Result<ValueId>;

    /// The graph of a model; `None` for any other layer.
    ///
    /// ```
    /// use engraft_nn::prelude::*;
    /// let model = Sequential::new().add(Input::new([4])).add(Dense::new(2).named("top")).build()?;
    /// let graph = model.layer().def().graph().expect("a model has a graph");
    /// assert_eq!(graph.calls().len(), 2);
    /// assert!(model.get_layer("top")?.def().graph().is_none());
    /// # Ok::<(), engraft_nn::Error>(())
    /// ```
    fn graph(&self) -> Option<&Graph> {
        None
    }

    /// Prepares state that depends on the input shapes.
    ///
    /// [`Layer::build`] calls this method before the other methods that take shapes, until a build has succeeded.
    ///
    /// ```
    /// use engraft_nn::prelude::*;
    /// // A sequential model without an input chains its layers when it is built.
    /// let layer = Sequential::new().add(Dense::new(2)).into_layer();
    /// assert!(layer.def().graph().is_none());
    /// layer.build(&[vec![4]])?;
    /// assert!(layer.def().graph().is_some());
    /// # Ok::<(), engraft_nn::Error>(())
    /// ```
    fn build(&self, _inputs: &[Shape]) -> Result<()> {
        Ok(())
    }

    /// The layers that [`Layer::layers`] lists for a model. Operations of its graph are left out, as in Keras.
    ///
    /// ```
    /// use engraft_nn::{layers::Flip, prelude::*};
    /// let x = Input::named("pixels", [4, 4, 3]);
    /// let y = Flatten::new().named("flat").call(&Flip::channels().call(&x)?)?;
    /// let layers = Model::new(&x, &y)?.layer().def().sublayers();
    /// assert_eq!(layers.iter().map(|layer| layer.name()).collect::<Vec<_>>(), ["pixels", "flat"]);
    /// # Ok::<(), engraft_nn::Error>(())
    /// ```
    fn sublayers(&self) -> Vec<Layer> {
        let layers = self.graph().map(Graph::layers).unwrap_or_default();
        layers.iter().filter(|layer| !is_operation(layer.def().module())).cloned().collect()
    }
}

/// Whether a Python module contains operations, such as `keras.src.ops.nn`.
fn is_operation(module: &str) -> bool {
    module.split('.').any(|part| part == "ops" || part == "activations")
}

/// Shorthands that turn a description into a named layer, or call it.
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
    /// A layer of this description with the name `name`.
    ///
    /// ```
    /// use engraft_nn::prelude::*;
    /// assert_eq!(Dense::new(1000).named("predictions").name(), "predictions");
    /// ```
    fn named(self, name: impl Into<String>) -> Layer {
        Layer::new(self, Some(name.into()))
    }

    /// Creates the layer and calls it: `Dense::new(5).call(&x)?`.
    ///
    /// # Errors
    /// Those of [`Layer::call`].
    fn call<'a>(self, inputs: impl Arguments<'a>) -> Result<SymbolicTensor> {
        self.into_layer().call(inputs)
    }
}

impl<D: LayerDef> LayerDefExt for D {}
