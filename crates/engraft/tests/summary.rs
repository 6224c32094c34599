//! Summaries have exactly the text that Keras prints for the same programs.

mod programs;

use std::path::{Path, PathBuf};

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../golden/summary")
}

/// Terminal names of the golden files and their line lengths. Keras limits lines to the terminal's width minus 4.
const WIDTHS: [(&str, Option<usize>); 2] = [("80", Some(76)), ("wide", None)];

#[test]
fn summaries_are_those_of_keras() {
    let index = std::fs::read_to_string(golden().join("index.json")).unwrap();
    let index: serde_json::Value = serde_json::from_str(&index).unwrap();
    let mut compared = 0;
    for entry in index.as_array().unwrap() {
        let program = entry["case"].as_str().unwrap();
        let (model, base) = programs::build(program);
        let names: Vec<String> = base.layers().iter().map(|layer| layer.name().to_owned()).collect();
        assert_eq!(serde_json::json!(names), entry["base_layers"], "{program}");
        for nested in [false, true] {
            for trainable in [false, true] {
                for (width, length) in WIDTHS {
                    let options = [(nested, "_nested"), (trainable, "_trainable")];
                    let options: String = options.iter().filter(|(on, _)| *on).map(|(_, name)| *name).collect();
                    let file = format!("{program}{options}_{width}.txt");
                    let expected = std::fs::read_to_string(golden().join(&file)).unwrap();
                    let summary = model.summary().expand_nested(nested).show_trainable(trainable);
                    let summary = length.into_iter().fold(summary, |summary, length| summary.line_length(length));
                    let received = format!("{summary}\n");
                    assert_eq!(received, expected, "{file}: received\n{received}expected\n{expected}");
                    compared += 1;
                }
            }
        }
    }
    let files = std::fs::read_dir(golden()).unwrap().count();
    assert_eq!(compared, files - 1, "not every file except index.json was compared");
}
