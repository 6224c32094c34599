//! [`Partition`]: a model cut below its lowest trained layer, so that what is frozen is computed once.

mod packed;

use std::collections::{HashMap, HashSet};

use crate::prelude::*;
use crate::{Layer, Program, Result, Trainability};

/// A model in two parts: `lower`, from the photo to the boundary, and `upper`, from the boundary to the outputs.
///
/// The boundary is the last single tensor that every path from the input to trained layers and to the output goes through. Where
/// several tensors further up are fewer numbers together, such as a map and pooled outputs of earlier blocks, the boundary is a vector
/// of these. Nested models are cut inside where needed. Training `upper` on the outputs of `lower` trains the model: both parts
/// consist of the model's own layers, with their weights, regularizers and `trainable` flags.
///
/// Below the boundary lie only layers that do the same in training and in inference: frozen ones (of which a BatchNormalization
/// uses its moving statistics), and no random ones such as Dropout. A `Normalization` of the features lies above it, so that other
/// training sets, with another mean and variance, find the same features. [`with_variants`](Self::with_variants) permits augmentation
/// there.
///
/// ```
/// use engraft::Trainability;
/// use engraft::data::Arrays;
/// use engraft::prelude::*;
/// use engraft::recipe::Partition;
/// let layers = Sequential::new().add(Input::new([8, 8, 3])).add(Conv2D::new(4, 3).named("conv"));
/// let layers = layers.add(GlobalAveragePooling2D::new()).add(Dropout::new(0.2));
/// let model = layers.add(Dense::new(2).activation(Softmax)).build()?;
/// model.get_layer("conv")?.set_trainable(false);
/// model.compile(Adam::new(0.01), Loss::categorical_crossentropy(), [])?;
///
/// let parts = Partition::of(&model, &Trainability::of(&model))?.expect("the convolution is frozen");
/// // The boundary is the pooled image: Dropout is random.
/// assert_eq!(parts.lower.output_shape(), &[4]);
/// let photos = Tensor::zeros([10, 8, 8, 3]);
/// let features = parts.lower.predict(&photos, 32)?;
/// assert_eq!(parts.upper.predict(&features, 32)?, model.predict(&photos, 32)?);
///
/// // One settings of `compile` and one optimizer state for both.
/// parts.upper.set_compiled(model.compiled());
/// let labels = Tensor::new([10, 2], [1.0, 0.0].repeat(10))?;
/// parts.upper.fit(&Arrays::new(features, labels)?, Fit::new().epochs(3))?;
/// model.set_compiled(parts.upper.compiled());
/// assert_eq!(model.compiled_or_error()?.state.iterations(), 3);
/// # Ok::<(), engraft::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Partition {
    /// From the input of the model to the boundary.
    pub lower: Model,
    /// From the boundary to the output of the model.
    pub upper: Model,
}

impl Partition {
    /// Cuts a model where all layers below are frozen by `trainability` and none is random.
    ///
    /// `None` if no layer with weights lies below such a boundary, if nothing is trained, or if the model has several inputs or
    /// outputs.
    ///
    /// # Errors
    /// A layer that can't be lowered.
    pub fn of(model: &Model, trainability: &Trainability) -> Result<Option<Self>> {
        Cut::new(model, trainability, RandomLayers::Above).of_model(model)
    }

    /// Cuts a model as [`of`](Self::of) does, but random layers may come before all layers with weights: augmentation.
    ///
    /// A [`FeatureExtractor`](super::FeatureExtractor) then computes fixed variants of each photo. Training sees these variants,
    /// and not new ones in each epoch.
    ///
    /// ```
    /// use engraft::Trainability;
    /// use engraft::prelude::*;
    /// use engraft::recipe::Partition;
    /// let recipe = Recipe { image_size: 32, head: vec![], ..Recipe::new(2) };
    /// let model = recipe.weights("none").build(Box::new(|_, _| {}))?;
    /// let flags = Trainability::of(&model);
    /// assert!(Partition::of(&model, &flags)?.is_none(), "augmentation differs in each epoch");
    /// let parts = Partition::with_variants(&model, &flags)?.expect("a frozen base");
    /// assert_eq!(parts.lower.output_shape(), &[512]);
    /// # Ok::<(), engraft::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`of`](Self::of).
    pub fn with_variants(model: &Model, trainability: &Trainability) -> Result<Option<Self>> {
        Cut::new(model, trainability, RandomLayers::Augment).of_model(model)
    }

