//! [`Layer`], a shared handle to one layer of a model.
//!
//! The graph, models and the lowering hold `Layer`s; a [`LayerDef`] describes what a layer is.

use std::any::Any;
use std::collections::HashSet;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};

use crate::Shape;
use crate::graph::{Arguments, SymbolicTensor};
use crate::layer_def::LayerDef;
use crate::layers::{CustomClass, ListOutput};
use crate::model::Functional;
use crate::size_limits::check_size;
use crate::trainability::TrainableFlags;
use crate::weight::Weight;
use crate::{DType, DTypePolicy, Error, Result, naming};

/// A layer of a model: a shared handle to a description, its weights and its `trainable` flag.
///
/// Clones share all of them, and so do several calls of one layer.
///
/// ```
/// use engraft_nn::prelude::*;
/// let x = Input::new([8]);
/// let dense = Dense::new(8).named("shared");
/// assert_eq!((dense.name(), dense.class_name()), ("shared", "Dense"));
/// assert!(dense.weights().is_empty(), "the first call creates the weights");
/// let y = dense.call(&dense.call(&x)?)?;
/// assert_eq!(dense.output_shape(), Some(&vec![8]));
/// // Both calls share one kernel and one bias.
/// assert_eq!(Model::new(&x, &y)?.count_params(), 8 * 8 + 8);
/// assert!(dense.trainable());
/// assert_eq!(dense.trainable_weights().len(), 2);
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Clone)]
pub struct Layer(Arc<Inner>);

struct Inner {
    name: String,
    trainable: AtomicBool,
    /// The flag of sublayers that Keras creates in `build`. Files don't store it.
    trainable_inside: AtomicBool,
    in_base: AtomicBool,
    dtype_policy: RwLock<Option<DTypePolicy>>,
    custom_class: RwLock<Option<CustomClass>>,
    def: Box<dyn LayerDef>,
    built: OnceLock<Built>,
    // Locked by every build: two threads must not build the same layer at once.
    building: Mutex<()>,
}

struct Built {
    input_shapes: Vec<Shape>,
    output_shape: Shape,
    weights: Vec<Weight>,
}

impl Layer {
    /// A layer of this description. Without a name it takes Keras' automatic one, such as `dense_1`.
    pub fn new(def: impl LayerDef, name: Option<String>) -> Self {
        let name = name.unwrap_or_else(|| naming::auto_name(def.class_name()));
        Self(Arc::new(Inner {
            name,
            trainable: AtomicBool::new(true),
            trainable_inside: AtomicBool::new(true),
            in_base: AtomicBool::new(false),
            dtype_policy: RwLock::default(),
            custom_class: RwLock::default(),
            def: Box::new(def),
            built: OnceLock::new(),
            building: Mutex::new(()),
        }))
    }

