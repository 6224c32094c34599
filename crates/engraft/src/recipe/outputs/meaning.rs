//! [`End`]: what the last operations of a model make of its outputs, by a data-flow analysis of its program.
//!
//! The analysis goes through the steps once, in their order, and says of each value only what is certain: probabilities that are
//! averaged, clipped or reshaped stay probabilities, and logits that are scaled and shifted stay logits. All else is
//! [`Meaning::Other`], whose numbers could be anything.

use crate::ir::{Activation, Binary, Op, PoolKind, Reduction, Shape, Unary, ValueId};
use crate::{Program, Step};

/// How far a sum of probabilities may be from 1, and the ends of a range from 0 and 1: weights of an ensemble are rounded to two
/// decimals, and a limit that keeps a logarithm finite is far smaller.
const TOLERANCE: f32 = 0.02;

/// How a model ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Probabilities whose sum is 1.
    Softmax,
    /// Logarithms of such probabilities.
    LogSoftmax,
    /// A probability for each output on its own.
    Sigmoid,
    /// A linear function of the output of a `Dense` layer or a convolution without activation.
    Linear,
    /// Numbers that are neither probabilities nor logits, such as those of a `Dense` layer with another activation.
    Activated,
    /// Nothing is certain.
    Other,
}

impl End {
    /// The end of a program with one output.
    pub(super) fn of(program: &Program) -> Self {
        let &[output] = &program.outputs[..] else { return Self::Other };
        let values = program.shapes.len();
        let mut uses = vec![0; values];
        program.steps.iter().flat_map(|step| &step.inputs).for_each(|&input| uses[input] += 1);
        let (meanings, producers) = (vec![Meaning::Other; values], vec![None; values]);
        let mut analysis = Analysis { program, meanings, producers, uses };
        for step in &program.steps {
            analysis.meanings[step.output] = analysis.of_step(step);
            analysis.producers[step.output] = Some(step);
        }
        analysis.end(output)
    }
}

/// Whether an output of this shape is a vector: all of its numbers are along one axis, as in `[n]` and `[1, 1, n]`.
pub(in crate::recipe) fn is_vector(shape: &[usize]) -> bool {
    shape.iter().filter(|&&size| size != 1).count() <= 1
}

/// What a value is, as far as the steps before it tell.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Meaning {
    /// The same for each photo, all numbers between these.
    Constant {
        low: f32,
        high: f32,
    },
    /// Non-negative numbers whose sum along `axis` is `total`. After a softmax, `total` is 1.
    Shares {
        axis: usize,
        total: f32,
    },
    /// Logarithms of shares of the total 1.
    LogShares {
        axis: usize,
    },
    /// Each number by itself is between these: 0 and 1 after a sigmoid.
    Each {
        axis: usize,
        low: f32,
        high: f32,
    },
    /// A linear function of what a `Dense` layer gives, or a convolution that does the same. `plain` is false where an activation that
    /// follows would make features of it, as inside a network: after a convolution.
    Linear {
        axis: usize,
        plain: bool,
    },
    /// A `Dense` layer with another activation than a softmax or sigmoid.
    Activated {
        axis: usize,
    },
    Other,
}

impl Meaning {
    /// The axis of the classes.
    fn axis(self) -> Option<usize> {
        match self {
            Self::Shares { axis, .. } | Self::LogShares { axis } | Self::Each { axis, .. } => Some(axis),
            Self::Linear { axis, .. } | Self::Activated { axis } => Some(axis),
            Self::Constant { .. } | Self::Other => None,
        }
    }

    /// The same with another axis of the classes; nothing without one.
    fn along(self, axis: Option<usize>) -> Self {
        match (self, axis) {
            (Self::Constant { .. }, _) => self,
            (Self::Shares { total, .. }, Some(axis)) => Self::Shares { axis, total },
            (Self::LogShares { .. }, Some(axis)) => Self::LogShares { axis },
            (Self::Each { low, high, .. }, Some(axis)) => Self::Each { axis, low, high },
            (Self::Linear { plain, .. }, Some(axis)) => Self::Linear { axis, plain },
            (Self::Activated { .. }, Some(axis)) => Self::Activated { axis },
            _ => Self::Other,
        }
    }

