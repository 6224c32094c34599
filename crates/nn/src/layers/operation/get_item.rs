//! Indexing by Python's rules: `x[..., 0]`, `x[:, 1:5, ::-1]`.

use engraft_ir::{Op, ValueId};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::super::options::single;
use super::arithmetic::NoOptions;
use super::{is_tensor, options, received};
use crate::Shape;
use crate::layer_def::LayerDef;
use crate::lowering::Lowering;
use crate::{Error, Result};

pub(super) fn get_item(config: &Map<String, Value>, arguments: &[Value]) -> Result<Box<dyn LayerDef>> {
    options::<NoOptions>(config)?;
    match arguments {
        [tensor, key] if is_tensor(tensor) => Ok(Box::new(GetItem { index: Index::list(key)? })),
        _ => Err(Error::new("arguments", "a tensor and an index", received(arguments))),
    }
}

/// One element of an index: `x[0, 1:5, ..., None]` has four.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Index {
    /// An integer: selects one value and removes the axis.
    At(i64),
    /// A range.
    Slice { start: Option<i64>, stop: Option<i64>, step: Option<i64> },
    /// All axes that no other element of the index selects from.
    Ellipsis,
    /// A new axis of size 1.
    NewAxis,
}

impl Index {
    fn list(key: &Value) -> Result<Vec<Self>> {
        match key {
            Value::Array(list) => list.iter().map(Self::one).collect(),
            one => Ok(vec![Self::one(one)?]),
        }
    }

    fn one(value: &Value) -> Result<Self> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Range {
            start: Option<i64>,
            stop: Option<i64>,
            step: Option<i64>,
        }
        let wrong = || Error::new("index", "numbers, slices, `...` and `None`", value);
        match value {
            Value::Null => Ok(Self::NewAxis),
            Value::Number(number) => number.as_i64().map(Self::At).ok_or_else(wrong),
            object => match object.get("class_name").and_then(Value::as_str) {
                Some("__ellipsis__") => Ok(Self::Ellipsis),
                Some("__slice__") => {
                    let range = object.get("config").cloned().ok_or_else(wrong)?;
                    let Range { start, stop, step } = serde_json::from_value(range).map_err(|_| wrong())?;
                    Ok(Self::Slice { start, stop, step })
                }
                _ => Err(wrong()),
            },
        }
    }
}

pub(super) const FULL_RANGE: Index = Index::Slice { start: None, stop: None, step: None };

/// An index into a tensor; it must select the whole batch.
#[derive(Debug)]
pub(super) struct GetItem {
    pub(super) index: Vec<Index>,
}

/// An index, resolved for one shape: a strided slice and a reshape.
#[derive(Debug, Default, PartialEq)]
struct Selection {
    start: Vec<usize>,
    step: Vec<isize>,
    /// Shape of the slice, with all axes of the input.
    slice_shape: Shape,
    /// Shape of the result: without axes indexed by an integer, and with new axes.
    shape: Shape,
}

impl GetItem {
    fn resolve(&self, input: &Shape) -> Result<Selection> {
        let mut index = self.expanded(input.len() + 1)?.into_iter();
        if index.next() != Some(FULL_RANGE) {
            return Err(Error::new("index", "the whole batch (`:` or `...` first)", format_args!("{:?}", self.index)));
        }
        let (mut sizes, mut selection) = (input.iter(), Selection::default());
        for index in index {
            if index == Index::NewAxis {
                selection.shape.push(1);
                continue;
            }
            let Some(&size) = sizes.next() else { break };
            let (start, step, length) = resolve_axis(index, size)?;
            selection.start.push(start);
            selection.step.push(step);
            selection.slice_shape.push(length);
            if !matches!(index, Index::At(_)) {
                selection.shape.push(length);
            }
        }
        Ok(selection)
    }

    /// The index for a tensor of this rank, which counts the batch. Full ranges replace an ellipsis and stand for axes that the
    /// index leaves out. New axes keep their elements.
    fn expanded(&self, rank: usize) -> Result<Vec<Index>> {
        let axes = self.index.iter().filter(|index| !matches!(index, Index::Ellipsis | Index::NewAxis)).count();
        let ellipses = self.index.iter().filter(|&&index| index == Index::Ellipsis).count();
        if axes > rank || ellipses > 1 {
            let expected = format!("at most {rank} axes and one `...`");
            return Err(Error::new("index", expected, format_args!("{:?}", self.index)));
        }
        let mut expanded = Vec::new();
        for &index in &self.index {
            match index {
                Index::Ellipsis => expanded.extend(std::iter::repeat_n(FULL_RANGE, rank - axes)),
                other => expanded.push(other),
            }
        }
        if ellipses == 0 {
            expanded.extend(std::iter::repeat_n(FULL_RANGE, rank - axes));
        }
        Ok(expanded)
    }
}

