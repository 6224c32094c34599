//! How a model file is opened: class names beside it, one of several outputs, images of any size, layers in a file of their own.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use std::path::Path;

use engraft::formats::FloatType;
use engraft::formats::keras::{self, LoadOptions, SaveOptions};
use engraft::layers::from_config;
use engraft::prelude::*;
use support::Place;

fn golden(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../golden/stored").join(name)
}

/// An input of open size, here of 16 pixels.
fn open_input() -> SymbolicTensor {
    let config = serde_json::json!({"name": "photo", "batch_shape": [null, null, null, 3]});
    let layer = from_config("InputLayer", config.as_object().unwrap().clone()).unwrap();
    Input::of(&layer, vec![16, 16, 3]).unwrap()
}

#[test]
fn class_names_beside_a_model_are_used_told_and_checked() {
    let place = Place::with_photos(1);
    place.add_model("m.keras");
    place.write("class_indices.json", br#"{"r": 2, "g": 1, "b": 0}"#);
    let run = place.run("predict m.keras photos/red/00.bmp --json").succeeds();
    assert!(run.err.contains("note: the class names are those in class_indices.json"), "{run}");
    let names: Vec<String> = run.json()["probabilities"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(names, ["b", "g", "r"]);
    let run = place.run("inspect m.keras --json").succeeds();
    assert_eq!((&run.json()["classes"][2], &run.json()["classes_file"]), (&"r".into(), &"class_indices.json".into()));

    let run = place.run("predict m.keras photos/red/00.bmp --json --class-names x,y,z").succeeds();
    assert!(run.out.contains("\"x\"") && run.err.is_empty(), "{run}");
    place.write("labels.txt", b"one\ntwo\n");
    place.run("predict m.keras photos/red/00.bmp").fails(1, &["labels.txt", "expected 3 class names, received 2"]);
    place
        .run("predict m.keras photos/red/00.bmp --class-names nothing")
        .fails(1, &["--class-names: expected a file, or names separated by commas"]);
}

#[test]
fn one_of_several_outputs_predicts_and_is_exported() {
    let place = Place::with_photos(1);
    let x = Input::new([16, 16, 3]);
    let features = Flatten::new().named("features").call(&Rescaling::new(1.0 / 255.0).call(&x).unwrap()).unwrap();
    let kind = Dense::new(3).activation(Softmax).named("kind").call(&features).unwrap();
    let hue = Dense::new(2).activation(Softmax).named("hue").call(&features).unwrap();
    keras::save_model(&Model::new(&x, [&features, &kind, &hue]).unwrap(), &place.path("m.keras")).unwrap();
    let run = place.run("predict m.keras photos/red/00.bmp --json").succeeds();
    assert!(run.err.contains("this is `kind`, left out are features, hue"), "{run}");
    assert_eq!(run.json()["probabilities"].as_object().unwrap().len(), 3);
    let run = place.run("predict m.keras photos/red/00.bmp --json --model-output hue").succeeds();
    assert!(run.json()["probabilities"].as_object().unwrap().len() == 2 && run.err.is_empty(), "{run}");
    place
        .run("predict m.keras photos/red/00.bmp --model-output age")
        .fails(1, &["expected one of features, kind, hue, received age"]);
    for format in ["onnx", "h5", "weights.h5"] {
        place.run(&format!("export m.keras --to {format} --model-output hue -o hue.{format}")).succeeds();
    }
    let json = place.run("inspect hue.h5 --json").succeeds().json();
    assert!(!json["layers"].to_string().contains("kind"), "{json}");
}

#[test]
fn a_model_of_open_size_takes_the_size_of_the_option() {
    let place = Place::with_photos(4);
    let x = open_input();
    let y = Conv2D::new(8, 3).activation(Relu).call(&Rescaling::new(1.0 / 255.0).call(&x).unwrap()).unwrap();
    let y = Dense::new(3).activation(Softmax).call(&GlobalMaxPooling2D::new().call(&y).unwrap()).unwrap();
    let model = Model::new(&x, &y).unwrap();
    std::fs::copy(golden("open_size.keras"), place.path("keras.keras")).unwrap();
    keras::save(&model, &place.path("m.keras"), &SaveOptions::default()).unwrap();
    let run = place.run("predict keras.keras photos/red/00.bmp").succeeds();
    assert!(run.err.contains("input `photo` takes images of any size") && run.err.contains("224 by 224"), "{run}");
    let run = place.run("predict keras.keras photos/red/00.bmp --image-size 32 --preprocess none").succeeds();
    assert!(run.err.is_empty(), "{run}");
    let run = place.run("predict m.keras photos/red/00.bmp").succeeds();
    assert!(run.err.is_empty(), "the file says 16 pixels: {run}");
    let run = place.run("inspect m.keras").succeeds();
    assert!(run.out.contains("[None, None, 8]"), "{run}");
    let run = place.run("summary m.keras").succeeds();
    assert!(run.out.contains("(None, None, None, 8)"), "{run}");

    place.run("train photos --model m.keras -o trained.keras --image-size 32 --epochs 1 --batch-size 4").succeeds();
    let run = place.run("evaluate trained.keras photos --json").succeeds();
    assert!(run.json()["accuracy"].is_number(), "{run}");
    let again = keras::load_with(&place.path("trained.keras"), &LoadOptions::new()).unwrap();
    assert_eq!(again.model.input_shape(), &[32, 32, 3]);
    place.add_model("fixed.keras");
    place
        .run("predict fixed.keras photos/red/00.bmp --image-size 64")
        .fails(1, &["expected its own image size, 16 by 16 pixels, received 64 by 64"]);
}

/// A model whose probability of the second class grows with the opacity of a photo, and with nothing else.
fn model_of_opacity() -> Model {
    let layers = Sequential::new().add(Input::new([4, 4, 4])).add(Rescaling::new(1.0 / 255.0));
    let model = layers.add(GlobalAveragePooling2D::new()).add(Dense::new(2).activation(Softmax)).build().unwrap();
    model.weights()[0].set(vec![0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 4.0]).unwrap();
    model
}

#[test]
fn a_model_of_rgba_photos_sees_their_opacity() {
    let place = Place::with_photos(4);
    keras::save_model(&model_of_opacity(), &place.path("m.keras")).unwrap();
    // Four pixels, of opacity 255, 0, 102 and 1.
    place.write("p.png", include_bytes!("../../data/testdata/rgba.png"));
    let probability = |photo: &str| {
        let run = place.run(&format!("predict m.keras {photo} --json --class-names clear,opaque")).succeeds();
        run.json()["probabilities"]["opaque"].as_f64().unwrap()
    };
    let sigmoid = |z: f64| 1.0 / (1.0 + (-z).exp());
    let opacity = (255.0 + 102.0 + 1.0) / 4.0 / 255.0;
    assert!((probability("p.png") - sigmoid(4.0 * opacity)).abs() < 1e-6);
    assert!((probability("photos/red/00.bmp") - sigmoid(4.0)).abs() < 1e-6, "opaque without transparency");
    let run = place.run_with("predict m.keras - --json", |command| {
        command.stdin(std::fs::File::open(place.path("p.png")).unwrap())
    });
    assert!((run.succeeds().json()["probabilities"]["1"].as_f64().unwrap() - sigmoid(4.0 * opacity)).abs() < 1e-6);

    let layer = "global_average_pooling2d";
    place.run(&format!("features m.keras p.png --layer {layer} -o f.npy")).succeeds();
    let features = engraft::formats::npy::load(&place.path("f.npy")).unwrap();
    assert!((features.data()[3] - opacity as f32).abs() < 1e-6, "{features:?}");
    place.run("evaluate m.keras photos --json --class-names red,green").fails(1, &["green", "blue"]);
    std::fs::remove_dir_all(place.path("photos/blue")).unwrap();
    let run = place.run("evaluate m.keras photos --json --class-names green,red").succeeds();
    assert_eq!(run.json()["accuracy"].as_f64(), Some(0.5), "{run}");
    place.run("train photos --model m.keras -o trained.keras --epochs 1 --batch-size 4").succeeds();
    assert_eq!(keras::load(&place.path("trained.keras")).unwrap().model.input_shape(), &[4, 4, 4]);
    place.run("export m.keras --to onnx -o m.onnx").succeeds();
    place.run("export trained.keras photos --to onnx -o n.onnx").succeeds();
}

#[test]
fn preprocessing_of_three_channels_refuses_four() {
    let place = Place::with_photos(1);
    let layers = Sequential::with_name("m").add(Input::new([4, 4, 4])).add(Flatten::new()).add(Dense::new(2));
    keras::save_model(&layers.build().unwrap(), &place.path("m.keras")).unwrap();
    for mode in ["caffe", "torch"] {
        place
            .run(&format!("predict m.keras photos/red/00.bmp --preprocess {mode}"))
            .fails(1, &["model `m`, preprocessing", mode, "3 channels, received [4, 4, 4]", "scale"]);
    }
    for mode in ["scale", "tf", "none"] {
        place.run(&format!("predict m.keras photos/red/00.bmp --preprocess {mode}")).succeeds();
    }
}

#[test]
fn weights_alone_take_their_layers_from_json() {
    let place = Place::with_photos(1);
    let json = r#"{"class_name": "Sequential", "config": {"name": "m", "layers": [
        {"class_name": "InputLayer", "config": {"name": "x", "batch_shape": [null, 16, 16, 3]}},
        {"class_name": "Flatten", "config": {"name": "flat"}},
        {"class_name": "Dense", "config": {"name": "top", "units": 2, "activation": "softmax"}}]}}"#;
    place.write("m.json", json.as_bytes());
    let layers = Sequential::new().add(Input::new([16, 16, 3])).add(Flatten::new());
    let model = layers.add(Dense::new(2).activation(Softmax).named("top")).build().unwrap();
    keras::save_weights(&model, &place.path("m.weights.h5"), FloatType::F32).unwrap();
    place.run("predict m.weights.h5 photos/red/00.bmp").fails(1, &["holds weights only", "--architecture"]);
    place.run("predict m.weights.h5 photos/red/00.bmp --architecture m.json").succeeds();
    place.run("predict m.json photos/red/00.bmp").fails(1, &["--architecture"]);
}

