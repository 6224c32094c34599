//! Shows how much of some long work is done: on a bar on a terminal, else in a plain line now and then.

use std::io::{self, IsTerminal};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::output::{note, thousands};

/// Minimum time before a plain line. Shorter work prints none.
pub(crate) const PLAIN_EVERY: Duration = Duration::from_secs(10);

/// What a [`Meter`] counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    Photos,
    Bytes,
    /// Parts of the work, shown in percent.
    Parts,
}

impl Unit {
    /// The template of the bar, after its title.
    fn template(self) -> &'static str {
        match self {
            Self::Photos => "{msg} {bar:20} {pos}/{len} photos, {eta} left",
            Self::Bytes => "{msg} {bar:24} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left",
            Self::Parts => "{msg}  {bar:24} {percent} %, {eta} left",
        }
    }

    fn words(self, done: u64, total: u64) -> String {
        match self {
            Self::Photos => format!("{} of {} photos", thousands(done as usize), thousands(total as usize)),
            Self::Bytes => format!("{:.1} of {:.1} MB", done as f64 / 1e6, total as f64 / 1e6),
            Self::Parts => format!("{} %", 100 * done / total.max(1)),
        }
    }
}

/// Shows the progress of some work on standard error. It appears when the total is known.
#[derive(Debug)]
pub(crate) struct Meter {
    unit: Unit,
    is_hidden: bool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    title: String,
    shown: Option<Shown>,
}

#[derive(Debug)]
struct Shown {
    /// Hidden without a terminal.
    bar: ProgressBar,
    began: Instant,
    last_line: Instant,
}

impl Meter {
    pub(crate) fn new(title: &str, unit: Unit) -> Self {
        Self { unit, is_hidden: false, state: Mutex::new(State { title: title.to_owned(), shown: None }) }
    }

    /// A meter that shows nothing.
    pub(crate) fn hidden() -> Self {
        let mut meter = Self::new("", Unit::Parts);
        meter.is_hidden = true;
        meter
    }

    /// Shows that so much of the total is done.
    pub(crate) fn set(&self, done: u64, total: u64) {
        if self.is_hidden || total == 0 {
            return;
        }
        let State { title, shown } = &mut *self.state();
        let now = Instant::now();
        let shown = shown.get_or_insert_with(|| Shown {
            bar: bar(self.unit.template(), total).with_message(title.clone()),
            began: now,
            last_line: now,
        });
        shown.bar.set_length(total);
        shown.bar.set_position(done);
        if shown.bar.is_hidden() && done < total && now - shown.last_line >= PLAIN_EVERY {
            shown.last_line = now;
            note(line(title, self.unit, (done, total), now - shown.began));
        }
    }

    /// Names the work. Work of another name starts the estimate of the time again.
    pub(crate) fn set_title(&self, title: &str) {
        if self.state().title != title {
            self.finish();
            title.clone_into(&mut self.state().title);
        }
    }

    /// Removes the bar, and ends the estimate of the time.
    pub(crate) fn finish(&self) {
        if let Some(shown) = self.state().shown.take() {
            shown.bar.finish_and_clear();
        }
    }

    /// Prints something beside the bar.
    pub(crate) fn suspend(&self, print: impl FnOnce()) {
        match &self.state().shown {
            Some(shown) => shown.bar.suspend(print),
            None => print(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves a state that can still be shown.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.finish();
    }
}

/// A progress bar, hidden without a terminal.
pub(crate) fn bar(template: &str, length: u64) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(length).with_style(style.progress_chars("━╸ "))
}

/// A plain line of progress: `Classifying: 1,200 of 10,000 photos, 1:28 left`.
fn line(title: &str, unit: Unit, (done, total): (u64, u64), elapsed: Duration) -> String {
    let text = format!("{title}: {}", unit.words(done, total));
    match done {
        0 => text,
        done => format!("{text}, {} left", clock(elapsed.mul_f64(total.saturating_sub(done) as f64 / done as f64))),
    }
}

/// Formats a duration: `0:08`, `1:02:03`.
pub(crate) fn clock(time: Duration) -> String {
    let seconds = time.as_secs_f64().round() as u64;
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, minutes, seconds) => format!("{minutes}:{seconds:02}"),
        (hours, minutes, seconds) => format!("{hours}:{minutes:02}:{seconds:02}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_line_tells_what_is_done_and_the_time_left() {
        let after = Duration::from_secs(12);
        let text = |unit, done, total| line("Work", unit, (done, total), after);
        assert_eq!(text(Unit::Photos, 1200, 10_000), "Work: 1,200 of 10,000 photos, 1:28 left");
        assert_eq!(text(Unit::Bytes, 14_700_000, 58_900_000), "Work: 14.7 of 58.9 MB, 0:36 left");
        assert_eq!(text(Unit::Parts, 250, 1000), "Work: 25 %, 0:36 left");
        assert_eq!(text(Unit::Photos, 0, 5), "Work: 0 of 5 photos");
    }

    #[test]
    fn nothing_appears_before_the_total_is_known() {
        let meter = Meter::new("Work", Unit::Photos);
        meter.set(0, 0);
        assert!(meter.state().shown.is_none());
        meter.set(1, 2);
        assert!(meter.state().shown.is_some());
        meter.set_title("Work");
        assert!(meter.state().shown.is_some());
        meter.set_title("More work");
        assert!(meter.state().shown.is_none());
    }

    #[test]
    fn times_read_as_people_write_them() {
        let times = [0.4, 8.0, 62.0, 3723.0].map(|seconds| clock(Duration::from_secs_f64(seconds)));
        assert_eq!(times, ["0:00", "0:08", "1:02", "1:02:03"]);
    }
}
