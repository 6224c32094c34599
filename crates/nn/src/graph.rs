//! The symbolic graph: tensors without values, and the layer calls that produced them.
//!
//! Models hold a [`Graph`]; the lowering turns it into a program.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use crate::Shape;
use crate::layer::{IntoLayer, Layer};
use crate::layers::{Input, InputLayer, ListOutput};
use crate::{DType, Error, Result};

/// The result of a layer call: a shape and the call itself, without values (Keras' `KerasTensor`).
///
/// ```
/// use engraft_nn::prelude::*;
/// let x = Input::new([4]);
/// let y = Dense::new(3).named("scores").call(&x)?;
/// assert_eq!(y.shape(), &[3]);
/// assert_eq!(y.layer().name(), "scores");
/// assert_eq!(y.inputs()[0].id(), x.id());
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Clone)]
pub struct SymbolicTensor(Arc<Call>);

struct Call {
    layer: Layer,
    inputs: Vec<SymbolicTensor>,
    shape: Shape,
    dtype: DType,
}

impl SymbolicTensor {
    pub(crate) fn new(layer: Layer, inputs: Vec<SymbolicTensor>, shape: Shape, dtype: DType) -> Self {
        Self(Arc::new(Call { layer, inputs, shape, dtype }))
    }

    /// The tensor of an input layer, for samples of this shape.
    pub(crate) fn of_input(layer: &Layer, shape: Shape) -> Self {
        let dtype = layer.def().output_dtype(&[]).unwrap_or(DType::Float);
        Self::new(layer.clone(), Vec::new(), shape, dtype)
    }

    /// Shape of one sample, without the batch axis.
    pub fn shape(&self) -> &Shape {
        &self.0.shape
    }

    /// The data type of the tensor in Keras.
    ///
    /// ```
    /// use engraft_nn::{DType, prelude::*};
    /// assert_eq!(Input::new([4]).dtype(), DType::Float);
    /// ```
    pub fn dtype(&self) -> DType {
        self.0.dtype
    }

    /// The layer whose call produced this tensor.
    pub fn layer(&self) -> &Layer {
        &self.0.layer
    }

    /// The tensors that the layer was called on; empty for an input.
    pub fn inputs(&self) -> &[SymbolicTensor] {
        &self.0.inputs
    }

    /// The call that produced this tensor in Keras, and the tensor's position, from 0, in what the call returns. Operations such as
    /// `keras.ops.split` and nested models can return several tensors; see [`ListOutput`].
    ///
    /// ```
    /// use engraft_nn::prelude::*;
    /// let x = Input::new([4]);
    /// assert_eq!((x.history().0.id(), x.history().1), (x.id(), 0));
    /// ```
    pub fn history(&self) -> (&SymbolicTensor, usize) {
        match self.layer().def_as::<ListOutput>() {
            Some(output) => (&self.inputs()[0], output.index()),
            None => (self, 0),
        }
    }

    /// An id that all handles of this tensor share. No other tensor has it while this one is alive.
    pub fn id(&self) -> usize {
        Arc::as_ptr(&self.0) as usize
    }

    /// The axes of a sample whose size is open, for an input of open size; empty for any other tensor.
    ///
    /// ```
    /// use engraft_nn::{prelude::*, layers::from_config};
    /// let config = serde_json::json!({"name": "photo", "batch_shape": [null, null, null, 3]});
    /// let photo = from_config("InputLayer", config.as_object().unwrap().clone())?;
    /// assert_eq!(Input::of(&photo, vec![64, 64, 3])?.open_axes(), [0, 1]);
    /// assert!(Input::new([64, 64, 3]).open_axes().is_empty());
    /// # Ok::<(), engraft_nn::Error>(())
    /// ```
    pub fn open_axes(&self) -> Vec<usize> {
        self.layer().def_as::<InputLayer>().map(InputLayer::open_axes).unwrap_or_default()
    }

    /// The results of [`Input`](crate::layers::Input) that this tensor depends on, in depth-first order.
    ///
    /// ```
    /// use engraft_nn::prelude::*;
    /// let (a, b) = (Input::new([4]), Input::new([4]));
    /// let y = Dense::new(2).call(&Add::new().call([&a, &b])?)?;
    /// let sources: Vec<usize> = y.sources().iter().map(|source| source.id()).collect();
    /// assert_eq!(sources, [a.id(), b.id()]);
    /// # Ok::<(), engraft_nn::Error>(())
    /// ```
    pub fn sources(&self) -> Vec<SymbolicTensor> {
        let mut traversal = Traversal::default();
        traversal.visit(self, &HashSet::new());
        traversal.calls.into_iter().filter(|call| call.inputs().is_empty()).collect()
    }
}

/// Converts to the layer that produced the tensor: `Sequential::new().add(Input::new([4]))`.
impl IntoLayer for SymbolicTensor {
    fn into_layer(self) -> Layer {
        self.layer().clone()
    }
}

