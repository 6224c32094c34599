//! Cancels transpositions that layers add around their operations, such as those of `data_format="channels_first"`.
//!
//! Operations take images with their channels last, so each such layer is lowered to a transposition, its operations, and a
//! transposition back. Between two layers, both cancel. Element-wise operations between them are moved before the first.

use std::collections::{HashMap, HashSet};

use engraft_ir::{Op, Shape, ValueId};

use crate::program::{Program, Step};

/// A transposition of a value: axis `i` of the result is axis `axes[i]` of `source`.
#[derive(Clone, Debug)]
struct Transposed {
    source: ValueId,
    axes: Vec<usize>,
}

impl Program {
    /// Removes transpositions that undo others, also where element-wise operations stand between them.
    ///
    /// The outputs and the values in `kept` are computed as before, and later steps read them: a gradient with respect to them
    /// goes through all steps that used them.
    ///
    /// ```
    /// use engraft_ir::Op;
    /// use engraft_nn::{Program, prelude::*};
    /// let x = Input::new([8, 8, 3]);
    /// let y = Activation::new(Relu).call(&Permute::new([3, 1, 2]).call(&x)?)?;
    /// let model = Model::new(&x, &Permute::new([2, 3, 1]).call(&y)?)?;
    /// let mut program = Program::of(&model, false, 0)?;
    /// program.cancel_transpositions(&[]);
    /// let transpositions = program.steps.iter().filter(|step| matches!(step.op, Op::Permute { .. })).count();
    /// assert_eq!((program.steps.len(), transpositions), (3, 2), "an output is computed as before");
    ///
    /// let model = Model::new(&x, &Flatten::new().call(model.output())?)?;
    /// let mut program = Program::of(&model, false, 0)?;
    /// program.cancel_transpositions(&[]);
    /// assert!(matches!(&program.steps[..], [relu, flatten] if relu.inputs == program.inputs && flatten.op == Op::Reshape));
    /// # Ok::<(), engraft_nn::Error>(())
    /// ```
    pub fn cancel_transpositions(&mut self, kept: &[ValueId]) {
        if !self.steps.iter().any(|step| matches!(step.op, Op::Permute { .. })) {
            return;
        }
        let kept: HashSet<ValueId> = kept.iter().chain(&self.outputs).copied().collect();
        let mut rewriter = Rewriter { program: self, kept, transposed: HashMap::new(), renamed: HashMap::new() };
        for step in std::mem::take(&mut rewriter.program.steps) {
            rewriter.add(step);
        }
        let kept: Vec<ValueId> = rewriter.kept.into_iter().collect();
        self.remove_steps_without_use(&kept);
    }
}

/// Adds the steps of a program again, one by one.
struct Rewriter<'a> {
    program: &'a mut Program,
    kept: HashSet<ValueId>,
    /// The values that are transpositions of others.
    transposed: HashMap<ValueId, Transposed>,
    /// The values that equal others after cancellation.
    renamed: HashMap<ValueId, ValueId>,
}

