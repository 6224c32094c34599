//! Inputs of open height and width (`[null, null, null, 3]`): the size that they get here.
//!
//! Keras takes images of any size for such an input. Shapes are fixed here, so the input gets a size when the model is read. The
//! layer keeps its open shape, and a writer gives it back to Keras.

use std::collections::HashMap;

use engraft_nn::layers::{Input, InputLayer, from_config};
use engraft_nn::{Layer, Model, Result, Shape, SymbolicTensor};
use serde::Deserialize;
use serde_json::Value;

/// Name of the record of the size: a key of `metadata.json` in a `.keras` file, an attribute of the root in an `.h5`.
pub(super) const KEY: &str = "engraft_image_size";

/// Height and width where nothing else tells them: those of most networks that were trained on ImageNet.
const DEFAULT: [usize; 2] = [224, 224];

/// Limit on a recorded height or width.
const MAX_SIZE: usize = 1 << 14;

/// Limit on the depth of nested models that are searched for a known name.
const MAX_NESTING: usize = 32;

/// Networks of `keras.applications` by the beginning of their names, and the size that they were trained with, where it isn't
/// [`DEFAULT`]. A longer name comes before its beginning.
const USUAL: [(&str, usize); 17] = [
    ("xception", 299),
    ("inception_v3", 299),
    ("inception_resnet_v2", 299),
    ("efficientnetb1", 240),
    ("efficientnetb2", 260),
    ("efficientnetb3", 300),
    ("efficientnetb4", 380),
    ("efficientnetb5", 456),
    ("efficientnetb6", 528),
    ("efficientnetb7", 600),
    ("efficientnetv2-b1", 240),
    ("efficientnetv2-b2", 260),
    ("efficientnetv2-b3", 300),
    ("efficientnetv2-s", 384),
    ("efficientnetv2-m", 480),
    ("efficientnetv2-l", 480),
    ("nasnet_large", 331),
];

/// The height and width in pixels that a model of this name usually takes.
///
/// A network of `keras.applications` is known by the name that Keras gives its model, and has the size that it was trained with.
/// Any other model has 224 by 224 pixels, the size of most networks that were trained on ImageNet.
///
/// ```
/// use engraft_formats::keras::usual_image_size;
/// assert_eq!(usual_image_size("efficientnetv2-s"), [384, 384]);
/// assert_eq!(usual_image_size("flowers"), [224, 224]);
/// ```
pub fn usual_image_size(model_name: &str) -> [usize; 2] {
    known_size(model_name).unwrap_or(DEFAULT)
}

/// The size that the network of this name was trained with, if it isn't [`DEFAULT`].
fn known_size(model_name: &str) -> Option<[usize; 2]> {
    let known = USUAL.into_iter().find(|(network, _)| model_name.starts_with(network));
    known.map(|(_, size)| [size, size])
}

/// The sizes of the open inputs of one file.
#[derive(Debug, Default)]
pub(super) struct OpenInputs {
    /// The size that the caller or the record in the file asks for.
    chosen: Option<[usize; 2]>,
    /// The size of inputs without a better one.
    usual: Option<[usize; 2]>,
    /// The size to which the model resizes an input, by the id of its layer.
    resized: HashMap<usize, [usize; 2]>,
}

impl OpenInputs {
    /// The sizes of a model that a JSON object describes; `chosen` is the size that the caller asks for, `record` that of the file.
    pub(super) fn new(object: &Value, chosen: Option<[usize; 2]>, record: &Value) -> Self {
        let recorded = <[usize; 2]>::deserialize(record).ok();
        let recorded = recorded.filter(|size| size.iter().all(|size| (1..=MAX_SIZE).contains(size)));
        Self { chosen: chosen.or(recorded), usual: usual_size(object, 0), resized: HashMap::new() }
    }

    /// Sets the size of an input to that of the `Resizing` layers that read it. Returns a warning if this decides the size.
    ///
    /// Images of this size pass through the `Resizing` unchanged, so their results are the same as in Keras.
    pub(super) fn resize(&mut self, input: &Layer, size: [usize; 2]) -> Option<String> {
        if open_axes(input).is_empty() || self.chosen.is_some() {
            return None;
        }
        self.resized.insert(input.id(), size);
        let [height, width] = size;
        Some(format!(
            "input `{}` takes images of any size in Keras; here it takes only {height} by {width} pixels, the size to which the model resizes them",
            input.name()
        ))
    }

