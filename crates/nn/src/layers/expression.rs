//! [`Expression`]: operations on tensors with the shapes of their results, from which layers are composed.

use engraft_ir::{Activation, Binary, Op, PoolKind, Reduction, Unary, ValueId};
use serde_json::{Map, Value};

use super::reshape::resolve;
use crate::Shape;
use crate::layer_def::LayerDef;
use crate::lowering::Lowering;
use crate::size_limits::check_size;
use crate::{DType, Error, Result};

/// Limit on the slices that one operation selects along an axis. It bounds the list of their indices to 8 MiB.
const MAX_SLICES: usize = 1 << 20;

/// A value of an [`Expression`]: an input or the result of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Operand(usize);

/// Operations in the order in which they run, with the shape of each result.
///
/// The same function builds it to infer a layer's output shape and to lower the layer. So the two can't differ.
#[derive(Debug, Default)]
pub(super) struct Expression {
    /// Shapes of the inputs, then of the result of each step.
    shapes: Vec<Shape>,
    steps: Vec<(Op, Vec<usize>)>,
}

impl Expression {
    /// An expression without operations, and its inputs.
    fn new(inputs: &[Shape]) -> (Self, Vec<Operand>) {
        let operands = (0..inputs.len()).map(Operand).collect();
        (Self { shapes: inputs.to_vec(), steps: Vec::new() }, operands)
    }

    /// Adds the operations to a program; returns the value of `result`.
    fn lower(self, to: &mut Lowering<'_>, inputs: &[ValueId], result: Operand) -> ValueId {
        let mut values = inputs.to_vec();
        let shapes = self.shapes.into_iter().skip(inputs.len());
        for ((op, operands), shape) in self.steps.into_iter().zip(shapes) {
            let operands: Vec<ValueId> = operands.into_iter().map(|operand| values[operand]).collect();
            values.push(to.push(op, &operands, shape));
        }
        values[result.0]
    }

    /// The shape of a value, without the batch axis.
    pub(super) fn shape(&self, x: Operand) -> &Shape {
        &self.shapes[x.0]
    }

    /// Adds an operation whose result has this shape.
    ///
    /// # Errors
    /// A result that is empty or too large.
    pub(super) fn push(&mut self, op: Op, inputs: &[Operand], shape: Shape) -> Result<Operand> {
        check_size("result", &shape)?;
        self.steps.push((op, inputs.iter().map(|input| input.0).collect()));
        self.shapes.push(shape);
        Ok(Operand(self.shapes.len() - 1))
    }

    /// A function of each element.
    pub(super) fn unary(&mut self, function: Unary, x: Operand) -> Result<Operand> {
        let shape = self.shape(x).clone();
        self.push(Op::Unary(function), &[x], shape)
    }

    /// An activation of each element.
    pub(super) fn activation(&mut self, function: Activation, x: Operand) -> Result<Operand> {
        let shape = self.shape(x).clone();
        if function == Activation::Linear { Ok(x) } else { self.push(Op::Activation(function), &[x], shape) }
    }

    /// `x * scale + shift` with one scale and one shift for all elements.
    pub(super) fn scale_shift(&mut self, x: Operand, scale: f32, shift: f32) -> Result<Operand> {
        let channels = self.shape(x).last().copied().unwrap_or(1);
        self.scale_shift_channels(x, vec![scale; channels], vec![shift; channels])
    }

    /// `x * scale + shift` with a scale and a shift for each channel.
    pub(super) fn scale_shift_channels(&mut self, x: Operand, scale: Vec<f32>, shift: Vec<f32>) -> Result<Operand> {
        let shape = self.shape(x).clone();
        self.push(Op::ScaleShift { scale, shift }, &[x], shape)
    }

