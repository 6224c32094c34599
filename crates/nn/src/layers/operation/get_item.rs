//! Indexing: `x[..., 0]`, `x[:, 1:5, ::-1]`.

use engraft_ir::{Op, ValueId};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::super::options::single;
use super::arithmetic::NoOptions;
use super::{is_tensor, options};
use crate::Shape;
use crate::layer::LayerDef;
use crate::lowering::Lowering;
use crate::{Error, Result};

pub(super) fn get_item(config: &Map<String, Value>, arguments: &[Value]) -> Result<Box<dyn LayerDef>> {
    options::<NoOptions>(config)?;
    match arguments {
        [tensor, key] if is_tensor(tensor) => Ok(Box::new(GetItem { index: Index::list(key)? })),
        _ => Err(Error::new("arguments", "a tensor and an index", Value::from(arguments))),
    }
}

/// What an index says of one axis.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Index {
    /// One place; the axis goes.
    At(i64),
    /// A range.
    Slice { start: Option<i64>, stop: Option<i64>, step: Option<i64> },
    /// As many whole axes as are left.
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

const WHOLE: Index = Index::Slice { start: None, stop: None, step: None };

/// An index into samples; the batch is left whole.
#[derive(Debug)]
struct GetItem {
    index: Vec<Index>,
}

/// An index, resolved for one shape.
#[derive(Debug, Default, PartialEq)]
struct Selection {
    start: Vec<usize>,
    step: Vec<isize>,
    /// How many values of each axis.
    taken: Shape,
    /// The same without the axes that go, and with the new ones.
    shape: Shape,
}

impl GetItem {
    fn resolve(&self, input: &Shape) -> Result<Selection> {
        let mut index = self.expanded(input.len() + 1)?.into_iter();
        if index.next() != Some(WHOLE) {
            return Err(Error::new("index", "the whole batch (`:` or `...` first)", format_args!("{:?}", self.index)));
        }
        let (mut sizes, mut selection) = (input.iter(), Selection::default());
        for index in index {
            if index == Index::NewAxis {
                selection.shape.push(1);
                continue;
            }
            let Some(&size) = sizes.next() else { break };
            let (start, step, length) = along(index, size)?;
            selection.start.push(start);
            selection.step.push(step);
            selection.taken.push(length);
            if !matches!(index, Index::At(_)) {
                selection.shape.push(length);
            }
        }
        Ok(selection)
    }

    /// The index with every axis of a tensor of this rank said, the batch's included.
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
                Index::Ellipsis => expanded.extend(std::iter::repeat_n(WHOLE, rank - axes)),
                other => expanded.push(other),
            }
        }
        if ellipses == 0 {
            expanded.extend(std::iter::repeat_n(WHOLE, rank - axes));
        }
        Ok(expanded)
    }
}

/// Start, step and length of what is taken along an axis, by Python's rules.
fn along(index: Index, size: usize) -> Result<(usize, isize, usize)> {
    let length = size as i64;
    let (start, stop, step) = match index {
        Index::At(at) => {
            let place = if at < 0 { at.saturating_add(length) } else { at };
            return usize::try_from(place).ok().filter(|&place| place < size).map(|place| (place, 1, 1)).ok_or_else(
                || Error::new("index", format_args!("-{size} to {} along an axis of {size}", size - 1), at),
            );
        }
        Index::Slice { start, stop, step } => (start, stop, step.unwrap_or(1)),
        Index::Ellipsis | Index::NewAxis => unreachable!("expanded before"),
    };
    let (least, most) = if step < 0 { (-1, length - 1) } else { (0, length) };
    let clipped = |place: i64| if place < 0 { place.saturating_add(length) } else { place }.clamp(least, most);
    let start = start.map_or(if step < 0 { most } else { least }, clipped);
    let stop = stop.map_or(if step < 0 { least } else { most }, clipped);
    let distance = if step < 0 { start - stop } else { stop - start };
    let taken = if step == 0 { 0 } else { distance.max(0).unsigned_abs().div_ceil(step.unsigned_abs()) };
    match (usize::try_from(start), isize::try_from(step), usize::try_from(taken)) {
        (Ok(start), Ok(step), Ok(taken @ 1..)) => Ok((start, step, taken)),
        _ => Err(Error::new("index", format_args!("at least one of {size} values"), format_args!("{index:?}"))),
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
        let Selection { start, step, taken, shape } = self.resolve(to.shape(inputs[0]))?;
        let part = to.push(Op::Slice { start, step }, inputs, taken);
        Ok(to.push(Op::Reshape, &[part], shape))
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
        for (key, start, step, taken, shape) in [
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
            let expected = Selection { start: start.into(), step: step.into(), taken: taken.into(), shape };
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
            // The smallest step there is takes the last value alone.
            if key == json!([whole, slice(None, None, Some(i64::MIN))]) {
                assert_eq!(result.unwrap().taken, [1, 7, 3]);
                continue;
            }
            let error = result.unwrap_err().to_string();
            assert!(error.contains(expected), "{key}: {error}");
        }
    }
}