    /// The tensor of an input layer with open axes; `None` for any other layer.
    pub(super) fn tensor(&self, layer: &Layer) -> Option<Result<SymbolicTensor>> {
        let shape = self.shape(layer)?;
        Some(Input::of(layer, shape))
    }

    /// The declared shape of an input layer with the sizes of its open axes.
    fn shape(&self, layer: &Layer) -> Option<Shape> {
        let declared = layer.def().config().remove("batch_shape")?;
        let declared = Vec::<Option<usize>>::deserialize(declared).ok()?;
        let axes = open_axes(layer);
        // An image has a height, a width and channels; at most two of them are open.
        if declared.len() != 4 || axes.is_empty() || axes.len() > 2 {
            return None;
        }
        let size = self.chosen.or_else(|| self.resized.get(&layer.id()).copied()).or(self.usual).unwrap_or(DEFAULT);
        let mut shape: Shape = declared[1..].iter().map(|size| size.unwrap_or_default()).collect();
        axes.into_iter().zip(size).for_each(|(axis, size)| shape[axis] = size);
        Some(shape)
    }

    /// A warning for each input of the model whose size is a guess.
    pub(super) fn warnings(&self, model: &Model) -> Vec<String> {
        let guessed = model.inputs().iter().filter(|input| {
            !input.open_axes().is_empty() && self.chosen.is_none() && !self.resized.contains_key(&input.layer().id())
        });
        guessed
            .map(|input| {
                let sizes: Vec<String> =
                    input.open_axes().iter().map(|&axis| input.shape()[axis].to_string()).collect();
                format!(
                    "input `{}` takes images of any size; without an image size (--image-size) it takes {} pixels",
                    input.layer().name(),
                    sizes.join(" by ")
                )
            })
            .collect()
    }
}

/// The sizes of the first open input of a model, for the record in its file; `None` if no input is open.
pub(super) fn record(model: &Model) -> Option<[usize; 2]> {
    let open = model.inputs().iter().map(|input| (input.open_axes(), input.shape()));
    open.into_iter()
        .find_map(|(axes, shape)| <[usize; 2]>::try_from(axes).ok().map(|axes| axes.map(|axis| shape[axis])))
}

/// An input of open size for a sequential model that begins with this nested model; `None` if the nested model has no such input.
///
/// Keras 2 writes no input layer there.
pub(super) fn of_nested(model: &Layer) -> Option<Result<SymbolicTensor>> {
    let inner = model.def().graph()?.inputs().first()?;
    if inner.open_axes().is_empty() {
        return None;
    }
    let mut config = inner.layer().def().config();
    config.insert("name".into(), format!("{}_input", model.name()).into());
    let layer = from_config("InputLayer", config);
    Some(layer.and_then(|layer| Input::of(&layer, inner.shape().clone())))
}

fn open_axes(layer: &Layer) -> Vec<usize> {
    layer.def_as::<InputLayer>().map(InputLayer::open_axes).unwrap_or_default()
}

/// The size that a network was trained with, if a model in `object` has the name of one.
fn usual_size(object: &Value, depth: usize) -> Option<[usize; 2]> {
    let config = object.get("config")?;
    // Up to Keras 2.2.2, the config of a Sequential is the list of its layers.
    let layers = config.get("layers").unwrap_or(config).as_array()?;
    let name = config.get("name").and_then(Value::as_str).unwrap_or_default();
    match known_size(name) {
        Some(size) => Some(size),
        None if depth < MAX_NESTING => layers.iter().find_map(|layer| usual_size(layer, depth + 1)),
        None => None,
    }
}

/// The size to which a model resizes an input: that of the `Resizing` layers, if all `readers` of the input are such layers of one
/// size. `None` otherwise.
pub(super) fn resized_to<'a>(readers: impl IntoIterator<Item = &'a Value>) -> Option<[usize; 2]> {
    let size = |reader: &Value| {
        let pixels = |place| Some(usize::try_from(reader.pointer(place)?.as_u64()?).ok()?.min(MAX_SIZE));
        let size = [pixels("/config/height")?, pixels("/config/width")?];
        (reader["class_name"] == "Resizing").then_some(size)
    };
    let sizes = readers.into_iter().map(size).collect::<Option<Vec<_>>>()?;
    let (first, others) = sizes.split_first()?;
    others.iter().all(|other| other == first).then_some(*first)
}

