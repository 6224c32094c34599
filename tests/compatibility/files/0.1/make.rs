//! Writes the model files of this folder.
//!
//! Kept as text: it was compiled as an example of the crate `engraft` at the commit that `README.md` names, and ran as
//! `cargo run --example make -- FOLDER`.

use std::error::Error;
use std::path::PathBuf;

use engraft::formats::keras::{self, SaveOptions, legacy};
use engraft::formats::onnx::{self, OnnxModel, OnnxOptions};
use engraft::formats::safetensors::{self, Naming};
use engraft::formats::{Precision, npy};
use engraft::layers::{Flip, Softmax as SoftmaxLayer};
use engraft::prelude::*;
use engraft::recipe::{Backbone, Facts};
use serde_json::{Value, json};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Classes of every model.
const CLASSES: [&str; 3] = ["daisy", "rose", "tulip"];

/// Images of a batch.
const BATCH: usize = 6;

/// Images that are their own mirror images, with values from 0 to 255: a random flip leaves them as they are, so that a
/// training step computes the same in every version.
fn images(size: usize) -> Outcome<Tensor> {
    let value = |index: usize| {
        let (row, column, channel) = (index / (3 * size), index / 3 % size, index % 3);
        let column = column.min(size - 1 - column);
        ((37 * row + 101 * column + 59 * channel + row * column) % 256) as f32
    };
    Ok(Tensor::new([BATCH, size, size, 3], (0..BATCH * size * size * 3).map(value).collect())?)
}

/// One class after the other, one-hot.
fn targets() -> Outcome<Tensor> {
    let hot = |index: usize| f32::from(u8::from(index / CLASSES.len() % CLASSES.len() == index % CLASSES.len()));
    Ok(Tensor::new([BATCH, CLASSES.len()], (0..BATCH * CLASSES.len()).map(hot).collect())?)
}

/// A classifier as the recipes build it: augmentation, preprocessing, a frozen base, a head.
fn classifier() -> Outcome<Model> {
    let augment = Sequential::with_name("augmentation").add(Input::new([8, 8, 3])).add(RandomFlip::horizontal());
    let base = Sequential::with_name("base")
        .add(Input::new([8, 8, 3]))
        .add(Conv2D::new(4, 3).padding(Padding::Same).activation(Relu).named("conv"))
        .add(BatchNormalization::new().named("bn"))
        .add(MaxPooling2D::new(2).named("pool"))
        .build()?;
    let inputs = Input::new([8, 8, 3]);
    let x = augment.build()?.call(&inputs)?;
    let x = Rescaling::new(1.0 / 127.5).offset(-1.0).named("rescaling").call(&x)?;
    let x = base.call(&x)?;
    let x = Conv2D::new(4, 3).use_bias(false).activation(Relu).named("head_conv").call(&x)?;
    let x = BatchNormalization::new().named("head_bn").call(&x)?;
    let x = Flatten::new().named("flatten").call(&x)?;
    let outputs = Dense::new(3).activation(Softmax).named("predictions").call(&x)?;
    let model = Model::named("classifier", &inputs, &outputs)?;
    base.set_trainable(false);
    Ok(model)
}

/// Every class of layer that `classifier` doesn't have, and operations on tensors.
fn every_layer() -> Outcome<Model> {
    let inputs = Input::new([8, 8, 3]);
    let augment = Sequential::with_name("random")
        .add(Input::new([8, 8, 3]))
        .add(RandomRotation::new(0.1))
        .add(RandomZoom::new(0.1))
        .build()?;
    let x = augment.call(&inputs)?;
    let x = Flip::channels().call(&x)?;
    let x = Normalization::new([120.0, 110.0, 100.0], [4000.0, 3000.0, 2000.0]).call(&x)?;
    let x = ZeroPadding2D::new(1).call(&x)?;
    let x = Cropping2D::new(1).call(&x)?;
    let x = Resizing::new(6, 6).call(&x)?;
    let a = DepthwiseConv2D::new(3).padding(Padding::Same).call(&x)?;
    let a = ReLU::new().max_value(6.0).call(&a)?;
    let b = SeparableConv2D::new(3, 3).padding(Padding::Same).call(&x)?;
    let b = LeakyReLU::new(0.1).call(&b)?;
    let sum = Add::new().call([&a, &b])?;
    let difference = Subtract::new().call([&a, &b])?;
    let product = Multiply::new().call([&a, &b])?;
    let mean = Average::new().call([&sum, &difference])?;
    let x = Concatenate::new().call([&product, &mean])?;
    let x = AveragePooling2D::new(2).call(&x)?;
    let x = UpSampling2D::new(2).call(&x)?;
    let x = Conv2D::new(4, 3).strides(2).groups(2).use_bias(false).activation(Tanh).call(&x)?;
    let x = Permute::new([2, 1, 3]).call(&x)?;
    let x = ELU::new(1.0).call(&x)?;
    let x = Activation::new(Sigmoid).call(&x)?;
    let largest = GlobalMaxPooling2D::new().call(&x)?;
    let mean = GlobalAveragePooling2D::new().call(&x)?;
    let x = Concatenate::new().call([&largest, &mean])?;
    let x = Reshape::new([2, 4]).call(&x)?;
    let x = Flatten::new().call(&x)?;
    let x = Dropout::new(0.5).call(&x)?;
    let x = Dense::new(3).kernel_regularizer(Regularizer::l2(0.01)).call(&x)?;
    Ok(Model::named("every_layer", &inputs, &SoftmaxLayer::new().call(&x)?)?)
}