    /// `scale * x + shift`, where `classes` is the number of classes. Scale and shift are given by their least and greatest numbers,
    /// which differ if each class has its own.
    fn affine(self, scale: [f32; 2], shift: [f32; 2], classes: usize) -> Self {
        let ([a, other_a], [b, other_b]) = (scale, shift);
        let is_uniform = a == other_a && b == other_b;
        match self {
            Self::Linear { .. } | Self::Activated { .. } => self,
            Self::Shares { axis, total } if is_uniform && b + (a * total).min(0.0) >= 0.0 => {
                Self::Shares { axis, total: a * total + b * classes as f32 }
            }
            Self::Each { axis, low, high } if is_uniform => {
                let ends = [a * low + b, a * high + b];
                Self::Each { axis, low: ends[0].min(ends[1]), high: ends[0].max(ends[1]) }
            }
            _ => Self::Other,
        }
    }

    /// The sum of two values with the same axis of the classes.
    fn plus(self, other: Self) -> Self {
        match (self, other) {
            (Self::Shares { axis, total }, Self::Shares { axis: same, total: more }) if axis == same => {
                Self::Shares { axis, total: total + more }
            }
            (Self::Each { axis, low, high }, Self::Each { axis: same, low: more, high: most }) if axis == same => {
                Self::Each { axis, low: low + more, high: high + most }
            }
            (Self::Linear { axis, plain }, Self::Linear { axis: same, plain: also }) if axis == same => {
                Self::Linear { axis, plain: plain && also }
            }
            _ => Self::Other,
        }
    }

    /// `min(max(x, low), high)`, which changes nothing but values near the ends of their range.
    fn clipped(self, low: f32, high: f32, classes: usize) -> Self {
        match self {
            Self::Shares { total, .. }
                if low * classes as f32 <= TOLERANCE * total && high >= (1.0 - TOLERANCE) * total =>
            {
                self
            }
            Self::Each { low: least, high: most, .. }
                if low <= least + TOLERANCE * (most - least) && high >= most - TOLERANCE * (most - least) =>
            {
                self
            }
            Self::Linear { .. } | Self::Activated { .. } => self.activated(),
            _ => Self::Other,
        }
    }

    /// An elementwise function that isn't linear.
    fn activated(self) -> Self {
        match self {
            Self::Linear { axis, plain: true } | Self::Activated { axis } => Self::Activated { axis },
            _ => Self::Other,
        }
    }

    /// Shares whose sum is 1, but for rounding.
    fn is_distribution(self) -> bool {
        matches!(self, Self::Shares { total, .. } if (total - 1.0).abs() <= TOLERANCE)
    }
}

/// The meanings of the values of a program.
struct Analysis<'a> {
    program: &'a Program,
    meanings: Vec<Meaning>,
    /// The step that computes each value.
    producers: Vec<Option<&'a Step>>,
    /// For each value, the number of times that steps read it.
    uses: Vec<usize>,
}

