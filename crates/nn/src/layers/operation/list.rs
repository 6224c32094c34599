//! Operations that return a list of tensors: `keras.ops.split` and `keras.ops.unstack`; and nested models with several outputs.
//!
//! A layer here has one output. The operation itself passes its input on, a nested model its outputs as one vector, and a
//! [`ListOutput`] selects each tensor that is used.

use engraft_ir::{Op, ValueId};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::super::axis_option::sample_axis;
use super::super::options::single;
use super::get_item::{FULL_RANGE, GetItem, Index};
use super::{NUMPY, Operation, one_tensor, options};
use crate::Shape;
use crate::layer::Layer;
use crate::layer_def::LayerDef;
use crate::lowering::Lowering;
use crate::{DType, Error, Result, SymbolicTensor};

pub(super) fn split(config: &Map<String, Value>, arguments: &[Value]) -> Result<Box<dyn LayerDef>> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Options {
        indices_or_sections: Parts,
        axis: i64,
    }
    one_tensor(arguments)?;
    let Options { indices_or_sections: parts, axis } = options(config)?;
    Ok(Box::new(List { axis, parts }))
}

pub(super) fn unstack(config: &Map<String, Value>, arguments: &[Value]) -> Result<Box<dyn LayerDef>> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Options {
        #[serde(default, rename = "num")]
        _num: Option<usize>,
        axis: i64,
    }
    one_tensor(arguments)?;
    let Options { axis, .. } = options(config)?;
    Ok(Box::new(List { axis, parts: Parts::Single }))
}

/// An operation that divides a tensor along an axis.
#[derive(Clone, Debug)]
pub(super) struct List {
    /// In Keras' numbering: 0 is the batch.
    axis: i64,
    parts: Parts,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged, expecting = "a number of sections or a list of bounds")]
enum Parts {
    /// This number of sections of the same size.
    Equal(usize),
    /// The sections between these indices.
    Bounds(Vec<i64>),
    /// Single values, without the axis.
    #[serde(skip)]
    Single,
}

impl List {
    /// The shapes of all tensors of the list.
    pub(super) fn shapes(&self, input: &Shape) -> Result<Vec<Shape>> {
        let count = match &self.parts {
            Parts::Equal(count) => *count,
            Parts::Bounds(bounds) => bounds.len() + 1,
            Parts::Single => input[sample_axis(self.axis, input.len())?],
        };
        (0..count).map(|index| self.selection(input, index)?.output_shape(std::slice::from_ref(input))).collect()
    }

    /// The index into a tensor of this shape that selects tensor `index` of the list.
    fn selection(&self, input: &Shape, index: usize) -> Result<GetItem> {
        let axis = sample_axis(self.axis, input.len())?;
        let (start, stop) = match &self.parts {
            Parts::Single => return Ok(along(axis, Index::At(as_index(index)?))),
            Parts::Bounds(bounds) if index > bounds.len() => return Err(not_in_list(bounds.len() + 1, index)),
            Parts::Bounds(bounds) => (index.checked_sub(1).map(|before| bounds[before]), bounds.get(index).copied()),
            Parts::Equal(count) => {
                let size = input[axis];
                if *count == 0 || !size.is_multiple_of(*count) {
                    let expected = format!("a tensor whose size along axis {} is a multiple of {count}", self.axis);
                    return Err(Error::new("input", expected, format_args!("{input:?}")));
                }
                if index >= *count {
                    return Err(not_in_list(*count, index));
                }
                let length = size / count;
                (Some(as_index(index * length)?), Some(as_index((index + 1) * length)?))
            }
        };
        Ok(along(axis, Index::Slice { start, stop, step: None }))
    }
}

fn as_index(position: usize) -> Result<i64> {
    i64::try_from(position).map_err(|error| Error::from_source("index", error))
}

fn not_in_list(count: usize, index: usize) -> Error {
    Error::new("output", format_args!("one of {count}, from 0"), index)
}

/// The index that selects from one axis of a sample.
fn along(axis: usize, selection: Index) -> GetItem {
    let others = std::iter::repeat_n(FULL_RANGE, axis + 1);
    GetItem { index: others.chain([selection]).collect() }
}

impl LayerDef for List {
    fn class_name(&self) -> &'static str {
        "Split"
    }

    fn config(&self) -> Map<String, Value> {
        Map::new()
    }

    fn output_shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let input = single(inputs)?;
        self.selection(input, 0)?.output_shape(inputs)?;
        Ok(input.clone())
    }

    fn lower(&self, _: &mut Lowering<'_>, inputs: &[ValueId]) -> Result<ValueId> {
        Ok(inputs[0])
    }
}

/// One tensor of the list that an operation such as `keras.ops.split` returns, or one output of a nested model. It is called on
/// the operation's or the model's result.
///
/// It isn't an operation of its own in Keras, so summaries and files don't show it.
///
/// ```
/// use engraft_nn::{prelude::*, layers::{ListOutput, operation_from_config, tensor_argument}};
/// let config = serde_json::json!({"name": "split", "indices_or_sections": 2, "axis": -1});
/// let split = operation_from_config("Split", config.as_object().unwrap().clone(), vec![tensor_argument()])?;
/// let halves = split.call(&Input::new([5, 8]))?;
/// let second = ListOutput::of(&split, 1).expect("split returns a list").call(&halves)?;
/// assert_eq!(second.shape(), &[5, 4]);
/// assert_eq!((second.history().0.id(), second.history().1), (halves.id(), 1));
///
/// let x = Input::new([8, 8, 3]);
/// let features = Conv2D::new(4, 3).call(&x)?;
/// let scores = Dense::new(2).call(&GlobalAveragePooling2D::new().call(&features)?)?;
/// let model = Model::new(&x, [&features, &scores])?.layer().clone();
/// let outputs = model.call(&Input::new([8, 8, 3]))?;
/// assert_eq!(ListOutput::of(&model, 0).expect("two outputs").call(&outputs)?.shape(), &[6, 6, 4]);
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Debug)]
pub struct ListOutput {
    list: ListSource,
    index: usize,
}

