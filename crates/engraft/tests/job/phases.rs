//! A job of two phases without a validation set: interrupted between them, failing in the second, and resumed.

use std::path::Path;

use engraft::Error;
use engraft::data::Photo;
use engraft::prelude::*;
use engraft::recipe::{Interrupt, Outcome, Phase, TrainingJob, TrainingReport};

use crate::support::{AtEndOf, classifier, folder, iterations, weights};

/// Runs a job on the photos, and saves the classifier with the optimizer's state.
fn run(
    (classifier, phases): &(Classifier, Vec<Phase>),
    photos: &[Photo],
    file: &Path,
    interrupt: &Interrupt,
    create_callback: &mut dyn FnMut(&Phase) -> Option<Box<dyn Callback>>,
) -> TrainingReport {
    let job = TrainingJob::new(classifier, photos.to_vec(), Vec::new(), phases.clone()).unwrap();
    let runtime = Runtime::cpu(Some(1)).unwrap();
    job.batch_size(4).runtime(&runtime).save_to(file, true).run(interrupt, create_callback)
}

/// Phase, complete epochs and further steps of the file.
fn held(report: &TrainingReport) -> (usize, usize, usize) {
    let [file] = &report.saved[..] else { panic!("{report:?}") };
    (file.phase, file.epochs, file.steps)
}

#[test]
fn an_interrupt_in_the_last_step_of_a_phase_ends_the_job_between_the_phases() {
    let (_folder, photos, file) = folder();
    let (job, interrupt) = (classifier(), Interrupt::new());
    let mut phases = Vec::new();
    let report = run(&job, &photos, &file, &interrupt, &mut |phase| {
        phases.push(phase.name.clone());
        let interrupt = interrupt.clone();
        let work = move || {
            interrupt.request();
            Ok(())
        };
        Some(Box::new(AtEndOf { epoch: 1, work }))
    });
    assert_eq!(report.outcome.as_ref().unwrap(), &Outcome::Interrupted { phase: 0, epoch: 1, step: 1 });
    assert_eq!((held(&report), report.history.epochs()), ((0, 2, 0), 2), "the first phase is complete");
    assert_eq!(phases, [""], "the second phase doesn't begin");
    assert_eq!(weights(Classifier::load(&file).unwrap().model()), weights(job.0.model()));
}

#[test]
fn a_failing_epoch_leaves_the_file_and_the_history_of_the_epochs_before_it() {
    let (_folder, photos, file) = folder();
    let job = classifier();
    let report = run(&job, &photos, &file, &Interrupt::new(), &mut |phase| {
        let fails = || Err(Error::because("callback", "fails in the second epoch of fine-tuning"));
        (phase.name == "fine-tuning").then(|| Box::new(AtEndOf { epoch: 1, work: fails }) as Box<dyn Callback>)
    });
    let error = report.outcome.as_ref().unwrap_err().to_string();
    assert!(error.contains("fine-tuning, callback: fails in the second epoch of fine-tuning"), "{error}");
    // The two epochs of the first phase, and the first epoch of the second phase, which was completed before the error.
    assert_eq!((held(&report), report.history.epochs()), ((1, 1, 0), 3));
    let saved = Classifier::load(&file).unwrap();
    assert_eq!(iterations(saved.model()), 2);
    // The model in memory keeps the weights of the second epoch as well, of two steps.
    assert_ne!(weights(job.0.model()), weights(saved.model()));
    assert_eq!(iterations(job.0.model()), 4);
}

#[test]
fn the_first_phase_resumes_with_the_optimizer_state_of_the_file_and_the_second_starts_anew() {
    let (_folder, photos, file) = folder();
    let (classifier, phases) = classifier();
    let first_only = (classifier, phases[..1].to_vec());
    let nothing: &mut dyn FnMut(&Phase) -> Option<Box<dyn Callback>> = &mut |_| None;
    assert_eq!(held(&run(&first_only, &photos, &file, &Interrupt::new(), nothing)), (0, 2, 0));
    let moments = |model: &Model| {
        let state = model.compiled().unwrap().state;
        let slots = state.slots();
        model.trainable_weights().iter().map(|weight| slots[&weight.id()].clone()).collect::<Vec<_>>()
    };
    let (saved, in_memory) = (Classifier::load(&file).unwrap(), first_only.0.model());
    assert_eq!((iterations(saved.model()), moments(saved.model())), (4, moments(in_memory)));

    // Another two epochs, of the loaded model and of the one in memory: state and weights stay alike.
    let phase = Phase::first(saved.model(), 2, 0).unwrap();
    let resumed = (saved, vec![phase]);
    run(&resumed, &photos, &file, &Interrupt::new(), nothing).outcome.unwrap();
    run(&first_only, &photos, &file, &Interrupt::new(), nothing).outcome.unwrap();
    assert_eq!(iterations(resumed.0.model()), 8);
    assert_eq!(weights(resumed.0.model()), weights(in_memory));
    assert_eq!(moments(resumed.0.model()), moments(in_memory));

    // The moments of a second phase belong to other weights: they start at zero. Three epochs have six steps.
    let both = (first_only.0, phases);
    assert_eq!(held(&run(&both, &photos, &file, &Interrupt::new(), nothing)), (1, 3, 0));
    assert_eq!(iterations(both.0.model()), 6);
    assert_eq!(iterations(Classifier::load(&file).unwrap().model()), 6);
}
