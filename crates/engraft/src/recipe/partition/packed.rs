//! Moves the boundary of a [`Partition`] up where several small tensors cross it instead of one large tensor.
//!
//! A head that also sees the pooled outputs of earlier blocks depends on these blocks. No single tensor is above them, although the
//! pooled outputs are few numbers.

use std::collections::HashMap;

use super::{Cut, Kind, Partition, RandomLayers, is_normalization, unused_name};
use crate::prelude::*;
use crate::{Model, Result};

/// How many times as many numbers may cross the boundary where that spares training the computation of frozen layers.
const MAX_GROWTH: usize = 2;

impl Cut<'_> {
    /// Moves all layers that depend on no trained one below the boundary, if fewer numbers then cross it. Where layers with weights
    /// move, which training would compute in every step, up to [`MAX_GROWTH`] times as many numbers may.
    ///
    /// They cross it as one vector, which the upper part cuts into the tensors again.
    pub(super) fn packed(&self, parts: Partition) -> Result<Partition> {
        let calls = parts.upper.graph().calls();
        let fixed = self.fixed(calls)?;
        let crossing = crossing(calls, &fixed);
        let size = |position: &usize| calls[*position].shape().iter().product::<usize>();
        let moves_weights = calls.iter().zip(&fixed).any(|(call, fixed)| *fixed && !call.layer().weights().is_empty());
        let most = if moves_weights { MAX_GROWTH * size(&0) } else { size(&0) };
        if crossing.len() < 2 || crossing.iter().map(size).sum::<usize>() >= most {
            return Ok(parts);
        }
        let lower = pack(&parts, &fixed, &crossing)?;
        let upper = unpack(&parts.upper, lower.output_shape()[0], &fixed, &crossing)?;
        Ok(Partition { lower, upper })
    }

    /// Whether each call does the same in training and inference, or may act as in inference, and depends on no trained layer.
    fn fixed(&self, calls: &[SymbolicTensor]) -> Result<Vec<bool>> {
        let mut fixed: HashMap<usize, bool> = HashMap::new();
        for call in calls {
            let is_fixed = call.inputs().iter().all(|input| fixed[&input.id()])
                && !is_normalization(call)
                && match self.kind(call)? {
                    Kind::Fixed => true,
                    Kind::Random => self.random == RandomLayers::Inactive,
                    Kind::Trained => false,
                };
            fixed.insert(call.id(), is_fixed);
        }
        Ok(calls.iter().map(|call| fixed[&call.id()]).collect())
    }
}

/// The positions of the fixed calls that another call reads.
fn crossing(calls: &[SymbolicTensor], fixed: &[bool]) -> Vec<usize> {
    let readers = || calls.iter().zip(fixed).filter(|(_, fixed)| !**fixed).flat_map(|(call, _)| call.inputs());
    let is_read = |position: &usize| readers().any(|input| input.id() == calls[*position].id());
    (0..calls.len()).filter(|&position| fixed[position]).filter(is_read).collect()
}

/// The lower part with the fixed layers of the upper one, and a vector of what crosses the boundary as its output.
fn pack(parts: &Partition, fixed: &[bool], crossing: &[usize]) -> Result<Model> {
    let calls = parts.upper.graph().calls();
    let mut tensors = HashMap::from([(calls[0].id(), parts.lower.output().clone())]);
    for (call, _) in calls.iter().zip(fixed).filter(|(_, fixed)| **fixed).skip(1) {
        let inputs: Vec<SymbolicTensor> = call.inputs().iter().map(|input| tensors[&input.id()].clone()).collect();
        tensors.insert(call.id(), call.layer().call(&inputs)?);
    }
    let vectors = crossing.iter().map(|&position| {
        let name = unused_name(&parts.upper, &format!("{}_vector", calls[position].layer().name()));
        Flatten::new().named(name).call(&tensors[&calls[position].id()])
    });
    let names: Vec<&str> = crossing.iter().map(|&position| calls[position].layer().name()).collect();
    let vector = Concatenate::new().named(names.join("+")).call(&vectors.collect::<Result<Vec<_>>>()?)?;
    Model::named(parts.lower.name(), parts.lower.inputs(), &vector)
}

