//! Trains a classifier on a folder of photos, with one subfolder per class, and classifies a new photo.
//!
//!     cargo run --release --example train_on_a_folder -- photos new-photo.jpg

use std::path::Path;

use engraft::prelude::*;

/// Trains on `photos` and returns the probability of each class for `photo`.
pub(crate) fn run(
    photos: &Path,
    photo: &Path,
    weights: &str,
    image_size: usize,
) -> engraft::Result<Vec<(String, f32)>> {
    let folder = PhotoFolder::scan(photos, &mut |_done, _total| {})?;
    let parts = data::split(&folder.photos, 0.2, 1)?;
    let dataset = |photos| PhotoDataset::new(photos, folder.classes.len(), [image_size, image_size]);
    let (training, validation) = (dataset(parts.training)?, dataset(parts.validation)?);

    // VGG16 without its top, frozen, and a new head.
    let recipe = Recipe { image_size, head: vec![64], augment: Augment::none(), ..Recipe::new(folder.classes.len()) };
    let model = recipe.weights(weights).build(Box::new(|_, _| {}))?;
    model.compile(Adam::new(1e-3), Loss::categorical_crossentropy(), [Metric::Accuracy])?;
    let history = model.fit(&training, Fit::new().epochs(3).batch_size(8).validation(&validation))?;
    println!("validation accuracy {:?}", history.last("val_accuracy"));

    let classifier = Classifier::new(model, None)?;
    let probabilities = classifier.classify(&data::decode(photo)?)?;
    Ok(folder.classes.into_iter().zip(probabilities).collect())
}

fn main() -> engraft::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [photos, photo] = &arguments[..] else {
        return Err(engraft::Error::new("arguments", "a folder of photos and a photo", format!("{arguments:?}")));
    };
    for (class, probability) in run(Path::new(photos), Path::new(photo), "imagenet", 128)? {
        println!("{class}: {:.1} %", 100.0 * probability);
    }
    Ok(())
}