    /// The layer's name, unique in a model.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Keras' class name: `Conv2D`, `Functional`, ….
    pub fn class_name(&self) -> &'static str {
        self.0.def.class_name()
    }

    /// The layer's description.
    ///
    /// ```
    /// use engraft_nn::prelude::*;
    /// let layer = Dense::new(5).into_layer();
    /// assert_eq!(layer.def().config()["units"], 5);
    /// ```
    pub fn def(&self) -> &dyn LayerDef {
        &*self.0.def
    }

    /// The layer's description if its type is `D`.
    ///
    /// ```
    /// use engraft_nn::prelude::*;
    /// let layer = Flatten::new().into_layer();
    /// assert!(layer.def_as::<Flatten>().is_some());
    /// assert!(layer.def_as::<Dense>().is_none());
    /// ```
    pub fn def_as<D: LayerDef>(&self) -> Option<&D> {
        let def: &dyn Any = self.def();
        def.downcast_ref()
    }

    /// The layer's own `trainable` flag; true for a new layer.
    ///
    /// As in Keras 3, it alone decides about the layer's own weights. A nested model's flag decides nothing afterwards: setting
    /// it sets the flags of the layers inside, and one of these may be set again. Only the flag of the model that is trained
    /// counts by itself: while it is false, none of its weights are trained.
    ///
    /// ```
    /// use engraft_nn::prelude::*;
    /// let base = Sequential::new().add(Input::new([4])).add(Dense::new(4).named("low")).add(Dense::new(4).named("high"));
    /// let base = base.build()?;
    /// let model = Sequential::new().add(&base).add(Dense::new(2).named("top")).build()?;
    /// base.set_trainable(false);
    /// base.get_layer("high")?.set_trainable(true);
    /// let paths: Vec<String> = model.trainable_weights().iter().map(|weight| weight.path()).collect();
    /// assert_eq!(paths, ["high/kernel", "high/bias", "top/kernel", "top/bias"]);
    /// assert!(!base.trainable() && base.trainable_weights().is_empty());
    /// # Ok::<(), engraft_nn::Error>(())
    /// ```
    pub fn trainable(&self) -> bool {
        self.0.trainable.load(Ordering::Relaxed)
    }

    /// Freezes or unfreezes this layer and, for a model, every layer in it (Keras' `trainable = ...`).
    ///
    /// The next `fit` or `train_on_batch` uses the new flag. The model need not be compiled again.
    ///
    /// ```
    /// use engraft_nn::prelude::*;
    /// let model = Sequential::new().add(Input::new([4])).add(Dense::new(2).named("top")).build()?;
    /// model.layer().set_trainable(false);
    /// assert!(!model.get_layer("top")?.trainable());
    /// assert!(model.trainable_weights().is_empty());
    /// # Ok::<(), engraft_nn::Error>(())
    /// ```
    pub fn set_trainable(&self, trainable: bool) {
        self.visit(&mut |layer| layer.set_flags(TrainableFlags::all(trainable)));
    }

    /// Sets the flag of this layer alone. The flags of the layers in a model stay as they are, and so do the weights of a layer
    /// that [builds layers inside](LayerDef::builds_layers_inside).
    ///
    /// Readers of files use it: a file has the flag of each layer.
    ///
    /// ```
    /// use engraft_nn::prelude::*;
    /// let model = Sequential::new().add(Input::new([4])).add(Dense::new(2).named("top")).build()?;
    /// model.layer().set_own_trainable(false);
    /// assert!(!model.trainable() && model.get_layer("top")?.trainable());
    /// # Ok::<(), engraft_nn::Error>(())
    /// ```
    pub fn set_own_trainable(&self, trainable: bool) {
        self.0.trainable.store(trainable, Ordering::Relaxed);
    }

    /// Whether training may change the layer's own weights under its flags.
    ///
    /// This is [`trainable`](Self::trainable), except for a layer that [builds layers inside](LayerDef::builds_layers_inside).
    ///
    /// ```
    /// use engraft_nn::prelude::*;
    /// let attention = MultiHeadAttention::new(2, 3).into_layer();
    /// // As Keras' `MultiHeadAttention(2, 3, trainable=False)`.
    /// attention.set_own_trainable(false);
    /// assert!(!attention.trainable() && attention.weights_trainable());
    /// // As Keras' `attention.trainable = False` of a built layer.
    /// attention.set_trainable(false);
    /// assert!(!attention.weights_trainable());
    /// ```
    pub fn weights_trainable(&self) -> bool {
        self.flags().of_weights(self)
    }

    /// The flags of this layer.
    pub(crate) fn flags(&self) -> TrainableFlags {
        TrainableFlags { own: self.trainable(), inside: self.0.trainable_inside.load(Ordering::Relaxed) }
    }

    /// Sets the flags of this layer. The flags of the layers in a model stay as they are.
    pub(crate) fn set_flags(&self, flags: TrainableFlags) {
        self.set_own_trainable(flags.own);
        self.0.trainable_inside.store(flags.inside, Ordering::Relaxed);
    }

    /// Whether the layer is recorded as part of a pretrained base. All handles of the layer share the record.
    ///
    /// ```
    /// use engraft_nn::prelude::*;
    /// let conv = Conv2D::new(4, 3).named("conv");
    /// assert!(!conv.in_base());
    /// conv.clone().set_in_base(true);
    /// assert!(conv.in_base());
    /// ```
    pub fn in_base(&self) -> bool {
        self.0.in_base.load(Ordering::Relaxed)
    }

    /// Records whether this layer and, for a model, every layer in it belong to a pretrained base.
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
    pub fn set_in_base(&self, in_base: bool) {
        self.visit(&mut |layer| layer.0.in_base.store(in_base, Ordering::Relaxed));
    }

    /// Keras' dtype policy, as a file gave it; `None` for float32. It changes nothing here: every layer computes in f32.
    pub fn dtype_policy(&self) -> Option<DTypePolicy> {
        self.0.dtype_policy.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sets the dtype policy that files of Keras get with this layer.
    ///
    /// ```
    /// use engraft_nn::{DTypePolicy, prelude::*};
    /// let dense = Dense::new(2).into_layer();
    /// dense.set_dtype_policy(DTypePolicy::parse(&"mixed_bfloat16".into())?);
    /// assert_eq!(dense.dtype_policy().map(|policy| policy.name()), Some("mixed_bfloat16".to_owned()));
    /// # Ok::<(), engraft_nn::Error>(())
    /// ```
    pub fn set_dtype_policy(&self, policy: Option<DTypePolicy>) {
        *self.0.dtype_policy.write().unwrap_or_else(PoisonError::into_inner) = policy;
    }

    /// How files name the class of a custom layer, one that isn't Keras' own; `None` for any other layer.
    pub fn custom_class(&self) -> Option<CustomClass> {
        self.0.custom_class.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sets how files name the class of this layer, such as `my_package>Scale` for a custom layer of Keras.
    ///
    /// ```
    /// use engraft_nn::{CustomClass, prelude::*};
    /// let layer = Dense::new(2).into_layer();
    /// let class = CustomClass { class_name: "Dense".into(), module: "my".into(), registered_name: "my>Dense".into() };
    /// layer.set_custom_class(Some(class.clone()));
    /// assert_eq!(layer.custom_class(), Some(class));
    /// ```
    pub fn set_custom_class(&self, class: Option<CustomClass>) {
        *self.0.custom_class.write().unwrap_or_else(PoisonError::into_inner) = class;
    }

    /// The layers of a model; empty for any other layer.
    ///
    /// ```
    /// use engraft_nn::prelude::*;
    /// let head = Sequential::new().add(Dropout::new(0.2)).add(Dense::new(2)).into_layer();
    /// assert_eq!(head.layers().len(), 2);
    /// assert!(head.layers()[1].layers().is_empty());
    /// ```
    pub fn layers(&self) -> Vec<Layer> {
        self.0.def.sublayers()
    }

    /// All weights, each once, in Keras' order, including those of nested layers; empty before the first call.
    pub fn weights(&self) -> Vec<Weight> {
        let mut weights = Vec::new();
        self.visit(&mut |layer| weights.extend_from_slice(layer.own_weights()));
        weights
    }

    /// The weights that training this layer or model would change under the current `trainable` flags.
    pub fn trainable_weights(&self) -> Vec<Weight> {
        self.trainable_weights_by(Self::flags)
    }

    /// The weights that training would change if `flags` were the flags of each layer (Keras' `trainable_weights`).
    pub(crate) fn trainable_weights_by(&self, flags: impl Fn(&Layer) -> TrainableFlags) -> Vec<Weight> {
        let mut weights = Vec::new();
        if flags(self).of_weights(self) {
            self.visit(&mut |layer| {
                let own = layer.own_weights().iter().enumerate().filter(|(index, weight)| {
                    let holder = layer.def().layer_of_weight(*index);
                    let holder = holder.as_ref().unwrap_or(layer);
                    weight.trainable() && flags(holder).of_weights(holder)
                });
                weights.extend(own.map(|(_, weight)| weight.clone()));
            });
        }
        weights
    }

    /// Number of parameters: the elements of all weights.
    pub fn count_params(&self) -> usize {
        self.weights().iter().map(Weight::count).sum()
    }

    /// Shapes of the inputs of the first call; `None` before it.
    ///
    /// ```
    /// use engraft_nn::prelude::*;
    /// let add = Add::new().into_layer();
    /// assert!(add.input_shapes().is_none());
    /// add.call([&Input::new([4]), &Input::new([4])])?;
    /// assert_eq!(add.input_shapes(), Some(&[vec![4], vec![4]][..]));
    /// # Ok::<(), engraft_nn::Error>(())
    /// ```
    pub fn input_shapes(&self) -> Option<&[Shape]> {
        self.0.built.get().map(|built| &*built.input_shapes)
    }

    /// Shape of the output of the first call; `None` before it.
    pub fn output_shape(&self) -> Option<&Shape> {
        self.0.built.get().map(|built| &built.output_shape)
    }

    /// Whether this is a model with several outputs. [`ListOutput`] selects one of them from the result of a call.
    pub(crate) fn returns_list(&self) -> bool {
        self.0.def.graph().is_some_and(|graph| graph.outputs().len() != 1)
    }

    /// The shape of each output of this model, if `result` is the shape of all outputs as one vector.
    pub(crate) fn output_shapes_of_result(&self, result: &Shape) -> Result<Vec<Shape>> {
        match self.def_as::<Functional>() {
            Some(model) => model.shapes_of_result(result).map_err(|e| e.within(self.place())),
            None => Ok(vec![result.clone()]),
        }
    }

    /// Applies the layer to symbolic inputs: one `&tensor`, or `[&a, &b]`.
    ///
    /// The result of a model with several outputs is one vector of all of them; [`ListOutput`] selects one.
    ///
    /// # Errors
    /// Input shapes or integers that the layer doesn't support, or all outputs of a model instead of one of them.
    pub fn call<'a>(&self, inputs: impl Arguments<'a>) -> Result<SymbolicTensor> {
        let inputs = inputs.tensors();
        let selects_from = self.def_as::<ListOutput>().and_then(ListOutput::model);
        if let Some(several) = inputs.iter().map(SymbolicTensor::layer).find(|layer| layer.returns_list())
            && selects_from != Some(several)
        {
            let received = format!("all outputs of {}", several.place());
            return Err(
                Error::new(self.place(), "single tensors", received).hint("select one output with ListOutput::of")
            );
        }
        let shapes: Vec<Shape> = inputs.iter().map(|input| input.shape().clone()).collect();
        self.build(&shapes)?;
        let shape = self.0.def.output_shape(&shapes).map_err(|e| e.within(self.place()))?;
        let dtypes: Vec<DType> = inputs.iter().map(SymbolicTensor::dtype).collect();
        let dtype = self.0.def.output_dtype(&dtypes).map_err(|e| e.within(self.place()))?;
        Ok(SymbolicTensor::new(self.clone(), inputs, shape, dtype))
    }

    /// Creates the weights for inputs of these shapes, as the first call does.
    ///
    /// # Errors
    /// Shapes that the layer doesn't support, or that need weights of other shapes than the first build.
    ///
    /// ```
    /// use engraft_nn::prelude::*;
    /// let dense = Dense::new(2).into_layer();
    /// dense.build(&[vec![3]])?;
    /// assert_eq!(dense.weights()[0].shape(), [3, 2]);
    /// assert!(dense.build(&[vec![4]]).is_err(), "the kernel has 3 rows");
    /// # Ok::<(), engraft_nn::Error>(())
    /// ```
    pub fn build(&self, shapes: &[Shape]) -> Result<()> {
        let _guard = self.0.building.lock().unwrap_or_else(PoisonError::into_inner);
        let place = |e: Error| e.within(self.place());
        shapes.iter().try_for_each(|shape| check_size("input", shape)).map_err(place)?;
        if self.0.built.get().is_none() {
            self.0.def.build(shapes).map_err(place)?;
        }
        let output_shape = self.0.def.output_shape(shapes).map_err(place)?;
        // `Input::new` can't return an error: an input's shape is checked when a layer is called on the input.
        if !shapes.is_empty() {
            check_size("output", &output_shape).map_err(place)?;
        }
        let specs = self.0.def.weights(shapes).map_err(place)?;
        specs.iter().try_for_each(|spec| check_size(&spec.name, &spec.shape)).map_err(place)?;
        match self.0.built.get() {
            None => {
                let weights = specs.into_iter().map(|spec| Weight::new(self.name(), spec)).collect();
                let built = Built { input_shapes: shapes.to_vec(), output_shape, weights };
                // `building` is locked: no other thread has set `built` since the check.
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
                    format_args!("inputs of the first call's shapes {first:?}"),
                    format_args!("{now:?}"),
                )
                .hint("a layer called twice shares its weights; make a second layer for inputs of another shape"))
            }),
        }
    }

    /// An id that all handles of this layer share. No other layer has it while this one is alive.
    ///
    /// ```
    /// use engraft_nn::prelude::*;
    /// let dense = Dense::new(2).into_layer();
    /// assert_eq!(dense.clone().id(), dense.id());
    /// assert_ne!(Dense::new(2).into_layer().id(), dense.id());
    /// ```
    pub fn id(&self) -> usize {
        Arc::as_ptr(&self.0).cast::<()>() as usize
    }

    /// The layer's name and class, as errors show them.
    pub(crate) fn place(&self) -> String {
        format!("layer `{}` ({})", self.name(), self.class_name())
    }

    /// The layer's own weights, without those of nested layers.
    ///
    /// ```
    /// use engraft_nn::prelude::*;
    /// let model = Sequential::new().add(Input::new([4])).add(Dense::new(2)).build()?;
    /// assert!(model.layer().own_weights().is_empty(), "kernel and bias belong to the Dense layer");
    /// assert_eq!(model.layers()[0].own_weights().len(), 2);
    /// # Ok::<(), engraft_nn::Error>(())
    /// ```
    pub fn own_weights(&self) -> &[Weight] {
        self.0.built.get().map(|built| &*built.weights).unwrap_or_default()
    }

    /// Calls `visit` with this layer and all layers inside it, each once, a model before its layers.
    pub(crate) fn visit(&self, visit: &mut impl FnMut(&Layer)) {
        // Models that share layers have more paths to a layer than layers, exponentially many in the depth.
        let mut seen = HashSet::new();
        let mut pending = vec![self.clone()];
        while let Some(layer) = pending.pop() {
            if seen.insert(layer.id()) {
                visit(&layer);
                pending.extend(layer.def().layers_inside());
                pending.extend(layer.layers().into_iter().rev());
            }
        }
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

/// Conversion into a [`Layer`], from a description such as `Dense::new(5)`, a layer or a [`Model`](crate::Model).
///
/// ```
/// use engraft_nn::prelude::*;
/// let hidden = Dense::new(4).into_layer();
/// // `add` takes an input, a layer or a description.
/// let model = Sequential::new().add(Input::new([4])).add(&hidden).add(Dense::new(2)).build()?;
/// assert_eq!(model.layers()[0], hidden);
/// # Ok::<(), engraft_nn::Error>(())
/// ```
pub trait IntoLayer {
    /// The layer; it takes an automatic name if it has none.
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
