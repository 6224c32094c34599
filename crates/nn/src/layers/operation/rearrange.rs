//! Operations that move values: concatenate, stack, reshape, transpose, flip, repeat, tile, roll, take, pad.

use engraft_ir::Op;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::super::Concatenate;
use super::super::axis_option::sample_axis;
use super::super::expression::{Composed, Expression, Operand, only};
use super::arithmetic::NoOptions;
use super::axes::{Axes, Counts, without_batch};
use super::constant::Constant;
use super::{is_tensor, list_of_tensors, one_tensor, options, received};
use crate::Shape;
use crate::layer_def::LayerDef;
use crate::{Error, Result};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OneAxis {
    axis: i64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SomeAxes {
    axis: Option<Axes>,
}

/// An operation on one tensor that `compute` composes.
pub(super) fn of_tensor(
    arguments: &[Value],
    compute: impl Fn(&mut Expression, Operand) -> Result<Operand> + Send + Sync + 'static,
) -> Result<Box<dyn LayerDef>> {
    one_tensor(arguments)?;
    Ok(Box::new(Composed(move |e: &mut Expression, x: &[Operand]| compute(e, only(x)?))))
}

pub(super) fn concatenate(config: &Map<String, Value>, arguments: &[Value]) -> Result<Box<dyn LayerDef>> {
    list_of_tensors(arguments)?;
    let OneAxis { axis } = options(config)?;
    Ok(Box::new(Concatenate::new().axis(axis)))
}

/// `append(x1, x2, axis)`: a concatenation of two tensors.
pub(super) fn append(config: &Map<String, Value>, arguments: &[Value]) -> Result<Box<dyn LayerDef>> {
    match arguments {
        [a, b] if is_tensor(a) && is_tensor(b) => concatenate(config, &[Value::from(arguments)]),
        _ => Err(Error::new("arguments", "two tensors", received(arguments))),
    }
}

/// `hstack(xs)`: a concatenation along the axis after the batch.
pub(super) fn hstack(config: &Map<String, Value>, arguments: &[Value]) -> Result<Box<dyn LayerDef>> {
    options::<NoOptions>(config)?;
    list_of_tensors(arguments)?;
    Ok(Box::new(Concatenate::new().axis(1)))
}

/// Joins inputs of the same shape along a new axis.
pub(super) fn stack(config: &Map<String, Value>, arguments: &[Value]) -> Result<Box<dyn LayerDef>> {
    list_of_tensors(arguments)?;
    let OneAxis { axis } = options(config)?;
    Ok(Box::new(Composed(move |e: &mut Expression, x: &[Operand]| {
        let first = *x.first().ok_or_else(|| Error::new("inputs", "at least one", "none"))?;
        let first = e.shape(first).clone();
        if let Some(other) = x.iter().map(|&x| e.shape(x)).find(|shape| **shape != first) {
            return Err(Error::new("inputs", "one or more of the same shape", format_args!("{first:?} and {other:?}")));
        }
        let axis = sample_axis(axis, first.len() + 1)?;
        let mut shape = first;
        shape.insert(axis, 1);
        let parts = x.iter().map(|&x| e.reshape_to(x, shape.clone())).collect::<Result<Vec<_>>>()?;
        shape[axis] = parts.len();
        e.push(Op::Concatenate { axis }, &parts, shape)
    })))
}

pub(super) fn expand_dims(config: &Map<String, Value>, arguments: &[Value]) -> Result<Box<dyn LayerDef>> {
    let axes = without_batch(options::<SomeAxes>(config)?.axis)?;
    of_tensor(arguments, move |e, x| {
        let sizes = e.shape(x).clone();
        let rank = sizes.len() + axes.list().len();
        let new = axes.of_sample(rank)?;
        let mut sizes = sizes.into_iter();
        let shape: Shape =
            (0..rank).filter_map(|axis| if new.contains(&axis) { Some(1) } else { sizes.next() }).collect();
        e.reshape_to(x, shape)
    })
}

pub(super) fn squeeze(config: &Map<String, Value>, arguments: &[Value]) -> Result<Box<dyn LayerDef>> {
    let SomeAxes { axis: axes } = options(config)?;
    of_tensor(arguments, move |e, x| {
        let shape = e.shape(x).clone();
        let removed: Vec<usize> = match &axes {
            Some(axes) => axes.of_sample(shape.len())?,
            None => (0..shape.len()).filter(|&axis| shape[axis] == 1).collect(),
        };
        if let Some(&axis) = removed.iter().find(|&&axis| shape[axis] != 1) {
            return Err(Error::new("axis", "one of size 1", format_args!("{} of size {}", axis + 1, shape[axis])));
        }
        let kept = (0..shape.len()).filter(|axis| !removed.contains(axis)).map(|axis| shape[axis]).collect();
        e.reshape_to(x, kept)
    })
}

pub(super) fn reshape(config: &Map<String, Value>, arguments: &[Value]) -> Result<Box<dyn LayerDef>> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Options {
        newshape: Vec<Option<i64>>,
    }
    let Options { newshape } = options(config)?;
    let wrong =
        || Error::new("newshape", "-1 or null for the batch, then a size for every axis", format_args!("{newshape:?}"));
    // The batch size is unknown: Keras has -1 or null for it.
    let (batch, sample) = newshape.split_first().ok_or_else(wrong)?;
    let sample = sample.iter().copied().collect::<Option<Vec<i64>>>().ok_or_else(wrong)?;
    // Two sizes of -1 are ambiguous.
    if !(batch.is_none() || *batch == Some(-1) && !sample.contains(&-1)) {
        return Err(wrong());
    }
    of_tensor(arguments, move |e, x| e.reshape(x, &sample))
}

