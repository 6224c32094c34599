//! [`Lowering`]: turns the layers of a model into the operations of a [`Program`], nested models inlined.

use std::collections::HashMap;
use std::ops::Range;

use engraft_ir::random::mix;
use engraft_ir::{Activation, Op, Shape, Unary, ValueId};

use crate::activation::ActivationFn;
use crate::graph::Graph;
use crate::layer::Layer;
use crate::layers::push_converted;
use crate::program::{Param, Program, Step};
use crate::sized_graphs::SizedGraphs;
use crate::trainability::Trainability;
use crate::weight::Weight;
use crate::{DType, Error, Model, Regularizer, Result, SymbolicTensor};

/// Limit on layer calls in a program. Each level of nested models can double the calls, so a small file could ask for 2^100.
const MAX_CALLS: usize = 1 << 18;

/// The program under construction, to which [`LayerDef::lower`](crate::LayerDef::lower) adds the operations of a layer.
///
/// ```
/// use engraft_ir::{Op, ValueId};
/// use engraft_nn::{LayerDef, Lowering, Program, Result, Shape, prelude::*};
///
/// #[derive(Debug)]
/// struct Square;
///
/// impl LayerDef for Square {
/// #     fn class_name(&self) -> &'static str {
/// #         "Square"
/// #     }
/// #     fn config(&self) -> serde_json::Map<String, serde_json::Value> {
/// #         serde_json::Map::new()
/// #     }
/// #     fn output_shape(&self, inputs: &[Shape]) -> Result<Shape> {
/// #         Ok(inputs[0].clone())
/// #     }
///     // The other methods are left out here.
///     fn lower(&self, to: &mut Lowering<'_>, inputs: &[ValueId]) -> Result<ValueId> {
///         let shape = to.shape(inputs[0]).clone();
///         Ok(to.push(Op::Multiply, &[inputs[0], inputs[0]], shape))
///     }
/// }
///
/// let model = Sequential::new().add(Input::new([4])).add(Square).build()?;
/// assert_eq!(Program::of(&model, false, 0)?.steps[0].op, Op::Multiply);
/// # Ok::<(), engraft_nn::Error>(())
/// ```
///
/// A layer may add several operations. Which ones may depend on whether the program is for training and the layer is trainable:
///
/// ```
/// use engraft_ir::{Op, ValueId};
/// use engraft_nn::{ActivationFn, LayerDef, Lowering, Program, Result, Shape, WeightSpec, prelude::*};
///
/// /// A product, ReLU and, while the layer is trained, dropout.
/// #[derive(Debug)]
/// struct Hidden(usize);
///
/// impl LayerDef for Hidden {
/// #     fn class_name(&self) -> &'static str {
/// #         "Hidden"
/// #     }
/// #     fn config(&self) -> serde_json::Map<String, serde_json::Value> {
/// #         serde_json::Map::new()
/// #     }
/// #     fn output_shape(&self, _inputs: &[Shape]) -> Result<Shape> {
/// #         Ok(vec![self.0])
/// #     }
/// #     fn weights(&self, inputs: &[Shape]) -> Result<Vec<WeightSpec>> {
/// #         Dense::new(self.0).weights(inputs)
/// #     }
///     fn lower(&self, to: &mut Lowering<'_>, inputs: &[ValueId]) -> Result<ValueId> {
///         let weights = 0..to.own_weights().len();
///         let product = to.push_with(Op::Dense, inputs, vec![self.0], weights);
///         let active = to.activate(ActivationFn::Relu, product);
///         if !(to.training() && to.layer_trainable()) {
///             return Ok(active);
///         }
///         let seed = to.random_seed(None);
///         Ok(to.push_with(Op::Dropout { rate: 0.5, seed }, &[active], vec![self.0], 0..0))
///     }
/// }
///
/// let model = Sequential::new().add(Input::new([4])).add(Hidden(8)).build()?;
/// assert_eq!(Program::of(&model, false, 0)?.steps.len(), 2);
/// assert_eq!(Program::of(&model, true, 0)?.steps.len(), 3);
/// # Ok::<(), engraft_nn::Error>(())
/// ```
pub struct Lowering<'a> {
    training: bool,
    seed: u64,
    /// The layers' `trainable` flags for this program; the layers' own flags if `None`.
    trainability: Option<&'a Trainability>,
    /// Number of random layers lowered so far, which makes their seeds differ.
    random_layers: u64,
    program: Program,
    /// Whether the model that is lowered, the outermost one, is trainable. If it isn't, none of its weights are.
    model_trainable: bool,
    /// The layer being lowered.
    layer: Option<&'a Layer>,
    /// The types of the inputs of the layer being lowered.
    dtypes: Vec<DType>,
    /// The part of the layer that is being lowered, if it isn't the whole layer.
    part: Option<Part>,
    /// The penalty on the output of the layer being lowered.
    penalty: Option<Regularizer>,
}