impl Analysis<'_> {
    fn end(&self, output: ValueId) -> End {
        let (meaning, shape) = (self.meanings[output], &self.program.shapes[output]);
        // All numbers must be along the axis of the classes.
        if meaning.axis().is_none_or(|axis| size(shape, axis) != shape.iter().product::<usize>()) {
            return End::Other;
        }
        match meaning {
            meaning if meaning.is_distribution() => End::Softmax,
            Meaning::LogShares { .. } => End::LogSoftmax,
            Meaning::Each { low, high, .. } if low.abs() <= TOLERANCE && (high - 1.0).abs() <= TOLERANCE => {
                End::Sigmoid
            }
            Meaning::Linear { .. } => End::Linear,
            Meaning::Shares { .. } | Meaning::Each { .. } | Meaning::Activated { .. } => End::Activated,
            Meaning::Constant { .. } | Meaning::Other => End::Other,
        }
    }

    fn of_step(&self, step: &Step) -> Meaning {
        let output = &self.program.shapes[step.output];
        let last = output.len().saturating_sub(1);
        let Some(&input) = step.inputs.first() else { return constant(&step.op) };
        let (x, shape) = (self.meanings[input], &self.program.shapes[input]);
        let classes = x.axis().map_or(1, |axis| size(shape, axis));
        match &step.op {
            // On several places, such as tokens, a `Dense` layer makes features of each.
            Op::Dense if is_vector(output) => Meaning::Linear { axis: last, plain: true },
            // The same as a `Dense` layer at each place, or at the only one.
            Op::Conv2d { groups: 1, kernel, .. } if *kernel == [1, 1] || is_vector(output) => {
                Meaning::Linear { axis: last, plain: false }
            }
            Op::Softmax => Meaning::Shares { axis: last, total: 1.0 },
            Op::LogSoftmax => Meaning::LogShares { axis: last },
            Op::Unary(Unary::Log) if x.is_distribution() => {
                x.axis().map_or(Meaning::Other, |axis| Meaning::LogShares { axis })
            }
            Op::Unary(Unary::Clip { low, high }) => x.clipped(*low, *high, classes),
            Op::Unary(Unary::Negative) => x.affine([-1.0; 2], [0.0; 2], classes),
            Op::Activation(activation) => activated(*activation, x, output),
            Op::Unary(_) | Op::Scale { below_zero: true } | Op::Sparsemax => x.activated(),
            Op::ScaleShift { scale, shift } => x.affine(ends(scale), ends(shift), classes),
            Op::Reshape => x.along(x.axis().and_then(|axis| reshaped(axis, shape, output))),
            Op::Permute { axes } => x.along(axes.iter().position(|&axis| Some(axis) == x.axis())),
            Op::Slice { start, .. } => {
                let first = x.axis().and_then(|axis| start.get(axis).copied()).unwrap_or(0);
                selected(x, first, shape, output)
            }
            Op::Gather { axis, indices } => gathered(x, *axis, indices, shape, output),
            Op::GlobalPool { kind } => pooled(x, *kind, &[0, 1], shape, output),
            Op::AdaptivePool2d { kind } | Op::Pool2d { kind, .. } if shape.len() == output.len() => {
                pooled(x, *kind, &[0, 1], shape, output)
            }
            Op::Reduce { reduction, axes } => reduced(x, *reduction, axes, shape, output),
            Op::Add if step.inputs.len() > 2 => self.sum(&step.inputs),
            Op::Add => self.binary(Binary::Add, step),
            Op::Concatenate { axis } => self.concatenated(*axis, &step.inputs),
            Op::Multiply => self.binary(Binary::Multiply, step),
            Op::Binary(function) => self.binary(*function, step),
            _ => Meaning::Other,
        }
    }

    fn sum(&self, values: &[ValueId]) -> Meaning {
        let mut meanings = values.iter().map(|&value| self.addend(value));
        let first = meanings.next().unwrap_or(Meaning::Other);
        meanings.fold(first, Meaning::plus)
    }

    /// The meaning of a value in a sum. A value that is used elsewhere, too, is the input of a residual block, and no logits.
    fn addend(&self, value: ValueId) -> Meaning {
        let mut source = value;
        let mut is_used_elsewhere = self.uses[source] > 1;
        while let Some(Step { op: Op::ScaleShift { .. }, inputs, .. }) = self.producers[source] {
            source = inputs[0];
            is_used_elsewhere |= self.uses[source] > 1;
        }
        match self.meanings[value] {
            Meaning::Linear { .. } if is_used_elsewhere => Meaning::Other,
            meaning => meaning,
        }
    }

    /// Several values side by side: sigmoids are labels of their own, but `p` and `1 - p` of one are two classes.
    fn concatenated(&self, along: usize, values: &[ValueId]) -> Meaning {
        let is_each = |value: &ValueId| matches!(self.meanings[*value], Meaning::Each { axis, .. } if axis == along);
        let (Some(&first), true) = (values.first(), values.iter().all(is_each)) else { return Meaning::Other };
        let is_complement = |a: ValueId, b: ValueId| {
            let of_b = self.producers[a].filter(|step| step.inputs == [b]);
            of_b.is_some_and(
                |step| matches!(&step.op, Op::ScaleShift { scale, shift } if scale[..] == [-1.0] && shift[..] == [1.0]),
            )
        };
        let is_probability = |value: ValueId| {
            let is_single = size(&self.program.shapes[value], along) == 1;
            is_single
                && matches!(self.meanings[value], Meaning::Each { low, high, .. } if low >= -TOLERANCE && high <= 1.0 + TOLERANCE)
        };
        match (values, self.meanings[first]) {
            (&[a, b], _) if is_complement(a, b) || is_complement(b, a) => {
                match is_probability(a) && is_probability(b) {
                    true => Meaning::Shares { axis: along, total: 1.0 },
                    false => Meaning::Other,
                }
            }
            (_, meaning) if values.iter().all(|&value| self.meanings[value] == meaning) => meaning,
            _ => Meaning::Other,
        }
    }

    /// A function of two values, at most one of which depends on the photo; else a sum, or shares divided by their sum.
    fn binary(&self, function: Binary, step: &Step) -> Meaning {
        let &[a, b] = &step.inputs[..] else { return Meaning::Other };
        let (a_shape, b_shape) = (&self.program.shapes[a], &self.program.shapes[b]);
        let output = &self.program.shapes[step.output];
        let classes = |meaning: Meaning| meaning.axis().map_or(1, |axis| size(output, axis));
        match (function, self.meanings[a], self.meanings[b]) {
            (Binary::Divide, x, _) if self.is_sum_of(a, b) => match x {
                Meaning::Shares { axis, .. } => Meaning::Shares { axis, total: 1.0 },
                Meaning::Each { axis, low, .. } if low >= 0.0 => Meaning::Shares { axis, total: 1.0 },
                _ => Meaning::Other,
            },
            (_, x, Meaning::Constant { low, high }) if a_shape == output => {
                with_constant(function, x, [low, high], classes(x))
            }
            (
                Binary::Add | Binary::Multiply | Binary::Maximum | Binary::Minimum,
                Meaning::Constant { low, high },
                x,
            ) if b_shape == output => with_constant(function, x, [low, high], classes(x)),
            (Binary::Subtract, Meaning::Constant { low, high }, x) if b_shape == output => {
                x.affine([-1.0; 2], [low, high], classes(x))
            }
            (Binary::Add, ..) if a_shape == b_shape => self.sum(&step.inputs),
            (Binary::Subtract, ..) if a_shape == b_shape => {
                let (x, y) = (self.addend(a), self.addend(b));
                x.plus(y.affine([-1.0; 2], [0.0; 2], classes(y)))
            }
            _ => Meaning::Other,
        }
    }

    /// Whether `sum` is the sum of `value` along its axis of the classes.
    fn is_sum_of(&self, value: ValueId, sum: ValueId) -> bool {
        let axis = self.meanings[value].axis();
        self.producers[sum].is_some_and(|step| match &step.op {
            Op::Reduce { reduction: Reduction::Sum, axes } => {
                step.inputs == [value] && axis.is_some_and(|axis| axes[..] == [axis])
            }
            _ => false,
        })
    }
}