impl fmt::Debug for SymbolicTensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {:?}", self.layer().name(), self.shape())
    }
}

impl Drop for Call {
    /// Drops long chains in a loop: the compiler's recursive drop would overflow the stack on a file with 100,000 layers.
    fn drop(&mut self) {
        let mut pending = std::mem::take(&mut self.inputs);
        while let Some(tensor) = pending.pop() {
            if let Some(mut call) = Arc::into_inner(tensor.0) {
                pending.append(&mut call.inputs);
            }
        }
    }
}

/// One symbolic tensor or several, as layers and models take them: `&x`, `[&a, &b]` or `&tensors`.
///
/// ```
/// use engraft_nn::{Arguments, Result, prelude::*};
///
/// /// Class scores from one feature vector or several of the same size.
/// fn scores<'a>(features: impl Arguments<'a>) -> Result<SymbolicTensor> {
///     let features = features.tensors();
///     let joined = if features.len() > 1 { Average::new().call(&features)? } else { features[0].clone() };
///     Dense::new(3).call(&joined)
/// }
///
/// let (a, b) = (Input::new([4]), Input::new([4]));
/// assert_eq!(scores(&a)?.shape(), &[3]);
/// let model = Model::new([&a, &b], &scores([&a, &b])?)?;
/// assert_eq!((model.inputs().len(), model.outputs().len()), (2, 1));
/// # Ok::<(), engraft_nn::Error>(())
/// ```
pub trait Arguments<'a> {
    /// The tensors, in order.
    fn tensors(self) -> Vec<SymbolicTensor>;
}

impl<'a> Arguments<'a> for &'a SymbolicTensor {
    fn tensors(self) -> Vec<SymbolicTensor> {
        vec![self.clone()]
    }
}

impl<'a, const N: usize> Arguments<'a> for [&'a SymbolicTensor; N] {
    fn tensors(self) -> Vec<SymbolicTensor> {
        self.into_iter().cloned().collect()
    }
}

impl<'a> Arguments<'a> for &'a [SymbolicTensor] {
    fn tensors(self) -> Vec<SymbolicTensor> {
        self.to_vec()
    }
}

impl<'a> Arguments<'a> for &'a Vec<SymbolicTensor> {
    fn tensors(self) -> Vec<SymbolicTensor> {
        self.clone()
    }
}

/// The layer calls between a model's inputs and outputs, in topological order.
///
/// ```
/// use engraft_nn::{Graph, prelude::*};
/// let x = Input::named("x", [4]);
/// let hidden = Dense::new(4).named("hidden");
/// let y = hidden.call(&hidden.call(&x)?)?;
/// let sum = Add::new().named("sum").call([&x, &y])?;
///
/// let graph = Graph::new(vec![x.clone()], vec![sum.clone()])?;
/// let calls: Vec<&str> = graph.calls().iter().map(|call| call.layer().name()).collect();
/// assert_eq!(calls, ["x", "hidden", "hidden", "sum"]);
/// assert_eq!(graph.layers().len(), 3, "a layer that is called twice is listed once");
/// assert_eq!((graph.inputs()[0].id(), graph.outputs()[0].id()), (x.id(), sum.id()));
/// assert!(!graph.is_chain());
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Graph {
    inputs: Vec<SymbolicTensor>,
    outputs: Vec<SymbolicTensor>,
    calls: Vec<SymbolicTensor>,
    layers: Vec<Layer>,
}

impl Graph {
    /// The graph from `inputs` to `outputs`.
    ///
    /// # Errors
    /// No inputs or no outputs; an input that isn't the result of `Input::new`, or is listed twice; an output that depends on an
    /// input outside `inputs`; two layers of the same name.
    pub fn new(inputs: Vec<SymbolicTensor>, outputs: Vec<SymbolicTensor>) -> Result<Self> {
        if inputs.is_empty() || outputs.is_empty() {
            let received = format!("{} inputs and {} outputs", inputs.len(), outputs.len());
            return Err(Error::new("model", "at least one input and one output", received));
        }
        for input in &inputs {
            if input.layer().def_as::<InputLayer>().is_none() {
                let place = format!("input from {}", input.layer().place());
                return Err(Error::new(place, "the result of Input::new", "the result of another layer")
                    .hint("start the model at its Input, or build a new one on an Input of this shape"));
            }
        }
        let mut declared = HashSet::new();
        if let Some(twice) = inputs.iter().find(|input| !declared.insert(input.id())) {
            return Err(Error::because(twice.layer().place(), "this input is among the model's inputs twice")
                .hint("create a second Input, or list this one once"));
        }
        let mut traversal = Traversal::default();
        outputs.iter().for_each(|output| traversal.visit(output, &declared));
        if let Some(missing) = traversal.calls.iter().find(|c| c.inputs().is_empty() && !declared.contains(&c.id())) {
            return Err(Error::because(
                missing.layer().place(),
                "the outputs depend on this input, which is not among the model's inputs",
            )
            .hint("pass it to Model::new"));
        }
        let layers = ordered_layers(&traversal);
        let mut names = HashSet::new();
        if let Some(twice) = layers.iter().find(|layer| !names.insert(layer.name().to_owned())) {
            return Err(Error::because(
                "model",
                format_args!("expected layer names to be unique, received two layers called `{}`", twice.name()),
            )
            .hint("name one of them with `.named(..)`"));
        }
        Ok(Self { inputs, outputs, calls: traversal.calls, layers })
    }