#[test]
fn a_file_of_pytorch_says_how_to_convert_it() {
    let place = Place::with_photos(1);
    place.write("vgg16.pth", b"PK\x03\x04\0\0\x08\x08\0\0\0\0\0\0archive/data.pkl\x80\x02}q\0.");
    place.run("predict vgg16.pth photos/red/00.bmp").fails(1, &["a file of PyTorch (.pt, .pth)", "save_file("]);
}

#[test]
fn a_model_that_scales_its_pixels_nowhere_is_noted_and_can_be_told() {
    let place = Place::with_photos(4);
    let layers = Sequential::new().add(Input::new([16, 16, 3])).add(Conv2D::new(4, 3)).add(GlobalMaxPooling2D::new());
    let model = layers.add(Dense::new(3).activation(Softmax)).build().unwrap();
    keras::save(&model, &place.path("m.keras"), &SaveOptions::default()).unwrap();
    let plain = place.run("predict m.keras photos/red/00.bmp --json").succeeds();
    assert!(
        plain.err.contains("nothing in the model scales the pixels") && plain.err.contains("--preprocess"),
        "{plain}"
    );
    let none = place.run("predict m.keras photos/red/00.bmp --json --preprocess none").succeeds();
    assert!(none.err.is_empty() && none.out == plain.out, "{none}");

    // The same answers from layers in the model.
    let x = Input::new([16, 16, 3]);
    let whole = Model::new(&x, &model.call(&Rescaling::new(1.0 / 255.0).call(&x).unwrap()).unwrap()).unwrap();
    keras::save(&whole, &place.path("whole.keras"), &SaveOptions::default()).unwrap();
    let expected = place.run("predict whole.keras photos/red/00.bmp --json").succeeds();
    assert!(expected.err.is_empty(), "{expected}");
    let scaled = place.run("predict m.keras photos/red/00.bmp --json --preprocess scale").succeeds();
    assert!(scaled.out == expected.out && scaled.out != plain.out, "{scaled} {expected}");

    // What is saved has the layers.
    place.run("export m.keras --to h5 --preprocess scale -o scaled.h5").succeeds();
    let saved = place.run("predict scaled.h5 photos/red/00.bmp --json").succeeds();
    assert!(saved.err.is_empty() && saved.out == expected.out, "{saved}");
    place.run("train photos --model m.keras --preprocess tf -o tf.keras --epochs 1 --batch-size 4").succeeds();
    let layers = place.run("inspect tf.keras --json").succeeds().json()["layers"].to_string();
    assert!(layers.contains("rescaling"), "{layers}");
    place.run("predict m.keras photos/red/00.bmp --preprocess tff").fails(2, &["none, scale, caffe, tf, torch"]);
}