/// What returns a list.
#[derive(Debug)]
enum ListSource {
    Operation(List),
    /// A nested model with several outputs.
    Model(Layer),
}

impl ListOutput {
    /// The layer that selects tensor `index`, from 0, of what `layer` returns; `None` if it doesn't return a list.
    pub fn of(layer: &Layer, index: usize) -> Option<Layer> {
        let list = match layer.def_as::<Operation>().and_then(Operation::list) {
            Some(list) => ListSource::Operation(list.clone()),
            None if layer.returns_list() => ListSource::Model(layer.clone()),
            None => return None,
        };
        Some(Layer::new(Self { list, index }, Some(format!("{}[{index}]", layer.name()))))
    }

    /// The nested model whose output this is; `None` for a tensor of an operation.
    pub(crate) fn model(&self) -> Option<&Layer> {
        match &self.list {
            ListSource::Model(model) => Some(model),
            ListSource::Operation(_) => None,
        }
    }

    /// The position in the list, from 0.
    pub(crate) fn index(&self) -> usize {
        self.index
    }

    /// The index that selects the tensor from the layer's result, and the shape of the tensor.
    fn selection(&self, result: &Shape) -> Result<(GetItem, Shape)> {
        match &self.list {
            ListSource::Operation(list) => {
                let selection = list.selection(result, self.index)?;
                let shape = selection.output_shape(std::slice::from_ref(result))?;
                Ok((selection, shape))
            }
            ListSource::Model(model) => {
                let shapes = model.output_shapes_of_result(result)?;
                let shape = shapes.get(self.index).ok_or_else(|| not_in_list(shapes.len(), self.index))?;
                let start = shapes[..self.index].iter().map(count).sum();
                let parts = Parts::Bounds(vec![as_index(start)?, as_index(start + count(shape))?]);
                Ok((List { axis: -1, parts }.selection(result, 1)?, shape.clone()))
            }
        }
    }
}

fn count(shape: &Shape) -> usize {
    shape.iter().product()
}

impl LayerDef for ListOutput {
    fn class_name(&self) -> &'static str {
        "GetItem"
    }

    fn module(&self) -> &'static str {
        NUMPY
    }

    fn config(&self) -> Map<String, Value> {
        Map::new()
    }

    fn output_shape(&self, inputs: &[Shape]) -> Result<Shape> {
        Ok(self.selection(single(inputs)?)?.1)
    }

    fn output_dtype(&self, inputs: &[DType]) -> Result<DType> {
        Ok(match self.model().and_then(|model| model.def().graph()) {
            Some(graph) => graph.outputs().get(self.index).map_or(DType::Float, SymbolicTensor::dtype),
            None => DType::common(inputs),
        })
    }

    fn lower(&self, to: &mut Lowering<'_>, inputs: &[ValueId]) -> Result<ValueId> {
        let (selection, shape) = self.selection(&to.shape(inputs[0]).clone())?;
        let value = selection.lower(to, inputs)?;
        Ok(if to.shape(value) == &shape { value } else { to.push(Op::Reshape, &[value], shape) })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::layers::{Input, operation_from_config, tensor_argument};

    /// The shapes of the list for a tensor of `[4, 6]`.
    fn shapes(class_name: &str, config: &Value) -> Result<Vec<Shape>> {
        let mut config = config.as_object().unwrap().clone();
        config.insert("name".into(), json!("f"));
        let operation = operation_from_config(class_name, config, vec![tensor_argument()])?;
        let list = operation.call(&Input::new([4, 6]))?;
        assert_eq!(list.shape(), &[4, 6]);
        let shapes = operation.def_as::<Operation>().unwrap().list_shapes(&vec![4, 6]).unwrap()?;
        for (index, shape) in shapes.iter().enumerate() {
            assert_eq!(ListOutput::of(&operation, index).unwrap().call(&list)?.shape(), shape);
        }
        assert!(ListOutput::of(&operation, shapes.len()).unwrap().call(&list).is_err());
        Ok(shapes)
    }

    #[test]
    fn sections_and_single_values() {
        let split = |sections, axis| shapes("Split", &json!({"indices_or_sections": sections, "axis": axis})).unwrap();
        assert_eq!(split(json!(3), -1), [[4, 2], [4, 2], [4, 2]]);
        assert_eq!(split(json!([1, 3]), 1), [[1, 6], [2, 6], [1, 6]]);
        assert_eq!(shapes("Unstack", &json!({"num": null, "axis": 1})).unwrap(), [[6]; 4]);
    }

    #[test]
    fn sections_that_do_not_fit_are_refused() {
        for (sections, expected) in [
            (json!(4), "a multiple of 4"),
            (json!(0), "a multiple of 0"),
            (json!([0]), "at least one of 6 values"),
            (json!("x"), "a number of sections or a list of bounds"),
        ] {
            let error = shapes("Split", &json!({"indices_or_sections": sections, "axis": 2})).unwrap_err().to_string();
            assert!(error.contains("`f` (Split)") && error.contains(expected), "{error}");
        }
        let error = shapes("Split", &json!({"indices_or_sections": 2, "axis": 0})).unwrap_err().to_string();
        assert!(error.contains("0 is the batch"), "{error}");
    }
}
