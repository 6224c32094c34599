//! The result of a training job, and the type of the function that creates its callbacks.

use super::Checkpoint;
use crate::Result;
use crate::recipe::Phase;
use crate::train::{Callback, History};

/// How a training run ended without an error.
///
/// ```
/// use engraft::recipe::Outcome;
/// let message = |outcome| match outcome {
///     Outcome::Complete => "training is complete".to_owned(),
///     Outcome::Interrupted { phase, epoch, .. } => format!("stopped in epoch {} of phase {}", epoch + 1, phase + 1),
/// };
/// let stopped = Outcome::Interrupted { phase: 1, epoch: 4, step: 17 };
/// assert_eq!(message(stopped), "stopped in epoch 5 of phase 2");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All phases were completed.
    Complete,
    /// Training stopped because the [`Interrupt`](crate::recipe::Interrupt) was requested. The fields are the place of the last
    /// completed step.
    Interrupted {
        /// Index of the phase within the job, from 0.
        phase: usize,
        /// Index of the epoch within the phase, from 0.
        epoch: usize,
        /// Index of the step within the epoch, from 0.
        step: usize,
    },
}

/// Result of [`TrainingJob::run`](super::TrainingJob::run): history, saved files, and outcome. A run that fails has a report too.
///
/// ```
/// use engraft::prelude::*;
/// use engraft::recipe::{Interrupt, Outcome, Phase, TrainingJob, TrainingReport};
/// # let photos = tempfile::tempdir()?;
/// # for (class, grey) in [("dark", 20), ("light", 220)] {
/// #     std::fs::create_dir(photos.path().join(class))?;
/// #     let mut bmp = b"BM\0\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0\x08\0\0\0\x08\0\0\0\x01\0\x18\0".to_vec();
/// #     bmp.extend([0; 24]);
/// #     bmp.extend([grey; 8 * 8 * 3]);
/// #     std::fs::write(photos.path().join(class).join("1.bmp"), bmp)?;
/// # }
/// # let files = PhotoFolder::scan(photos.path(), &mut |_done, _total| {})?.photos;
/// # let layers = Sequential::new().add(Input::new([8, 8, 3])).add(Rescaling::new(1.0 / 255.0)).add(Flatten::new());
/// # let model = layers.add(Dense::new(2).activation(Softmax)).build()?;
/// # model.compile(Adam::new(0.05), Loss::categorical_crossentropy(), [])?;
/// # let classifier = Classifier::new(model, None)?;
/// # let phases = vec![Phase::first(classifier.model(), 3, 0)?];
/// # let job = TrainingJob::new(&classifier, files, Vec::new(), phases)?;
/// let interrupt = Interrupt::new();
/// // A handler of Ctrl-C would do this.
/// interrupt.request();
/// let report: TrainingReport = job.run(&interrupt, &mut |_phase| None);
/// assert!(report.saved.is_empty());
/// assert_eq!(report.outcome?, Outcome::Interrupted { phase: 0, epoch: 0, step: 0 });
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct TrainingReport {
    /// Loss and metrics of each epoch, over all phases.
    pub history: History,
    /// The files that were saved, with the epoch that each one holds.
    pub saved: Vec<Checkpoint>,
    /// How the run ended, or its error.
    pub outcome: Result<Outcome>,
}

/// Function that creates the callback of each phase, or `None` for a phase without a callback.
///
/// ```
/// use engraft::prelude::*;
/// use engraft::recipe::{CallbackFactory, Interrupt, Phase, TrainingJob};
/// # let photos = tempfile::tempdir()?;
/// # for (class, grey) in [("dark", 20), ("light", 220)] {
/// #     std::fs::create_dir(photos.path().join(class))?;
/// #     let mut bmp = b"BM\0\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0\x08\0\0\0\x08\0\0\0\x01\0\x18\0".to_vec();
/// #     bmp.extend([0; 24]);
/// #     bmp.extend([grey; 8 * 8 * 3]);
/// #     std::fs::write(photos.path().join(class).join("1.bmp"), bmp)?;
/// # }
/// # let files = PhotoFolder::scan(photos.path(), &mut |_done, _total| {})?.photos;
/// # let layers = Sequential::new().add(Input::new([8, 8, 3])).add(Rescaling::new(1.0 / 255.0)).add(Flatten::new());
/// # let model = layers.add(Dense::new(2).activation(Softmax)).build()?;
/// # model.compile(Adam::new(0.05), Loss::categorical_crossentropy(), [])?;
/// # let classifier = Classifier::new(model, None)?;
/// # let phases = vec![Phase::first(classifier.model(), 3, 0)?];
/// # let job = TrainingJob::new(&classifier, files, Vec::new(), phases)?;
/// let mut epochs = Vec::new();
/// let create_callback: CallbackFactory<'_> = &mut |phase| {
///     epochs.push(phase.epochs);
///     Some(Box::new(EarlyStopping::new("loss")))
/// };
/// job.run(&Interrupt::new(), create_callback).outcome?;
/// assert_eq!(epochs, [3]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub type CallbackFactory<'a> = &'a mut dyn FnMut(&Phase) -> Option<Box<dyn Callback>>;