/// A part of a layer: some of its weights.
struct Part {
    weights: Vec<Weight>,
    /// The layer inside that holds the weights, whose flags count then.
    holder: Option<Layer>,
}

impl Lowering<'_> {
    pub(crate) fn run(
        model: &Model,
        training: bool,
        seed: u64,
        trainability: Option<&Trainability>,
    ) -> Result<Program> {
        let graph = model.graph();
        let mut lowering = Lowering {
            training,
            seed,
            trainability,
            random_layers: 0,
            program: Program::default(),
            model_trainable: trainability.map_or_else(|| model.trainable(), |flags| flags.trainable(model.layer())),
            layer: Some(model.layer()),
            dtypes: Vec::new(),
            part: None,
            penalty: None,
        };
        let inputs: Vec<ValueId> = graph.inputs().iter().map(|input| lowering.value(input.shape().clone())).collect();
        lowering.program.inputs.clone_from(&inputs);
        // Callers pass floats, and the pixels of a resized photo have fractions.
        let converted = lowering.converted_inputs(graph, &inputs, &vec![DType::Float; inputs.len()])?;
        lowering.program.outputs = lowering.graph_outputs(graph, &converted)?;
        Ok(lowering.program)
    }

    /// Whether the program is lowered for training, where random layers act.
    pub fn training(&self) -> bool {
        self.training
    }

    /// Whether the layer being lowered is trainable, by its own flag. The flags of enclosing models don't count, as in Keras 3.
    pub fn layer_trainable(&self) -> bool {
        self.holder().is_some_and(|layer| {
            self.trainability.map_or_else(|| layer.trainable(), |trainability| trainability.trainable(layer))
        })
    }

    /// Whether the layer being lowered has trainable weights, by its flags alone.
    fn weights_trainable(&self) -> bool {
        self.holder().is_some_and(|layer| match self.trainability {
            Some(trainability) => trainability.weights_trainable(layer),
            None => layer.weights_trainable(),
        })
    }

    /// The layer whose flags count for the weights.
    fn holder(&self) -> Option<&Layer> {
        self.part.as_ref().and_then(|part| part.holder.as_ref()).or(self.layer)
    }

    /// The weights of the layer being lowered, without those of nested layers.
    pub fn own_weights(&self) -> &[Weight] {
        match &self.part {
            Some(part) => &part.weights,
            None => self.layer.map(Layer::own_weights).unwrap_or_default(),
        }
    }

    /// Lowers a part of a layer. Until `lower` returns, the layer's own weights are `weights`, and the flags that count are those of
    /// `inside`, the layer inside that holds them; `None` if the weights are the layer's own.
    pub(crate) fn part<T>(
        &mut self,
        weights: Vec<Weight>,
        inside: Option<&Layer>,
        lower: impl FnOnce(&mut Self) -> T,
    ) -> T {
        let holder = inside.or(self.part.as_ref().and_then(|part| part.holder.as_ref())).cloned();
        let whole = self.part.replace(Part { weights, holder });
        let lowered = lower(self);
        self.part = whole;
        lowered
    }

    /// The seed of the random layer being lowered: `own`, or one derived from the program's seed.
    pub fn random_seed(&mut self, own: Option<u64>) -> u64 {
        self.random_layers += 1;
        own.unwrap_or_else(|| mix(self.seed, self.random_layers))
    }

    /// Whether trainable weights were used to compute a value.
    pub(crate) fn depends_on_trainable_weights(&self, value: ValueId) -> bool {
        let mut needed = vec![false; self.program.shapes.len()];
        needed[value] = true;
        self.program.steps.iter().rev().any(|step| {
            let is_needed = needed[step.output];
            if is_needed {
                step.inputs.iter().for_each(|&input| needed[input] = true);
            }
            is_needed && step.weights.iter().any(|param| param.trainable)
        })
    }

    /// Shape of a value, without the batch axis.
    pub fn shape(&self, value: ValueId) -> &Shape {
        &self.program.shapes[value]
    }

    /// Adds an operation with all weights of the layer being lowered; returns its output value.
    pub fn push(&mut self, op: Op, inputs: &[ValueId], shape: Shape) -> ValueId {
        self.push_with(op, inputs, shape, 0..self.own_weights().len())
    }

    /// Adds an operation with the range `weights` of the layer's own weights; returns its output value.
    pub fn push_with(&mut self, op: Op, inputs: &[ValueId], shape: Shape, weights: Range<usize>) -> ValueId {
        let output = self.value(shape);
        let trainable = self.model_trainable && self.weights_trainable();
        let weights = self.own_weights()[weights]
            .iter()
            .map(|w| Param { weight: w.clone(), trainable: trainable && w.trainable() })
            .collect();
        let layer = self.layer.map(|layer| layer.name().to_owned()).unwrap_or_default();
        self.program.steps.push(Step {
            op,
            activation: Activation::Linear,
            inputs: inputs.to_vec(),
            output,
            weights,
            normalization: None,
            layer,
        });
        output
    }

    /// Adds an activation of `value`; returns its output value. A linear activation adds nothing and returns `value`.
    ///
    /// The planner may fuse the activation into the step before.
    pub fn activate(&mut self, function: ActivationFn, value: ValueId) -> ValueId {
        let shape = self.shape(value).clone();
        match (function.elementwise(), function.rows()) {
            (Some(Activation::Linear), _) | (None, None) => value,
            (Some(function), _) => self.push_plain(Op::Activation(function), value, shape),
            (None, Some(rows)) => self.push_plain(rows, value, shape),
        }
    }

    /// The dtypes of the inputs of the layer being lowered.
    pub(crate) fn input_dtypes(&self) -> &[DType] {
        &self.dtypes
    }

    /// Rounds `value` with `function` and clips it to the range of the input's dtype. Does nothing if the input has floats.
    pub(crate) fn push_integers_of_input(&mut self, function: Unary, value: ValueId) -> ValueId {
        let Some([low, high]) = self.dtypes.first().and_then(|dtype| dtype.range()) else { return value };
        let shape = self.shape(value).clone();
        let integers = self.push_plain(Op::Unary(function), value, shape.clone());
        self.push_plain(Op::Unary(Unary::Clip { low, high }), integers, shape)
    }

    /// Records a penalty on the output of the layer being lowered (Keras' `activity_regularizer`), if it has one.
    ///
    /// A plan that computes a loss adds it; other plans leave it out. A penalty that isn't implemented is refused with a loss.
    pub(crate) fn penalize_output(&mut self, regularizer: Option<&Regularizer>) {
        self.penalty = regularizer.cloned();
    }

    /// Adds the recorded penalty, on `value`, to the program's penalties.
    fn add_penalty(&mut self, value: ValueId) {
        match (self.penalty.take(), self.layer) {
            (Some(Regularizer::Unknown(object)), Some(layer)) => {
                self.program.unknown_penalties.push((layer.place(), object.class_name()));
            }
            (Some(Regularizer::Orthogonal { .. }), Some(layer)) => {
                self.program.unknown_penalties.push((layer.place(), "OrthogonalRegularizer".into()));
            }
            (Some(regularizer), Some(layer)) => {
                let (l1, l2) = regularizer.factors();
                let output = self.value(vec![1]);
                self.program.penalties.push(Step {
                    op: Op::Penalty { l1, l2 },
                    activation: Activation::Linear,
                    inputs: vec![value],
                    output,
                    weights: Vec::new(),
                    normalization: None,
                    layer: layer.name().to_owned(),
                });
            }
            _ => {}
        }
    }

    /// Adds an operation without weights.
    fn push_plain(&mut self, op: Op, input: ValueId, shape: Shape) -> ValueId {
        self.push_with(op, &[input], shape, 0..0)
    }

    /// Adds the operations of a nested model; returns its output value, or all output values as one vector.
    pub(crate) fn graph(&mut self, graphs: &SizedGraphs, inputs: &[ValueId]) -> Result<ValueId> {
        let shapes: Vec<Shape> = inputs.iter().map(|&input| self.shape(input).clone()).collect();
        let graph = graphs.of(&shapes)?;
        let inputs = self.converted_inputs(&graph, inputs, &self.dtypes.clone())?;
        let outputs = self.graph_outputs(&graph, &inputs)?;
        if let [output] = outputs[..] {
            return Ok(output);
        }
        let sizes: Vec<usize> = outputs.iter().map(|&output| self.shape(output).iter().product()).collect();
        let vectors = outputs.iter().zip(&sizes).map(|(&output, &size)| self.push(Op::Reshape, &[output], vec![size]));
        let vectors: Vec<ValueId> = vectors.collect();
        Ok(self.push(Op::Concatenate { axis: 0 }, &vectors, vec![sizes.iter().sum()]))
    }

    /// The arguments of a model, converted to the dtypes of its inputs as Keras does.
    fn converted_inputs(&mut self, graph: &Graph, arguments: &[ValueId], dtypes: &[DType]) -> Result<Vec<ValueId>> {
        let inputs = graph.inputs().iter().zip(arguments).zip(dtypes);
        inputs.map(|((input, &value), &dtype)| push_converted(self, value, dtype, input.dtype())).collect()
    }

    fn graph_outputs(&mut self, graph: &Graph, inputs: &[ValueId]) -> Result<Vec<ValueId>> {
        let mut values: HashMap<usize, ValueId> =
            graph.inputs().iter().map(|input| input.id()).zip(inputs.iter().copied()).collect();
        for call in graph.calls() {
            if values.contains_key(&call.id()) {
                continue;
            }
            let arguments: Vec<ValueId> = call.inputs().iter().map(|input| values[&input.id()]).collect();
            let dtypes = call.inputs().iter().map(SymbolicTensor::dtype).collect();
            let value = self.call(call.layer(), &arguments, dtypes)?;
            values.insert(call.id(), value);
        }
        Ok(graph.outputs().iter().map(|output| values[&output.id()]).collect())
    }

    /// Adds the operations of a call of `layer` on arguments of these types; returns its output value.
    pub(crate) fn call(&mut self, layer: &Layer, arguments: &[ValueId], dtypes: Vec<DType>) -> Result<ValueId> {
        if self.program.layer_outputs.len() >= MAX_CALLS {
            return Err(Error::new("model", format_args!("at most {MAX_CALLS} calls of layers"), "more")
                .hint("nested models that are called several times multiply their layers"));
        }
        // The inner layer gets another `Lowering`, as `self.layer` borrows the outer layer.
        let mut inner = Lowering {
            training: self.training,
            seed: self.seed,
            trainability: self.trainability,
            random_layers: self.random_layers,
            program: std::mem::take(&mut self.program),
            model_trainable: self.model_trainable,
            layer: Some(layer),
            dtypes,
            part: None,
            penalty: None,
        };
        let value = layer.def().lower(&mut inner, arguments).map_err(|e| e.within(layer.place()));
        if let Ok(value) = value {
            inner.add_penalty(value);
        }
        self.random_layers = inner.random_layers;
        self.program = inner.program;
        let value = value?;
        self.program.layer_outputs.push((layer.name().to_owned(), value));
        Ok(value)
    }

    fn value(&mut self, shape: Shape) -> ValueId {
        self.program.shapes.push(shape);
        self.program.shapes.len() - 1
    }
}