impl Rewriter<'_> {
    fn add(&mut self, mut step: Step) {
        for input in &mut step.inputs {
            *input = self.renamed.get(input).copied().unwrap_or(*input);
        }
        match &step.op {
            Op::Permute { axes } => {
                let axes = axes.clone();
                self.add_transposition(step, &axes);
            }
            _ => match self.before_transposition(&step) {
                Some((op, inputs, axes)) => self.add_moved(step, op, inputs, axes),
                None => self.program.steps.push(step),
            },
        }
    }

    /// Adds a transposition, composed with the one that its input comes from.
    fn add_transposition(&mut self, mut step: Step, axes: &[usize]) {
        let composed = match self.transposed.get(&step.inputs[0]) {
            Some(first) => {
                Transposed { source: first.source, axes: axes.iter().map(|&axis| first.axes[axis]).collect() }
            }
            None => Transposed { source: step.inputs[0], axes: axes.to_vec() },
        };
        let is_kept = self.kept.contains(&step.output);
        if composed.axes.is_sorted() {
            match is_kept {
                true => self.program.steps.push(step),
                false => drop(self.renamed.insert(step.output, composed.source)),
            }
            return;
        }
        step.inputs = vec![composed.source];
        step.op = Op::Permute { axes: composed.axes.clone() };
        if !is_kept {
            self.transposed.insert(step.output, composed);
        }
        self.program.steps.push(step);
    }

    /// The operation that computes the step before the transposition of its inputs instead of after it, its inputs, and the axes
    /// of the transposition; `None` if it can't be moved.
    fn before_transposition(&mut self, step: &Step) -> Option<(Op, Vec<ValueId>, Vec<usize>)> {
        let axes = step.inputs.iter().find_map(|input| Some(self.transposed.get(input)?.axes.clone()))?;
        let shape = self.program.shapes[step.output].clone();
        if shape.len() != axes.len() {
            return None;
        }
        let op = moved(&step.op, &axes, &shape)?;
        let same_shape = |input: &ValueId| self.program.shapes[*input] == shape;
        if matches!(op, Op::Add) && !step.inputs.iter().all(same_shape) {
            return None;
        }
        let sources: Vec<Option<ValueId>> = step.inputs.iter().map(|input| self.source(*input, &axes)).collect();
        if sources.iter().any(Option::is_none) {
            return None;
        }
        // Every input has a source or can be reshaped: only now are steps added.
        let inputs = step.inputs.iter().zip(sources).map(|(&input, source)| match source {
            Some(source) if source != input => source,
            _ => self.reshape_back(input, &axes, step),
        });
        Some((op, inputs.collect(), axes))
    }

    /// The value that `input` is the transposition of by `axes`; `input` itself if a reshape undoes the transposition.
    fn source(&self, input: ValueId, axes: &[usize]) -> Option<ValueId> {
        match self.transposed.get(&input) {
            Some(transposed) => (transposed.axes == axes).then_some(transposed.source),
            None => {
                let shape = &self.program.shapes[input];
                let moved: Vec<usize> = (0..axes.len()).filter(|&axis| *shape.get(axis).unwrap_or(&0) != 1).collect();
                (shape.len() == axes.len() && moved.len() < 2).then_some(input)
            }
        }
    }

    /// Adds a reshape of a value with at most one axis above 1 to its shape before the transposition by `axes`.
    fn reshape_back(&mut self, input: ValueId, axes: &[usize], step: &Step) -> ValueId {
        let shape = before(&self.program.shapes[input], axes);
        let output = self.value(shape);
        self.program.steps.push(plain(Op::Reshape, input, output, step));
        output
    }

    /// Adds a step that was moved before a transposition, and the transposition of its result.
    fn add_moved(&mut self, step: Step, op: Op, inputs: Vec<ValueId>, axes: Vec<usize>) {
        let shape = before(&self.program.shapes[step.output], &axes);
        let (output, result) = (step.output, self.value(shape));
        let transposition = plain(Op::Permute { axes: axes.clone() }, result, output, &step);
        self.program.steps.push(Step { op, inputs, output: result, ..step });
        self.program.steps.push(transposition);
        if !self.kept.contains(&output) {
            self.transposed.insert(output, Transposed { source: result, axes });
        }
    }

    fn value(&mut self, shape: Shape) -> ValueId {
        self.program.shapes.push(shape);
        self.program.shapes.len() - 1
    }
}

/// The shape before a transposition by `axes`.
fn before(shape: &Shape, axes: &[usize]) -> Shape {
    let mut before = vec![0; shape.len()];
    axes.iter().zip(shape).for_each(|(&axis, &size)| before[axis] = size);
    before
}

/// A step of the same layer without weights.
fn plain(op: Op, input: ValueId, output: ValueId, of: &Step) -> Step {
    Step { op, inputs: vec![input], output, weights: Vec::new(), ..of.clone() }
}

