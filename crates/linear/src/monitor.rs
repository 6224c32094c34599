//! [`Monitor`]: progress of a long run and a request to stop it; [`Meter`]: counts multiply-accumulates for it.

use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{LinearError, Result};

/// Called with the finished fraction of the work.
type Progress<'a> = &'a (dyn Fn(f64) + Sync);
/// Asked whether to stop.
type Stop<'a> = &'a (dyn Fn() -> bool + Sync);

/// Callbacks of a long run: one receives its progress, the other is asked whether to stop. By default there are none.
///
/// ```
/// use engraft_linear::{Features, Labels, LinearError, Monitor, Options, fit};
/// use std::sync::atomic::{AtomicBool, Ordering};
/// let features = Features::new(&[0.0, 1.0, 2.0, 3.0], 4, 1)?;
/// let labels = Labels::single(&[0, 0, 1, 1], 2)?;
/// let interrupted = AtomicBool::new(true);
/// let stop = || interrupted.load(Ordering::Relaxed);
/// let monitor = Monitor::new().on_progress(&|fraction| assert!(fraction <= 1.0)).stop_when(&stop);
/// assert_eq!(fit(features, &labels, &Options::default(), &monitor).unwrap_err(), LinearError::Stopped);
/// # Ok::<(), LinearError>(())
/// ```
#[derive(Clone, Copy, Default)]
pub struct Monitor<'a> {
    progress: Option<Progress<'a>>,
    stop: Option<Stop<'a>>,
}

impl<'a> Monitor<'a> {
    /// Neither reports nor stops.
    pub fn new() -> Self {
        Self::default()
    }

    /// Calls `progress` with the finished fraction of the planned multiply-accumulates: rising, up to 1. It is called from the
    /// threads that compute, by one thread at a time.
    #[must_use]
    pub fn on_progress(self, progress: Progress<'a>) -> Self {
        Self { progress: Some(progress), ..self }
    }

    /// Polls `stop` many times a second, from the threads that compute. Where it returns true, the run ends with
    /// [`LinearError::Stopped`].
    #[must_use]
    pub fn stop_when(self, stop: Stop<'a>) -> Self {
        Self { stop: Some(stop), ..self }
    }
}

impl fmt::Debug for Monitor<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Monitor")
            .field("progress", &self.progress.is_some())
            .field("stop", &self.stop.is_some())
            .finish()
    }
}

/// Counts the multiply-accumulates of a run: those that were spent, and the share of the plan that is finished.
pub(crate) struct Meter<'a> {
    monitor: Monitor<'a>,
    planned: u64,
    spent: AtomicU64,
    finished: AtomicU64,
    reported: Mutex<f64>,
}

impl<'a> Meter<'a> {
    /// A meter of a run that takes about `planned` multiply-accumulates.
    pub(crate) fn new(monitor: Monitor<'a>, planned: u64) -> Self {
        let (spent, finished, reported) = Default::default();
        Self { monitor, planned: planned.max(1), spent, finished, reported }
    }

    /// Begins a stage that takes about `planned` multiply-accumulates of the run's plan.
    pub(crate) fn stage(&self, planned: u64) -> Stage<'_> {
        Stage { meter: self, left: planned }
    }

    /// The multiply-accumulates so far. Not the plan: an optimizer may need fewer iterations.
    pub(crate) fn spent(&self) -> u64 {
        self.spent.load(Ordering::Relaxed)
    }

    fn finish(&self, macs: u64) {
        let finished = self.finished.fetch_add(macs, Ordering::Relaxed).saturating_add(macs);
        let Some(progress) = self.monitor.progress else { return };
        let fraction = (finished as f64 / self.planned as f64).min(1.0);
        // A panic of the callback in another thread ends the run anyway.
        let mut reported = self.reported.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if fraction > *reported {
            *reported = fraction;
            progress(fraction);
        }
    }
}

/// A part of the plan. What it didn't need is finished when it is dropped.
pub(crate) struct Stage<'a> {
    meter: &'a Meter<'a>,
    left: u64,
}

impl Stage<'_> {
    /// Counts work that was done.
    ///
    /// # Errors
    /// [`LinearError::Stopped`].
    pub(crate) fn spend(&mut self, macs: u64) -> Result<()> {
        self.meter.spent.fetch_add(macs, Ordering::Relaxed);
        let finished = macs.min(self.left);
        self.left -= finished;
        self.meter.finish(finished);
        match self.meter.monitor.stop {
            Some(stop) if stop() => Err(LinearError::Stopped),
            _ => Ok(()),
        }
    }
}

impl Drop for Stage<'_> {
    fn drop(&mut self) {
        self.meter.finish(self.left);
    }
}

/// A product of sizes as a count of multiply-accumulates.
pub(crate) fn macs<const N: usize>(sizes: [usize; N]) -> u64 {
    sizes.iter().fold(1u64, |product, &size| product.saturating_mul(size as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_rises_to_one_whatever_was_needed() {
        let seen = Mutex::new(Vec::new());
        let progress = |fraction| seen.lock().unwrap().push(fraction);
        let meter = Meter::new(Monitor::new().on_progress(&progress), 10);
        let mut first = meter.stage(4);
        first.spend(1).unwrap();
        drop(first);
        let mut second = meter.stage(6);
        second.spend(3).unwrap();
        second.spend(100).unwrap();
        drop(second);
        assert_eq!(meter.spent(), 104);
        assert_eq!(*seen.lock().unwrap(), [0.1, 0.4, 0.7, 1.0]);
    }

    #[test]
    fn sizes_beyond_u64_saturate() {
        assert_eq!(macs([3, 4, 5]), 60);
        assert_eq!(macs([usize::MAX, 2]), u64::MAX);
    }
}