    /// A function of each pair of elements. Operands of the same rank are broadcast as in NumPy.
    pub(super) fn binary(&mut self, function: Binary, a: Operand, b: Operand) -> Result<Operand> {
        let (left, right) = (self.shape(a), self.shape(b));
        let shape = broadcast(left, right)?;
        // Sums of equal shapes and products with one broadcast operand have kernels of their own.
        match function {
            Binary::Add if left == right => self.push(Op::Add, &[a, b], shape),
            Binary::Multiply if *left == shape => self.push(Op::Multiply, &[a, b], shape),
            Binary::Multiply if *right == shape => self.push(Op::Multiply, &[b, a], shape),
            _ => self.push(Op::Binary(function), &[a, b], shape),
        }
    }

    /// A constant of this shape.
    pub(super) fn constant(&mut self, values: Vec<f32>, shape: Shape) -> Result<Operand> {
        self.push(Op::Constant { values: values.into() }, &[], shape)
    }

    /// A number with the rank of `x`, to combine it with `x`.
    pub(super) fn number_like(&mut self, number: f32, x: Operand) -> Result<Operand> {
        let shape = vec![1; self.shape(x).len()];
        self.constant(vec![number], shape)
    }

    /// Reduces along axes of a sample. Without `keepdims`, the result lacks them.
    pub(super) fn reduce(
        &mut self,
        reduction: Reduction,
        x: Operand,
        axes: &[usize],
        keepdims: bool,
    ) -> Result<Operand> {
        let shape = self.shape(x);
        let size = |axis: usize| match axes.contains(&axis) {
            true => keepdims.then_some(1),
            false => Some(shape[axis]),
        };
        let reduced: Shape = (0..shape.len()).filter_map(size).collect();
        if axes.is_empty() {
            return Ok(x);
        }
        let mut axes = axes.to_vec();
        axes.sort_unstable();
        let pooled = match reduction {
            Reduction::Mean => Some(PoolKind::Average),
            Reduction::Max => Some(PoolKind::Max),
            Reduction::Sum | Reduction::Min | Reduction::Prod => None,
        };
        // Pooling over whole images has a kernel of its own.
        if let Some(kind) = pooled.filter(|_| shape.len() == 3 && axes == [0, 1]) {
            return self.push(Op::GlobalPool { kind }, &[x], reduced);
        }
        self.push(Op::Reduce { reduction, axes }, &[x], reduced)
    }

    /// The same values in another shape; one size may be -1.
    pub(super) fn reshape(&mut self, x: Operand, target: &[i64]) -> Result<Operand> {
        let shape = resolve(target, self.shape(x))?;
        self.push(Op::Reshape, &[x], shape)
    }

    /// The same values in another shape of as many elements.
    pub(super) fn reshape_to(&mut self, x: Operand, shape: Shape) -> Result<Operand> {
        if *self.shape(x) == shape { Ok(x) } else { self.push(Op::Reshape, &[x], shape) }
    }

    /// Reorders axes: axis `i` of the result is axis `axes[i]` of `x`.
    pub(super) fn permute(&mut self, x: Operand, axes: Vec<usize>) -> Result<Operand> {
        if axes.iter().enumerate().all(|(place, &axis)| place == axis) {
            return Ok(x);
        }
        let shape = axes.iter().map(|&axis| self.shape(x)[axis]).collect();
        self.push(Op::Permute { axes }, &[x], shape)
    }

    /// Selects `count` slices along an axis; `index` gives the place of each in `x`.
    pub(super) fn gather(
        &mut self,
        x: Operand,
        axis: usize,
        count: usize,
        index: impl Fn(usize) -> usize,
    ) -> Result<Operand> {
        let mut shape = self.shape(x).clone();
        shape[axis] = count;
        // A few bytes of a file can ask for any number of slices. The number is checked before the indices are listed.
        if count > MAX_SLICES {
            return Err(Error::new("result", format_args!("at most {MAX_SLICES} slices along an axis"), count));
        }
        self.push(Op::Gather { axis, indices: (0..count).map(index).collect() }, &[x], shape)
    }

