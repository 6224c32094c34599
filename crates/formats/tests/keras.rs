//! Loads files that Keras wrote, saves the models again, and compares them with the models loaded from the new files.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::path::{Path, PathBuf};

use engraft_formats::FloatType;
use engraft_formats::h5::H5File;
use engraft_formats::keras::{self, SaveOptions, legacy};
use engraft_nn::prelude::*;
use engraft_nn::{Layer, Model};
use serde_json::Value;

fn golden(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../golden").join(folder)
}

fn model_file(name: &str) -> PathBuf {
    golden("models").join(name)
}

fn index(folder: &str) -> Vec<Value> {
    serde_json::from_slice(&std::fs::read(golden(folder).join("index.json")).unwrap()).unwrap()
}

fn values(model: &Model) -> Vec<Vec<f32>> {
    model.weights().iter().map(|weight| weight.values().clone()).collect()
}

fn parameters(weights: &[engraft_nn::Weight]) -> u64 {
    weights.iter().map(|weight| weight.count() as u64).sum()
}

/// Name and `trainable` flag of all layers, nested ones included. Files have no flag for inputs and
/// operations, which have nothing to train. Keras ignores the flag of a sequential model when it opens one.
fn flags(layer: &Layer) -> Vec<(String, bool)> {
    let flagged = !["InputLayer", "Flip", "Sequential"].contains(&layer.class_name());
    let own = (layer.name().to_owned(), flagged && layer.trainable());
    std::iter::once(own).chain(layer.layers().iter().flat_map(flags)).collect()
}

/// Saves a model as `.keras` and as `.h5` with its optimizer state, and loads both.
fn there_and_back(model: &Model) -> [keras::Archive; 2] {
    let folder = tempfile::tempdir().unwrap();
    let options = SaveOptions { optimizer_state: true, ..SaveOptions::default() };
    let [archive, hdf5] = ["model.keras", "model.h5"].map(|name| folder.path().join(name));
    keras::save(model, &archive, &options).unwrap();
    legacy::save(model, &hdf5, &options).unwrap();
    [archive, hdf5].map(|path| keras::load(&path).unwrap())
}

fn assert_same(first: &Model, second: &Model) {
    assert_eq!(values(first), values(second));
    assert_eq!(flags(first.layer()), flags(second.layer()));
    let (first, second) = (first.compiled(), second.compiled());
    assert_eq!(first.is_some(), second.is_some());
    if let (Some(first), Some(second)) = (first.as_ref(), second.as_ref()) {
        assert_eq!((&first.optimizer, first.loss, &first.metrics), (&second.optimizer, second.loss, &second.metrics));
        assert_eq!(first.state.iterations(), second.state.iterations());
    }
}

#[test]
fn every_model_that_keras_wrote_is_read_and_survives_the_way_back() {
    for case in index("models") {
        let file = case["file"].as_str().unwrap();
        let archive = keras::load(&model_file(file)).unwrap();
        let model = &archive.model;
        assert_eq!(archive.keras_version.as_deref(), Some("3.15.1"), "{file}");
        assert_eq!(parameters(&model.weights()), case["parameters"].as_u64().unwrap(), "{file}");
        assert_eq!(parameters(&model.trainable_weights()), case["trainable_parameters"].as_u64().unwrap(), "{file}");
        there_and_back(model).iter().for_each(|again| assert_same(model, &again.model));
    }
}

