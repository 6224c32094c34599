//! From layers to operations.

use std::collections::HashMap;

use engraft_kernels::Activation;

use super::{Op, Param, Program, Step, ValueId};
use crate::activation::ActivationFn;
use crate::graph::Graph;
use crate::layer::{Layer, Shape};
use crate::random::mix;
use crate::weight::Weight;
use crate::{Model, Result};

/// What a layer writes its operations into.
pub struct Lowering<'a> {
    training: bool,
    seed: u64,
    random_layers: u64,
    program: Program,
    /// The layer being lowered, and whether it is trainable with all models around it.
    layer: Option<(&'a Layer, bool)>,
}

impl Lowering<'_> {
    pub(super) fn run(model: &Model, training: bool, seed: u64) -> Result<Program> {
        let empty = Program {
            steps: Vec::new(),
            shapes: Vec::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            layer_outputs: Vec::new(),
        };
        let graph = model.graph();
        let mut lowering = Lowering {
            training,
            seed,
            random_layers: 0,
            program: empty,
            layer: Some((model.layer(), model.trainable())),
        };
        let inputs: Vec<ValueId> = graph.inputs().iter().map(|input| lowering.value(input.shape().clone())).collect();
        lowering.program.inputs.clone_from(&inputs);
        lowering.program.outputs = lowering.graph_outputs(graph, &inputs)?;
        Ok(lowering.program)
    }

    /// Whether random layers act.
    pub fn training(&self) -> bool {
        self.training
    }

    /// Whether the layer being lowered, and every model around it, may be trained.
    pub fn layer_trainable(&self) -> bool {
        self.layer.is_some_and(|(_, trainable)| trainable)
    }

    /// The weights that the layer being lowered made itself.
    pub fn own_weights(&self) -> &[Weight] {
        self.layer.map(|(layer, _)| layer.own_weights()).unwrap_or_default()
    }

    /// The seed of the random layer being lowered: its own, or one that follows from the run's.
    pub fn random_seed(&mut self, own: Option<u64>) -> u64 {
        self.random_layers += 1;
        own.unwrap_or_else(|| mix(self.seed, self.random_layers))
    }

    /// Shape of a value.
    pub fn shape(&self, value: ValueId) -> &Shape {
        &self.program.shapes[value]
    }

    /// Adds an operation with the weights of the layer being lowered; returns the value it makes.
    pub fn push(&mut self, op: Op, inputs: &[ValueId], shape: Shape) -> ValueId {
        let output = self.value(shape);
        let trainable = self.layer_trainable();
        let weights = self
            .own_weights()
            .iter()
            .map(|w| Param { weight: w.clone(), trainable: trainable && w.trainable() })
            .collect();
        let layer = self.layer.map(|(layer, _)| layer.name().to_owned()).unwrap_or_default();
        self.program.steps.push(Step {
            op,
            activation: Activation::Linear,
            inputs: inputs.to_vec(),
            output,
            weights,
            layer,
        });
        output
    }

    /// Adds an activation of `value`: within the step that made it where that is the last one and a convolution or
    /// Dense, else as a step of its own.
    pub fn activate(&mut self, function: ActivationFn, value: ValueId) -> ValueId {
        let shape = self.shape(value).clone();
        let Some(function) = function.elementwise() else {
            return self.push_plain(Op::Softmax, value, shape);
        };
        if function == Activation::Linear {
            return value;
        }
        let own = self.layer.map(|(layer, _)| layer.name());
        if let Some(last) = self.program.steps.last_mut()
            && last.output == value
            && Some(last.layer.as_str()) == own
            && matches!(last.op, Op::Conv2d { .. } | Op::Dense)
            && function.gradient_from_output()
        {
            last.activation = function;
            return value;
        }
        self.push_plain(Op::Activation(function), value, shape)
    }

    /// Adds an operation without weights.
    fn push_plain(&mut self, op: Op, input: ValueId, shape: Shape) -> ValueId {
        let output = self.push(op, &[input], shape);
        if let Some(step) = self.program.steps.last_mut() {
            step.weights.clear();
        }
        output
    }

    /// Adds a nested model with one output.
    pub(crate) fn graph(&mut self, graph: &Graph, inputs: &[ValueId]) -> Result<ValueId> {
        Ok(self.graph_outputs(graph, inputs)?[0])
    }

    fn graph_outputs(&mut self, graph: &Graph, inputs: &[ValueId]) -> Result<Vec<ValueId>> {
        let outer_trainable = self.layer_trainable();
        let mut values: HashMap<usize, ValueId> =
            graph.inputs().iter().map(|input| input.id()).zip(inputs.iter().copied()).collect();
        for call in graph.calls() {
            if values.contains_key(&call.id()) {
                continue;
            }
            let arguments: Vec<ValueId> = call.inputs().iter().map(|input| values[&input.id()]).collect();
            let value = self.call(call.layer(), outer_trainable, &arguments)?;
            values.insert(call.id(), value);
        }
        Ok(graph.outputs().iter().map(|output| values[&output.id()]).collect())
    }

    fn call(&mut self, layer: &Layer, outer_trainable: bool, arguments: &[ValueId]) -> Result<ValueId> {
        // A lowering of its own for the inner layer: it borrows that layer, this one keeps borrowing the outer.
        let empty = Program {
            steps: Vec::new(),
            shapes: Vec::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            layer_outputs: Vec::new(),
        };
        let mut inner = Lowering {
            training: self.training,
            seed: self.seed,
            random_layers: self.random_layers,
            program: std::mem::replace(&mut self.program, empty),
            layer: Some((layer, outer_trainable && layer.trainable())),
        };
        let value = layer.def().lower(&mut inner, arguments).map_err(|e| e.within(layer.place()));
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
