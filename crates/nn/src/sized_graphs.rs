//! [`SizedGraphs`]: the graph of a model whose inputs have an open size, for each size that it is called on.

use std::sync::{Arc, Mutex, PoisonError};

use crate::graph::Graph;
use crate::{Error, Result, Shape, SymbolicTensor};

/// Limit on the outputs of a model. Each call of a nested model computes all of them, so a file must not ask for many.
const MAX_OUTPUTS: usize = 256;

/// Limit on the sizes that one model is called on. A graph is kept for each, so a file must not ask for many.
const MAX_SIZES: usize = 64;

/// The graph of a model, and the same layers for inputs of other sizes.
///
/// Keras calls a model with an input such as `[null, null, null, 3]` on images of any size. Shapes are fixed here, so each size
/// has a graph of its own. All of them share the layers and their weights.
#[derive(Debug)]
pub(crate) struct SizedGraphs {
    graph: Arc<Graph>,
    others: Mutex<Vec<Arc<Graph>>>,
}

impl SizedGraphs {
    pub(crate) fn new(graph: Graph) -> Self {
        Self { graph: Arc::new(graph), others: Mutex::default() }
    }

    /// The graph that the model was built with.
    pub(crate) fn graph(&self) -> &Graph {
        &self.graph
    }

    /// The shape of the model's result as that of a layer: of its output, or of all outputs as one vector.
    pub(crate) fn result_shape(&self, inputs: &[Shape]) -> Result<Shape> {
        match self.of(inputs)?.outputs() {
            [output] => Ok(output.shape().clone()),
            outputs if outputs.len() > MAX_OUTPUTS => {
                let expected = format_args!("at most {MAX_OUTPUTS} outputs");
                Err(Error::new("model", expected, outputs.len()))
            }
            outputs => Ok(vec![total(outputs)]),
        }
    }

    /// The shapes of the outputs that make up a [result](Self::result_shape) of a model with several.
    ///
    /// # Errors
    /// The result of no size that the model was called on, or of several sizes.
    pub(crate) fn shapes_of_result(&self, result: &Shape) -> Result<Vec<Shape>> {
        let shapes = |graph: &Arc<Graph>| -> Vec<Shape> { graph.outputs().iter().map(|o| o.shape().clone()).collect() };
        let others = self.others.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let known = std::iter::once(&self.graph).chain(&others);
        let mut fitting = known.filter(|graph| *result == [total(graph.outputs())]).map(shapes);
        let first = fitting.next();
        match first {
            Some(first) if fitting.all(|other| other == first) => Ok(first),
            _ => Err(Error::because(
                "outputs",
                "this model has several outputs and is called on images of several sizes",
            )
            .hint("build the nested model for one input shape")),
        }
    }

    /// The graph for inputs of these shapes.
    ///
    /// # Errors
    /// Shapes that the inputs don't allow, or that a layer doesn't support; calls on more than [`MAX_SIZES`] sizes.
    pub(crate) fn of(&self, shapes: &[Shape]) -> Result<Arc<Graph>> {
        if is_for(&self.graph, shapes) {
            return Ok(self.graph.clone());
        }
        let expected: Vec<&Shape> = self.graph.inputs().iter().map(SymbolicTensor::shape).collect();
        if !self.graph.allows(shapes) {
            return Err(Error::new("inputs", format_args!("{expected:?}"), format_args!("{shapes:?}"))
                .hint("build the nested model for this input shape"));
        }
        let known = self.others.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(graph) = known.iter().find(|graph| is_for(graph, shapes)) {
            return Ok(graph.clone());
        }
        if known.len() >= MAX_SIZES {
            return Err(Error::new("inputs", format_args!("at most {MAX_SIZES} sizes of one nested model"), "more"));
        }
        // The lock is not held here: the call goes through nested models, which have locks of their own.
        let graph = Arc::new(self.graph.for_shapes(shapes)?);
        self.others.lock().unwrap_or_else(PoisonError::into_inner).push(graph.clone());
        Ok(graph)
    }
}

/// Number of values in all outputs, for one sample.
fn total(outputs: &[SymbolicTensor]) -> usize {
    outputs.iter().map(|output| output.shape().iter().product::<usize>()).sum()
}

fn is_for(graph: &Graph, shapes: &[Shape]) -> bool {
    graph.inputs().iter().map(SymbolicTensor::shape).eq(shapes)
}

#[cfg(test)]
mod tests {
    use crate::layers::{InputLayer, ListOutput, from_config};
    use crate::prelude::*;
    use crate::{Program, Result};

