//! Measures the memory and the CPU time of a call.

use std::time::Duration;

/// Maximum CPU time of a call. CPU time doesn't depend on other programs, unlike wall-clock time.
const MAX_TIME: Duration = Duration::from_secs(10);

/// Calls `read` and returns its result and its peak memory: the largest number of bytes allocated at a time on this thread.
///
/// # Panics
/// The call takes more than ten seconds of CPU time.
pub fn peak<T>(read: impl FnOnce() -> T) -> (T, u64) {
    let mut value = None;
    let start = time();
    let counted = allocation_counter::measure(|| value = Some(read()));
    let elapsed = time().saturating_sub(start);
    assert!(elapsed <= MAX_TIME, "expected at most {MAX_TIME:?} of CPU time, took {elapsed:?}");
    (value.expect("the closure was called"), counted.bytes_max)
}

/// CPU time of this thread.
#[cfg(unix)]
fn time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(time).expect("time is never negative")
}

/// Wall-clock time, on systems without a clock of CPU time.
#[cfg(not(unix))]
fn time() -> Duration {
    static START: std::sync::LazyLock<std::time::Instant> = std::sync::LazyLock::new(std::time::Instant::now);
    START.elapsed()
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_waits_takes_no_time() {
        let start = time();
        std::thread::sleep(Duration::from_millis(200));
        let waited = time() - start;
        let computed = || time() - start > waited + Duration::from_millis(10);
        while !computed() {}
        assert!(waited < Duration::from_millis(100), "{waited:?}");
    }
}