fn constant(op: &Op) -> Meaning {
    match op {
        Op::Constant { values } => {
            let [low, high] = ends(values);
            Meaning::Constant { low, high }
        }
        _ => Meaning::Other,
    }
}

/// The least and the greatest of some numbers.
fn ends(values: &[f32]) -> [f32; 2] {
    values.iter().fold([f32::INFINITY, f32::NEG_INFINITY], |[low, high], &value| [low.min(value), high.max(value)])
}

fn activated(activation: Activation, x: Meaning, output: &Shape) -> Meaning {
    // A sigmoid of a vector has its classes along the longest axis.
    let longest = || (0..output.len()).max_by_key(|&axis| output[axis]).filter(|_| is_vector(output));
    match (activation, x) {
        (Activation::Linear, x) => x,
        (Activation::Sigmoid, x) => {
            let axis = x.axis().or_else(longest).or(output.len().checked_sub(1)).unwrap_or(0);
            Meaning::Each { axis, low: 0.0, high: 1.0 }
        }
        (Activation::Exponential, Meaning::LogShares { axis }) => Meaning::Shares { axis, total: 1.0 },
        (_, x) => x.activated(),
    }
}

fn with_constant(function: Binary, x: Meaning, [low, high]: [f32; 2], classes: usize) -> Meaning {
    match function {
        Binary::Add => x.affine([1.0; 2], [low, high], classes),
        Binary::Subtract => x.affine([1.0; 2], [-high, -low], classes),
        Binary::Multiply => x.affine([low, high], [0.0; 2], classes),
        Binary::Divide => x.affine([low.recip(), high.recip()], [0.0; 2], classes),
        Binary::Maximum if low == high => x.clipped(low, f32::INFINITY, classes),
        Binary::Minimum if low == high => x.clipped(f32::NEG_INFINITY, high, classes),
        _ => Meaning::Other,
    }
}