#[cfg(test)]
mod tests {
    use engraft_nn::prelude::*;
    use serde_json::json;

    use super::*;

    fn input(shape: Value) -> Layer {
        let config = json!({"name": "photo", "batch_shape": shape});
        from_config("InputLayer", config.as_object().unwrap().clone()).unwrap()
    }

    fn resizing(height: usize, width: usize) -> Value {
        json!({"class_name": "Resizing", "config": {"height": height, "width": width}})
    }

    fn shape(inputs: &OpenInputs, layer: &Layer) -> Option<Shape> {
        inputs.tensor(layer).map(|tensor| tensor.unwrap().shape().clone())
    }

    #[test]
    fn the_size_is_the_chosen_one_else_that_of_the_resizing_else_the_usual() {
        let open = input(json!([null, null, null, 3]));
        let mut inputs = OpenInputs::new(&json!(null), None, &json!(null));
        assert_eq!(shape(&inputs, &open), Some(vec![224, 224, 3]));
        let warning = inputs.resize(&open, [4, 6]).unwrap();
        assert!(warning.contains("`photo`") && warning.contains("4 by 6"), "{warning}");
        assert_eq!(shape(&inputs, &open), Some(vec![4, 6, 3]));
        let mut inputs = OpenInputs::new(&json!(null), None, &json!([32, 48]));
        assert_eq!((inputs.resize(&open, [4, 6]), shape(&inputs, &open)), (None, Some(vec![32, 48, 3])));
        let chosen = OpenInputs::new(&json!(null), Some([8, 8]), &json!([32, 48]));
        assert_eq!(shape(&chosen, &open), Some(vec![8, 8, 3]));
        assert_eq!(shape(&chosen, &input(json!([null, 3, null, null]))), Some(vec![3, 8, 8]), "channels first");
        for fixed in [json!([null, 8, 8, 3]), json!([null, null]), json!([null, null, null, null])] {
            assert!(chosen.tensor(&input(fixed)).is_none());
        }
    }

    #[test]
    fn a_known_network_has_its_usual_size() {
        let base = |name: &str| json!({"config": {"name": name, "layers": []}});
        let model = |base: Value| json!({"config": {"name": "m", "layers": [{"config": {"name": "x"}}, base]}});
        assert_eq!(usual_size(&model(base("efficientnetb3")), 0), Some([300, 300]));
        assert_eq!(usual_size(&model(base("efficientnetv2-m")), 0), Some([480, 480]));
        assert_eq!(usual_size(&model(base("efficientnetb0")), 0), None);
        assert_eq!(usual_size(&json!({"config": [base("efficientnetb3")]}), 0), Some([300, 300]));
    }

    #[test]
    fn a_sequential_model_of_keras_2_takes_the_open_size_of_its_base() {
        let open = input(json!([null, null, null, 3]));
        let x = Input::of(&open, vec![16, 16, 3]).unwrap();
        let base = Model::named("base", &x, &Conv2D::new(2, 3).call(&x).unwrap()).unwrap();
        let own = of_nested(base.layer()).unwrap().unwrap();
        assert_eq!((own.layer().name(), own.open_axes(), own.shape()), ("base_input", vec![0, 1], &vec![16, 16, 3]));
        assert!(of_nested(&Dense::new(2).into_layer()).is_none());
        let model = Sequential::new().add(own).add(&base).add(GlobalAveragePooling2D::new()).build().unwrap();
        assert_eq!(record(&model), Some([16, 16]));
    }

    #[test]
    fn a_record_that_is_no_size_counts_as_none() {
        for record in [json!("224"), json!([0, 4]), json!([4, 1 << 20]), json!([4])] {
            assert!(OpenInputs::new(&json!(null), None, &record).chosen.is_none(), "{record}");
        }
    }

    #[test]
    fn all_readers_resize_to_one_size() {
        let flatten = json!({"class_name": "Flatten", "config": {}});
        assert_eq!(resized_to([&resizing(4, 6)]), Some([4, 6]));
        assert_eq!(resized_to([&resizing(4, 4), &resizing(4, 5)]), None);
        assert_eq!(resized_to([&resizing(4, 4), &flatten]), None);
        assert_eq!(resized_to([]), None);
    }
}