    /// Cuts a model as [`of`](Self::of) does, but random layers may lie between the frozen ones, such as the stochastic depth of an
    /// EfficientNet. Below the boundary they act as in inference, like a base that Keras calls with `training=False`.
    pub(super) fn in_inference(model: &Model, trainability: &Trainability) -> Result<Option<Self>> {
        Cut::new(model, trainability, RandomLayers::Inactive).of_model(model)
    }

    /// The part of `lower` up to its last random layer, and the part after it; `None` without a random layer.
    pub(super) fn augmentation(&self) -> Result<Option<(Model, Model)>> {
        let trainability = Trainability::of(&self.lower);
        let cut = Cut { trainability: &trainability, trained: HashSet::new(), random: RandomLayers::Augment };
        let calls = self.lower.graph().calls();
        let kinds = calls.iter().map(|call| cut.kind(call)).collect::<Result<Vec<_>>>()?;
        let Some(random) = kinds.iter().rposition(|kind| *kind == Kind::Random) else { return Ok(None) };
        let after = Positions::new(&self.lower).single().find(|&position| position >= random);
        let after = after.unwrap_or(calls.len() - 1);
        let augmentation = Model::named("augmentation", self.lower.inputs(), &calls[after])?;
        Ok(Some((augmentation, above(&self.lower, after, None)?)))
    }
}

/// Whether a call is one of Keras' `Normalization`.
///
/// It costs next to nothing and follows from the training set. Below the boundary, it would make other features of each training set.
fn is_normalization(call: &SymbolicTensor) -> bool {
    call.layer().class_name() == "Normalization"
}

/// What a layer does in training.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// The same as in inference.
    Fixed,
    /// Something random, sample by sample.
    Random,
    /// It changes weights or statistics, or uses statistics of the batch.
    Trained,
}

/// How models are cut.
struct Cut<'a> {
    trainability: &'a Trainability,
    /// Ids of the trained weights of the whole model. A shared weight is trained everywhere if it is trained somewhere.
    trained: HashSet<usize>,
    random: RandomLayers,
}

/// Where random layers, such as dropout, may lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RandomLayers {
    /// Above the boundary alone.
    Above,
    /// Also before all layers with weights, as augmentation.
    Augment,
    /// Anywhere. Below the boundary, they act as in inference.
    Inactive,
}

impl<'a> Cut<'a> {
    fn new(model: &Model, trainability: &'a Trainability, random: RandomLayers) -> Self {
        let trained = trainability.trainable_weights(model).iter().map(crate::Weight::id).collect();
        Self { trainability, trained, random }
    }

    fn of_model(&self, model: &Model) -> Result<Option<Partition>> {
        if model.inputs().len() != 1 || model.outputs().len() != 1 || self.trained.is_empty() {
            return Ok(None);
        }
        let parts = self.parts(model, false)?.filter(|parts| parts.lower.count_params() > 0);
        parts.map(|parts| self.packed(parts)).transpose()
    }

    /// The parts of a model with one input and one output; `None` if nothing is below the boundary or nothing above it.
    ///
    /// `after_weights` is whether layers with weights come before the model.
    fn parts(&self, model: &Model, after_weights: bool) -> Result<Option<Partition>> {
        let calls = model.graph().calls();
        let (mut allowed, mut weights) = (0, after_weights);
        while let Some(call) = calls.get(allowed + 1) {
            match self.kind(call)? {
                Kind::Fixed => weights |= !call.layer().weights().is_empty(),
                Kind::Random if self.permits(call, weights) => {}
                Kind::Random | Kind::Trained => break,
            }
            allowed += 1;
        }
        let positions = Positions::new(model);
        let single: Vec<usize> = positions.single().take_while(|&position| position <= allowed).collect();
        // The input, at position 0, is always a single tensor.
        let boundary = single.last().copied().unwrap_or(0);
        if boundary + 1 == calls.len() {
            return Ok(None);
        }
        if positions.feeds_only_next(boundary)
            && let Some(inner) = self.nested(&calls[boundary + 1], weights)?
        {
            let below = inner.lower.call(&calls[boundary])?;
            let lower = Model::named(model.name(), model.inputs(), &below)?;
            return Ok(Some(Partition { lower, upper: above(model, boundary, Some(&inner.upper))? }));
        }
        let boundary = single.into_iter().rfind(|&position| !is_normalization(&calls[position])).unwrap_or(0);
        if boundary == 0 {
            return Ok(None);
        }
        let lower = Model::named(model.name(), model.inputs(), &calls[boundary])?;
        Ok(Some(Partition { lower, upper: above(model, boundary, None)? }))
    }

