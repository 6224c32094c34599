//! Freezes all layers of VGG16, so that only the head is trained.

#[path = "functional_vgg16.rs"]
#[expect(dead_code, reason = "only its model is wanted")]
mod functional_vgg16;

use engraft::prelude::*;

/// The model of `functional_vgg16` and its frozen base.
pub(crate) fn model(weights: &str) -> engraft::Result<(Model, Model)> {
    let (model, base) = functional_vgg16::model(weights)?;
    for layer in base.layers() {
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
