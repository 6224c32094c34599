//! An exported ONNX file predicts the same on real photos in onnxruntime.

use std::fs;

use engraft::data::decode;
use engraft::prelude::*;
use engraft::recipe::Classifier;

use crate::python::Peers;
use crate::trained::Trained;

/// For each float type of the kernels in the file: the largest accepted difference of a probability from onnxruntime.
///
/// Rounding to f16 changes a weight by at most 1/2048 of its value. After VGG16's layers, this changes a probability by some
/// thousandths.
const TOLERANCES: [(&str, &str); 2] = [("f32", "1e-4"), ("f16", "5e-3")];

#[test]
fn an_exported_vgg16_sees_in_photos_what_the_model_sees() {
    let Some(peers) = Peers::find() else { return };
    let Some(Trained { place, unseen }) = Trained::new() else { return };
    let classifier = Classifier::load(&place.path("m.keras")).unwrap();
    let [height, width] = classifier.image_size();
    let pixels = unseen.iter().flat_map(|photo| decode(photo).unwrap().resize(height, width)).collect();
    let x = Tensor::new([unseen.len(), height, width, 3], pixels).unwrap();
    let expected = classifier.model().predict(&x, 8).unwrap();
    let unsure = expected.data().iter().filter(|probability| (0.01..0.99).contains(*probability));
    assert!(unsure.count() >= unseen.len(), "{expected:?}");
    let (x, y, classes) = (peers.array("x.npy", &x), peers.array("y.npy", &expected), peers.path("classes.json"));
    fs::write(&classes, serde_json::to_string(classifier.classes()).unwrap()).unwrap();

    for (precision, tolerance) in TOLERANCES {
        let file = format!("{precision}.onnx");
        let run = place.run(&format!("export m.keras unseen --to onnx --precision {precision} -o {file}")).succeeds();
        assert!(run.out.contains("on 8 photos: ") && run.out.contains("Accuracy "), "{run}");
        peers.agree("onnx_predicts.py", &[&place.path(&file), tolerance.as_ref(), &x, &y, &classes]);
    }
}