    /// Whether a random layer may lie below the boundary, after layers with weights or before all of them.
    fn permits(&self, random: &SymbolicTensor, after_weights: bool) -> bool {
        match self.random {
            RandomLayers::Above => false,
            RandomLayers::Augment => !after_weights && random.layer().weights().is_empty(),
            RandomLayers::Inactive => true,
        }
    }

    /// The parts of the nested model that `call` calls; `None` if it calls no model that can be cut.
    fn nested(&self, call: &SymbolicTensor, after_weights: bool) -> Result<Option<Partition>> {
        let layer = call.layer();
        let single = layer.def().graph().is_some_and(|graph| graph.inputs().len() == 1 && graph.outputs().len() == 1);
        // The parts are new models. They are trainable, and would unfreeze the layers of a frozen one.
        if !single || call.inputs().len() != 1 || !self.trainability.trainable(layer) {
            return Ok(None);
        }
        // A model of open size is called on the size of this tensor, which isn't the one that it was built with.
        let shapes = [call.inputs()[0].shape().clone()];
        self.parts(&Model::from_layer(layer.clone())?.with_input_shapes(&shapes)?, after_weights)
    }

    /// What the layer of a call does in training: compares the operations that it is lowered to.
    fn kind(&self, call: &SymbolicTensor) -> Result<Kind> {
        if call.inputs().is_empty() {
            return Ok(Kind::Fixed);
        }
        let model = alone(call)?;
        let training = Program::for_training(&model, 0, self.trainability)?;
        let is_trained = training.weights().iter().any(|param| self.trained.contains(&param.weight.id()));
        if is_trained || training.steps.iter().any(|step| step.op.couples_samples()) {
            return Ok(Kind::Trained);
        }
        let inference = Program::of(&model, false, 0)?;
        let same = training.steps.iter().map(|step| &step.op).eq(inference.steps.iter().map(|step| &step.op));
        Ok(if same { Kind::Fixed } else { Kind::Random })
    }
}

/// A model of the layer of `call` alone.
fn alone(call: &SymbolicTensor) -> Result<Model> {
    let name = call.layer().name();
    let input = |(number, tensor): (usize, &SymbolicTensor)| {
        Input::named(format!("{name}, input {number}"), tensor.shape().clone())
    };
    let inputs: Vec<SymbolicTensor> = call.inputs().iter().enumerate().map(input).collect();
    Model::named(format!("{name} alone"), &inputs, &call.layer().call(&inputs)?)
}

/// Which positions in the topological order of a model's calls read which.
struct Positions {
    /// The last position that reads the output of each call; `usize::MAX` for the output of the model.
    last_reader: Vec<usize>,
    /// Whether another call than the next reads it as well.
    readers: Vec<usize>,
}

impl Positions {
    fn new(model: &Model) -> Self {
        let calls = model.graph().calls();
        let position: HashMap<usize, usize> = calls.iter().enumerate().map(|(at, call)| (call.id(), at)).collect();
        let (mut last_reader, mut readers) = (vec![0; calls.len()], vec![0; calls.len()]);
        for (reader, call) in calls.iter().enumerate() {
            for input in call.inputs() {
                let read = position[&input.id()];
                last_reader[read] = reader;
                readers[read] += 1;
            }
        }
        last_reader[position[&model.output().id()]] = usize::MAX;
        Self { last_reader, readers }
    }

