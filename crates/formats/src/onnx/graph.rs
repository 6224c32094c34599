//! A graph while it is made: its nodes and constants, and in which layout each value stands.
//!
//! Values here have their channels last, ONNX convolutions want them first. Each operation asks for
//! its inputs in the layout it works in, and a transposition is made only where a value isn't there
//! yet: one before the first convolution and one before the Flatten, in most models.

use std::collections::{HashMap, HashSet};

use engraft_ir::ValueId;
use engraft_nn::Program;
use engraft_nn::{Shape, Weight};

use super::constant::Constant;
use super::proto::{AttributeProto, FLOAT, GraphProto, NodeProto, ValueInfoProto};
use crate::Precision;

/// The place of the channels' axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Layout {
    /// `[batch, height, width, channels]`, as everywhere but here.
    ChannelsLast,
    /// `[batch, channels, height, width]`.
    ChannelsFirst,
}

impl Layout {
    /// The axis of a tensor that is axis `axis` of a sample of `rank` axes.
    pub(super) fn axis(self, rank: usize, axis: usize) -> usize {
        match self {
            Self::ChannelsLast => axis + 1,
            Self::ChannelsFirst if axis + 1 == rank => 1,
            Self::ChannelsFirst => axis + 2,
        }
    }
}

/// The tensor that an operation made, and its layout.
pub(super) type Made = (String, Layout);

/// The graph of a program.
pub(super) struct GraphBuilder<'a> {
    program: &'a Program,
    precision: Precision,
    /// What new nodes are named after.
    layer: &'a str,
    nodes: Vec<NodeProto>,
    constants: Vec<Constant>,
    /// The tensors that hold a value.
    held: HashMap<(ValueId, Layout), String>,
    /// Initializers of weights and of single numbers: one each, however often they are used.
    weights: HashMap<usize, String>,
    scalars: HashMap<u32, String>,
    names: HashSet<String>,
}

impl<'a> GraphBuilder<'a> {
    pub(super) fn new(program: &'a Program, precision: Precision) -> Self {
        Self {
            program,
            precision,
            layer: "",
            nodes: Vec::new(),
            constants: Vec::new(),
            held: HashMap::new(),
            weights: HashMap::new(),
            scalars: HashMap::new(),
            names: HashSet::new(),
        }
    }

    /// Names the program's inputs.
    pub(super) fn inputs(&mut self, names: &[&str]) -> Vec<ValueInfoProto> {
        let program = self.program;
        let input = |(&value, name): (&ValueId, &&str)| {
            let name = self.unique(name);
            let info = ValueInfoProto::batch(&name, &program.shapes[value]);
            self.hold(value, (name, Layout::ChannelsLast));
            info
        };
        program.inputs.iter().zip(names).map(input).collect()
    }

    /// From here on, nodes are named after this layer.
    pub(super) fn enter(&mut self, layer: &'a str) {
        self.layer = layer;
    }

