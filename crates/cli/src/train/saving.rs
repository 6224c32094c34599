//! The files that training saves: the check of the file of the best epoch, and messages on what the files hold.

use std::path::Path;

use engraft::recipe::{Checkpoint, Phase, TrainingJob};

use crate::destination::{Content, Outputs};
use crate::failure::Failure;

/// Checks that the file of the best epoch, if there is one, can be written and replaces nothing but a model of engraft. The user
/// didn't name this file.
pub(super) fn check_best(job: &TrainingJob<'_>, outputs: &mut Outputs) -> Result<(), Failure> {
    match job.best_path() {
        Some(path) => match outputs.check("--save-optimizer", &path, Content::Keras) {
            Err(Failure::Failed(error)) if path.exists() => {
                Err(error.hint("move this file away, or choose another name for --output").into())
            }
            checked => checked.map(|_| ()),
        },
        None => Ok(()),
    }
}

/// A line on each saved file: `Saved m.keras: epoch 7 of 10, the best by val_loss 0.4123`.
pub(super) fn lines(phases: &[Phase], saved: &[Checkpoint]) -> Vec<String> {
    let line = |file: &Checkpoint| {
        let epoch = match (file.epochs, file.steps) {
            (0, 0) => "the weights before the first epoch".to_owned(),
            (epochs, 0) => epoch_of(phases, file.phase, epochs),
            (epochs, steps) => format!("{}, step {steps}", epoch_of(phases, file.phase, epochs + 1)),
        };
        let best = file.val_loss.map_or(String::new(), |val_loss| format!(", the best by val_loss {val_loss:.4}"));
        let optimizer = if file.optimizer_state { ", with the optimizer state" } else { "" };
        format!("Saved {}: {epoch}{best}{optimizer}", file.path.display())
    };
    saved.iter().map(line).collect()
}

/// An epoch, counted from 1, in a sentence: `epoch 2 of 10`, `fine-tuning epoch 2 of 5`.
pub(super) fn epoch_of(phases: &[Phase], phase: usize, epoch: usize) -> String {
    let Phase { name, epochs, .. } = &phases[phase];
    let space = if name.is_empty() { "" } else { " " };
    format!("{name}{space}epoch {epoch} of {epochs}")
}

/// Lines on the output after training failed. `saved` are the [`lines`] on the files that were saved before.
pub(super) fn left(output: &Path, saved: &[String]) -> Vec<String> {
    match saved {
        [] if output.exists() => vec![format!("{} is as it was before", output.display())],
        [] => vec![format!("{} was not written", output.display())],
        saved => saved.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use engraft::prelude::*;

    use super::*;

    #[test]
    fn a_file_is_described_by_its_epoch() {
        let model = Sequential::new().add(Input::new([1])).add(Dense::new(2)).build().unwrap();
        model.compile(Sgd::new(0.1), Loss::categorical_crossentropy(), []).unwrap();
        let first = Phase::first(&model, 10, 0).unwrap();
        let phases = [first.clone(), first.fine_tuning(&model, &Freeze::None, 5, None).unwrap()];
        let file = |phase, epochs, steps, val_loss| {
            let (path, optimizer_state) = ("m.keras".into(), false);
            lines(&phases, &[Checkpoint { path, optimizer_state, phase, epochs, steps, val_loss }]).remove(0)
        };
        assert_eq!(file(0, 7, 0, Some(0.41234)), "Saved m.keras: epoch 7 of 10, the best by val_loss 0.4123");
        assert_eq!(file(1, 2, 0, None), "Saved m.keras: fine-tuning epoch 2 of 5");
        assert_eq!(file(0, 2, 3, None), "Saved m.keras: epoch 3 of 10, step 3");
        assert_eq!(file(0, 0, 0, None), "Saved m.keras: the weights before the first epoch");
    }
}