    /// A strided slice: along each axis `(start, step, count)`.
    pub(super) fn slice(&mut self, x: Operand, ranges: &[(usize, isize, usize)]) -> Result<Operand> {
        let (start, step) = ranges.iter().map(|&(start, step, _)| (start, step)).unzip();
        self.push(Op::Slice { start, step }, &[x], ranges.iter().map(|&(.., count)| count).collect())
    }

    /// The softmax along one or more axes.
    pub(super) fn softmax(&mut self, x: Operand, axes: &[usize]) -> Result<Operand> {
        let shape = self.shape(x).clone();
        let others = (0..shape.len()).filter(|axis| !axes.contains(axis));
        let order: Vec<usize> = others.chain(axes.iter().copied()).collect();
        let permuted = self.permute(x, order.clone())?;
        let permuted_shape = self.shape(permuted).clone();
        // The axes of the softmax become one, the last.
        let (outer, inner) = permuted_shape.split_at(shape.len() - axes.len());
        let rows: Shape = outer.iter().copied().chain([inner.iter().product()]).collect();
        let flat = self.reshape_to(permuted, rows.clone())?;
        let y = self.push(Op::Softmax, &[flat], rows)?;
        let y = self.reshape_to(y, permuted_shape)?;
        let mut back = vec![0; order.len()];
        order.iter().enumerate().for_each(|(place, &axis)| back[axis] = place);
        self.permute(y, back)
    }
}

/// The only input of a layer.
///
/// # Errors
/// None or several.
pub(super) fn only(inputs: &[Operand]) -> Result<Operand> {
    match inputs {
        [input] => Ok(*input),
        several => Err(Error::new("inputs", "one", several.len())),
    }
}

/// The shape that two operands of the same rank are broadcast to.
fn broadcast(a: &Shape, b: &Shape) -> Result<Shape> {
    let common = |(&a, &b): (&usize, &usize)| match (a, b) {
        (1, size) | (size, 1) => Some(size),
        (a, b) => (a == b).then_some(a),
    };
    let shape = a.iter().zip(b).map(common).collect::<Option<Shape>>().filter(|_| a.len() == b.len());
    shape.ok_or_else(|| {
        let expected = "two of the same rank, whose sizes are equal or 1 along each axis";
        Error::new("operands", expected, format_args!("{a:?} and {b:?} for each sample"))
    })
}

/// A layer that is composed of operations by a function, which gets the layer's inputs.
pub(super) struct Composed<F>(pub(super) F);

impl<F> std::fmt::Debug for Composed<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Composed")
    }
}

/// The output shape of a layer that `compute` composes.
pub(super) fn output_shape(
    inputs: &[Shape],
    compute: impl Fn(&mut Expression, &[Operand]) -> Result<Operand>,
) -> Result<Shape> {
    let (mut expression, operands) = Expression::new(inputs);
    let result = compute(&mut expression, &operands)?;
    Ok(expression.shape(result).clone())
}

/// Lowers a layer that `compute` composes.
pub(super) fn lower(
    to: &mut Lowering<'_>,
    inputs: &[ValueId],
    compute: impl Fn(&mut Expression, &[Operand]) -> Result<Operand>,
) -> Result<ValueId> {
    let shapes: Vec<Shape> = inputs.iter().map(|&input| to.shape(input).clone()).collect();
    let (mut expression, operands) = Expression::new(&shapes);
    let result = compute(&mut expression, &operands)?;
    Ok(expression.lower(to, inputs, result))
}

/// Adds a conversion from the dtype `from` to `into`, as TensorFlow's `cast`. To an integer type, fractions are cut off; outside the range
/// of a type of up to 16 bits, floats saturate and integers wrap around.
pub(crate) fn push_converted(to: &mut Lowering<'_>, value: ValueId, from: DType, into: DType) -> Result<ValueId> {
    match (from, into.range()) {
        (DType::Float, Some([low, high])) => lower(to, &[value], |e, x| {
            let whole = e.unary(Unary::Truncate, only(x)?)?;
            if into.may_lack_numbers_of(from) { e.unary(Unary::Clip { low, high }, whole) } else { Ok(whole) }
        }),
        (_, Some(_)) if into.may_lack_numbers_of(from) => push_wrapped(to, value, into),
        _ => Ok(value),
    }
}

