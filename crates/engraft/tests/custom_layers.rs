//! Opens a model that Keras saved with a registered custom layer, whose class this program has in Rust, and writes it back.

use std::path::{Path, PathBuf};

use engraft::formats::keras::{self, LoadOptions, SaveOptions, legacy};
use engraft::ir::ValueId;
use engraft::layers::CustomLayers;
use engraft::prelude::*;
use engraft::{LayerDef, Lowering, Result, Shape};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// `@keras.saving.register_keras_serializable("golden") class Scale`: the inputs divided by 255.
#[derive(Debug, Serialize, Deserialize)]
struct Scale {}

impl LayerDef for Scale {
    fn class_name(&self) -> &'static str {
        "Scale"
    }

    fn config(&self) -> Map<String, Value> {
        Map::new()
    }

    fn output_shape(&self, inputs: &[Shape]) -> Result<Shape> {
        Rescaling::new(1.0).output_shape(inputs)
    }

    fn lower(&self, to: &mut Lowering<'_>, inputs: &[ValueId]) -> Result<ValueId> {
        Rescaling::new(1.0 / 255.0).lower(to, inputs)
    }
}

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../golden/refused").join(name)
}

fn options() -> LoadOptions {
    LoadOptions::new().custom_layers(CustomLayers::new().with::<Scale>("golden>Scale"))
}

#[test]
fn a_class_that_the_program_teaches_opens_and_is_written_back() {
    let folder = tempfile::tempdir().unwrap();
    let [archive, hdf5] = ["m.keras", "m.h5"].map(|name| folder.path().join(name));
    for file in ["custom_layer.keras", "custom_layer.h5"] {
        let model = keras::load_with(&golden(file), &options()).unwrap().model;
        assert_eq!(model.get_layer("scale").unwrap().class_name(), "Scale");
        keras::save(&model, &archive, &SaveOptions::default()).unwrap();
        legacy::save(&model, &hdf5, &SaveOptions::default()).unwrap();
        let x = Tensor::new([1, 12, 12, 3], (0..432).map(|pixel| pixel as f32 / 2.0).collect()).unwrap();
        for saved in [&archive, &hdf5] {
            let again = keras::load_with(saved, &options()).unwrap().model;
            assert_eq!(again.predict(&x, 1).unwrap().data(), model.predict(&x, 1).unwrap().data(), "{file}");
        }
        let config: Value =
            serde_json::from_slice(&keras::read_extra(&archive, "config.json").unwrap().unwrap()).unwrap();
        let scale = &config["config"]["layers"][1];
        assert_eq!(
            (&scale["class_name"], &scale["registered_name"]),
            (&"Scale".into(), &"golden>Scale".into()),
            "{file}"
        );
    }
}

#[test]
fn an_unknown_class_says_that_a_program_can_teach_it() {
    for file in ["custom_layer.keras", "custom_layer.h5"] {
        let error = keras::load(&golden(file)).unwrap_err().to_string();
        assert!(error.contains("layer `scale`") && error.contains("keras::LoadOptions::custom_layers"), "{error}");
    }
}
