//! Arbitrary calls: a config may name a module and a function, which Keras imported and called. Examples are `os.system`, Keras'
//! `get_file` with any URL, and the function that turns its safe mode off.

use engraft::UnknownParts;
use serde_json::json;

use super::tripwire::Port;
use super::{config, h5_of, keras_of, load, refused, with_layer};

#[test]
fn modules_of_others_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let made = folder.path().join("made");
    let command = format!("touch {}", made.display());
    for (module, class_name) in
        [("os", "system"), ("subprocess", "run"), ("builtins", "exec"), ("kerasx.layers", "Dense")]
    {
        let config = with_layer(class_name, module, &json!({"command": command, "args": [command]}));
        for bytes in [keras_of(&config), h5_of(&config)] {
            let place = format!("class `{class_name}` in config.json");
            refused(|| load(&bytes), &[&place, "expected a class of Keras itself", module, "hint: "]);
        }
    }
    assert!(!made.exists());
}

#[test]
fn functions_of_keras_are_no_layers() {
    let port = Port::open();
    let options = json!({"fname": "x", "origin": port.url(), "extract": true, "cache_dir": "/"});
    for (module, class_name) in [
        ("keras.utils", "get_file"),
        ("keras.src.utils.file_utils", "get_file"),
        ("keras.config", "enable_unsafe_deserialization"),
        ("keras.models", "load_model"),
        ("keras.ops", "custom_gradient"),
    ] {
        let config = with_layer(class_name, module, &options);
        for bytes in [keras_of(&config), h5_of(&config)] {
            refused(|| load(&bytes), &["`conv2d`", class_name, "not known"]);
        }
    }
    port.assert_untouched();
}

/// An option that predictions use names no functions.
#[test]
fn activations_name_no_functions_either() {
    for object in functions() {
        let config = config(|layer| layer["config"]["activation"] = object.clone());
        for bytes in [keras_of(&config), h5_of(&config)] {
            refused(|| load(&bytes), &["layer `conv2d` (Conv2D), option `activation`: "]);
        }
    }
}

/// Predictions don't use these options. What the options name is text, which no program looks up; training with it is refused.
#[test]
fn functions_in_options_that_nothing_uses_are_text() {
    for option in ["kernel_initializer", "bias_initializer", "kernel_regularizer", "kernel_constraint"] {
        for object in functions() {
            let config = config(|layer| layer["config"][option] = object.clone());
            let model = load(&keras_of(&config)).unwrap().model;
            let layer = model.get_layer("conv2d").unwrap();
            assert_eq!(layer.def().config()[option], object);
            assert!(layer.weights().iter().all(|weight| weight.values().iter().all(|value| value.is_finite())));
            let trains = engraft_nn::Program::of(&model, true, 0).unwrap().check_implemented(true);
            assert_eq!(trains.is_ok(), option.ends_with("initializer"), "{option}: {trains:?}");
        }
    }
}

/// A function by its name, and a call of a module.
fn functions() -> [serde_json::Value; 2] {
    [
        json!({"class_name": "function", "module": "builtins", "registered_name": "function", "config": "eval"}),
        json!({"class_name": "system", "module": "os", "config": {"command": "true"}, "registered_name": "system"}),
    ]
}

/// The model is loaded without this part of its compile settings, with a warning, and saved without it.
#[test]
fn what_compiles_a_model_names_no_functions_either() {
    let function =
        json!({"class_name": "function", "module": "builtins", "registered_name": "function", "config": "eval"});
    for part in ["optimizer", "loss", "metrics"] {
        let mut config = config(|_| {});
        let compiled = json!({"optimizer": "adam", "loss": "categorical_crossentropy", "metrics": ["accuracy"]});
        config["compile_config"] = compiled;
        assert_eq!(load(&keras_of(&config)).unwrap().warnings, [""; 0]);
        config["compile_config"][part] = function.clone();
        let archive = load(&keras_of(&config)).unwrap();
        assert!(archive.warnings[0].starts_with("left out of the settings of compile: "), "{:?}", archive.warnings);
        assert_eq!(*archive.model.compiled().unwrap().unknown, UnknownParts::default());
    }
}
