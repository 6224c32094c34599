//! Linear classifiers on features of a frozen network: slices of `f32` in, a kernel and a bias out.
//!
//! [`fit`] trains a softmax classifier, or a sigmoid classifier for several labels a sample, and chooses everything that it needs
//! from the training data: the strength of the penalty and the temperature of the logits. [`cross_validate`] measures such a
//! classifier on samples that had no part in any of its choices.
//!
//! ```
//! use engraft_linear::{Features, Folds, LinearError, Labels, Monitor, Options, cross_validate, fit};
//! // Eight samples of two features; the class is the sign of the first.
//! let values = [-2., 1., -1., 0., -3., 1., -2., 0., 2., 1., 1., 0., 3., 1., 2., 0.];
//! let features = Features::new(&values, 8, 2)?;
//! let labels = Labels::single(&[0, 0, 0, 0, 1, 1, 1, 1], 2)?;
//! let (options, monitor) = (Options::default(), Monitor::new());
//!
//! let score = cross_validate(features, &labels, &Folds::stratified(&labels, 4, 7)?, &options, &monitor)?;
//! assert_eq!(score.accuracy, 1.0);
//!
//! let model = fit(features, &labels, &options, &monitor)?.model;
//! let probabilities = model.probabilities(Features::new(&[5.0, 0.5], 1, 2)?)?;
//! assert!(probabilities[1] > 0.9);
//! # Ok::<(), LinearError>(())
//! ```
//!
//! **Same bits.** Work is divided by the shape of the data alone, and partial sums are added in a fixed order, so a result has the
//! same bits for any number of threads. Parallel work runs in the caller's rayon pool.
//!
//! **Memory.** Beside the features, which are never copied as a whole when there are many of them, a run holds a few square matrices
//! of f64 whose side is the number of samples or of features, whichever is smaller, and the logits of the held-out samples.

#[cfg(test)]
mod against_scikit_learn;
mod balance;
pub mod calibration;
mod class_means;
mod close_pairs;
mod cross_validate;
mod decomposition;
mod design;
mod error;
mod features;
mod fit;
mod folds;
pub mod interval;
mod label_scores;
mod labels;
mod lbfgs;
mod linalg;
mod logistic;
mod loss;
mod model;
mod monitor;
mod options;
mod ridge;
mod search;
mod standardize;
mod subset;
mod targets;
mod temperature;
#[cfg(test)]
mod testing;
pub mod threshold;
mod training_part;

pub use class_means::ClassMeans;
pub use close_pairs::close_pairs;
pub use cross_validate::{CrossValidation, FoldChoice, cross_validate};
pub use error::{LinearError, Result};
pub use features::Features;
pub use fit::{Fit, fit};
pub use folds::Folds;
pub use label_scores::{LabelScore, LabelScores};
pub use labels::Labels;
pub use model::LinearModel;
pub use monitor::Monitor;
pub use options::{ClassWeights, Options};
pub use ridge::RidgeChoice;