pub(super) fn transpose(config: &Map<String, Value>, arguments: &[Value]) -> Result<Box<dyn LayerDef>> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Options {
        axes: Option<Vec<i64>>,
    }
    let Options { axes } = options(config)?;
    of_tensor(arguments, move |e, x| {
        let rank = e.shape(x).len();
        let wrong = || {
            let received = axes.as_ref().map_or("null".into(), |axes| format!("{axes:?}"));
            Error::new("axes", "0, the batch, first, then each axis once", received)
        };
        let Some((0, sample)) = axes.as_deref().and_then(<[i64]>::split_first) else { return Err(wrong()) };
        let order = Axes::Several(sample.to_vec()).of_sample(rank).map_err(|_| wrong())?;
        if order.len() == rank { e.permute(x, order) } else { Err(wrong()) }
    })
}

pub(super) fn moveaxis(config: &Map<String, Value>, arguments: &[Value]) -> Result<Box<dyn LayerDef>> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Options {
        source: Axes,
        destination: Axes,
    }
    let Options { source, destination } = options(config)?;
    of_tensor(arguments, move |e, x| {
        let rank = e.shape(x).len();
        let (from, to) = (source.of_sample(rank)?, destination.of_sample(rank)?);
        if from.len() != to.len() {
            return Err(Error::new("destination", format_args!("{} axes", from.len()), to.len()));
        }
        let mut others = (0..rank).filter(|axis| !from.contains(axis));
        let order = (0..rank).filter_map(|place| match to.iter().position(|&to| to == place) {
            Some(moved) => Some(from[moved]),
            None => others.next(),
        });
        let order = order.collect();
        e.permute(x, order)
    })
}

pub(super) fn swapaxes(config: &Map<String, Value>, arguments: &[Value]) -> Result<Box<dyn LayerDef>> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Options {
        axis1: i64,
        axis2: i64,
    }
    let Options { axis1, axis2 } = options(config)?;
    of_tensor(arguments, move |e, x| {
        let rank = e.shape(x).len();
        let mut order: Vec<usize> = (0..rank).collect();
        order.swap(sample_axis(axis1, rank)?, sample_axis(axis2, rank)?);
        e.permute(x, order)
    })
}

pub(super) fn flip(config: &Map<String, Value>, arguments: &[Value]) -> Result<Box<dyn LayerDef>> {
    let axes = without_batch(options::<SomeAxes>(config)?.axis)?;
    of_tensor(arguments, move |e, x| {
        let shape = e.shape(x).clone();
        let flipped = axes.of_sample(shape.len())?;
        if flipped == [shape.len() - 1] {
            return e.push(Op::ReverseChannels, &[x], shape);
        }
        let range = |axis: usize| match flipped.contains(&axis) {
            true => (shape[axis] - 1, -1, shape[axis]),
            false => (0, 1, shape[axis]),
        };
        let ranges: Vec<(usize, isize, usize)> = (0..shape.len()).map(range).collect();
        e.slice(x, &ranges)
    })
}

pub(super) fn roll(config: &Map<String, Value>, arguments: &[Value]) -> Result<Box<dyn LayerDef>> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Options {
        shift: Counts,
        axis: Option<Axes>,
    }
    let Options { shift, axis } = options(config)?;
    let axes = without_batch(axis)?;
    of_tensor(arguments, move |e, x| {
        let rolled = axes.of_sample(e.shape(x).len())?;
        if shift.list().len() != rolled.len() && shift.list().len() != 1 {
            return Err(Error::new("shift", format_args!("{} numbers", rolled.len()), shift.list().len()));
        }
        let shifts = shift.list().iter().cycle();
        rolled.iter().zip(shifts).try_fold(x, |x, (&axis, &shift)| {
            let size = e.shape(x)[axis];
            let first = (-i128::from(shift)).rem_euclid(size.max(1) as i128) as usize;
            e.gather(x, axis, size, move |place| (place + first) % size)
        })
    })
}