#[test]
fn what_was_frozen_and_compiled_is_read() {
    for case in index("train") {
        let archive = keras::load(&golden("train").join(case["model"].as_str().unwrap())).unwrap();
        assert!(archive.warnings.is_empty(), "{:?}", archive.warnings);
        let model = &archive.model;
        let paths: Vec<String> = model.weights().iter().map(engraft_nn::Weight::path).collect();
        let expected: Vec<&str> =
            case["weight_paths"].as_array().unwrap().iter().map(|p| p.as_str().unwrap()).collect();
        assert_eq!(paths, expected);
        let first = case["frozen_before"].as_str().unwrap();
        let position = model.layers().iter().position(|layer| layer.name() == first).unwrap();
        assert!(
            model.layers()[..position].iter().all(|layer| !layer.trainable() || layer.class_name() == "InputLayer")
        );
        assert!(model.layers()[position].trainable());
        let optimizer = model.compiled().unwrap().optimizer.unwrap();
        let sgd = ["frozen_sgd", "fine_tuned_sgd", "all_sgd", "regularized_sgd", "batch_normalization_trainable"];
        let expected = if sgd.contains(&case["case"].as_str().unwrap()) { 0.01_f32 } else { 0.001 };
        assert_eq!((optimizer.slots() == 1, optimizer.learning_rate().at(0) as f32), (expected == 0.01, expected));
        there_and_back(model).iter().for_each(|again| assert_same(model, &again.model));
    }
}

/// In Keras 3.15, too, the opened model trains these weights: a nested model's flag says nothing about its layers, and that of a
/// sequential model isn't read.
#[test]
fn inner_layers_of_frozen_models_keep_their_own_flags() {
    let x = Input::new([4]);
    let hidden = Dense::new(4).named("low").call(&x).unwrap();
    let hidden = BatchNormalization::new().named("norm").call(&hidden).unwrap();
    let functional = Model::named("functional", &x, &Dense::new(4).named("high").call(&hidden).unwrap()).unwrap();
    let inner = Sequential::with_name("sequential").add(&functional).add(Dense::new(4).named("last")).build().unwrap();
    let model = Sequential::new().add(&inner).add(Dense::new(2).named("top")).build().unwrap();
    model.set_trainable(false);
    ["norm", "high"].iter().for_each(|layer| model.get_layer(layer).unwrap().set_trainable(true));
    assert!(model.trainable_weights().is_empty());
    for again in there_and_back(&model).map(|archive| archive.model) {
        assert_same(&model, &again);
        let trained: Vec<String> = again.trainable_weights().iter().map(engraft_nn::Weight::path).collect();
        assert_eq!(trained, ["norm/gamma", "norm/beta", "high/kernel", "high/bias"]);
        let flags = ["sequential", "functional"].map(|layer| again.get_layer(layer).unwrap().trainable());
        assert_eq!(flags, [true, false]);
    }
}

#[test]
fn weights_are_those_at_their_places() {
    let folder = tempfile::tempdir().unwrap();
    let hdf5 = folder.path().join("model.weights.h5");
    std::fs::write(&hdf5, keras::read_extra(&model_file("augmentation.keras"), "model.weights.h5").unwrap().unwrap())
        .unwrap();
    let file = H5File::open(&hdf5).unwrap();
    let model = keras::load_model(&model_file("augmentation.keras")).unwrap();
    for (layer, path) in [
        ("block1_conv1", "layers/functional/layers/conv2d"),
        ("block2_conv1", "layers/functional/layers/conv2d_1"),
        ("dense", "layers/dense"),
    ] {
        for (index, weight) in model.get_layer(layer).unwrap().weights().iter().enumerate() {
            let (shape, values) = file.read_f32(&format!("{path}/vars/{index}")).unwrap();
            assert_eq!((shape.as_slice(), &values), (weight.shape(), &*weight.values()));
        }
    }
}

#[test]
fn an_optimizer_goes_on_where_it_was() {
    let model = keras::load_model(&model_file("trained.keras")).unwrap();
    for again in there_and_back(&model).map(|archive| archive.model) {
        let (first, second) = (model.compiled(), again.compiled());
        let (first, second) = (&first.as_ref().unwrap().state, &second.as_ref().unwrap().state);
        assert_eq!((first.iterations(), second.iterations()), (1, 1));
        assert_eq!(first.slots().len(), 6);
        for (before, after) in model.weights().iter().zip(again.weights()) {
            assert_eq!(first.slots()[&before.id()], second.slots()[&after.id()]);
            // Adam's second moment is a mean of squares, so never negative.
            assert!(first.slots()[&before.id()][1].iter().all(|&square| square >= 0.0));
        }
    }
}

