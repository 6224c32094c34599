//! Shows the progress of training: a progress bar on a terminal, else plain lines.

use std::time::{Duration, Instant};

use engraft::Result;
use engraft::train::{Averages, BatchEnd, Callback, EpochEnd, TrainBegin, Training};
use indicatif::ProgressBar;

use crate::meter::{Meter, PLAIN_EVERY, Unit, bar, clock};
use crate::output::note;

/// A callback that shows each step and epoch.
pub(super) struct Progress {
    phase: String,
    begin: Option<TrainBegin>,
    bar: ProgressBar,
    epoch_began: Instant,
    shown: Instant,
    rate: String,
}

impl Progress {
    pub(super) fn new(phase: &str) -> Self {
        let (bar, now) = (ProgressBar::hidden(), Instant::now());
        Self { phase: phase.to_owned(), begin: None, bar, epoch_began: now, shown: now, rate: String::new() }
    }

    /// Name of an epoch: `Epoch 2/10`, `Epoch 2/5 of fine-tuning`. `epoch` counts from 0.
    fn epoch_name(&self, epoch: usize) -> String {
        let epochs = self.begin.map_or(0, |begin| begin.epochs);
        match &self.phase[..] {
            "" => format!("Epoch {}/{epochs}", epoch + 1),
            phase => format!("Epoch {}/{epochs} of {phase}", epoch + 1),
        }
    }
}

impl Callback for Progress {
    fn on_train_begin(&mut self, begin: &TrainBegin, _training: &mut Training<'_>) -> Result<()> {
        self.begin = Some(*begin);
        Ok(())
    }

    fn on_epoch_begin(&mut self, epoch: usize, _training: &mut Training<'_>) -> Result<()> {
        let steps = self.begin.map_or(0, |begin| begin.steps);
        // The bar has two lines, so that its text fits into 80 columns.
        self.bar =
            bar("{prefix}\n{pos:>3}/{len} {bar:12} {wide_msg}", steps as u64).with_prefix(self.epoch_name(epoch));
        (self.epoch_began, self.shown) = (Instant::now(), Instant::now());
        Ok(())
    }

    fn on_batch_end(&mut self, end: &BatchEnd<'_>, training: &mut Training<'_>) -> Result<()> {
        let (done, elapsed) = (end.step + 1, self.epoch_began.elapsed());
        self.rate = rate(end.averages, elapsed);
        let left = elapsed.mul_f64((end.steps - done) as f64 / done as f64);
        let text = format!("{} left - {} - {}", clock(left), numbers(&end.averages.numbers()), self.rate);
        if self.bar.is_hidden() && self.shown.elapsed() > PLAIN_EVERY {
            self.shown = Instant::now();
            note(format_args!("{}: {done}/{} - {text}", self.epoch_name(end.epoch), end.steps));
        }
        self.bar.set_message(text);
        self.bar.set_position(done as u64);
        if training.is_stopping() {
            self.bar.finish_and_clear();
        }
        Ok(())
    }

    fn on_epoch_end(&mut self, end: &EpochEnd<'_>, _training: &mut Training<'_>) -> Result<()> {
        self.bar.finish_and_clear();
        let (name, time) = (self.epoch_name(end.epoch), clock(self.epoch_began.elapsed()));
        note(format_args!("{name}: {time} - {} - {}", numbers(end.numbers), self.rate));
        Ok(())
    }
}

/// Shows the photos whose features are computed. Receives the name of the network, the photos done and their total. Another network
/// or another round starts the estimate of the time again.
pub(super) fn features() -> impl Fn(&str, usize, usize) + Send + Sync {
    let meter = Meter::new("", Unit::Photos);
    move |network, done, total| {
        if done == 0 {
            meter.finish();
        }
        meter.set_title(&match network {
            "" => "Computing features".to_owned(),
            network => format!("Features of {network}"),
        });
        meter.set(done as u64, total as u64);
        if done == total {
            meter.finish();
        }
    }
}

/// Formats the training speed: `12.3 images/s`.
fn rate(averages: &Averages, elapsed: Duration) -> String {
    format!("{:.1} images/s", averages.samples() as f64 / elapsed.as_secs_f64().max(1e-9))
}

/// Formats loss and metrics as Keras does: `loss: 0.1234 - accuracy: 0.9000`.
fn numbers(numbers: &[(String, f64)]) -> String {
    let each: Vec<String> = numbers.iter().map(|(name, value)| format!("{name}: {value:.4}")).collect();
    each.join(" - ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_as_people_write_them() {
        let text = numbers(&[("loss".to_owned(), 0.12345), ("accuracy".to_owned(), 0.9)]);
        assert_eq!(text, "loss: 0.1235 - accuracy: 0.9000");
    }
}
