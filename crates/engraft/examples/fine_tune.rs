//! Freeze the base and train the head; then unfreeze the last block and fine-tune at a tenth of the learning rate.
//!
//!     cargo run --release --example fine_tune -- photos

use std::path::Path;

use engraft::prelude::*;

/// Trains on the photos in `photos` and returns the history of both phases and the model.
pub(crate) fn run(photos: &Path, weights: &str, image_size: usize) -> engraft::Result<(History, Model)> {
    let folder = PhotoFolder::scan(photos, &mut |_done, _total| {})?;
    let classes = folder.classes.len();
    let training = PhotoDataset::new(folder.photos, classes, [image_size, image_size])?;

    let inputs = Input::new([image_size, image_size, 3]);
    let x = vgg16::preprocess_input(&inputs)?;
    let base = vgg16().include_top(false).weights(weights).input_tensor(&x).build()?;
    let x = GlobalAveragePooling2D::new().call(base.output())?;
    let outputs = Dense::new(classes).activation(Softmax).call(&x)?;
    let model = Model::new(&inputs, &outputs)?;

    // Phase 1: only the head is trainable.
    base.set_trainable(false);
    model.compile(Adam::new(1e-3), Loss::categorical_crossentropy(), [Metric::Accuracy])?;
    let mut history = model.fit(&training, Fit::new().epochs(2).batch_size(8))?;

    // Phase 2: the last block is trainable, too, with a low learning rate. Compiling again resets the optimizer's state.
    for layer in base.layers().iter().filter(|layer| layer.name().starts_with("block5")) {
        layer.set_trainable(true);
    }
    model.compile(Adam::new(1e-4), Loss::categorical_crossentropy(), [Metric::Accuracy])?;
    println!("{}", model.summary().show_trainable(true));
    history.extend(&model.fit(&training, Fit::new().epochs(2).batch_size(8))?);
    Ok((history, model))
}

fn main() -> engraft::Result<()> {
    let photos = std::env::args().nth(1).unwrap_or("photos".into());
    let (history, _) = run(Path::new(&photos), "imagenet", 128)?;
    println!("{}", history.to_json());
    Ok(())
}