/// `repeat(x, repeats, axis)`: each slice several times, one after the other.
pub(super) fn repeat(config: &Map<String, Value>, arguments: &[Value]) -> Result<Box<dyn LayerDef>> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Options {
        repeats: Counts,
        axis: Option<i64>,
    }
    let Options { repeats, axis } = options(config)?;
    let axes = without_batch(axis.map(Axes::One))?;
    of_tensor(arguments, move |e, x| {
        let axis = axes.of_sample(e.shape(x).len())?[0];
        let size = e.shape(x)[axis];
        let wrong =
            || Error::new("repeats", format_args!("one positive number or {size} of them"), format!("{repeats:?}"));
        let counts: Vec<usize> = repeats
            .list()
            .iter()
            .map(|&count| usize::try_from(count))
            .collect::<std::result::Result<_, _>>()
            .map_err(|_| wrong())?;
        match counts.as_slice() {
            &[count] => {
                let total = size.checked_mul(count).filter(|&total| total > 0).ok_or_else(wrong)?;
                e.gather(x, axis, total, |place| place / count)
            }
            counts if counts.len() == size => {
                let ends = counts.iter().scan(0usize, |end, count| {
                    *end = end.checked_add(*count)?;
                    Some(*end)
                });
                let ends: Vec<usize> = ends.collect();
                if ends.len() != size {
                    return Err(wrong());
                }
                e.gather(x, axis, ends.last().copied().unwrap_or(0), |place| ends.partition_point(|&end| end <= place))
            }
            _ => Err(wrong()),
        }
    })
}

/// `tile(x, repeats)`: the whole tensor several times along each axis.
pub(super) fn tile(config: &Map<String, Value>, arguments: &[Value]) -> Result<Box<dyn LayerDef>> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Options {
        repeats: Counts,
    }
    let Options { repeats } = options(config)?;
    of_tensor(arguments, move |e, x| {
        let rank = e.shape(x).len() + 1;
        let wrong = || {
            let expected = format!("at most {rank} positive numbers, 1 for the batch");
            Error::new("repeats", expected, format!("{repeats:?}"))
        };
        let missing = rank.checked_sub(repeats.list().len()).ok_or_else(wrong)?;
        let counts: Vec<i64> = std::iter::repeat_n(1, missing).chain(repeats.list().iter().copied()).collect();
        if counts[0] != 1 {
            return Err(wrong());
        }
        counts[1..].iter().enumerate().filter(|(_, count)| **count != 1).try_fold(x, |x, (axis, &count)| {
            let size = e.shape(x)[axis];
            let total = usize::try_from(count).ok().and_then(|count| size.checked_mul(count));
            e.gather(x, axis, total.filter(|&total| total > 0).ok_or_else(wrong)?, |place| place % size)
        })
    })
}

/// `broadcast_to(x, shape)`, with null for the batch.
pub(super) fn broadcast_to(config: &Map<String, Value>, arguments: &[Value]) -> Result<Box<dyn LayerDef>> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Options {
        shape: Vec<Option<usize>>,
    }
    let Options { shape } = options(config)?;
    of_tensor(arguments, move |e, x| {
        let own = e.shape(x).clone();
        let fits = |sample: &Shape| {
            sample.len() == own.len() && own.iter().zip(sample).all(|(own, size)| own == size || *own == 1)
        };
        let sample = match shape.split_first() {
            Some((None, sample)) => sample.iter().copied().collect::<Option<Shape>>().filter(fits),
            _ => None,
        };
        let Some(sample) = sample else {
            let expected = format!("null for the batch, then sizes that {own:?} broadcasts to");
            return Err(Error::new("shape", expected, format_args!("{shape:?}")));
        };
        let repeated = (0..own.len()).filter(|&axis| own[axis] != sample[axis]);
        repeated.collect::<Vec<_>>().into_iter().try_fold(x, |x, axis| e.gather(x, axis, sample[axis], |_| 0))
    })
}