/// The part of `upper` above the fixed layers, from a vector of what crosses the boundary.
fn unpack(upper: &Model, length: usize, fixed: &[bool], crossing: &[usize]) -> Result<Model> {
    let calls = upper.graph().calls();
    let input = Input::named(unused_name(upper, "boundary"), [length]);
    let row = Reshape::new([1, length as i64, 1]).named(unused_name(upper, "boundary_row")).call(&input)?;
    let mut tensors = HashMap::new();
    let mut start = 0;
    for &position in crossing {
        let call = &calls[position];
        let end = start + call.shape().iter().product::<usize>();
        let named = |suffix: &str| unused_name(upper, &format!("{}_{suffix}", call.layer().name()));
        let part = Cropping2D::new([[0, 0], [start, length - end]]).named(named("row")).call(&row)?;
        let shape: Vec<i64> = call.shape().iter().map(|&size| size as i64).collect();
        tensors.insert(call.id(), Reshape::new(shape).named(named("values")).call(&part)?);
        start = end;
    }
    for (call, _) in calls.iter().zip(fixed).filter(|(_, fixed)| !**fixed) {
        let inputs: Vec<SymbolicTensor> = call.inputs().iter().map(|input| tensors[&input.id()].clone()).collect();
        tensors.insert(call.id(), call.layer().call(&inputs)?);
    }
    Model::named(upper.name(), &input, &tensors[&upper.output().id()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Arrays;
    use crate::random::Rng;
    use crate::{Tensor, Trainability};

    /// A head on the pooled outputs of both blocks. `[8, 8, 3]` to `[8, 8, 4]` to `[4, 4, 5]`.
    fn model() -> Model {
        let x = Input::new([8, 8, 3]);
        let one = Conv2D::new(4, 3).padding(Padding::Same).activation(Relu).named("one").call(&x).unwrap();
        let two = Conv2D::new(5, 3).strides(2).padding(Padding::Same).named("two").call(&one).unwrap();
        let three = Conv2D::new(6, 3).named("three").call(&two).unwrap();
        let pool = |x: &SymbolicTensor, name: &str| GlobalAveragePooling2D::new().named(name).call(x).unwrap();
        let features = [pool(&three, "three_pool"), pool(&two, "two_pool"), pool(&one, "one_pool")];
        let features = Concatenate::new().named("features").call(&features[..]).unwrap();
        Model::new(&x, &Dense::new(2).activation(Softmax).named("top").call(&features).unwrap()).unwrap()
    }

    fn frozen(model: &Model, layers: &[&str]) -> Trainability {
        let flags = Trainability::all(model);
        layers.iter().fold(flags, |flags, name| flags.with(&model.get_layer(name).unwrap(), false))
    }

    fn photos(count: usize) -> Tensor {
        let mut rng = Rng::new(3);
        let pixels = (0..count * 8 * 8 * 3).map(|_| rng.uniform(-1.0, 1.0)).collect();
        Tensor::new([count, 8, 8, 3], pixels).unwrap()
    }

    #[test]
    fn pooled_outputs_of_frozen_blocks_cross_the_boundary_beside_the_last_map() {
        let model = model();
        let parts = Partition::of(&model, &frozen(&model, &["one", "two"])).unwrap().unwrap();
        assert_eq!(parts.lower.output_shape(), &[4 * 4 * 5 + 5 + 4]);
        assert_eq!(parts.lower.output().layer().name(), "two+two_pool+one_pool");
        let weights = |model: &Model| model.weights().iter().map(|weight| weight.path().to_owned()).collect::<Vec<_>>();
        assert_eq!(weights(&parts.upper), ["three/kernel", "three/bias", "top/kernel", "top/bias"]);
        assert_eq!(weights(&parts.lower), ["one/kernel", "one/bias", "two/kernel", "two/bias"]);
        let x = photos(5);
        let values = parts.lower.predict(&x, 2).unwrap();
        assert_eq!(parts.upper.predict(&values, 5).unwrap(), model.predict(&x, 5).unwrap());
    }

    /// Two maps of the same size, and a head on both: the frozen convolution between them would be computed in every step.
    #[test]
    fn frozen_layers_with_weights_move_even_if_a_few_more_numbers_cross() {
        let x = Input::new([8, 8, 3]);
        let one = Conv2D::new(4, 3).padding(Padding::Same).named("one").call(&x).unwrap();
        let two = Conv2D::new(4, 3).padding(Padding::Same).named("two").call(&one).unwrap();
        let three = Conv2D::new(6, 3).named("three").call(&two).unwrap();
        let pool = |x: &SymbolicTensor| GlobalAveragePooling2D::new().call(x).unwrap();
        let features = Concatenate::new().call([&pool(&three), &pool(&one)]).unwrap();
        let model = Model::new(&x, &Dense::new(2).named("top").call(&features).unwrap()).unwrap();
        let parts = Partition::of(&model, &frozen(&model, &["one", "two"])).unwrap().unwrap();
        assert_eq!((parts.lower.output_shape(), parts.upper.weights().len()), (&vec![8 * 8 * 4 + 4], 4));
        let x = photos(3);
        let values = parts.lower.predict(&x, 2).unwrap();
        assert_eq!(parts.upper.predict(&values, 3).unwrap(), model.predict(&x, 3).unwrap());
    }

    #[test]
    fn one_tensor_stays_where_it_is_smaller() {
        let model = model();
        let parts = Partition::of(&model, &frozen(&model, &["one"])).unwrap().unwrap();
        assert_eq!(parts.lower.output().layer().name(), "one", "the map and its pooled values are more than the map");
    }

    #[test]
    fn training_from_packed_values_trains_the_model_bit_for_bit() {
        let [whole, cut] = [model(), model()];
        for (from, to) in whole.weights().iter().zip(cut.weights()) {
            to.set(from.values().clone()).unwrap();
        }
        for model in [&whole, &cut] {
            frozen(model, &["one", "two"]).apply(model);
            model.compile(Adam::new(0.01), Loss::categorical_crossentropy(), []).unwrap();
        }
        let (x, y) = (photos(12), Tensor::new([12, 2], [1.0, 0.0, 0.0, 1.0].repeat(6)).unwrap());
        let fit = || Fit::new().epochs(3).batch_size(5).seed(2);
        let expected = whole.fit(&Arrays::new(x.clone(), y.clone()).unwrap(), fit()).unwrap();
        let parts = Partition::of(&cut, &Trainability::of(&cut)).unwrap().unwrap();
        parts.upper.set_compiled(cut.compiled());
        let values = parts.lower.predict(&x, 7).unwrap();
        let history = parts.upper.fit(&Arrays::new(values, y).unwrap(), fit()).unwrap();
        assert_eq!(history.get("loss"), expected.get("loss"));
        for (one, other) in whole.weights().iter().zip(cut.weights()) {
            assert_eq!(*one.values(), *other.values(), "{}", one.path());
        }
    }
}