#[cfg(test)]
mod tests {
    use engraft_ir::Op;

    use crate::Program;
    use crate::prelude::*;

    #[test]
    fn models_that_multiply_their_layers_are_refused() {
        let mut layer = Dropout::new(0.5).into_layer();
        for _ in 0..40 {
            let x = Input::new([1]);
            let y = layer.call(&layer.call(&x).unwrap()).unwrap();
            layer = Model::new(&x, &y).unwrap().into_layer();
        }
        let error = Program::of(&Model::from_layer(layer).unwrap(), false, 0).unwrap_err().to_string();
        assert!(error.contains("at most 262144 calls"), "{error}");
    }

    /// A base of a Dense layer, a normalization and another Dense layer, inside a model.
    fn nested() -> (Model, Model) {
        let base = Sequential::new()
            .add(Input::new([4]))
            .add(Dense::new(4).named("low"))
            .add(BatchNormalization::new().named("norm"))
            .add(Dense::new(4).named("high"));
        let base = base.build().unwrap();
        let model = Sequential::new().add(&base).add(Dense::new(2).named("top")).build().unwrap();
        (base, model)
    }

    /// The weights that a step trains, and whether the normalization uses the statistics of the batch.
    fn trained(model: &Model) -> (Vec<String>, bool) {
        let program = Program::of(model, true, 0).unwrap();
        let trained = program.weights().into_iter().filter(|param| param.trainable).map(|param| param.weight.path());
        let batch_statistics =
            program.steps.iter().any(|step| matches!(step.op, Op::BatchNorm { batch_statistics: true, .. }));
        (trained.collect(), batch_statistics)
    }

