//! Which epoch a job with a validation set saves, and what the model holds afterwards.

use std::path::{Path, PathBuf};

use engraft::ErrorKind;
use engraft::data::Photo;
use engraft::prelude::*;
use engraft::recipe::{Checkpoint, Interrupt, Outcome, Phase, TrainingJob, TrainingReport};

use crate::support::{classifier, folder, weights};

/// Sets the weights at the end of each epoch, before its validation: all to zero, except the bias of the first class, which is
/// the next of `biases`. The classes of the validation set have as many photos each, so `val_loss` grows with the bias.
struct SetsBias(std::vec::IntoIter<f32>);

impl SetsBias {
    fn callback(biases: impl Into<Vec<f32>>) -> Option<Box<dyn Callback>> {
        Some(Box::new(Self(biases.into().into_iter())))
    }
}

impl Callback for SetsBias {
    fn on_batch_end(&mut self, end: &BatchEnd<'_>, training: &mut Training<'_>) -> engraft::Result<()> {
        if end.step + 1 == end.steps {
            let weights = training.model()?.weights();
            weights.iter().for_each(|weight| weight.values_mut().fill(0.0));
            weights[3].values_mut()[0] = self.0.next().unwrap();
        }
        Ok(())
    }
}

/// The bias of the first class: it tells the epoch.
fn bias(classifier: &Classifier) -> f32 {
    classifier.model().weights()[3].values()[0]
}

fn bias_in(path: &Path) -> f32 {
    bias(&Classifier::load(path).unwrap())
}

/// A job on these photos for training and validation, in batches of 4, so that an epoch has two steps.
fn job<'a>(classifier: &'a Classifier, photos: &[Photo], phases: &[Phase]) -> TrainingJob<'a> {
    let job = TrainingJob::new(classifier, photos.to_vec(), photos.to_vec(), phases.to_vec()).unwrap();
    job.batch_size(4).runtime(&Runtime::cpu(Some(1)).unwrap())
}

/// A first phase of four epochs and a second one of two.
fn phases(phases: &[Phase]) -> [Phase; 2] {
    [Phase { epochs: 4, ..phases[0].clone() }, Phase { epochs: 2, ..phases[1].clone() }]
}

/// Complete epochs and phase of each file, and whether it holds the best epoch and the optimizer's state.
fn held(report: &TrainingReport) -> Vec<(usize, usize, bool, bool)> {
    let held = |file: &Checkpoint| (file.phase, file.epochs, file.val_loss.is_some(), file.optimizer_state);
    report.saved.iter().map(held).collect()
}

#[test]
fn the_best_epoch_of_all_phases_is_saved_and_comes_back() {
    let (_folder, photos, file) = folder();
    for (second, expected, best) in [
        // Fine-tuning is worse, or as good.
        ([3.0, 4.0], (0, 2, true, false), 1.0),
        ([1.0, 2.0], (0, 2, true, false), 1.0),
        ([0.5, 0.75], (1, 1, true, false), 0.5),
    ] {
        let (classifier, both) = classifier();
        let job = job(&classifier, &photos, &phases(&both)).save_to(&file, false);
        let report = job.run(&Interrupt::new(), &mut |phase| match &phase.name[..] {
            "" => SetsBias::callback([2.0, 1.0, 3.0, 1.5]),
            _ => SetsBias::callback(second),
        });
        assert_eq!(report.outcome.as_ref().unwrap(), &Outcome::Complete);
        assert_eq!((held(&report), bias_in(&file), bias(&classifier)), (vec![expected], best, best));
        // What the job evaluates is what the file holds.
        let val_loss = report.history.get("val_loss").iter().copied().fold(f64::INFINITY, f64::min);
        let evaluation = job.evaluate(&Runtime::cpu(Some(1)).unwrap()).unwrap();
        assert_eq!((report.saved[0].val_loss, evaluation.loss), (Some(val_loss), val_loss));
        assert_eq!(report.history.epochs(), 6);
    }
}

#[test]
fn a_file_of_the_best_epoch_is_there_as_soon_as_the_callback_learns_of_it() {
    /// Reads the file after each epoch.
    struct Reads(SetsBias, PathBuf, Vec<f32>);

    impl Callback for Reads {
        fn on_batch_end(&mut self, end: &BatchEnd<'_>, training: &mut Training<'_>) -> engraft::Result<()> {
            self.0.on_batch_end(end, training)
        }
        fn on_epoch_end(&mut self, _: &EpochEnd<'_>, _: &mut Training<'_>) -> engraft::Result<()> {
            self.2.push(bias_in(&self.1));
            Ok(())
        }
        fn on_train_end(&mut self, _: &mut Training<'_>) -> engraft::Result<()> {
            assert_eq!(self.2, [2.0, 1.0, 1.0, 1.0]);
            Ok(())
        }
    }

    let (_folder, photos, file) = folder();
    let (classifier, both) = classifier();
    let job = job(&classifier, &photos, &phases(&both)[..1]).save_to(&file, false);
    let report = job.run(&Interrupt::new(), &mut |_| {
        let biases = SetsBias(vec![2.0, 1.0, 3.0, 1.5].into_iter());
        Some(Box::new(Reads(biases, file.clone(), Vec::new())))
    });
    report.outcome.unwrap();
}