    /// What the graph is made of.
    pub(super) fn program(&self) -> &'a Program {
        self.program
    }

    /// Shape of a value's sample.
    pub(super) fn shape(&self, value: ValueId) -> &'a Shape {
        &self.program.shapes[value]
    }

    /// The tensor that holds a value in this layout, transposed if need be.
    pub(super) fn read(&mut self, value: ValueId, layout: Layout) -> String {
        let layout = self.settled(value, layout);
        if let Some(tensor) = self.held.get(&(value, layout)) {
            return tensor.clone();
        }
        let rank = self.shape(value).len();
        let (other, axes, suffix): (_, Vec<usize>, _) = match layout {
            Layout::ChannelsFirst => (Layout::ChannelsLast, [0, rank].into_iter().chain(1..rank).collect(), "NCHW"),
            Layout::ChannelsLast => {
                (Layout::ChannelsFirst, std::iter::once(0).chain(2..=rank).chain([1]).collect(), "NHWC")
            }
        };
        let source = self.held[&(value, other)].clone();
        let name = self.unique(&format!("{source}/{suffix}"));
        let made = self.named_node(name, "Transpose", &[&source], vec![AttributeProto::ints("perm", &axes)]);
        self.hold(value, (made.clone(), layout));
        made
    }

    /// The layout in which these values can be had with the fewest transpositions.
    pub(super) fn layout(&self, values: &[ValueId]) -> Layout {
        let first = |&value: &ValueId| self.held.contains_key(&(value, Layout::ChannelsFirst));
        if values.iter().any(first) { Layout::ChannelsFirst } else { Layout::ChannelsLast }
    }

    /// Says which tensor holds a value.
    pub(super) fn hold(&mut self, value: ValueId, (tensor, layout): Made) {
        self.held.insert((value, self.settled(value, layout)), tensor);
    }

    /// A row of features is the same in both layouts.
    fn settled(&self, value: ValueId, layout: Layout) -> Layout {
        if self.shape(value).len() < 2 { Layout::ChannelsLast } else { layout }
    }

    /// A node named after the layer and its operator; returns the tensor it makes.
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

    /// Gives the tensor made last the layer's own name: it is the layer's output. Where the layer made none, its
    /// output is its input.
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
        name
    }

    /// The initializer of a weight, its axes in another order and seen as `dims`; a cast of it where it is stored as
    /// f16.
    pub(super) fn weight(&mut self, weight: &Weight, axes: &[usize], dims: Vec<usize>) -> String {
        if let Some(name) = self.weights.get(&weight.id()) {
            return name.clone();
        }
        let precision = self.precision.of(weight.shape());
        let mut name = self.unique(&weight.path());
        self.constants.push(Constant::weight(name.clone(), weight, axes, dims, precision));
        if precision == Precision::F16 {
            let cast = self.unique(&format!("{name}/Cast"));
            name = self.named_node(cast, "Cast", &[&name], vec![AttributeProto::int("to", FLOAT.into())]);
        }
        self.weights.insert(weight.id(), name.clone());
        name
    }

    /// Constants of the layer.
    pub(super) fn floats(&mut self, name: &str, dims: Vec<usize>, values: Vec<f32>) -> String {
        let name = self.unique(&format!("{}/{name}", self.layer));
        self.constants.push(Constant::floats(name.clone(), dims, values));
        name
    }

    /// A single number, for every value alike.
    pub(super) fn scalar(&mut self, value: f32) -> String {
        if let Some(name) = self.scalars.get(&value.to_bits()) {
            return name.clone();
        }
        let name = self.unique(&value.to_string());
        self.constants.push(Constant::floats(name.clone(), Vec::new(), vec![value]));
        self.scalars.insert(value.to_bits(), name.clone());
        name
    }

    /// Sizes.
    pub(super) fn sizes(&mut self, name: &str, values: impl IntoIterator<Item = usize>) -> String {
        self.ints(name, values.into_iter().map(|value| value as i64).collect())
    }

    /// Positions and steps, which may point backwards.
    pub(super) fn ints(&mut self, name: &str, values: Vec<i64>) -> String {
        let name = self.unique(&format!("{}/{name}", self.layer));
        self.constants.push(Constant::ints(name.clone(), values));
        name
    }

    /// The program's outputs, each a tensor of its own that is no input.
    fn outputs(&mut self) -> Vec<ValueInfoProto> {
        let program = self.program;
        let mut taken: HashSet<String> =
            program.inputs.iter().map(|&input| self.held[&(input, Layout::ChannelsLast)].clone()).collect();
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

    /// The graph, called `name`, and its constants.
    pub(super) fn finish(mut self, name: &str, input: Vec<ValueInfoProto>) -> (GraphProto, Vec<Constant>) {
        let output = self.outputs();
        (GraphProto { node: self.nodes, name: name.into(), input, output }, self.constants)
    }

    fn unique(&mut self, name: &str) -> String {
        let candidates = std::iter::once(name.to_owned()).chain((1..).map(|n| format!("{name}_{n}")));
        let free = candidates.into_iter().find(|candidate| !self.names.contains(candidate));
        let free = free.unwrap_or_else(|| name.to_owned());
        self.names.insert(free.clone());
        free
    }
}