/// Adds the overflow of an integer type of up to 16 bits, which wraps around: 256 becomes 0 in uint8. Other dtypes stay as they are.
///
/// It is exact below 2^24.
pub(crate) fn push_wrapped(to: &mut Lowering<'_>, value: ValueId, dtype: DType) -> Result<ValueId> {
    let (DType::Integer { bits: 8 | 16, .. }, Some([low, high])) = (dtype, dtype.range()) else { return Ok(value) };
    let count = high - low + 1.0;
    lower(to, &[value], |e, x| {
        let x = only(x)?;
        let turns = e.scale_shift(x, 1.0 / count, -low / count)?;
        let turns = e.unary(Unary::Floor, turns)?;
        let excess = e.scale_shift(turns, -count, 0.0)?;
        e.binary(Binary::Add, x, excess)
    })
}

impl<F> LayerDef for Composed<F>
where
    F: Fn(&mut Expression, &[Operand]) -> Result<Operand> + Send + Sync + 'static,
{
    fn class_name(&self) -> &'static str {
        "Composed"
    }

    fn config(&self) -> Map<String, Value> {
        Map::new()
    }

    fn output_shape(&self, inputs: &[Shape]) -> Result<Shape> {
        output_shape(inputs, &self.0)
    }

    fn lower(&self, to: &mut Lowering<'_>, inputs: &[ValueId]) -> Result<ValueId> {
        lower(to, inputs, &self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operands_are_broadcast_on_both_sides() {
        assert_eq!(broadcast(&vec![4, 1, 3], &vec![1, 5, 3]).unwrap(), [4, 5, 3]);
        for (a, b) in [(vec![4, 2], vec![4, 3]), (vec![3], vec![4, 3])] {
            let error = broadcast(&a, &b).unwrap_err().to_string();
            assert!(error.contains("of the same rank"), "{error}");
        }
    }

    #[test]
    fn sums_products_and_pooling_keep_their_kernels() {
        let (mut e, x) = Expression::new(&[vec![4, 5, 3], vec![4, 5, 3], vec![1, 1, 3]]);
        e.binary(Binary::Add, x[0], x[1]).unwrap();
        e.binary(Binary::Multiply, x[2], x[0]).unwrap();
        e.reduce(Reduction::Mean, x[0], &[0, 1], false).unwrap();
        e.binary(Binary::Add, x[0], x[2]).unwrap();
        let pool = Op::GlobalPool { kind: PoolKind::Average };
        let steps: Vec<Op> = e.steps.iter().map(|(op, _)| op.clone()).collect();
        assert_eq!(steps, [Op::Add, Op::Multiply, pool, Op::Binary(Binary::Add)]);
        assert_eq!(e.steps[1].1, [0, 2], "the operand that is broadcast comes second");
    }

    #[test]
    fn a_softmax_along_several_axes_is_one_along_a_merged_axis() {
        let shape = output_shape(&[vec![4, 5, 3]], |e, x| e.softmax(x[0], &[0, 1])).unwrap();
        assert_eq!(shape, [4, 5, 3]);
        let (mut e, x) = Expression::new(&[vec![4, 5, 3]]);
        e.softmax(x[0], &[2]).unwrap();
        assert_eq!(e.steps.len(), 1, "the last axis needs no permutation");
    }

    #[test]
    fn sizes_are_checked_before_indices_are_listed() {
        let (mut e, x) = Expression::new(&[vec![4]]);
        assert!(e.gather(x[0], 0, usize::MAX, |i| i).is_err());
        assert!(e.gather(x[0], 0, 0, |i| i).is_err());
    }
}
