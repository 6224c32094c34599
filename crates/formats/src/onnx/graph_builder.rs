//! Builds the ONNX graph of a program: nodes, constants, unique names, and the layout of each tensor.
//!
//! Models here are channels-last, but ONNX' convolutions are channels-first. Each operation requests its inputs in the layout
//! that it needs, and a `Transpose` is added only if the value doesn't exist in that layout yet. A typical image classifier gets
//! two `Transpose`s: one before the first convolution and one before the Flatten.

use std::collections::{HashMap, HashSet};

use engraft_ir::ValueId;
use engraft_nn::Program;
use engraft_nn::{Shape, Weight};

use super::initializer_writer::Constant;
use super::messages::{AttributeProto, FLOAT, GraphProto, NodeProto, ValueInfoProto};
use crate::FloatType;

/// The layout of images: where the axis of channels is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Layout {
    /// `[batch, height, width, channels]`, as in Keras and in all other crates.
    ChannelsLast,
    /// `[batch, channels, height, width]`, as in ONNX.
    ChannelsFirst,
}

impl Layout {
    /// Converts axis `axis` of a channels-last sample of `rank` axes to the axis of a tensor, with batch, in this layout.
    pub(super) fn axis(self, rank: usize, axis: usize) -> usize {
        match self {
            Self::ChannelsLast => axis + 1,
            Self::ChannelsFirst if axis + 1 == rank => 1,
            Self::ChannelsFirst => axis + 2,
        }
    }
}

/// The name of a tensor, and its layout.
pub(super) type LaidOutTensor = (String, Layout);

/// Builds the ONNX graph of a program, operation by operation.
pub(super) struct GraphBuilder<'a> {
    program: &'a Program,
    float_type: FloatType,
    /// The layer whose name starts the names of new nodes.
    layer: &'a str,
    nodes: Vec<NodeProto>,
    constants: Vec<Constant>,
    /// The name of the tensor that holds a value in a layout.
    tensors: HashMap<(ValueId, Layout), String>,
    /// The name of the f32 tensor of each weight, by the weight's id: a shared weight is written once.
    weights: HashMap<usize, String>,
    /// The name of the initializer of each scalar constant, by the bits of its value.
    scalars: HashMap<u32, String>,
    /// All names in use.
    names: HashSet<String>,
}

impl<'a> GraphBuilder<'a> {
    pub(super) fn new(program: &'a Program, float_type: FloatType) -> Self {
        Self {
            program,
            float_type,
            layer: "",
            nodes: Vec::new(),
            constants: Vec::new(),
            tensors: HashMap::new(),
            weights: HashMap::new(),
            scalars: HashMap::new(),
            names: HashSet::new(),
        }
    }

    /// Declares the program's inputs under these names, made unique.
    pub(super) fn inputs(&mut self, names: &[&str]) -> Vec<ValueInfoProto> {
        let program = self.program;
        let input = |(&value, name): (&ValueId, &&str)| {
            let name = self.unique(name);
            let info = ValueInfoProto::batch(&name, &program.shapes[value]);
            self.define(value, (name, Layout::ChannelsLast));
            info
        };
        program.inputs.iter().zip(names).map(input).collect()
    }

    /// Sets the layer that new nodes are named after.
    pub(super) fn enter_layer(&mut self, layer: &'a str) {
        self.layer = layer;
    }

