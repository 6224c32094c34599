//! [`fit`]: a classifier of all samples.

use crate::error::Result;
use crate::features::Features;
use crate::labels::Labels;
use crate::model::LinearModel;
use crate::monitor::{Meter, Monitor};
use crate::options::Options;
use crate::ridge::RidgeChoice;
use crate::training_part::TrainingPart;

/// A classifier of all samples, and what was chosen for it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Fit {
    /// The classifier.
    pub model: LinearModel,
    /// The chosen strength, one of [`Options::strengths`].
    pub strength: f64,
    /// Its penalty λ: `λ/2 ‖W‖²` beside the mean log loss, on standardized features.
    pub penalty: f64,
    /// The factor of the logits that calibrates them. The model's weights contain it.
    pub temperature: f64,
    /// Log loss of the inner held-out samples, with the chosen strength and temperature. It is slightly too good, as it chose both;
    /// [`cross_validate`](crate::cross_validate()) measures fairly. `None` if no sample could be held out.
    pub inner_log_loss: Option<f64>,
    /// The ridge classifier of the same samples; `None` for large problems.
    pub ridge: Option<RidgeChoice>,
    /// Multiply-accumulates spent.
    pub macs: u64,
}

/// Trains a classifier on all samples: L2-penalised logistic regression on standardized features, with a temperature.
///
/// Strength and temperature are chosen together by the log loss of inner held-out samples, over a path of strengths from strong to
/// weak. Each log loss is that after its best temperature. The inner folds share standardization and principal axes, which don't
/// depend on labels. With several labels a sample, each label has a sigmoid; all share strength and temperature.
///
/// Where one evaluation of the loss takes more than 200 million multiply-accumulates (twice samples × rank × classes, where the rank
/// is the smaller of samples and features), one inner fold is held out instead of all, every second strength is tried, and the
/// iterations are limited.
///
/// # Errors
/// Samples of features and labels differ in number, an option is out of range, or the run was stopped.
///
/// ```
/// use engraft_linear::{Features, Labels, Monitor, Options, fit};
/// // Three labels that a sample can have together: one for each feature that is positive.
/// let values = [1., 1., -1., -1., 1., 1., 1., -1., -1., -1., -1., 1., 2., 1., -1., -1., -2., 2.];
/// let features = Features::new(&values, 6, 3)?;
/// let bits: Vec<bool> = values.iter().map(|&value| value > 0.0).collect();
/// let found = fit(features, &Labels::multi(&bits, 3)?, &Options::default(), &Monitor::new())?;
/// let probabilities = found.model.probabilities(features)?;
/// assert!(probabilities.iter().zip(&bits).all(|(&probability, &bit)| (probability > 0.5) == bit));
/// # Ok::<(), engraft_linear::LinearError>(())
/// ```
pub fn fit(features: Features<'_>, labels: &Labels, options: &Options, monitor: &Monitor<'_>) -> Result<Fit> {
    labels.check_samples(features.samples())?;
    let part = TrainingPart::new(features, labels, (0..features.samples()).collect(), options, 0)?;
    let meter = Meter::new(*monitor, part.planned());
    let trained = part.train(&meter)?;
    Ok(Fit {
        model: trained.model,
        strength: trained.strength,
        penalty: trained.penalty,
        temperature: trained.temperature,
        inner_log_loss: trained.log_loss,
        ridge: trained.ridge,
        macs: meter.spent(),
    })
}
