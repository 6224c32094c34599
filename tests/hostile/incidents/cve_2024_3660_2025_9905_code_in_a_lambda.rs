//! Lambda layers contain marshalled Python code, which Keras ran on loading: in `.keras` files, and in `.h5` files even in its
//! safe mode.

use serde_json::json;

use super::{h5_of, keras_of, load, refused, with_layer};

#[test]
fn it_is_refused_by_name() {
    let code =
        json!({"class_name": "__lambda__", "config": {"code": "4wEAAAAAAAAAAAAAAAQAAAADAAAA", "defaults": null}});
    let config = with_layer("Lambda", "keras.layers", &json!({"function": code, "arguments": {}}));
    let legacy = with_layer(
        "Lambda",
        "keras.layers",
        &json!({"function": ["4wEAAAAAAAAAAAAAAAQAAAADAAAA", null, null], "function_type": "lambda", "module": "os"}),
    );
    for bytes in [keras_of(&config), h5_of(&config), keras_of(&legacy), h5_of(&legacy)] {
        refused(|| load(&bytes), &["layer `conv2d` (Lambda): a Lambda layer holds Python code", "hint: "]);
    }
}

#[test]
fn nor_does_it_help_to_hide_it_in_a_wrapper() {
    let lambda = json!({"class_name": "Lambda", "module": "keras.layers", "config": {"function": "x"}});
    let config = with_layer("TimeDistributed", "keras.layers", &json!({"layer": lambda}));
    for bytes in [keras_of(&config), h5_of(&config)] {
        refused(|| load(&bytes), &["layer `conv2d` (TimeDistributed)", "left out"]);
    }
}