/// Keras saves no variable for a learning rate that follows a schedule.
#[test]
fn a_schedule_goes_on_where_it_was() {
    let mut files = 0;
    for case in index("schedules") {
        for file in case["files"].as_array().unwrap() {
            let archive = keras::load(&golden("schedules").join(file.as_str().unwrap())).unwrap();
            assert!(archive.warnings.is_empty(), "{file}: {:?}", archive.warnings);
            let again = there_and_back(&archive.model);
            again.iter().for_each(|again| assert_same(&archive.model, &again.model));
            for archive in [archive].iter().chain(&again) {
                let compiled = archive.model.compiled();
                let compiled = compiled.as_ref().unwrap();
                assert_eq!(
                    compiled.optimizer.as_ref().unwrap().to_keras()["config"]["learning_rate"],
                    case["schedule"],
                    "{file}"
                );
                assert_eq!((compiled.state.iterations(), compiled.state.slots().len()), (2, 2), "{file}");
            }
            files += 1;
        }
    }
    assert_eq!(files, 2, "a .keras and an .h5");
}

/// Keras ignores the optimizer state of a file unless it has exactly the variables that Keras creates.
#[test]
fn the_learning_rate_is_a_variable_only_if_it_is_a_number() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.keras");
    for (rate, variables) in [(LearningRate::from(1e-3), 2 + 4), (CosineDecay::new(1e-3, 10).into(), 1 + 4)] {
        let model = Sequential::new().add(Input::new([4])).add(Dense::new(3).activation(Softmax)).build().unwrap();
        model.compile(Adam::new(rate), Loss::categorical_crossentropy(), []).unwrap();
        keras::save(&model, &path, &SaveOptions { optimizer_state: true, ..SaveOptions::default() }).unwrap();
        let hdf5 = folder.path().join("model.weights.h5");
        std::fs::write(&hdf5, keras::read_extra(&path, "model.weights.h5").unwrap().unwrap()).unwrap();
        assert_eq!(H5File::open(&hdf5).unwrap().children("optimizer/vars").unwrap().len(), variables);
    }
}

#[test]
fn state_that_does_not_fit_is_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.keras");
    let model = keras::load_model(&model_file("trained.keras")).unwrap();
    keras::save(&model, &path, &SaveOptions { optimizer_state: true, ..SaveOptions::default() }).unwrap();
    let mut zip = zip::ZipArchive::new(std::fs::File::open(&path).unwrap()).unwrap();
    let config = std::io::read_to_string(zip.by_name("config.json").unwrap()).unwrap();
    // Freeze a layer after training: the file then has slots of weights that aren't trainable.
    let frozen = config.replacen(r#""name":"conv2d","trainable":true"#, r#""name":"conv2d","trainable":false"#, 1);
    assert_ne!(frozen, config);
    let weights = keras::read_extra(&path, "model.weights.h5").unwrap().unwrap();
    let mut writer = zip::ZipWriter::new(std::fs::File::create(&path).unwrap());
    for (name, bytes) in [("config.json", frozen.as_bytes()), ("model.weights.h5", &weights)] {
        writer.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
        std::io::Write::write_all(&mut writer, bytes).unwrap();
    }
    writer.finish().unwrap();

    let archive = keras::load(&path).unwrap();
    assert_eq!(archive.warnings.len(), 1);
    assert!(archive.warnings[0].contains("the optimizer starts afresh"), "{:?}", archive.warnings);
    assert_eq!(archive.model.compiled().as_ref().unwrap().state.iterations(), 0);
}

#[test]
fn weight_files_of_keras_3_are_read_and_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.weights.h5");
    for name in ["functional", "augmentation"] {
        let model = keras::load_model(&model_file(&format!("{name}.keras"))).unwrap();
        let own = values(&model);
        keras::load_weights(&model_file(&format!("{name}.weights.h5")), &model).unwrap();
        let others = values(&model);
        assert_ne!(own, others);
        keras::save_weights(&model, &path, FloatType::F32).unwrap();
        keras::load_weights(&model_file(&format!("{name}.keras")), &model).unwrap();
        assert_eq!(values(&model), own);
        keras::load_weights(&path, &model).unwrap();
        assert_eq!(values(&model), others);
    }
}