#[test]
fn with_the_optimizer_the_last_epoch_is_saved_too() {
    let (folder, photos, file) = folder();
    let (classifier, both) = classifier();
    let job = job(&classifier, &photos, &phases(&both)[..1]).save_to(&file, true);
    let best = folder.path().join("model-best.keras");
    assert_eq!(job.best_path().as_ref(), Some(&best));
    let report = job.run(&Interrupt::new(), &mut |_| SetsBias::callback([2.0, 1.0, 3.0, 1.5]));
    assert_eq!(held(&report), [(0, 4, false, true), (0, 2, true, false)]);
    assert_eq!((report.saved[0].path.as_path(), report.saved[1].path.as_path()), (file.as_path(), best.as_path()));
    assert_eq!((bias_in(&file), bias_in(&best), bias(&classifier)), (1.5, 1.0, 1.0));
    let iterations = |path| Classifier::load(path).unwrap().model().compiled().unwrap().state.iterations();
    assert_eq!((iterations(&file), iterations(&best)), (8, 0));
    // The optimizer in memory is that of the last step.
    assert_eq!(classifier.model().compiled().unwrap().state.iterations(), 8);
}

#[test]
fn an_interrupt_keeps_the_best_complete_epoch() {
    for optimizer_state in [false, true] {
        let (_folder, photos, file) = folder();
        let (classifier, both) = classifier();
        let job = job(&classifier, &photos, &phases(&both)[..1]).save_to(&file, optimizer_state);
        let interrupt = Interrupt::new();
        let report = job.run(&interrupt, &mut |_| {
            Some(Box::new(Interrupts { biases: SetsBias(vec![1.0, 2.0].into_iter()), epoch: 2, of: interrupt.clone() }))
        });
        assert_eq!(report.outcome.as_ref().unwrap(), &Outcome::Interrupted { phase: 0, epoch: 2, step: 0 });
        let expected = match optimizer_state {
            false => vec![(0, 1, true, false)],
            true => vec![(0, 2, false, true), (0, 1, true, false)],
        };
        assert_eq!(held(&report), expected);
        assert_eq!((bias_in(&report.saved.last().unwrap().path), bias(&classifier)), (1.0, 1.0));
        assert_eq!(bias_in(&file), if optimizer_state { 2.0 } else { 1.0 });
    }
}

#[test]
fn an_interrupt_before_the_end_of_the_first_epoch_saves_the_weights_of_now() {
    for optimizer_state in [false, true] {
        let (_folder, photos, file) = folder();
        let (classifier, both) = classifier();
        let job = job(&classifier, &photos, &phases(&both)).save_to(&file, optimizer_state);
        let interrupt = Interrupt::new();
        let report = job.run(&interrupt, &mut |_| {
            Some(Box::new(Interrupts { biases: SetsBias(Vec::new().into_iter()), epoch: 0, of: interrupt.clone() }))
        });
        assert_eq!(report.outcome.as_ref().unwrap(), &Outcome::Interrupted { phase: 0, epoch: 0, step: 0 });
        assert_eq!(held(&report), [(0, 0, false, optimizer_state)]);
        assert_eq!(report.saved[0].steps, 1);
        assert_eq!(weights(Classifier::load(&file).unwrap().model()), weights(classifier.model()));
    }
}

/// Requests an interrupt in the first step of an epoch, counted from 0.
struct Interrupts {
    biases: SetsBias,
    epoch: usize,
    of: Interrupt,
}

impl Callback for Interrupts {
    fn on_batch_begin(&mut self, step: usize, training: &mut Training<'_>) -> engraft::Result<()> {
        // An epoch has two steps.
        if training.iterations() as usize == 2 * self.epoch && step == 0 {
            self.of.request();
        }
        Ok(())
    }

    fn on_batch_end(&mut self, end: &BatchEnd<'_>, training: &mut Training<'_>) -> engraft::Result<()> {
        self.biases.on_batch_end(end, training)
    }
}

#[test]
fn a_loss_that_is_not_finite_leaves_the_best_epoch() {
    let (_folder, photos, file) = folder();
    let (classifier, both) = classifier();
    let job = job(&classifier, &photos, &phases(&both)[..1]).save_to(&file, false);
    let report = job.run(&Interrupt::new(), &mut |_| SetsBias::callback([1.0, 2.0, f32::NAN]));
    let error = report.outcome.as_ref().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NonFinite);
    assert!(error.to_string().starts_with("epoch 3 of 4, learning rate 0.01: val_loss is NaN"), "{error}");
    assert_eq!((held(&report), bias_in(&file)), (vec![(0, 1, true, false)], 1.0));
}
