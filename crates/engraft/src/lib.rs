//! Transfer learning for image classifiers, in Rust: Keras' vocabulary and Keras' numbers.
//!
//! A network trained on ImageNet, frozen, with a new head for classes of your own:
//!
//! ```
//! use engraft::prelude::*;
//!
//! let inputs = Input::new([256, 256, 3]);
//! let x = RandomFlip::horizontal().call(&inputs)?;
//! // "imagenet" in earnest: the weights are then found or downloaded.
//! let base = Vgg16::new().include_top(false).weights("none").input_tensor(&x).build()?;
//! base.set_trainable(false);
//!
//! let x = GlobalAveragePooling2D::new().call(base.output())?;
//! let outputs = Dense::new(5).activation(Softmax).call(&x)?;
//! let model = Model::new(&inputs, &outputs)?;
//!
//! assert_eq!(model.count_params(), 14_714_688 + 512 * 5 + 5);
//! println!("{}", model.summary().show_trainable(true));
//! # Ok::<(), engraft::Error>(())
//! ```
//!
//! | part | what it holds |
//! |---|---|
//! | [`layers`], [`Model`], [`Sequential`] | what a network is |
//! | [`applications`] | networks with pretrained weights |
//! | [`recipe`] | a classifier of photos in one step |
//! | [`data`] | folders of photos as batches |
//! | [`train`] | compile, fit, evaluate, predict |
//! | [`formats`] | model files |
//! | [`interpreter`] | ONNX files run operator by operator, to check them |
//! | [`hub`] | pretrained weight files: found, downloaded, checked |

pub mod applications;
pub mod recipe;

pub use engraft_cpu as cpu;
pub use engraft_data as data;
pub use engraft_formats as formats;
pub use engraft_hub as hub;
pub use engraft_interpreter as interpreter;
pub use engraft_ir as ir;
pub use engraft_memory as memory;
pub use engraft_nn::*;
pub use engraft_plan as plan;
pub use engraft_runtime as runtime;
pub use engraft_train as train;

/// What a program that describes and trains models needs.
///
/// ```
/// use engraft::prelude::*;
///
/// let model = Sequential::new().add(Input::new([2])).add(Dense::new(2).activation(Softmax)).build()?;
/// model.compile(Adam::new(0.1), Loss::categorical_crossentropy(), [Metric::Accuracy])?;
/// let x = Tensor::new([2, 2], vec![0.0, 1.0, 1.0, 0.0])?;
/// let y = Tensor::new([2, 2], vec![1.0, 0.0, 0.0, 1.0])?;
/// let data = Arrays::new(x, y)?;
/// let history: History = model.fit(&data, Fit::new().epochs(50))?;
/// assert_eq!(history.last("accuracy"), Some(1.0));
/// assert_eq!(model.evaluate(&data, 32)?.get("accuracy"), Some(1.0));
/// # Ok::<(), engraft::Error>(())
/// ```
pub mod prelude {
    pub use engraft_nn::prelude::*;

    pub use crate::applications::{Pooling, Vgg16, Weights};
    pub use crate::data::{Arrays, Dataset, PhotoDataset, PhotoFolder};
    pub use crate::formats::keras::{load_model, save_model};
    pub use crate::ir::Precision;
    pub use crate::recipe::{Classifier, Freeze, Recipe};
    pub use crate::runtime::{Predictor, Runtime};
    pub use crate::train::callbacks::{EarlyStopping, LearningRateScheduler, ModelCheckpoint, ReduceLROnPlateau};
    pub use crate::train::{
        BatchEnd, Callback, EpochEnd, Evaluation, Fit, History, RunOptions, Train, TrainBegin, Training,
    };
}