#[test]
fn models_of_every_structure_survive_the_way() {
    let base = || {
        let x = Input::new([8, 8, 3]);
        let y = Conv2D::new(4, 3).activation(Relu).call(&x).unwrap();
        let y = BatchNormalization::new().call(&y).unwrap();
        Model::new(&x, &MaxPooling2D::new(2).call(&y).unwrap()).unwrap()
    };
    // A nested model called twice, an operation, and a nested model at the end.
    let x = Input::new([8, 8, 3]);
    let flipped = engraft_nn::layers::Flip::channels().call(&x).unwrap();
    let twice = base();
    twice.layers()[1].set_trainable(false);
    let (left, right) = (twice.call(&flipped).unwrap(), twice.call(&x).unwrap());
    let sum = Add::new().call([&left, &right]).unwrap();
    let joined = Concatenate::new().call([&sum, &right, &left]).unwrap();
    let head = Sequential::new().add(Flatten::new()).add(Dropout::new(0.5)).add(Dense::new(3).activation(Softmax));
    let nested = Model::new(&x, &head.call(&joined).unwrap()).unwrap();
    nested.compile(Sgd::new(0.1).momentum(0.9), Loss::categorical_crossentropy(), [Metric::Accuracy]).unwrap();

    // Models in a Sequential, one of them frozen; and one layer in two models.
    let frozen = base();
    frozen.set_trainable(false);
    let sequential = Sequential::new().add(&frozen).add(Flatten::new()).add(Dense::new(2)).build().unwrap();
    let dense = Dense::new(4).named("everywhere");
    let one = Sequential::new().add(Input::new([4])).add(&dense).build().unwrap();
    let two = Sequential::new().add(Input::new([4])).add(&dense).add(Dense::new(4)).build().unwrap();
    let x = Input::new([4]);
    let shared = Model::new(&x, &two.call(&one.call(&x).unwrap()).unwrap()).unwrap();

    // Two inputs, one of them unread.
    let (a, b, unread) = (Input::new([4]), Input::new([4]), Input::new([9]));
    let y = Add::new().call([&dense.call(&a).unwrap(), &dense.call(&b).unwrap()]).unwrap();
    let several = Model::new([&b, &unread, &a], &y).unwrap();

    for model in [nested, sequential, shared, several] {
        for again in there_and_back(&model).map(|archive| archive.model) {
            assert_eq!(again.count_params(), model.count_params());
            assert_eq!(again.output_shape(), model.output_shape());
            let inputs = |model: &Model| model.inputs().iter().map(|x| x.layer().name().to_owned()).collect::<Vec<_>>();
            assert_eq!(inputs(&again), inputs(&model));
            assert_same(&model, &again);
        }
    }
}

#[test]
fn extras_travel_and_do_not_pass_for_keras_own_entries() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.keras");
    let model = Sequential::new().add(Input::new([4])).add(Dense::new(2)).build().unwrap();
    let extras = [("engraft.json".to_owned(), b"[1]".to_vec())];
    keras::save(&model, &path, &SaveOptions { extras: &extras, ..SaveOptions::default() }).unwrap();
    assert_eq!(keras::read_extra(&path, "engraft.json").unwrap().unwrap(), b"[1]");
    assert_eq!(keras::read_extra(&path, "other.json").unwrap(), None);
    let extras = [("config.json".to_owned(), b"{}".to_vec())];
    let error = keras::save(&model, &path, &SaveOptions { extras: &extras, ..SaveOptions::default() }).unwrap_err();
    assert!(error.to_string().contains("`config.json`"), "{error}");
    assert!(keras::load(&path).is_ok(), "the old file is as it was");
}