/// `take(x, indices, axis)`: slices at constant indices. A single index removes the axis.
pub(super) fn take(config: &Map<String, Value>, arguments: &[Value]) -> Result<Box<dyn LayerDef>> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Options {
        axis: Option<i64>,
    }
    let Options { axis } = options(config)?;
    let axes = without_batch(axis.map(Axes::One))?;
    let (tensor, indices) = match arguments {
        [tensor, indices] if is_tensor(tensor) && !is_tensor(indices) => (tensor, Constant::read(indices)?),
        _ => return Err(Error::new("arguments", "a tensor and constant indices", received(arguments))),
    };
    of_tensor(std::slice::from_ref(tensor), move |e, x| {
        let axis = axes.of_sample(e.shape(x).len())?[0];
        let size = e.shape(x)[axis];
        let place = |index: &f32| {
            let place = if *index < 0.0 { index + size as f32 } else { *index };
            let inside = place >= 0.0 && place < size as f32 && place.fract() == 0.0;
            inside.then_some(place as usize).ok_or_else(|| {
                Error::new("indices", format_args!("-{size} to {} along an axis of {size}", size - 1), index)
            })
        };
        let places = indices.values.iter().map(place).collect::<Result<Vec<usize>>>()?;
        let taken = e.gather(x, axis, places.len(), |i| places[i])?;
        let mut shape = e.shape(taken).clone();
        shape.splice(axis..=axis, indices.shape.iter().copied());
        e.reshape_to(taken, shape)
    })
}

/// How padding continues a tensor.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum PadMode {
    Constant,
    /// The values mirrored about the edge, which is not repeated: `c b | a b c | b a`.
    Reflect,
    /// The values mirrored about the edge, which is repeated: `b a | a b c | c b`.
    Symmetric,
}

pub(super) fn pad(config: &Map<String, Value>, arguments: &[Value]) -> Result<Box<dyn LayerDef>> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Options {
        pad_width: Value,
        mode: PadMode,
        #[serde(default)]
        constant_values: Option<f32>,
    }
    let Options { pad_width, mode, constant_values } = options(config)?;
    let value = match (mode, constant_values) {
        (PadMode::Constant, value) => value.unwrap_or(0.0),
        (_, None) => 0.0,
        (_, Some(value)) => return Err(Error::new("constant_values", "none unless the mode is `constant`", value)),
    };
    of_tensor(arguments, move |e, x| {
        let shape = e.shape(x).clone();
        let by = pad_widths(&pad_width, shape.len())?;
        match mode {
            PadMode::Constant => padded(e, x, by, value),
            PadMode::Reflect => mirrored(e, x, &by, 1),
            PadMode::Symmetric => mirrored(e, x, &by, 0),
        }
    })
}

/// The padding `[before, after]` of each axis of a sample.
fn pad_widths(widths: &Value, rank: usize) -> Result<Vec<[usize; 2]>> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Form {
        All(usize),
        OnePair([usize; 2]),
        Pairs(Vec<[usize; 2]>),
    }
    let wrong = || {
        let expected = format!("[before, after] for each of {} axes, [0, 0] for the batch", rank + 1);
        Error::new("pad_width", expected, widths)
    };
    let pairs = match serde_json::from_value(widths.clone()).map_err(|_| wrong())? {
        Form::All(width) => vec![[width; 2]; rank + 1],
        Form::OnePair(pair) => vec![pair; rank + 1],
        Form::Pairs(pairs) if pairs.len() == 1 => vec![pairs[0]; rank + 1],
        Form::Pairs(pairs) => pairs,
    };
    match pairs.as_slice() {
        [[0, 0], sample @ ..] if sample.len() == rank => Ok(sample.to_vec()),
        _ => Err(wrong()),
    }
}

/// Pads with a constant.
pub(super) fn padded(e: &mut Expression, x: Operand, pad: Vec<[usize; 2]>, value: f32) -> Result<Operand> {
    let sizes = e.shape(x).iter().zip(&pad);
    let shape = sizes.map(|(size, [before, after])| size.checked_add(*before)?.checked_add(*after));
    let shape = shape.collect::<Option<Shape>>();
    let shape = shape.ok_or_else(|| Error::new("padding", "sizes that don't overflow", format_args!("{pad:?}")))?;
    match pad.as_slice() {
        [rows, columns, [0, 0]] if value == 0.0 => e.push(Op::Pad2d { pad: [*rows, *columns] }, &[x], shape),
        _ => e.push(Op::Pad { pad, value }, &[x], shape),
    }
}

/// Pads with mirror images. `skipped` is 1 if the values at the edges aren't repeated.
fn mirrored(e: &mut Expression, x: Operand, pad: &[[usize; 2]], skipped: usize) -> Result<Operand> {
    pad.iter().enumerate().filter(|(_, pad)| **pad != [0, 0]).try_fold(x, |x, (axis, &[before, after])| {
        let size = e.shape(x)[axis];
        let most = size - skipped;
        if before > most || after > most {
            return Err(Error::new(
                "pad_width",
                format_args!("at most {most} along an axis of {size}"),
                before.max(after),
            ));
        }
        e.gather(x, axis, before + size + after, |place| {
            if place < before {
                before - 1 - place + skipped
            } else if place < before + size {
                place - before
            } else {
                size - 1 - skipped - (place - before - size)
            }
        })
    })
}