/// Start, step and length of the range that an index selects along an axis, by Python's rules.
fn resolve_axis(index: Index, size: usize) -> Result<(usize, isize, usize)> {
    let length = size as i64;
    let (start, stop, step) = match index {
        Index::At(at) => {
            let start = if at < 0 { at.saturating_add(length) } else { at };
            return usize::try_from(start).ok().filter(|&start| start < size).map(|start| (start, 1, 1)).ok_or_else(
                || Error::new("index", format_args!("-{size} to {} along an axis of {size}", size - 1), at),
            );
        }
        Index::Slice { start, stop, step } => (start, stop, step.unwrap_or(1)),
        Index::Ellipsis | Index::NewAxis => unreachable!("`resolve` handles ellipses and new axes"),
    };
    let (least, most) = if step < 0 { (-1, length - 1) } else { (0, length) };
    let clipped = |bound: i64| if bound < 0 { bound.saturating_add(length) } else { bound }.clamp(least, most);
    let start = start.map_or(if step < 0 { most } else { least }, clipped);
    let stop = stop.map_or(if step < 0 { least } else { most }, clipped);
    let distance = if step < 0 { start - stop } else { stop - start };
    let count = if step == 0 { 0 } else { distance.max(0).unsigned_abs().div_ceil(step.unsigned_abs()) };
    match (usize::try_from(start), isize::try_from(step), usize::try_from(count)) {
        (Ok(start), Ok(step), Ok(count @ 1..)) => Ok((start, step, count)),
        _ => Err(Error::new(
            "index",
            format_args!("a range of at least one of {size} values"),
            format_args!("{index:?}"),
        )),
    }
}

impl LayerDef for GetItem {
    fn class_name(&self) -> &'static str {
        "GetItem"
    }

    fn config(&self) -> Map<String, Value> {
        Map::new()
    }

    fn output_shape(&self, inputs: &[Shape]) -> Result<Shape> {
        Ok(self.resolve(single(inputs)?)?.shape)
    }

    fn lower(&self, to: &mut Lowering<'_>, inputs: &[ValueId]) -> Result<ValueId> {
        let Selection { start, step, slice_shape, shape } = self.resolve(to.shape(inputs[0]))?;
        let slice = to.push(Op::Slice { start, step }, inputs, slice_shape);
        Ok(to.push(Op::Reshape, &[slice], shape))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn slice(start: Option<i64>, stop: Option<i64>, step: Option<i64>) -> Value {
        json!({"class_name": "__slice__", "config": {"start": start, "stop": stop, "step": step}})
    }

    fn ellipsis() -> Value {
        json!({"class_name": "__ellipsis__", "config": {}})
    }

    fn resolve(key: &Value) -> Result<Selection> {
        GetItem { index: Index::list(key)? }.resolve(&vec![5, 7, 3])
    }

    #[test]
    fn indices_are_those_of_python() {
        for (key, start, step, slice_shape, shape) in [
            (json!([ellipsis(), 2]), [0, 0, 2], [1, 1, 1], [5, 7, 1], vec![5, 7]),
            (json!([ellipsis(), slice(None, None, Some(-1))]), [0, 0, 2], [1, 1, -1], [5, 7, 3], vec![5, 7, 3]),
            (json!([slice(None, None, None), -1]), [4, 0, 0], [1, 1, 1], [1, 7, 3], vec![7, 3]),
            (
                json!([slice(None, None, None), slice(Some(1), Some(-1), Some(2)), slice(Some(9), None, Some(-3))]),
                [1, 6, 0],
                [2, -3, 1],
                [2, 3, 3],
                vec![2, 3, 3],
            ),
            (json!([ellipsis(), null]), [0, 0, 0], [1, 1, 1], [5, 7, 3], vec![5, 7, 3, 1]),
            (json!([slice(None, None, None), null, 0]), [0, 0, 0], [1, 1, 1], [1, 7, 3], vec![1, 7, 3]),
        ] {
            let expected = Selection { start: start.into(), step: step.into(), slice_shape: slice_shape.into(), shape };
            assert_eq!(resolve(&key).unwrap(), expected, "{key}");
        }
    }

    #[test]
    fn indices_that_take_nothing_or_part_of_the_batch_are_refused() {
        let whole = slice(None, None, None);
        for (key, expected) in [
            (json!(0), "the whole batch"),
            (slice(Some(1), None, None), "the whole batch"),
            (json!([ellipsis(), 3]), "-3 to 2 along an axis of 3"),
            (json!([whole, slice(Some(3), Some(2), None)]), "at least one of 5 values"),
            (json!([whole, slice(None, None, Some(0))]), "at least one of 5 values"),
            (json!([whole, slice(None, None, Some(i64::MIN))]), "expected"),
            (json!([ellipsis(), ellipsis()]), "one `...`"),
            (json!([whole, whole, whole, whole, whole]), "at most 4 axes"),
            (json!([ellipsis(), "red"]), "numbers, slices"),
        ] {
            let result = resolve(&key);
            // The most negative step is valid: it selects only the last value.
            if key == json!([whole, slice(None, None, Some(i64::MIN))]) {
                assert_eq!(result.unwrap().slice_shape, [1, 7, 3]);
                continue;
            }
            let error = result.unwrap_err().to_string();
            assert!(error.contains(expected), "{key}: {error}");
        }
    }
}
