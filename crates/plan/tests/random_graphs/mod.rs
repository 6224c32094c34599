//! Random models for tests: with branches, joins, reshapes, layers and models that are called again, and frozen layers.

#![allow(clippy::unwrap_used, reason = "only tests use it")]

use engraft_nn::Interpolation;
use engraft_nn::layers::ActivityRegularization;
use engraft_nn::prelude::*;
use engraft_nn::random::Rng;

/// The kinds of layers in a random graph.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Kinds {
    /// Every kind of layer.
    All,
    #[allow(dead_code, reason = "not every test differentiates")]
    /// Layers with continuous gradients, so that finite differences are accurate.
    Smooth,
}

/// Builds a graph by calling random layers on random values.
struct Grower {
    rng: Rng,
    kinds: Kinds,
    values: Vec<SymbolicTensor>,
    layers: Vec<Layer>,
}

/// The model of a seed, with one to three inputs. Its outputs are the values that no layer reads.
pub(crate) fn random_model(seed: u64, kinds: Kinds) -> Model {
    let mut grower = Grower { rng: Rng::new(seed), kinds, values: Vec::new(), layers: Vec::new() };
    let inputs: Vec<SymbolicTensor> = (0..=grower.rng.below(3)).map(|_| Input::new([4, 4, 2])).collect();
    grower.values.clone_from(&inputs);
    let steps = 3 + grower.rng.below(12);
    (0..steps).for_each(|_| grower.grow());
    let values = grower.values;
    let is_read = |value: &SymbolicTensor| values.iter().any(|v| v.inputs().iter().any(|i| i.id() == value.id()));
    let mut outputs: Vec<SymbolicTensor> = values.iter().filter(|value| !is_read(value)).cloned().collect();
    // An input that no layer reads is an output, too. Some models leave it out, so that an input is unused. In some models, a
    // value that a layer reads is an output as well.
    if grower.rng.below(2) == 0 && outputs.iter().any(|output| !output.inputs().is_empty()) {
        outputs.retain(|output| !output.inputs().is_empty());
    }
    if grower.rng.below(3) == 0 {
        let among = grower.rng.below(values.len());
        outputs.extend(values.get(among).filter(|value| is_read(value)).cloned());
    }
    let model = Model::new(&inputs, &outputs).unwrap();
    for layer in model.layers() {
        layer.set_trainable(grower.rng.below(3) > 0);
    }
    model
}

/// A random model with a classifier's head: its outputs are concatenated, then a Dense layer follows.
#[allow(dead_code, reason = "not every test trains")]
pub(crate) fn random_classifier(seed: u64) -> Model {
    let base = random_model(seed, Kinds::All);
    let flat: Vec<SymbolicTensor> = base.outputs().iter().map(|y| Flatten::new().call(y).unwrap()).collect();
    let y = if flat.len() == 1 { flat[0].clone() } else { Concatenate::new().call(&flat).unwrap() };
    let y = Dense::new(3).activation(Softmax).call(&y).unwrap();
    Model::new(&base.inputs().to_vec(), &y).unwrap()
}

impl Grower {
    fn pick(&mut self) -> SymbolicTensor {
        // Recent values are more likely, so that chains get long.
        let last = self.values.len() - 1;
        let back = self.rng.below(self.values.len()).min(self.rng.below(self.values.len()));
        self.values[last - back].clone()
    }

    fn grow(&mut self) {
        let x = self.pick();
        let result = match self.rng.below(4) {
            0 => self.again(&x),
            1 => self.join(&x),
            _ => self.layer(&x),
        };
        self.values.extend(result);
    }

    /// Calls an earlier layer again, on a value of the shape that it was built with.
    fn again(&mut self, x: &SymbolicTensor) -> Option<SymbolicTensor> {
        let fits = |layer: &&Layer| layer.input_shapes() == Some(std::slice::from_ref(x.shape()));
        let fitting: Vec<Layer> = self.layers.iter().filter(fits).cloned().collect();
        let layer = fitting.get(self.rng.below(fitting.len().max(1)))?;
        Some(layer.call(x).unwrap())
    }

