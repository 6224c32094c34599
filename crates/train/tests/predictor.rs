//! [`Predictor`] gives the outputs of [`Train::predict`].

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use engraft_nn::prelude::*;
use engraft_nn::random::Rng;
use engraft_plan::Plan;
use engraft_runtime::{Predictor, Runtime};
use engraft_train::{RunOptions, Train};

const LARGEST: usize = 16;

/// A model whose first layers are so wide that a plan for [`LARGEST`] samples runs them in chunks. It has convolutions for each
/// algorithm, and narrow layers that run for the whole batch.
fn model() -> Model {
    let x = Input::new([160, 160, 3]);
    let conv = |filters, size: usize| Conv2D::new(filters, size).padding(Padding::Same).activation(Relu);
    let y = conv(8, 1).call(&conv(24, 3).call(&x).unwrap()).unwrap();
    let y = MaxPooling2D::new(2).call(&conv(24, 3).call(&y).unwrap()).unwrap();
    let y = BatchNormalization::new().call(&conv(32, 3).strides(2).call(&y).unwrap()).unwrap();
    let y = DepthwiseConv2D::new(3).call(&MaxPooling2D::new(4).call(&y).unwrap()).unwrap();
    let y = conv(300, 1).call(&MaxPooling2D::new(4).call(&y).unwrap()).unwrap();
    let y = conv(300, 1).call(&y).unwrap();
    let y = Dense::new(300).activation(Relu).call(&GlobalAveragePooling2D::new().call(&y).unwrap()).unwrap();
    Model::new(&x, &Dense::new(5).activation(Softmax).call(&y).unwrap()).unwrap()
}

fn photos(count: usize) -> Tensor {
    let mut rng = Rng::new(1);
    let pixels = (0..count * 160 * 160 * 3).map(|_| rng.uniform(0.0, 255.0)).collect();
    Tensor::new([count, 160, 160, 3], pixels).unwrap()
}

#[test]
fn a_predictor_gives_the_bits_of_predict_for_the_same_batch() {
    let (model, runtime) = (model(), Runtime::cpu(Some(2)).unwrap());
    let options = runtime.plan_options();
    let plan = |batch| Plan::predict(&model, batch, &options).unwrap();
    // `predict` plans for the batch at hand, a predictor for its largest batch. So they cut one batch into different chunks.
    assert!(plan(LARGEST).chunk() < LARGEST && !plan(LARGEST).prefix().is_empty() && plan(5).prefix().is_empty());

    let predictor = Predictor::new(&model, LARGEST, &runtime).unwrap();
    let all = photos(LARGEST + 3);
    for samples in [1, 5, LARGEST, LARGEST + 3] {
        let x = all.samples(0, samples).unwrap();
        let expected = model.predict(&x, RunOptions::from(LARGEST).runtime(&runtime)).unwrap();
        assert!(predictor.predict(&x).unwrap() == expected, "{samples} samples");
    }
    // A runtime with little memory would make this plan, with chunks of one sample.
    let mut low_memory = runtime.executor().prepare(plan(LARGEST).low_memory().unwrap()).unwrap();
    let x = all.samples(0, LARGEST).unwrap();
    assert!(low_memory.predict(&[&x]).unwrap()[0] == predictor.predict(&x).unwrap());
}