    /// The program that the graph is built from.
    pub(super) fn program(&self) -> &'a Program {
        self.program
    }

    /// The shape of a value without the batch axis, channels last.
    pub(super) fn shape(&self, value: ValueId) -> &'a Shape {
        &self.program.shapes[value]
    }

    /// The name of the tensor that holds `value` in `layout`. Adds a `Transpose` if `value` exists only in the other layout.
    pub(super) fn read(&mut self, value: ValueId, layout: Layout) -> String {
        let layout = self.canonical_layout(value, layout);
        if let Some(tensor) = self.tensors.get(&(value, layout)) {
            return tensor.clone();
        }
        let rank = self.shape(value).len();
        let (other, axes, suffix): (_, Vec<usize>, _) = match layout {
            Layout::ChannelsFirst => (Layout::ChannelsLast, [0, rank].into_iter().chain(1..rank).collect(), "NCHW"),
            Layout::ChannelsLast => {
                (Layout::ChannelsFirst, std::iter::once(0).chain(2..=rank).chain([1]).collect(), "NHWC")
            }
        };
        let source = self.tensors[&(value, other)].clone();
        let name = self.unique(&format!("{source}/{suffix}"));
        let transposed = self.named_node(name, "Transpose", &[&source], vec![AttributeProto::ints("perm", &axes)]);
        self.define(value, (transposed.clone(), layout));
        transposed
    }

    /// The layout in which to read several values: channels first if any of them exists in this layout, else channels last.
    pub(super) fn layout(&self, values: &[ValueId]) -> Layout {
        let first = |&value: &ValueId| self.tensors.contains_key(&(value, Layout::ChannelsFirst));
        if values.iter().any(first) { Layout::ChannelsFirst } else { Layout::ChannelsLast }
    }

    /// Records the tensor that holds a value.
    pub(super) fn define(&mut self, value: ValueId, (tensor, layout): LaidOutTensor) {
        self.tensors.insert((value, self.canonical_layout(value, layout)), tensor);
    }

    /// The layout under which a value is recorded.
    ///
    /// A value with fewer than two axes per sample is the same in both layouts and is recorded as channels last.
    fn canonical_layout(&self, value: ValueId, layout: Layout) -> Layout {
        if self.shape(value).len() < 2 { Layout::ChannelsLast } else { layout }
    }

    /// Adds a node named `layer/op_type`; returns the name of its output tensor.
    pub(super) fn node(&mut self, op_type: &str, inputs: &[&str], attributes: Vec<AttributeProto>) -> String {
        let name = self.unique(&format!("{}/{op_type}", self.layer));
        self.named_node(name, op_type, inputs, attributes)
    }

    fn named_node(&mut self, name: String, op_type: &str, inputs: &[&str], attribute: Vec<AttributeProto>) -> String {
        self.nodes.push(NodeProto {
            input: inputs.iter().map(|&input| input.to_owned()).collect(),
            output: vec![name.clone()],
            name: name.clone(),
            op_type: op_type.into(),
            attribute,
            ..NodeProto::default()
        });
        name
    }

    /// Renames `tensor`, the output of the current layer, to the layer's name, and returns the name.
    ///
    /// If the layer has no nodes of its own (such as Dropout), `tensor` is the layer's input and keeps its name.
    pub(super) fn name_output(&mut self, tensor: String) -> String {
        match self.nodes.last() {
            Some(last) if last.output == [tensor.as_str()] && last.name.starts_with(&format!("{}/", self.layer)) => {}
            _ => return tensor,
        }
        let name = self.unique(self.layer);
        if let Some(last) = self.nodes.last_mut() {
            last.name.clone_from(&name);
            last.output = vec![name.clone()];
        }
        // An earlier step of the layer may have the same tensor, in another layout.
        self.tensors.values_mut().filter(|known| **known == tensor).for_each(|known| known.clone_from(&name));
        name
    }

    /// The name of the f32 tensor of a weight, which is stored transposed by `axes` and reshaped to `dims`. A weight stored as
    /// f16 gets a `Cast` to f32.
    pub(super) fn weight(&mut self, weight: &Weight, axes: &[usize], dims: Vec<usize>) -> String {
        if let Some(name) = self.weights.get(&weight.id()) {
            return name.clone();
        }
        let float_type = self.float_type.of(weight.shape());
        let mut name = self.unique(&weight.path());
        self.constants.push(Constant::weight(name.clone(), weight, axes, dims, float_type));
        if float_type == FloatType::F16 {
            let cast = self.unique(&format!("{name}/Cast"));
            name = self.named_node(cast, "Cast", &[&name], vec![AttributeProto::int("to", FLOAT.into())]);
        }
        self.weights.insert(weight.id(), name.clone());
        name
    }

    /// Adds an f32 constant named `layer/name`; returns its name.
    pub(super) fn floats(&mut self, name: &str, dims: Vec<usize>, values: Vec<f32>) -> String {
        let name = self.unique(&format!("{}/{name}", self.layer));
        self.constants.push(Constant::floats(name.clone(), dims, values));
        name
    }

    /// A scalar constant, added at its first use; returns its name.
    pub(super) fn scalar(&mut self, value: f32) -> String {
        if let Some(name) = self.scalars.get(&value.to_bits()) {
            return name.clone();
        }
        let name = self.unique(&value.to_string());
        self.constants.push(Constant::floats(name.clone(), Vec::new(), vec![value]));
        self.scalars.insert(value.to_bits(), name.clone());
        name
    }

    /// Adds a constant of sizes named `layer/name`; returns its name.
    pub(super) fn sizes(&mut self, name: &str, values: impl IntoIterator<Item = usize>) -> String {
        self.ints(name, values.into_iter().map(|value| value as i64).collect())
    }

    /// Adds a constant of integers, which may be negative, named `layer/name`; returns its name.
    pub(super) fn ints(&mut self, name: &str, values: Vec<i64>) -> String {
        let name = self.unique(&format!("{}/{name}", self.layer));
        self.constants.push(Constant::ints(name.clone(), values));
        name
    }

    /// Declares the program's outputs. ONNX needs a separate tensor for each output, so an output that repeats another one, or is
    /// an input, gets an `Identity`.
    fn outputs(&mut self) -> Vec<ValueInfoProto> {
        let program = self.program;
        let mut taken: HashSet<String> =
            program.inputs.iter().map(|&input| self.tensors[&(input, Layout::ChannelsLast)].clone()).collect();
        let output = |&value: &ValueId| {
            let mut tensor = self.read(value, Layout::ChannelsLast);
            if !taken.insert(tensor.clone()) {
                let name = self.unique(&format!("{tensor}/output"));
                tensor = self.named_node(name, "Identity", &[&tensor], Vec::new());
            }
            ValueInfoProto::batch(&tensor, &program.shapes[value])
        };
        program.outputs.iter().map(output).collect()
    }

    /// Declares the outputs; returns the finished graph, named `name`, and its constants.
    pub(super) fn finish(mut self, name: &str, input: Vec<ValueInfoProto>) -> (GraphProto, Vec<Constant>) {
        let output = self.outputs();
        (GraphProto { node: self.nodes, name: name.into(), input, output }, self.constants)
    }

    /// Reserves `name`, or `name_1`, `name_2`, … if it is in use.
    fn unique(&mut self, name: &str) -> String {
        let candidates = std::iter::once(name.to_owned()).chain((1..).map(|n| format!("{name}_{n}")));
        let free = candidates.into_iter().find(|candidate| !self.names.contains(candidate));
        let free = free.unwrap_or_else(|| name.to_owned());
        self.names.insert(free.clone());
        free
    }
}
