//! Transfer learning for image classifiers, with the vocabulary and the numbers of Keras 3.
//!
//! Take a network pretrained on ImageNet, freeze it, train a new head on a folder of photos, fine-tune the last layers, and save
//! a `.keras` file that Keras opens too.
//!
//! # Transfer learning in thirty lines
//!
//! ```
//! use std::path::Path;
//!
//! use engraft::prelude::*;
//!
//! // photos/cat/*.jpg, photos/dog/*.jpg
//! let (photos, photo, file) = (Path::new("photos"), Path::new("photo.jpg"), Path::new("pets.keras"));
//! # let temporary = tempfile::tempdir()?;
//! # let photos = temporary.path().join("photos");
//! # for (class, grey) in [("cat", 20), ("dog", 220)] {
//! #     std::fs::create_dir_all(photos.join(class))?;
//! #     for photo in 0..5 {
//! #         let mut bmp = b"BM\0\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0\x08\0\0\0\x08\0\0\0\x01\0\x18\0".to_vec();
//! #         bmp.extend([0; 24]);
//! #         bmp.extend([grey + photo; 8 * 8 * 3]);
//! #         std::fs::write(photos.join(class).join(format!("{photo}.bmp")), bmp)?;
//! #     }
//! # }
//! # let photo = photos.join("cat/0.bmp");
//! # let file = temporary.path().join("pets.keras");
//!
//! // Training set and validation set, photos resized to 64 x 64 pixels.
//! let folder = PhotoFolder::scan(&photos, &mut |_done, _total| {})?;
//! let classes = folder.classes.len();
//! let parts = data::split(&folder.photos, 0.2, 42)?;
//! let training = PhotoDataset::new(parts.training, classes, [64, 64])?;
//! let validation = PhotoDataset::new(parts.validation, classes, [64, 64])?;
//!
//! // Augmentation, preprocessing, the base with its ImageNet weights, a new head.
//! let inputs = Input::new([64, 64, 3]);
//! let x = RandomFlip::horizontal().call(&inputs)?;
//! let x = efficientnet_lite::preprocess_input(&x)?;
//! let base = efficientnet_lite0().include_top(false).input_tensor(&x).build()?;
//! let x = GlobalAveragePooling2D::new().call(base.output())?;
//! let outputs = Dense::new(classes).activation(Softmax).call(&x)?;
//! let model = Model::new(&inputs, &outputs)?;
//!
//! // Train the head; the base is frozen.
//! base.set_trainable(false);
//! model.compile(Adam::new(1e-3), Loss::categorical_crossentropy(), [Metric::Accuracy])?;
//! model.fit(&training, Fit::new().epochs(2).validation(&validation))?;
//!
//! // Fine-tune the last layers at a tenth of the learning rate.
//! for layer in base.layers().iter().filter(|layer| layer.name().starts_with("top")) {
//!     layer.set_trainable(true);
//! }
//! model.compile(Adam::new(1e-4), Loss::categorical_crossentropy(), [Metric::Accuracy])?;
//! println!("{}", model.summary().show_trainable(true));
//! let history = model.fit(&training, Fit::new().epochs(1).validation(&validation))?;
//! println!("validation accuracy {:?}", history.last("val_accuracy"));
//!
//! // Save, load, classify a photo.
//! save_model(&model, &file)?;
//! let classifier = Classifier::load(&file)?;
//! let probabilities = classifier.classify(&data::decode(&photo)?)?;
//! assert_eq!(probabilities.len(), classes);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`recipe::Recipe`] builds such a model in one call, and [`recipe::TrainingJob`] runs both phases, as the program
//! `engraft train` does.
//!
//! # Map of the crate
//!
//! | to | use |
//! |---|---|
//! | describe a network | [`layers`], [`Sequential`], [`Model`], [`Initializer`], [`Regularizer`] |
//! | start from a pretrained network | [`applications`]; [`hub`] finds, downloads and verifies weight files |
//! | build and train a photo classifier in a few lines | [`recipe`]: `Recipe`, `TrainingJob`, `Classifier`, `Freeze` |
//! | train a linear classifier on features, score it by cross-validation | [`linear`], [`recipe::LinearProbe`] |
//! | read folders of photos | [`data`]: scan, decode, resize, split, batch |
//! | train and evaluate | [`Model::compile`], [`Optimizer`], [`Loss`], [`Metric`]; [`train`]: fit, evaluate, predict, callbacks |
//! | read and write model files | [`formats`]: `.keras`, `.h5`, `.weights.h5`, `.safetensors`, `.onnx`, `.npy` |
//! | choose threads, memory limit and bf16, predict from many threads | [`runtime`]: `Runtime`, `Predictor` |
//! | see or change how a model runs | [`Program`] and [`ir`]: the operations of a model; [`plan`]: memory, fusion, executors; [`cpu`]: the CPU executor |
//! | check an exported ONNX file | [`interpreter`]: runs ONNX graphs operator by operator |
//! | keep features of photos on disk | [`cache`]; [`recipe::FeatureExtractor`] |
//! | look at the memory of the machine | [`memory`] |
//!
//! # Features
//!
//! `download` (default): downloads pretrained weights over HTTPS. Without it, the crate depends on no HTTP client. The weights of
//! VGG16 then come from the cache, from Keras' folder or from a file. If they are missing, the error names the feature.

pub mod applications;
pub mod recipe;

#[doc(inline)]
pub use engraft_cache as cache;
#[doc(inline)]
pub use engraft_cpu as cpu;
#[doc(inline)]
pub use engraft_data as data;
#[doc(inline)]
pub use engraft_formats as formats;
#[doc(inline)]
pub use engraft_hub as hub;
#[doc(inline)]
pub use engraft_interpreter as interpreter;
#[doc(inline)]
pub use engraft_ir as ir;
#[doc(inline)]
pub use engraft_linear as linear;
#[doc(inline)]
pub use engraft_memory as memory;
pub use engraft_nn::*;
#[doc(inline)]
pub use engraft_plan as plan;
#[doc(inline)]
pub use engraft_runtime as runtime;
#[doc(inline)]
pub use engraft_train as train;

/// Imports for a program that builds and trains models.
///
/// Functions of [`data`] and of the networks are reached through their modules: `data::split`, `data::decode`,
/// `vgg16::preprocess_input`. So they can't be confused with a program's own functions.
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

    pub use crate::applications::{Pooling, Weights, efficientnet_lite, efficientnet_lite0, vgg16};
    pub use crate::data::{self, Arrays, Dataset, PhotoDataset, PhotoFolder};
    pub use crate::formats::keras::{load_model, save_model};
    pub use crate::ir::Precision;
    pub use crate::recipe::{Augment, Classifier, Freeze, Interrupt, Outcome, Phase, Recipe, TrainingJob};
    pub use crate::runtime::{Predictor, Runtime};
    pub use crate::train::callbacks::{
        EarlyStopping, LambdaCallback, LearningRateScheduler, ModelCheckpoint, ReduceLROnPlateau,
    };
    pub use crate::train::{
        BatchEnd, Callback, EpochEnd, Evaluation, Fit, History, RunOptions, Train, TrainBegin, Training,
    };
}
