//! Files of `engraft export` predict the same in Keras, read by Keras or by the Python package safetensors. `onnx` tests ONNX.

use std::path::Path;

use engraft::prelude::*;
use engraft::recipe::{Classifier, Metadata};

use crate::keras::{losses, model, photos};
use crate::python::Peers;
use crate::support::Place;

/// For each float type of the kernels in the file: the largest accepted difference of a probability from Keras.
const TOLERANCES: [(&str, &str); 2] = [("f32", "1e-4"), ("f16", "5e-3")];

#[test]
fn exported_files_hold_for_others_what_the_model_is() {
    let Some(peers) = Peers::find() else { return };
    let (place, (x, y)) = (Place::new(), photos());
    let model = model(Adam::new(0.01).into());
    losses(&model, &x, &y, 2);
    let metadata = Metadata::new(["Röschti", "fish", "fruit"].map(str::to_owned).to_vec());
    let expected_metadata = peers.path("metadata.json");
    let (name, json) = metadata.entry();
    std::fs::write(&expected_metadata, serde_json::json!({name: String::from_utf8(json).unwrap()}).to_string())
        .unwrap();
    let expected = model.predict(&x, 4).unwrap();
    let (x, y, source) = (peers.array("x.npy", &x), peers.array("y.npy", &expected), place.path("m.keras"));
    Classifier::new(model, Some(metadata)).unwrap().save(&source).unwrap();

    for (precision, tolerance) in TOLERANCES {
        let tolerance = Path::new(tolerance);
        let export = |format: &str| {
            let file = format!("{precision}.{format}");
            place.run(&format!("export m.keras --to {format} --precision {precision} -o {file}")).succeeds();
            place.path(&file)
        };
        peers.agree("keras_loads.py", &[&export("h5"), tolerance, &x, &y]);
        peers.agree("keras_loads.py", &[&source, tolerance, &x, &y, &export("weights.h5")]);
        let weights = export("safetensors");
        let arguments = [&weights, Path::new(precision), &expected_metadata, &source, tolerance, &x, &y];
        peers.agree("safetensors_predicts.py", &arguments);
    }
}
