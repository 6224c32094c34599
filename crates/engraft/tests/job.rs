//! A [`TrainingJob`] of two phases: interrupted between them, failing in the second, and resumed.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::path::{Path, PathBuf};

use engraft::data::Photo;
use engraft::prelude::*;
use engraft::recipe::{Interrupt, Outcome, Phase, TrainingJob, TrainingReport};
use engraft::{Error, Result};

/// Draws four dark and four light photos, as BMP files of 8 x 8 pixels. One epoch in batches of 4 has two steps.
fn photos(folder: &Path) -> Vec<Photo> {
    for (class, grey) in [("dark", 20), ("light", 200)] {
        std::fs::create_dir(folder.join(class)).unwrap();
        for photo in 0..4 {
            // The header of a BMP file with 24 bits per pixel.
            let mut bmp = b"BM\0\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0\x08\0\0\0\x08\0\0\0\x01\0\x18\0".to_vec();
            bmp.extend([0; 24]);
            bmp.extend([grey + photo; 8 * 8 * 3]);
            std::fs::write(folder.join(class).join(format!("{photo}.bmp")), bmp).unwrap();
        }
    }
    PhotoFolder::scan(folder, &mut |_done, _total| {}).unwrap().photos
}

/// A base and a head. The first phase of two epochs trains the head, the second of three epochs trains both.
fn classifier() -> (Classifier, Vec<Phase>) {
    let layers = Sequential::new().add(Input::new([8, 8, 3])).add(Rescaling::new(1.0 / 255.0)).add(Flatten::new());
    let layers = layers.add(Dense::new(4).activation(Tanh).named("base"));
    let model = layers.add(Dense::new(2).activation(Softmax).named("top")).build().unwrap();
    model.get_layer("base").unwrap().set_trainable(false);
    model.compile(Adam::new(0.01), Loss::categorical_crossentropy(), [Metric::Accuracy]).unwrap();
    let first = Phase::first(&model, 2, 0).unwrap();
    let second = first.fine_tuning(&model, &Freeze::None, 3, None).unwrap();
    (Classifier::new(model, None).unwrap(), vec![first, second])
}

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

/// A folder with photos, and the path of the file to save.
fn folder() -> (tempfile::TempDir, Vec<Photo>, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let (photos, file) = (photos(folder.path()), folder.path().join("model.keras"));
    (folder, photos, file)
}

fn weights(model: &Model) -> Vec<Vec<f32>> {
    model.weights().iter().map(|weight| weight.values().clone()).collect()
}

fn iterations(model: &Model) -> u64 {
    model.compiled().unwrap().state.iterations()
}

/// A callback that calls `work` at the end of the last step of epoch `epoch`, counted from 0.
struct AtEndOf<F> {
    epoch: usize,
    work: F,
}

impl<F: FnMut() -> Result<()>> Callback for AtEndOf<F> {
    fn on_batch_end(&mut self, end: &BatchEnd<'_>, _: &mut Training<'_>) -> Result<()> {
        if (end.epoch, end.step + 1) == (self.epoch, end.steps) { (self.work)() } else { Ok(()) }
    }
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
    assert_eq!(report.outcome.unwrap(), Outcome::Interrupted { phase: 0, epoch: 1, step: 1 });
    assert_eq!((report.phases_saved, report.history.epochs()), (1, 2), "the first phase is complete");
    assert_eq!(phases, [""], "the second phase doesn't begin");
    assert_eq!(weights(Classifier::load(&file).unwrap().model()), weights(job.0.model()));
}

#[test]
fn a_failing_second_phase_leaves_the_file_and_the_history_of_the_first() {
    let (_folder, photos, file) = folder();
    let job = classifier();
    let mut after_first = Vec::new();
    let report = run(&job, &photos, &file, &Interrupt::new(), &mut |phase| {
        let fails = || Err(Error::because("callback", "fails in the second epoch of fine-tuning"));
        (phase.name == "fine-tuning").then(|| {
            after_first = weights(job.0.model());
            Box::new(AtEndOf { epoch: 1, work: fails }) as Box<dyn Callback>
        })
    });
    let error = report.outcome.unwrap_err().to_string();
    assert!(error.contains("callback: fails in the second epoch of fine-tuning"), "{error}");
    // The two epochs of the first phase, and the first epoch of the second phase, which was completed before the error.
    assert_eq!((report.phases_saved, report.history.epochs()), (1, 3));
    assert_eq!(weights(Classifier::load(&file).unwrap().model()), after_first);
    // The model in memory keeps the weights of the second phase: two epochs of two steps.
    assert_ne!(weights(job.0.model()), after_first);
    assert_eq!(iterations(job.0.model()), 4);
}

#[test]
fn the_first_phase_resumes_with_the_optimizer_state_of_the_file_and_the_second_starts_anew() {
    let (_folder, photos, file) = folder();
    let (classifier, phases) = classifier();
    let first_only = (classifier, phases[..1].to_vec());
    let nothing: &mut dyn FnMut(&Phase) -> Option<Box<dyn Callback>> = &mut |_| None;
    assert_eq!(run(&first_only, &photos, &file, &Interrupt::new(), nothing).phases_saved, 1);
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
    assert_eq!(run(&both, &photos, &file, &Interrupt::new(), nothing).phases_saved, 2);
    assert_eq!(iterations(both.0.model()), 6);
    assert_eq!(iterations(Classifier::load(&file).unwrap().model()), 6);
}
