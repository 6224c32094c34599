//! Freezes the first 15 layers of a nested VGG16, so that its last block and the head are trained.

#[path = "sequential_vgg16.rs"]
#[expect(dead_code, reason = "only its model is wanted")]
mod sequential_vgg16;

use engraft::prelude::*;

/// The model of `sequential_vgg16` and its partly frozen base.
pub(crate) fn model(weights: &str) -> engraft::Result<(Model, Model)> {
    let (model, base) = sequential_vgg16::model(weights)?;
    base.set_trainable(true);
    for layer in &model.layers()[0].layers()[..15] {
        layer.set_trainable(false);
    }
    Ok((model, base))
}

fn main() -> engraft::Result<()> {
    // Random weights, unless the first argument is `imagenet` or a file.
    let weights = std::env::args().nth(1).unwrap_or("none".into());
    let (model, _) = model(&weights)?;
    println!("{}", model.summary().show_trainable(true));
    Ok(())
}