    /// Adds values of one shape, or concatenates values that differ in the last axis only.
    fn join(&mut self, x: &SymbolicTensor) -> Option<SymbolicTensor> {
        let y = self.pick();
        let z = if self.rng.below(2) == 0 { x.clone() } else { self.pick() };
        let rows = |value: &SymbolicTensor| value.shape()[..value.shape().len() - 1].to_vec();
        if x.shape() == y.shape() && x.shape() == z.shape() && self.rng.below(2) == 0 {
            return Some(Add::new().call([x, &y, &z]).unwrap());
        }
        let joins = rows(x) == rows(&y) && x.shape().len() == y.shape().len();
        joins.then(|| Concatenate::new().call([x, &y]).unwrap())
    }

    fn layer(&mut self, x: &SymbolicTensor) -> Option<SymbolicTensor> {
        let layer = match x.shape()[..] {
            [_, _, _] => self.image_layer(x.shape()),
            _ => self.row_layer(),
        };
        self.layers.push(layer.clone());
        Some(layer.call(x).unwrap())
    }

    fn image_layer(&mut self, shape: &[usize]) -> Layer {
        let size = shape[0].min(shape[1]);
        // With 8 channels or more, 3x3 convolutions write gradients in place.
        let channels = [1, 2, 3, 8, 8][self.rng.below(5)];
        match self.rng.below(14) {
            12 => Resizing::new(1 + shape[1], size).interpolation(Interpolation::Bicubic).into_layer(),
            13 => SpatialDropout2D::new(0.3).into_layer(),
            0 | 1 => Conv2D::new(channels, 3).padding(Padding::Same).activation(Tanh).into_layer(),
            2 => Conv2D::new(channels, [1, 3][self.rng.below(2)]).padding(Padding::Same).into_layer(),
            11 if self.kinds == Kinds::All => {
                Conv2D::new(channels, 3).padding(Padding::Same).activation(Relu).into_layer()
            }
            3 => BatchNormalization::new().into_layer(),
            4 if size >= 2 => AveragePooling2D::new(2).into_layer(),
            5 if size >= 2 && self.kinds == Kinds::All => MaxPooling2D::new(2).into_layer(),
            6 if self.kinds == Kinds::All => Activation::new(Relu).into_layer(),
            7 => ZeroPadding2D::new([[0, 1], [1, 0]]).into_layer(),
            8 => Flatten::new().into_layer(),
            9 => GlobalAveragePooling2D::new().into_layer(),
            10 => self.nested(shape),
            _ => Activation::new(Tanh).into_layer(),
        }
    }

    fn row_layer(&mut self) -> Layer {
        let units = 1 + self.rng.below(4);
        match self.rng.below(10) {
            8 => GaussianNoise::new(0.1).into_layer(),
            9 => ActivityRegularization::new().l2(0.05).into_layer(),
            0 => Dense::new(units).into_layer(),
            1 => Dense::new(units).activation(Sigmoid).into_layer(),
            2 => Dense::new(units).activation(Softmax).into_layer(),
            3 => Flatten::new().into_layer(),
            4 => Rescaling::new(0.5).offset(0.1).into_layer(),
            5 => Dropout::new(0.3).into_layer(),
            6 => BatchNormalization::new().into_layer(),
            _ => Activation::new(Tanh).into_layer(),
        }
    }

    /// A nested model of two branches, one of which calls a layer twice.
    fn nested(&mut self, shape: &[usize]) -> Layer {
        let x = Input::new(shape);
        let shared = Conv2D::new(shape[2], 1).activation(Tanh).into_layer();
        let y = shared.call(&shared.call(&x).unwrap()).unwrap();
        let sum = Add::new().call([&x, &y]).unwrap();
        let y = if self.rng.below(2) == 0 { Flatten::new().call(&sum).unwrap() } else { sum };
        Model::new(&x, &y).unwrap().into_layer()
    }
}