    /// The positions whose output alone is read by all later calls, in order: every path from the input goes through them.
    ///
    /// All calls lie on a path from the one input to an output. So those before such a position are those that it depends on.
    fn single(&self) -> impl Iterator<Item = usize> {
        let mut needed = 0;
        self.last_reader.iter().enumerate().filter_map(move |(position, &last_reader)| {
            let is_single = needed <= position;
            needed = needed.max(last_reader);
            is_single.then_some(position)
        })
    }

    /// Whether the output at `position` is read by the next call, once, and by no other.
    fn feeds_only_next(&self, position: usize) -> bool {
        self.readers[position] == 1 && self.last_reader[position] == position + 1
    }
}

/// The part of `model` above the call at position `boundary`. With `nested`, that model takes the place of the next call.
fn above(model: &Model, boundary: usize, nested: Option<&Model>) -> Result<Model> {
    let calls = model.graph().calls();
    let first = nested.map_or(calls[boundary].shape(), Model::input_shape);
    let input = Input::named(unused_name(model, "boundary"), first.clone());
    let mut tensors: HashMap<usize, SymbolicTensor> = HashMap::from([(calls[boundary].id(), input.clone())]);
    for (position, call) in calls.iter().enumerate().skip(boundary + 1) {
        let inputs: Vec<SymbolicTensor> = call.inputs().iter().map(|input| tensors[&input.id()].clone()).collect();
        let output = match nested {
            Some(nested) if position == boundary + 1 => nested.call(&inputs)?,
            _ => call.layer().call(&inputs)?,
        };
        tensors.insert(call.id(), output);
    }
    Model::named(model.name(), &input, &tensors[&model.output().id()])
}

