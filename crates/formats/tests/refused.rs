//! Refuses files of Keras with classes or options that we don't know; the error names them and their place.

use std::path::{Path, PathBuf};

use engraft_formats::keras;
use serde_json::Value;

/// Each case in `golden/refused`, with words that its error must contain.
const WORDS: &[(&str, &str)] = &[
    (
        "lambda_layer",
        "layer `scale` (Lambda): a Lambda layer holds Python code, which is never run here\nhint: write it in Keras with layers",
    ),
    ("lambda_in_nested", "model `inner`, layer `scale` (Lambda): a Lambda layer holds Python code"),
    ("custom_layer", "layer `scale`"),
    (
        "custom_activation",
        "layer `conv` (Conv2D), option `activation`: expected the name of an activation, received the function `golden>twice`",
    ),
    ("custom_model", "class `Classifier` in config.json: expected a class of Keras itself"),
    (
        "unknown_layer",
        "layer `mask` (Masking): this class of layer is left out: steps of time are for sequences and video",
    ),
    (
        "unknown_layer_in_functional",
        "layer `rows` (ConvLSTM1D): this class of layer is left out: recurrent layers work on sequences",
    ),
    (
        "unknown_activation",
        "layer `conv` (Conv2D), option `activation`: unknown activation `glu`; supported: linear, relu",
    ),
    ("unknown_operation", "operation `cumsum` (Cumsum): this operation is not known"),
    ("four_bits", "layer `hidden` (Dense), dtype: expected floats or int8, received int4/128_from_float32"),
    ("four_bits_in_attention", "as of a kernel quantized to int4"),
    ("eight_bit_floats_in_attention", "as of a kernel quantized to float8"),
];

fn golden(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../golden").join(file)
}

#[test]
fn what_is_not_known_is_named_where_it_stands() {
    let index: Vec<Value> = serde_json::from_slice(&std::fs::read(golden("refused/index.json")).unwrap()).unwrap();
    assert_eq!(index.len(), WORDS.len());
    let mut wrong = Vec::new();
    for (case, (name, words)) in index.iter().zip(WORDS) {
        assert_eq!(case["case"], *name);
        for file in case["files"].as_array().unwrap() {
            let path = golden("refused").join(file.as_str().unwrap());
            let error = keras::load(&path).unwrap_err().to_string();
            assert!(error.starts_with(&path.display().to_string()), "{error}");
            if !error.contains(words) {
                wrong.push(format!("expected {words:?} in: {error}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}
