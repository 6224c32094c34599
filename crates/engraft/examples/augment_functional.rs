//! The classifier of `functional_vgg16`, with augmentation layers that are called one by one instead of in a `Sequential`.

use engraft::prelude::*;

/// The model and its VGG16 base.
pub(crate) fn model(weights: &str) -> engraft::Result<(Model, Model)> {
    let inputs = Input::new([256, 256, 3]);
    let x = RandomFlip::horizontal().call(&inputs)?;
    let x = RandomRotation::new(0.1).call(&x)?;
    let x = RandomZoom::new(0.2).call(&x)?;
    let base = vgg16().include_top(false).weights(weights).input_tensor(&x).build()?;
    let x = Flatten::new().call(base.output())?;
    let x = Dense::new(4096).activation(Relu).call(&x)?;
    let x = Dense::new(4096).activation(Relu).call(&x)?;
    let outputs = Dense::new(5).activation(Softmax).call(&x)?;
    let model = Model::new(&inputs, &outputs)?;
    Ok((model, base))
}

fn main() -> engraft::Result<()> {
    // Random weights, unless the first argument is `imagenet` or a file.
    let weights = std::env::args().nth(1).unwrap_or("none".into());
    let (model, _) = model(&weights)?;
    println!("{}", model.summary());
    Ok(())
}