/// The operation before a transposition by `axes` that gives the same result as `op` after it; `None` if there is none. `shape` is
/// the shape of the result.
fn moved(op: &Op, axes: &[usize], shape: &Shape) -> Option<Op> {
    match op {
        Op::Activation(_) | Op::Add | Op::Multiply | Op::Dropout { .. } => Some(op.clone()),
        Op::Concatenate { axis } => Some(Op::Concatenate { axis: axes[*axis] }),
        // One factor and one offset for all channels.
        Op::ScaleShift { scale, shift } => {
            let uniform = |values: &[f32]| values.iter().all(|value| value.to_bits() == values[0].to_bits());
            let channels = before(shape, axes).last().copied()?;
            let repeat = |values: &[f32]| values.first().map(|&value| vec![value; channels]);
            (uniform(scale) && uniform(shift)).then_some(())?;
            Some(Op::ScaleShift { scale: repeat(scale)?, shift: repeat(shift)? })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::from_config;
    use crate::prelude::*;

    fn channels_first(class: &str, mut config: serde_json::Value) -> Layer {
        config["data_format"] = "channels_first".into();
        config["name"] = crate::naming::auto_name(class).into();
        from_config(class, config.as_object().unwrap().clone()).unwrap()
    }

    fn conv(filters: usize) -> Layer {
        channels_first("Conv2D", serde_json::json!({"filters": filters, "kernel_size": 3, "padding": "same"}))
    }

    fn transpositions(program: &Program) -> usize {
        program.steps.iter().filter(|step| matches!(step.op, Op::Permute { .. })).count()
    }

    /// A residual block with a squeeze-and-excitation, normalizations and a concatenation, all with channels first.
    fn network() -> Model {
        let x = Input::new([3, 8, 8]);
        let norm = || BatchNormalization::new().axis(1);
        let y = Activation::new(Relu).call(&norm().call(&conv(4).call(&x).unwrap()).unwrap()).unwrap();
        let pool = channels_first("GlobalAveragePooling2D", serde_json::json!({}));
        let weights = Dense::new(4).activation(Sigmoid).call(&pool.call(&y).unwrap()).unwrap();
        let weights = Reshape::new([4, 1, 1]).call(&weights).unwrap();
        let z = Multiply::new().call([&conv(4).call(&y).unwrap(), &weights]).unwrap();
        let z = Dropout::new(0.1).call(&Add::new().call([&z, &y]).unwrap()).unwrap();
        let z = Rescaling::new(0.5).call(&Concatenate::new().axis(1).call([&z, &y]).unwrap()).unwrap();
        let z = LeakyReLU::new(0.1).call(&z).unwrap();
        let flat = channels_first("Flatten", serde_json::json!({}));
        Model::new(&x, &Dense::new(2).call(&flat.call(&z).unwrap()).unwrap()).unwrap()
    }

    #[test]
    fn a_network_with_channels_first_has_one_transposition() {
        for training in [false, true] {
            let mut program = Program::of(&network(), training, 0).unwrap();
            assert_eq!(transpositions(&program), 8);
            program.cancel_transpositions(&[]);
            assert_eq!(transpositions(&program), 1, "{:#?}", program.steps);
            let concatenate = program.steps.iter().find(|step| matches!(step.op, Op::Concatenate { .. })).unwrap();
            assert_eq!(
                (&concatenate.op, &program.shapes[concatenate.output]),
                (&Op::Concatenate { axis: 2 }, &vec![8, 8, 8])
            );
        }
    }

    #[test]
    fn values_that_are_asked_for_are_computed_and_used() {
        let model = network();
        let program = Program::of(&model, false, 0).unwrap();
        let name = model.layers().iter().find(|layer| layer.class_name() == "Activation").unwrap().name().to_owned();
        let value = program.layer_output(&name).unwrap();
        let mut cancelled = program.clone();
        cancelled.cancel_transpositions(&[value]);
        assert_eq!(cancelled.shapes[value], [4, 8, 8]);
        assert!(cancelled.steps.iter().any(|step| step.output == value));
        assert!(cancelled.steps.iter().any(|step| step.inputs.contains(&value)));
        // A program that is cut there computes it, too.
        let mut until = program.until(&name).unwrap();
        until.cancel_transpositions(&[]);
        assert_eq!((until.outputs[0], transpositions(&until)), (value, 2));
    }
}
