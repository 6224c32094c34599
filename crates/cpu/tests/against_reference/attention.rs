//! Attention over patches and over feature maps, and the other products of values.

use engraft_nn::layers::{AdditiveAttention, Attention, EinsumDense, Embedding, GroupQueryAttention, ScoreMode};
use engraft_nn::prelude::*;
use engraft_plan::GradientRequest;

use crate::compare::{compare_gradients, compare_training, inner_layers, optimizers};
use crate::support::randomize;

/// All gradients in prediction and in training, and some training steps with each optimizer.
fn compare(model: &Model) {
    randomize(model, 1);
    for training in [false, true] {
        let layers = inner_layers(model, 4);
        let request = GradientRequest { training, seed: 0, inputs: true, weights: true, layers };
        compare_gradients(model, &request, &format!("training {training}"));
    }
    optimizers().iter().for_each(|optimizer| compare_training(model, optimizer, &format!("{optimizer:?}")));
}

/// A classifier of patches with a block that turns `[6, 8]` into `[6, 8]`.
fn of_patches(block: impl Fn(&SymbolicTensor) -> engraft_nn::Result<SymbolicTensor>) -> Model {
    let x = Input::new([8, 12, 3]);
    let patches = Conv2D::new(8, 4).strides(4).call(&x).unwrap();
    let patches = Reshape::new([-1, 8]).call(&patches).unwrap();
    let y = Add::new().call([&patches, &block(&patches).unwrap()]).unwrap();
    let pooled = GlobalAveragePooling1D::new().call(&y).unwrap();
    Model::new(&x, &Dense::new(3).activation(Softmax).call(&pooled).unwrap()).unwrap()
}

#[test]
fn heads_with_dropout_and_a_mask() {
    let attention = || MultiHeadAttention::new(2, 3).value_dim(4).dropout(0.3).use_causal_mask(true);
    compare(&of_patches(|x| attention().call([x, x])));
    compare(&of_patches(|x| MultiHeadAttention::new(2, 3).use_gate(true).call([x, x])));
}

#[test]
fn query_heads_that_share_keys() {
    compare(&of_patches(|x| GroupQueryAttention::new(3, 4, 2).dropout(0.3).call([x, x])));
}

#[test]
fn attention_without_projections() {
    compare(&of_patches(|x| Attention::new().use_scale(true).score_mode(ScoreMode::Concat).call([x, x])));
    compare(&of_patches(|x| AdditiveAttention::new().call([x, x])));
}

#[test]
fn kernels_of_any_layout_and_rows_of_a_table() {
    let mixed = |x: &SymbolicTensor| {
        let tokens = EinsumDense::new("abc,bd->adc", [6, 8]).bias_axes("d").call(x)?;
        let y = EinsumDense::new("abc,dc->abd", [6, 8]).bias_axes("bd").activation(Tanh).call(&tokens)?;
        let each = EinsumDense::new("abc,bcd->abd", [6, 8]).call(&y)?;
        // Inputs of order 1 are indices into the first rows of the table.
        let index = Dense::new(1).call(x)?;
        let rows = Reshape::new([6, 8]).call(&Embedding::new(3, 8).call(&index)?)?;
        Add::new().call([&each, &rows])
    };
    compare(&of_patches(mixed));
}