/// This name, or one like it, that no layer of the model has. Automatic names would be missing in models that are built later.
fn unused_name(model: &Model, name: &str) -> String {
    let names: HashSet<String> = model.graph().layers().iter().map(Layer::name).map(str::to_owned).collect();
    let mut name = name.to_owned();
    while names.contains(&name) {
        name.push('_');
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Arrays;
    use crate::random::Rng;

    /// Two convolutions with a normalization and a residual connection between them, `[8, 8, 3]` to `[8, 8, 4]`.
    fn base() -> Model {
        let x = Input::new([8, 8, 3]);
        let y = Conv2D::new(4, 3).padding(Padding::Same).named("conv1").call(&x).unwrap();
        let y = BatchNormalization::new().named("norm").call(&y).unwrap();
        let z = Conv2D::new(4, 3).padding(Padding::Same).activation(Relu).named("conv2").call(&y).unwrap();
        let z = Add::new().named("sum").call([&y, &z]).unwrap();
        let z = Conv2D::new(4, 1).named("conv3").call(&z).unwrap();
        Model::named("base", &x, &z).unwrap()
    }

    fn head(x: &SymbolicTensor) -> SymbolicTensor {
        let x = GlobalAveragePooling2D::new().named("pool").call(x).unwrap();
        let x = Dropout::new(0.3).seed(4).named("dropout").call(&x).unwrap();
        Dense::new(3)
            .kernel_regularizer(crate::Regularizer::l2(0.01))
            .activation(Softmax)
            .named("top")
            .call(&x)
            .unwrap()
    }

    /// The base as layers of the model, after preprocessing.
    fn flat() -> Model {
        let x = Input::new([8, 8, 3]);
        let y = Rescaling::new(1.0 / 255.0).named("scale").call(&x).unwrap();
        let base = base();
        let mut tensors = HashMap::from([(base.inputs()[0].id(), y)]);
        for call in &base.graph().calls()[1..] {
            let inputs: Vec<_> = call.inputs().iter().map(|input| tensors[&input.id()].clone()).collect();
            tensors.insert(call.id(), call.layer().call(&inputs).unwrap());
        }
        Model::new(&x, &head(&tensors[&base.output().id()])).unwrap()
    }

    /// The base as a layer of the model.
    fn nested() -> Model {
        let x = Input::new([8, 8, 3]);
        let y = Rescaling::new(1.0 / 255.0).named("scale").call(&x).unwrap();
        Model::new(&x, &head(&base().call(&y).unwrap())).unwrap()
    }

    /// The base inside a sequential model inside the model.
    fn nested_twice() -> Model {
        let inner = Sequential::with_name("inner").add(Rescaling::new(1.0 / 255.0)).add(base());
        let x = Input::new([8, 8, 3]);
        Model::new(&x, &head(&inner.call(&x).unwrap())).unwrap()
    }

    fn freeze(model: &Model, layers: &[&str]) -> Trainability {
        let flags = Trainability::all(model);
        layers.iter().fold(flags, |flags, name| flags.with(&model.get_layer(name).unwrap(), false))
    }

    fn shape_of(model: &Model, frozen: &[&str]) -> Option<Vec<usize>> {
        let parts = Partition::of(model, &freeze(model, frozen)).unwrap();
        parts.map(|parts| parts.lower.output_shape().clone())
    }

    fn photos(count: usize) -> Tensor {
        let mut rng = Rng::new(7);
        let pixels = (0..count * 8 * 8 * 3).map(|_| rng.uniform(0.0, 255.0)).collect();
        Tensor::new([count, 8, 8, 3], pixels).unwrap()
    }

    fn labels(count: usize) -> Tensor {
        let labels = (0..count).flat_map(|photo| (0..3).map(move |class| f32::from(u8::from(photo % 3 == class))));
        Tensor::new([count, 3], labels.collect()).unwrap()
    }

    const FROZEN: [&[&str]; 4] =
        [&["conv1"], &["conv1", "norm"], &["conv1", "norm", "conv2"], &["conv1", "norm", "conv2", "conv3"]];

    #[test]
    fn random_layers_between_frozen_ones_can_be_left_inactive() {
        let x = Input::new([8, 8, 3]);
        let y = Conv2D::new(4, 3).named("frozen").call(&x).unwrap();
        let y = Dropout::new(0.9).named("depth").call(&y).unwrap();
        let y = Conv2D::new(4, 3).named("also_frozen").call(&y).unwrap();
        let y =
            Dropout::new(0.9).named("last_depth").call(&Conv2D::new(2, 3).named("trained").call(&y).unwrap()).unwrap();
        let model = Model::new(&x, &y).unwrap();
        let flags = freeze(&model, &["frozen", "also_frozen"]);
        assert_eq!(Partition::of(&model, &flags).unwrap().unwrap().lower.output().layer().name(), "frozen");
        let parts = Partition::in_inference(&model, &flags).unwrap().unwrap();
        assert_eq!(parts.lower.output().layer().name(), "also_frozen");
        assert!(parts.upper.get_layer("last_depth").is_ok(), "it acts in training");
    }

    #[test]
    fn the_boundary_is_the_last_single_tensor_below_what_is_trained() {
        for model in [flat(), nested(), nested_twice()] {
            let last = |frozen: &[&str]| {
                let parts = Partition::of(&model, &freeze(&model, frozen)).unwrap().unwrap();
                let mut boundary = parts.lower.output().layer().clone();
                while let Some(graph) = boundary.def().graph() {
                    boundary = graph.outputs()[0].layer().clone();
                }
                boundary.name().to_owned()
            };
            // Of the residual connection, `conv2` is trained or not: the boundary comes before the connection or after it.
            assert_eq!(FROZEN.map(last), ["conv1", "norm", "sum", "pool"]);
        }
    }

    #[test]
    fn both_parts_give_the_bits_of_the_model() {
        let x = photos(9);
        for model in [flat(), nested(), nested_twice()] {
            for frozen in FROZEN {
                let flags = freeze(&model, frozen);
                let parts = Partition::of(&model, &flags).unwrap().unwrap();
                let features = parts.lower.predict(&x, 4).unwrap();
                let whole = model.predict(&x, 9).unwrap();
                let both = parts.upper.predict(&features, 4).unwrap();
                if frozen == ["conv1"] {
                    // In inference, a plan folds `norm` into `conv1`, unless the boundary lies between them.
                    let difference = both.data().iter().zip(whole.data()).map(|(a, b)| (a - b).abs());
                    assert!(difference.fold(0.0, f32::max) < 1e-6);
                } else {
                    assert_eq!(both, whole, "{frozen:?}");
                }
                let below = parts.lower.weights().len();
                assert_eq!(below + parts.upper.weights().len(), model.weights().len(), "no weight is in both");
                assert_eq!(flags.trainable_weights(&parts.upper).len(), flags.trainable_weights(&model).len());
            }
        }
    }

    /// Dropout, the regularizer, the frozen normalization and the optimizer state are as in the whole model.
    #[test]
    fn training_the_upper_part_trains_the_model_bit_for_bit() {
        let (x, y) = (photos(20), labels(20));
        for (build, frozen) in
            [flat as fn() -> Model, nested, nested_twice].into_iter().zip([1, 2, 3].map(|n| FROZEN[n]))
        {
            let [whole, cut] = [build(), build()];
            for (from, to) in whole.weights().iter().zip(cut.weights()) {
                to.set(from.values().clone()).unwrap();
            }
            for model in [&whole, &cut] {
                freeze(model, frozen).apply(model);
                model.compile(Adam::new(0.01), Loss::categorical_crossentropy(), [Metric::Accuracy]).unwrap();
            }
            let before = whole.weights().iter().map(|weight| weight.values().clone()).collect::<Vec<_>>();
            let fit = || Fit::new().epochs(3).batch_size(6).seed(5);
            let expected = whole.fit(&Arrays::new(x.clone(), y.clone()).unwrap(), fit()).unwrap();

            let parts = Partition::of(&cut, &Trainability::of(&cut)).unwrap().unwrap();
            parts.upper.set_compiled(cut.compiled());
            let features = parts.lower.predict(&x, 7).unwrap();
            let history = parts.upper.fit(&Arrays::new(features, y.clone()).unwrap(), fit()).unwrap();
            cut.set_compiled(parts.upper.compiled());

            let changed = |model: &Model| {
                let weights = model.weights();
                let changed = weights.iter().zip(&before).filter(|(now, before)| *now.values() != **before);
                changed.map(|(weight, _)| weight.path()).collect::<Vec<_>>()
            };
            assert!(changed(&whole).contains(&"top/kernel".to_owned()));
            assert_eq!(changed(&cut), changed(&whole));
            for (a, b) in whole.weights().iter().zip(cut.weights()) {
                assert_eq!(*a.values(), *b.values(), "{} with {frozen:?} frozen", a.path());
            }
            assert_eq!(history.get("loss"), expected.get("loss"));
            assert_eq!(cut.compiled().unwrap().state.iterations(), whole.compiled().unwrap().state.iterations());
        }
    }

    #[test]
    fn there_is_no_boundary_where_nothing_is_gained() {
        let model = nested();
        assert_eq!(shape_of(&model, &[]), None, "nothing is frozen");
        assert_eq!(shape_of(&model, &["scale"]), None, "no weights are frozen");
        assert_eq!(shape_of(&model, &["base", "top"]), None, "nothing is trained");
        assert_eq!(shape_of(&model, &["base"]), Some(vec![4]));
        // Statistics of a trainable normalization change, although it has no weights to train.
        let layers = Sequential::new().add(Input::new([8, 8, 3])).add(Conv2D::new(4, 3).named("conv"));
        let layers = layers.add(BatchNormalization::new().center(false).scale(false).named("norm")).add(Flatten::new());
        let model = layers.add(Dense::new(2)).build().unwrap();
        assert_eq!(shape_of(&model, &["conv"]), Some(vec![6, 6, 4]));
        assert_eq!(shape_of(&model, &["conv", "norm"]), Some(vec![144]));
        let x = Input::new([8, 8, 3]);
        let y = Conv2D::new(4, 3).named("conv").call(&x).unwrap();
        let outputs = [Flatten::new().call(&y).unwrap(), GlobalAveragePooling2D::new().call(&y).unwrap()];
        let several = Model::new(&x, [&outputs[0], &outputs[1]]).unwrap();
        assert_eq!(shape_of(&several, &["conv"]), None);
    }

    #[test]
    fn a_path_around_the_frozen_layers_moves_the_boundary_before_them() {
        let x = Input::new([8, 8, 3]);
        let stem = Conv2D::new(3, 1).named("stem").call(&x).unwrap();
        let deep = Conv2D::new(3, 3).padding(Padding::Same).named("deep").call(&stem).unwrap();
        let sum = Add::new().call([&stem, &deep]).unwrap();
        let top = Dense::new(2).named("top").call(&Flatten::new().call(&sum).unwrap()).unwrap();
        let model = Model::new(&x, &top).unwrap();
        assert_eq!(shape_of(&model, &["stem", "deep"]), Some(vec![192]));
        assert_eq!(shape_of(&model, &["stem"]), Some(vec![8, 8, 3]));
        assert_eq!(shape_of(&model, &["deep"]), None);
    }

    #[test]
    fn a_layer_that_is_called_below_and_above_is_trained_in_both_places() {
        let x = Input::new([4, 4, 3]);
        let shared = Conv2D::new(3, 1).named("shared");
        let y = Conv2D::new(3, 1).named("stem").call(&x).unwrap();
        let y = shared.call(&y).unwrap();
        let y = Conv2D::new(3, 1).named("frozen").call(&y).unwrap();
        let y = Flatten::new().call(&shared.call(&y).unwrap()).unwrap();
        let model = Model::new(&x, &Dense::new(2).named("top").call(&y).unwrap()).unwrap();
        let parts = Partition::of(&model, &freeze(&model, &["stem", "frozen"])).unwrap().unwrap();
        assert_eq!(parts.lower.output().layer().name(), "stem");
        assert_eq!(parts.upper.count_params() + parts.lower.count_params(), model.count_params());
    }

    #[test]
    fn augmentation_lies_below_only_if_variants_are_asked_for() {
        let x = Input::new([8, 8, 3]);
        let augment = Sequential::new().add(RandomFlip::horizontal()).add(RandomRotation::new(0.1));
        let y = base().call(&augment.call(&x).unwrap()).unwrap();
        let model = Model::new(&x, &head(&y)).unwrap();
        let flags = freeze(&model, &["base"]);
        assert!(Partition::of(&model, &flags).unwrap().is_none());
        let parts = Partition::with_variants(&model, &flags).unwrap().unwrap();
        // Dropout comes after layers with weights: it is no augmentation.
        assert_eq!((parts.lower.output_shape(), parts.upper.layers().len()), (&vec![4], 3));
        let (augmentation, rest) = parts.augmentation().unwrap().unwrap();
        assert_eq!((augmentation.count_params(), rest.count_params()), (0, parts.lower.count_params()));
        let x = photos(3);
        assert_eq!(rest.predict(&x, 2).unwrap(), parts.lower.predict(&x, 2).unwrap());
        assert!(Partition::of(&flat(), &freeze(&flat(), &[])).unwrap().is_none());
        let plain = Partition::with_variants(&nested(), &Trainability::of(&nested())).unwrap();
        assert!(plain.is_none());
    }

    #[test]
    fn a_normalization_of_the_features_lies_above_the_boundary() {
        let head = |x: &SymbolicTensor| {
            let x = GlobalAveragePooling2D::new().named("pool").call(x).unwrap();
            let x = Normalization::adapted().named("feature_norm").call(&x).unwrap();
            Dense::new(2).named("top").call(&x).unwrap()
        };
        let x = Input::new([8, 8, 3]);
        let model = Model::new(&x, &head(&Conv2D::new(4, 3).named("conv").call(&x).unwrap())).unwrap();
        let parts = Partition::of(&model, &freeze(&model, &["conv"])).unwrap().unwrap();
        assert_eq!(parts.lower.output().layer().name(), "pool");
        // A normalization before a base whose last part is trained: the base is cut.
        let normalized = Normalization::adapted().call(&x).unwrap();
        let model = Model::new(&x, &head(&base().call(&normalized).unwrap())).unwrap();
        assert_eq!(shape_of(&model, &["conv1", "norm", "conv2"]), Some(vec![8, 8, 4]));
        // Nothing but a normalization is frozen.
        assert_eq!(shape_of(&model, &[]), None);
    }
}
