//! A lookup layer may name a file or a URL as its vocabulary, and Keras read it while loading the model.

use serde_json::json;

#[cfg(unix)]
use super::tripwire::Pipe;
use super::tripwire::Port;
use super::{h5_of, keras_of, load, refused, with_layer};

#[cfg(unix)]
#[test]
fn no_file_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vocabulary.txt");
    let pipe = Pipe::create(&path);
    for class_name in ["StringLookup", "IntegerLookup", "TextVectorization"] {
        let config = with_layer(class_name, "keras.layers", &json!({"vocabulary": path}));
        for bytes in [keras_of(&config), h5_of(&config)] {
            refused(|| load(&bytes), &[&format!("layer `conv2d` ({class_name})"), "left out"]);
        }
    }
    pipe.assert_untouched();
}

#[test]
fn no_address_is_asked() {
    let port = Port::open();
    let config = with_layer("StringLookup", "keras.layers", &json!({"vocabulary": port.url()}));
    for bytes in [keras_of(&config), h5_of(&config)] {
        refused(|| load(&bytes), &["layer `conv2d` (StringLookup)", "left out"]);
    }
    port.assert_untouched();
}