/// The axis of the classes in another shape: the one of the same size, with as many numbers before and after it.
fn reshaped(axis: usize, from: &Shape, to: &Shape) -> Option<usize> {
    let before = |shape: &Shape, axis: usize| shape.iter().take(axis).product::<usize>();
    // A shape without axes has a single number.
    (0..to.len().max(1)).find(|&new| size(to, new) == size(from, axis) && before(to, new) == before(from, axis))
}

/// The size of an axis. A shape without axes has a single number.
fn size(shape: &[usize], axis: usize) -> usize {
    shape.get(axis).copied().unwrap_or(1)
}

/// Some of the numbers of each axis, those of the classes from `first` on.
fn selected(x: Meaning, first: usize, from: &Shape, to: &Shape) -> Meaning {
    match x {
        Meaning::Shares { axis, .. } if size(to, axis) != size(from, axis) => {
            let is_second = x.is_distribution() && (first, size(to, axis), size(from, axis)) == (1, 1, 2);
            // A model with one sigmoid output gives the same: the probability of class 1 of two.
            if is_second { Meaning::Each { axis, low: 0.0, high: 1.0 } } else { Meaning::Other }
        }
        Meaning::LogShares { axis } if size(to, axis) != size(from, axis) => Meaning::Other,
        x => x,
    }
}

/// The slices of these indices along an axis.
fn gathered(x: Meaning, axis: usize, indices: &[usize], from: &Shape, to: &Shape) -> Meaning {
    let mut sorted = indices.to_vec();
    sorted.sort_unstable();
    let is_permutation = sorted.into_iter().eq(0..size(from, axis));
    match x {
        // A class that is there twice, or not at all, changes the sum.
        Meaning::Shares { axis: of_classes, .. } | Meaning::LogShares { axis: of_classes }
            if of_classes == axis && !is_permutation && size(to, axis) != 1 =>
        {
            Meaning::Other
        }
        x => selected(x, indices.first().copied().unwrap_or(0), from, to),
    }
}

fn pooled(x: Meaning, kind: PoolKind, axes: &[usize], from: &Shape, to: &Shape) -> Meaning {
    let reduction = if kind == PoolKind::Average { Reduction::Mean } else { Reduction::Max };
    reduced(x, reduction, axes, from, to)
}