    /// Whether the inputs may have these shapes: the shapes of the graph, with any size for an open axis.
    pub(crate) fn allows(&self, shapes: &[Shape]) -> bool {
        self.inputs.len() == shapes.len()
            && self.inputs.iter().zip(shapes).all(|(input, shape)| {
                let open = input.open_axes();
                let mut sizes = input.shape().iter().zip(shape).enumerate();
                input.shape().len() == shape.len() && sizes.all(|(axis, (a, b))| a == b || open.contains(&axis))
            })
    }

    /// The same calls of the same layers on inputs of other shapes.
    ///
    /// # Errors
    /// A shape that an input or a layer doesn't support, or a layer whose weights have another shape then.
    pub(crate) fn for_shapes(&self, shapes: &[Shape]) -> Result<Self> {
        let mut tensors: HashMap<usize, SymbolicTensor> = HashMap::new();
        let mut inputs = Vec::with_capacity(self.inputs.len());
        for (input, shape) in self.inputs.iter().zip(shapes) {
            let resized = Input::of(input.layer(), shape.clone())?;
            tensors.insert(input.id(), resized.clone());
            inputs.push(resized);
        }
        for call in &self.calls {
            if !tensors.contains_key(&call.id()) {
                let arguments: Vec<_> =
                    call.inputs().iter().filter_map(|input| tensors.get(&input.id()).cloned()).collect();
                tensors.insert(call.id(), call.layer().call(&arguments)?);
            }
        }
        let outputs = self.outputs.iter().filter_map(|output| tensors.get(&output.id()).cloned()).collect();
        Self::new(inputs, outputs)
    }

    /// The symbolic inputs.
    pub fn inputs(&self) -> &[SymbolicTensor] {
        &self.inputs
    }

    /// The symbolic outputs.
    pub fn outputs(&self) -> &[SymbolicTensor] {
        &self.outputs
    }

    /// Every layer call, inputs included. A call follows the calls whose results it reads.
    pub fn calls(&self) -> &[SymbolicTensor] {
        &self.calls
    }

    /// Every layer once, in the order of Keras' `Model.layers`. Unlike there, operations on tensors are included.
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// Whether the graph is a linear chain: each call reads only the previous one, and no layer is called twice.
    pub fn is_chain(&self) -> bool {
        self.layers.len() == self.calls.len()
            && self.calls.windows(2).all(|pair| pair[1].inputs().len() == 1 && pair[1].inputs()[0].id() == pair[0].id())
    }
}

/// A depth-first traversal from outputs to inputs.
#[derive(Default)]
struct Traversal {
    /// Calls in post-order: each follows the calls that produced its inputs.
    calls: Vec<SymbolicTensor>,
    /// Ids of the calls that were entered.
    visited: HashSet<usize>,
    /// Pre-order index of each layer's first visit, by the layer's id. Keras orders layers of equal depth by it.
    first_visit: HashMap<usize, usize>,
}

impl Traversal {
    /// Visits `output` and all calls that it depends on; the inputs of calls in `stop` are not visited.
    fn visit(&mut self, output: &SymbolicTensor, stop: &HashSet<usize>) {
        // A stack of (call, index of its next input) instead of recursion: files may contain very long chains.
        let mut stack = Vec::new();
        self.enter(output, &mut stack);
        while let Some((call, next)) = stack.pop() {
            let input = call.inputs().get(next).filter(|_| !stop.contains(&call.id())).cloned();
            match input {
                Some(input) => {
                    stack.push((call, next + 1));
                    self.enter(&input, &mut stack);
                }
                None => self.calls.push(call),
            }
        }
    }

    fn enter(&mut self, call: &SymbolicTensor, stack: &mut Vec<(SymbolicTensor, usize)>) {
        if self.visited.insert(call.id()) {
            let index = self.first_visit.len();
            self.first_visit.entry(call.layer().id()).or_insert(index);
            stack.push((call.clone(), 0));
        }
    }
}

