//! The base of a model is found for every way of building the model, and after saving and loading.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod programs;

use std::path::Path;

use engraft::formats::keras::{self, SaveOptions, legacy};
use engraft::prelude::*;
use engraft::recipe::{Augment, Base, Classifier, Freeze, Metadata, Recipe};

fn trainable(model: &Model, freeze: &str) -> usize {
    freeze.parse::<Freeze>().unwrap().apply(model).unwrap();
    model.trainable_weights().iter().map(|weight| weight.count()).sum()
}

/// The smallest model of a recipe: VGG16 and one Dense layer.
fn recipe() -> Model {
    let recipe = Recipe { image_size: 32, head: Vec::new(), augment: Augment::none(), ..Recipe::new(2) };
    recipe.weights("none").build(Box::new(|_, _| {})).unwrap()
}

fn names(base: &Base) -> Vec<&str> {
    base.layers().iter().map(Layer::name).collect()
}

/// A base with a 1x1 convolution in the form of a Dense layer, as in ConvNeXt, and a head of one Dense layer.
fn dense_base(nested: bool) -> Model {
    let x = Input::named("photo", [4, 4, 3]);
    let y = Conv2D::new(4, 2).named("stem").call(&x).unwrap();
    let base = Model::named("base", &x, &Dense::new(4).named("pointwise").call(&y).unwrap()).unwrap();
    Base::record(&base);
    let inputs = if nested { Input::new([4, 4, 3]) } else { x };
    let y = if nested { base.call(&inputs).unwrap() } else { base.output().clone() };
    let y = Flatten::new().call(&y).unwrap();
    Model::new(&inputs, &Dense::new(2).named("top").call(&y).unwrap()).unwrap()
}

fn save(model: &Model, path: &Path, metadata: Option<Metadata>) {
    Classifier::new(model.clone(), metadata).unwrap().save(path).unwrap();
}

fn metadata() -> Metadata {
    Metadata::new(vec!["cat".into(), "dog".into()])
}

#[test]
fn models_built_on_vgg16_know_it_as_their_base() {
    for program in ["program1", "program2", "program3", "program5", "program6", "program7"] {
        let (model, _) = programs::build(program);
        let base = Base::of(&model).unwrap();
        assert_eq!((base.layers().len(), names(&base)[0]), (18, "block1_conv1"), "{program}");
        assert_eq!(trainable(&model, "all"), 151_023_621, "{program}");
        assert_eq!(trainable(&model, "15"), 158_103_045, "{program}");
        assert_eq!(trainable(&model, "block4_pool"), 158_103_045, "{program}");
    }
}

/// The model after saving and loading, once for each way to save a whole model.
fn reopened(model: &Model) -> Vec<Model> {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    save(model, &path("classifier.keras"), Some(metadata()));
    save(model, &path("unnamed.keras"), None);
    save_model(model, &path("model.keras")).unwrap();
    legacy::save(model, &path("model.h5"), &SaveOptions::default()).unwrap();
    let names = ["classifier.keras", "unnamed.keras", "model.keras", "model.h5"];
    names.iter().map(|name| load_model(&path(name)).unwrap()).collect()
}

#[test]
fn a_record_is_kept_in_every_file_of_a_whole_model() {
    for nested in [false, true] {
        // Each model is saved and loaded twice: the record must survive the second time too.
        for model in reopened(&dense_base(nested)).iter().flat_map(reopened) {
            assert_eq!(names(&Base::of(&model).unwrap()), ["stem", "pointwise"], "nested: {nested}");
        }
    }
}

#[test]
fn a_model_of_a_recipe_keeps_its_base_in_the_file() {
    for model in reopened(&recipe()) {
        let base: Vec<String> =
            model.leaf_paths().into_iter().filter(|(_, layer)| layer.in_base()).map(|(path, _)| path).collect();
        assert_eq!((base.len(), &*base[0], &*base[17]), (18, "block1_conv1", "block5_pool"));
        assert_eq!(trainable(&model, "all"), 512 * 2 + 2);
    }
}

#[test]
fn files_from_before_the_record_have_vgg16_as_their_base() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.keras");
    let json = br#"{"version": 1, "classes": ["cat", "dog"], "backbone": "vgg16", "seed": 7}"#;
    let extras = [(Metadata::ENTRY.to_owned(), json.to_vec())];
    let model = recipe();
    model.leaves().iter().for_each(|layer| layer.set_in_base(false));
    keras::save(&model, &path, &SaveOptions { extras: &extras, ..SaveOptions::default() }).unwrap();
    let classifier = Classifier::load(&path).unwrap();
    assert_eq!(classifier.classes().len(), 2);
    assert_eq!(names(&Base::of(classifier.model()).unwrap())[17], "block5_pool");
    assert_eq!(trainable(classifier.model(), "all"), 512 * 2 + 2);
    assert_eq!(trainable(classifier.model(), "3"), classifier.model().count_params() - 1792);
}

/// The model of a file without a record, as Keras leaves it.
fn without_record(model: &Model) -> Model {
    model.leaves().iter().for_each(|layer| layer.set_in_base(false));
    reopened(model).remove(0)
}

#[test]
fn a_base_without_a_record_is_found_by_names_and_nesting_or_not_at_all() {
    let base = |model: &Model| Base::of(&without_record(model));
    assert_eq!(names(&base(&dense_base(true)).unwrap()), ["stem", "pointwise"], "the only nested model");
    let error = base(&dense_base(false)).unwrap_err().to_string();
    assert!(error.contains("stem, pointwise, flatten"), "{error}");
    assert!(error.contains("hint: name the first layer of the head"), "{error}");
    assert_eq!(names(&base(&recipe()).unwrap())[17], "block5_pool");
}

#[test]
fn a_full_vgg16_has_its_base_below_its_top() {
    let full = vgg16().weights("none").input_shape([32, 32, 3]).classes(3).build().unwrap();
    full.layer().set_in_base(false);
    let nested = Sequential::new().add(&full).add(Dense::new(2)).build().unwrap();
    for model in [full, nested] {
        let base = Base::of(&model).unwrap();
        assert_eq!((names(&base)[0], names(&base)[17]), ("block1_conv1", "block5_pool"));
        assert_eq!(base.layers().len(), 18);
    }
}
