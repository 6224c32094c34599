//! A classifier on VGG16 that the program trains on a few real photos, for comparisons with other programs.

use std::fs;
use std::path::{Path, PathBuf};

use engraft::recipe::Classifier;

use crate::support::Place;

/// The classes of the model. [`SEEN`] photos of each are in its training set; [`UNSEEN`] others are held out.
const CLASSES: [&str; 2] = ["fish", "fruit"];
const SEEN: usize = 4;
const UNSEEN: usize = 4;

/// A place with the model `m.keras`, and held-out photos in `unseen/CLASS/`.
pub(crate) struct Trained {
    pub(crate) place: Place,
    pub(crate) unseen: Vec<PathBuf>,
}

impl Trained {
    /// Trains the model. If weights or photos are missing, prints that the test is skipped, and returns `None`.
    pub(crate) fn new() -> Option<Self> {
        let weights = asset("keras/vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5");
        let (Some(weights), Some(food)) = (weights, asset("food5")) else { return None };
        let (place, mut unseen) = (Place::new(), Vec::new());
        for class in CLASSES {
            for (index, photo) in photos(&food.join(class), SEEN + UNSEEN).iter().enumerate() {
                let folder = if index < SEEN { "photos" } else { "unseen" };
                let name = format!("{folder}/{class}/{}", photo.file_name().unwrap().to_str().unwrap());
                place.write(&name, &fs::read(photo).unwrap());
                unseen.extend((index >= SEEN).then(|| place.path(&name)));
            }
        }
        let arguments = "train photos --backbone vgg16 --image-size 64 --head 16 --epochs 2 --batch-size 8 --validation-split 0 \
                         --learning-rate 0.01 -o m.keras";
        place.run_with(arguments, |command| command.arg("--weights").arg(weights)).succeeds();
        soften(&place.path("m.keras"));
        Some(Self { place, unseen })
    }
}

/// Divides the weights of the output layer, so that probabilities are no longer close to 0 or 1.
///
/// Training moves probabilities close to 0 or 1, where even a wrong model may predict the same.
fn soften(path: &Path) {
    let classifier = Classifier::load(path).unwrap();
    for weight in classifier.model().layers().last().unwrap().weights() {
        weight.values_mut().iter_mut().for_each(|value| *value /= 32.0);
    }
    classifier.save(path).unwrap();
}

/// Path of a file or folder that `cargo xtask assets` downloads. If it is missing, prints that the test is skipped.
fn asset(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets").join(name);
    if !path.exists() {
        eprintln!("SKIPPED: assets/{name} is missing; `cargo xtask assets` brings it");
    }
    path.exists().then_some(path)
}

/// The first `count` photos in the folder of a class, by file name.
fn photos(class: &Path, count: usize) -> Vec<PathBuf> {
    let mut photos: Vec<PathBuf> = fs::read_dir(class).unwrap().map(|entry| entry.unwrap().path()).collect();
    photos.sort();
    photos.truncate(count);
    assert_eq!(photos.len(), count, "{}", class.display());
    photos
}
