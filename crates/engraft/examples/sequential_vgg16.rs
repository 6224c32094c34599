//! The classifier of `functional_vgg16` without augmentation, as a `Sequential` with a frozen VGG16 as its first layer.

use engraft::prelude::*;

/// The model and its VGG16 base.
pub(crate) fn model(weights: &str) -> engraft::Result<(Model, Model)> {
    let base = vgg16().include_top(false).weights(weights).input_shape([256, 256, 3]).build()?;
    base.set_trainable(false);
    let model = Sequential::new()
        .add(&base)
        .add(Flatten::new())
        .add(Dense::new(4096).activation(Relu))
        .add(Dense::new(4096).activation(Relu))
        .add(Dense::new(5).activation(Softmax))
        .build()?;
    Ok((model, base))
}

fn main() -> engraft::Result<()> {
    // Random weights, unless the first argument is `imagenet` or a file.
    let weights = std::env::args().nth(1).unwrap_or("none".into());
    let (model, _) = model(&weights)?;
    println!("{}", model.summary());
    Ok(())
}
