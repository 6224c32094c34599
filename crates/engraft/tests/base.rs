//! The base of a model is known however the model was made, and after its file is opened again.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod programs;

use std::path::Path;

use engraft::formats::keras::{self, SaveOptions};
use engraft::prelude::*;
use engraft::recipe::{Augment, Base, Classifier, Facts, Freeze, Recipe};

fn trainable(model: &Model, freeze: &str) -> usize {
    freeze.parse::<Freeze>().unwrap().apply(model).unwrap();
    model.trainable_weights().iter().map(|weight| weight.count()).sum()
}

/// The smallest model that a recipe makes: VGG16 and one Dense layer.
fn recipe() -> Model {
    let recipe = Recipe { image_size: 32, head: Vec::new(), augment: Augment::none(), ..Recipe::new(2) };
    recipe.weights("none").build(Box::new(|_, _| {})).unwrap()
}

fn names(base: &Base) -> Vec<&str> {
    base.layers().iter().map(Layer::name).collect()
}

/// Convolutions of 1x1 written as Dense layers, as ConvNeXt has them, and a head of one Dense layer.
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

fn save(model: &Model, path: &Path, facts: Option<Facts>) {
    Classifier::new(model.clone(), facts).unwrap().save(path).unwrap();
}

fn facts() -> Facts {
    Facts::new(vec!["cat".into(), "dog".into()])
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

#[test]
fn a_record_is_kept_in_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.keras");
    for (nested, paths) in
        [(false, ["photo", "stem", "pointwise"]), (true, ["base/photo", "base/stem", "base/pointwise"])]
    {
        save(&dense_base(nested), &path, Some(facts()));
        let classifier = Classifier::load(&path).unwrap();
        assert_eq!(classifier.facts().unwrap().base, paths);
        assert_eq!(names(&Base::of(classifier.model()).unwrap()), ["stem", "pointwise"]);
        // Saved once more, it is still there.
        classifier.save(&path).unwrap();
        assert_eq!(Classifier::load(&path).unwrap().facts(), classifier.facts());
    }
}

#[test]
fn a_model_of_a_recipe_keeps_its_base_in_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.keras");
    save(&recipe(), &path, Some(facts()));
    let classifier = Classifier::load(&path).unwrap();
    let base = &classifier.facts().unwrap().base;
    assert_eq!((base.len(), &*base[0], &*base[17]), (18, "block1_conv1", "block5_pool"));
    assert_eq!(trainable(classifier.model(), "all"), 512 * 2 + 2);
}

#[test]
fn files_from_before_the_record_have_vgg16_as_their_base() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.keras");
    let json = br#"{"version": 1, "classes": ["cat", "dog"], "backbone": "vgg16", "seed": 7}"#;
    let extras = [(Facts::ENTRY.to_owned(), json.to_vec())];
    keras::save(&recipe(), &path, &SaveOptions { extras: &extras, ..SaveOptions::default() }).unwrap();
    let classifier = Classifier::load(&path).unwrap();
    assert_eq!((classifier.classes().len(), classifier.facts().unwrap().base.len()), (2, 0));
    assert_eq!(names(&Base::of(classifier.model()).unwrap())[17], "block5_pool");
    assert_eq!(trainable(classifier.model(), "all"), 512 * 2 + 2);
    assert_eq!(trainable(classifier.model(), "3"), classifier.model().count_params() - 1792);
}

#[test]
fn a_base_in_a_file_without_metadata_is_told_by_names_and_nesting_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.keras");
    let opened = |model: &Model| {
        save(model, &path, None);
        Base::of(Classifier::load(&path).unwrap().model())
    };
    assert_eq!(names(&opened(&dense_base(true)).unwrap()), ["stem", "pointwise"], "the only nested model");
    let error = opened(&dense_base(false)).unwrap_err().to_string();
    assert!(error.contains("stem, pointwise, flatten"), "{error}");
    assert!(error.contains("hint: name the first layer of the head"), "{error}");
    assert_eq!(names(&opened(&recipe()).unwrap())[17], "block5_pool");
}

#[test]
fn a_full_vgg16_has_its_base_below_its_top() {
    let full = Vgg16::new().weights("none").input_shape([32, 32, 3]).classes(3).build().unwrap();
    full.layer().set_in_base(false);
    let nested = Sequential::new().add(&full).add(Dense::new(2)).build().unwrap();
    for model in [full, nested] {
        let base = Base::of(&model).unwrap();
        assert_eq!((names(&base)[0], names(&base)[17]), ("block1_conv1", "block5_pool"));
        assert_eq!(base.layers().len(), 18);
    }
}

#[test]
fn a_record_of_layers_that_are_not_there_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.keras");
    let json = br#"{"version": 1, "classes": ["cat", "dog"], "base": ["stem", "block1_conv1"]}"#;
    let extras = [(Facts::ENTRY.to_owned(), json.to_vec())];
    keras::save(&dense_base(false), &path, &SaveOptions { extras: &extras, ..SaveOptions::default() }).unwrap();
    let error = Classifier::load(&path).unwrap_err().to_string();
    assert!(error.contains("model.keras, model `functional"), "{error}");
    assert!(error.contains("base in engraft.json: expected names of its layers, received `block1_conv1`"), "{error}");
}