    /// An input `[null, null, 3]`, here of `size` pixels.
    fn open(size: usize) -> SymbolicTensor {
        let config = serde_json::json!({"name": "photo", "batch_shape": [null, null, null, 3]});
        let layer = from_config("InputLayer", config.as_object().unwrap().clone()).unwrap();
        Input::of(&layer, vec![size, size, 3]).unwrap()
    }

    fn base() -> Model {
        let x = open(64);
        let y = Conv2D::new(2, 3).named("conv").call(&x).unwrap();
        Model::named("base", &x, &MaxPooling2D::new(2).call(&y).unwrap()).unwrap()
    }

    #[test]
    fn a_model_of_open_size_is_called_on_images_of_any_size() {
        let base = base();
        let small = base.call(&Input::new([10, 12, 3])).unwrap();
        assert_eq!(small.shape(), &[4, 5, 2]);
        let x = Input::new([32, 32, 3]);
        let outer = Model::new(&x, &Flatten::new().call(&base.call(&x).unwrap()).unwrap()).unwrap();
        let program = Program::of(&outer, false, 0).unwrap();
        let sizes: Vec<usize> = program.steps.iter().map(|step| program.size(step.output)).collect();
        assert_eq!(sizes, [30 * 30 * 2, 15 * 15 * 2, 15 * 15 * 2]);
        assert_eq!(outer.weights().len(), 2, "all sizes share the weights");
        assert_eq!(base.output_shape(), &[31, 31, 2]);
    }

    #[test]
    fn several_outputs_have_the_shapes_of_the_size() -> Result<()> {
        let x = open(64);
        let pooled = GlobalAveragePooling2D::new().call(&x)?;
        let base = Model::new(&x, [&x, &pooled])?.layer().clone();
        let first = |size: [usize; 2]| {
            let outputs = base.call(&Input::new([size[0], size[1], 3]))?;
            ListOutput::of(&base, 0).expect("two outputs").call(&outputs)
        };
        assert_eq!(first([64, 64])?.shape(), &[64, 64, 3]);
        assert_eq!(first([8, 10])?.shape(), &[8, 10, 3]);
        // As one vector, both sizes are the same.
        let error = first([10, 8]).unwrap_err().to_string();
        assert!(error.contains("images of several sizes"), "{error}");
        Ok(())
    }

    #[test]
    fn sequential_models_are_no_exception() {
        let base = Sequential::new().add(open(64)).add(Conv2D::new(2, 3)).build().unwrap();
        assert_eq!(base.call(&Input::new([8, 9, 3])).unwrap().shape(), &[6, 7, 2]);
        let outer = Sequential::new().add(Input::new([8, 8, 3])).add(&base).build().unwrap();
        assert_eq!(outer.output_shape(), &[6, 6, 2]);
    }

    #[test]
    fn deep_nesting_takes_no_more_than_one_graph_each() {
        let mut inner = base();
        for depth in 0..24 {
            let x = open(64);
            inner = Model::named(format!("m{depth}"), &x, &inner.call(&x).unwrap()).unwrap();
        }
        assert_eq!(inner.call(&Input::new([16, 16, 3])).unwrap().shape(), &[7, 7, 2]);
    }

    #[test]
    fn what_is_not_open_stays_fixed() {
        let base = base();
        for (shape, expected) in [(vec![8, 8, 4], "expected [[64, 64, 3]]"), (vec![2, 2, 3], "at least 3 pixels")] {
            let error = base.call(&Input::new(shape)).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        let x = Input::new([8, 8, 3]);
        let fixed = Model::new(&x, &Flatten::new().call(&x).unwrap()).unwrap();
        assert!(fixed.call(&Input::new([9, 9, 3])).is_err());
        let error = (4..100).try_for_each(|size| base.call(&Input::new([size, size, 3])).map(|_| ())).unwrap_err();
        assert!(error.to_string().contains("at most 64 sizes"), "{error}");
    }

    #[test]
    fn weights_that_need_one_size_say_so() -> Result<()> {
        let x = open(8);
        let model = Model::new(&x, &Dense::new(2).call(&Flatten::new().call(&x)?)?)?;
        let error = model.call(&Input::new([9, 9, 3])).unwrap_err().to_string();
        assert!(error.contains("inputs of the first call's shapes"), "{error}");
        assert!(InputLayer::new([8, 8, 3]).open_axes().is_empty());
        Ok(())
    }
}