#[test]
fn half_precision_is_the_nearest_and_refused_where_it_holds_no_number() {
    let folder = tempfile::tempdir().unwrap();
    let [archive, hdf5, weights] = ["a.keras", "b.h5", "c.weights.h5"].map(|name| folder.path().join(name));
    // The kernel is large enough that the HDF5 writer streams it instead of copying it.
    let model = || Sequential::new().add(Input::new([300])).add(Dense::new(200)).add(BatchNormalization::new());
    let model = || model().build().unwrap();
    let saved = model();
    saved.weights()[5].values_mut().fill(1e9);
    let options = SaveOptions { float_type: FloatType::F16, ..SaveOptions::default() };
    keras::save(&saved, &archive, &options).unwrap();
    legacy::save(&saved, &hdf5, &options).unwrap();
    keras::save_weights(&saved, &weights, FloatType::F16).unwrap();
    let read = model();
    keras::load_weights(&weights, &read).unwrap();
    for read in [keras::load_model(&archive).unwrap(), keras::load_model(&hdf5).unwrap(), read] {
        for (read, saved) in values(&read)[0].iter().zip(&values(&saved)[0]) {
            // f16 has 11 significant bits, so rounding changes a value by at most 1/2048 of it, or 1e-7 for tiny values.
            assert!((read - saved).abs() <= saved.abs() / 2048.0 + 1e-7, "{read} {saved}");
        }
        assert_eq!(values(&read)[1..], values(&saved)[1..], "vectors stay as they are");
    }
    assert!(std::fs::metadata(&weights).unwrap().len() < 2 * 300 * 200 + 20_000, "two bytes per value");

    saved.weights()[0].values_mut()[7] = 70_000.0;
    let error = keras::save_weights(&saved, &weights, FloatType::F16).unwrap_err().to_string();
    assert!(error.contains("/kernel`: expected values of at most 65504 for f16, received 70000"), "{error}");
}

/// The name, class, module and calls of each operation in a file.
fn operations(file: &Path) -> Vec<[Value; 4]> {
    let mut zip = zip::ZipArchive::new(std::fs::File::open(file).unwrap()).unwrap();
    let config: Value = serde_json::from_reader(zip.by_name("config.json").unwrap()).unwrap();
    let layers = config["config"]["layers"].as_array().unwrap().iter();
    let operations = layers.filter(|layer| layer["module"].as_str().unwrap().starts_with("keras.src.ops"));
    operations.map(|layer| ["name", "class_name", "module", "inbound_nodes"].map(|key| layer[key].clone())).collect()
}

#[test]
fn an_operation_that_returns_a_list_is_one_row_and_one_object() {
    let model = keras::load_model(&model_file("lists.keras")).unwrap();
    let summary = model.summary().line_length(120).to_string();
    // Keras 3.15 prints these lines.
    for lines in [
        "\
│ split (Split)                     │ [(None, 10, 10, 2), (None,   │                 0 │ conv2d[0][0]                  │
│                                   │ 10, 10, 2), (None, 10, 10,   │                   │                               │
│                                   │ 2)]                          │                   │                               │
├───────────────────────────────────┼──────────────────────────────┼───────────────────┼───────────────────────────────┤
│ multiply (Multiply)               │ (None, 10, 10, 2)            │                 0 │ split[0][0], split[0][2]      │
├───────────────────────────────────┼──────────────────────────────┼───────────────────┼───────────────────────────────┤
│ split_1 (Split)                   │ [(None, 10, 5, 2), (None,    │                 0 │ multiply[0][0]                │
│                                   │ 10, 5, 2)]                   │                   │                               │
├───────────────────────────────────┼──────────────────────────────┼───────────────────┼───────────────────────────────┤
│ concatenate (Concatenate)         │ (None, 10, 10, 2)            │                 0 │ split_1[0][1], split_1[0][0]  │
",
        "│ add (Add)                         │ (None, 10, 2)                │                 0 │ unstack[0][0], unstack[0][2]  │",
    ] {
        assert!(summary.contains(lines), "{summary}");
    }
    let folder = tempfile::tempdir().unwrap();
    let written = folder.path().join("written.keras");
    keras::save(&model, &written, &SaveOptions::default()).unwrap();
    let [expected, found] = [model_file("lists.keras"), written].map(|file| operations(&file));
    assert_eq!(found, expected);
}
