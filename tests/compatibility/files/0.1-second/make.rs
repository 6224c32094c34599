//! Writes the model files of this folder.
//!
//! Kept as text: it was compiled as an example of the crate `engraft` at the commit that `README.md` names, and ran as
//! `cargo run --example make -- FOLDER`.

use std::error::Error;
use std::path::PathBuf;

use engraft::formats::keras::{self, SaveOptions, legacy};
use engraft::formats::npy;
use engraft::prelude::*;
use engraft::recipe::Base;
use serde_json::{Value, json};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Number of classes of every model.
const CLASSES: usize = 3;

/// Images of a batch.
const BATCH: usize = 6;

/// Iterations at which the index keeps the learning rate.
const ITERATIONS: [u64; 5] = [0, 3, 4, 7, 100];

/// Images with values from 0 to 255.
fn images() -> Outcome<Tensor> {
    let value = |index: usize| ((37 * index + index * index / 5) % 256) as f32;
    Ok(Tensor::new([BATCH, 4, 4, 3], (0..BATCH * 4 * 4 * 3).map(value).collect())?)
}

/// One class after the other, one-hot.
fn targets() -> Outcome<Tensor> {
    let hot = |index: usize| f32::from(u8::from(index / CLASSES % CLASSES == index % CLASSES));
    Ok(Tensor::new([BATCH, CLASSES], (0..BATCH * CLASSES).map(hot).collect())?)
}

/// A base that no rule would recognise, because it contains a Dense layer. It is recorded and frozen.
fn base(input: &SymbolicTensor) -> Outcome<Model> {
    let x = Rescaling::new(1.0 / 255.0).named("rescaling").call(input)?;
    let x = Conv2D::new(4, 2).strides(2).activation(Relu).named("stem").call(&x)?;
    let x = Dense::new(4).activation(Relu).named("pointwise").call(&x)?;
    let base = Model::named("base", input, &x)?;
    Base::record(&base);
    base.set_trainable(false);
    Ok(base)
}

/// A head on a base whose layers are layers of the model itself.
fn flat() -> Outcome<Model> {
    let x = Input::named("photos", [4, 4, 3]);
    let y = GlobalAveragePooling2D::new().named("pool").call(base(&x)?.output())?;
    Ok(Model::named("flat", &x, &Dense::new(CLASSES).activation(Softmax).named("top").call(&y)?)?)
}

/// A head on a base that is a nested model.
fn nested() -> Outcome<Model> {
    let base = base(&Input::named("photos", [4, 4, 3]))?;
    let model = Sequential::with_name("nested")
        .add(Input::named("pixels", [4, 4, 3]))
        .add(base)
        .add(Flatten::new().named("flatten"))
        .add(Dense::new(CLASSES).activation(Softmax).named("top"));
    Ok(model.build()?)
}

/// A model without a base.
fn linear() -> Outcome<Model> {
    let model = Sequential::with_name("linear")
        .add(Input::named("photos", [4, 4, 3]))
        .add(GlobalAveragePooling2D::new().named("pool"))
        .add(Rescaling::new(1.0 / 255.0).named("rescaling"))
        .add(Dense::new(CLASSES).activation(Softmax).named("top"));
    Ok(model.build()?)
}

/// Compiles a model and makes three steps.
fn trained(model: Model, optimizer: impl Into<Optimizer>) -> Outcome<Model> {
    model.compile(optimizer, Loss::categorical_crossentropy(), [Metric::Accuracy])?;
    for _ in 0..3 {
        model.train_on_batch(&images()?, &targets()?)?;
    }
    Ok(model)
}

/// What is expected of a file: its base, its learning rates, and the next step.
fn row(file: &str, model: &Model) -> Outcome<Value> {
    let base = Base::of(model).ok().map(|base| base.layers().iter().map(|l| l.name().to_owned()).collect::<Vec<_>>());
    let compiled = model.compiled();
    let compiled = compiled.as_ref().ok_or("not compiled")?;
    let LearningRate::Schedule(schedule) = compiled.optimizer.learning_rate() else { return Err("no schedule".into()) };
    Ok(json!({
        "file": file,
        "kind": "model",
        "base": base,
        "schedule": schedule.class_name(),
        "rates": ITERATIONS.map(|iteration| [json!(iteration), json!(schedule.at(iteration))]),
        "iterations": compiled.state.iterations(),
        "trainable": model.trainable_weights().iter().map(|weight| weight.path()).collect::<Vec<_>>(),
    }))
}

fn main() -> Outcome<()> {
    let folder = PathBuf::from(std::env::args().nth(1).ok_or("usage: make FOLDER")?);
    engraft::set_random_seed(1);
    let options = SaveOptions { optimizer_state: true, ..SaveOptions::default() };

    let exponential = || Adam::new(ExponentialDecay::new(0.01, 2, 0.9).staircase(true));
    let (flat, nested) = (trained(flat()?, exponential())?, trained(nested()?, exponential())?);
    keras::save(&flat, &folder.join("flat.keras"), &options)?;
    keras::save(&nested, &folder.join("nested.keras"), &options)?;
    legacy::save(&nested, &folder.join("nested.h5"), &options)?;
    let schedules: [(&str, LearningRate); 5] = [
        ("cosine_decay.keras", CosineDecay::new(0.01, 10).alpha(0.1).warmup_target(0.05).warmup_steps(4).into()),
        ("cosine_decay_restarts.keras", CosineDecayRestarts::new(0.01, 5).t_mul(1.5).m_mul(0.9).alpha(0.1).into()),
        ("inverse_time_decay.keras", InverseTimeDecay::new(0.01, 3, 0.5).staircase(true).into()),
        ("piecewise_constant_decay.keras", PiecewiseConstantDecay::new([3, 6], [0.01, 0.005, 0.001]).into()),
        ("polynomial_decay.keras", PolynomialDecay::new(0.01, 5).end_learning_rate(0.002).power(2.0).cycle(true).into()),
    ];
    let mut files = vec!["flat.keras", "nested.keras", "nested.h5"];
    for (file, rate) in schedules {
        keras::save(&trained(linear()?, Sgd::new(rate))?, &folder.join(file), &options)?;
        files.push(file);
    }

    let (mut arrays, mut index) = (Vec::new(), Vec::new());
    for file in files {
        let model = keras::load_model(&folder.join(file))?;
        let mut row = row(file, &model)?;
        arrays.push((file.to_owned(), model.predict(&images()?, BATCH)?));
        row["next_loss"] = json!(model.train_on_batch(&images()?, &targets()?)?.loss);
        arrays.push((format!("{file} after a step"), model.predict(&images()?, BATCH)?));
        index.push(row);
    }
    let arrays: Vec<(&str, &Tensor)> = arrays.iter().map(|(name, array)| (name.as_str(), array)).collect();
    npy::save_npz(&folder.join("expected.npz"), &arrays)?;
    npy::save(&folder.join("images.npy"), &images()?)?;
    let text = serde_json::to_string_pretty(&Value::Array(index))?;
    Ok(std::fs::write(folder.join("index.json"), text + "\n")?)
}
