//! Opens models of Keras whose last layers make something of probabilities, logits or features, and compares what their outputs are.

use engraft::OutputActivation;
use engraft::prelude::*;
use engraft::recipe::Outputs;
use engraft_golden::{cases, relative_error};

/// The largest error allowed, relative to the largest value.
const TOLERANCE: f32 = 1e-5;

#[test]
fn outputs_mean_what_the_last_layers_or_the_loss_say_and_are_those_of_keras() {
    let cases = cases("outputs");
    assert!(cases.len() >= 20, "{}", cases.len());
    for case in &cases {
        let name = case.name();
        let classifier = Classifier::load(&case.path(&format!("{name}.keras"))).unwrap();
        assert!(classifier.warnings().is_empty(), "{name}: {:?}", classifier.warnings());
        assert_eq!(Some(classifier.outputs().name()), case.get("outputs").as_str(), "{name}");
        let arrays = case.arrays();
        let [x, y] = ["x", "y"].map(|array| arrays.get(case.get(array).as_str().unwrap()));
        let classes = classifier.classes().len();
        let raw = classifier.raw_outputs().probabilities(x).unwrap();
        assert_eq!(raw.shape(), [2, classes], "{name}");
        // A single probability p answers with 1 - p and p.
        let given: Vec<f32> = match y.data().len() {
            2 => vec![raw.row(0)[1], raw.row(1)[1]],
            _ => raw.into_data(),
        };
        let error = relative_error(&given, y.data());
        assert!(error < TOLERANCE, "{name}: {error}");
    }
}

#[test]
fn the_loss_of_an_image_of_one_pixel_says_which_logits_they_are() {
    let cases = cases("outputs");
    let outputs = |name: &str| {
        let case = cases.iter().find(|case| case.name() == name).unwrap();
        Classifier::load(&case.path(&format!("{name}.keras"))).unwrap().outputs()
    };
    assert_eq!(outputs("pixel_binary"), Outputs::Logits(OutputActivation::Sigmoid));
    assert_eq!(outputs("pixel_logits"), Outputs::Logits(OutputActivation::Softmax));
}