    // Keras 3.15 lists these weights as trainable, and its normalization uses the statistics of the batch in these cases.
    #[test]
    fn a_layer_of_a_frozen_model_that_is_set_trainable_again_trains() {
        let (base, model) = nested();
        base.set_trainable(false);
        base.get_layer("high").unwrap().set_trainable(true);
        assert_eq!(
            trained(&model),
            (["high/kernel", "high/bias", "top/kernel", "top/bias"].map(String::from).into(), false)
        );
        base.get_layer("norm").unwrap().set_trainable(true);
        let (weights, batch_statistics) = trained(&model);
        assert_eq!((&weights[..2], batch_statistics), (&["norm/gamma".to_owned(), "norm/beta".to_owned()][..], true));
        assert_eq!(weights, model.trainable_weights().iter().map(|weight| weight.path()).collect::<Vec<_>>());
        assert!(trained(&base).0.is_empty(), "the flag of the trained model itself counts");
    }

    #[test]
    fn the_outermost_flag_alone_stops_all_training() {
        let (_, model) = nested();
        model.layer().set_own_trainable(false);
        assert_eq!((trained(&model), model.trainable_weights().len()), ((Vec::new(), true), 0));
    }

    #[test]
    fn a_layer_shared_with_a_frozen_model_is_trained_in_both_places() {
        let shared = Dense::new(2).into_layer();
        let inner = Input::new([2]);
        let frozen = Model::new(&inner, &shared.call(&inner).unwrap()).unwrap();
        let x = Input::new([2]);
        let y = shared.call(&frozen.call(&x).unwrap()).unwrap();
        frozen.set_trainable(false);
        shared.set_trainable(true);
        let model = Model::new(&x, &y).unwrap();
        assert_eq!(model.trainable_weights().len(), 2);
        let program = Program::of(&model, true, 0).unwrap();
        assert!(program.steps.iter().flat_map(|step| &step.weights).all(|param| param.trainable));
    }
}
