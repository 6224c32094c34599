//! How much memory there is, and whether a plan fits.

use std::sync::atomic::{AtomicUsize, Ordering};

use engraft_nn::plan::{Memory, Plan};
use engraft_nn::{Error, Executor, Result, Session};

use crate::precision::precision;

/// What the process may use; all there is at first.
static LIMIT: AtomicUsize = AtomicUsize::new(usize::MAX);

/// What the program itself and a few decoded photos take beside a plan.
const OWN: usize = 48 << 20;

/// Sets how many bytes this process may use from now on: [`available_memory`] tells no more, and plans are made thrifty, or
/// refused, to stay below.
///
/// ```
/// engraft_train::set_memory_limit(2_000_000_000);
/// assert!(engraft_train::available_memory().unwrap() < 2_000_000_000);
/// ```
pub fn set_memory_limit(bytes: usize) {
    LIMIT.store(bytes, Ordering::Relaxed);
}

/// Bytes this process may still come to use, its present ones included; `None` where the system doesn't say.
///
/// The smallest of what the machine has free, what its control group allows (Linux) and what
/// [`set_memory_limit`] leaves for plans.
///
/// ```
/// if let Some(bytes) = engraft_train::available_memory() {
///     assert!(bytes > 0);
/// }
/// ```
pub fn available_memory() -> Option<usize> {
    let limit = Some(LIMIT.load(Ordering::Relaxed)).filter(|&limit| limit < usize::MAX);
    let limit = limit.map(|limit| limit.saturating_sub(OWN));
    system_memory().into_iter().chain(limit).min()
}

fn system_memory() -> Option<usize> {
    let free = kernel_counter("/proc/meminfo", "MemAvailable:")?;
    let own = kernel_counter("/proc/self/status", "VmRSS:").unwrap_or(0);
    let machine = free.saturating_add(own);
    let group = std::fs::read_to_string("/sys/fs/cgroup/memory.max").ok().and_then(|text| text.trim().parse().ok());
    Some(group.map_or(machine, |group: usize| group.min(machine)))
}

/// The most bytes this process has had in memory so far; `None` where the system doesn't say (it does on Linux).
///
/// ```
/// if let Some(bytes) = engraft_train::peak_memory() {
///     assert!(bytes > 0);
/// }
/// ```
pub fn peak_memory() -> Option<usize> {
    kernel_counter("/proc/self/status", "VmHWM:")
}

/// A field of a file of the kernel's that holds `Name: 123 kB` a line, in bytes.
fn kernel_counter(file: &str, field: &str) -> Option<usize> {
    let text = std::fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(field))?;
    let kilobytes: usize = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kilobytes.saturating_mul(1024))
}

/// A session of `plan_of(batch)`: as it is if it fits into memory, else a [thrifty](Plan::thrifty) one.
///
/// # Errors
/// Neither fits, with what would.
pub(crate) fn session_within(
    executor: &dyn Executor,
    limit: Option<usize>,
    batch: usize,
    plan_of: impl Fn(usize) -> Result<Plan>,
) -> Result<(Box<dyn Session>, Memory)> {
    let plan_of = |batch| plan_of(batch).map(|plan| plan.in_precision(precision()));
    let plan = plan_of(batch)?;
    let memory = executor.memory(&plan);
    let Some(limit) = limit.or_else(available_memory).filter(|&limit| memory.total() > limit) else {
        return Ok((executor.prepare(plan)?, memory));
    };
    let plan = plan.thrifty();
    let memory = executor.memory(&plan);
    ensure_fits(&memory, limit, batch, |batch| Ok(executor.memory(&plan_of(batch)?.thrifty()).total()))?;
    Ok((executor.prepare(plan)?, memory))
}

/// An error that says what would make it fit, unless `needed` fits into `available` bytes.
///
/// `with_batch` tells what a smaller batch would take.
pub fn ensure_fits(
    needed: &Memory,
    available: usize,
    batch: usize,
    with_batch: impl Fn(usize) -> Result<usize>,
) -> Result<()> {
    if needed.total() <= available {
        return Ok(());
    }
    let available_memory = Memory { buffers: available, ..Memory::default() }.total_readable();
    let error =
        Error::because("memory", format_args!("the plan needs {needed}, but only {available_memory} are available"));
    let mut smaller = batch / 2;
    while smaller > 0 {
        if with_batch(smaller)? <= available {
            return Err(error.hint(format_args!("a batch size of {smaller} would fit")));
        }
        smaller /= 2;
    }
    Err(error.hint("no batch size would fit: use smaller images, a smaller head, or freeze more layers"))
}

#[cfg(test)]
mod tests {
    use engraft_nn::prelude::*;

    use super::*;

    #[test]
    fn a_limit_is_kept_by_recomputing_or_refused() {
        let conv = |name| Conv2D::new(8, 3).padding(Padding::Same).activation(Relu).named(name);
        let layers = Sequential::new().add(Input::new([64, 64, 3])).add(conv("a")).add(MaxPooling2D::new(2));
        let layers = layers.add(conv("b")).add(MaxPooling2D::new(2)).add(Flatten::new());
        let model = layers.add(Dense::new(2).activation(Softmax)).build().unwrap();
        let loss = Loss::categorical_crossentropy();
        let plan_of = |batch| Plan::train(&model, Sgd::new(0.1).into(), loss, batch, 0);
        let executor = crate::train::default_executor().unwrap();
        let plan = plan_of(4).unwrap();
        let whole = executor.memory(&plan).total();
        let least = executor.memory(&plan.thrifty()).total();
        assert!(least < whole);
        let within = |limit| session_within(executor, Some(limit), 4, plan_of).map(|(_, memory)| memory.total());
        assert_eq!(within(whole).unwrap(), whole);
        assert_eq!(within(whole - 1).unwrap(), least);
        assert_eq!(within(least).unwrap(), least);
        let error = within(least - 1).unwrap_err().to_string();
        assert!(error.contains("the plan needs") && error.contains("a batch size of 2 would fit"), "{error}");
    }

    fn memory(batch: usize) -> Memory {
        Memory { weights: 100 << 20, buffers: batch * (10 << 20), ..Memory::default() }
    }

    #[test]
    fn what_fits_passes_and_what_does_not_says_what_would() {
        let by_batch = |batch| Ok(memory(batch).total());
        assert!(ensure_fits(&memory(16), 300 << 20, 16, by_batch).is_ok());
        let error = ensure_fits(&memory(16), 150 << 20, 16, by_batch).unwrap_err().to_string();
        assert!(error.contains("260.0 MiB") && error.contains("150.0 MiB"), "{error}");
        assert!(error.contains("hint: a batch size of 4 would fit"), "{error}");
        let error = ensure_fits(&memory(16), 50 << 20, 16, by_batch).unwrap_err().to_string();
        assert!(error.contains("smaller images"), "{error}");
    }
}