/// One number in place of those along some axes, none of which is that of the classes.
fn reduced(x: Meaning, reduction: Reduction, axes: &[usize], from: &Shape, to: &Shape) -> Meaning {
    let Some(axis) = x.axis().filter(|axis| !axes.contains(axis)) else { return Meaning::Other };
    let removed = if to.len() == from.len() { 0 } else { axes.iter().filter(|&&other| other < axis).count() };
    let moved = x.along(Some(axis - removed));
    let count: usize = axes.iter().map(|&axis| size(from, axis)).product();
    match (reduction, moved) {
        (Reduction::Sum, _) if count > 1 && !matches!(x, Meaning::Activated { .. } | Meaning::LogShares { .. }) => {
            reduced(x, Reduction::Mean, axes, from, to).affine([count as f32; 2], [0.0; 2], size(from, axis))
        }
        _ if count == 1 => moved,
        (Reduction::Mean, Meaning::Shares { .. } | Meaning::Each { .. }) => moved,
        // An activation of a mean over places makes features, as after a convolution.
        (Reduction::Mean, Meaning::Linear { axis, .. }) => Meaning::Linear { axis, plain: false },
        (Reduction::Max | Reduction::Min, Meaning::Each { .. }) => moved,
        _ => Meaning::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::{
        Average, BatchNormalization, Cropping2D, GlobalAveragePooling1D, LeakyReLU, Maximum, UnitNormalization,
        from_config,
    };
    use crate::prelude::{Activation, *};

    fn end(layers: impl FnOnce(Sequential) -> Sequential) -> End {
        let model = layers(Sequential::new().add(Input::new([4, 4, 3]))).build().unwrap();
        End::of(&Program::of(&model, false, 0).unwrap())
    }

    /// The end of a merge of two heads with these activations.
    fn merged(activations: [ActivationFn; 2], merge: impl FnOnce([SymbolicTensor; 2]) -> SymbolicTensor) -> End {
        let x = Input::new([6]);
        let heads = activations.map(|activation| Dense::new(3).activation(activation).call(&x).unwrap());
        End::of(&Program::of(&Model::new(&x, &merge(heads)).unwrap(), false, 0).unwrap())
    }

    /// A layer of Keras' that multiplies and shifts.
    fn rescaling(scale: f32, offset: f32) -> Rescaling {
        Rescaling::new(scale).offset(offset)
    }

    #[test]
    fn probabilities_that_are_averaged_stay_probabilities() {
        let average = |heads: [SymbolicTensor; 2]| Average::new().call(&heads[..]).unwrap();
        let weighted = |weights: [f32; 2]| {
            move |heads: [SymbolicTensor; 2]| {
                let scaled = [0, 1].map(|head| rescaling(weights[head], 0.0).call(&heads[head]).unwrap());
                Add::new().call(&scaled[..]).unwrap()
            }
        };
        assert_eq!(merged([Softmax, Softmax], average), End::Softmax);
        assert_eq!(merged([Sigmoid, Sigmoid], average), End::Sigmoid);
        assert_eq!(merged([ActivationFn::Linear; 2], average), End::Linear);
        assert_eq!(merged([Softmax, Sigmoid], average), End::Other);
        assert_eq!(merged([Softmax, ActivationFn::Linear], average), End::Other);
        assert_eq!(merged([Softmax, Softmax], weighted([0.6, 0.4])), End::Softmax);
        assert_eq!(merged([Sigmoid, Sigmoid], weighted([0.6, 0.4])), End::Sigmoid);
        assert_eq!(merged([Softmax, Softmax], weighted([1.0, 1.0])), End::Activated, "their sum is 2");
        assert_eq!(merged([Softmax, Softmax], weighted([1.5, -0.5])), End::Other, "they may be negative");
        let largest = |heads: [SymbolicTensor; 2]| Maximum::new().call(&heads[..]).unwrap();
        assert_eq!(merged([Softmax, Softmax], largest), End::Other);
    }

    #[test]
    fn an_affine_function_of_probabilities_is_one_only_within_their_range() {
        let after = |units: usize, activation: ActivationFn, scale: f32, offset: f32| {
            end(|layers| {
                layers.add(Flatten::new()).add(Dense::new(units).activation(activation)).add(rescaling(scale, offset))
            })
        };
        assert_eq!(after(1, Sigmoid, -1.0, 1.0), End::Sigmoid);
        assert_eq!(after(1, Sigmoid, 2.0, -1.0), End::Activated);
        assert_eq!(after(1, Sigmoid, 0.5, 0.0), End::Activated);
        assert_eq!(after(2, Softmax, -1.0, 1.0), End::Softmax, "two classes change places");
        assert_eq!(after(3, Softmax, -1.0, 1.0), End::Activated, "their sum is 2");
        assert_eq!(after(3, Softmax, 1.0, 1e-7), End::Softmax);
        assert_eq!(after(3, Softmax, 1.0, -0.1), End::Other);
    }

    #[test]
    fn sigmoids_side_by_side_are_labels_unless_one_is_the_complement_of_the_other() {
        let x = Input::new([6]);
        let sigmoid = || Dense::new(1).activation(Sigmoid).call(&x).unwrap();
        let (p, q) = (sigmoid(), sigmoid());
        let complement = rescaling(-1.0, 1.0).call(&p).unwrap();
        let end = |both: [&SymbolicTensor; 2]| {
            let model = Model::new(&x, &Concatenate::new().call(both).unwrap()).unwrap();
            End::of(&Program::of(&model, false, 0).unwrap())
        };
        assert_eq!((end([&p, &q]), end([&complement, &q])), (End::Sigmoid, End::Sigmoid));
        assert_eq!((end([&complement, &p]), end([&p, &complement])), (End::Softmax, End::Softmax));
    }

    #[test]
    fn some_of_the_classes_are_no_labels_of_their_own() {
        let x = Input::new([6]);
        let of = |y: &SymbolicTensor| End::of(&Program::of(&Model::new(&x, y).unwrap(), false, 0).unwrap());
        let column = |p: &SymbolicTensor, index: usize, classes: usize| {
            let map = Reshape::new([1, classes as i64, 1]).call(p).unwrap();
            let cropped = Cropping2D::new([[0, 0], [index, classes - index - 1]]).call(&map).unwrap();
            Reshape::new([1]).call(&cropped).unwrap()
        };
        let softmax = |classes| Dense::new(classes).activation(Softmax).call(&x).unwrap();
        let two = softmax(2);
        assert_eq!((of(&column(&two, 1, 2)), of(&column(&two, 0, 2))), (End::Sigmoid, End::Other));
        assert_eq!(of(&column(&softmax(3), 1, 3)), End::Other);
        let swapped = Concatenate::new().call([&column(&two, 1, 2), &column(&two, 0, 2)]).unwrap();
        assert_eq!(of(&swapped), End::Other);
        let wide = rescaling(2.0, -1.0).call(&Dense::new(1).activation(Sigmoid).call(&x).unwrap()).unwrap();
        let complement = rescaling(-1.0, 1.0).call(&wide).unwrap();
        assert_eq!(of(&Concatenate::new().call([&complement, &wide]).unwrap()), End::Other, "they may be negative");
        let labels = Reshape::new([3, 1]).call(&Dense::new(3).activation(Sigmoid).call(&x).unwrap()).unwrap();
        let complement = rescaling(-1.0, 1.0).call(&labels).unwrap();
        let both = Concatenate::new().axis(1).call([&complement, &labels]).unwrap();
        assert_eq!(of(&Reshape::new([6]).call(&both).unwrap()), End::Other, "three pairs");
    }

    #[test]
    fn residual_blocks_and_tokens_end_in_features() {
        let x = Input::new([6]);
        let of = |x: &SymbolicTensor, y: &SymbolicTensor| {
            End::of(&Program::of(&Model::new(x, y).unwrap(), false, 0).unwrap())
        };
        let embedding = Dense::new(4).call(&x).unwrap();
        let hidden = Dense::new(8).activation(Relu).call(&embedding).unwrap();
        let block = Add::new().call([&embedding, &Dense::new(4).call(&hidden).unwrap()]).unwrap();
        assert_eq!(of(&x, &block), End::Other);
        let scaled = rescaling(0.5, 0.0).call(&embedding).unwrap();
        let block = Add::new().call([&scaled, &Dense::new(4).call(&hidden).unwrap()]).unwrap();
        assert_eq!(of(&x, &block), End::Other);
        let tokens = Input::new([5, 4]);
        let mean = GlobalAveragePooling1D::new().call(&Dense::new(3).call(&tokens).unwrap()).unwrap();
        assert_eq!(of(&tokens, &mean), End::Other);
    }

    #[test]
    fn a_linear_function_of_logits_is_logits() {
        let dense = |layers: Sequential| layers.add(Flatten::new()).add(Dense::new(3));
        assert_eq!(end(|layers| dense(layers).add(rescaling(0.4, 1.0))), End::Linear);
        assert_eq!(end(|layers| dense(layers).add(BatchNormalization::new())), End::Other, "an embedding");
        assert_eq!(end(|layers| dense(layers).add(LeakyReLU::new(0.2))), End::Activated);
        assert_eq!(end(|layers| dense(layers).add(UnitNormalization::new())), End::Other, "an embedding");
        let normalized = |layers| dense(layers).add(BatchNormalization::new()).add(Activation::new(Relu));
        assert_eq!(end(normalized), End::Other, "a block inside a network");
        assert_eq!(end(|layers| layers.add(Reshape::new([48])).add(Activation::new(Sigmoid))), End::Sigmoid);
    }

    #[test]
    fn places_are_averaged_and_removed_but_never_classes() {
        let conv =
            |activation: ActivationFn| move |layers: Sequential| layers.add(Conv2D::new(5, 1).activation(activation));
        let pooled = |activation| end(|layers| conv(activation)(layers).add(GlobalAveragePooling2D::new()));
        assert_eq!(pooled(ActivationFn::Linear), End::Linear);
        assert_eq!(pooled(Softmax), End::Softmax);
        assert_eq!(pooled(Sigmoid), End::Sigmoid);
        assert_eq!(pooled(Relu), End::Other, "features of a network without its top");
        assert_eq!(end(|layers| conv(Softmax)(layers).add(Flatten::new())), End::Other);
        assert_eq!(end(|layers| conv(Softmax)(layers).add(GlobalMaxPooling2D::new())), End::Other);
        let block = |layers| conv(ActivationFn::Linear)(layers).add(BatchNormalization::new());
        assert_eq!(end(|layers| block(layers).add(GlobalAveragePooling2D::new())), End::Other);
        let single = |layers: Sequential| layers.add(GlobalAveragePooling2D::new()).add(Reshape::new([1, 1, 3]));
        assert_eq!(end(|layers| conv(Softmax)(single(layers))), End::Softmax);
        assert_eq!(end(|layers| conv(Softmax)(single(layers)).add(Flatten::new())), End::Softmax);
        assert_eq!(end(|layers| conv(ActivationFn::Linear)(single(layers)).add(Flatten::new())), End::Linear);
        assert!(is_vector(&[1, 1, 7]) && is_vector(&[1]) && !is_vector(&[2, 2, 7]));
    }

    #[test]
    fn an_operation_of_keras_is_read_like_a_layer() {
        let config = serde_json::json!({"name": "top", "equation": "ab,bc->ac", "output_shape": 3, "bias_axes": "c"});
        let einsum = from_config("EinsumDense", config.as_object().unwrap().clone()).unwrap();
        assert_eq!(end(|layers| layers.add(Flatten::new()).add(&einsum)), End::Linear);
    }
}