/// Convolutions and dense layers alone: torchvision has names for these.
fn torchvision() -> Outcome<Model> {
    let model = Sequential::with_name("torchvision")
        .add(Input::new([8, 8, 3]))
        .add(Rescaling::new(1.0 / 255.0).named("rescaling"))
        .add(Conv2D::new(4, 3).activation(Relu).named("conv"))
        .add(MaxPooling2D::new(2).named("pool"))
        .add(Flatten::new().named("flatten"))
        .add(Dense::new(5).activation(Relu).named("fc1"))
        .add(Dropout::new(0.5).named("dropout"))
        .add(Dense::new(3).activation(Softmax).named("predictions"));
    Ok(model.build()?)
}

/// Compiles a classifier and makes three steps, so that no moment is zero.
fn trained(optimizer: impl Into<Optimizer>) -> Outcome<Model> {
    let model = classifier()?;
    model.compile(optimizer, Loss::categorical_crossentropy().label_smoothing(0.1), [Metric::Accuracy])?;
    for _ in 0..3 {
        model.train_on_batch(&images(8)?, &targets()?)?;
    }
    Ok(model)
}

/// What is written, and what is expected of it.
struct Folder {
    path: PathBuf,
    arrays: Vec<(String, Tensor)>,
    index: Vec<Value>,
}

impl Folder {
    fn path(&self, file: &str) -> PathBuf {
        self.path.join(file)
    }

    /// Keeps what a model predicts that was read from `file`.
    fn expect(&mut self, file: &str, model: &Model, more: Value) -> Outcome<()> {
        self.expect_of(file, model.predict(&images(8)?, BATCH)?, more)
    }

    fn expect_of(&mut self, file: &str, predictions: Tensor, more: Value) -> Outcome<()> {
        let mut row = json!({"file": file, "bytes": std::fs::metadata(self.path(file))?.len()});
        for (key, value) in more.as_object().into_iter().flatten() {
            row[key] = value.clone();
        }
        self.arrays.push((file.to_owned(), predictions));
        self.index.push(row);
        Ok(())
    }

    /// A whole model with the state of its optimizer, and the step that comes next.
    fn whole(&mut self, file: &str, facts: bool) -> Outcome<()> {
        let model = keras::load_model(&self.path(file))?;
        let row = json!({"kind": "model", "metadata": facts, "compiled": compiled(&model)});
        self.expect(file, &model, row)?;
        if model.compiled().is_some() {
            let step = model.train_on_batch(&images(8)?, &targets()?)?;
            self.index.last_mut().ok_or("no row")?["next_loss"] = json!(step.loss);
            self.arrays.push((format!("{file} after a step"), model.predict(&images(8)?, BATCH)?));
        }
        Ok(())
    }

    fn finish(self) -> Outcome<()> {
        let arrays: Vec<(&str, &Tensor)> = self.arrays.iter().map(|(name, array)| (name.as_str(), array)).collect();
        npy::save_npz(&self.path("expected.npz"), &arrays)?;
        npy::save(&self.path("images.npy"), &images(8)?)?;
        let mut text = serde_json::to_string_pretty(&Value::Array(self.index.clone()))?;
        text.push('\n');
        Ok(std::fs::write(self.path("index.json"), text)?)
    }
}

/// What `compile` set, and how far the optimizer has come.
fn compiled(model: &Model) -> Value {
    let compiled = model.compiled();
    let Some(compiled) = compiled.as_ref() else { return Value::Null };
    let optimizer = compiled.optimizer.to_keras();
    json!({
        "optimizer": optimizer["class_name"],
        "learning_rate": compiled.optimizer.learning_rate(),
        "weight_decay": compiled.optimizer.weight_decay(),
        "slots": compiled.optimizer.slots(),
        "iterations": compiled.state.iterations,
        "loss": compiled.loss.name(),
        "metrics": compiled.metrics.iter().map(|metric| metric.name()).collect::<Vec<_>>(),
        "trainable": model.trainable_weights().iter().map(|weight| weight.path()).collect::<Vec<_>>(),
    })
}