/// Layers in Keras' order (`map_graph`): by decreasing depth, the longest distance to an output; ties by first visit.
fn ordered_layers(traversal: &Traversal) -> Vec<Layer> {
    let mut call_depth: HashMap<usize, usize> = HashMap::new();
    let mut layer_depth: HashMap<usize, usize> = HashMap::new();
    for call in traversal.calls.iter().rev() {
        let own = call_depth.get(&call.id()).copied().unwrap_or(0);
        let of_layer = layer_depth.entry(call.layer().id()).or_insert(0);
        *of_layer = own.max(*of_layer);
        let depth = *of_layer;
        call_depth.insert(call.id(), depth);
        for input in call.inputs() {
            let before = call_depth.entry(input.id()).or_insert(0);
            // Keras counts a tensor of a list with the operation that returns the list.
            let step = usize::from(call.layer().def_as::<ListOutput>().is_none());
            *before = (*before).max(depth + step);
        }
    }
    let mut seen = HashSet::new();
    let mut layers: Vec<Layer> =
        traversal.calls.iter().map(|call| call.layer().clone()).filter(|layer| seen.insert(layer.id())).collect();
    layers.sort_by_key(|layer| (std::cmp::Reverse(layer_depth[&layer.id()]), traversal.first_visit[&layer.id()]));
    layers
}

#[cfg(test)]
mod tests {
    use crate::layers::ListOutput;
    use crate::prelude::*;

    #[test]
    fn layers_come_by_depth_and_then_as_met() {
        let x = Input::new([4]);
        let left = Dense::new(4).named("left").call(&x).unwrap();
        let right = Dense::new(4).named("right_1").call(&x).unwrap();
        let right = Dense::new(4).named("right_2").call(&right).unwrap();
        let y = Add::new().named("sum").call([&left, &right]).unwrap();
        let names: Vec<String> =
            Model::new(&x, &y).unwrap().layers().iter().map(|l| l.name().to_owned()).skip(1).collect();
        // The order that Keras 3.15 prints for this graph.
        assert_eq!(names, ["right_1", "left", "right_2", "sum"]);
    }

    #[test]
    fn an_input_left_out_is_named() {
        let (a, b) = (Input::new([4]), Input::new([4]));
        let y = Add::new().call([&a, &b]).unwrap();
        let error = Model::new(&a, &y).unwrap_err().to_string();
        assert!(error.contains(b.layer().name()), "{error}");
    }

    #[test]
    fn a_model_of_nothing_is_an_error() {
        let x = Input::new([4]);
        for (inputs, outputs) in [(vec![], vec![x.clone()]), (vec![x.clone()], vec![]), (vec![], vec![])] {
            let error = Model::new(&inputs, &outputs).unwrap_err().to_string();
            assert!(error.contains("at least one input and one output"), "{error}");
        }
    }

    #[test]
    fn an_input_given_twice_is_an_error() {
        let x = Input::new([4]);
        let y = Dense::new(2).call(&x).unwrap();
        assert!(Model::new([&x, &x], &y).unwrap_err().to_string().contains("twice"));
    }

    #[test]
    fn a_model_with_several_outputs_is_a_layer_whose_outputs_are_selected() {
        let x = Input::new([4]);
        let y = Dense::new(3).call(&x).unwrap();
        let model = Model::new(&x, [&y, &x]).unwrap();
        assert_eq!((model.outputs().len(), model.output_shape()), (2, &vec![3]));
        let layer = model.layer();
        let outputs = layer.call(&x).unwrap();
        let [first, second] = [0, 1].map(|index| ListOutput::of(layer, index).unwrap().call(&outputs).unwrap());
        assert_eq!((first.shape(), second.shape()), (&vec![3], &vec![4]));
        assert!(ListOutput::of(layer, 2).unwrap().call(&outputs).unwrap_err().to_string().contains("one of 2"));

        let error = Dense::new(2).call(&outputs).unwrap_err().to_string();
        assert!(error.contains("single tensors") && error.contains("hint"), "{error}");
        let error = Sequential::new().add(Input::new([4])).add(layer).build().unwrap_err().to_string();
        assert!(error.contains("one output, as a layer of a Sequential"), "{error}");
    }

    #[test]
    fn two_layers_of_one_name_are_an_error() {
        let x = Input::new([4]);
        let y = Dense::new(4).named("same").call(&x).unwrap();
        let y = Dense::new(4).named("same").call(&y).unwrap();
        assert!(Model::new(&x, &y).unwrap_err().to_string().contains("two layers called `same`"));
    }

    #[test]
    fn a_chain_of_a_hundred_thousand_calls_is_no_danger_to_the_stack() {
        let x = Input::new([1]);
        let layer = Flatten::new().into_layer();
        let mut y = layer.call(&x).unwrap();
        for _ in 0..100_000 {
            y = layer.call(&y).unwrap();
        }
        assert_eq!(Model::new(&x, &y).unwrap().layers().len(), 2);
    }
}
