//! Freezes the first 15 layers of VGG16, so that its last block and the head are trained.

#[path = "functional_vgg16.rs"]
#[expect(dead_code, reason = "only its model is wanted")]
mod functional_vgg16;

use engraft::prelude::*;

/// The model of `functional_vgg16` and its partly frozen base.
pub(crate) fn model(weights: &str) -> engraft::Result<(Model, Model)> {
    let (model, base) = functional_vgg16::model(weights)?;
    for layer in &base.layers()[..15] {
        layer.set_trainable(false);
    }
    for layer in &base.layers()[15..] {
        layer.set_trainable(true);
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