fn facts() -> Facts {
    Facts {
        backbone: Some(Backbone::VGG16),
        seed: Some(7),
        ..Facts::new(CLASSES.iter().map(|&class| class.to_owned()).collect())
    }
}

fn main() -> Outcome<()> {
    let path = PathBuf::from(std::env::args().nth(1).ok_or("usage: make FOLDER")?);
    engraft::set_random_seed(1);
    let mut folder = Folder { path, arrays: Vec::new(), index: Vec::new() };
    let extras = [facts().entry()];
    let complete = SaveOptions { optimizer_state: true, extras: &extras, ..SaveOptions::default() };

    let adam = trained(Adam::new(0.01))?;
    keras::save(&adam, &folder.path("adam.keras"), &complete)?;
    legacy::save(&adam, &folder.path("adam.h5"), &complete)?;
    keras::save(&trained(Optimizer::adam_w(0.01))?, &folder.path("adamw.keras"), &complete)?;
    keras::save(&trained(Sgd::new(0.01).momentum(0.9).nesterov(true))?, &folder.path("sgd.keras"), &complete)?;
    let rmsprop = trained(RmsProp::new(0.01).momentum(0.5).centered(true))?;
    legacy::save(&rmsprop, &folder.path("rmsprop.h5"), &complete)?;
    let f16 = SaveOptions { precision: Precision::F16, ..complete };
    keras::save(&adam, &folder.path("f16.keras"), &f16)?;
    for file in ["adam.keras", "adam.h5", "adamw.keras", "sgd.keras", "rmsprop.h5", "f16.keras"] {
        folder.whole(file, true)?;
    }
    for (file, model) in [("plain.keras", classifier()?), ("every_layer.keras", every_layer()?)] {
        keras::save(&model, &folder.path(file), &SaveOptions::default())?;
        folder.whole(file, false)?;
    }

    weights_alone(&mut folder, &adam)?;
    let vgg = torchvision()?;
    keras::save(&vgg, &folder.path("torchvision.keras"), &SaveOptions::default())?;
    folder.whole("torchvision.keras", false)?;
    let options = safetensors::SaveOptions { naming: Naming::Torchvision, ..Default::default() };
    safetensors::save_weights(&folder.path("torchvision.safetensors"), &vgg.layers(), &options)?;
    folder.expect("torchvision.safetensors", &vgg, json!({"kind": "weights", "of": "torchvision.keras"}))?;

    graphs(&mut folder, &adam)?;
    folder.finish()
}

/// The weights of `adam.keras` without its layers.
fn weights_alone(folder: &mut Folder, model: &Model) -> Outcome<()> {
    let row = json!({"kind": "weights", "of": "adam.keras"});
    keras::save_weights(model, &folder.path("adam.weights.h5"), Precision::F32)?;
    folder.expect("adam.weights.h5", model, row.clone())?;
    legacy::save_weights(&folder.path("adam_layers.h5"), &model.layers())?;
    folder.expect("adam_layers.h5", model, row.clone())?;
    let (name, json) = facts().entry();
    let metadata = [(name, String::from_utf8(json)?)].into_iter().collect();
    let options = safetensors::SaveOptions { metadata, ..Default::default() };
    safetensors::save_weights(&folder.path("adam.safetensors"), &model.layers(), &options)?;
    folder.expect("adam.safetensors", model, row.clone())?;
    let options = safetensors::SaveOptions { precision: Precision::F16, ..Default::default() };
    safetensors::save_weights(&folder.path("f16.safetensors"), &model.layers(), &options)?;
    let rounded = keras::load_model(&folder.path("f16.keras"))?;
    folder.expect("f16.safetensors", &rounded, row)
}

/// ONNX graphs, which are run from the file.
fn graphs(folder: &mut Folder, adam: &Model) -> Outcome<()> {
    let every_layer = keras::load_model(&folder.path("every_layer.keras"))?;
    let classes = facts().classes;
    for (file, model, precision) in [
        ("adam.onnx", adam, Precision::F32),
        ("f16.onnx", adam, Precision::F16),
        ("every_layer.onnx", &every_layer, Precision::F32),
    ] {
        let options = OnnxOptions { precision, class_names: &classes, ..OnnxOptions::default() };
        onnx::save(model, &folder.path(file), &options)?;
        let predictions = OnnxModel::load(&folder.path(file))?.run(&[&images(8)?])?.remove(0);
        folder.expect_of(file, predictions, json!({"kind": "graph"}))?;
    }
    Ok(())
}
