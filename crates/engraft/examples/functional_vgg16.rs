//! A classifier of photos into five classes, built with the functional API: augmentation, VGG16, a head of three Dense layers.

use engraft::prelude::*;

/// The model and its VGG16 base.
pub(crate) fn model(weights: &str) -> engraft::Result<(Model, Model)> {
    let augment =
        Sequential::new().add(RandomFlip::horizontal()).add(RandomRotation::new(0.1)).add(RandomZoom::new(0.2));

    let inputs = Input::new([256, 256, 3]);
    let x = augment.call(&inputs)?;
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
